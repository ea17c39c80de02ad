package libaio

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// maxDepth is the largest depth that io_setup takes at all: the kernel doubles
// it and answers EINVAL when the ring then exceeds 256 MiB of 32-byte events
// (ioctx_alloc in fs/aio.c), whatever aio-max-nr is.
const maxDepth = 256 << 20 / 32 / 2

func checkDepth(depth int) error {
	if depth < 1 || depth > maxDepth {
		return invalidf("io_setup", "depth %d: must be 1 to %d", depth, maxDepth)
	}
	return nil
}

// setup is io_setup with an error that says what to do.
func setup(depth int) (uintptr, error) {
	ctx, errno := sysSetup(depth)
	if errno == 0 {
		return ctx, nil
	}
	e := &Error{Op: "io_setup", Err: errno}
	switch errno {
	case syscall.EAGAIN:
		e.Detail = fmt.Sprintf("depth %d does not fit: /proc/sys/fs/aio-nr is %s of /proc/sys/fs/aio-max-nr %s, "+
			"which all processes of the machine share; raise it with sysctl -w fs.aio-max-nr=1048576, or ask for less",
			depth, readProc("aio-nr"), readProc("aio-max-nr"))
	case syscall.ENOSYS:
		e.Detail = "this kernel has no AIO (CONFIG_AIO), or a seccomp profile hides it"
	case syscall.EPERM, syscall.EACCES:
		e.Detail = "a seccomp profile denies io_setup; allow io_setup, io_submit, io_getevents, io_cancel and io_destroy in it"
	default:
		e.Detail = fmt.Sprintf("depth %d", depth)
	}
	return 0, e
}

// canGetEvents tries io_getevents, which a seccomp profile may deny although it
// allows io_setup: completions would never be seen. libaio makes no system call
// for an empty ring unless it is to wait.
func canGetEvents(ctx uintptr) error {
	for {
		_, errno := sysGetEvents(ctx, 0, make([]event, 1), 1)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return &Error{Op: "io_getevents", Err: errno, Detail: "not permitted, or not there: a seccomp profile must allow it beside io_setup"}
		}
	}
}

// canCancel tries io_cancel on what is not in flight, for which the kernel has
// EINVAL. Without it a poll could not be ended.
func canCancel(ctx uintptr) error {
	var iocb cMemory
	if errno := iocb.grow(iocbSize); errno != 0 {
		return nil // which says nothing of io_cancel
	}
	defer iocb.free()
	var ev event
	if errno := sysCancel(ctx, uintptr(iocb.p), &ev); errno != syscall.EINVAL {
		return errno
	}
	return nil
}

// readProc reads a number below /proc/sys/fs as text, for a message.
func readProc(name string) string {
	b, err := os.ReadFile("/proc/sys/fs/" + name)
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	s := strings.TrimSpace(string(b))
	if _, err := strconv.ParseUint(s, 10, 64); err != nil {
		return strconv.Quote(s)
	}
	return s
}
