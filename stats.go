package libaio

// Stats counts what a Queue has done since it was made. The counters only
// grow, but for InFlight and Unread.
type Stats struct {
	Submitted   uint64 // operations accepted
	Completed   uint64 // operations completed, in whatever way
	Failed      uint64 // of these, with an error
	Batches     uint64 // crossings into C to submit, however many operations each had
	SubmitCalls uint64 // calls of io_submit; more than Batches after refusals
	Reaps       uint64 // calls of io_getevents that brought completions
	Waits       uint64 // times that a submitter had to wait for room
	Looks       uint64 // times that such a submitter was woken to look for it
	InFlight    int    // accepted and not completed, now
	Unread      int    // completions on the channel, now
}

// Stats returns the counters as of one moment. Safe for any number of
// goroutines, also after Close.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.InFlight = q.depth - len(q.free)
	s.Unread = len(q.ch)
	return s
}
