//go:build !linux

package libaio

import (
	"syscall"
	"unsafe"
)

// mapping is memory of its own, of which there is none but on Linux.
type mapping struct{ unit, length int }

func hugePageSize() int { return 0 }

func mapMemory(size, align int, _ HugePages) (*mapping, error) {
	return nil, noMemory(size, align, syscall.ENOSYS)
}

func (*mapping) place(int, int) unsafe.Pointer  { return nil }
func (*mapping) unmap()                         {}
func (*mapping) munmap()                        {}
func (*mapping) lock(unsafe.Pointer, int) error { return syscall.ENOSYS }
func (*mapping) unlock(unsafe.Pointer, int)     {}
func (*mapping) discard(unsafe.Pointer, int)    {}
