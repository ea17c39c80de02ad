package libaio

import (
	"syscall"
	"time"
)

// Stats counts what a Queue has done since it was made. The numbers only grow,
// but for InFlight and Unread. A Do that pread(2) or pwrite(2) has done is in no
// batch.
type Stats struct {
	Submitted uint64 // operations accepted
	Completed uint64 // operations completed, in whatever way
	Failed    uint64 // of these, with an error; Cancelled included
	Cancelled uint64 // of these, with ECANCELED

	Batches        uint64        // batches submitted: one crossing into C each, and one more after each refusal
	SubmitCalls    uint64        // calls of io_submit
	PartialSubmits uint64        // calls of io_submit that took some but not all
	Retries        uint64        // waits after EAGAIN before io_submit is called again
	SubmitTime     time.Duration // time the batches took: about as long as the operations themselves means that io_submit blocks
	Resumed        uint64        // remainders of short transfers that were asked for
	Interrupted    uint64        // operations done again because a signal had ended them

	Wakeups uint64 // times a goroutine of the Queue was woken and found completions
	Reaps   uint64 // times that completions were found, by whoever looked
	Waits   uint64 // times that a submitter had to wait for room
	Looks   uint64 // times that such a submitter was woken to look for it

	InFlight int // accepted and not completed, now
	Unread   int // completions on the channel, now
}

// Stats returns the counters as of one moment. It is cheap, and safe for any
// number of goroutines, also after Close.
func (q *Queue) Stats() Stats {
	if !q.made() {
		return Stats{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.InFlight = q.depth - len(q.free)
	s.Unread = q.unread()
	return s
}

// add adds the counters of another Queue.
func (s *Stats) add(o Stats) {
	s.Submitted += o.Submitted
	s.Completed += o.Completed
	s.Failed += o.Failed
	s.Cancelled += o.Cancelled
	s.Batches += o.Batches
	s.SubmitCalls += o.SubmitCalls
	s.PartialSubmits += o.PartialSubmits
	s.Retries += o.Retries
	s.SubmitTime += o.SubmitTime
	s.Resumed += o.Resumed
	s.Interrupted += o.Interrupted
	s.Wakeups += o.Wakeups
	s.Reaps += o.Reaps
	s.Waits += o.Waits
	s.Looks += o.Looks
	s.InFlight += o.InFlight
	s.Unread += o.Unread
}

// completed counts a completion with this result.
func (s *Stats) completed(res int64) {
	s.Completed++
	if res < 0 {
		s.Failed++
	}
	if res == -int64(syscall.ECANCELED) {
		s.Cancelled++
	}
}

// submission is what sending one batch took.
type submission struct {
	calls, partial int
	quiet          int // operations that the kernel took and that signal nothing
	time           time.Duration
}

func (t *submission) add(s sent) {
	t.calls += s.calls
	t.partial += s.partial
}

func (s *Stats) note(t submission) {
	s.Batches++
	s.SubmitCalls += uint64(t.calls)
	s.PartialSubmits += uint64(t.partial)
	s.SubmitTime += t.time
}
