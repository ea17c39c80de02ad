//go:build linux

package libaio

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func newPolledQueue(t testing.TB, depth int) *Queue {
	t.Helper()
	q, err := NewQueue(depth, &Options{Polled: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, q.Close())
		checkInvariants(t, q)
	})
	return q
}

func TestReap(t *testing.T) {
	const n = 32
	q, f := newPolledQueue(t, n), newFile(t, n*block)
	bufs := newBuffers(t, n, block)
	to := make([]Completion, n)
	for round := range 50 {
		for i, b := range bufs {
			got, err := q.TrySubmit(Pread(f, b, int64(i)*block).WithTag(uint64(i)))
			require.NoError(t, err)
			require.Equal(t, 1, got)
		}
		seen := 0
		for seen < n {
			minimum := min(1+round%7, n-seen)
			got, err := q.Reap(ctxOf(t), to[:min(n, minimum+5)], minimum)
			require.NoError(t, err)
			require.GreaterOrEqual(t, got, minimum)
			for _, c := range to[:got] {
				require.NoError(t, c.Err)
				require.Same(t, bufs[c.Tag], c.Buffer)
				requirePattern(t, c.Buffer.Bytes(), int64(c.Tag)*block, 0)
			}
			seen += got
		}
		got, err := q.Reap(ctxOf(t), to, 0)
		require.NoError(t, err)
		require.Zero(t, got)
	}
	require.Zero(t, q.Stats().Wakeups)
}

// One loop may submit until the places are used up, too: who submits takes what has
// completed. Then the queue is full.
func TestPolledSubmitBeyondDepth(t *testing.T) {
	const depth = 4
	q, f, b := newPolledQueue(t, depth), newFile(t, block), newBuffer(t, block)
	op := Pread(f, b, 0)
	for accepted := 0; accepted < 2*depth; {
		n, err := q.TrySubmit(op)
		accepted += n
		require.True(t, err == nil || errors.Is(err, ErrQueueFull))
		require.LessOrEqual(t, q.Stats().InFlight+q.Stats().Unread, 2*depth)
	}
	n, err := q.TrySubmit(op)
	require.ErrorIs(t, err, ErrQueueFull)
	require.Zero(t, n)
	to := make([]Completion, 3*depth)
	n, err = q.Reap(ctxOf(t), to, 2*depth)
	require.NoError(t, err)
	require.Equal(t, 2*depth, n)
}

// A Close and a Reap that meet while a sender is still coming back end both.
func TestPolledCloseBesideReap(t *testing.T) {
	f := newFile(t, block)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range scaled(150, 40) {
				q, err := NewQueue(2, &Options{Polled: true})
				if !assert.NoError(t, err) {
					return
				}
				b := newBuffer(t, block)
				var both sync.WaitGroup
				both.Go(func() {
					for to := make([]Completion, 2); ; {
						if _, err := q.Reap(context.Background(), to, 1); err != nil {
							assert.ErrorIs(t, err, ErrClosed)
							return
						}
					}
				})
				_, err = q.Submit(context.Background(), Pread(f, b, 0))
				assert.NoError(t, err)
				assert.NoError(t, q.Close())
				both.Wait()
			}
		})
	}
	wg.Wait()
}

// After Close that is what is said, whatever else is wrong.
func TestPolledClosedComesFirst(t *testing.T) {
	p, q := newPolledQueue(t, 1), newQueue(t, 1)
	require.NoError(t, p.Close())
	require.NoError(t, q.Close())
	to := make([]Completion, 1)
	_, err := p.Reap(ctxOf(t), to, 2)
	require.ErrorIs(t, err, ErrClosed)
	_, err = p.Do(ctxOf(t), Noop())
	require.ErrorIs(t, err, ErrClosed)
	_, err = q.Reap(ctxOf(t), to, 1)
	require.ErrorIs(t, err, ErrClosed)
	var none context.Context
	_, err = p.Reap(none, to, 1)
	require.ErrorIs(t, err, ErrClosed)
}

// With a minimum of 0 Reap waits for nothing, also when the queue is closing; what
// is left is not passed over.
func TestReapOfNothing(t *testing.T) {
	q := newPolledQueue(t, 2)
	_, err := q.Submit(ctxOf(t), Noop(), Noop())
	require.NoError(t, err)
	reap := func(room, want int) error {
		n, err := q.Reap(ctxOf(t), make([]Completion, room), 0)
		require.Equal(t, want, n)
		return err
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, q.Shutdown(over), context.Canceled)
	require.NoError(t, reap(1, 1))
	require.NoError(t, reap(0, 0), "one is left")
	require.NoError(t, q.Close())
	require.NoError(t, reap(0, 0), "one is left")
	require.NoError(t, reap(2, 1))
	require.ErrorIs(t, reap(2, 0), ErrClosed)
	require.True(t, q.polled.tryEnter())
	err = reap(2, 0)
	<-q.polled.token
	require.ErrorIs(t, err, ErrClosed, "beside another one")
}

func TestReapBadInput(t *testing.T) {
	q := newPolledQueue(t, 1)
	to := make([]Completion, 2)
	for _, minimum := range []int{-1, 3} {
		_, err := q.Reap(ctxOf(t), to, minimum)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "must be 0 to 2")
	}
	var none context.Context
	_, err := q.Reap(none, to, 1)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = q.Do(ctxOf(t), Noop())
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "polled")
	_, err = newQueue(t, 1).Reap(ctxOf(t), to, 1)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "Options.Polled")
	_, err = new(Queue).Reap(ctxOf(t), to, 1)
	require.ErrorIs(t, err, ErrInvalid)
}

// Reap waits for what is not there yet: nothing accepted, a poll, an operation
// that is cancelled.
func TestReapWaits(t *testing.T) {
	q := newPolledQueue(t, 4)
	r, w := newPipe(t)
	type reaped struct {
		n   int
		err error
	}
	to := make([]Completion, 4)
	reap := func(ctx context.Context) <-chan reaped {
		done := make(chan reaped, 1)
		go func() {
			n, err := q.Reap(ctx, to, 1)
			done <- reaped{n, err}
		}()
		return done
	}
	done := reap(ctxOf(t))
	time.Sleep(time.Millisecond)
	require.Empty(t, done)
	_, err := q.Submit(ctxOf(t), Noop().WithTag(1))
	require.NoError(t, err)
	require.Equal(t, reaped{1, nil}, <-done)
	require.EqualValues(t, 1, to[0].Tag)

	done = reap(ctxOf(t))
	_, err = q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(2))
	require.NoError(t, err)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	require.Equal(t, reaped{1, nil}, <-done)
	require.EqualValues(t, 2, to[0].Tag)
	_, err = unix.Read(r.fd, make([]byte, 1))
	require.NoError(t, err)

	done = reap(ctxOf(t))
	_, err = q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(3))
	require.NoError(t, err)
	require.Equal(t, 1, q.Cancel(3))
	require.Equal(t, reaped{1, nil}, <-done)
	require.ErrorIs(t, to[0].Err, syscall.ECANCELED)

	ctx, cancel := context.WithCancel(context.Background())
	done = reap(ctx)
	cancel()
	require.ErrorIs(t, (<-done).err, context.Canceled)

	_, err = q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	ctx, cancel = context.WithCancel(context.Background())
	first, second := reap(ctx), reap(ctx)
	n, err := q.Reap(ctxOf(t), make([]Completion, 1), 0) // waits for nobody
	require.NoError(t, err)
	require.Zero(t, n)
	cancel()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	require.ErrorIs(t, (<-second).err, context.Canceled)
}

// Close reads the ring itself, and wakes a Reap that waits; what was accepted is
// there to be taken.
func TestPolledClose(t *testing.T) {
	q, f := newPolledQueue(t, 8), newFile(t, 8*block)
	bufs := newBuffers(t, 8, block)
	r, _ := newPipe(t)
	waiting := make(chan error, 1)
	go func() {
		_, err := newPolledQueueClosed(t).Reap(context.Background(), make([]Completion, 1), 1)
		waiting <- err
	}()
	require.ErrorIs(t, <-waiting, ErrClosed)
	for i, b := range bufs[:7] {
		_, err := q.Submit(ctxOf(t), Pread(f, b, int64(i)*block))
		require.NoError(t, err)
	}
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	require.NoError(t, q.Close())
	to := make([]Completion, 16)
	n, err := q.Reap(context.Background(), to[:3], 3)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = q.Reap(context.Background(), to, 1)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	n, err = q.Reap(context.Background(), to, 0)
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, n)
	_, open := <-q.Completions()
	require.False(t, open)
}

// newPolledQueueClosed is a queue that is closed while somebody waits.
func newPolledQueueClosed(t *testing.T) *Queue {
	q := newPolledQueue(t, 1)
	go func() {
		time.Sleep(time.Millisecond)
		assert.NoError(t, q.Close())
	}()
	return q
}

// Any number of goroutines submit, reap, cancel and close.
func TestPolledConcurrent(t *testing.T) {
	const each = 300
	q, f := newPolledQueue(t, 16), newFile(t, 64*block)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[uint64]int)
	for i := range 4 {
		wg.Go(func() {
			b := newBuffer(t, block)
			for k := range each {
				op := Pread(f, b, int64((i*each+k)%64)*block)
				if k%5 == 0 {
					op = Noop()
				}
				_, err := q.Submit(ctxOf(t), op.WithTag(uint64(i*each+k)))
				assert.NoError(t, err)
			}
		})
	}
	var left sync.WaitGroup
	left.Add(4 * each)
	stop, cancel := context.WithCancel(context.Background())
	var reapers sync.WaitGroup
	for range 3 {
		reapers.Go(func() {
			to := make([]Completion, 7)
			for {
				n, err := q.Reap(stop, to, 1)
				for _, c := range to[:n] {
					assert.NoError(t, c.Err)
					mu.Lock()
					seen[c.Tag]++
					mu.Unlock()
					left.Done()
				}
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	left.Wait()
	cancel()
	reapers.Wait()
	require.Len(t, seen, 4*each)
	for tag, n := range seen {
		require.Equal(t, 1, n, "completions of %d", tag)
	}
}

// Submitting and reaping allocates nothing.
func TestReapDoesNotAllocate(t *testing.T) {
	skipUnderASan(t)
	q, f, b := newPolledQueue(t, 4), newFile(t, block), newBuffer(t, block)
	ctx := context.Background()
	to, ops := make([]Completion, 4), []Op{Pread(f, b, 0), Pread(f, b, 0)}
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if n, err := q.Submit(ctx, ops...); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := q.Reap(ctx, to, 2); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}))
}

// A loop of one goroutine may submit more than the depth at once, though nobody
// but it would reap: who waits for room does it for himself.
func TestPolledSubmitWaitsForRoom(t *testing.T) {
	const depth, n = 4, 8
	q, f := newPolledQueue(t, depth), newFile(t, n*block)
	bufs := newBuffers(t, n, block)
	ops := make([]Op, n)
	for i, b := range bufs {
		ops[i] = Pread(f, b, int64(i)*block)
	}
	to := make([]Completion, n)
	for range 100 {
		accepted, err := q.Submit(ctxOf(t), ops...)
		require.NoError(t, err)
		require.Equal(t, n, accepted)
		got, err := q.Reap(ctxOf(t), to, n)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
}

// Who waits for places and has none before him any more reads the ring, though a
// slot was free when he began to wait.
func TestPolledWaiterTakesOver(t *testing.T) {
	q, err := NewQueue(1, &Options{Polled: true, Unread: 2})
	require.NoError(t, err)
	defer q.Close()
	for range 3 { // all places
		_, err := q.Submit(ctxOf(t), Noop())
		require.NoError(t, err)
	}
	r, w := newPipe(t)
	submitted := make(chan error, 2)
	for i := range uint64(cap(submitted)) {
		go func() {
			_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
			submitted <- err
		}()
		require.Eventually(t, func() bool { return q.Stats().Waits == i+1 }, time.Minute, time.Millisecond)
	}
	n, err := q.Reap(ctxOf(t), make([]Completion, 2), 2)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.NoError(t, <-submitted)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	select {
	case err := <-submitted:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Error("nobody reads the ring")
	}
}

// While another reads the ring a Reap that waits for nothing has what was taken
// from it.
func TestReapWithoutTheRing(t *testing.T) {
	q := newPolledQueue(t, 1)
	_, err := q.Submit(ctxOf(t), Noop())
	require.NoError(t, err)
	require.True(t, q.polled.tryEnter())
	n, err := q.Reap(ctxOf(t), make([]Completion, 2), 0)
	<-q.polled.token
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A submitter that waits in the kernel for room minds its context and a Close.
func TestSubmitterWaitsInTheKernel(t *testing.T) {
	q, err := NewQueue(1, &Options{Polled: true, Unread: 8})
	require.NoError(t, err)
	r, w := newPipe(t)
	ctx, cancel := context.WithCancel(ctxOf(t))
	defer cancel()
	submitted := make(chan error, 1)
	go func() {
		_, err := q.Submit(ctx, Noop(), Poll(r, unix.POLLIN), Noop())
		submitted <- err
	}()
	leads := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.leading
	}
	to := make([]Completion, 8)
	require.Eventually(t, leads, time.Minute, 100*time.Microsecond)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	require.NoError(t, <-submitted)

	_, err = q.Reap(ctxOf(t), to, 3)
	require.NoError(t, err)
	_, err = unix.Read(r.fd, make([]byte, 1))
	require.NoError(t, err)
	go func() {
		_, err := q.Submit(ctx, Poll(r, unix.POLLIN), Noop())
		submitted <- err
	}()
	require.Eventually(t, leads, time.Minute, 100*time.Microsecond)
	cancel()
	require.ErrorIs(t, <-submitted, context.Canceled)
	go func() {
		_, err := q.Submit(ctxOf(t), Noop())
		submitted <- err
	}()
	require.Eventually(t, leads, time.Minute, 100*time.Microsecond)
	require.NoError(t, q.Close())
	require.ErrorIs(t, <-submitted, ErrClosed)
	checkInvariants(t, q)
}

// A Reap that wants several sleeps until they are there, unless somebody waits for
// room, and never for more than can come.
func TestReapSleepsUntil(t *testing.T) {
	q := newPolledQueue(t, 4)
	r, _ := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN), Poll(r, unix.POLLIN).WithTag(1), Poll(r, unix.POLLIN).WithTag(1))
	require.NoError(t, err)
	q.mu.Lock()
	require.Equal(t, 2, q.sleepUntil(2))
	require.Equal(t, 3, q.sleepUntil(8))
	w := q.waiters.add(1, true)
	require.Equal(t, 1, q.sleepUntil(8))
	q.waiters.list(w).remove(w)
	q.waiters.retire(w)
	q.mu.Unlock()
	require.Equal(t, 2, q.Cancel(1))
	n, err := q.Reap(ctxOf(t), make([]Completion, 4), 2)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}
