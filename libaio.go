//go:build linux && cgo && !nolibaio

package libaio

// #cgo !aiostatic LDFLAGS: -laio
// #cgo aiostatic LDFLAGS: -l:libaio.a
// #include "libaio.h"
import "C"

import (
	"syscall"
	"time"
	"unsafe"
)

// This file is the whole of the binding: each function stands for the libaio
// function that its comment names. Addresses of C memory are kept as uintptr
// so that the collector never looks at them; only Buffer, which hands its
// bytes to Go code, keeps an unsafe.Pointer.

const engine = "libaio"

// The layouts are those of C, which checks struct iocb itself.
var (
	_ = is0[unsafe.Sizeof(request{})-C.sizeof_struct_golibaio_request]
	_ = is0[unsafe.Sizeof(event{})-C.sizeof_struct_io_event]
	_ = is0[unsafe.Sizeof(iovec{})-C.sizeof_struct_iovec]
	_ = is0[iocbSize-C.sizeof_struct_iocb]
	_ = is0[worksWithin-C.GOLIBAIO_WITHIN]
)

// errnoOf turns libaio's -errno into an Errno. libaio leaves errno alone, so
// cgo's second result is of no use.
func errnoOf(rc C.int) syscall.Errno {
	if rc < 0 {
		return syscall.Errno(-rc)
	}
	return 0
}

// sysSetup makes a context for at least depth operations (io_setup).
func sysSetup(depth int) (uintptr, syscall.Errno) {
	c := C.golibaio_setup(C.int(depth))
	return uintptr(c.ctx), errnoOf(c.err)
}

// sysDestroy waits for what is in flight, drops its events and frees the
// context (io_destroy). Nothing may use ctx afterwards: libaio reads the ring
// in user space and would fault.
func sysDestroy(ctx uintptr) syscall.Errno {
	return errnoOf(C.golibaio_destroy(C.uintptr_t(ctx)))
}

// sysSubmit prepares the requests in the iocbs of their slots (io_prep_pread,
// io_prep_pwrite, io_prep_fsync, ..., io_set_eventfd) and submits them
// (io_submit), in one crossing. ring is ctx where its ring may be read, else 0;
// within is that of the last batch.
func sysSubmit(ctx, ring, iocbs, ptrs uintptr, reqs []request, eventfd, within int) sent {
	s := C.golibaio_submit(C.uintptr_t(ctx), C.uintptr_t(ring), C.uintptr_t(iocbs), C.uintptr_t(ptrs),
		(*C.struct_golibaio_request)(unsafe.Pointer(unsafe.SliceData(reqs))), C.long(len(reqs)), C.int(eventfd), C.int(within))
	return sentOf(s)
}

// sysResubmit submits n iocbs that sysSubmit has prepared, from number from on
// (io_submit).
func sysResubmit(ctx, ring, ptrs uintptr, from, n, within int) sent {
	s := C.golibaio_push(C.uintptr_t(ctx), C.uintptr_t(ring), C.uintptr_t(ptrs+uintptr(from)*ptrSize), C.long(n), C.int(within))
	return sentOf(s)
}

func sentOf(s C.struct_golibaio_sent) sent {
	return sent{n: int(s.n), calls: int(s.calls), partial: int(s.partial), errno: errnoOf(s.err), within: int(s.within)}
}

// sysSubmitIOCBs submits prepared iocbs by address (io_submit). It may accept
// fewer than it is given.
func sysSubmitIOCBs(ctx uintptr, addrs []uint64, ptrs uintptr) (int, syscall.Errno) {
	rc := C.golibaio_submit_iocbs(C.uintptr_t(ctx), C.long(len(addrs)),
		(*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(addrs))), C.uintptr_t(ptrs))
	return max(int(rc), 0), errnoOf(rc)
}

// sysGetEvents reads up to len(events) completions and waits for minimum of
// them, at most for timeout; a negative timeout waits without limit
// (io_getevents). It blocks its thread while it waits.
func sysGetEvents(ctx uintptr, minimum int, events []event, timeout time.Duration) (int, syscall.Errno) {
	rc := C.golibaio_getevents(C.uintptr_t(ctx), C.long(minimum), C.long(len(events)),
		(*C.struct_io_event)(unsafe.Pointer(unsafe.SliceData(events))), C.int64_t(timeout))
	return max(int(rc), 0), errnoOf(rc)
}

// sysPGetEvents is sysGetEvents with the signals of mask blocked on the
// waiting thread (io_pgetevents).
func sysPGetEvents(ctx uintptr, minimum int, events []event, timeout time.Duration, mask uint64) (int, syscall.Errno) {
	rc := C.golibaio_pgetevents(C.uintptr_t(ctx), C.long(minimum), C.long(len(events)),
		(*C.struct_io_event)(unsafe.Pointer(unsafe.SliceData(events))), C.int64_t(timeout), C.uint64_t(mask))
	return max(int(rc), 0), errnoOf(rc)
}

// sysCancel asks for the cancellation of the operation that was submitted from
// the iocb at this address (io_cancel).
func sysCancel(ctx, iocb uintptr, ev *event) syscall.Errno {
	return errnoOf(C.golibaio_cancel(C.uintptr_t(ctx), C.uintptr_t(iocb), (*C.struct_io_event)(unsafe.Pointer(ev))))
}

// sysPrepare fills the iocb at this address (io_prep_pread, io_prep_pwrite,
// io_prep_preadv2, io_prep_pwritev2, io_prep_fsync, io_prep_fdsync,
// io_prep_poll, by the opcode).
func sysPrepare(iocb uintptr, r *request) {
	C.golibaio_prepare_one(C.uintptr_t(iocb), (*C.struct_golibaio_request)(unsafe.Pointer(r)))
}

// sysSetData sets what the event will carry as its data (iocb.data).
func sysSetData(iocb uintptr, data uint64) {
	C.golibaio_set_data(C.uintptr_t(iocb), C.uint64_t(data))
}

// sysSetEventfd has the completion signalled on an eventfd (io_set_eventfd).
func sysSetEventfd(iocb uintptr, fd int) {
	C.golibaio_set_eventfd(C.uintptr_t(iocb), C.int(fd))
}

// sysSetRWFlags sets iocb.aio_rw_flags.
func sysSetRWFlags(iocb uintptr, flags RWFlags) {
	C.golibaio_set_rw_flags(C.uintptr_t(iocb), C.int(flags))
}

// sysSetPriority sets iocb.aio_reqprio, and the flag without which the kernel
// ignores it.
func sysSetPriority(iocb uintptr, p Priority) {
	C.golibaio_set_priority(C.uintptr_t(iocb), C.int(p))
}

// sysAlloc allocates C memory that is not zeroed (posix_memalign).
func sysAlloc(align, size int) (unsafe.Pointer, syscall.Errno) {
	m := C.golibaio_aligned(C.size_t(align), C.size_t(size))
	return m.p, syscall.Errno(m.err)
}

// sysFree frees what sysAlloc returned (free).
func sysFree(p unsafe.Pointer) {
	C.golibaio_free(C.uintptr_t(uintptr(p))) // as a number cgo has nothing to check
}
