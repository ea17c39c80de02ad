package libaio

import (
	"context"
	"fmt"
)

// This file is the awaited operation: Do, and what it waits with.

// call is a Do that waits for its result. n and err are written before done is
// sent, and read after it is received.
type call struct {
	done chan struct{} // capacity 1
	n    int
	err  error
}

// Do submits one operation and waits for it: it returns the number of bytes
// moved, which may be fewer than asked (0 at the end of the file), or an
// [*Error]. The completion does not go to the channel, and a full or unread
// channel does not hold Do up. It allocates nothing. Where nothing else is in flight
// and ctx never ends, as [context.Background], the work may be done by pread(2) or
// pwrite(2), which is one system call for the two of AIO; it is in flight all the same.
//
// Do waits for room while depth operations are in flight. When ctx ends first, it
// returns ctx's error at once, or within some milliseconds where nothing else is in
// flight and its thread waits in the kernel. An operation that is not on its way
// to the kernel by then is withdrawn, and the Buffer is the caller's. Otherwise the
// error also answers to ErrInFlight, the operation runs to its end in the kernel
// (a poll is cancelled), and the Buffer stays in flight until then: call
// [Buffer.Release] on it. Nobody is told how it ended, so whether a write was done
// is not known then. As with Submit, ctx has no power over an io_submit for direct
// I/O that blocks.
func (q *Queue) Do(ctx context.Context, op Op) (int, error) {
	if !q.made() {
		return 0, op.waitError(errZeroQueue)
	}
	if q.polled != nil {
		return 0, q.orClosed(op.invalid("the queue is polled, and nobody may be there to complete it: use a Queue with a channel for Do"), op.waitError)
	}
	if err := q.pin(&op); err != nil {
		return 0, q.orClosed(err, op.waitError)
	}
	q.mu.Lock()
	if _, err := q.awaitRoom(ctx, 1, false); err != nil {
		q.unlock()
		op.unpin()
		return 0, op.waitError(err)
	}
	c := q.newCall()
	index := q.accept(op, sinkCall, c)
	yield := false
	if s := &q.slots[index]; !q.mayLead(s) {
		q.flushTogether()
	} else {
		q.doAlone(ctx, index)
		yield = q.yieldDue()
	}
	q.unlock()
	if yield {
		q.yield()
	}

	select {
	case <-c.done:
	case <-ctx.Done():
		if n, err := q.abandon(index, c, ctx.Err()); err != nil {
			return n, err
		}
		<-c.done // it had completed
	}
	n, err := c.n, c.err
	q.mu.Lock()
	q.returning--
	q.freeCall(c)
	q.mu.Unlock()
	return n, err
}

// flushTogether is flush for a Do. Completions come in bunches, and so do the next
// Dos of those who waited for them: the first lets the others run before it sends
// what they all have accepted. Held: mu, but not meanwhile.
func (q *Queue) flushTogether() {
	switch {
	case q.gathering: // who gathers sends this too
		q.watch()
		return
	case q.gatherHaste.hurry():
	case q.returning > 0:
		q.gathering = true
		q.watch() // if it takes too long
		q.unlock()
		busy := letOthersRun()
		q.mu.Lock()
		q.gathering = false
		q.gatherHaste.after(busy)
	}
	q.flush()
}

// abandonError is what a Do returns whose operation is in flight.
func (o *Op) abandonError(cause error) error {
	e := o.failure(cause, "the operation is still in flight")
	if o.buf != nil {
		e.Detail += ": give the Buffer back with Release"
	}
	e.also = ErrInFlight
	return e
}

// withdrawnError is what a Do returns whose operation, or whose remainder behind
// done bytes, the kernel did not have.
func (o *Op) withdrawnError(cause error, done int) error {
	if done > 0 {
		return o.failure(cause, fmt.Sprintf("the remainder behind the first %d bytes was withdrawn", done))
	}
	return o.waitError(cause)
}

// waitError is what Do returns when it did not get room.
func (o *Op) waitError(cause error) error {
	if cause == ErrClosed {
		return o.failure(ErrClosed, "the queue is closed")
	}
	return o.failure(cause, "the operation was withdrawn before the kernel had it")
}

// abandon leaves an accepted operation to itself, or withdraws it where the
// kernel does not have it; the results are those of its Do. No error means that
// it has completed.
func (q *Queue) abandon(index uint32, c *call, cause error) (int, error) {
	q.mu.Lock()
	defer q.unlock()
	s := &q.slots[index]
	if s.call != c {
		return 0, nil
	}
	s.call, s.sink = nil, sinkAbandoned
	q.freeCall(c)
	done := s.done
	if s.stage == stagePending {
		err := s.op.withdrawnError(cause, done) // before the slot is cleared
		s.op.locked = nil
		q.withdraw(func(o *slot) bool { return o == s })
		q.settle()
		return done, err
	}
	q.cancelPoll(index)
	if s.op.locked != nil { // it is a write
		s.op.file.locks.keep(s.op.locked)
	}
	return done, s.op.abandonError(cause)
}

func (q *Queue) newCall() *call {
	if n := len(q.calls); n > 0 {
		c := q.calls[n-1]
		q.calls = q.calls[:n-1]
		return c
	}
	return &call{done: make(chan struct{}, 1)}
}

func (q *Queue) freeCall(c *call) {
	c.n, c.err = 0, nil
	q.calls = append(q.calls, c)
}
