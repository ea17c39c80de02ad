package libaio

import "slices"

// This file brings to the kernel what it does within io_submit.
//
// A read or write of a file that is not open for direct I/O is done before
// io_submit returns. On a pipe or a socket that may be for ever, or until
// another operation of the same queue is done: so each has a call of its own,
// on a goroutine of its own.

// maxBlockers bounds the threads that can be in such calls.
const maxBlockers = 16

// blocks says whether the kernel does the operation within io_submit.
func (o *Op) blocks() bool { return kinds[o.kind].data && !o.file.direct }

// sendBlocking starts goroutines for what is in blocking. One too many finds
// nothing to do. Held: mu.
func (q *Queue) sendBlocking() {
	for n := len(q.blocking); n > 0 && q.blockers < maxBlockers; n-- {
		q.blockers++
		go q.blockFn()
	}
}

// block is the goroutine of sendBlocking.
func (q *Queue) block() {
	s, errno := newSender(1)
	q.mu.Lock()
	if errno != 0 {
		q.waitToSend(stuckAfter) // for memory
	}
	for len(q.blocking) > 0 && !q.waiting {
		s.batch = append(s.batch[:0], q.blocking[0])
		q.blocking = slices.Delete(q.blocking, 0, 1)
		q.slots[s.batch[0]].stage = stageSent
		q.sendTaken(s)
	}
	s.free()
	q.blockers--
	q.settle()
	q.unlock()
}
