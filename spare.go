package libaio

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// This file keeps a few freed blocks of C memory for the next Alloc of the same
// size, which then makes no call to C, and nor does the Free before it. A
// sanitizer has to see each free, the debug mode has mappings, and without C
// there is no call to save.

const (
	keepsSpares = engine == "libaio" && !debugMemory && !sanitized
	spareSlots  = 16          // one block each
	spareMost   = 64 << 10    // bytes of the largest block that is kept
	spareTime   = time.Second // that a block is kept, at most
)

// spareSlot is for some of the goroutines, as a shard of a Pool is. The Buffer
// is freed and stays so: its memory goes to another. It is in a slot once in its
// life, so whoever swaps it out has the memory.
type spareSlot struct {
	freed atomic.Pointer[Buffer]
	_     [120]byte
}

var spares struct {
	slots [spareSlots]spareSlot
	armed atomic.Bool // the timer is set
}

func spare() *spareSlot { return &spares.slots[goroutineSlot(spareSlots)] }

// takeSpare returns a kept block of just this size, nil where there is none. It
// also looks into the slots of others: the stack of a Free that is deeper than its
// Alloc may be in the next one, each time.
func takeSpare(size, align int) unsafe.Pointer {
	if p := spare().take(size, align); p != nil || !keepsSpares || size > spareMost {
		return p
	}
	for i := range spares.slots {
		if p := spares.slots[i].take(size, align); p != nil {
			return p
		}
	}
	return nil
}

func (s *spareSlot) take(size, align int) unsafe.Pointer {
	b := s.freed.Load()
	if b == nil || b.room != size || int(b.address())&(align-1) != 0 || !s.freed.CompareAndSwap(b, nil) {
		return nil
	}
	return b.mem
}

// freeBlock frees a block of C memory, or keeps it and frees the one before.
func freeBlock(b *Buffer) {
	if !keepsSpares || b.room > spareMost {
		sysFree(b.mem)
		return
	}
	if old := spare().freed.Swap(b); old != nil {
		sysFree(old.mem)
	}
	if !spares.armed.Load() && spares.armed.CompareAndSwap(false, true) {
		time.AfterFunc(spareTime, freeSpares)
	}
}

// freeSpares frees all that is kept.
func freeSpares() {
	spares.armed.Store(false) // first, as a Free that is too late for the loop arms
	for i := range spares.slots {
		if b := spares.slots[i].freed.Swap(nil); b != nil {
			sysFree(b.mem)
		}
	}
}
