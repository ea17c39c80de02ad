package libaio

import (
	"context"
	"fmt"
	"syscall"
	"time"
	"unsafe"
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
	q.slots[index] = slot{op: op, sink: to, call: c, stage: stagePending}
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
		q.takeBatch()
		if len(q.batch) == 0 {
			continue
		}
		q.mu.Unlock()
		s := q.sendBatch(q.batch)
		q.mu.Lock()
		q.cancelLate(q.batch)
		q.stats.note(s)
	}
	q.sending = false
	q.settle()
}

// takeBatch makes what is pending the batch, less what the kernel need not see.
// Held: mu.
func (q *Queue) takeBatch() {
	q.batch, q.pending = q.pending, q.batch[:0]
	vecs := 0
	for _, index := range q.batch {
		vecs += len(q.slots[index].op.bufs)
	}
	errno := q.vecs.grow(vecs)
	keep := q.batch[:0]
	for _, index := range q.batch {
		s := &q.slots[index]
		switch {
		case s.op.kind == KindNoop:
			q.finish(index, 0)
		case errno != 0 && s.op.bufs != nil:
			q.finish(index, -int64(errno))
		default:
			s.stage = stageSent
			keep = append(keep, index)
		}
	}
	q.batch = keep
}

// sendLater has what is pending sent by a goroutine, for those who must not
// wait for io_submit. Held: mu.
func (q *Queue) sendLater() {
	if !q.sending && len(q.pending) > 0 {
		q.sending = true
		go q.sendFn()
	}
}

// sendBatch submits one batch: one call, but for refused operations. From the
// call on, the slots belong to whoever reaps, so all that is needed afterwards
// is copied before.
func (q *Queue) sendBatch(batch []uint32) (total submission) {
	reqs, files := q.prepare(batch)
	start := time.Now()
	r := &q.ring
	s := sysSubmit(r.ctx, r.iocbs, r.ptrs, reqs, r.eventfd)
	total.add(s)
	done, tries := s.n, 0
	for done < len(batch) {
		if s.errno == syscall.EAGAIN && tries < len(retryDelays) {
			// The kernel is short of memory or of room in the ring.
			time.Sleep(retryDelays[tries])
			tries++
			total.retries++
		} else {
			q.refuse(batch[done], s.errno)
			done, tries = done+1, 0
		}
		s = sysResubmit(r.ctx, r.ptrs, done, len(batch)-done)
		total.add(s)
		done += s.n
	}
	total.time = time.Since(start)
	for i, f := range files {
		if f != nil {
			f.release()
			files[i] = nil
		}
	}
	return total
}

// prepare writes the requests of a batch, and notes which files to release
// behind the call. An operation that may be resumed keeps its file.
func (q *Queue) prepare(batch []uint32) ([]request, []*File) {
	reqs, files := q.reqs[:len(batch)], q.files[:len(batch)]
	iov := q.vecs.all()
	for i, index := range batch {
		s := &q.slots[index]
		reqs[i] = s.op.request(index, s.done, iov)
		iov = iov[len(s.op.bufs):]
		if !s.op.resume {
			files[i] = s.op.file
		}
	}
	return reqs, files
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
	q.settle()
	q.mu.Unlock()
}

// vectors is C memory for the iovecs of a batch. The kernel copies them in
// io_submit, so the next batch can use it again.
type vectors struct {
	mem unsafe.Pointer
	cap int
}

// grow makes space for n iovecs.
func (v *vectors) grow(n int) syscall.Errno {
	if n <= v.cap {
		return 0
	}
	v.free()
	mem, errno := sysAlloc(int(ptrSize), n*iovecSize)
	if errno == 0 {
		v.mem, v.cap = mem, n
	}
	return errno
}

func (v *vectors) all() []iovec { return unsafe.Slice((*iovec)(v.mem), v.cap) }

func (v *vectors) free() {
	if v.mem != nil {
		sysFree(v.mem)
	}
	v.mem, v.cap = nil, 0
}
