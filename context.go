package libaio

import (
	"sync"
	"syscall"
	"time"
)

// Context is a kernel AIO context (io_context_t) with the functions of libaio
// as they are, but for those with C callbacks: for code that is ported from C.
// It has no channel, no bound but the kernel's, and GetEvents blocks its OS
// thread; see [Queue] for all that.
//
// Its methods are safe for any number of goroutines, and, unlike libaio's,
// also after Destroy.
type Context struct {
	ctx uintptr

	// mu guards what follows. Only Destroy holds it for long.
	mu       sync.Mutex
	users    int  // calls that use ctx: libaio reads its ring in user space, and io_destroy unmaps it
	dying    bool // Destroy was called: no new users
	unused   *sync.Cond
	inFlight map[uintptr]*IOCB // by address, as events name them
	spare    []*iocbList
}

// iocbList is what one io_submit is prepared in.
type iocbList struct {
	addrs []uint64
	ptrs  cMemory
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
	if err := supported("io_setup"); err != nil {
		return nil, err
	}
	ctx, err := setup(maxEvents)
	if err != nil {
		return nil, err
	}
	c := &Context{ctx: ctx, inFlight: make(map[uintptr]*IOCB)}
	c.unused = sync.NewCond(&c.mu)
	return c, nil
}

// lock locks mu, or says why nobody may use ctx any more.
func (c *Context) lock(op string) error {
	if c == nil || c.ctx == 0 {
		return invalidf(op, "the Context was not made by Setup")
	}
	c.mu.Lock()
	if c.dying {
		c.mu.Unlock()
		return &Error{Op: op, Err: ErrClosed, Detail: "the Context was destroyed"}
	}
	return nil
}

// use keeps ctx from being destroyed until done.
func (c *Context) use(op string) error {
	if err := c.lock(op); err != nil {
		return err
	}
	c.users++
	c.mu.Unlock()
	return nil
}

func (c *Context) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 {
		c.unused.Broadcast()
	}
}

// Destroy waits for calls under way and for what is in flight, drops its events
// and ends the context. Polls in flight are cancelled. A GetEvents that waits
// returns ErrClosed; so does everything afterwards, Destroy included. Stands for
// io_destroy and io_queue_release.
func (c *Context) Destroy() error {
	const op = "io_destroy"
	if err := c.lock(op); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.dying = true
	for c.users > 0 {
		c.unused.Wait()
	}
	c.mu.Unlock() // the others have ErrClosed at once
	errno := sysDestroy(c.ctx)
	c.mu.Lock()
	for _, cb := range c.inFlight {
		cb.end(len(cb.bufs))
	}
	c.inFlight = nil
	for _, l := range c.spare {
		l.ptrs.free()
	}
	c.spare = nil
	return errorOf(op, errno)
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
	const op = "io_submit"
	if err := c.use(op); err != nil {
		return 0, err
	}
	defer c.done()
	if len(iocbs) == 0 {
		return 0, nil
	}
	for i, cb := range iocbs {
		if err := cb.begin(); err != nil {
			c.undo(iocbs[:i])
			return 0, err
		}
	}
	list, errno := c.gather(iocbs)
	if errno != 0 {
		c.undo(iocbs)
		return 0, errorOf(op, errno)
	}
	n, errno := sysSubmitIOCBs(c.ctx, list.addrs, uintptr(list.ptrs.p))
	c.undo(iocbs[n:])
	c.mu.Lock()
	c.spare = append(c.spare, list)
	c.mu.Unlock()
	return n, errorOf(op, errno)
}

// gather notes the IOCBs as in flight, before the kernel can complete them,
// and collects their addresses.
func (c *Context) gather(iocbs []*IOCB) (*iocbList, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := new(iocbList)
	if n := len(c.spare); n > 0 {
		list, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	if errno := list.ptrs.grow(len(iocbs) * int(ptrSize)); errno != 0 {
		return nil, errno
	}
	list.addrs = list.addrs[:0]
	for _, cb := range iocbs {
		sysSetData(cb.addr, uint64(cb.addr))
		list.addrs = append(list.addrs, uint64(cb.addr))
		c.inFlight[cb.addr] = cb
	}
	return list, 0
}

// undo takes back IOCBs that the kernel did not accept.
func (c *Context) undo(iocbs []*IOCB) {
	c.mu.Lock()
	defer c.mu.Unlock()
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
	if err := c.use(op); err != nil {
		return err
	}
	defer c.done()
	switch {
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
// not interrupt it. It holds an OS thread while it waits, which it wakes some
// fifty times a second to look for a Destroy. Stands for io_getevents.
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
	if err := c.lock(op); err != nil { // before all else that is wrong
		return 0, err
	}
	c.mu.Unlock()
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
	if err := c.use(op); err != nil {
		return 0, err
	}
	defer c.done()
	n, errno := get(c.ctx, minimum, raw[:len(events)], wait)
	if errno == syscall.EINTR {
		return 0, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, ev := range raw[:n] {
		cb := c.inFlight[uintptr(ev.data)]
		delete(c.inFlight, cb.addr)
		events[i] = Event{Data: cb.data, Obj: cb, Res: ev.res, Res2: ev.res2}
		cb.end(len(cb.bufs))
	}
	return n, errorOf(op, errno)
}
