package libaio

import (
	"context"
	"fmt"
	"time"
)

// This file is about waiting for room in a Queue. Room is given to the waiters
// in the order of their arrival, so nobody starves; only a Do overtakes
// submitters who wait for the channel to be read, as it needs no place there.

// waiter is a goroutine in awaitRoom. Guarded by the Queue's mu.
type waiter struct {
	want      int
	onChannel bool // needs places on the channel too
	granted   int
	looking   bool          // it looks at the channel from time to time
	ready     chan struct{} // capacity 1: look again
	timer     *time.Timer
	next      *waiter
}

// waitList is a list of waiters, and of idle waiters to use again.
type waitList struct {
	head, tail *waiter
	spare      *waiter
}

func (l *waitList) add(want int, onChannel bool) *waiter {
	w := l.spare
	if w == nil {
		w = &waiter{ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		w.timer.Stop()
	} else {
		l.spare = w.next
	}
	w.want, w.onChannel, w.granted, w.looking, w.next = want, onChannel, 0, false, nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
	return w
}

// remove takes w out of the list.
func (l *waitList) remove(w *waiter) {
	var before *waiter
	for at := l.head; at != nil; before, at = at, at.next {
		if at == w {
			l.unlink(before, w)
			return
		}
	}
}

func (l *waitList) unlink(before, w *waiter) {
	if before == nil {
		l.head = w.next
	} else {
		before.next = w.next
	}
	if l.tail == w {
		l.tail = before
	}
	w.next = nil
}

// retire keeps a waiter that is in no list for use again.
func (l *waitList) retire(w *waiter) {
	w.timer.Stop()
	select {
	case <-w.ready:
	default:
	}
	w.next, l.spare = l.spare, w
}

func (l *waitList) wakeAll() {
	for w := l.head; w != nil; w = w.next {
		w.wake()
	}
}

func (w *waiter) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// room is how many operations can be accepted now. Held: mu.
func (q *Queue) room(onChannel bool) int {
	n := len(q.free) - q.promised
	if onChannel {
		n = min(n, q.places())
	}
	return max(n, 0)
}

// places is how many completions the channel can take beyond those it owes.
func (q *Queue) places() int { return cap(q.ch) - len(q.ch) - q.owed }

// firstOnChannel is the first waiter that needs places on the channel.
func (l *waitList) firstOnChannel() *waiter {
	w := l.head
	for w != nil && !w.onChannel {
		w = w.next
	}
	return w
}

// A channel does not tell when it is read. When only its reader can make room,
// the first of those who wait for that therefore looks again after these
// times; completions wake it in any case.
const (
	lookAgainFirst = 50 * time.Microsecond
	lookAgainMost  = 2 * time.Millisecond
)

// awaitRoom waits until one to want operations can be accepted, and returns
// how many; the caller accepts them before it lets mu go. Held: mu, but not
// during the wait.
func (q *Queue) awaitRoom(ctx context.Context, want int, onChannel bool) (int, error) {
	if err := q.stopped(ctx); err != nil {
		return 0, err
	}
	if q.waiters.head == nil {
		if n := q.room(onChannel); n > 0 {
			return min(n, want), nil
		}
	}
	q.stats.Waits++
	w := q.waiters.add(want, onChannel)
	q.grant()
	for delay := lookAgainFirst; w.granted == 0 && q.stopped(ctx) == nil; {
		var again <-chan time.Time
		w.looking = q.mustLook(w)
		if w.looking {
			w.timer.Reset(delay)
			again = w.timer.C
			delay = min(2*delay, lookAgainMost)
		}
		q.mu.Unlock()
		select {
		case <-w.ready:
		case <-again:
		case <-ctx.Done():
		}
		q.mu.Lock()
		q.stats.Looks++
		q.grant()
	}
	granted := w.granted
	q.promise(w, -granted)
	if granted == 0 {
		q.waiters.remove(w)
	}
	q.waiters.retire(w)
	if err := q.stopped(ctx); err != nil {
		q.grant() // what was promised to us is for the next
		return 0, err
	}
	return granted, nil
}

// mustLook says whether w, to whom grant gave nothing, must look at the
// channel. That a slot was free tells that only a place was missing; the
// channel itself may have been read since. Held: mu since that grant.
func (q *Queue) mustLook(w *waiter) bool {
	return q.room(false) > 0 && w == q.waiters.firstOnChannel()
}

// stopped is why a wait must end, or not begin.
func (q *Queue) stopped(ctx context.Context) error {
	switch {
	case q.closed:
		return ErrClosed
	case ctx == nil:
		return errNilContext
	}
	return ctx.Err()
}

var errNilContext = fmt.Errorf("%w: the context is nil: pass context.Background()", ErrInvalid)

// grant promises what room there is to the waiters, and has the first of those
// who only lack a place on the channel look at it. Held: mu.
func (q *Queue) grant() {
	if q.closed {
		return
	}
	var before *waiter
	looker := false
	for w := q.waiters.head; w != nil && q.room(false) > 0; {
		next := w.next
		if n := min(w.want, q.room(w.onChannel)); n > 0 {
			q.waiters.unlink(before, w)
			q.promise(w, n)
			w.wake()
		} else {
			if !looker && !w.looking {
				w.wake()
			}
			looker = true
			before = w
		}
		w = next
	}
}

// promise reserves room for w, or with a negative n gives it back.
func (q *Queue) promise(w *waiter, n int) {
	w.granted += n
	q.promised += n
	if w.onChannel {
		q.owed += n
	}
}
