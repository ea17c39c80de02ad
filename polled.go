package libaio

import (
	"context"
)

// This file is delivery without a channel: a queue that is polled has no
// goroutine and no eventfd. Who calls Reap reads the ring, and waits in the
// kernel where it is empty.

// polled is what a queue with Options.Polled has instead of its channel.
type polled struct {
	token chan struct{} // of the one Reap at work
	wake  chan struct{} // capacity 1: something was accepted or completed
	asks  bool          // that Reap waits for wake; guarded by mu
	done  []Completion  // not taken yet, in a ring; guarded by mu
	first int           // of them
	count int
}

func newPolled(places int) *polled {
	return &polled{
		token: make(chan struct{}, 1),
		wake:  make(chan struct{}, 1),
		done:  make([]Completion, places),
	}
}

// put adds a completion, for which there is a place. Held: mu.
func (p *polled) put(c Completion) {
	p.done[(p.first+p.count)%len(p.done)] = c
	p.count++
	p.tell()
}

// take moves completions to to, and returns how many. Held: mu.
func (p *polled) take(to []Completion) int {
	n := min(len(to), p.count)
	for i := range n {
		at := &p.done[p.first]
		to[i], *at = *at, Completion{}
		if p.first++; p.first == len(p.done) {
			p.first = 0
		}
	}
	p.count -= n
	return n
}

// tell wakes a Reap that waits for nothing in particular. Held: mu.
func (p *polled) tell() {
	if p.asks {
		p.asks = false
		p.wake <- struct{}{}
	}
}

// Reap takes completions of a queue that was made with Options.Polled: at least
// minimum of them, for which it waits, and at most len(to). It returns how many
// it has put into to, from the front. With a minimum of 0 it never waits. Otherwise
// it waits even when nothing is in flight, for what others submit: a loop of one
// goroutine must not ask for more than it has in flight.
//
// When ctx ends first, Reap returns its error beside what it has by then. After
// Close it returns what is left, and then ErrClosed. ErrInvalid without
// Options.Polled, and for a minimum above len(to). One Reap works at a time; others
// wait for it. While it waits its thread sleeps in the kernel, at most 8 ms at a time:
// so late it sees that ctx has ended, and what completes without the kernel, such as
// a Noop or what io_submit refuses. Stands for io_getevents.
func (q *Queue) Reap(ctx context.Context, to []Completion, minimum int) (int, error) {
	switch {
	case !q.made():
		return 0, &Error{Op: "reap", Err: errZeroQueue}
	case q.polled == nil:
		return 0, q.orClosed(invalidf("reap", "the queue has a channel: receive from Completions, or set Options.Polled"), reapError)
	case minimum < 0 || minimum > len(to):
		return 0, q.orClosed(invalidf("reap", "minimum %d: must be 0 to %d, the room for completions", minimum, len(to)), reapError)
	case ctx == nil:
		return 0, q.orClosed(&Error{Op: "reap", Err: errNilContext}, reapError)
	}
	if minimum == 0 && !q.polled.tryEnter() {
		q.mu.Lock()
		n := q.polled.take(to) // the ring is somebody else's
		q.grant()
		drained := n == 0 && q.drainedPolled()
		q.unlock()
		if drained {
			return 0, reapError(ErrClosed)
		}
		return n, nil
	}
	if minimum > 0 {
		if err := q.polled.enter(ctx); err != nil {
			return 0, reapError(err)
		}
	}
	q.mu.Lock()
	n, err := q.reapInto(ctx, to, minimum)
	yield := q.yieldDue()
	q.unlock()
	<-q.polled.token
	if yield {
		q.yield()
	}
	if err != nil {
		return n, reapError(err)
	}
	return n, nil
}

func reapError(cause error) error {
	e := &Error{Op: "reap", Err: cause}
	if cause == ErrClosed {
		e.Detail = "the queue is closed"
	}
	return e
}

// enter makes the caller the one that reads the ring.
func (p *polled) enter(ctx context.Context) error {
	if p.tryEnter() {
		return nil
	}
	select {
	case p.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryEnter is enter that does not wait.
func (p *polled) tryEnter() bool {
	select {
	case p.token <- struct{}{}:
		return true
	default:
		return false
	}
}

// reapInto is Reap. Held: mu, but not while it waits.
func (q *Queue) reapInto(ctx context.Context, to []Completion, minimum int) (int, error) {
	n := 0
	for limit := leadFirst; ; limit = min(2*limit, leadMost) {
		n += q.gather(to[n:])
		switch {
		case n >= minimum && (n > 0 || !q.closed):
			return n, nil
		case q.drainedPolled():
			return n, ErrClosed
		case minimum == 0:
			return n, nil
		case ctx.Err() != nil:
			return n, ctx.Err()
		case len(q.free) < q.depth:
			q.awaitEvents(q.sleepUntil(minimum-n), limit)
		default:
			q.awaitAnything(ctx)
		}
	}
}

// drainedPolled says whether nothing will come any more. Held: mu.
func (q *Queue) drainedPolled() bool { return q.closed && q.atRest() && q.polled.count == 0 }

// makeRoom frees the slots of what has completed, for who submits where nobody
// reads the ring but Reap. Held: mu.
func (q *Queue) makeRoom() {
	for q.polled != nil && !q.leading && len(q.free) == 0 && q.takeEvents() > 0 {
	}
}

// sleepUntil is for how many completions at once a Reap that wants so many more may
// wait: no more than can come, and one where somebody waits for room. Held: mu.
func (q *Queue) sleepUntil(want int) int {
	if !q.waiters.none() {
		return 1
	}
	return min(want, q.depth-len(q.free))
}

// ringForRoom is the token for who waits for a slot where nobody may be there to
// read the ring: he may be the one who would call Reap next. nil where that is not
// so. Held: mu.
func (q *Queue) ringForRoom() chan<- struct{} {
	if q.polled == nil || len(q.free) > 0 {
		return nil
	}
	return q.polled.token
}

// leadForRoom waits in the kernel for a slot, for a while, and gives the token
// back. Held: mu, but not meanwhile.
func (q *Queue) leadForRoom() {
	if len(q.free) == 0 {
		q.awaitEvents(1, leadMost)
	}
	<-q.polled.token
}

// gather takes what completions there are. With nothing in flight it leaves the
// ring alone, which may be gone. Held: mu.
func (q *Queue) gather(to []Completion) int {
	n := q.polled.take(to)
	for n < len(to) && len(q.free) < q.depth && q.takeEvents() > 0 {
		n += q.polled.take(to[n:])
	}
	if n > 0 {
		q.grant()
	}
	return n
}

// awaitAnything waits until something is accepted or completed, or the queue is
// closed, or ctx ends. Held: mu, but not meanwhile.
func (q *Queue) awaitAnything(ctx context.Context) {
	q.polled.asks = true
	q.unlock()
	select {
	case <-q.polled.wake:
		q.mu.Lock()
	case <-ctx.Done():
		q.mu.Lock()
		if !q.polled.asks {
			<-q.polled.wake
		}
		q.polled.asks = false
	}
}

// drainPolled reads the ring until nothing is in flight, as nobody else may do it
// when the queue is closed. Whatever ends ctx, the error is for the caller to find.
func (q *Queue) drainPolled(ctx context.Context) {
	if q.polled.enter(ctx) != nil {
		return
	}
	q.mu.Lock()
	for limit := leadFirst; !q.atRest() && ctx.Err() == nil; limit = min(2*limit, leadMost) {
		q.awaitEvents(1, limit)
	}
	q.unlock()
	<-q.polled.token
}
