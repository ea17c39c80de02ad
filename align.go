package libaio

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Buffer is aligned C memory for direct I/O. The garbage collector neither
// scans nor moves nor frees it: what Alloc gave must go back through Free, or
// Release, exactly once, and what a Pool gave through Put, or Release.
//
// While an operation on the Buffer is in flight the memory belongs to the
// kernel: its bytes must be neither read (during a read) nor changed, and Free
// and Put refuse it with ErrInFlight. Several operations may be in flight on
// one Buffer, such as the same page written to two files.
//
// The methods are safe for any number of goroutines; the bytes are not
// guarded.
type Buffer struct {
	mem  unsafe.Pointer // C memory
	size int
	root *Buffer // the Buffer that owns the memory; itself but for a view
	pool *Pool   // where the memory goes back to; nil: to C
	lent bool    // made by WrapMemory: does not go back at all

	// Of the root only: what pin and retire decide by, in one atomic, so that
	// pinning costs one instruction. See the constants.
	state atomic.Uint64
	// Of a view: the life of its root in which it was made.
	life uint64
}

// The state of a Buffer: the number of operations in flight in the lower half,
// the flags, and above them which life it has: a Buffer of a Pool has one from
// each Get to the Put behind it, and the views of one life are not of the next.
const (
	stateCount     = 1<<32 - 1
	stateFreed     = 1 << 32 // back in C or in the Pool
	stateReleasing = 1 << 33 // goes back when the last operation completes
	stateFlags     = stateFreed | stateReleasing
	stateLife      = 1 << 34
)

var liveBuffers, liveBytes atomic.Int64

// MemoryStats counts the memory that this package has from C for Buffers, idle
// Buffers in Pools included.
type MemoryStats struct {
	Buffers int64 // blocks
	Bytes   int64 // their sizes
}

// Memory returns what is allocated now. Safe for any number of goroutines.
func Memory() MemoryStats {
	return MemoryStats{Buffers: liveBuffers.Load(), Bytes: liveBytes.Load()}
}

// Alloc returns a Buffer of size bytes, zeroed, whose address is a multiple of
// align. The size must be at least 1 and align a power of two no less than the
// size of a pointer. The caller owns it and must Free it. ENOMEM where the
// system has no such memory. Stands for posix_memalign.
func Alloc(size, align int) (*Buffer, error) {
	if err := checkBlock(size, align); err != nil {
		return nil, err
	}
	p, errno := sysAlloc(align, size)
	if errno != 0 {
		return nil, &Error{
			Op: "alloc", Err: errno,
			Detail: fmt.Sprintf("no memory for %d bytes aligned to %d", size, align),
		}
	}
	clear(unsafe.Slice((*byte)(p), size))
	liveBuffers.Add(1)
	liveBytes.Add(int64(size))
	b := &Buffer{mem: p, size: size}
	b.root = b
	return b, nil
}

// WrapMemory returns a Buffer over memory that the collector does not manage,
// such as a mapping made by mmap or memory from C. Memory of the Go heap or
// stack must not be given: the kernel would write to it when it is long used for
// something else. The memory stays the caller's, who must keep it until Free
// has succeeded: Free then only ends the Buffer.
func WrapMemory(mem []byte) (*Buffer, error) {
	if len(mem) == 0 {
		return nil, invalidf("wrap", "the slice is empty: must be at least 1 byte")
	}
	b := &Buffer{mem: unsafe.Pointer(unsafe.SliceData(mem)), size: len(mem), lent: true}
	b.root = b
	return b, nil
}

func checkBlock(size, align int) error {
	switch {
	case size < 1:
		return invalidf("alloc", "size %d: must be at least 1 byte", size)
	case align < int(ptrSize) || bits.OnesCount(uint(align)) != 1:
		return invalidf("alloc", "alignment %d: must be a power of two, at least %d", align, ptrSize)
	}
	return nil
}

// Bytes is the memory of b, or nil if it was given back. The slice must not be
// used after that, nor touched while an operation on b is in flight.
func (b *Buffer) Bytes() []byte {
	if !b.alive() {
		return nil
	}
	return unsafe.Slice((*byte)(b.mem), b.size)
}

// alive says whether the memory is the caller's or the kernel's.
func (b *Buffer) alive() bool {
	return b != nil && b.root != nil && b.lives(b.root.state.Load())
}

// lives says whether b is good in this state of its root.
func (b *Buffer) lives(s uint64) bool {
	return s&stateFlags == 0 && (b == b.root || s/stateLife == b.life)
}

// Len is the number of bytes, also after Free; 0 for a nil Buffer.
func (b *Buffer) Len() int {
	if b == nil {
		return 0
	}
	return b.size
}

// InFlight says whether the kernel holds the memory at this moment.
func (b *Buffer) InFlight() bool {
	return b != nil && b.root != nil && b.root.state.Load()&stateCount != 0
}

// Slice returns a view of n bytes, at least 1, from off on. A view shares the
// state of its parent: an operation on one is in flight for both. Only the
// parent can be freed or put back, and its views end with that. A view is a Go
// object, so making one allocates; it may be kept and used again.
func (b *Buffer) Slice(off, n int) (*Buffer, error) {
	if b == nil || b.root == nil {
		return nil, invalidf("slice", "the Buffer is nil, or was not made by Alloc or a Pool")
	}
	state := b.root.state.Load()
	if !b.lives(state) {
		return nil, &Error{Op: "slice", Err: ErrFreed}
	}
	if off < 0 || n < 1 || off > b.size-n {
		return nil, invalidf("slice", "%d bytes from %d on: must be at least 1 byte within the %d of the buffer", n, off, b.size)
	}
	return &Buffer{mem: unsafe.Add(b.mem, off), size: n, root: b.root, life: state / stateLife}, nil
}

// Free gives the memory back to C. It fails, and changes nothing, with
// ErrInFlight while the kernel holds the memory, with ErrFreed if it was freed
// before, and with ErrInvalid for a view and for a Buffer of a Pool. Stands
// for free.
func (b *Buffer) Free() error {
	if err := b.owned("free"); err != nil {
		return err
	}
	if b.pool != nil {
		return invalidf("free", "the Buffer belongs to a Pool: Put it back")
	}
	if err := b.retire("free"); err != nil {
		return err
	}
	b.giveBack()
	return nil
}

// owned says why b is none that can be given back.
func (b *Buffer) owned(op string) error {
	switch {
	case b == nil || b.root == nil:
		return invalidf(op, "the Buffer is nil, or was not made by Alloc or a Pool")
	case b.root != b:
		return invalidf(op, "a view made by Slice: give back the Buffer it was made from")
	}
	return nil
}

// Release gives the memory back to where it came from, C or the Pool: at once,
// or soon after the last operation in flight on it has completed. It is what to call
// after [Queue.Do] was cancelled, when it is not known whether the kernel is
// done. It fails with ErrFreed if the memory was given back before, and with
// ErrInvalid for a view.
func (b *Buffer) Release() error {
	if err := b.owned("release"); err != nil {
		return err
	}
	for {
		s := b.state.Load()
		switch {
		case s&stateFlags != 0:
			return &Error{Op: "release", Err: ErrFreed}
		case s&stateCount != 0:
			if b.state.CompareAndSwap(s, s|stateReleasing) {
				return nil
			}
		case b.state.CompareAndSwap(s, (s+stateLife)|stateFreed):
			b.giveBack()
			return nil
		}
	}
}

// retire marks an idle Buffer as given back, or says why it may not be.
func (b *Buffer) retire(op string) error {
	for {
		s := b.state.Load()
		switch {
		case s&stateFlags != 0:
			return &Error{Op: op, Err: ErrFreed}
		case s&stateCount != 0:
			return &Error{
				Op: op, Err: ErrInFlight,
				Detail: fmt.Sprintf("%d operations on the buffer have not completed: wait for them, or use Release", s&stateCount),
			}
		case b.state.CompareAndSwap(s, (s+stateLife)|stateFreed):
			return nil
		}
	}
}

// revive begins a new life: what retire ended.
func (b *Buffer) revive() { b.state.Add(^uint64(stateFreed - 1)) }

// giveBack returns retired memory. The caller has set stateFreed, and was the
// only one that could.
func (b *Buffer) giveBack() {
	if b.pool != nil {
		b.pool.put(b)
		return
	}
	b.free()
}

func (b *Buffer) free() {
	if b.lent {
		return
	}
	liveBuffers.Add(-1)
	liveBytes.Add(-int64(b.size))
	sysFree(b.mem)
}

// pin counts an operation in flight; false if the memory was given back.
func (b *Buffer) pin() bool {
	for {
		s := b.root.state.Load()
		if !b.lives(s) {
			return false
		}
		if b.root.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// unpin ends what pin began, and says whether the memory is to be given back
// now: behind a Release, with the last operation. Nothing is pinned behind a
// Release, so only one comes to that.
func (b *Buffer) unpin() bool {
	s := b.root.state.Add(^uint64(0))
	if s&(stateCount|stateFlags) != stateReleasing {
		return false
	}
	b.root.state.Add(stateLife + stateFreed - stateReleasing)
	return true
}

// drop is unpin that gives the memory back itself.
func (b *Buffer) drop() {
	if b.unpin() {
		b.root.giveBack()
	}
}

// address is where the memory is, as the kernel wants it.
func (b *Buffer) address() uintptr { return uintptr(b.mem) }
