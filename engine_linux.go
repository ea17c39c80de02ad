package libaio

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// supported is nil: there is an engine for every Linux.
func supported(string) error { return nil }

// makeEventfd makes the descriptor that the kernel signals completions on.
func makeEventfd() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		return fd, nil
	}
	e := &Error{Op: "eventfd", Err: err}
	switch err {
	case syscall.EMFILE:
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		e.Detail = fmt.Sprintf("the process has all descriptors that its limit allows, RLIMIT_NOFILE %d: "+
			"raise it (ulimit -n), or close files and queues; each queue takes one", limit.Cur)
	case syscall.ENFILE:
		e.Detail = "the system has all files open that /proc/sys/fs/file-max allows"
	case syscall.ENOSYS:
		e.Detail = "this kernel has no eventfd (CONFIG_EVENTFD), or a seccomp profile hides it"
	case syscall.EPERM, syscall.EACCES:
		e.Detail = "a seccomp profile denies eventfd2; allow it"
	}
	return -1, e
}
