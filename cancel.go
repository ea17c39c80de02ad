package libaio

import (
	"slices"
	"syscall"
)

// This file takes operations back, as far as that is possible.

// Cancel cancels the operations with this tag that were given to Submit or
// TrySubmit: those that are not on their way to the kernel yet, and polls. It returns how
// many it found. Each of them still has its completion, normally with
// ECANCELED; a poll that was just ready completes as such. Disk operations that
// the kernel has run to their end: it has EINVAL for the attempt. Stands for
// io_cancel.
func (q *Queue) Cancel(tag uint64) int {
	if !q.made() {
		return 0
	}
	q.mu.Lock()
	defer q.unlock()
	mine := func(s *slot) bool { return s.sink == sinkChannel && s.op.tag == tag }
	n := q.withdraw(mine)
	for i := 0; q.polls > 0 && i < len(q.slots); i++ {
		if s := &q.slots[i]; s.stage == stageSent && s.op.kind == KindPoll && mine(s) {
			q.cancelPoll(uint32(i))
			n++
		}
	}
	q.settle()
	return n
}

// withdraw completes the pending operations that match, and returns how many
// those are. Held: mu.
func (q *Queue) withdraw(match func(*slot) bool) int {
	n := 0
	withdrawn := func(index uint32) bool {
		if !match(&q.slots[index]) {
			return false
		}
		q.finish(index, -int64(syscall.ECANCELED))
		n++
		return true
	}
	q.pending = slices.DeleteFunc(q.pending, withdrawn)
	q.blocking = slices.DeleteFunc(q.blocking, withdrawn)
	return n
}

// cancelPolls cancels all polls. Held: mu.
func (q *Queue) cancelPolls() {
	for i := 0; q.polls > 0 && i < len(q.slots); i++ {
		if q.slots[i].op.kind == KindPoll {
			q.cancelPoll(uint32(i))
		}
	}
}

// cancelPoll cancels the operation of a slot if it is a poll: the kernel
// cancels nothing else. One that the sender has in hand, for which the kernel
// has EINVAL, is cancelled by it as soon as it is sent. Held: mu, so that the
// slot stays what it is.
func (q *Queue) cancelPoll(index uint32) {
	if s := &q.slots[index]; s.op.kind == KindPoll {
		s.cancelled = true
		var ev event
		sysCancel(q.ring.ctx, uintptr(q.ring.iocbs.p)+uintptr(index)*iocbSize, &ev)
	}
}

// cancelLate cancels the polls of a batch that was just sent whose
// cancellation came before it. Held: mu.
func (q *Queue) cancelLate(batch []uint32) {
	for i := 0; q.polls > 0 && i < len(batch); i++ {
		if q.slots[batch[i]].cancelled {
			q.cancelPoll(batch[i])
		}
	}
}
