//go:build linux

package libaio

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func skipWithoutSpares(t *testing.T) {
	t.Helper()
	if !keepsSpares {
		t.Skipf("engine %q, debug mode %v, sanitized %v: nothing that is freed is kept", engine, debugMemory, sanitized)
	}
}

// freeOne allocates and frees a block, which is then kept.
func freeOne(t *testing.T, size, align int) *Buffer {
	t.Helper()
	b, err := Alloc(size, align)
	require.NoError(t, err)
	b.Bytes()[size-1] = 1
	require.NoError(t, b.Free())
	return b
}

// In steady state Alloc and Free call C as little as a Pool does.
func TestSpareSavesCalls(t *testing.T) {
	skipWithoutSpares(t)
	const times = 10_000
	for _, size := range []int{1, block, spareMost} {
		before := runtime.NumCgoCall()
		for range times {
			freeOne(t, size, block)
		}
		require.Less(t, runtime.NumCgoCall()-before, int64(times/10), "%d bytes", size)
	}
	before := runtime.NumCgoCall()
	for range 100 {
		freeOne(t, spareMost+1, block)
	}
	require.GreaterOrEqual(t, runtime.NumCgoCall()-before, int64(200), "too large to keep")
}

// What was kept is only for what it fits.
func TestSpareFits(t *testing.T) {
	skipWithoutSpares(t)
	for range 100 {
		held, err := Alloc(64, 64) // so that the blocks lie elsewhere each time
		require.NoError(t, err)
		for _, c := range []struct{ kept, size, align int }{{100, 101, 8}, {block, 100, 8}, {100, 100, block}, {block, block, 16 * block}} {
			freeOne(t, c.kept, 8)
			b, err := Alloc(c.size, c.align)
			require.NoError(t, err)
			require.Zero(t, b.address()%uintptr(c.align))
			require.Equal(t, make([]byte, c.size), b.Bytes())
			other, err := Alloc(c.kept, 8)
			require.NoError(t, err)
			low, high := b, other
			if low.address() > high.address() {
				low, high = high, low
			}
			require.LessOrEqual(t, low.address()+uintptr(low.Len()), high.address(), "overlap")
			require.NoError(t, b.Free())
			require.NoError(t, other.Free())
		}
		require.NoError(t, held.Free())
	}
}

// A Buffer whose block is another's stays freed.
func TestSpareStaysFreed(t *testing.T) {
	skipWithoutSpares(t)
	for range 100 {
		old := freeOne(t, 100, 8)
		b, err := Alloc(100, 8)
		require.NoError(t, err)
		require.NotSame(t, old, b)
		require.Nil(t, old.Bytes())
		require.ErrorIs(t, old.Free(), ErrFreed)
		require.ErrorIs(t, old.Release(), ErrFreed)
		require.False(t, old.pin())
		require.NotNil(t, b.Bytes())
		require.NoError(t, b.Free())
	}
}

// What is kept goes back soon, again and again.
func TestSpareGoesBack(t *testing.T) {
	skipWithoutSpares(t)
	kept := func() (n int) {
		for i := range spares.slots {
			if spares.slots[i].freed.Load() != nil {
				n++
			}
		}
		return n
	}
	for range 2 {
		freeOne(t, block, block)
		require.Positive(t, kept())
		require.True(t, spares.armed.Load())
		before, n := runtime.NumCgoCall(), kept()
		require.Eventually(t, func() bool { return kept() == 0 && !spares.armed.Load() }, time.Minute, 10*time.Millisecond)
		require.GreaterOrEqual(t, runtime.NumCgoCall()-before, int64(n), "they are freed")
	}
}

// A block is in one place at a time: with many at once, a block that two of them
// take is written by both, or freed twice, for which the C library ends the program.
func TestSpareBelongsToOne(t *testing.T) {
	skipWithoutSpares(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 3000 {
				b, err := Alloc(64, 64)
				if !assert.NoError(t, err) {
					return
				}
				b.Bytes()[0] = byte(i)
				runtime.Gosched()
				same := b.Bytes()[0] == byte(i)
				if !assert.NoError(t, b.Free()) || !assert.True(t, same, "somebody else has it too") {
					return
				}
			}
		})
	}
	wg.Wait()
}

// Wherever the stack lies, Alloc finds what Free has left.
func TestSpareAtAnyDepth(t *testing.T) {
	skipWithoutSpares(t)
	const times = 100
	for depth := range 64 {
		calls := make(chan int64)
		go func() {
			calls <- atDepth(depth, func() int64 {
				freeOne(t, block, block)
				before := runtime.NumCgoCall()
				for range times {
					b, err := Alloc(block, block)
					assert.NoError(t, err)
					freeDeeper(t, b)
				}
				return runtime.NumCgoCall() - before
			})
		}()
		require.Less(t, <-calls, int64(times/2), "depth %d", depth)
	}
}

// atDepth calls f with that many frames of some 100 bytes in front of it.
//
//go:noinline
func atDepth(n int, f func() int64) int64 {
	var room [100]byte
	if n == 0 {
		return f()
	}
	calls := atDepth(n-1, f)
	runtime.KeepAlive(&room)
	return calls
}

//go:noinline
func freeDeeper(t *testing.T, b *Buffer) {
	var room [512]byte
	assert.NoError(t, b.Free())
	runtime.KeepAlive(&room)
}

// Goroutines that run beside each other use different slots.
func TestGoroutineSlots(t *testing.T) {
	if sanitized {
		t.Skip("a sanitizer has the local variable on the heap, and not on the stack that tells goroutines apart")
	}
	const n = 16
	slots, done := make(chan int, n), make(chan struct{})
	for range n {
		go func() {
			slots <- goroutineSlot(n)
			<-done
		}()
	}
	seen := map[int]bool{}
	for range n {
		seen[<-slots] = true
	}
	close(done)
	require.Greater(t, len(seen), n/4)
}
