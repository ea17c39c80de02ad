package libaio

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is private anonymous memory from mmap. In debug mode there is a page
// before and one after it that faults.
type mapping struct {
	base   unsafe.Pointer
	length int // whole pages
	unit   int // bytes of a page: the system's, or a huge one
	huge   HugePages
}

// hugePageSize is the default size of huge pages, 0 where there are none.
var hugePageSize = sync.OnceValue(func() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if n, _ := fmt.Sscanf(lines.Text(), "Hugepagesize: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
})

// mapMemory maps at least size bytes, zeroed, at a multiple of align.
func mapMemory(size, align int, huge HugePages) (*mapping, error) {
	if size > maxBlock || align > maxBlock {
		return nil, noMemory(size, align, unix.ENOMEM)
	}
	m := &mapping{unit: pageSize, huge: huge}
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if hs := hugePageSize(); huge == HugePagesReserved {
		if hs == 0 {
			e := noMemory(size, align, unix.ENOMEM)
			e.Detail += " in reserved huge pages: this system has none"
			return nil, e
		}
		m.unit = hs
		flags |= unix.MAP_HUGETLB
	} else if huge == HugePagesTransparent && size >= hs {
		align = max(align, hs)
	}
	m.length = roundUp(size, m.unit)
	if err := m.mmap(align, flags); err != nil {
		e := noMemory(size, align, asErrno(err))
		if huge == HugePagesReserved {
			e.Detail += fmt.Sprintf(" in reserved huge pages of %d bytes: reserve more with vm.nr_hugepages", m.unit)
		}
		return nil, e
	}
	if huge == HugePagesTransparent {
		_ = unix.Madvise(m.bytes(m.base, m.length), unix.MADV_HUGEPAGE) // advice
	}
	return m, nil
}

// mmap gets the pages. What is aligned to more than a page, or guarded, is put
// into a reserved range that is larger, the rest of which goes back at once.
func (m *mapping) mmap(align, flags int) (err error) {
	const rw = unix.PROT_READ | unix.PROT_WRITE
	if align <= m.unit && guardSize == 0 {
		m.base, err = unix.MmapPtr(-1, 0, nil, uintptr(m.length), rw, flags)
		return err
	}
	align = max(align, m.unit)
	guard := roundUp(guardSize, pageSize)
	whole := guard + m.length + guard + align
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(whole), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	head := -(int(uintptr(p)) + guard) & (align - 1)
	base := unsafe.Add(p, head+guard)
	if _, err = unix.MmapPtr(-1, 0, base, uintptr(m.length), rw, flags|unix.MAP_FIXED); err != nil {
		_ = unix.MunmapPtr(p, uintptr(whole))
		return err
	}
	m.base = base
	if head > 0 {
		_ = unix.MunmapPtr(p, uintptr(head))
	}
	end := head + guard + m.length + guard
	if end < whole {
		_ = unix.MunmapPtr(unsafe.Add(p, end), uintptr(whole-end))
	}
	return nil
}

// place is where a block of size bytes lies in a mapping of its own: at its
// beginning, but in debug mode at its end, before the guard page.
func (m *mapping) place(size, align int) unsafe.Pointer {
	if guardSize == 0 {
		return m.base
	}
	return unsafe.Add(m.base, (m.length-size)&^(align-1))
}

// unmap gives the pages back to the system (munmap), in debug mode later.
func (m *mapping) unmap() {
	if debugMemory && debugKeep(m) {
		return
	}
	m.munmap()
}

func (m *mapping) munmap() {
	guard := roundUp(guardSize, pageSize)
	// It fails where the range in the middle of another would need one mapping
	// more than the system allows: the memory goes back at least.
	if unix.MunmapPtr(unsafe.Add(m.base, -guard), uintptr(m.length+2*guard)) != nil {
		m.discard(m.base, m.length)
	}
}

// lock keeps size bytes at p in RAM (mlock).
func (m *mapping) lock(p unsafe.Pointer, size int) error {
	err := unix.Mlock(m.bytes(p, size))
	if err == nil {
		return nil
	}
	e := &Error{Op: "alloc", Err: asErrno(err), Detail: fmt.Sprintf("mlock of %d bytes: the system has no memory for it", size)}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur != unix.RLIM_INFINITY {
		e.Detail = fmt.Sprintf("mlock of %d bytes: RLIMIT_MEMLOCK allows %d in all: raise it (ulimit -l)", size, limit.Cur)
	}
	return e
}

// unlock ends lock (munlock).
func (m *mapping) unlock(p unsafe.Pointer, size int) { _ = unix.Munlock(m.bytes(p, size)) }

// discard gives the memory of these whole pages back, but not the pages, which
// are zero when they are next touched (madvise with MADV_DONTNEED).
func (m *mapping) discard(p unsafe.Pointer, size int) {
	_ = unix.Madvise(m.bytes(p, size), unix.MADV_DONTNEED)
}

// protect makes the pages fault, or not (mprotect).
//
//lint:ignore U1000 the debug mode uses it
func (m *mapping) protect(faults bool) {
	prot := unix.PROT_READ | unix.PROT_WRITE
	if faults {
		prot = unix.PROT_NONE
	}
	_ = unix.Mprotect(m.bytes(m.base, m.length), prot)
}

func (*mapping) bytes(p unsafe.Pointer, size int) []byte { return unsafe.Slice((*byte)(p), size) }
