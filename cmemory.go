package libaio

import (
	"syscall"
	"unsafe"
)

// cMemory is a block of C memory for what the kernel reads in a system call.
// It is zeroed when it grows, and does not keep its content then.
type cMemory struct {
	p    unsafe.Pointer
	size int
}

// grow makes the block at least size bytes.
func (m *cMemory) grow(size int) syscall.Errno {
	if size <= m.size {
		return 0
	}
	m.free()
	p, errno := sysAlloc(iocbSize, size)
	if errno != 0 {
		return errno
	}
	clear(unsafe.Slice((*byte)(p), size))
	m.p, m.size = p, size
	return 0
}

func (m *cMemory) free() {
	if m.p != nil {
		sysFree(m.p)
	}
	*m = cMemory{}
}
