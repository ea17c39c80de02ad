package libaio

import (
	"syscall"
	"unsafe"
)

// What Go shares with C and the kernel. The layouts are checked when this is
// compiled: below against the kernel's, and in libaio.go against the C header.

const (
	iocbSize  = 64
	ptrSize   = unsafe.Sizeof(uintptr(0))
	iovecSize = int(unsafe.Sizeof(iovec{}))
)

// request is one operation on its way to the kernel: struct golibaio_request.
type request struct {
	buf     uint64
	nbytes  uint64
	offset  int64
	fd      int32
	rwFlags int32
	slot    uint32
	opcode  uint16
	reqprio int16
	hasPrio uint16
	signals uint16 // on the eventfd of the batch
	events  uint32
}

// event is one completion as the kernel writes it: struct io_event. The kernel
// writes 64 bits in every field, whatever the word size.
type event struct {
	data uint64
	obj  uint64
	res  int64
	res2 int64
}

// The layouts are the kernel's: an index other than 0 does not compile.
var (
	_ = is0[unsafe.Sizeof(event{})-32]
	_ = is0[unsafe.Offsetof(event{}.res)-16]
	_ = is0[unsafe.Sizeof(iovec{})-2*ptrSize]
	_ = is0[unsafe.Offsetof(iovec{}.len)-ptrSize]
)

var is0 [1]struct{}

// sent says what became of a batch: n were accepted, from the front; errno is
// why the next one was not.
type sent struct {
	n       int
	calls   int // of io_submit
	partial int // of these, that took some but not all
	errno   syscall.Errno
	within  int // calls in a row that returned with their work done: see worksWithin
}

// worksWithin is how many calls of io_submit in a row must return with their last
// operation completed to show that the device does its work within them, as zram
// and persistent memory do. Others are as quick now and then. GOLIBAIO_WITHIN in
// libaio.h.
const worksWithin = 32

// The opcodes, from the kernel's include/uapi/linux/aio_abi.h.
const (
	opPread   = 0
	opPwrite  = 1
	opFsync   = 2
	opFdsync  = 3
	opPoll    = 5
	opPreadv  = 7
	opPwritev = 8
)

// iovec is struct iovec, in C memory.
type iovec struct {
	base uintptr
	len  uintptr
}

// fillVector writes the iovecs of the Buffers behind their first done bytes, and
// returns how many those are.
func fillVector(iov []iovec, bufs []*Buffer, done int) int {
	n := 0
	for _, b := range bufs {
		if done >= b.size {
			done -= b.size
			continue
		}
		iov[n] = iovec{b.address() + uintptr(done), uintptr(b.size - done)}
		n, done = n+1, 0
	}
	return n
}
