package libaio

import (
	"syscall"
	"time"
	"unsafe"
)

// This file brings operations to the kernel.
//
// Whoever has accepted operations calls flush. The first becomes the sender
// and submits all that is pending in one call; what others accept meanwhile it
// sends in its next call, so that concurrent submitters share their calls.
//
// io_submit can block. When a sender does not come back, a second one is
// started for what has become pending behind it, and so on: a slow operation
// delays those of its own batch and no others.

const (
	// sendRounds is how many batches a submitter sends for others before it
	// leaves the rest to a goroutine: nobody may be kept from returning by
	// the others' load.
	sendRounds = 4
	// stuckAfter is how long nothing pending was taken when another sender is
	// started.
	stuckAfter = time.Millisecond
	// maxSenders bounds the threads that can block in io_submit.
	maxSenders = 16
)

// sender is what one caller of io_submit works with.
type sender struct {
	batch []uint32
	reqs  []request
	files []*File // to be released behind the call; nil where that comes later
	ptrs  cMemory // pointers to the iocbs of the batch
	vecs  cMemory // iovecs; the kernel copies them in io_submit
}

func newSender(depth int) (*sender, syscall.Errno) {
	s := &sender{
		batch: make([]uint32, 0, depth),
		reqs:  make([]request, depth),
		files: make([]*File, depth),
	}
	return s, s.ptrs.grow(depth * int(ptrSize))
}

func (s *sender) free() {
	s.ptrs.free()
	s.vecs.free()
}

// flush sees to it that what is pending is sent. Held: mu, which it may let go
// in between.
func (q *Queue) flush() {
	switch {
	case len(q.pending) == 0:
	case q.sending == 0:
		q.send()
	default:
		q.watch()
	}
}

// sendLater has what is pending sent by a goroutine, for those who must not
// wait for io_submit. Held: mu.
func (q *Queue) sendLater() {
	switch {
	case len(q.pending) == 0:
	case q.sending == 0:
		go q.sendFn()
	default:
		q.watch()
	}
}

// sendOn is the goroutine of sendLater.
func (q *Queue) sendOn() {
	q.mu.Lock()
	q.flush()
	q.unlock()
}

// watch looks after the senders while something is pending behind them. Held:
// mu.
func (q *Queue) watch() {
	if !q.watching {
		q.watching, q.takenThen = true, q.taken
		q.watchdog.Reset(stuckAfter)
	}
}

// rescue is the watchdog: it starts another sender if nothing was taken since
// watch.
func (q *Queue) rescue() {
	q.mu.Lock()
	q.watching = false
	switch {
	case len(q.pending) == 0:
	case q.taken == q.takenThen && q.sending < maxSenders:
		q.send()
	default:
		q.watch()
	}
	q.unlock()
}

// send is a sender at work: it submits what is pending, batch by batch. Held:
// mu, but not during the calls.
func (q *Queue) send() {
	s := q.hireSender()
	if s == nil {
		q.watch() // no memory: the senders that there are, or the next try
		return
	}
	q.sending++
	for round := 0; len(q.pending) > 0 && round < sendRounds; round++ {
		q.takeBatch(s)
		if len(s.batch) == 0 {
			continue
		}
		q.unlock()
		cost := q.sendBatch(s)
		q.mu.Lock()
		q.cancelLate(s.batch)
		q.stats.note(cost)
	}
	q.sending--
	q.senders = append(q.senders, s)
	q.sendLater()
	q.settle()
}

// hireSender takes an idle sender or makes one. Held: mu.
func (q *Queue) hireSender() *sender {
	if n := len(q.senders); n > 0 {
		s := q.senders[n-1]
		q.senders = q.senders[:n-1]
		return s
	}
	s, errno := newSender(q.depth)
	if errno != 0 {
		return nil
	}
	return s
}

// takeBatch gives the sender what is pending, less what the kernel need not
// see. Held: mu.
func (q *Queue) takeBatch(s *sender) {
	q.taken++
	s.batch, q.pending = q.pending, s.batch[:0]
	vecs := 0
	for _, index := range s.batch {
		vecs += len(q.slots[index].op.bufs)
	}
	errno := s.vecs.grow(vecs * iovecSize)
	keep := s.batch[:0]
	for _, index := range s.batch {
		slot := &q.slots[index]
		switch {
		case slot.op.kind == KindNoop:
			q.finish(index, 0)
		case errno != 0 && slot.op.bufs != nil:
			q.finish(index, -int64(errno))
		default:
			slot.stage = stageSent
			keep = append(keep, index)
		}
	}
	if len(keep) < len(s.batch) {
		q.settle()
	}
	s.batch = keep
}

// sendBatch submits one batch: one call, but for refused operations. From the
// call on, the slots belong to whoever reaps, so all that is needed afterwards
// is copied before.
func (q *Queue) sendBatch(s *sender) (cost submission) {
	n := len(s.batch)
	q.prepare(s)
	start := time.Now()
	r := &q.ring
	done, tries := 0, 0
	for got := sysSubmit(r.ctx, uintptr(r.iocbs.p), uintptr(s.ptrs.p), s.reqs[:n], r.eventfd); ; {
		cost.add(got)
		if got.n > 0 {
			done, tries = done+got.n, 0
		}
		if done < n && got.errno == syscall.EAGAIN && tries < len(retryDelays) {
			// The kernel is short of memory or of room in the ring.
			time.Sleep(retryDelays[tries])
			tries++
			cost.retries++
		} else if done < n {
			q.refuse(s.batch[done], got.errno)
			done++
		}
		if done == n {
			break
		}
		got = sysResubmit(r.ctx, uintptr(s.ptrs.p), done, n-done)
	}
	cost.time = time.Since(start)
	for i, f := range s.files[:n] {
		if f != nil {
			f.release()
			s.files[i] = nil
		}
	}
	return cost
}

// prepare writes the requests of a batch, and notes which files to release
// behind the call. An operation that may be resumed keeps its file.
func (q *Queue) prepare(s *sender) {
	iov := unsafe.Slice((*iovec)(s.vecs.p), s.vecs.size/iovecSize)
	for i, index := range s.batch {
		slot := &q.slots[index]
		s.reqs[i] = slot.op.request(index, slot.done, iov)
		iov = iov[len(slot.op.bufs):]
		if !slot.op.resume {
			s.files[i] = slot.op.file
		}
	}
}

// retryDelays is how long to wait before io_submit is tried again after EAGAIN.
// Behind the last, operations fail with EAGAIN until the kernel takes one.
var retryDelays = [...]time.Duration{
	50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond,
	5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
}

// refuse completes an operation that io_submit did not take.
func (q *Queue) refuse(index uint32, errno syscall.Errno) {
	q.mu.Lock()
	q.finish(index, -int64(errno))
	q.settle()
	q.unlock()
}
