package libaio

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// This file reads completions from the ring that the kernel shares with us: a
// context is its address. That costs no system call.
//
// There is one reader at a time, which moves head; the kernel moves tail. While a
// thread waits in io_getevents it is the reader, and nobody else may be: see
// lead.go.

// ringHead is the head of the ring. The kernel has the same structure in fs/aio.c.
type ringHead struct {
	id           uint32
	nr           uint32 // number of events that fit
	head         uint32
	tail         uint32
	magic        uint32
	compat       uint32
	incompat     uint32
	headerLength uint32
}

const ringMagic = 0xa10a10a1

// ring is a context, and where its completions are.
type ring struct {
	ctx    uintptr
	head   *ringHead // nil: to be read by system call
	events []event
}

// pointerTo makes a pointer of an address outside the Go heap.
func pointerTo(addr uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr))
}

// newRing knows the ring of a context, unless it has a form that we do not know
// or is not to be read in user space.
func newRing(ctx uintptr, systemCall bool) ring {
	h := (*ringHead)(pointerTo(ctx))
	if systemCall || h.magic != ringMagic || h.incompat != 0 || h.headerLength != uint32(unsafe.Sizeof(*h)) || h.nr == 0 {
		return ring{ctx: ctx}
	}
	first := (*event)(unsafe.Add(unsafe.Pointer(h), h.headerLength))
	return ring{ctx: ctx, head: h, events: unsafe.Slice(first, h.nr)}
}

// shown is the ring for who may look at it, or 0.
func (r *ring) shown() uintptr {
	if r.head == nil {
		return 0
	}
	return r.ctx
}

// take takes what completions there are, at most len(to), without waiting.
func (r *ring) take(to []event) int {
	if r.head == nil {
		return r.await(0, to, 0)
	}
	nr := uint32(len(r.events))
	head := r.head.head % nr
	tail := atomic.LoadUint32(&r.head.tail) % nr // and what the kernel wrote before it
	if head == tail {
		return 0
	}
	raceReap()
	end := tail
	if tail < head {
		end = nr
	}
	n := copy(to, r.events[head:end])
	if tail < head {
		n += copy(to[n:], r.events[:tail])
	}
	atomic.StoreUint32(&r.head.head, (head+uint32(n))%nr)
	return n
}

// await takes completions, at most len(to), and waits for a minimum of them, at most for
// timeout; less than 0 is for ever. It may return fewer, as after a signal.
func (r *ring) await(minimum int, to []event, timeout time.Duration) int {
	n, errno := sysGetEvents(r.ctx, minimum, to, timeout)
	switch {
	case errno == 0 || errno == syscall.EINTR:
		return n
	case r.head == nil:
		// NewQueue has seen it work. Going on would be a silent hang.
		panic(&Error{Op: "io_getevents", Err: errno, Detail: "it worked when the queue was made, and is the only way to its completions: do without Options.SystemCalls"})
	}
	// A seccomp filter that came later than the queue: what cannot be waited for
	// can be looked at.
	if timeout < 0 || timeout > lookAfter {
		timeout = lookAfter
	}
	time.Sleep(timeout)
	return r.take(to)
}

// lookAfter is how long to sleep where waiting in the kernel is not allowed.
const lookAfter = time.Millisecond
