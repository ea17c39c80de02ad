package faults

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about a queue that is full of operations which the server has.

// fill fills the queue with reads, each behind a gate of its own, and returns
// the file and the gates.
func (r *rig) fill(depth int) (*libaio.File, []string) {
	r.t.Helper()
	s := Spec{Name: "full", Data: pattern(depth*block, 0, 0), At: make(map[int64]answer)}
	gates := make([]string, depth)
	for i := range depth {
		gates[i] = fmt.Sprint("gate ", i)
		s.At[int64(i*block)] = answer{Gate: gates[i]}
	}
	f := r.file(asyncMount, s)
	for i := range depth {
		r.submit(libaio.Pread(f, r.buffer(block, 0, 9), int64(i*block)).WithTag(uint64(i)))
	}
	r.await("full", depth)
	return f, gates
}

func TestTrySubmitFull(t *testing.T) {
	const depth = 8
	r := newRig(t, depth)
	f, gates := r.fill(depth - 2)
	free := r.file(asyncMount, held("f", block))
	var ops []libaio.Op
	for range 4 {
		ops = append(ops, libaio.Pread(free, r.buffer(block, 0, 9), 0))
	}
	n, err := r.q.TrySubmit(ops...)
	r.accepted += n
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, libaio.ErrQueueFull)
	for i, b := range r.buffers[len(r.buffers)-4:] {
		require.Equal(t, i < 2, b.InFlight(), "Buffer %d: only what was accepted is in flight", i)
	}
	n, err = r.q.TrySubmit(ops[3])
	require.Zero(t, n)
	require.ErrorIs(t, err, libaio.ErrQueueFull)
	r.await("f", 2)

	require.NoError(t, f.Close())
	r.open(append(gates, "g")...)
	for range depth {
		require.NoError(t, r.receive().Err)
	}
	n, err = r.q.TrySubmit(ops[3])
	r.accepted += n
	require.NoError(t, err)
	require.NoError(t, r.receive().Err)
	s := r.q.Stats()
	require.Equal(t, []uint64{depth + 1, depth + 1, 0}, []uint64{s.Submitted, s.Completed, s.Failed})
}

// Completions come in the order in which the server answers, and none before.
func TestCompletionsInOrderOfAnswers(t *testing.T) {
	const depth = 16
	r := newRig(t, depth)
	_, gates := r.fill(depth)
	for i := range depth {
		at := (i*7 + 3) % depth // every one once
		r.open(gates[at])
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, at, int(c.Tag))
		requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
		s := r.q.Stats()
		require.Equal(t, depth-i-1, s.InFlight)
		require.Equal(t, i+1, int(s.Completed))
		require.Zero(t, s.Unread)
	}
}

// Who waits for room in a full queue is let go by its context, and has left no
// trace.
func TestWaitForRoomCancelled(t *testing.T) {
	const depth = 2
	r := newRig(t, depth)
	f, gates := r.fill(depth)
	for name, wait := range map[string]func(context.Context, ...libaio.Op) (int, error){
		"Submit": r.q.Submit,
		"Do":     func(ctx context.Context, ops ...libaio.Op) (int, error) { return r.q.Do(ctx, ops[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			b := r.buffer(block, 0, 9)
			waits := r.q.Stats().Waits
			ctx, cancel := context.WithCancel(context.Background())
			done := beside(func() did {
				n, err := wait(ctx, libaio.Pread(f, b, 0))
				return did{n, err}
			})
			r.awaitStats("it waits", func(s libaio.Stats) bool { return s.Waits == waits+1 })
			require.True(t, b.InFlight(), "the Buffer is the queue's from the call on")
			cancel()
			d := result(t, name, done)
			require.Zero(t, d.n)
			require.ErrorIs(t, d.err, context.Canceled)
			require.NotErrorIs(t, d.err, libaio.ErrInFlight)
			require.NoError(t, b.Free())
		})
	}
	require.Len(t, r.moves("full"), depth)
	r.open(gates...)
	for range depth {
		require.NoError(t, r.receive().Err)
	}
}

// Room that an answer makes goes to those who wait, in the order in which they
// came.
func TestWaitersGetRoomInOrder(t *testing.T) {
	const depth, waiters = 2, 6
	r := newRig(t, depth)
	_, gates := r.fill(depth)
	next := r.file(asyncMount, held("next", waiters*block))
	var order []string
	for i := range waiters {
		op := libaio.Pread(next, r.buffer(block, 0, 9), int64(i*block)).WithTag(uint64(100 + i))
		done := r.submitBeside(op)
		defer func() { require.NoError(t, result(t, "Submit", done)) }()
		r.awaitStats("it waits", func(s libaio.Stats) bool { return s.Waits == uint64(i+1) })
		order = append(order, fmt.Sprint(i*block))
	}
	require.Empty(t, r.moves("next"))
	r.open(gates[0])
	require.Equal(t, 0, int(r.receive().Tag))
	r.await("next", 1)
	require.Equal(t, int64(0), r.moves("next")[0].Offset)

	r.open(gates[1], "g")
	for range waiters + 1 {
		require.NoError(t, r.receive().Err)
	}
	var got []string
	for _, m := range r.moves("next") {
		got = append(got, fmt.Sprint(m.Offset))
	}
	// Two that are sent at the same time may reach the server either way.
	require.ElementsMatch(t, order, got)
	require.Equal(t, order[0], got[0], strings.Join(got, " "))
}
