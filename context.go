package libaio

import (
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Context is a kernel AIO context (io_context_t) with the functions of libaio
// as they are: for code that is ported from C. It has no channel, no bound but
// the kernel's, and GetEvents blocks its OS thread; see [Queue] for all that.
//
// Its methods are safe for any number of goroutines, and, unlike libaio's,
// also after Destroy.
type Context struct {
	// life is held for reading by whoever uses ctx and for writing by
	// Destroy: libaio reads the ring of ctx in user space, and io_destroy
	// unmaps it.
	life sync.RWMutex
	ctx  uintptr // 0 after Destroy

	// submit guards what Submit prepares its call in.
	submit sync.Mutex
	addrs  []uint64
	ptrs   unsafe.Pointer // C memory for cap(addrs) pointers

	// flight guards inFlight. Taken last.
	flight   sync.Mutex
	inFlight map[uintptr]*IOCB // by address, as events name them
}

// Event is a completion: struct io_event.
type Event struct {
	Data uint64 // what SetData set
	Obj  *IOCB  // the IOCB that was submitted
	Res  int64  // bytes moved, poll events that came, or a negative errno
	Res2 int64  // 0 in all kernels since 4.18
}

// Err is the error of the operation, nil where Res is not negative.
func (e *Event) Err() error {
	if e.Res < 0 {
		return &Error{Op: "io_getevents", Err: syscall.Errno(-e.Res)}
	}
	return nil
}

// Setup makes a context for at least maxEvents operations in flight, at least
// 1. The kernel rounds the number up. Destroy it when done. The errors are
// those of [NewQueue]. Stands for io_setup and io_queue_init.
func Setup(maxEvents int) (*Context, error) {
	if err := checkDepth(maxEvents); err != nil {
		return nil, err
	}
	ctx, err := setup(maxEvents)
	if err != nil {
		return nil, err
	}
	return &Context{ctx: ctx, inFlight: make(map[uintptr]*IOCB)}, nil
}

// Destroy waits for what is in flight, drops its events and ends the context.
// Polls in flight are cancelled. A GetEvents that waits returns ErrClosed; so
// does everything afterwards, Destroy included. Stands for io_destroy and
// io_queue_release.
func (c *Context) Destroy() error {
	c.life.Lock()
	defer c.life.Unlock()
	if c.ctx == 0 {
		return closed("io_destroy")
	}
	errno := sysDestroy(c.ctx)
	c.ctx = 0
	for _, cb := range c.inFlight {
		cb.end(len(cb.bufs))
	}
	c.inFlight = nil
	if c.ptrs != nil {
		sysFree(c.ptrs)
		c.ptrs = nil
	}
	return errorOf("io_destroy", errno)
}

func closed(op string) error {
	return &Error{Op: op, Err: ErrClosed, Detail: "the Context was destroyed"}
}

func errorOf(op string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &Error{Op: op, Err: errno}
}

// Submit submits prepared IOCBs, in order, and returns how many the kernel
// accepted, from the front. As in C, it accepts fewer where one is refused,
// and gives the reason only when that one is the first: fail it to its owner
// and submit the rest. An IOCB that is nil, freed, not prepared or in flight,
// or has a freed Buffer, makes it accept none. Stands for io_submit.
func (c *Context) Submit(iocbs ...*IOCB) (int, error) {
	c.life.RLock()
	defer c.life.RUnlock()
	if c.ctx == 0 {
		return 0, closed("io_submit")
	}
	if len(iocbs) == 0 {
		return 0, nil
	}
	for i, cb := range iocbs {
		if err := cb.begin(); err != nil {
			c.undo(iocbs[:i])
			return 0, err
		}
	}
	c.submit.Lock()
	defer c.submit.Unlock()
	if err := c.gather(iocbs); err != nil {
		c.undo(iocbs)
		return 0, err
	}
	n, errno := sysSubmitIOCBs(c.ctx, c.addrs, uintptr(c.ptrs))
	c.undo(iocbs[n:])
	return n, errorOf("io_submit", errno)
}

// gather notes the IOCBs as in flight, before the kernel can complete them,
// and collects their addresses. Held: submit.
func (c *Context) gather(iocbs []*IOCB) error {
	if n := len(iocbs); n > cap(c.addrs) {
		mem, errno := sysAlloc(int(ptrSize), n*int(ptrSize))
		if errno != 0 {
			return errorOf("io_submit", errno)
		}
		if c.ptrs != nil {
			sysFree(c.ptrs)
		}
		c.ptrs, c.addrs = mem, make([]uint64, 0, n)
	}
	c.addrs = c.addrs[:0]
	c.flight.Lock()
	defer c.flight.Unlock()
	for _, cb := range iocbs {
		sysSetData(cb.addr, uint64(cb.addr))
		c.addrs = append(c.addrs, uint64(cb.addr))
		c.inFlight[cb.addr] = cb
	}
	return nil
}

// undo takes back IOCBs that the kernel did not accept.
func (c *Context) undo(iocbs []*IOCB) {
	c.flight.Lock()
	defer c.flight.Unlock()
	for _, cb := range iocbs {
		delete(c.inFlight, cb.addr)
		cb.end(len(cb.bufs))
	}
}

// Cancel asks the kernel to cancel an IOCB in flight. nil means that it was
// cancelled and that its event comes through GetEvents like any other. Only
// polls can be cancelled: the kernel has EINVAL for all other operations, and
// for a second Cancel. Stands for io_cancel.
func (c *Context) Cancel(cb *IOCB) error {
	const op = "io_cancel"
	c.life.RLock()
	defer c.life.RUnlock()
	switch {
	case c.ctx == 0:
		return closed(op)
	case cb == nil:
		return invalidf(op, "the IOCB is nil")
	case cb.addr == 0:
		return &Error{Op: op, Err: ErrFreed, Detail: "the IOCB was freed"}
	}
	var ev event
	errno := sysCancel(c.ctx, cb.addr, &ev)
	if errno == syscall.EINPROGRESS { // since Linux 3.11 this is success
		return nil
	}
	return errorOf(op, errno)
}

// GetEvents reads completions into events: at least minimum of them, for which
// it waits up to timeout. A timeout of 0 does not wait, a negative one waits
// without limit. It returns how many it read, which are fewer than minimum
// only after the timeout, or with ErrClosed because of a Destroy. Signals do
// not interrupt it. It holds an OS thread while it waits. Stands for
// io_getevents.
func (c *Context) GetEvents(minimum int, events []Event, timeout time.Duration) (int, error) {
	return c.getEvents("io_getevents", sysGetEvents, minimum, events, timeout)
}

// PGetEvents is GetEvents with the signals of mask (bit n-1 is signal n)
// blocked on the waiting thread. ENOSYS before Linux 4.18 and in gVisor, EPERM
// under seccomp profiles that do not list it, as some of podman and buildah.
// Stands for io_pgetevents.
func (c *Context) PGetEvents(minimum int, events []Event, timeout time.Duration, mask uint64) (int, error) {
	get := func(ctx uintptr, minimum int, events []event, timeout time.Duration) (int, syscall.Errno) {
		return sysPGetEvents(ctx, minimum, events, timeout, mask)
	}
	return c.getEvents("io_pgetevents", get, minimum, events, timeout)
}

// waitSlice is how long GetEvents keeps a Destroy waiting at most.
const waitSlice = 20 * time.Millisecond

type getFunc func(ctx uintptr, minimum int, events []event, timeout time.Duration) (int, syscall.Errno)

// getEvents waits in slices, and goes on after signals and short counts, both
// of which end a wait in the kernel early.
func (c *Context) getEvents(op string, get getFunc, minimum int, events []Event, timeout time.Duration) (int, error) {
	if minimum < 0 || minimum > len(events) {
		return 0, invalidf(op, "minimum %d: must be 0 to %d, the number of events there is room for", minimum, len(events))
	}
	raw := make([]event, len(events))
	deadline := time.Now().Add(timeout)
	for n := 0; ; {
		slice := waitSlice
		if timeout >= 0 {
			slice = min(slice, max(time.Until(deadline), 0))
		}
		got, err := c.getOnce(op, get, max(minimum-n, 0), events[n:], raw, slice)
		n += got
		if err != nil || n >= minimum || timeout >= 0 && slice == 0 {
			return n, err
		}
	}
}

// getOnce is one call; a signal counts as nothing read.
func (c *Context) getOnce(op string, get getFunc, minimum int, events []Event, raw []event, wait time.Duration) (int, error) {
	c.life.RLock()
	defer c.life.RUnlock()
	if c.ctx == 0 {
		return 0, closed(op)
	}
	n, errno := get(c.ctx, minimum, raw[:len(events)], wait)
	if errno == syscall.EINTR {
		return 0, nil
	}
	c.flight.Lock()
	defer c.flight.Unlock()
	for i, ev := range raw[:n] {
		cb := c.inFlight[uintptr(ev.data)]
		delete(c.inFlight, cb.addr)
		events[i] = Event{Data: cb.data, Obj: cb, Res: ev.res, Res2: ev.res2}
		cb.end(len(cb.bufs))
	}
	return n, errorOf(op, errno)
}
