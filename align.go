package libaio

import (
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Buffer is aligned memory for direct I/O, outside the Go heap. The garbage
// collector neither scans nor moves nor frees it: what Alloc gave must go back
// through Free, or Release, exactly once, and what a Pool gave through Put, or
// Release. Who shares a Buffer takes a reference with Retain, which a Release
// of its own gives back.
//
// While an operation on the Buffer is in flight the memory belongs to the
// kernel: its bytes must be neither read (during a read) nor changed, and Free
// and Put refuse it with ErrInFlight. Several operations may be in flight on
// one Buffer, such as the same page written to two files.
//
// The methods are safe for any number of goroutines; the bytes are not
// guarded.
type Buffer struct {
	mem  unsafe.Pointer
	size int
	room int     // bytes at mem, no less than size
	root *Buffer // the Buffer that owns the memory; itself but for a view
	pool *Pool   // where the memory goes back to; nil: to the system
	home *home   // nil for a view, and for a plain block of C memory

	// Of the root only: what pin and retire decide by, in one atomic, so that
	// pinning costs one instruction. See lifetime.go.
	state atomic.Uint64
	// Of a view: the life of its root in which it was made.
	life uint64
}

// home is what is seldom needed of the memory of a Buffer, apart from it so
// that making one stays cheap.
type home struct {
	label *account // nil: counted in the total alone
	own   *mapping // made for this Buffer alone
	arena *arena   // of the Pool, where the memory lies
	lent  bool     // from WrapMemory: does not go back at all
	//lint:ignore U1000 the debug mode uses it
	debug *memoryRecord // nil but in debug mode
}

// AllocOptions is how AllocWith gets memory. The zero value is what Alloc does.
type AllocOptions struct {
	// Label is what the memory is for, as MemoryByLabel shows it. Labels are kept
	// for good: use a fixed set of names. "" counts in the total alone.
	Label string
	// Uninitialized leaves out the clearing of a small block, whose content is
	// then undefined. Blocks of MapThreshold bytes and more are zero in any case.
	Uninitialized bool
	// HugePages asks for huge pages, which makes the block a mapping of its own.
	HugePages HugePages
	// Lock keeps the block in RAM: it is never swapped out. It counts against
	// RLIMIT_MEMLOCK, and makes the block a mapping of its own. Stands for mlock.
	Lock bool
}

// HugePages is which pages a mapping is made of.
type HugePages uint8

const (
	// HugePagesNo leaves it to the system's setting.
	HugePagesNo HugePages = iota
	// HugePagesTransparent lets the kernel use huge pages where it can; a block
	// of at least one huge page is aligned to that. It is advice and never fails.
	// Stands for madvise with MADV_HUGEPAGE.
	HugePagesTransparent
	// HugePagesReserved takes pages of the default huge size that the
	// administrator has reserved (vm.nr_hugepages), rounded up to whole ones:
	// ENOMEM where there are too few. Stands for mmap with MAP_HUGETLB.
	HugePagesReserved
)

// MapThreshold is the size in bytes from which on a block is a mapping of its
// own, which goes back to the system at once when it is freed. Smaller ones come
// from the C library, which keeps what is freed for the next; of blocks up to 64
// KiB the package itself keeps 16 at most, 1 MiB in all, for a second at most.
// docs/memory.md has the measurements behind the number.
const MapThreshold = 128 << 10

// leastAlign is what posix_memalign takes at least. There are devices that demand
// less, and buffered I/O demands nothing.
const leastAlign = int(ptrSize)

// maxBlock is a size and an alignment that no system has, small enough for sums
// with them not to overflow.
const maxBlock = math.MaxInt / 8

// Alloc returns a Buffer of size bytes, zeroed, whose address is a multiple of
// align. The size must be at least 1 and align a power of two, such as the Memory
// of an [Alignment], or 0. The caller owns it and must Free it. ENOMEM where the
// system has no such memory. Stands for posix_memalign, and from MapThreshold
// on for mmap.
func Alloc(size, align int) (*Buffer, error) { return AllocWith(size, align, nil) }

// AllocWith is Alloc with options; nil stands for their zero value. The errors
// are those of Alloc, and of mlock: ENOMEM, EPERM or EAGAIN beyond
// RLIMIT_MEMLOCK.
func AllocWith(size, align int, o *AllocOptions) (*Buffer, error) {
	if o == nil {
		o = &AllocOptions{}
	}
	if err := checkBlock(size, align, o.HugePages); err != nil {
		return nil, err
	}
	align = max(align, leastAlign)
	b := &Buffer{size: size, room: size}
	b.root = b
	if o.Label != "" {
		b.home = &labelled(o.Label).home
	}
	var err error
	if debugMemory || size >= MapThreshold || o.HugePages != HugePagesNo || o.Lock {
		err = b.allocMapped(align, o)
	} else {
		err = b.allocSmall(align, o)
	}
	if err != nil {
		return nil, err
	}
	count(b.account(), size)
	if debugMemory {
		debugAlloc(b)
	}
	return b, nil
}

func (b *Buffer) allocSmall(align int, o *AllocOptions) error {
	p := takeSpare(b.size, align)
	if p == nil {
		var errno syscall.Errno
		if p, errno = sysAlloc(align, b.size); errno != 0 {
			return noMemory(b.size, align, errno)
		}
	}
	if !o.Uninitialized {
		clear(unsafe.Slice((*byte)(p), b.size))
	}
	b.mem = p
	return nil
}

func (b *Buffer) allocMapped(align int, o *AllocOptions) error {
	m, err := mapMemory(b.size, align, o.HugePages)
	if err != nil {
		return err
	}
	b.mem = m.place(b.size, align)
	if o.Lock {
		if err := m.lock(b.mem, b.size); err != nil {
			m.munmap()
			return err
		}
	}
	b.home = &home{label: b.account(), own: m}
	return nil
}

// account is where the memory is counted.
func (b *Buffer) account() *account {
	if b.home == nil {
		return nil
	}
	return b.home.label
}

func noMemory(size, align int, errno syscall.Errno) *Error {
	return &Error{
		Op: "alloc", Err: errno,
		Detail: fmt.Sprintf("no memory for %d bytes aligned to %d", size, align),
	}
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
	b := &Buffer{mem: unsafe.Pointer(unsafe.SliceData(mem)), size: len(mem), room: len(mem), home: &home{lent: true}}
	b.root = b
	return b, nil
}

func checkBlock(size, align int, huge HugePages) error {
	switch {
	case size < 1:
		return invalidf("alloc", "size %d: must be at least 1 byte", size)
	case align < 0 || bits.OnesCount(uint(align)) > 1:
		return invalidf("alloc", "alignment %d: must be a power of two, or 0", align)
	case huge > HugePagesReserved:
		return invalidf("alloc", "HugePages %d: must be one of the constants, 0 to %d", huge, HugePagesReserved)
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

// Len is the number of bytes, also after Free; 0 for a nil Buffer.
func (b *Buffer) Len() int {
	if b == nil {
		return 0
	}
	return b.size
}

// Cap is how many bytes there are for Slice, no less than Len. It is more than
// Len only for a Buffer of a ClassPool, where it is the size of the class; 0 for
// a nil Buffer.
func (b *Buffer) Cap() int {
	if b == nil {
		return 0
	}
	return b.room
}

// Slice returns a view of n bytes, at least 1, from off on, within Cap. A view
// shares the state of its parent, and keeps the collector from it: an operation
// on one is in flight for both. Only the parent can be retained, freed or put
// back, and its views end with that. A view is a Go object, so making one
// allocates; it may be kept and used again.
func (b *Buffer) Slice(off, n int) (*Buffer, error) {
	if b == nil || b.root == nil {
		return nil, invalidf("slice", "the Buffer is nil, or was not made by Alloc or a Pool")
	}
	state := b.root.state.Load()
	if !b.lives(state) {
		return nil, b.freed("slice")
	}
	if off < 0 || n < 1 || off > b.room-n {
		return nil, invalidf("slice", "%d bytes from %d on: must be at least 1 byte within the %d of the buffer", n, off, b.room)
	}
	return &Buffer{mem: unsafe.Add(b.mem, off), size: n, room: n, root: b.root, life: state / stateLife}, nil
}

// free gives the memory of a retired Buffer of no Pool to the system.
func (b *Buffer) free() {
	if b.home == nil {
		uncount(nil, b.room)
		freeBlock(b)
		return
	}
	if b.home.lent {
		return
	}
	uncount(b.home.label, b.room)
	if debugMemory {
		debugFree(b)
	}
	if b.home.own != nil {
		b.home.own.unmap()
		return
	}
	freeBlock(b)
}

// address is where the memory is, as the kernel wants it.
func (b *Buffer) address() uintptr { return uintptr(b.mem) }
