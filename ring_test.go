//go:build linux

package libaio

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The ring is read in user space, in order, over its end, and in any portions.
func TestRingTake(t *testing.T) {
	const n = 60 // fewer than half of what the smallest ring has
	f, b := buffered(t, newFile(t, block)), newBuffer(t, 8)
	var iocbs, ptrs cMemory
	require.Zero(t, iocbs.grow(n*iocbSize))
	require.Zero(t, ptrs.grow(n*int(ptrSize)))
	defer iocbs.free()
	defer ptrs.free()
	var reqs []request
	for i := range n {
		op := Pread(f, b, 0)
		reqs = append(reqs, op.request(uint32(i), 0, nil))
	}
	for _, systemCall := range []bool{false, true} {
		ctx, err := setup(1)
		require.NoError(t, err)
		r := newRing(ctx, systemCall)
		require.Equal(t, systemCall, r.head == nil)
		for _, portion := range []int{1, 2, 7, n - 1, n, n + 1} {
			to := make([]event, portion)
			for range 7 {
				require.Equal(t, n, sysSubmit(ctx, r.shown(), uintptr(iocbs.p), uintptr(ptrs.p), reqs, -1, 0).n)
				for seen := 0; seen < n; {
					got := r.take(to)
					require.Equal(t, min(n-seen, portion), got, "portions of %d", portion)
					for i := range got {
						require.EqualValues(t, seen, to[i].data)
						require.EqualValues(t, 8, to[i].res)
						seen++
					}
				}
				require.Zero(t, r.take(to))
			}
		}
		require.Zero(t, sysDestroy(ctx))
	}
}

// A ring of an unknown form is read by system call.
func TestUnknownRing(t *testing.T) {
	var m cMemory
	require.Zero(t, m.grow(4096))
	defer m.free()
	h := (*ringHead)(m.p)
	good := ringHead{nr: 127, magic: ringMagic, compat: 1, headerLength: 32}
	*h = good
	require.NotNil(t, newRing(uintptr(m.p), false).head)
	for _, change := range []func(){
		func() { h.magic++ },
		func() { h.incompat = 1 },
		func() { h.headerLength = 64 },
		func() { h.nr = 0 },
	} {
		*h = good
		change()
		require.Nil(t, newRing(uintptr(m.p), false).head)
	}
	// What a stranger has left in head leads nowhere.
	*h = good
	h.head, h.tail = math.MaxUint32, math.MaxUint32
	r := newRing(uintptr(m.p), false)
	require.Zero(t, r.take(make([]event, 1)))
}

// A queue does the same whichever way it reads its completions.
func TestSystemCalls(t *testing.T) {
	q, err := NewQueue(8, &Options{SystemCalls: true})
	require.NoError(t, err)
	defer q.Close()
	f := newFile(t, 8*block)
	bufs := newBuffers(t, 8, block)
	for range 20 {
		for i, b := range bufs {
			_, err := q.Submit(ctxOf(t), Pread(f, b, int64(i)*block).WithTag(uint64(i)))
			require.NoError(t, err)
		}
		for _, c := range receive(t, q, len(bufs)) {
			require.NoError(t, c.Err)
			requirePattern(t, c.Buffer.Bytes(), int64(c.Tag)*block, 0)
		}
	}
	_, err = q.Do(ctxOf(t), Pread(f, bufs[0], 0))
	require.NoError(t, err)
}

// A Do alone wakes nobody, whatever its context.
func TestLoneDoWakesNobody(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 8*block), newBuffer(t, block)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := q.Submit(context.Background(), Pread(f, b, 0)) // so that the reaper has begun
	require.NoError(t, err)
	receive(t, q, 1)
	for range loneTimes {
		_, err := q.Do(ctx, Noop())
		require.NoError(t, err)
	}
	before := q.Stats().Wakeups
	for i := range 100 {
		for _, ctx := range []context.Context{context.Background(), ctx} {
			at := int64(i%8) * block
			n, err := q.Do(ctx, Pread(f, b, at))
			require.NoError(t, err)
			require.Equal(t, block, n)
			requirePattern(t, b.Bytes(), at, 0)
		}
	}
	require.LessOrEqual(t, q.Stats().Wakeups-before, uint64(2), "it may have been looking a last time")

	before = q.Stats().Wakeups
	_, err = q.Submit(context.Background(), Pread(f, b, 0))
	require.NoError(t, err)
	receive(t, q, 1)
	require.Eventually(t, func() bool { return q.Stats().Wakeups > before }, time.Minute, time.Millisecond)
}

// What completes while a lone Do is being woken is not left in the ring.
func TestBesideALoneDo(t *testing.T) {
	q, f, a, b := newQueue(t, 4), newFile(t, 8*block), newBuffer(t, block), newBuffer(t, block)
	contexts := []context.Context{ctxOf(t), context.Background()} // it leads, and does it by pread
	for i := range scaled(8000, 1600) {
		for range loneTimes {
			_, err := q.Do(ctxOf(t), Noop())
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := q.Do(contexts[i%2], Pread(f, a, 0))
			assert.NoError(t, err)
		})
		_, err := q.Submit(ctxOf(t), Pread(f, b, block))
		require.NoError(t, err)
		require.NoError(t, receive(t, q, 1)[0].Err)
		wg.Wait()
	}
}
