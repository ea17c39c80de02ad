package libaio

import "syscall"

// This file brings completions from the kernel to whoever waits for them.

// maxReap is how many completions are taken at once: enough to make a call
// cheap, and few enough that mu is not held for long.
const maxReap = 256

// reapUntilClosed waits on the runtime's poller and reaps at each wake-up. The
// eventfd is never read: the poller is edge-triggered, so each signal is an
// edge of its own, and one that comes while we reap is kept for the next wait.
func (q *Queue) reapUntilClosed() {
	defer close(q.reaped)
	conn, err := q.ring.poll.SyscallConn()
	if err != nil {
		return // closed already
	}
	// The error is that of Close, which ends the wait.
	_ = conn.Read(func(uintptr) bool {
		q.woken = true
		q.reap()
		return false
	})
}

// reap takes completions until there are none: a wake-up says nothing about
// their number.
func (q *Queue) reap() {
	for {
		n, errno := sysGetEvents(q.ring.ctx, 0, q.events, 0)
		if errno == syscall.EINTR {
			continue
		}
		if n == 0 {
			return
		}
		q.deliver(q.events[:n])
	}
}

// deliver completes the operations of these events.
func (q *Queue) deliver(events []event) {
	q.mu.Lock()
	q.stats.Reaps++
	if q.woken {
		q.stats.Wakeups++
		q.woken = false
	}
	for i := range events {
		index := uint32(events[i].data)
		if res := events[i].res; !q.resume(index, res) {
			q.finish(index, res)
		}
	}
	q.sendLater() // what was resumed
	q.settle()
	q.mu.Unlock()
}

// resume makes the remainder of a short transfer pending again, if that is
// wanted and possible. Held: mu.
func (q *Queue) resume(index uint32, res int64) bool {
	s := &q.slots[index]
	if res <= 0 || s.sink == sinkAbandoned || !s.op.resumable(s.done+int(res)) {
		return false
	}
	s.done += int(res)
	s.stage = stagePending
	q.pending = append(q.pending, index)
	q.stats.Resumed++
	return true
}

// finish completes one operation and frees its slot. Neither send can block:
// the place on ch was reserved when the operation was accepted. The memory is
// the caller's again before the completion can be seen. Held: mu.
func (q *Queue) finish(index uint32, res int64) {
	s := &q.slots[index]
	op := &s.op
	if op.kind == KindPoll {
		q.polls--
		if res == 0 { // the kernel's result of a cancelled poll
			res = -int64(syscall.ECANCELED)
		}
	}
	n, err := op.result(s.done, res)
	if op.resume || s.stage == stagePending {
		op.releaseFile() // the sender has not
	}
	op.unpinMemory()
	switch s.sink {
	case sinkChannel:
		q.ch <- Completion{Tag: op.tag, Buffer: op.buf, Buffers: op.bufs, Offset: op.offset, N: n, Err: err, Kind: op.kind}
		q.owed--
	case sinkCall:
		s.call.n, s.call.err = n, err
		s.call.done <- struct{}{}
	}
	q.stats.completed(res)
	*s = slot{} // let go of the file and the memory
	q.free = append(q.free, index)
}
