package libaio

import (
	"context"
	"fmt"
	"strings"
)

// This file is the end of a Queue.

// Close ends the queue: it refuses new operations and those that wait for
// room with ErrClosed, waits for everything in flight, and gives all back to
// the system. Each accepted operation has its completion on the channel, which
// is closed then. Nobody needs to read the channel for Close to return.
//
// Polls end with ECANCELED. For all else Close waits as long as the kernel
// does: it cannot take memory back from it. io_destroy itself takes some tens
// of milliseconds. A second Close waits for the first and returns nil. Stands
// for io_destroy.
func (q *Queue) Close() error { return q.Shutdown(context.Background()) }

// Shutdown is Close that waits only until ctx ends. The error then answers to
// ctx's and, while something is in flight, to ErrInFlight, and names it; the
// queue takes no new operations, and another Shutdown or Close must finish the
// work.
func (q *Queue) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return &Error{Op: "close", Err: errNilContext}
	}
	if !q.made() {
		return &Error{Op: "close", Err: errZeroQueue}
	}
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		q.waiters.slot.wakeAll()
		q.waiters.channel.wakeAll()
		q.cancelPolls() // nothing else may ever end them
		q.settle()
		if q.polled != nil {
			q.polled.tell()
		}
	}
	q.unlock()
	if q.polled != nil {
		q.drainPolled(ctx)
	}

	if err := q.await(ctx, q.drained); err != nil {
		return err
	}
	q.teardown.Do(func() { go q.giveAllBack() })
	return q.await(ctx, q.gone)
}

// await waits for a step of the closing.
func (q *Queue) await(ctx context.Context, step <-chan struct{}) error {
	select {
	case <-step:
		return nil
	default:
	}
	select {
	case <-step:
		return nil
	case <-ctx.Done():
		return q.stillInFlight(ctx.Err())
	}
}

// giveAllBack ends what a drained queue still holds.
func (q *Queue) giveAllBack() {
	if q.polled == nil {
		q.ring.poll.Close() // ends the reaper
		<-q.reaped
		q.endLeader()
	}
	q.mu.Lock() // whoever made the queue drained is through with unlock then
	//lint:ignore SA2001 only to have waited for it
	q.mu.Unlock()
	q.left.Wait()
	q.ring.poll = nil
	q.ring.destroy()
	q.watchdog.Stop()
	for _, s := range q.idle {
		s.free()
	}
	close(q.ch)
	close(q.gone)
}

// stillInFlight is the error of a Shutdown that has to give up.
func (q *Queue) stillInFlight(cause error) error {
	const most = 8 // named one by one
	q.mu.Lock()
	defer q.mu.Unlock()
	var names []string
	n := 0
	for i := range q.slots {
		if q.slots[i].stage == stageIdle {
			continue
		}
		if n++; n <= most {
			names = append(names, q.slots[i].op.String())
		}
	}
	if n > most {
		names = append(names, fmt.Sprintf("and %d more", n-most))
	}
	if n == 0 {
		return &Error{Op: "close", Err: cause, Detail: "nothing is in flight, but the system has not taken everything back yet"}
	}
	return &Error{
		Op: "close", Err: cause, also: ErrInFlight,
		Detail: fmt.Sprintf("%s still in flight: %s", counted(n, "operation"), strings.Join(names, "; ")),
	}
}

// atRest says that nothing is in flight and nobody uses the C memory.
func (q *Queue) atRest() bool {
	return len(q.free) == q.depth && q.sending == 0 && q.blockers == 0 && !q.leading
}

// settle is called, holding mu, after whatever may have freed slots or ended
// the sending: it passes room on and tells a Close that waits.
func (q *Queue) settle() {
	q.grant()
	if !q.closed || !q.atRest() {
		return
	}
	if q.polled != nil {
		q.polled.tell() // it may have found a sender still at work
	}
	select {
	case <-q.drained:
	default:
		close(q.drained)
	}
}
