//go:build linux

package libaio

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAlloc(t *testing.T) {
	for align := int(ptrSize); align <= 1<<21; align *= 2 {
		for _, size := range []int{1, 7, 512, 4096, 4097, 1 << 16} {
			b, err := Alloc(size, align)
			require.NoError(t, err)
			require.Zero(t, b.address()%uintptr(align))
			require.Len(t, b.Bytes(), size)
			require.Equal(t, size, b.Len())
			require.Equal(t, make([]byte, size), b.Bytes(), "not zeroed")
			copy(b.Bytes(), bytes.Repeat([]byte{0xff}, size)) // so that the next one is not zero by chance
			require.NoError(t, b.Free())
		}
	}
}

func TestAllocBadArguments(t *testing.T) {
	for _, c := range []struct {
		size, align int
		says        string
	}{
		{0, 4096, "size 0"},
		{-1, 4096, "size -1"},
		{math.MinInt, 4096, fmt.Sprint("size ", math.MinInt)},
		{4096, -8, "alignment -8"},
		{4096, math.MinInt, fmt.Sprint("alignment ", math.MinInt)},
		{4096, 4095, "alignment 4095"},
		{4096, 24, "alignment 24"},
	} {
		b, err := Alloc(c.size, c.align)
		require.Nil(t, b)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, c.says)
		_, err = NewPool(c.size, c.align)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

// What a device demands may be less than what the allocators take, as 4 bytes are
// of NVMe, or nothing.
func TestAllocLeastAlignment(t *testing.T) {
	for align := 0; align <= 16; align = max(1, 2*align) {
		for _, size := range []int{1, 100, MapThreshold} {
			b, err := Alloc(size, align)
			require.NoError(t, err)
			require.Zero(t, b.address()%uintptr(max(align, leastAlign)))
			require.NoError(t, b.Free())
			p, err := NewPool(size, align)
			require.NoError(t, err)
			b, err = p.Get()
			require.NoError(t, err)
			require.Zero(t, b.address()%uintptr(max(align, leastAlign)))
			require.NoError(t, p.Put(b))
			require.NoError(t, p.Close())
		}
	}
}

func TestAllocTooMuch(t *testing.T) {
	if ptrSize < 8 {
		t.Skip("the whole address space is no more than there may be memory")
	}
	for _, size := range []int{math.MaxInt, math.MaxInt / 2, math.MaxInt >> 13} {
		b, err := Alloc(size, 4096)
		require.Nil(t, b)
		require.ErrorIs(t, err, syscall.ENOMEM)
	}
}

func TestFree(t *testing.T) {
	before := Memory()
	b, err := Alloc(block, block)
	require.NoError(t, err)
	require.Equal(t, MemoryStats{before.Buffers + 1, before.Bytes + block}, Memory())
	require.NoError(t, b.Free())
	require.Equal(t, before, Memory())

	require.ErrorIs(t, b.Free(), ErrFreed, "double free")
	require.ErrorIs(t, b.Release(), ErrFreed)
	require.Nil(t, b.Bytes())
	_, err = b.Slice(0, 1)
	require.ErrorIs(t, err, ErrFreed)
	var none *Buffer
	require.ErrorIs(t, none.Free(), ErrInvalid)
	require.ErrorIs(t, none.Release(), ErrInvalid)
	require.Nil(t, none.Bytes())
}

// Of many goroutines that free one Buffer, one does.
func TestFreeOnce(t *testing.T) {
	for range 200 {
		b, err := Alloc(64, 64)
		require.NoError(t, err)
		var wg sync.WaitGroup
		freed := make(chan struct{}, 16)
		for i := range 8 {
			wg.Go(func() {
				free := b.Free
				if i%2 == 0 {
					free = b.Release
				}
				if err := free(); err == nil {
					freed <- struct{}{}
				} else {
					assert.ErrorIs(t, err, ErrFreed)
				}
			})
		}
		wg.Wait()
		require.Len(t, freed, 1)
	}
}

func TestSlice(t *testing.T) {
	b := newBuffer(t, 2*block)
	v, err := b.Slice(block, 100)
	require.NoError(t, err)
	require.Equal(t, 100, v.Len())
	v.Bytes()[0] = 7
	require.Equal(t, byte(7), b.Bytes()[block])
	vv, err := v.Slice(0, 1)
	require.NoError(t, err, "a view of a view")
	require.Equal(t, byte(7), vv.Bytes()[0])
	for _, v := range []*Buffer{v, vv} {
		require.ErrorIs(t, v.Free(), ErrInvalid)
		require.ErrorIs(t, v.Release(), ErrInvalid)
	}
	require.True(t, v.pin())
	require.True(t, b.InFlight(), "shared state")
	require.ErrorIs(t, b.Free(), ErrInFlight)
	v.drop()

	for _, c := range [][2]int{{0, 0}, {-1, 1}, {0, -1}, {0, 2*block + 1}, {2 * block, 1}, {math.MaxInt, 1}, {1, math.MaxInt}} {
		_, err := b.Slice(c[0], c[1])
		require.ErrorIs(t, err, ErrInvalid, "%v", c)
	}
}

func TestFreeInFlight(t *testing.T) {
	b := newBuffer(t, block)
	require.True(t, b.pin())
	require.True(t, b.pin(), "two operations on one buffer")
	for range 2 {
		err := b.Free()
		require.ErrorIs(t, err, ErrInFlight)
		require.ErrorIs(t, err, syscall.EBUSY)
		require.NotNil(t, b.Bytes())
		b.drop()
	}
	require.False(t, b.InFlight())
}

// Release waits for the last operation.
func TestReleaseInFlight(t *testing.T) {
	before := Memory()
	b, err := Alloc(block, block)
	require.NoError(t, err)
	require.True(t, b.pin())
	require.True(t, b.pin())
	require.NoError(t, b.Release())
	require.ErrorIs(t, b.Release(), ErrFreed)
	require.ErrorIs(t, b.Free(), ErrFreed)
	require.False(t, b.pin(), "a new operation on released memory")
	b.drop()
	require.Equal(t, before.Buffers+1, Memory().Buffers)
	b.drop()
	require.Equal(t, before, Memory())
	require.False(t, b.pin())
	require.Equal(t, before, Memory())
}

// Pins, releases and late pins from all sides: the memory goes back once.
func TestReleaseRace(t *testing.T) {
	before := Memory()
	for range 500 {
		b, err := Alloc(64, 64)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if i == 0 {
					assert.NoError(t, b.Release())
				} else if b.pin() {
					b.drop()
				}
			})
		}
		wg.Wait()
	}
	require.Equal(t, before, Memory())
}

func TestPool(t *testing.T) {
	before := Memory()
	p, err := NewPool(block, block)
	require.NoError(t, err)
	b, err := p.Get()
	require.NoError(t, err)
	require.Equal(t, block, b.Len())
	require.Zero(t, b.address()%block)
	require.NoError(t, p.Put(b))
	require.Nil(t, b.Bytes(), "what was put back is not to be used")
	require.ErrorIs(t, p.Put(b), ErrFreed, "put twice")
	again, err := p.Get()
	require.NoError(t, err)
	require.Same(t, b, again)

	require.ErrorIs(t, b.Free(), ErrInvalid, "a buffer of a pool")
	require.True(t, b.pin())
	require.ErrorIs(t, p.Put(b), ErrInFlight)
	require.NoError(t, b.Release())
	other, err := p.Get()
	require.NoError(t, err)
	require.NotSame(t, b, other, "still in flight")
	b.drop()
	back, err := p.Get()
	require.NoError(t, err)
	require.Same(t, b, back, "released into the pool")

	foreign := newBuffer(t, block)
	require.ErrorIs(t, p.Put(foreign), ErrInvalid)
	require.ErrorIs(t, p.Put(nil), ErrInvalid)
	view, err := b.Slice(0, 1)
	require.NoError(t, err)
	require.ErrorIs(t, p.Put(view), ErrInvalid)

	require.NoError(t, p.Put(b))
	require.Contains(t, p.String(), "1 idle")
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	_, err = p.Get()
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, p.Put(other), "freed after Close")
	require.Equal(t, before.Buffers+1, Memory().Buffers, "only the foreign one")
}

// Many goroutines on one Pool: nobody gets what another has.
func TestPoolConcurrent(t *testing.T) {
	p, err := NewPool(64, 64)
	require.NoError(t, err)
	defer p.Close()
	var wg sync.WaitGroup
	for g := range 64 {
		mine := bytes.Repeat([]byte{byte(g)}, 64)
		wg.Go(func() {
			for range 500 {
				b, err := p.Get()
				if !assert.NoError(t, err) {
					return
				}
				copy(b.Bytes(), mine)
				runtime.Gosched()
				if !assert.True(t, bytes.Equal(mine, b.Bytes()), "another goroutine has the same memory") {
					return
				}
				if !assert.NoError(t, p.Put(b)) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// Real reads that are abandoned into a Pool: a Buffer comes out again only
// when the kernel is done with it.
func TestPoolReleaseDuringIO(t *testing.T) {
	const size = 256 << 10
	q, f := newQueue(t, 8), newFile(t, 8*size)
	p, err := NewPool(size, block)
	require.NoError(t, err)
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancelled := make(chan struct{})
	go func() { cancel(); close(cancelled) }()
	for range 200 {
		b, err := p.Get()
		require.NoError(t, err)
		require.False(t, b.InFlight())
		_, _ = q.Do(ctx, Pread(f, b, rand.Int64N(8)*size))
		require.NoError(t, b.Release())
		if ctx.Err() != nil {
			ctx, cancel = context.WithCancel(context.Background())
			go cancel()
		}
	}
	cancel()
	<-cancelled
}
