package libaio

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probe tries all that there is beside the context; the error is that of the
// preparations.
func (c *Capabilities) probe(ctx *Context, f *File) error {
	fd, err := unix.MemfdCreate("libaio-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return &Error{Op: "memfd_create", Err: err}
	}
	defer unix.Close(fd)
	p := prober{ctx, fd}
	c.AIO = p.try(func(cb *IOCB) error { return cb.PrepPread(fd, nil, 0) })
	c.Fsync = p.try(func(cb *IOCB) error { return cb.PrepFsync(fd) })
	c.Poll, c.Cancel = p.poll()
	_, c.PGetEvents = ctx.PGetEvents(0, make([]Event, 1), time.Minute, 0) // not 0, for which libaio makes no call; it does not wait
	if f != nil && f.made && f.acquire() {
		defer f.release()
		p.fd = f.fd
	}
	c.Flags = p.flags()
	return nil
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
	fd, err := makeEventfd()
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
