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
	want       int
	granted    int
	onChannel  bool // needs places on the channel too
	looking    bool // looks at the channel from time to time
	arrival    uint64
	ready      chan struct{} // capacity 1: look again
	timer      *time.Timer
	prev, next *waiter
}

// waitList is a list of waiters in the order of their arrival.
type waitList struct{ head, tail *waiter }

func (l *waitList) push(w *waiter) {
	w.prev, w.next = l.tail, nil
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

func (l *waitList) remove(w *waiter) {
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

func (l *waitList) wakeAll() {
	for w := l.head; w != nil; w = w.next {
		w.wake()
	}
}

// waiters are those who wait for a slot alone, and those who wait for a slot
// and a place on the channel.
type waiters struct {
	slot, channel waitList
	arrivals      uint64
	spare         []*waiter // to use again
}

func (ws *waiters) none() bool { return ws.slot.head == nil && ws.channel.head == nil }

func (ws *waiters) list(w *waiter) *waitList {
	if w.onChannel {
		return &ws.channel
	}
	return &ws.slot
}

func (ws *waiters) add(want int, onChannel bool) *waiter {
	var w *waiter
	if n := len(ws.spare); n > 0 {
		w, ws.spare = ws.spare[n-1], ws.spare[:n-1]
	} else {
		w = &waiter{ready: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		w.timer.Stop()
	}
	w.want, w.granted, w.onChannel, w.looking = want, 0, onChannel, false
	ws.arrivals++
	w.arrival = ws.arrivals
	ws.list(w).push(w)
	return w
}

// retire keeps a waiter that is in no list for use again.
func (ws *waiters) retire(w *waiter) {
	w.timer.Stop()
	select {
	case <-w.ready:
	default:
	}
	ws.spare = append(ws.spare, w)
}

// first is who came first of those that a slot would help.
func (ws *waiters) first(places bool) *waiter {
	s, c := ws.slot.head, ws.channel.head
	switch {
	case c == nil || !places:
		return s
	case s == nil || c.arrival < s.arrival:
		return c
	}
	return s
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

// places is how many completions the channel can take beyond those it owes. It
// grows by itself when the channel is read; it shrinks only under mu.
func (q *Queue) places() int { return q.limit - q.unread() - q.owed }

// unread is how many completions nobody has taken yet.
func (q *Queue) unread() int {
	if q.polled != nil {
		return q.polled.count
	}
	return len(q.ch)
}

// A channel does not tell when it is read. When only its reader can make room,
// the first of those who wait for that therefore looks again after these
// times; completions wake it in any case. Where the queue is polled all of them
// look: who reads the ring in place of Reap leaves when he has his room.
const (
	lookAgainFirst = 50 * time.Microsecond
	lookAgainMost  = 10 * time.Millisecond
)

// awaitRoom waits until one to want operations can be accepted, and returns
// how many; the caller accepts them before it lets mu go. Held: mu, but not
// during the wait.
func (q *Queue) awaitRoom(ctx context.Context, want int, onChannel bool) (int, error) {
	if err := q.stopped(ctx); err != nil {
		return 0, err
	}
	q.makeRoom()
	if q.waiters.none() {
		if n := q.room(onChannel); n > 0 {
			return min(n, want), nil
		}
	}
	w := q.waiters.add(want, onChannel)
	q.grant()
	if w.granted == 0 {
		q.stats.Waits++
		q.wait(ctx, w)
	}
	granted := w.granted
	q.promise(w, -granted)
	if granted == 0 {
		q.waiters.list(w).remove(w)
	}
	q.waiters.retire(w)
	if err := q.stopped(ctx); err != nil {
		q.grant() // what was promised to us, or our turn to look, is the next one's
		return 0, err
	}
	return granted, nil
}

// wait waits until w is granted room or stopped. Held: mu, but not meanwhile.
func (q *Queue) wait(ctx context.Context, w *waiter) {
	for delay := lookAgainFirst; w.granted == 0 && q.stopped(ctx) == nil; {
		var again <-chan time.Time
		w.looking = q.mustLook(w)
		if w.looking {
			w.timer.Reset(delay)
			again = w.timer.C
			delay = min(2*delay, lookAgainMost)
		}
		ring, leads := q.ringForRoom(), false
		q.unlock()
		select {
		case <-w.ready:
		case <-again:
		case <-ctx.Done():
		case ring <- struct{}{}:
			leads = true
		}
		q.mu.Lock()
		if leads {
			q.leadForRoom()
		}
		q.stats.Looks++
		q.grant()
	}
}

// mustLook says whether w, to whom grant gave nothing, must look at the
// channel. That a slot was free tells that only a place was missing; the
// channel itself may have been read since. Held: mu since that grant.
func (q *Queue) mustLook(w *waiter) bool {
	return q.polled != nil || q.room(false) > 0 && w == q.waiters.channel.head
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

var (
	errNilContext = fmt.Errorf("%w: the context is nil: pass context.Background()", ErrInvalid)
	errZeroQueue  = fmt.Errorf("%w: the Queue is nil, or was not made by NewQueue or NewSharded", ErrInvalid)
)

// grant promises what room there is to the waiters, and has the first of those
// who only lack a place on the channel look at it. Held: mu.
func (q *Queue) grant() {
	if q.closed {
		return
	}
	for q.room(false) > 0 {
		w := q.waiters.first(q.places() > 0)
		if w == nil {
			break
		}
		q.waiters.list(w).remove(w)
		q.promise(w, min(w.want, q.room(w.onChannel)))
		w.wake()
	}
	if w := q.waiters.channel.head; w != nil && !w.looking && q.mustLook(w) {
		w.wake()
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
