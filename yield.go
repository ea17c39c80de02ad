package libaio

import (
	"runtime"
	"time"
)

// This file is about letting others run, and when not to.
//
// A yield puts the caller behind all goroutines that are ready. Where the processors
// are busy with computing that takes tens of milliseconds, for each yield. So who
// finds that it took long, two times in a row, does without for a while. Once is no
// sign: so a machine or a container looks that has used its share of processor time.
//
// Yields keep the runtime's monitor quiet.
//
// To the runtime, a goroutine that goes from system call to system call without
// waiting for another goroutine runs without a break. After 10 ms sysmon preempts
// it and takes its processor away. Having found something to do, it then looks every
// 20 µs for a millisecond, and after that at doubling times, until 10 ms have passed
// again. Each look is a timer interrupt and two switches of threads, so such a loop
// pays for hundreds in a second. Who yields by himself in time is left alone.

// yieldAfter is well below those 10 ms, and long beside what a yield costs.
const yieldAfter = 5 * time.Millisecond

// yieldDue says whether the caller, who has waited in the kernel or not at all, is to
// call runtime.Gosched before it returns. Held: mu.
func (q *Queue) yieldDue() bool {
	now := monotonic()
	if now-q.yielded < yieldAfter {
		return false
	}
	q.yielded = now
	return true
}

// yield is for whom yieldDue has told to.
func (q *Queue) yield() {
	busy := letOthersRun()
	next := monotonic() // what it took does not count
	q.mu.Lock()
	if q.loneHaste.after(busy) {
		next += yieldSeldom
	}
	q.yielded = max(q.yielded, next)
	q.mu.Unlock()
}

const (
	// slowYield is more than a yield takes among those that do I/O.
	slowYield = 2 * time.Millisecond
	// slowTimes is how many slow ones in a row it takes until nobody yields, hurried
	// times, and yieldSeldom for how long where sysmon is what a yield is for.
	slowTimes   = 2
	hurried     = 1000
	yieldSeldom = time.Second
)

// haste says when not to yield.
type haste struct {
	slow int // yields in a row that took long
	left int // so many times there is to be none
}

// hurry is called for each, and says whether it is to be left out.
func (h *haste) hurry() bool {
	if h.left == 0 {
		return false
	}
	h.left--
	return true
}

// after is called after each, and says whether the next ones are to be left out.
func (h *haste) after(busy bool) bool {
	if !busy {
		h.slow = 0
		return false
	}
	h.slow = min(h.slow+1, slowTimes)
	if h.slow < slowTimes {
		return false
	}
	h.left = hurried
	return true
}

// letOthersRun is runtime.Gosched, and says whether it took long: the processors are
// busy with others, behind whom an operation must not queue.
func letOthersRun() (busy bool) {
	start := monotonic()
	runtime.Gosched()
	return monotonic()-start > slowYield
}

var epoch = time.Now()

// monotonic is a time to take differences of. time.Now reads two clocks, this one.
func monotonic() time.Duration { return time.Since(epoch) }
