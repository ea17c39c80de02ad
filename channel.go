package libaio

import (
	"context"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue is a bounded queue of operations around one kernel AIO context. Give
// it operations with Submit, TrySubmit or Do; completions of the first two come
// on the channel of Completions, of the third as its result.
//
// At most depth operations are in flight; at most depth+Unread are in flight
// or wait unread on the channel. Each accepted operation has exactly one
// completion. All methods are safe for any number of goroutines.
//
// A Queue holds an AIO context, a descriptor (an eventfd), a goroutine and C
// memory until Close. While nothing completes the goroutine is parked on the
// runtime's poller: no OS thread waits, however many operations are in flight.
type Queue struct {
	depth int
	ch    chan Completion
	ring  kernelRing

	// mu guards what follows, down to the next comment. Nothing blocks while
	// it is held: the channel always has a place for what is in flight.
	mu       sync.Mutex
	slots    []slot
	free     []uint32 // idle slots
	promised int      // idle slots that were granted to waiters
	owed     int      // places on ch for operations that have not completed
	waiters  waitList
	pending  []uint32 // slots that are accepted and not yet submitted
	sending  bool     // someone is the sender
	calls    []*call  // idle
	polls    int      // accepted and not completed
	closed   bool
	stats    Stats

	// Of the sender only: see flush.
	batch []uint32
	reqs  []request
	files []*File

	// Of the reaper only.
	events []event

	sendFn    func()        // q.sendOn, made once: a go statement with it does not allocate
	drained   chan struct{} // closed and nothing in flight
	reaped    chan struct{} // closed when the reaper has ended
	closeDone chan struct{} // closed when Close is through
}

// kernelRing is what the kernel and C hold for a Queue.
type kernelRing struct {
	ctx     uintptr
	mem     unsafe.Pointer // the iocbs, and behind them the pointers to them
	iocbs   uintptr
	ptrs    uintptr
	eventfd int      // raw: os.File.Fd would make it blocking
	poll    *os.File // the same descriptor on the runtime's poller
}

// slot is an operation from acceptance to completion.
type slot struct {
	op   Op
	sink sink
	call *call // where sink is sinkCall
}

// sink is where a completion goes.
type sink uint8

const (
	sinkChannel   sink = iota
	sinkCall           // a Do that waits
	sinkAbandoned      // a Do that was cancelled: nobody is told
)

// call is a Do that waits for its result. Guarded by the Queue's mu, but for
// the fields n and err, which done hands over.
type call struct {
	done chan struct{} // capacity 1
	n    int
	err  error
}

// Options are what NewQueue may be told. The zero value, and a nil pointer,
// mean the defaults.
type Options struct {
	// Unread is how many completions may wait unread on the channel while
	// depth operations are in flight. 0 means as many as the depth.
	Unread int
}

// Completion says how an operation ended. Kind, Tag, Offset and Buffer are
// those of the operation. N is the number of bytes moved: fewer than asked is
// no error, and a read at the end of the file gives 0. Err is nil or an
// [*Error].
type Completion struct {
	Tag    uint64
	Buffer *Buffer
	Offset int64
	N      int
	Err    error
	Kind   Kind
}

// NewQueue makes a queue for depth operations in flight, at least 1. Its errors
// are those of io_setup: EAGAIN where the system has too few free, with the
// numbers and what to do; ENOSYS or EPERM where the kernel or a seccomp
// profile does not allow AIO. Close it when done. Stands for io_setup.
func NewQueue(depth int, opts *Options) (*Queue, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := checkDepth(depth); err != nil {
		return nil, err
	}
	if o.Unread < 0 || o.Unread > maxDepth {
		return nil, invalidf("queue", "Options.Unread %d: must be 0, for as many as the depth, to %d", o.Unread, maxDepth)
	}
	if o.Unread == 0 {
		o.Unread = depth
	}
	ring, err := newKernelRing(depth)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		depth:     depth,
		ch:        make(chan Completion, depth+o.Unread),
		ring:      ring,
		slots:     make([]slot, depth),
		free:      make([]uint32, depth),
		pending:   make([]uint32, 0, depth),
		batch:     make([]uint32, 0, depth),
		reqs:      make([]request, depth),
		files:     make([]*File, depth),
		events:    make([]event, min(depth, maxReap)),
		drained:   make(chan struct{}, 1),
		reaped:    make(chan struct{}),
		closeDone: make(chan struct{}),
	}
	for i := range q.free {
		q.free[i] = uint32(depth - 1 - i)
	}
	q.sendFn = q.sendOn
	go q.reapUntilClosed()
	return q, nil
}

// newKernelRing makes the context, the eventfd and the iocbs, or none of them.
func newKernelRing(depth int) (r kernelRing, err error) {
	defer func() {
		if err != nil {
			r.destroy()
		}
	}()
	r.eventfd = -1
	mem, errno := sysAlloc(iocbSize, depth*(iocbSize+int(ptrSize)))
	if errno != 0 {
		return r, &Error{Op: "queue", Err: errno, Detail: fmt.Sprintf("no memory for the iocbs of depth %d", depth)}
	}
	r.mem = mem
	r.iocbs = uintptr(mem)
	r.ptrs = r.iocbs + uintptr(depth*iocbSize)
	r.eventfd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return r, &Error{Op: "eventfd", Err: err}
	}
	r.poll = os.NewFile(uintptr(r.eventfd), "libaio eventfd")
	if r.ctx, err = setup(depth); err != nil {
		return r, err
	}
	return r, nil
}

// destroy gives back what there is. Nothing may be in flight or use the ring.
func (r *kernelRing) destroy() {
	if r.ctx != 0 {
		sysDestroy(r.ctx)
	}
	if r.poll != nil {
		r.poll.Close()
	}
	if r.mem != nil {
		sysFree(r.mem)
	}
}

// Completions is the channel of the queue: one for its whole life, closed by
// Close behind the last completion. Read it all the same after Close, until
// it is drained: what was accepted is there.
func (q *Queue) Completions() <-chan Completion { return q.ch }

// Depth is the number of operations that may be in flight.
func (q *Queue) Depth() int { return q.depth }

// Do submits one operation and waits for it: it returns the number of bytes
// moved, which may be fewer than asked (0 at the end of the file), or an
// [*Error]. The completion does not go to the channel, and a full or unread
// channel does not hold Do up. It allocates nothing.
//
// When ctx ends first, Do returns its error at once. If the operation was not
// accepted by then the Buffer is the caller's. Otherwise the error also
// answers to ErrInFlight, the operation runs to its end in the kernel, and the
// Buffer stays in flight until then: call [Buffer.Release] on it.
func (q *Queue) Do(ctx context.Context, op Op) (int, error) {
	if err := op.pin(); err != nil {
		return 0, err
	}
	q.mu.Lock()
	if _, err := q.awaitRoom(ctx, 1, false); err != nil {
		q.mu.Unlock()
		op.unpin()
		return 0, op.waitError(err)
	}
	c := q.newCall()
	index := q.accept(op, sinkCall, c)
	q.flush()
	q.mu.Unlock()

	select {
	case <-c.done:
	case <-ctx.Done():
		if q.abandon(index, c) {
			return 0, op.abandonError(ctx.Err())
		}
		<-c.done // it had completed
	}
	n, err := c.n, c.err
	q.mu.Lock()
	q.freeCall(c)
	q.mu.Unlock()
	return n, err
}

// abandonError is what a Do returns whose operation is in flight.
func (o *Op) abandonError(cause error) error {
	e := o.failure(cause, "the operation is still in flight")
	if o.buf != nil {
		e.Detail += ": give the Buffer back with Release"
	}
	e.also = ErrInFlight
	return e
}

// waitError is what Do returns when it did not get room.
func (o *Op) waitError(cause error) error {
	if cause == ErrClosed {
		return o.failure(ErrClosed, "the queue is closed")
	}
	return o.failure(cause, "the operation was not submitted")
}

// abandon leaves an accepted operation to itself; false if it has completed.
func (q *Queue) abandon(index uint32, c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.slots[index]
	if s.call != c {
		return false
	}
	s.call, s.sink = nil, sinkAbandoned
	q.freeCall(c)
	q.cancelPoll(index)
	return true
}

func (q *Queue) newCall() *call {
	if n := len(q.calls); n > 0 {
		c := q.calls[n-1]
		q.calls = q.calls[:n-1]
		return c
	}
	return &call{done: make(chan struct{}, 1)}
}

func (q *Queue) freeCall(c *call) {
	c.n, c.err = 0, nil
	q.calls = append(q.calls, c)
}

// Close ends the queue: it refuses new operations and those that wait for
// room with ErrClosed, waits for everything in flight, and gives all back to
// the system. Each accepted operation has its completion on the channel, which
// is closed then. Nobody needs to read the channel for Close to return.
//
// Polls end with ECANCELED. For all else Close waits as long as the kernel
// does: it cannot take memory back from it.
// io_destroy itself takes some tens of milliseconds. A second Close waits for
// the first and returns nil. Stands for io_destroy.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		<-q.closeDone
		return nil
	}
	q.closed = true
	q.waiters.wakeAll()
	q.cancelPolls() // nothing else may ever end them
	for !q.idle() {
		q.mu.Unlock()
		<-q.drained
		q.mu.Lock()
	}
	q.mu.Unlock()

	q.ring.poll.Close() // ends the reaper
	<-q.reaped
	q.ring.poll = nil
	q.ring.destroy()
	close(q.ch)
	close(q.closeDone)
	return nil
}

// cancelPolls cancels the polls in flight. Held: mu.
func (q *Queue) cancelPolls() {
	for i := 0; q.polls > 0 && i < len(q.slots); i++ {
		q.cancelPoll(uint32(i))
	}
}

// cancelPoll cancels the operation of a slot if it is a poll: the kernel
// cancels nothing else. A poll that is not submitted yet, for which the kernel
// has EINVAL, is cancelled by the sender. Held: mu, so that the slot stays
// what it is.
func (q *Queue) cancelPoll(index uint32) {
	s := &q.slots[index]
	if s.op.kind != KindPoll || s.sink != sinkAbandoned && !q.closed {
		return
	}
	var ev event
	sysCancel(q.ring.ctx, q.ring.iocbs+uintptr(index)*iocbSize, &ev)
}

// idle says that nothing is in flight and nobody uses the C memory.
func (q *Queue) idle() bool {
	return len(q.free) == q.depth && !q.sending
}

// noteIdle tells a Close that waits. It is called wherever idle may become
// true.
func (q *Queue) noteIdle() {
	if q.closed && q.idle() {
		select {
		case q.drained <- struct{}{}:
		default:
		}
	}
}
