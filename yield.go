package libaio

import "time"

// This file keeps the runtime's monitor quiet.
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

var epoch = time.Now()

// monotonic is a time to take differences of. time.Now reads two clocks, this one.
func monotonic() time.Duration { return time.Since(epoch) }
