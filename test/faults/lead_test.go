package faults

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about a Do that waits in the kernel because nothing else was in
// flight when it came.

// lone has the next Do wait in the kernel.
func lone(r *rig) {
	for range 5 {
		_, err := r.do(libaio.Noop())
		require.NoError(r.t, err)
	}
}

// What others do meanwhile completes while it waits, and behind it.
func TestOthersBesideALoneDo(t *testing.T) {
	r := newRig(t, 8)
	slow := r.file(asyncMount, Spec{Name: "lone", Data: pattern(block, 0, 0), Else: answer{Gate: "g"}})
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(4*block, 0, 0)})
	late := r.file(asyncMount, Spec{Name: "late", Data: pattern(block, 0, 0), Else: answer{Gate: "late"}})
	lone(r)
	done := r.doBeside(context.Background(), libaio.Pread(slow, r.buffer(block, 0, 9), 0))
	r.await("lone", 1)
	for i := range 4 {
		b := r.buffer(block, 0, 9)
		_, err := r.do(libaio.Pread(f, b, int64(i)*block))
		require.NoError(t, err)
		requirePattern(t, b.Bytes(), int64(i)*block, 0)
		r.submit(libaio.Pread(f, b, 0))
		require.NoError(t, r.receive().Err)
	}
	require.Empty(t, done)
	r.submit(libaio.Pread(late, r.buffer(block, 0, 9), 0))
	r.await("late", 1)
	r.open("g")
	require.NoError(t, result(t, "the lone Do", done).err)
	r.open("late")
	require.NoError(t, r.receive().Err)
}

// Its context ends the wait and not the operation, which completes later: with
// nobody else there, and while the next is at work.
func TestLoneDoIsCancelled(t *testing.T) {
	for _, other := range []bool{false, true} {
		r := newRig(t, 4)
		held := r.file(asyncMount, held("held", block))
		f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0)})
		empty := libaio.Memory()
		lone(r)
		b := r.buffer(block, 0, 9)
		ctx, cancel := context.WithCancel(context.Background())
		done := r.doBeside(ctx, libaio.Pread(held, b, 0))
		r.await("held", 1)
		cancel()
		err := result(t, "the cancelled Do", done).err
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, libaio.ErrInFlight)
		require.True(t, b.InFlight())
		require.NoError(t, b.Release())
		if other {
			c := r.buffer(block, 0, 9)
			_, err := r.do(libaio.Pread(f, c, 0))
			require.NoError(t, err)
			require.NoError(t, c.Free())
		}
		r.open("g")
		requireMemory(t, empty)
		c := r.buffer(block, 0, 9)
		_, err = r.do(libaio.Pread(f, c, 0))
		require.NoError(t, err)
		r.finish()
	}
}

// Close waits for it.
func TestCloseDuringALoneDo(t *testing.T) {
	r := newRig(t, 4)
	f := r.file(asyncMount, held("f", block))
	lone(r)
	done := r.doBeside(context.Background(), libaio.Pread(f, r.buffer(block, 0, 9), 0))
	r.await("f", 1)
	closed := beside(r.q.Close)
	_, err := r.do(libaio.Noop())
	for err == nil {
		_, err = r.do(libaio.Noop())
	}
	require.ErrorIs(t, err, libaio.ErrClosed)
	require.Empty(t, closed)
	r.open("g")
	require.NoError(t, result(t, "the Do", done).err)
	require.NoError(t, result(t, "Close", closed))
}
