package libaio

import (
	"context"
	"syscall"
	"time"
)

// This file is about waiting in the kernel, in io_getevents, which costs one
// switch of threads where a signal and the runtime's poller take two.
//
// Who waits there is the leader: the one reader of the ring meanwhile. Each queue
// has a goroutine for that. Reads, writes and syncs signal nothing, and while the
// kernel has some of these the goroutine waits for them. Polls, which may take for
// ever, and what is done within io_submit, signal the eventfd, for which no thread
// waits; while there is a leader it completes these too, as the kernel wakes it for
// each, and the reaper leaves the ring alone.
//
// The lone waiter, a Do with nothing else in flight, as those before it, leads
// itself, so that nobody else is woken and its thread sleeps as that of a pread does.
// Where no context can call it off it is a pread or a pwrite.

// signals says whether the completion of the operation is signalled on the eventfd.
func (o *Op) signals() bool { return o.kind == KindPoll || o.blocks() }

// quietOf counts the operations that signal nothing. Held: mu.
func (q *Queue) quietOf(batch []uint32) (n int) {
	for _, index := range batch {
		if !q.slots[index].op.signals() {
			n++
		}
	}
	return n
}

// quietIn counts the requests that signal nothing.
func quietIn(reqs []request) (n int) {
	for i := range reqs {
		n += 1 - int(reqs[i].signals)
	}
	return n
}

// wakeLeader is called where the leader may have something to wait for. Held: mu.
func (q *Queue) wakeLeader() {
	if q.quiet > 0 && !q.leading && q.polled == nil {
		q.toLead.Signal()
	}
}

// leadUntilClosed is the goroutine.
func (q *Queue) leadUntilClosed() {
	defer close(q.led)
	q.mu.Lock()
	for q.mayWait() {
		if q.takeEvents() == 0 {
			q.woken = true
			q.awaitEvents(1, q.patience())
		}
		q.woken = false
		q.hearOthers()
	}
	q.unlock()
}

// hearOthers lets those run who got something: what they submit may be done by then,
// and nobody need be woken for it. Held: mu, but not meanwhile.
func (q *Queue) hearOthers() {
	hurry := q.leadHaste.hurry()
	q.unlock() // in any case: others want it, and it does what was left to be done
	if hurry {
		q.mu.Lock()
		return
	}
	busy := letOthersRun()
	q.mu.Lock()
	q.leadHaste.after(busy)
}

// patience is for how long the leader may wait for one completion: for ever where one
// is sure to come, but not while a sender is at work, as the kernel may refuse what
// is counted already. Held: mu.
func (q *Queue) patience() time.Duration {
	if q.sending > 0 {
		return leadMost
	}
	return -1
}

// mayWait returns when the kernel has something to wait for and nobody else leads;
// false when the queue has ended. Held: mu, but not meanwhile.
func (q *Queue) mayWait() bool {
	for q.quiet <= 0 || q.leading {
		if q.ended {
			return false
		}
		q.toLead.Wait()
		q.woken = true
	}
	return true
}

// endLeader ends the goroutine of a queue that is drained.
func (q *Queue) endLeader() {
	q.mu.Lock()
	q.ended = true
	q.toLead.Signal()
	q.mu.Unlock()
	<-q.led
}

// How long a leader waits in the kernel at a time who has a context to look at, or to
// whom a completion is not certain to come.
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
	for q.slots[index].lone == number { // or refused, or completed by another
		if q.leading { // in a moment of takeAll the goroutine has taken over
			return
		}
		if limit > 0 && ctx.Err() != nil {
			go q.leadOn(index, number)
			return
		}
		q.awaitEvents(1, limit)
		if limit > 0 {
			limit = min(2*limit, leadMost)
		}
	}
	q.wakeLeader() // for what others have submitted meanwhile
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
	case res == -int64(syscall.ESPIPE), // of a file without positions, which AIO does not mind
		res == -int64(syscall.EINTR): // which call does not return: again would take the file twice
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
