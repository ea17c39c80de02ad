//go:build linux && (!cgo || nolibaio)

package libaio

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the engine without libaio: the same functions as in libaio.go,
// over the bare system calls. All go through unix.Syscall, which lets the
// scheduler run others meanwhile: each of them can sleep, be it on a lock.

const engine = "system calls"

// iocb is an I/O control block: struct iocb. The kernel has 64 bits for every
// address and length, whatever the word size, and its two words of 32 bits
// aio_key and aio_rw_flags are in this order on little-endian machines and in
// the other on big-endian ones: as one word of 64 bits they are the same on all.
type iocb struct {
	data          uint64
	keyAndRWFlags uint64 // aio_rw_flags is the upper half
	opcode        uint16
	reqprio       int16
	fd            int32
	buf           uint64
	nbytes        uint64
	offset        int64
	_             uint64
	flags         uint32
	resfd         uint32
}

// The flags of an iocb, from the kernel's include/uapi/linux/aio_abi.h.
const (
	iocbFlagResfd  = 1 << 0
	iocbFlagIOPrio = 1 << 1
)

// The layout is the kernel's, and that of libaio.h: see there.
var (
	_ = is0[unsafe.Offsetof(iocb{}.data)-0]
	_ = is0[unsafe.Offsetof(iocb{}.keyAndRWFlags)-8]
	_ = is0[unsafe.Offsetof(iocb{}.opcode)-16]
	_ = is0[unsafe.Offsetof(iocb{}.reqprio)-18]
	_ = is0[unsafe.Offsetof(iocb{}.fd)-20]
	_ = is0[unsafe.Offsetof(iocb{}.buf)-24]
	_ = is0[unsafe.Offsetof(iocb{}.nbytes)-32]
	_ = is0[unsafe.Offsetof(iocb{}.offset)-40]
	_ = is0[unsafe.Offsetof(iocb{}.flags)-56]
	_ = is0[unsafe.Offsetof(iocb{}.resfd)-60]
	_ = is0[unsafe.Sizeof(iocb{})-iocbSize]
)

// sysSetup makes a context for at least depth operations (io_setup).
func sysSetup(depth int) (uintptr, syscall.Errno) {
	var ctx uintptr
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(depth), uintptr(unsafe.Pointer(&ctx)), 0); errno != 0 {
		return 0, errno
	}
	dontFork(ctx)
	return ctx, 0
}

// dontFork keeps the ring out of children, as golibaio_dontfork in libaio.h.
func dontFork(ctx uintptr) {
	r := (*ringHead)(pointerTo(ctx))
	if r.magic != ringMagic {
		return
	}
	size := uintptr(r.headerLength) + uintptr(r.nr)*unsafe.Sizeof(event{})
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, ctx, roundUp(size, page), unix.MADV_DONTFORK)
}

// sysDestroy waits for what is in flight, drops its events and frees the
// context (io_destroy).
func sysDestroy(ctx uintptr) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, ctx, 0, 0)
	return errno
}

// sysSubmit prepares the requests in the iocbs of their slots and submits them
// (io_submit). ring is ctx where its ring may be read, else 0; within is that of the
// last batch.
func sysSubmit(ctx, ring, iocbs, ptrs uintptr, reqs []request, eventfd, within int) sent {
	list := unsafe.Slice((*uintptr)(pointerTo(ptrs)), len(reqs))
	for i := range reqs {
		list[i] = iocbs + uintptr(reqs[i].slot)*iocbSize
		cb := (*iocb)(pointerTo(list[i]))
		cb.prepare(&reqs[i])
		if reqs[i].signals != 0 && eventfd >= 0 {
			cb.setEventfd(eventfd)
		}
	}
	return sysResubmit(ctx, ring, ptrs, 0, len(reqs), within)
}

// sysResubmit submits n iocbs that sysSubmit has prepared, from number from on
// (io_submit), until all are accepted or the first of the rest is refused.
// io_submit may accept a part and name the reason only when it is asked again.
func sysResubmit(ctx, ring, ptrs uintptr, from, n, within int) (s sent) {
	raceSubmit()
	list := unsafe.Slice((*uintptr)(pointerTo(ptrs)), from+n)[from:]
	for s.within = within; s.n < n; {
		asked := portion(s.n, n-s.n, s.within)
		tail := tailOf(ring)
		got, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, ctx, uintptr(asked), uintptr(unsafe.Pointer(&list[s.n])))
		s.calls++
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			s.errno = errno
			return s
		case got == 0:
			s.errno = syscall.EAGAIN
			return s
		default:
			s.n += int(got)
			if int(got) < asked {
				s.partial++
			}
			s.within = countWithin(s.within, isWithin(ring, tail, list[s.n-1]))
		}
	}
	return s
}

// portion is how many of left operations the next io_submit gets when so many
// have gone before, as golibaio_portion in libaio.h.
func portion(before, left, within int) int {
	if within == worksWithin {
		return left
	}
	return min(max(2, before), left)
}

// tailOf is where the next event will go; 0 for a ring that is not to be read.
func tailOf(ring uintptr) uint32 {
	if ring == 0 {
		return 0
	}
	return atomic.LoadUint32(&(*ringHead)(pointerTo(ring)).tail)
}

// isWithin says whether the operation of this iocb, the last of a call of
// io_submit, had completed when that returned, as golibaio_is_within in libaio.h.
func isWithin(ring uintptr, tail uint32, iocb uintptr) bool {
	now := tailOf(ring)
	if now == tail {
		return false
	}
	r := newRing(ring, false)
	if now == 0 {
		now = uint32(len(r.events))
	}
	return r.events[now-1].obj == uint64(iocb)
}

// countWithin counts such calls in a row, as golibaio_count_within in libaio.h.
func countWithin(within int, is bool) int {
	if !is {
		return 0
	}
	return min(within+1, worksWithin)
}

// sysSubmitIOCBs submits prepared iocbs by address (io_submit). It may accept
// fewer than it is given.
func sysSubmitIOCBs(ctx uintptr, addrs []uint64, ptrs uintptr) (int, syscall.Errno) {
	list := unsafe.Slice((*uintptr)(pointerTo(ptrs)), len(addrs))
	for i, addr := range addrs {
		list[i] = uintptr(addr)
	}
	raceSubmit()
	n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, ctx, uintptr(len(addrs)), ptrs)
	return countOf(n, errno)
}

// countOf is the result of a system call that counts.
func countOf(n uintptr, errno syscall.Errno) (int, syscall.Errno) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sysGetEvents reads up to len(events) completions and waits for minimum of
// them, at most for timeout; a negative timeout waits without limit
// (io_getevents). It blocks its thread while it waits. As in libaio, to look at
// an empty ring costs no system call.
func sysGetEvents(ctx uintptr, minimum int, events []event, timeout time.Duration) (int, syscall.Errno) {
	if timeout == 0 && isEmpty(ctx) {
		return 0, 0
	}
	ts := unix.NsecToTimespec(int64(timeout))
	n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, ctx, uintptr(minimum), uintptr(len(events)),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(unsafe.Pointer(limit(&ts, timeout))), 0)
	raceReap()
	return countOf(n, errno)
}

// limit is ts, or nil where the wait has no limit.
func limit(ts *unix.Timespec, timeout time.Duration) *unix.Timespec {
	if timeout < 0 {
		return nil
	}
	return ts
}

func isEmpty(ctx uintptr) bool {
	r := (*ringHead)(pointerTo(ctx))
	return r.magic == ringMagic && atomic.LoadUint32(&r.head) == atomic.LoadUint32(&r.tail)
}

// sigset is how io_pgetevents takes its signals.
type sigset struct {
	mask *uint64
	size uintptr
}

// sysPGetEvents is sysGetEvents with the signals of mask blocked on the
// waiting thread (io_pgetevents).
func sysPGetEvents(ctx uintptr, minimum int, events []event, timeout time.Duration, mask uint64) (int, syscall.Errno) {
	ts := unix.NsecToTimespec(int64(timeout))
	set := sigset{&mask, unsafe.Sizeof(mask)}
	n, _, errno := unix.Syscall6(unix.SYS_IO_PGETEVENTS, ctx, uintptr(minimum), uintptr(len(events)),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(unsafe.Pointer(limit(&ts, timeout))), uintptr(unsafe.Pointer(&set)))
	raceReap()
	return countOf(n, errno)
}

// sysCancel asks for the cancellation of the operation that was submitted from
// the iocb at this address (io_cancel).
func sysCancel(ctx, cb uintptr, ev *event) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IO_CANCEL, ctx, cb, uintptr(unsafe.Pointer(ev)))
	return errno
}

// prepare fills the iocb, as libaio's io_prep functions and golibaio_prepare in
// libaio.h do.
func (cb *iocb) prepare(r *request) {
	*cb = iocb{
		data:   uint64(r.slot),
		opcode: r.opcode,
		fd:     r.fd,
	}
	switch r.opcode {
	case opPoll:
		cb.buf = uint64(r.events)
	case opPread, opPwrite, opPreadv, opPwritev:
		cb.buf, cb.nbytes, cb.offset = r.buf, r.nbytes, r.offset
	}
	cb.setRWFlags(r.rwFlags)
	if r.hasPrio != 0 {
		cb.setPriority(r.reqprio)
	}
}

// setRWFlags sets the upper half of the word that the kernel declares as
// aio_key and aio_rw_flags, in an order that is the same on all machines.
func (cb *iocb) setRWFlags(flags int32) {
	cb.keyAndRWFlags = uint64(uint32(flags)) << 32
}

func (cb *iocb) setEventfd(fd int) {
	cb.flags |= iocbFlagResfd
	cb.resfd = uint32(fd)
}

func (cb *iocb) setPriority(p int16) {
	cb.flags |= iocbFlagIOPrio
	cb.reqprio = p
}

// sysPrepare fills the iocb at this address.
func sysPrepare(addr uintptr, r *request) { (*iocb)(pointerTo(addr)).prepare(r) }

// sysSetData sets what the event will carry as its data.
func sysSetData(addr uintptr, data uint64) { (*iocb)(pointerTo(addr)).data = data }

// sysSetEventfd has the completion signalled on an eventfd.
func sysSetEventfd(addr uintptr, fd int) { (*iocb)(pointerTo(addr)).setEventfd(fd) }

// sysSetRWFlags sets aio_rw_flags.
func sysSetRWFlags(addr uintptr, flags RWFlags) { (*iocb)(pointerTo(addr)).setRWFlags(int32(flags)) }

// sysSetPriority sets aio_reqprio, and the flag without which the kernel
// ignores it.
func sysSetPriority(addr uintptr, p Priority) { (*iocb)(pointerTo(addr)).setPriority(int16(p)) }
