package libaio

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SystemLimits are the limits on AIO of the whole machine: all processes and
// containers share them.
type SystemLimits struct {
	InUse int // /proc/sys/fs/aio-nr: operations that all contexts may hold
	Max   int // /proc/sys/fs/aio-max-nr: what InUse cannot exceed
}

// Limits reads the limits. The kernel counts a context as what io_setup was
// asked for, at least four for each possible processor.
func Limits() (SystemLimits, error) {
	inUse, err := strconv.Atoi(readProc("aio-nr"))
	if err != nil {
		return SystemLimits{}, &Error{Op: "limits", File: "/proc/sys/fs/aio-nr", Err: ErrInvalid, Detail: err.Error()}
	}
	most, err := strconv.Atoi(readProc("aio-max-nr"))
	if err != nil {
		return SystemLimits{}, &Error{Op: "limits", File: "/proc/sys/fs/aio-max-nr", Err: ErrInvalid, Detail: err.Error()}
	}
	return SystemLimits{InUse: inUse, Max: most}, nil
}

// Capabilities are what this kernel, seccomp profile and libaio offer. A nil
// error means that it works; the others are what the attempt gave.
type Capabilities struct {
	Kernel string // release, as of uname(2)
	Engine string // what the package is built on: "libaio" or "system calls"
	Libaio string // file name of the loaded library; "" where there is none, or it is linked statically

	AIO        error // io_setup, io_submit, io_getevents
	PGetEvents error // io_pgetevents: Linux 4.18; denied by some seccomp profiles
	Cancel     error // io_cancel: not in gVisor
	Fsync      error // Fsync and Fdsync: Linux 4.18
	Poll       error // Poll: Linux 4.19

	// Flags are those that the kernel accepts for a read or write of the file
	// that Probe was given; without a file, of one in memory.
	Flags RWFlags
}

// Probe tries what the system offers: it makes a context and runs operations
// that change nothing. f is the file or block device whose flags are of interest,
// open for writing where those of writes are; without one (nil, or closed) they
// are those of a file in memory, and of anything else there are none.
func Probe(f *File) Capabilities {
	c := Capabilities{Kernel: kernelRelease(), Engine: engine, Libaio: loadedLibaio()}
	ctx, err := Setup(8)
	if err != nil {
		c.AIO, c.PGetEvents, c.Cancel, c.Fsync, c.Poll = err, err, err, err, err
		return c
	}
	defer ctx.Destroy()
	fd, err := unix.MemfdCreate("libaio-probe", unix.MFD_CLOEXEC)
	if err != nil {
		err = &Error{Op: "memfd_create", Err: err}
		c.AIO, c.PGetEvents, c.Cancel, c.Fsync, c.Poll = err, err, err, err, err
		return c
	}
	defer unix.Close(fd)
	p := prober{ctx, fd}
	c.AIO = p.try(func(cb *IOCB) error { return cb.PrepPread(fd, nil, 0) })
	c.Fsync = p.try(func(cb *IOCB) error { return cb.PrepFsync(fd) })
	c.Poll, c.Cancel = p.poll()
	_, c.PGetEvents = ctx.PGetEvents(0, make([]Event, 1), time.Nanosecond, 0)
	if f != nil && f.made && f.acquire() {
		defer f.release()
		p.fd = f.fd
	}
	c.Flags = p.flags()
	return c
}

// prober runs operations on a context of its own.
type prober struct {
	ctx *Context
	fd  int
}

// try runs one operation.
func (p prober) try(prepare func(*IOCB) error) error {
	cb, err := NewIOCB()
	if err != nil {
		return err
	}
	defer cb.Free()
	if err := prepare(cb); err != nil {
		return err
	}
	if _, err := p.ctx.Submit(cb); err != nil {
		return err
	}
	var ev [1]Event
	if _, err := p.ctx.GetEvents(1, ev[:], -1); err != nil {
		return err
	}
	return ev[0].Err()
}

// poll waits on an eventfd that is never written, and cancels that.
func (p prober) poll() (poll, cancel error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err, err
	}
	defer unix.Close(fd)
	cb, err := NewIOCB()
	if err != nil {
		return err, err
	}
	defer cb.Free()
	if err := cb.PrepPoll(fd, unix.POLLIN); err != nil {
		return err, err
	}
	if _, err := p.ctx.Submit(cb); err != nil {
		return err, err
	}
	if cancel = p.ctx.Cancel(cb); cancel != nil { // then the eventfd ends it
		_, poll = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	if poll == nil {
		var ev [1]Event
		_, poll = p.ctx.GetEvents(1, ev[:], -1)
	}
	return poll, cancel
}

// flags are those with which a read or write of no bytes is accepted.
func (p prober) flags() (accepted RWFlags) {
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0 // elsewhere a write of no bytes may be a message
	}
	for flag := RWFHiPri; flag <= RWFDontCache; flag <<= 1 {
		for _, prepare := range []func(*IOCB, int, *Buffer, int64) error{(*IOCB).PrepPread, (*IOCB).PrepPwrite} {
			err := p.try(func(cb *IOCB) error {
				return errors.Join(prepare(cb, p.fd, nil, 0), cb.SetRWFlags(flag))
			})
			// EINVAL is of the length, such as that of an atomic write.
			if err == nil || errors.Is(err, syscall.EINVAL) {
				accepted |= flag
			}
		}
	}
	return accepted
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// loadedLibaio looks at what the dynamic linker has mapped: the library itself
// does not tell its version.
func loadedLibaio() string {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return ""
	}
	defer maps.Close()
	for s := bufio.NewScanner(maps); s.Scan(); {
		fields := strings.Fields(s.Text())
		path := fields[len(fields)-1]
		if !strings.HasPrefix(filepath.Base(path), "libaio.so") {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		return path
	}
	return ""
}
