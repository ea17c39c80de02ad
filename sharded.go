package libaio

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Sharded is several Queues behind one front, for those whom one context does
// not serve: all that enters or leaves a context passes its locks, in the kernel
// and here, one operation at a time. A submitter is given the Queue of the
// processor that it runs on, so processors do not wait for each other.
//
// Completions of Submit and TrySubmit come on the channel of the Queue that took
// the operations, or from its Reap: see Queue. Safe for any number of
// goroutines.
type Sharded struct {
	queues []*Queue
	next   atomic.Uint32
	// processors holds a Queue for each processor: what is put into a sync.Pool
	// comes back where it was put, until the next collection.
	processors sync.Pool
}

// NewSharded makes as many Queues, at least 1, of this depth each. The options
// are those of each; GOMAXPROCS is a good number, and each takes a thread, as Queue
// tells. The errors are those of [NewQueue]. Close it when done.
func NewSharded(queues, depth int, opts *Options) (*Sharded, error) {
	if queues < 1 || queues > maxDepth {
		return nil, invalidf("queue", "%d queues: must be 1 to %d", queues, maxDepth)
	}
	s := &Sharded{}
	for range queues {
		q, err := NewQueue(depth, opts)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.queues = append(s.queues, q)
	}
	s.processors.New = func() any {
		return s.queues[int(s.next.Add(1)-1)%len(s.queues)]
	}
	return s, nil
}

// Queues are the Queues, for whoever wants one of them: to receive its
// completions, to submit to it alone, or to give it to a File, which uses one.
func (s *Sharded) Queues() []*Queue { return slices.Clone(s.all()) }

// all are the Queues; none of what was not made by NewSharded.
func (s *Sharded) all() []*Queue {
	if s == nil {
		return nil
	}
	return s.queues
}

// near is the Queue of the caller's processor.
func (s *Sharded) near() *Queue {
	if len(s.all()) == 0 {
		return new(Queue) // not made by NewSharded: its methods say so
	}
	q := s.processors.Get().(*Queue)
	s.processors.Put(q)
	return q
}

// Submit is [Queue.Submit] on the near Queue, which it returns: it has the
// completions.
func (s *Sharded) Submit(ctx context.Context, ops ...Op) (*Queue, int, error) {
	q := s.near()
	n, err := q.Submit(ctx, ops...)
	return q, n, err
}

// TrySubmit is [Queue.TrySubmit] on the near Queue, which it returns: it has the
// completions.
func (s *Sharded) TrySubmit(ops ...Op) (*Queue, int, error) {
	q := s.near()
	n, err := q.TrySubmit(ops...)
	return q, n, err
}

// Do is [Queue.Do] on the near Queue.
func (s *Sharded) Do(ctx context.Context, op Op) (int, error) { return s.near().Do(ctx, op) }

// Cancel is [Queue.Cancel] on all Queues.
func (s *Sharded) Cancel(tag uint64) int {
	n := 0
	for _, q := range s.all() {
		n += q.Cancel(tag)
	}
	return n
}

// Stats is the sum of the Stats of all Queues, each as of a moment of its own.
func (s *Sharded) Stats() Stats {
	var sum Stats
	for _, q := range s.all() {
		sum.add(q.Stats())
	}
	return sum
}

// Close is [Queue.Close] of all Queues.
func (s *Sharded) Close() error { return s.Shutdown(context.Background()) }

// Shutdown is [Queue.Shutdown] of all Queues, at once, as each takes its time. It
// returns the first error.
func (s *Sharded) Shutdown(ctx context.Context) error {
	if len(s.all()) == 0 {
		return &Error{Op: "close", Err: errZeroQueue}
	}
	errs := make([]error, len(s.queues))
	var wg sync.WaitGroup
	for i, q := range s.queues {
		wg.Go(func() { errs[i] = q.Shutdown(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
