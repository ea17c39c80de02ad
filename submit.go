package libaio

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// This file takes operations in and brings them to the kernel.
//
// Whoever has accepted an operation calls flush. The first becomes the sender
// and submits all that is pending in one call; what others accept meanwhile it
// sends in its next call, so that concurrent submitters share their calls.

// sendRounds is how many batches a submitter sends for others before it
// leaves the rest to a goroutine: nobody may be kept from returning by the
// others' load.
const sendRounds = 4

// Submit gives operations to the kernel, and waits for room where there is
// none. It returns how many were accepted, from the front: each of those has
// exactly one completion on the channel, whatever becomes of it; the others
// have none, and their Buffers are the caller's.
//
// Fewer than all are accepted only with an error. An operation that breaks a
// rule that is known beforehand (see [Op]) makes Submit refuse all of them,
// with an [*Error] that names it. When ctx ends while Submit waits, the error
// answers to ctx's; after Close, to ErrClosed.
//
// Submit is done when the queue has the operations: a goroutine that
// submits more than depth+Unread before it reads a completion waits for
// itself. io_submit may block where the file system does, for instance on
// buffered files and when a write extends the file. Stands for io_submit.
func (q *Queue) Submit(ctx context.Context, ops ...Op) (int, error) {
	if err := pinAll(ops); err != nil {
		return 0, err
	}
	q.mu.Lock()
	done := 0
	for done < len(ops) {
		n, err := q.awaitRoom(ctx, len(ops)-done, true)
		if err != nil {
			q.mu.Unlock()
			unpinAll(ops[done:])
			return done, submitError(err, done, len(ops))
		}
		q.acceptAll(ops[done : done+n])
		done += n
		q.flush() // before the next wait: room comes from what is in flight
	}
	q.mu.Unlock()
	return done, nil
}

func submitError(cause error, done, all int) error {
	return &Error{
		Op: "submit", Err: cause,
		Detail: fmt.Sprintf("%d of %d operations were accepted", done, all),
	}
}

// TrySubmit is Submit that never waits for room: it accepts as many operations
// as there is room for, from the front, and returns ErrQueueFull if those are
// not all.
func (q *Queue) TrySubmit(ops ...Op) (int, error) {
	if err := pinAll(ops); err != nil {
		return 0, err
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		unpinAll(ops)
		return 0, submitError(ErrClosed, 0, len(ops))
	}
	n := min(len(ops), q.room(true))
	q.acceptAll(ops[:n])
	q.flush()
	q.mu.Unlock()
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
}

// accept puts an operation, for which there is room, into a slot. Held: mu.
func (q *Queue) accept(op Op, to sink, c *call) uint32 {
	last := len(q.free) - 1
	index := q.free[last]
	q.free = q.free[:last]
	q.slots[index] = slot{op: op, sink: to, call: c}
	q.pending = append(q.pending, index)
	if op.kind == KindPoll {
		q.polls++
	}
	q.stats.Submitted++
	return index
}

// flush sees to it that what is pending is sent. Held: mu, which it may let go
// in between.
func (q *Queue) flush() {
	if q.sending || len(q.pending) == 0 {
		return
	}
	q.sending = true
	q.send(sendRounds)
}

// sendOn is the goroutine that goes on for a submitter.
func (q *Queue) sendOn() {
	q.mu.Lock()
	q.send(sendRounds)
	q.mu.Unlock()
}

// send submits what is pending, batch by batch; the caller is the sender.
// Held: mu, but not during the calls.
func (q *Queue) send(rounds int) {
	for ; len(q.pending) > 0; rounds-- {
		if rounds == 0 {
			go q.sendFn()
			return
		}
		q.batch, q.pending = q.pending, q.batch[:0]
		q.mu.Unlock()
		q.sendBatch(q.batch)
		q.mu.Lock()
	}
	q.sending = false
	q.noteIdle()
}

// sendBatch submits one batch: one call, but for refused operations. From the
// call on, the slots belong to whoever reaps, so all that is needed afterwards
// is copied before.
func (q *Queue) sendBatch(batch []uint32) {
	reqs, files := q.reqs[:len(batch)], q.files[:len(batch)]
	for i, index := range batch {
		op := &q.slots[index].op
		reqs[i], files[i] = op.request(index), op.file
	}
	r := &q.ring
	s := sysSubmit(r.ctx, r.iocbs, r.ptrs, reqs, r.eventfd)
	calls, done, tries := s.calls, s.n, 0
	for done < len(batch) {
		if s.errno == syscall.EAGAIN && tries < len(retryDelays) {
			// The kernel is short of memory or of room in the ring.
			time.Sleep(retryDelays[tries])
			tries++
		} else {
			q.refuse(batch[done], s.errno)
			done, tries = done+1, 0
		}
		s = sysResubmit(r.ctx, r.ptrs, done, len(batch)-done)
		calls, done = calls+s.calls, done+s.n
	}
	for i, f := range files {
		f.release()
		files[i] = nil
	}
	q.mu.Lock()
	q.stats.Batches++
	q.stats.SubmitCalls += uint64(calls)
	for i := 0; q.polls > 0 && i < len(batch); i++ {
		q.cancelPoll(batch[i]) // its cancellation may have come before it
	}
	q.mu.Unlock()
}

// retryDelays is how long to wait before io_submit is tried again after EAGAIN.
// After the last the operation fails with EAGAIN.
var retryDelays = [...]time.Duration{
	50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond,
	5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
}

// refuse completes an operation that io_submit did not take.
func (q *Queue) refuse(index uint32, errno syscall.Errno) {
	q.mu.Lock()
	q.finish(index, -int64(errno))
	q.grant()
	q.mu.Unlock()
}
