package faults

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about memory while the server has the operation on it.

// held is a file whose reads and writes wait for the gate "g".
func held(name string, size int) Spec {
	return Spec{Name: name, Data: pattern(size, 0, 0), Else: answer{Gate: "g"}}
}

func TestFreeInFlight(t *testing.T) {
	r := newRig(t, 4)
	f := r.file(asyncMount, held("f", 4*block))
	b, v, w := r.buffer(block, 0, 9), r.buffer(2*block, 0, 9), r.buffer(2*block, 0, 9)
	view, err := w.Slice(block, block)
	require.NoError(t, err)
	r.submit(libaio.Pread(f, b, 0), libaio.Preadv(f, []*libaio.Buffer{b, v}, block), libaio.Pwrite(f, view, 0))
	r.await("f", 3)

	for _, b := range []*libaio.Buffer{b, v, w} {
		require.True(t, b.InFlight())
		require.ErrorIs(t, b.Free(), libaio.ErrInFlight)
		require.NotNil(t, b.Bytes(), "a refused Free changes nothing")
	}
	r.open("g")
	for range 3 {
		require.NoError(t, r.receive().Err)
	}
	for _, b := range []*libaio.Buffer{b, v, w} {
		require.False(t, b.InFlight())
		require.NoError(t, b.Free())
	}
}

// A Buffer with several operations is in flight until the last of them.
func TestBufferOfSeveralOperations(t *testing.T) {
	r := newRig(t, 2)
	s := Spec{Name: "f", Data: pattern(block, 0, 0), Script: []answer{{Gate: "one"}, {Gate: "two"}}}
	f := r.file(asyncMount, s)
	b := r.buffer(block, 0, 0)
	r.submit(libaio.Pwrite(f, b, 0), libaio.Pwrite(f, b, 0))
	r.await("f", 2)
	r.open("two")
	require.NoError(t, r.receive().Err)
	require.True(t, b.InFlight())
	require.ErrorIs(t, b.Free(), libaio.ErrInFlight)
	r.open("one")
	require.NoError(t, r.receive().Err)
	require.False(t, b.InFlight())
}

// Release waits for the gate: the memory is the kernel's, and its bytes arrive
// in it, until then.
func TestReleaseInFlight(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, held("f", 2*block))
	empty := libaio.Memory()
	b := r.buffer(2*block, 0, 9)
	whole := libaio.Memory()
	r.submit(libaio.Pread(f, b, 0))
	r.await("f", 1)

	require.NoError(t, b.Release())
	require.ErrorIs(t, b.Release(), libaio.ErrFreed)
	require.ErrorIs(t, b.Free(), libaio.ErrFreed)
	require.Nil(t, b.Bytes())
	require.True(t, b.InFlight())
	require.Equal(t, whole, libaio.Memory())
	n, err := r.q.TrySubmit(libaio.Pread(f, b, 0))
	require.Zero(t, n)
	require.ErrorIs(t, err, libaio.ErrFreed)
	require.Equal(t, whole, libaio.Memory(), "a refused operation has given the memory back")

	r.open("g")
	require.NoError(t, r.receive().Err)
	requireMemory(t, empty)
}

// requireMemory waits until there is as much memory as this: what was released
// is given back right behind the completion, which may be seen before.
func requireMemory(t testing.TB, want libaio.MemoryStats) {
	t.Helper()
	eventually(t, "the memory is given back", func() bool { return libaio.Memory() == want })
}

// takeUntil takes from the pool until it gives this Buffer, with the content of
// the file, and puts all back.
func takeUntil(t *testing.T, pool *libaio.Pool, want *libaio.Buffer) {
	t.Helper()
	var taken []*libaio.Buffer
	eventually(t, "the pool has the Buffer again", func() bool {
		b, err := pool.Get()
		require.NoError(t, err)
		taken = append(taken, b)
		return b == want
	})
	requirePattern(t, want.Bytes(), 0, 0)
	for _, b := range taken {
		require.NoError(t, pool.Put(b))
	}
}

// A Pool does not take a Buffer in flight, and does not hand it out again
// before the server has answered.
func TestPoolInFlight(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, held("f", 2*block))
	pool, err := libaio.NewPool(block, block)
	require.NoError(t, err)
	defer pool.Close()
	b, err := pool.Get()
	require.NoError(t, err)
	r.submit(libaio.Pread(f, b, 0))
	r.await("f", 1)

	require.ErrorIs(t, pool.Put(b), libaio.ErrInFlight)
	require.NoError(t, b.Release())
	require.ErrorIs(t, pool.Put(b), libaio.ErrFreed)
	other, err := pool.Get()
	require.NoError(t, err)
	require.NotSame(t, b, other)
	require.NoError(t, pool.Put(other))
	for range 2 {
		got, err := pool.Get()
		require.NoError(t, err)
		require.NotSame(t, b, got)
		defer func() { require.NoError(t, pool.Put(got)) }()
	}

	r.open("g")
	require.NoError(t, r.receive().Err)
	takeUntil(t, pool, b)
}

// A Pool that is closed while the server has an operation on its memory frees
// that when the server has answered.
func TestPoolClosedInFlight(t *testing.T) {
	r := newRig(t, 1)
	f := r.file(asyncMount, held("f", block))
	before := libaio.Memory()
	pool, err := libaio.NewPool(block, block)
	require.NoError(t, err)
	b, err := pool.Get()
	require.NoError(t, err)
	r.submit(libaio.Pread(f, b, 0))
	r.await("f", 1)
	require.NoError(t, b.Release())
	require.NoError(t, pool.Close())
	require.NotEqual(t, before, libaio.Memory())
	r.open("g")
	require.NoError(t, r.receive().Err)
	requireMemory(t, before)
}

// A Do that is cancelled returns while the server has the operation. The memory
// comes back, through Release, when the server has answered.
func TestDoCancelledInFlight(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		t.Run(map[bool]string{false: "Alloc", true: "Pool"}[pooled], func(t *testing.T) {
			r := newRig(t, 2)
			f := r.file(asyncMount, held("f", block))
			before := libaio.Memory()
			pool, err := libaio.NewPool(block, block)
			require.NoError(t, err)
			b := r.buffer(block, 0, 9)
			if pooled {
				require.NoError(t, b.Free())
				b, err = pool.Get()
				require.NoError(t, err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := r.doBeside(ctx, libaio.Pread(f, b, 0))
			r.await("f", 1)
			cancel()
			d := result(t, "Do", done)
			require.Zero(t, d.n)
			require.ErrorIs(t, d.err, context.Canceled)
			require.ErrorIs(t, d.err, libaio.ErrInFlight)
			require.False(t, r.moves("f")[0].Answered)
			require.Equal(t, 1, r.q.Stats().InFlight)

			require.True(t, b.InFlight())
			require.NoError(t, b.Release())
			other, err := pool.Get()
			require.NoError(t, err)
			require.NotSame(t, b, other)
			require.NoError(t, pool.Put(other))

			r.open("g")
			r.inFlight(0)
			require.False(t, b.InFlight())
			require.Zero(t, r.q.Stats().Unread, "nobody is told")
			if pooled {
				takeUntil(t, pool, b)
			}
			require.NoError(t, pool.Close())
			requireMemory(t, before)
		})
	}
}
