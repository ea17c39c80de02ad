//go:build linux && (!cgo || nolibaio)

package libaio

import (
	"math/bits"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is malloc for the engine without C: aligned blocks, from mmap.
//
// Blocks of up to maxSmall bytes come from slabs, mappings of slabSize at a
// multiple of it, each for blocks of one power of two. So blocks lie at multiples
// of their size, the slab of a block is known by its address, and nothing is
// written beside them. Larger blocks have a mapping each.

const (
	slabSize   = 256 << 10
	minSmall   = 64
	maxSmall   = 32 << 10
	slabLevels = 10 // minSmall, 2*minSmall, ..., maxSmall
)

// slab is a mapping with blocks of one size.
type slab struct {
	mem   unsafe.Pointer
	shift uint8    // log2 of the size of a block
	fresh uint32   // blocks from this one on were never used
	free  []uint32 // blocks that were given back
	at    int      // index in heap.open; -1 while all blocks are in use
}

// heap is all memory of sysAlloc.
type heap struct {
	mu     sync.Mutex
	open   [slabLevels][]*slab // with free blocks
	slabs  map[uintptr]*slab   // all, by address
	large  map[uintptr]uintptr // size of the mapping, by address
	blocks int                 // in use
}

var cHeap = heap{slabs: make(map[uintptr]*slab), large: make(map[uintptr]uintptr)}

var page = uintptr(pageSize)

// sysAlloc allocates memory outside the Go heap that is not zeroed. align is a
// power of two.
func sysAlloc(align, size int) (unsafe.Pointer, syscall.Errno) {
	cHeap.mu.Lock()
	defer cHeap.mu.Unlock()
	p, errno := cHeap.alloc(uintptr(align), uintptr(size))
	if errno == 0 {
		cHeap.blocks++
	}
	return p, errno
}

// sysFree frees what sysAlloc returned.
func sysFree(p unsafe.Pointer) {
	cHeap.mu.Lock()
	defer cHeap.mu.Unlock()
	cHeap.blocks--
	cHeap.release(p)
}

func (h *heap) alloc(align, size uintptr) (unsafe.Pointer, syscall.Errno) {
	if need := max(align, size, minSmall); need <= maxSmall {
		return h.allocSmall(uint8(bits.Len(uint(need - 1))))
	}
	size = roundUp(size, page)
	p, errno := mapAligned(align, size)
	if errno == 0 {
		h.large[uintptr(p)] = size
	}
	return p, errno
}

func (h *heap) release(p unsafe.Pointer) {
	base := uintptr(p) &^ (slabSize - 1)
	if s := h.slabs[base]; s != nil {
		h.freeSmall(s, uint32((uintptr(p)-base)>>s.shift))
		return
	}
	size := h.large[uintptr(p)]
	delete(h.large, uintptr(p))
	unmap(p, size)
}

// allocSmall takes a block of 1<<shift bytes.
func (h *heap) allocSmall(shift uint8) (unsafe.Pointer, syscall.Errno) {
	open := &h.open[levelOf(shift)]
	if len(*open) == 0 {
		if errno := h.addSlab(shift); errno != 0 {
			return nil, errno
		}
	}
	s := (*open)[len(*open)-1]
	index := s.fresh
	if n := len(s.free); n > 0 {
		index, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.fresh++
	}
	if s.used() == s.count() {
		h.close(s)
	}
	return unsafe.Add(s.mem, uintptr(index)<<shift), 0
}

// freeSmall gives a block back, and the slab with it where that is not the last
// open one of its size.
func (h *heap) freeSmall(s *slab, index uint32) {
	s.free = append(s.free, index)
	open := &h.open[levelOf(s.shift)]
	if s.at < 0 {
		s.at = len(*open)
		*open = append(*open, s)
	}
	if s.used() == 0 && len(*open) > 1 {
		h.close(s)
		delete(h.slabs, uintptr(s.mem))
		unmap(s.mem, slabSize)
	}
}

func (h *heap) addSlab(shift uint8) syscall.Errno {
	p, errno := mapAligned(slabSize, slabSize)
	if errno != 0 {
		return errno
	}
	s := &slab{mem: p, shift: shift}
	h.slabs[uintptr(p)] = s
	h.open[levelOf(shift)] = append(h.open[levelOf(shift)], s)
	return 0
}

// close takes a slab from the open ones of its size.
func (h *heap) close(s *slab) {
	open := &h.open[levelOf(s.shift)]
	last := len(*open) - 1
	(*open)[last].at = s.at
	(*open)[s.at] = (*open)[last]
	(*open)[last] = nil
	*open = (*open)[:last]
	s.at = -1
}

func (s *slab) count() uint32 { return slabSize >> s.shift }

func (s *slab) used() uint32 { return s.fresh - uint32(len(s.free)) }

func levelOf(shift uint8) int { return int(shift) - (bits.Len(minSmall) - 1) }

// mapAligned maps size bytes, a multiple of the page size, at a multiple of
// align: it maps more and cuts off what is too much.
func mapAligned(align, size uintptr) (unsafe.Pointer, syscall.Errno) {
	extra := max(align, page) - page
	if size == 0 || size+extra < size {
		return nil, syscall.ENOMEM
	}
	p, err := unix.MmapPtr(-1, 0, nil, size+extra, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, syscall.ENOMEM
	}
	head := -uintptr(p) & (max(align, page) - 1)
	unmap(p, head)
	unmap(unsafe.Add(p, head+size), extra-head)
	return unsafe.Add(p, head), 0
}

// unmap gives pages back. It fails where that would make more mappings than the
// system allows (vm.max_map_count); then the pages stay, and no one has them.
func unmap(p unsafe.Pointer, size uintptr) {
	if size > 0 {
		_ = unix.MunmapPtr(p, size)
	}
}
