package libaio

import (
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// This file brings operations to the kernel.
//
// Whoever has accepted operations calls flush. The first becomes the sender
// and submits all that is pending in one crossing into C, which calls io_submit
// a few times for many (golibaio_portion in libaio.h); what others accept meanwhile
// goes in the next, so that concurrent submitters share their calls.
//
// io_submit can block, though it seldom does for direct I/O. When a sender does
// not come back it counts as stuck, and the next takes its place: a slow
// operation delays those of its own batch and no others. Operations that the
// kernel does within io_submit, and that may wait there for each other, never
// share a call: see blocking.go.

const (
	// stuckAfter is how long nothing pending was taken when the senders at
	// work count as stuck.
	stuckAfter = time.Millisecond
	// maxSenders bounds the threads that can block in io_submit for direct I/O.
	maxSenders = 16
)

// retryDelays is how long to wait before io_submit is tried again after EAGAIN.
// Behind the last, operations fail with EAGAIN until the kernel takes one.
var retryDelays = [...]time.Duration{
	50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond,
	5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
}

// outbox is what is accepted and not yet submitted, and who submits it. Guarded
// by the Queue's mu.
type outbox struct {
	pending  []uint32  // slots that are to be sent
	blocking []uint32  // the same, each in a call of its own
	idle     []*sender // nobody's
	sending  int       // senders at work on pending
	stuck    int       // of these, that did not come back in time
	blockers int       // goroutines at work on blocking

	taken      uint64 // batches of pending that were taken
	takenThen  uint64 // taken when the watchdog was set
	takenStuck uint64 // taken when stuck was counted
	watching   bool   // the watchdog is set
	waiting    bool   // for the watchdog: the kernel had no room
	tries      int    // that it had none, one after the other
}

// sender is what one caller of io_submit works with.
type sender struct {
	batch  []uint32
	number uint64 // of the batch: taken
	reqs   []request
	files  []*File // to be released after the call; nil where that comes later
	ptrs   cMemory // pointers to the iocbs of the batch
	vecs   cMemory // iovecs; the kernel copies them in io_submit
	// within is how many calls of io_submit have returned with their work done, in
	// a row, up to worksWithin
	within int
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

// enqueue makes the operation of a slot pending. Held: mu.
func (q *Queue) enqueue(index uint32) {
	s := &q.slots[index]
	s.stage, s.lone = stagePending, 0
	if s.op.blocks() {
		q.blocking = append(q.blocking, index)
	} else {
		q.pending = append(q.pending, index)
	}
}

// flush sees to it that what is pending is sent. Held: mu, which it may let go
// in between.
func (q *Queue) flush() {
	if q.mustSend() {
		q.send()
	}
}

// sendLater has what is pending sent by a goroutine, for those who must not
// wait for io_submit. Held: mu.
func (q *Queue) sendLater() {
	if q.mustSend() {
		go q.sendFn()
	}
}

// sendOn is the goroutine of sendLater.
func (q *Queue) sendOn() {
	q.mu.Lock()
	q.flush()
	q.unlock()
}

// mustSend says whether the caller is to send what is pending; otherwise
// somebody else does. Held: mu.
func (q *Queue) mustSend() bool {
	if q.waiting {
		return false
	}
	q.sendBlocking()
	switch {
	case len(q.pending) == 0:
	case q.sending > q.stuck:
		q.watch() // who is at work sends it next, unless it gets stuck
	default:
		return q.sending < maxSenders // else the first that comes back
	}
	return false
}

// watch sets the watchdog on the senders at work. Held: mu.
func (q *Queue) watch() {
	if !q.watching {
		q.watching, q.takenThen = true, q.taken
		q.watchdog.Reset(stuckAfter)
	}
}

// waitToSend leaves what is pending alone for a while. Held: mu.
func (q *Queue) waitToSend(delay time.Duration) {
	q.waiting, q.watching = true, true
	q.watchdog.Reset(delay)
}

// rescue is the watchdog. If nothing was taken since it was set, all senders are
// in a call that began before.
func (q *Queue) rescue() {
	q.mu.Lock()
	if q.taken == q.takenThen && !q.waiting {
		q.stuck, q.takenStuck = q.sending, q.taken
	}
	q.watching, q.waiting = false, false
	q.flush()
	q.unlock()
}

// send is a sender at work: it submits what is pending. One batch is all: nobody
// may be kept from returning by the load of others. Held: mu, but not during
// the call.
func (q *Queue) send() {
	s := q.hireSender()
	if s == nil {
		return
	}
	q.sending++
	q.takeBatch(s)
	q.sendTaken(s)
	q.sending--
	if s.number <= q.takenStuck {
		q.stuck--
	}
	q.idle = append(q.idle, s)
	q.sendLater()
	q.settle()
}

// hireSender takes an idle sender or makes one; where there is no memory for
// that, the watchdog tries again. Held: mu.
func (q *Queue) hireSender() *sender {
	if n := len(q.idle); n > 0 {
		s := q.idle[n-1]
		q.idle = q.idle[:n-1]
		return s
	}
	s, errno := newSender(q.depth)
	if errno != 0 {
		q.waitToSend(stuckAfter)
		return nil
	}
	return s
}

// takeBatch gives the sender what is pending, less what the kernel need not
// see. Held: mu.
func (q *Queue) takeBatch(s *sender) {
	q.taken++
	s.number = q.taken
	s.batch, q.pending = q.pending, s.batch[:0]
	keep := s.batch[:0]
	for _, index := range s.batch {
		if slot := &q.slots[index]; slot.op.kind == KindNoop {
			q.finish(index, 0)
		} else {
			slot.stage = stageSent
			keep = append(keep, index)
		}
	}
	if len(keep) < len(s.batch) {
		q.settle()
	}
	s.batch = keep
}

// sendTaken submits the batch of a sender, and notes what became of it. Held:
// mu, but not during the call.
func (q *Queue) sendTaken(s *sender) {
	if len(s.batch) == 0 {
		return
	}
	quiet := q.quietOf(s.batch)
	q.quiet += quiet
	if len(s.batch) > 1 { // the first may be done long before the call that takes the last
		q.wakeLeader()
	}
	led := len(s.batch) == 1 && q.slots[s.batch[0]].lone != 0 // where memory was short it has company
	q.unlock()
	done, cost := q.sendBatch(s)
	q.mu.Lock()
	q.stats.note(cost)
	q.quiet -= quiet - cost.quiet
	if !led {
		q.wakeLeader()
	}
	q.cancelLate(s.batch[:done])
	if done > 0 {
		q.tries = 0
	}
	if done < len(s.batch) {
		q.noRoom(s.batch[done:])
	}
}

// noRoom is for the operations for which the kernel has no memory, or no room in
// the ring: they are pending again, and can be withdrawn while that lasts. Held:
// mu.
func (q *Queue) noRoom(batch []uint32) {
	if q.tries == len(retryDelays) {
		q.giveUp(batch[0], syscall.EAGAIN)
		batch = batch[1:]
	} else {
		q.waitToSend(retryDelays[q.tries])
		q.tries++
		q.stats.Retries++
	}
	q.putBack(slices.DeleteFunc(batch, func(index uint32) bool {
		s := &q.slots[index]
		gone := s.cancelled || s.sink == sinkAbandoned
		if gone {
			q.giveUp(index, syscall.ECANCELED)
		}
		return gone
	}))
	q.settle() // the slots of those that were given up may be waited for
}

// putBack makes operations pending that were in the hands of a sender, before all
// others. Held: mu.
func (q *Queue) putBack(batch []uint32) {
	if len(batch) == 0 {
		return
	}
	for _, index := range batch {
		s := &q.slots[index]
		s.stage, s.lone = stagePending, 0
	}
	if q.slots[batch[0]].op.blocks() { // and so is alone
		q.blocking = slices.Insert(q.blocking, 0, batch...)
	} else {
		q.pending = slices.Insert(q.pending, 0, batch...)
	}
}

// giveUp completes an operation in the hands of a sender that has not released
// its file. Held: mu.
func (q *Queue) giveUp(index uint32, errno syscall.Errno) {
	q.slots[index].stage = stagePending
	q.finish(index, -int64(errno))
}

// sendBatch submits one batch: one crossing into C, but for refused operations. It
// returns how many are done with: all, or those before one for which there was no
// room.
// From the call on, the slots belong to whoever reaps, so all that is needed
// afterwards is copied before.
func (q *Queue) sendBatch(s *sender) (done int, cost submission) {
	q.prepare(s)
	n := len(s.batch)
	if n == 0 {
		return 0, cost
	}
	start := monotonic()
	r := &q.ring
	raceSubmit()
	for got := sysSubmit(r.ctx, r.shown(), uintptr(r.iocbs.p), uintptr(s.ptrs.p), s.reqs[:n], r.eventfd, s.within); ; {
		cost.add(got)
		s.within = got.within
		cost.quiet += quietIn(s.reqs[done : done+got.n])
		done += got.n
		if done < n && got.errno != syscall.EAGAIN {
			q.refuse(s.batch[done], got.errno)
			done++
		} else {
			break
		}
		if done == n {
			break
		}
		got = sysResubmit(r.ctx, r.shown(), uintptr(s.ptrs.p), done, n-done, s.within)
	}
	cost.time = monotonic() - start
	for i, f := range s.files[:n] {
		if f != nil && i < done {
			f.release()
		}
		s.files[i] = nil
	}
	return done, cost
}

// prepare writes the requests of a batch, and notes which files to release
// after the call. An operation that may be resumed keeps its file.
func (q *Queue) prepare(s *sender) {
	q.growVectors(s)
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

// refuse completes an operation that io_submit did not take.
func (q *Queue) refuse(index uint32, errno syscall.Errno) {
	q.mu.Lock()
	q.finish(index, -int64(errno))
	q.settle()
	q.unlock()
}

// growVectors makes room for the iovecs of a batch. Where there is no memory for
// them, vectors fail and the rest goes its way.
func (q *Queue) growVectors(s *sender) {
	vecs := 0
	for _, index := range s.batch {
		vecs += len(q.slots[index].op.bufs)
	}
	errno := s.vecs.grow(vecs * iovecSize)
	if errno == 0 {
		return
	}
	q.mu.Lock()
	s.batch = slices.DeleteFunc(s.batch, func(index uint32) bool {
		vector := q.slots[index].op.bufs != nil
		if vector {
			q.giveUp(index, errno)
		}
		return vector
	})
	q.settle()
	q.unlock()
}
