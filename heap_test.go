//go:build linux && (!cgo || nolibaio)

package libaio

import (
	"math"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// blocksInUse is for the inventory of TestMain.
func blocksInUse() int {
	cHeap.mu.Lock()
	defer cHeap.mu.Unlock()
	return cHeap.blocks
}

// heapBlock is a block with a content that tells whose it is.
type heapBlock struct {
	p     unsafe.Pointer
	align int
	mem   []byte
	mark  byte
}

func newHeapBlock(t testing.TB, align, size int, mark byte) heapBlock {
	t.Helper()
	p, errno := sysAlloc(align, size)
	require.Zero(t, errno)
	b := heapBlock{p, align, unsafe.Slice((*byte)(p), size), mark}
	for i := range b.mem {
		b.mem[i] = mark
	}
	return b
}

func (b heapBlock) free(t testing.TB) {
	t.Helper()
	require.Zero(t, uintptr(b.p)%uintptr(b.align))
	for i, got := range b.mem {
		if got != b.mark {
			t.Fatalf("byte %d of %d is %d and not %d: somebody else's", i, len(b.mem), got, b.mark)
		}
	}
	sysFree(b.p)
}

// What is allocated is aligned and nobody else's, whatever is allocated and
// freed around it.
func TestHeapBlocksAreApart(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var live []heapBlock
	for i := range 20_000 {
		if len(live) > 0 && rnd.IntN(100) < 48 {
			j := rnd.IntN(len(live))
			live[j].free(t)
			live[j] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		align, size := 8<<rnd.IntN(10), 1+rnd.IntN(2000)
		if rnd.IntN(50) == 0 {
			align, size = 1<<rnd.IntN(20), 1+rnd.IntN(200_000)
		}
		live = append(live, newHeapBlock(t, align, size, byte(i)))
	}
	for _, b := range live {
		b.free(t)
	}
}

// Memory that was freed is used again, and what no block is in goes back to the
// system, but for one slab of each size.
func TestHeapGivesBack(t *testing.T) {
	for _, size := range []uintptr{1, 64, 100, 4096, maxSmall, maxSmall + 1, 1 << 20} {
		h := heap{slabs: make(map[uintptr]*slab), large: make(map[uintptr]uintptr)}
		n := int(3*slabSize/max(size, minSmall) + 1)
		allocate := func() map[unsafe.Pointer]bool {
			ps := make(map[unsafe.Pointer]bool)
			for range n {
				p, errno := h.alloc(8, size)
				require.Zero(t, errno)
				ps[p] = true
			}
			require.Len(t, ps, n)
			return ps
		}
		ps := allocate()
		slabs := len(h.slabs)
		for p := range ps { // in no order
			h.release(p)
		}
		require.Empty(t, h.large)
		require.LessOrEqual(t, len(h.slabs), 1)
		ps = allocate()
		require.Len(t, h.slabs, slabs)
		for p := range ps {
			h.release(p)
		}
		for _, s := range h.slabs {
			unmap(s.mem, slabSize)
		}
	}
}

func TestHeapRefusesWhatCannotBe(t *testing.T) {
	large := len(cHeap.large)
	for _, c := range []struct{ align, size uintptr }{
		{8, math.MaxUint},
		{8, math.MaxUint - 4095},
		{1 << (8*ptrSize - 1), 1 << (8*ptrSize - 1)},
		{1 << (8*ptrSize - 2), 3 << (8*ptrSize - 2)},
	} {
		_, errno := cHeap.alloc(c.align, c.size)
		require.Equal(t, syscall.ENOMEM, errno, "%+v", c)
	}
	require.Len(t, cHeap.large, large)
}

func TestHeapConcurrently(t *testing.T) {
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			var bs []heapBlock
			for i := range 500 {
				bs = append(bs, newHeapBlock(t, 64, 64<<(i%11), byte(g*31+i)))
				if len(bs) > 20 {
					bs[0].free(t)
					bs = bs[1:]
				}
			}
			for _, b := range bs {
				b.free(t)
			}
		})
	}
	all.Wait()
}
