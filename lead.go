package libaio

import (
	"context"
	"syscall"
	"time"
)

// This file is for the lone waiter: a Do with nothing else in flight, as those
// before it. Where no context can call it off it is a pread or a pwrite. Otherwise it
// waits in the kernel itself: its operation signals no eventfd, so that nobody else is
// woken, and its thread sleeps as that of a pread does.
//
// It is the leader then: the one reader of the ring. What others submit meanwhile
// signals the eventfd as always; the leader completes that too, as the kernel
// wakes it for each, and the reaper leaves the ring alone. When its own
// operation has completed, the leader looks at the ring a last time, for what the
// reaper has left, and is done.

// How long a leader with a context to look at waits in the kernel at a time.
const (
	leadFirst = time.Millisecond
	leadMost  = 8 * time.Millisecond
)

// loneTimes is how many times in a row a Do must have found nothing in flight for
// the next to lead. Of many goroutines that come back all at once the first finds
// that too, and they are better served by the reaper.
const loneTimes = 3

// mayLead says whether whoever has accepted the operation of this slot may wait
// for it in the kernel. Held: mu.
func (q *Queue) mayLead(s *slot) bool {
	if len(q.free) != q.depth-1 {
		q.alone = 0
		return false
	}
	q.alone++
	return q.alone > loneTimes && !q.leading && !q.waiting &&
		q.sending == 0 && q.blockers == 0 &&
		kinds[s.op.kind].data && s.op.file.direct
}

// doAlone does the lone operation of this slot, or waits for it in the kernel, at
// most until ctx ends. Held: mu, but not meanwhile.
func (q *Queue) doAlone(ctx context.Context, index uint32) {
	s := &q.slots[index]
	if ctx.Done() == nil && s.op.plain() {
		q.doLone(index)
		return
	}
	s.lone = q.stats.Submitted // names this operation: slots are used again
	number := s.lone
	q.flush()
	q.lead(ctx, index, number)
}

// lead waits for the lone operation of this number, at most until ctx ends. The
// operation is in flight then, and a goroutine goes on. Held: mu, but not
// meanwhile.
func (q *Queue) lead(ctx context.Context, index uint32, number uint64) {
	limit := time.Duration(-1)
	if ctx.Done() != nil {
		limit = leadFirst
	}
	if s := &q.slots[index]; s.lone == number && s.stage == stagePending {
		s.lone = 0 // there was no memory for a sender: the kernel does not have it yet
	}
	for q.slots[index].lone == number { // or refused, or completed by the reaper
		if limit > 0 && ctx.Err() != nil {
			go q.leadOn(index, number)
			return
		}
		q.awaitEvents(1, limit)
		if limit > 0 {
			limit = min(2*limit, leadMost)
		}
	}
}

// plain says whether pread(2) or pwrite(2) can do the operation.
func (o *Op) plain() bool {
	return o.buf != nil && o.flags == 0 && o.durability == DurabilityNone && o.priority == 0
}

// doLone does the lone operation of this slot by pread(2) or pwrite(2), for whom
// no context can call off: that is one system call for two. To all others it is in
// flight. Held: mu, but not meanwhile.
func (q *Queue) doLone(index uint32) {
	s := &q.slots[index]
	q.pending = q.pending[:0] // it was all there was
	s.stage = stageSent
	q.unlock()
	n, err := s.op.call(s.done)
	q.mu.Lock()
	s.stage = stagePending // no sender has released its file
	res := int64(n)
	if err != nil {
		res = -int64(asErrno(err))
	}
	switch {
	case res == -int64(syscall.ESPIPE): // of a file without positions, which AIO does not mind
		q.enqueue(index)
		q.flush()
	case q.again(index, res):
		q.flush()
	default:
		q.finish(index, res)
	}
	q.settle()
}

// awaitEvents waits in the kernel for a minimum of completions, at most for limit, and takes
// what there is. Held: mu, but not during the wait.
func (q *Queue) awaitEvents(minimum int, limit time.Duration) {
	q.leading = true
	q.unlock()
	n := q.ring.await(min(minimum, len(q.events)), q.events, limit)
	q.mu.Lock()
	q.leading = false
	if n > 0 {
		q.deliver(q.events[:n])
	}
	q.takeAll()
	q.settle()
}

// leadOn is the goroutine of lead.
func (q *Queue) leadOn(index uint32, number uint64) {
	q.mu.Lock()
	q.lead(context.Background(), index, number)
	q.unlock()
}
