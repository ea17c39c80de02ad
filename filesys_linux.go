package libaio

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is what the methods of File ask of the kernel beside AIO. None of it
// returns EINTR.

const oDirect = unix.O_DIRECT

// duplicate is dup(2), for a descriptor that is closed on exec.
func duplicate(fd uintptr) (int, error) { return unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }

// statusFlags are the flags of open(2) that a descriptor has, 0 beside an error.
func statusFlags(fd int) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return max(0, flags), err
}

// uninterrupted makes a call again that a signal has interrupted.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// inodeOf is which file a descriptor is open on.
func inodeOf(fd int) (inode, error) {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Fstat(fd, &st) })
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return inode{ino: uint64(st.Rdev), device: true}, err
	}
	return inode{dev: uint64(st.Dev), ino: st.Ino}, err
}

// sizeOf is the size of a file or of a block device.
func sizeOf(fd int) (int64, error) {
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return st.Size, nil
	}
	var n uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return 0, errno
	}
	return int64(n), nil
}

// preadFD is pread(2).
func preadFD(fd int, p []byte, off int64) (n int, err error) {
	err = uninterrupted(func() error { n, err = unix.Pread(fd, p, off); return err })
	return max(0, n), err
}

// pwriteFD is pwrite(2).
func pwriteFD(fd int, p []byte, off int64) (n int, err error) {
	err = uninterrupted(func() error { n, err = unix.Pwrite(fd, p, off); return err })
	return max(0, n), err
}

// readFD is pread(2) until p is full, the file ends or an error comes.
func readFD(fd int, p []byte, off int64) (int, error) { return transfer(fd, p, off, preadFD) }

// writeFD is pwrite(2) until all of p is written or an error comes.
func writeFD(fd int, p []byte, off int64) (int, error) { return transfer(fd, p, off, pwriteFD) }

func transfer(fd int, p []byte, off int64, call func(fd int, p []byte, off int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		n, err := call(fd, p[done:][:min(len(p)-done, MaxTransfer)], off+int64(done))
		done += n
		if err != nil || n == 0 {
			return done, err
		}
	}
	return done, nil
}

func truncateFD(fd int, size int64) error {
	return uninterrupted(func() error { return unix.Ftruncate(fd, size) })
}

// syncFD is fsync(2), or fdatasync(2) where the data is enough.
func syncFD(fd int, data bool) error {
	if data {
		return uninterrupted(func() error { return unix.Fdatasync(fd) })
	}
	return uninterrupted(func() error { return unix.Fsync(fd) })
}

func preallocateFD(fd int, off, n int64) error {
	return uninterrupted(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n) })
}

// setDirect turns O_DIRECT on or off. Whether that went well is seen by looking.
func setDirect(fd int, on bool) {
	flags, err := statusFlags(fd)
	if err != nil {
		return
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
}

// openBuffered opens the file of a descriptor a second time, for writing through
// the page cache.
func openBuffered(fd, flags int) (int, error) {
	name := fmt.Sprintf("/proc/self/fd/%d", fd)
	const keep = unix.O_SYNC | unix.O_DSYNC
	var got int
	err := uninterrupted(func() (err error) {
		got, err = unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOCTTY|flags&keep, 0)
		return err
	})
	return got, err
}
