package libaio

import (
	"runtime"
	"syscall"
)

// This file brings completions from the kernel to whoever waits for them, and is the
// reaper's: a goroutine on the runtime's poller, for operations that signal the
// eventfd. For all others see lead.go.

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
		for q.reap() {
			// As hearOthers. It too to be in haste brought nothing: it is the runtime's
			// poller that makes wait beside goroutines that compute.
			runtime.Gosched()
		}
		return false
	})
}

// reap takes completions until there are none, as a wake-up says nothing about
// their number, and says whether there were any. While somebody else waits in the
// kernel that is his to do.
func (q *Queue) reap() bool {
	q.mu.Lock()
	defer q.unlock()
	q.woken = true
	before := q.stats.Reaps
	if !q.leading {
		q.takeAll()
	}
	q.woken = false
	return q.stats.Reaps != before
}

// takeAll takes completions until there are none. Held: mu, but for moments, in
// which the ring may find another reader, or its end.
func (q *Queue) takeAll() {
	for q.takeEvents() == len(q.events) {
		q.unlock() // let others have it
		q.mu.Lock()
		if q.leading || len(q.free) == q.depth {
			return
		}
	}
}

// takeEvents takes completions, and returns how many. Held: mu.
func (q *Queue) takeEvents() int {
	n := q.ring.take(q.events)
	if n > 0 {
		q.deliver(q.events[:n])
	}
	return n
}

// deliver completes the operations of these events. Held: mu.
func (q *Queue) deliver(events []event) {
	q.stats.Reaps++
	if q.woken {
		q.stats.Wakeups++
		q.woken = false
	}
	for i := range events {
		index := uint32(events[i].data)
		res := events[i].res
		if !q.slots[index].op.signals() {
			q.quiet--
		}
		if q.again(index, res) {
			continue
		}
		if res == -int64(syscall.EINTR) { // its queue or its file was closed
			res = -int64(syscall.ECANCELED)
		}
		q.finish(index, res)
	}
	q.sendLater() // what is to be done again
	q.settle()
}

// again makes an operation pending again: the remainder of a short transfer, if
// that is wanted and possible, or one that a signal has interrupted, as Go's own
// do all the time. Held: mu.
func (q *Queue) again(index uint32, res int64) bool {
	s := &q.slots[index]
	switch {
	case s.sink == sinkAbandoned:
		return false
	case res == -int64(syscall.EINTR):
		if q.closed { // somebody may interrupt it for ever
			return false
		}
		if !s.op.resume && !s.op.acquireFile() {
			return false
		}
		q.stats.Interrupted++
	case res > 0 && s.op.resumable(s.done+int(res)):
		s.done += int(res)
		q.stats.Resumed++
	default:
		return false
	}
	q.enqueue(index)
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
	q.release(s)
	switch s.sink {
	case sinkChannel:
		q.put(Completion{Tag: op.tag, File: op.file, Buffer: op.buf, Buffers: s.given, Offset: op.offset, N: n, Err: err, Kind: op.kind})
		q.owed--
	case sinkCall:
		q.returning++
		s.call.n, s.call.err = n, err
		s.call.done <- struct{}{}
	}
	q.stats.completed(res)
	clear(s.vector)
	*s = slot{vector: s.vector[:0]} // let go of the file and the memory
	q.free = append(q.free, index)
}

// put brings a completion to where its place is. Held: mu.
func (q *Queue) put(c Completion) {
	if q.polled != nil {
		q.polled.put(c)
	} else {
		q.ch <- c
	}
}

// release takes the memory back from the kernel, and the file where the sender
// has not. What their owners have given up meanwhile is left to unlock, as that
// may take long. Held: mu.
func (q *Queue) release(s *slot) {
	op := &s.op
	if (op.resume || s.stage == stagePending) && op.file != nil && op.file.unref() {
		q.leftFiles = append(q.leftFiles, op.file)
	}
	if op.buf != nil && op.buf.unpin() {
		q.leftBuffers = append(q.leftBuffers, op.buf.root)
	}
	for _, b := range op.bufs {
		if b.unpin() {
			q.leftBuffers = append(q.leftBuffers, b.root)
		}
	}
	if s.sink == sinkAbandoned && op.locked != nil {
		op.file.locks.unlock(op.locked)
	}
}

// unlock lets mu go, and has a goroutine give back what release has left.
func (q *Queue) unlock() {
	buffers, files := q.leftBuffers, q.leftFiles
	q.leftBuffers, q.leftFiles = nil, nil
	if len(buffers)+len(files) > 0 {
		q.left.Go(func() { giveBack(buffers, files) })
	}
	q.mu.Unlock()
}

func giveBack(buffers []*Buffer, files []*File) {
	for _, b := range buffers {
		b.giveBack()
	}
	for _, f := range files {
		_ = f.closeFD() // as in File.release
	}
}
