package libaio

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// Queue is a bounded queue of operations around one kernel AIO context. Give
// it operations with Submit, TrySubmit or Do; completions of the first two come
// on the channel of Completions, of the third as its result.
//
// At most depth operations are in flight. Those of Submit and TrySubmit that are
// in flight or wait unread on the channel are at most depth+Unread. Each
// accepted operation has exactly one completion. All methods are safe for any
// number of goroutines.
//
// A Queue holds an AIO context, a descriptor (an eventfd), two goroutines and C
// memory until Close. While reads, writes or syncs are in flight one OS thread waits
// for them in the kernel, however many they are. None does while nothing is in
// flight, or nothing but polls: these have the runtime's poller. Each busy Queue so takes
// one thread, of which Go allows 10000 and then ends the program
// (runtime/debug.SetMaxThreads): share a Queue rather than have one for each file.
// With Options.Polled there is no descriptor and no goroutine.
type Queue struct {
	depth  int
	limit  int // of operations in flight and completions that are unread
	ch     chan Completion
	polled *polled // instead of ch, which is closed by Close all the same
	ring   kernelRing

	// mu guards what follows, down to the next comment. Nothing blocks while
	// it is held: the channel always has a place for what is in flight. Who
	// may have called finish lets it go with unlock.
	mu       sync.Mutex
	slots    []slot
	free     []uint32 // idle slots
	promised int      // idle slots that were granted to waiters
	owed     int      // places on ch for operations that have not completed
	waiters  waiters
	outbox
	calls       []*call       // idle
	polls       int           // accepted and not completed
	leftBuffers []*Buffer     // to be given back by unlock
	leftFiles   []*File       // to be closed by unlock
	woken       bool          // the reaper or the leader was, and has found nothing yet
	leading     bool          // somebody waits in the kernel: see lead.go
	alone       int           // Dos in a row that have found nothing in flight
	returning   int           // Dos that have completed and not come back yet
	gathering   bool          // a Do lets others run before it sends
	gatherHaste haste         // of Dos that would gather
	leadHaste   haste         // of the leader
	loneHaste   haste         // of Reap and of Dos that are alone
	events      []event       // of who reads the ring
	yielded     time.Duration // when somebody last did: see yield.go
	closed      bool
	stats       Stats

	quiet  int       // operations that the kernel has, or is being given, and that signal nothing
	toLead sync.Cond // of the leader, on mu: see lead.go
	ended  bool      // the leader is to end

	canCancel error         // why polls cannot be cancelled, and so not be submitted
	sendFn    func()        // q.sendOn, made once: a go statement with it does not allocate
	blockFn   func()        // q.block, likewise
	watchdog  *time.Timer   // calls rescue
	drained   chan struct{} // closed when the queue is closed and nothing in flight
	reaped    chan struct{} // closed when the reaper has ended
	led       chan struct{} // closed when the leader has ended
	teardown  sync.Once
	gone      chan struct{}  // closed when everything is given back
	left      sync.WaitGroup // goroutines of unlock
}

// kernelRing is what the kernel and C hold for a Queue.
type kernelRing struct {
	ring
	iocbs   cMemory  // one for each slot: the kernel knows an operation by its iocb's address
	eventfd int      // raw: os.File.Fd would make it blocking; -1: none
	poll    *os.File // the same descriptor on the runtime's poller
}

// slot is an operation from acceptance to completion.
type slot struct {
	op        Op        // its bufs are vector
	vector    []*Buffer // a copy of given, in memory that is used again
	given     []*Buffer // for the Completion
	call      *call     // where sink is sinkCall
	done      int       // bytes moved by the pieces before this one
	stage     stage
	sink      sink
	cancelled bool   // a poll that is to end
	lone      uint64 // not 0: its Do leads
}

// stage is how far the operation of a slot has come.
type stage uint8

const (
	stageIdle    stage = iota
	stagePending       // to be sent: can be withdrawn
	stageSent          // the sender's or the kernel's
)

// sink is where a completion goes.
type sink uint8

const (
	sinkChannel   sink = iota
	sinkCall           // a Do that waits
	sinkAbandoned      // a Do that was cancelled: nobody is told
)

// Options are what NewQueue may be told. The zero value, and a nil pointer,
// mean the defaults.
type Options struct {
	// Unread is how many completions may wait unread on the channel, or for Reap,
	// while depth operations are in flight: 1 to 4194304. 0 means as many as the
	// depth.
	Unread int
	// Polled is for one loop that submits and takes completions itself, with Reap.
	// Nothing comes on the channel; Do fails with ErrInvalid, and Files cannot use
	// the Queue.
	Polled bool
	// SystemCalls has completions read by io_getevents alone. Otherwise they are
	// read from the memory that the kernel shares, which costs no system call, but
	// which tools such as Valgrind and rr do not know of. With it a seccomp filter that
	// comes later than the queue and denies io_getevents ends the program with a panic,
	// as completions cannot be had any more.
	SystemCalls bool
}

// Completion says how an operation ended. Kind, Tag, File, Offset and Buffer, or for
// a vector Buffers, are those of the operation. N is the number of bytes moved, or
// the events of a poll: fewer bytes than asked is no error, and a read at the
// end of the file gives 0. Err is nil or an [*Error]; beside it, N is what
// earlier pieces moved (see [Op.WithResume]).
type Completion struct {
	Tag     uint64
	File    *File
	Buffer  *Buffer
	Buffers []*Buffer
	Offset  int64
	N       int
	Err     error
	Kind    Kind
}

// NewQueue makes a queue for depth operations in flight, 1 to 4194304, which count
// towards fs.aio-max-nr of the whole machine. Close it when done. Stands for io_setup.
//
// Errors: ErrInvalid for a depth or an Unread out of range. EAGAIN where the system has
// too few operations free, with the numbers and what to do. ENOSYS or EPERM where the
// kernel or a seccomp profile does not allow AIO, its io_getevents, or an eventfd. EMFILE
// or ENFILE where no descriptor is left, ENOMEM for want of memory.
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
	if err := supported("queue"); err != nil {
		return nil, err
	}
	ring, err := newKernelRing(depth, &o)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		depth:   depth,
		limit:   depth + o.Unread,
		ring:    ring,
		slots:   make([]slot, depth),
		free:    make([]uint32, depth),
		outbox:  outbox{pending: make([]uint32, 0, depth)},
		events:  make([]event, min(depth, maxReap)),
		drained: make(chan struct{}),
		reaped:  make(chan struct{}),
		led:     make(chan struct{}),
		gone:    make(chan struct{}),
	}
	for i := range q.free {
		q.free[i] = uint32(depth - 1 - i)
	}
	q.canCancel = canCancel(ring.ctx)
	q.sendFn, q.blockFn = q.sendOn, q.block
	q.watchdog = time.AfterFunc(time.Hour, q.rescue)
	q.watchdog.Stop()
	if o.Polled {
		q.ch, q.polled = make(chan Completion), newPolled(q.limit)
		return q, nil
	}
	q.ch = make(chan Completion, q.limit)
	q.toLead.L = &q.mu
	go q.reapUntilClosed()
	go q.leadUntilClosed()
	return q, nil
}

// newKernelRing makes the context, the eventfd and the iocbs, or none of them.
func newKernelRing(depth int, o *Options) (r kernelRing, err error) {
	defer func() {
		if err != nil {
			r.destroy()
		}
	}()
	if errno := r.iocbs.grow(depth * iocbSize); errno != 0 {
		return r, &Error{Op: "queue", Err: errno, Detail: fmt.Sprintf("no memory for the iocbs of depth %d", depth)}
	}
	r.eventfd = -1
	if !o.Polled {
		if err = r.openEventfd(); err != nil {
			return r, err
		}
	}
	ctx, err := setup(depth)
	if err != nil {
		return r, err
	}
	r.ring = newRing(ctx, o.SystemCalls)
	return r, canGetEvents(ctx)
}

// openEventfd makes the eventfd and gives it to the runtime's poller.
func (r *kernelRing) openEventfd() (err error) {
	if r.eventfd, err = makeEventfd(); err != nil {
		return err
	}
	r.poll = os.NewFile(uintptr(r.eventfd), "libaio eventfd")
	// NewFile keeps quiet when the poller refuses the descriptor. Without the
	// poller nobody would learn of completions, and a deadline is what it has.
	if err = r.poll.SetReadDeadline(time.Time{}); err != nil {
		return &Error{Op: "epoll", Err: err, Detail: "the runtime's poller does not take the eventfd: see /proc/sys/fs/epoll/max_user_watches"}
	}
	return nil
}

// destroy gives back what there is. Nothing may be in flight or use the ring.
func (r *kernelRing) destroy() {
	if r.ctx != 0 {
		sysDestroy(r.ctx)
	}
	if r.poll != nil {
		r.poll.Close()
	}
	r.iocbs.free()
}

// Completions is the channel of the queue: one for its whole life, closed by
// Close after the last completion. Read it all the same after Close, until
// it is drained: what was accepted is there. With Options.Polled nothing comes on
// it.
func (q *Queue) Completions() <-chan Completion {
	if !q.made() {
		return nil
	}
	return q.ch
}

// Depth is the number of operations that may be in flight.
func (q *Queue) Depth() int {
	if !q.made() {
		return 0
	}
	return q.depth
}

// made says whether the Queue was made by NewQueue.
func (q *Queue) made() bool { return q != nil && q.ch != nil }
