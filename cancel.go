package libaio

import (
	"slices"
	"syscall"
)

// This file takes operations back, as far as that is possible.

// Cancel cancels the operations with this tag that were given to Submit or
// TrySubmit: those that the kernel does not have yet, and polls. It returns how
// many it found. Each of them still has its completion, normally with
// ECANCELED; a poll that was just ready completes as such. Disk operations that
// the kernel has run to their end: it has EINVAL for the attempt. Stands for
// io_cancel.
func (q *Queue) Cancel(tag uint64) int {
	q.mu.Lock()
	defer q.unlock()
	n := 0
	for i := range q.slots {
		s := &q.slots[i]
		switch {
		case s.stage == stageIdle || s.sink != sinkChannel || s.op.tag != tag:
		case s.stage == stagePending:
			q.withdraw(uint32(i))
			n++
		case s.op.kind == KindPoll:
			q.cancelPoll(uint32(i))
			n++
		}
	}
	q.settle()
	return n
}

// withdraw completes an operation that is pending. Held: mu.
func (q *Queue) withdraw(index uint32) {
	at := slices.Index(q.pending, index)
	q.pending = slices.Delete(q.pending, at, at+1)
	q.finish(index, -int64(syscall.ECANCELED))
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
