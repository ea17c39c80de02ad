package faults

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about the end of a queue while the server has operations.

// close is Close, for a bounded time.
func (r *rig) close() error {
	r.t.Helper()
	return result(r.t, "Close", beside(r.q.Close))
}

// shutdown is Shutdown, for a bounded time.
func (r *rig) shutdown(ctx context.Context) error {
	r.t.Helper()
	return result(r.t, "Shutdown", beside(func() error { return r.q.Shutdown(ctx) }))
}

// closeBeside is Close in a goroutine; it has begun when this returns.
func (r *rig) closeBeside() <-chan error {
	r.t.Helper()
	closed := beside(r.q.Close)
	eventually(r.t, "the queue refuses operations", func() bool {
		_, err := r.q.TrySubmit()
		return err != nil
	})
	return closed
}

// requireOpen wants Close not to have returned.
func requireOpen(t *testing.T, closed <-chan error) {
	t.Helper()
	select {
	case err := <-closed:
		t.Fatalf("Close has returned (%v) while the server has the operation", err)
	default:
	}
}

func TestCloseWaits(t *testing.T) {
	r := newRig(t, 4)
	f := r.file(asyncMount, held("f", 4*block))
	b := r.buffer(block, 0, 9)
	r.submit(libaio.Pread(f, b, 0), libaio.Pwrite(f, r.buffer(block, block, 1), block))
	r.await("f", 2)
	closed, second := r.closeBeside(), r.closeBeside()

	require.Equal(t, 2, r.q.Stats().InFlight)
	require.ErrorIs(t, b.Free(), libaio.ErrInFlight)
	_, err := r.do(libaio.Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = r.q.Submit(r.context(), libaio.Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	requireOpen(t, closed)
	requireOpen(t, second)

	r.open("g")
	require.NoError(t, result(t, "Close", closed))
	require.NoError(t, result(t, "second Close", second))
	for range 2 {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, block, c.N)
	}
	_, more := <-r.q.Completions()
	require.False(t, more)
	requirePattern(t, b.Bytes(), 0, 0)
	requirePattern(t, r.data("f")[block:2*block], block, 1)
}

// Close also waits for a Do that was cancelled: its memory is the kernel's.
func TestCloseWaitsForCancelledDo(t *testing.T) {
	r := newRig(t, 1)
	f := r.file(asyncMount, held("f", block))
	b := r.buffer(block, 0, 9)
	ctx, cancel := context.WithCancel(context.Background())
	done := r.doBeside(ctx, libaio.Pread(f, b, 0))
	r.await("f", 1)
	cancel()
	require.ErrorIs(t, result(t, "Do", done).err, libaio.ErrInFlight)
	closed := r.closeBeside()
	requireOpen(t, closed)
	require.True(t, b.InFlight())
	r.open("g")
	require.NoError(t, result(t, "Close", closed))
	require.False(t, b.InFlight())
	requirePattern(t, b.Bytes(), 0, 0)
}

// Shutdown gives up when its context ends, and names what is in flight; Close
// finishes the work.
func TestShutdownGivesUp(t *testing.T) {
	r := newRig(t, 4)
	f := r.file(asyncMount, held("f", 8*block))
	v := []*libaio.Buffer{r.buffer(block, 0, 9), r.buffer(2*block, 0, 9)}
	r.submit(
		libaio.Pread(f, r.buffer(block, 0, 9), 3*block),
		libaio.Preadv(f, v, 4*block),
		libaio.Pwrite(f, r.buffer(block, 0, 0), 7*block),
	)
	r.await("f", 3)

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	soon, cancelSoon := context.WithTimeout(context.Background(), 1)
	defer cancelSoon()
	for _, tt := range []struct {
		ctx  context.Context
		want error
	}{{ended, context.Canceled}, {soon, context.DeadlineExceeded}} {
		err := r.shutdown(tt.ctx)
		require.ErrorIs(t, err, tt.want)
		require.ErrorIs(t, err, libaio.ErrInFlight)
		require.ErrorContains(t, err, "3 operations still in flight")
		for _, op := range []string{
			"pread " + f.Name() + " (4096 bytes at offset 12288)",
			"preadv " + f.Name() + " (12288 bytes at offset 16384)",
			"pwrite " + f.Name() + " (4096 bytes at offset 28672)",
		} {
			require.ErrorContains(t, err, op)
		}
	}
	_, err := r.q.TrySubmit(libaio.Noop())
	require.ErrorIs(t, err, os.ErrClosed)
	require.Equal(t, 3, r.q.Stats().InFlight)

	r.open("g")
	require.NoError(t, r.close())
	for range 3 {
		require.NoError(t, r.receive().Err)
	}
}

// Of many operations it names some, and counts the others.
func TestShutdownNamesSome(t *testing.T) {
	const depth = 20
	r := newRig(t, depth)
	_, gates := r.fill(depth)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	err := r.shutdown(ended)
	require.ErrorContains(t, err, "20 operations still in flight")
	require.ErrorContains(t, err, "and 12 more")
	r.open(gates...)
	require.NoError(t, r.shutdown(context.Background()))
	for range depth {
		require.NoError(t, r.receive().Err)
	}
}

// Who waits for room is let go at once by Close, although that has to wait.
func TestCloseLetsWaitersGo(t *testing.T) {
	const depth, waiters = 2, 8
	r := newRig(t, depth)
	f, gates := r.fill(depth)
	done := make(chan did, waiters)
	for i := range waiters {
		b := r.buffer(block, 0, 9)
		go func() {
			op := libaio.Pread(f, b, 0)
			n, err := 0, error(nil)
			if i%2 == 0 {
				n, err = r.q.Submit(context.Background(), op, op)
			} else {
				n, err = r.q.Do(context.Background(), op)
			}
			done <- did{n, err}
		}()
	}
	r.awaitStats("all wait", func(s libaio.Stats) bool { return s.Waits == waiters })
	closed := r.closeBeside()
	for i := range waiters {
		d := result(t, fmt.Sprint("waiter ", i), done)
		require.Zero(t, d.n)
		require.ErrorIs(t, d.err, os.ErrClosed)
		require.NotErrorIs(t, d.err, libaio.ErrInFlight)
	}
	for _, b := range r.buffers[depth:] {
		require.NoError(t, b.Free())
	}
	requireOpen(t, closed)
	require.Equal(t, depth, r.q.Stats().InFlight)
	require.Len(t, r.moves("full"), depth)
	r.open(gates...)
	require.NoError(t, result(t, "Close", closed))
	for range depth {
		require.NoError(t, r.receive().Err)
	}
}

// Close waits for senders that io_submit holds, and what they have left to send
// is sent.
func TestCloseWhileSendersAreHeld(t *testing.T) {
	r := newRig(t, senders+1)
	let := r.holdSenders()
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0)})
	b := r.buffer(block, 0, 9)
	r.submit(libaio.Pread(f, b, 0))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, r.shutdown(ended), libaio.ErrInFlight)
	closed := r.closeBeside()
	requireOpen(t, closed)
	require.Empty(t, r.moves("f"))
	let()
	require.NoError(t, result(t, "Close", closed))
	require.NoError(t, r.receive().Err)
	requirePattern(t, b.Bytes(), 0, 0)
}
