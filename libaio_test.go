//go:build linux

package libaio

import (
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func newContext(t testing.TB, n int) *Context {
	t.Helper()
	c, err := Setup(n)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Destroy(); err != nil {
			require.ErrorIs(t, err, ErrClosed)
		}
	})
	return c
}

func newIOCB(t testing.TB) *IOCB {
	t.Helper()
	cb, err := NewIOCB()
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := cb.Free(); err != nil {
			require.ErrorIs(t, err, ErrFreed)
		}
	})
	return cb
}

// run submits one IOCB and returns its event.
func run(t testing.TB, c *Context, cb *IOCB) Event {
	t.Helper()
	n, err := c.Submit(cb)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	var ev [1]Event
	n, err = c.GetEvents(1, ev[:], time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Same(t, cb, ev[0].Obj)
	return ev[0]
}

func TestContextReadAndWrite(t *testing.T) {
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, 4*block), newBuffer(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), b, block))
	require.NoError(t, cb.SetData(42))
	ev := run(t, c, cb)
	require.Equal(t, Event{Data: 42, Obj: cb, Res: block}, ev)
	require.NoError(t, ev.Err())
	requirePattern(t, b.Bytes(), block, 0)

	fill(b.Bytes(), 2*block, 5)
	require.NoError(t, cb.PrepPwrite(f.FD(), b, 2*block))
	require.EqualValues(t, block, run(t, c, cb).Res)
	require.NoError(t, cb.PrepFsync(f.FD()))
	require.Zero(t, run(t, c, cb).Res)
	require.NoError(t, cb.PrepFdsync(f.FD()))
	require.Zero(t, run(t, c, cb).Res)

	p, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	requirePattern(t, p[2*block:3*block], 2*block, 5)
	requirePattern(t, p[3*block:], 3*block, 0)
}

func TestContextVectors(t *testing.T) {
	c, cb, f := newContext(t, 8), newIOCB(t), newFile(t, 8*block)
	bufs := newBuffers(t, 3, block)
	for _, prep := range []func() error{
		func() error { return cb.PrepPreadv(f.FD(), bufs, block) },
		func() error { return cb.PrepPreadv2(f.FD(), bufs, block, 0) },
	} {
		require.NoError(t, prep())
		require.EqualValues(t, 3*block, run(t, c, cb).Res)
		for i, b := range bufs {
			requirePattern(t, b.Bytes(), int64(1+i)*block, 0)
		}
	}
	for i, b := range bufs {
		fill(b.Bytes(), int64(4+i)*block, 3)
	}
	require.NoError(t, cb.PrepPwritev(f.FD(), bufs[:2], 4*block))
	require.EqualValues(t, 2*block, run(t, c, cb).Res)
	require.NoError(t, cb.PrepPwritev2(f.FD(), bufs[2:], 6*block, RWFDsync))
	require.EqualValues(t, block, run(t, c, cb).Res)
	p, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	requirePattern(t, p[4*block:7*block], 4*block, 3)

	require.NoError(t, cb.PrepPwritev2(f.FD(), bufs, 0, 1<<30))
	_, err = c.Submit(cb)
	require.ErrorIs(t, err, syscall.EOPNOTSUPP, "the flags reach the kernel")
	require.ErrorIs(t, cb.PrepPreadv(f.FD(), []*Buffer{nil}, 0), ErrInvalid)
}

func TestContextPoll(t *testing.T) {
	c, cb := newContext(t, 8), newIOCB(t)
	r, w := newPipe(t)
	require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
	_, err := c.Submit(cb)
	require.NoError(t, err)
	var ev [1]Event
	n, err := c.GetEvents(1, ev[:], 5*time.Millisecond)
	require.NoError(t, err)
	require.Zero(t, n, "after the timeout")
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	n, err = c.GetEvents(1, ev[:], -1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NotZero(t, ev[0].Res&unix.POLLIN)
}

func TestContextCancel(t *testing.T) {
	c, cb := newContext(t, 8), newIOCB(t)
	r, _ := newPipe(t)
	require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
	require.ErrorIs(t, c.Cancel(cb), syscall.EINVAL, "not in flight")
	_, err := c.Submit(cb)
	require.NoError(t, err)
	require.NoError(t, c.Cancel(cb))
	require.ErrorIs(t, c.Cancel(cb), syscall.EINVAL, "a second time")
	var ev [1]Event
	n, err := c.GetEvents(1, ev[:], time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Same(t, cb, ev[0].Obj)
	require.Zero(t, ev[0].Res)
	require.ErrorIs(t, c.Cancel(nil), ErrInvalid)
}

func TestSetupAboveTheSystemsLimit(t *testing.T) {
	skipIfUnlimited(t)
	_, err := Setup(maxDepth)
	require.ErrorIs(t, err, syscall.EAGAIN)
}

// A wait that is longer than one slice keeps what it has read before.
func TestContextWaitInSlices(t *testing.T) {
	c := newContext(t, 8)
	cbs := []*IOCB{newIOCB(t), newIOCB(t)}
	var ends []int
	for _, cb := range cbs {
		r, w := newPipe(t)
		ends = append(ends, w)
		require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
	}
	_, err := c.Submit(cbs...)
	require.NoError(t, err)
	go func() {
		for _, w := range ends {
			_, err := unix.Write(w, []byte{1})
			assert.NoError(t, err)
			time.Sleep(3 * waitSlice)
		}
	}()
	ev := make([]Event, 2)
	n, err := c.GetEvents(2, ev, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Same(t, cbs[0], ev[0].Obj)
	require.Same(t, cbs[1], ev[1].Obj)
}

// Prep begins anew: what was set before is gone.
func TestPrepForgets(t *testing.T) {
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, block), newBuffer(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	require.NoError(t, cb.SetData(1))
	require.NoError(t, cb.SetRWFlags(1<<30))
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	ev := run(t, c, cb)
	require.Zero(t, ev.Data)
	require.EqualValues(t, block, ev.Res)
}

// The completion is counted on the eventfd; one that is none is refused.
func TestContextEventfd(t *testing.T) {
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, block), newBuffer(t, block)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	require.NoError(t, cb.SetEventfd(fd))
	require.EqualValues(t, block, run(t, c, cb).Res)
	var count [8]byte
	_, err = unix.Read(fd, count[:])
	require.NoError(t, err)
	require.EqualValues(t, 1, binary.NativeEndian.Uint64(count[:]))

	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	require.NoError(t, cb.SetEventfd(f.FD()))
	_, err = c.Submit(cb)
	require.ErrorIs(t, err, syscall.EINVAL)
	require.False(t, b.InFlight())
}

// The order of acceptance and refusal is the kernel's, as in C.
func TestContextPartialSubmit(t *testing.T) {
	c, f := newContext(t, 8), newFile(t, 8*block)
	bufs := newBuffers(t, 3, block)
	cbs := []*IOCB{newIOCB(t), newIOCB(t), newIOCB(t)}
	prep := func(fds ...int) {
		for i, fd := range fds {
			require.NoError(t, cbs[i].PrepPread(fd, bufs[i], 0))
		}
	}
	prep(f.FD(), -1, f.FD())
	n, err := c.Submit(cbs...)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.True(t, cbs[0].inFlight.Load())
	require.False(t, cbs[1].inFlight.Load())
	n, err = c.Submit(cbs[1:]...)
	require.ErrorIs(t, err, syscall.EBADF)
	require.Zero(t, n)
	n, err = c.Submit(cbs[2])
	require.NoError(t, err)
	require.Equal(t, 1, n)
	ev := make([]Event, 3)
	n, err = c.GetEvents(2, ev, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, n)

	// Misalignment is found later, and reported in the event; tmpfs minds none.
	prep(f.FD(), f.FD(), f.FD())
	require.NoError(t, cbs[1].PrepPread(f.FD(), bufs[1], 1))
	n, err = c.Submit(cbs...)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = c.GetEvents(3, ev, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	for _, e := range ev {
		require.Equal(t, f.Direct() && e.Obj == cbs[1], errors.Is(e.Err(), syscall.EINVAL))
	}
}

func TestContextBadInput(t *testing.T) {
	for _, n := range []int{0, -1, maxDepth + 1} {
		_, err := Setup(n)
		require.ErrorIs(t, err, ErrInvalid)
	}
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, block), newBuffer(t, block)
	n, err := c.Submit()
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = c.Submit(nil)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = c.Submit(cb)
	require.ErrorIs(t, err, ErrInvalid, "not prepared")
	_, err = c.Submit(&IOCB{})
	require.ErrorIs(t, err, ErrFreed, "not made by NewIOCB")

	freed := newIOCB(t)
	require.NoError(t, freed.Free())
	require.ErrorIs(t, freed.Free(), ErrFreed)
	for _, err := range []error{
		freed.PrepPread(0, b, 0), freed.PrepPreadv(0, nil, 0), freed.PrepFsync(0), freed.SetData(1), freed.SetEventfd(1),
		freed.SetRWFlags(1), freed.SetPriority(1), c.Cancel(freed),
	} {
		require.ErrorIs(t, err, ErrFreed)
	}
	var none *IOCB
	for _, err := range []error{none.Free(), none.PrepPwrite(0, b, 0), none.PrepPoll(0, 1), none.SetData(1)} {
		require.ErrorIs(t, err, ErrInvalid)
	}

	ev := make([]Event, 2)
	for _, minimum := range []int{-1, 3} {
		_, err = c.GetEvents(minimum, ev, 0)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "minimum")
	}
	n, err = c.GetEvents(0, nil, -1)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.GetEvents(2, ev, 0)
	require.NoError(t, err, "a timeout of 0 does not wait")
	require.Zero(t, n)

	// In flight: neither freed nor prepared nor submitted again, nor its memory.
	r, w := newPipe(t)
	require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
	_, err = c.Submit(cb)
	require.NoError(t, err)
	other := newIOCB(t)
	require.NoError(t, other.PrepPread(f.FD(), b, 0))
	for _, err := range []error{cb.Free(), cb.PrepFsync(0), cb.SetData(1)} {
		require.ErrorIs(t, err, ErrInFlight)
	}
	n, err = c.Submit(other, cb)
	require.ErrorIs(t, err, ErrInFlight)
	require.Zero(t, n)
	n, err = c.Submit(other, other)
	require.ErrorIs(t, err, ErrInFlight, "twice in one batch")
	require.Zero(t, n)
	require.False(t, b.InFlight())
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	n, err = c.GetEvents(1, ev, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestContextBadPointers(t *testing.T) {
	c, cb, f := newContext(t, 8), newIOCB(t), newFile(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), nil, 0))
	require.Zero(t, run(t, c, cb).Res, "a null pointer of length 0 reads nothing")
	require.NoError(t, cb.PrepFdsync(-1))
	_, err := c.Submit(cb)
	require.ErrorIs(t, err, syscall.EBADF)
}

// libaio faults when a context is used after io_destroy; ours says so.
func TestContextAfterDestroy(t *testing.T) {
	c, cb, b := newContext(t, 8), newIOCB(t), newBuffer(t, block)
	f := newFile(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	_, err := c.Submit(cb)
	require.NoError(t, err)
	require.NoError(t, c.Destroy())
	require.False(t, b.InFlight(), "io_destroy waits for the kernel")
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	_, err = c.Submit(cb)
	require.ErrorIs(t, err, ErrClosed)
	for _, minimum := range []int{0, 2} {
		_, err = c.GetEvents(minimum, make([]Event, 1), 0)
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.PGetEvents(minimum, make([]Event, 1), 0, 0)
		require.ErrorIs(t, err, ErrClosed)
	}
	require.ErrorIs(t, c.Cancel(cb), ErrClosed)
	require.ErrorIs(t, c.Destroy(), ErrClosed)
}

// Of several Destroys at once the first does it, and waits for none of the others.
func TestContextDestroyedByMany(t *testing.T) {
	const many = 4
	c, err := Setup(1)
	require.NoError(t, err)
	errs := make(chan error, many)
	c.mu.Lock()
	for range many {
		go func() { errs <- c.Destroy() }()
	}
	time.Sleep(5 * time.Millisecond)
	c.mu.Unlock()
	c.mu.Lock() // whom that woke finds it locked again, and from then on they lock it in turn
	time.Sleep(5 * time.Millisecond)
	c.mu.Unlock()
	done := 0
	for range many {
		select {
		case err := <-errs:
			if err == nil {
				done++
			} else {
				require.ErrorIs(t, err, ErrClosed)
			}
		case <-time.After(time.Minute):
			t.Fatal("a Destroy waits for ever")
		}
	}
	require.Equal(t, 1, done)
}

// Destroy ends the waits of others.
func TestContextDestroyWhileWaiting(t *testing.T) {
	c := newContext(t, 8)
	waits := []func(ev []Event) (int, error){
		func(ev []Event) (int, error) { return c.GetEvents(1, ev, -1) },
		func(ev []Event) (int, error) { return c.GetEvents(1, ev, time.Hour) },
	}
	if pgeteventsWorks(t, c) {
		waits = append(waits, func(ev []Event) (int, error) { return c.PGetEvents(1, ev, time.Hour, 1<<9) })
	}
	errs := make(chan error, len(waits))
	var started sync.WaitGroup
	for _, wait := range waits {
		started.Add(1)
		go func() {
			started.Done()
			_, err := wait(make([]Event, 1))
			errs <- err
		}()
	}
	started.Wait()
	require.NoError(t, c.Destroy())
	for range waits {
		require.ErrorIs(t, <-errs, ErrClosed)
	}
}

// pgeteventsWorks says whether the system has io_pgetevents; not having it is
// all that it may answer otherwise.
func pgeteventsWorks(t testing.TB, c *Context) bool {
	t.Helper()
	_, err := c.PGetEvents(0, make([]Event, 1), time.Millisecond, 0)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) {
		return false
	}
	require.NoError(t, err)
	return true
}

func TestContextPGetEvents(t *testing.T) {
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, block), newBuffer(t, block)
	if !pgeteventsWorks(t, c) {
		t.Skip("the kernel (ENOSYS) or a seccomp profile (EPERM) does not offer io_pgetevents")
	}
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	_, err := c.Submit(cb)
	require.NoError(t, err)
	var ev [1]Event
	n, err := c.PGetEvents(1, ev[:], time.Minute, 1<<9)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, block, ev[0].Res)
}

// The signals of the mask, and no others, leave a wait alone.
func TestPGetEventsMask(t *testing.T) {
	c := newContext(t, 8)
	if !pgeteventsWorks(t, c) {
		t.Skip("the kernel (ENOSYS) or a seccomp profile (EPERM) does not offer io_pgetevents")
	}
	hits := make(chan os.Signal, 1)
	signal.Notify(hits, syscall.SIGUSR1)
	defer signal.Stop(hits)
	bit := func(s syscall.Signal) uint64 { return 1 << (s - 1) }
	wait := func(mask uint64) syscall.Errno {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid := unix.Gettid()
		done := make(chan struct{})
		var storm sync.WaitGroup
		storm.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
					_ = unix.Tgkill(unix.Getpid(), tid, syscall.SIGUSR1)
				}
			}
		})
		_, errno := sysPGetEvents(c.ctx, 1, make([]event, 1), 100*time.Millisecond, mask)
		close(done)
		storm.Wait()
		return errno
	}
	require.Zero(t, wait(bit(syscall.SIGUSR1)|bit(syscall.SIGURG)))
	require.Equal(t, syscall.EINTR, wait(bit(syscall.SIGUSR2)|bit(syscall.SIGURG)))
}

func TestContextPriority(t *testing.T) {
	c, cb, f, b := newContext(t, 8), newIOCB(t), newFile(t, block), newBuffer(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	require.NoError(t, cb.SetPriority(PriorityBestEffort+7))
	require.EqualValues(t, block, run(t, c, cb).Res)
	// The kernel looks at it: a class that does not exist is refused.
	require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	require.NoError(t, cb.SetPriority(-1))
	_, err := c.Submit(cb)
	require.ErrorIs(t, err, syscall.EINVAL)
}
