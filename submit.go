package libaio

import (
	"context"
	"fmt"
	"strings"
)

// This file takes operations in.

// Submit gives operations to the kernel, and waits for room where there is
// none. It returns how many were accepted, from the front: each of those has
// exactly one completion on the channel, whatever becomes of it; the others
// have none, and their Buffers are the caller's.
//
// Fewer than all are accepted only with an error. An operation that breaks a
// rule that is known beforehand (see [Op]) makes Submit refuse all of them,
// with an [*Error] that names it. When ctx has ended, or ends while Submit waits, the
// error answers to ctx's; after Close, to ErrClosed.
//
// A goroutine that submits more than depth+Unread before it reads a completion
// waits for itself, for ever unless another one reads. io_submit blocks where the file system does, for instance
// when a write extends the file, and then so may Submit: ctx has no power over
// that. Direct operations of others that went into the same call wait with it;
// later ones are sent past it, by up to 16 callers of io_submit at once.
//
// A read or write of a file that is not open for direct I/O the kernel does
// within io_submit. Submit does not wait for that: up to 16 goroutines do, one
// operation each. Stands for io_submit.
func (q *Queue) Submit(ctx context.Context, ops ...Op) (int, error) {
	if !q.made() {
		return 0, submitError(errZeroQueue, 0, len(ops))
	}
	if err := q.pinAll(ops); err != nil {
		return 0, q.orClosed(err, func(e error) error { return submitError(e, 0, len(ops)) })
	}
	q.mu.Lock()
	if err := q.stopped(ctx); err != nil { // also where there is nothing to do
		q.unlock()
		unpinAll(ops)
		return 0, submitError(err, 0, len(ops))
	}
	done := 0
	for done < len(ops) {
		n, err := q.awaitRoom(ctx, len(ops)-done, true)
		if err != nil {
			q.unlock()
			unpinAll(ops[done:])
			return done, submitError(err, done, len(ops))
		}
		q.acceptAll(ops[done : done+n])
		done += n
		q.flush() // before the next wait: room comes from what is in flight
	}
	q.unlock()
	return done, nil
}

// pinAll pins all operations or none.
func (q *Queue) pinAll(ops []Op) error {
	for i := range ops {
		if err := q.pin(&ops[i]); err != nil {
			unpinAll(ops[:i])
			return inBatch(err, i, len(ops))
		}
	}
	return nil
}

// inBatch adds to an error which operation of several it is about.
func inBatch(err *Error, i, n int) error {
	if n > 1 {
		err.Detail = strings.TrimSpace(fmt.Sprintf("%s (number %d of %d, counted from 0; none was submitted)", err.Detail, i, n))
	}
	return err
}

func unpinAll(ops []Op) {
	for i := range ops {
		ops[i].unpin()
	}
}

// pin pins one operation that this queue can do.
func (q *Queue) pin(op *Op) *Error {
	if op.kind == KindPoll && q.canCancel != nil {
		return op.failure(q.canCancel, "a poll may have to be cancelled, and io_cancel does not work here: a seccomp profile must allow it")
	}
	return op.pin()
}

// orClosed is err, unless the queue is closed: then that is said, in the words of
// closed, and not what else is wrong.
func (q *Queue) orClosed(err error, closed func(error) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return closed(ErrClosed)
	}
	return err
}

func submitError(cause error, done, all int) error {
	e := &Error{Op: "submit", Err: cause, Detail: fmt.Sprintf("%d of %d operations were accepted", done, all)}
	if cause == ErrClosed {
		e.Detail = "the queue is closed: " + e.Detail
	}
	return e
}

// TrySubmit is Submit that never waits for room: it accepts as many operations
// as there is room for, from the front, and returns ErrQueueFull, as it is, if
// those are not all. io_submit may block all the same.
func (q *Queue) TrySubmit(ops ...Op) (int, error) {
	if !q.made() {
		return 0, submitError(errZeroQueue, 0, len(ops))
	}
	if err := q.pinAll(ops); err != nil {
		return 0, q.orClosed(err, func(e error) error { return submitError(e, 0, len(ops)) })
	}
	q.mu.Lock()
	if err := q.stopped(context.Background()); err != nil {
		q.unlock()
		unpinAll(ops)
		return 0, submitError(err, 0, len(ops))
	}
	q.makeRoom()
	q.grant() // to those who wait already: nobody may have told them that the channel was read
	n := min(len(ops), q.room(true))
	q.acceptAll(ops[:n])
	q.flush()
	q.unlock()
	if n < len(ops) {
		unpinAll(ops[n:])
		return n, ErrQueueFull
	}
	return n, nil
}

func (q *Queue) acceptAll(ops []Op) {
	for i := range ops {
		q.accept(ops[i], sinkChannel, nil)
	}
	q.owed += len(ops)
	q.alone = 0
}

// accept puts an operation, for which there is room, into a slot. Held: mu.
func (q *Queue) accept(op Op, to sink, c *call) uint32 {
	last := len(q.free) - 1
	index := q.free[last]
	q.free = q.free[:last]
	s := &q.slots[index]
	s.op, s.sink, s.call = op, to, c
	if op.bufs != nil {
		// What the caller does with the slice afterwards must not change
		// what is in flight.
		s.vector = append(s.vector, op.bufs...)
		s.op.bufs, s.given = s.vector, op.bufs
	}
	q.enqueue(index)
	if q.polled != nil {
		q.polled.tell()
	}
	if op.kind == KindPoll {
		q.polls++
	}
	q.stats.Submitted++
	return index
}
