//go:build linux

package libaio

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRetain(t *testing.T) {
	before := Memory()
	b, err := Alloc(block, block)
	require.NoError(t, err)
	require.NoError(t, b.Retain())
	require.NoError(t, b.Retain())
	for left := 2; left > 0; left-- {
		err := b.Free()
		require.ErrorIs(t, err, ErrShared)
		require.ErrorIs(t, err, syscall.EBUSY)
		require.NotErrorIs(t, err, ErrInFlight)
		require.NotNil(t, b.Bytes())
		require.NoError(t, b.Release())
	}
	require.NotNil(t, b.Bytes(), "one reference is left")
	require.NoError(t, b.Release())
	require.Equal(t, before, Memory())
	require.ErrorIs(t, b.Release(), ErrFreed, "one Release too many")
	require.ErrorIs(t, b.Retain(), ErrFreed)

	var none *Buffer
	require.ErrorIs(t, none.Retain(), ErrInvalid)
	require.ErrorIs(t, new(Buffer).Retain(), ErrInvalid)
}

func TestRetainOfPool(t *testing.T) {
	p, err := NewPool(block, block)
	require.NoError(t, err)
	defer p.Close()
	b, err := p.Get()
	require.NoError(t, err)
	v, err := b.Slice(0, 1)
	require.NoError(t, err)
	require.ErrorIs(t, v.Retain(), ErrInvalid, "a view")
	require.NoError(t, b.Retain())
	require.ErrorIs(t, p.Put(b), ErrShared)
	require.NoError(t, b.Release())
	require.NotNil(t, v.Bytes())
	require.NoError(t, b.Release())
	require.Nil(t, v.Bytes())
	require.Equal(t, 1, p.Stats().Idle)
	again, err := p.Get()
	require.NoError(t, err)
	require.Same(t, b, again)
	require.Nil(t, v.Bytes(), "a view of the life before")
	require.NoError(t, p.Put(again))
}

// References and operations in flight are counted apart: the memory goes back
// with the last of both, in whatever order.
func TestRetainInFlight(t *testing.T) {
	for _, releasesFirst := range []bool{false, true} {
		before := Memory()
		b, err := Alloc(block, block)
		require.NoError(t, err)
		require.NoError(t, b.Retain())
		require.True(t, b.pin())
		require.ErrorIs(t, b.Free(), ErrInFlight)
		require.NoError(t, b.Release())
		require.True(t, b.pin(), "a reference is left")
		b.drop()
		if releasesFirst {
			require.NoError(t, b.Release())
			require.ErrorIs(t, b.Retain(), ErrFreed, "nobody has a reference")
			require.NotEqual(t, before, Memory())
			b.drop()
		} else {
			b.drop()
			require.NotEqual(t, before, Memory())
			require.NoError(t, b.Release())
		}
		require.Equal(t, before, Memory())
	}
}

func TestRetainLimit(t *testing.T) {
	b := newBuffer(t, block)
	for range stateRefs {
		require.NoError(t, b.Retain())
	}
	require.ErrorIs(t, b.Retain(), ErrInvalid)
	require.True(t, b.pin(), "the counts do not touch")
	require.True(t, b.InFlight())
	b.drop()
	for range stateRefs {
		require.NoError(t, b.Release())
	}
	require.False(t, b.InFlight())
}

// More operations than can be counted are refused rather than forgotten.
func TestPinLimit(t *testing.T) {
	b := newBuffer(t, block)
	b.state.Add(statePins - 1)
	require.True(t, b.pin())
	require.False(t, b.pin())
	require.Zero(t, references(b.state.Load()))
	b.state.Add(^uint64(statePins - 1))
	require.False(t, b.InFlight())
}

// Readers take references to a page while its owner gives it up. Each that got
// one may read it; the memory goes back once.
func TestRetainRace(t *testing.T) {
	before := Memory()
	for range 300 {
		b, err := Alloc(64, 64)
		require.NoError(t, err)
		copy(b.Bytes(), "page")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i == 0 {
					assert.NoError(t, b.Release())
					return
				}
				if err := b.Retain(); err != nil {
					assert.ErrorIs(t, err, ErrFreed)
					return
				}
				assert.Equal(t, "page", string(b.Bytes()[:4]))
				assert.NoError(t, b.Release())
			})
		}
		wg.Wait()
	}
	require.Equal(t, before, Memory())
}

// A page that is read into and shared at a time: the kernel and the readers
// each keep it.
func TestRetainDuringIO(t *testing.T) {
	q, f := newQueue(t, 8), newFile(t, 8*block)
	p, err := NewPool(block, block)
	require.NoError(t, err)
	defer p.Close()
	var wrong atomic.Int32
	for i := range 200 {
		b, err := p.Get()
		require.NoError(t, err)
		off := int64(i%8) * block
		_, err = q.Do(context.Background(), Pread(f, b, off))
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 3 {
			require.NoError(t, b.Retain())
			wg.Go(func() {
				if wrongAt(b.Bytes(), off, 0) >= 0 {
					wrong.Add(1)
				}
				if _, err := q.Do(context.Background(), Pwrite(f, b, off)); err != nil {
					wrong.Add(1)
				}
				if b.Release() != nil {
					wrong.Add(1)
				}
			})
		}
		require.NoError(t, b.Release())
		wg.Wait()
	}
	require.Zero(t, wrong.Load())
	s := p.Stats()
	require.Equal(t, s.Buffers, s.Idle)
}
