package libaio

import (
	"sync/atomic"
	"unsafe"
)

// IOCB is an I/O control block in C memory, for code that is ported from C;
// other code has an easier life with [Queue]. A Prep method fills it
// (io_prep_*), the Set methods add to it, [Context.Submit] submits it.
//
// From Submit until its event was read an IOCB is in flight, and so are its
// Buffers; it can then be neither prepared anew nor freed. Descriptors are the
// caller's to keep open until Submit has returned. An IOCB belongs to one
// goroutine at a time.
type IOCB struct {
	addr     uintptr // C memory; 0 after Free
	mem      unsafe.Pointer
	vec      unsafe.Pointer // C memory for iovecs, nil while there are none
	vecCap   int
	data     uint64
	bufs     []*Buffer // what the kernel will read or write
	one      [1]*Buffer
	prepared bool
	inFlight atomic.Bool
}

// NewIOCB allocates an IOCB. Free it when done.
func NewIOCB() (*IOCB, error) {
	if err := supported("iocb"); err != nil {
		return nil, err
	}
	mem, errno := sysAlloc(iocbSize, iocbSize)
	if errno != 0 {
		return nil, &Error{Op: "iocb", Err: errno}
	}
	clear(unsafe.Slice((*byte)(mem), iocbSize))
	return &IOCB{mem: mem, addr: uintptr(mem)}, nil
}

// Free gives the memory back to C. ErrInFlight between Submit and the event,
// ErrFreed the second time.
func (cb *IOCB) Free() error {
	if err := cb.usable("iocb free"); err != nil {
		return err
	}
	sysFree(cb.mem)
	if cb.vec != nil {
		sysFree(cb.vec)
	}
	*cb = IOCB{}
	return nil
}

// usable says why the memory may not be touched.
func (cb *IOCB) usable(op string) error {
	switch {
	case cb == nil:
		return invalidf(op, "the IOCB is nil")
	case cb.addr == 0:
		return &Error{Op: op, Err: ErrFreed, Detail: "the IOCB was freed, or not made by NewIOCB"}
	case cb.inFlight.Load():
		return &Error{Op: op, Err: ErrInFlight, Detail: "the event of this IOCB has not been read"}
	}
	return nil
}

// prep fills the block and clears what the Set methods set before.
func (cb *IOCB) prep(op string, r request, bufs []*Buffer) error {
	if err := cb.usable(op); err != nil {
		return err
	}
	cb.bufs, cb.data, cb.prepared = bufs, 0, true
	sysPrepare(cb.addr, &r)
	return nil
}

// prepOne is prep for one Buffer; a nil Buffer is a null pointer of length 0.
func (cb *IOCB) prepOne(op string, opcode uint16, fd int, b *Buffer, offset int64) error {
	if err := cb.usable(op); err != nil {
		return err
	}
	r := request{opcode: opcode, fd: int32(fd), offset: offset}
	if b == nil {
		return cb.prep(op, r, nil)
	}
	if b.root == nil {
		return invalidf(op, "the Buffer was not made by Alloc or a Pool")
	}
	r.buf, r.nbytes = uint64(b.address()), uint64(b.Len())
	cb.one[0] = b
	return cb.prep(op, r, cb.one[:])
}

// prepVec is prep for a vector of Buffers.
func (cb *IOCB) prepVec(op string, opcode uint16, fd int, bufs []*Buffer, offset int64, flags RWFlags) error {
	if err := cb.usable(op); err != nil {
		return err
	}
	for i, b := range bufs {
		if b == nil || b.root == nil {
			return invalidf(op, "Buffer %d of %d is nil, or was not made by Alloc or a Pool", i, len(bufs))
		}
	}
	if err := cb.growVec(op, len(bufs)); err != nil {
		return err
	}
	fillVector(unsafe.Slice((*iovec)(cb.vec), len(bufs)), bufs, 0)
	r := request{opcode: opcode, fd: int32(fd), buf: uint64(uintptr(cb.vec)), nbytes: uint64(len(bufs)), offset: offset, rwFlags: int32(flags)}
	return cb.prep(op, r, append([]*Buffer(nil), bufs...))
}

func (cb *IOCB) growVec(op string, n int) error {
	if n <= cb.vecCap {
		return nil
	}
	mem, errno := sysAlloc(int(ptrSize), n*iovecSize)
	if errno != 0 {
		return &Error{Op: op, Err: errno}
	}
	if cb.vec != nil {
		sysFree(cb.vec)
	}
	cb.vec, cb.vecCap = mem, n
	return nil
}

// PrepPread prepares a read of b.Len() bytes at the offset, in bytes. Stands
// for io_prep_pread.
func (cb *IOCB) PrepPread(fd int, b *Buffer, offset int64) error {
	return cb.prepOne("io_prep_pread", opPread, fd, b, offset)
}

// PrepPwrite prepares a write of b.Len() bytes at the offset, in bytes. Stands
// for io_prep_pwrite.
func (cb *IOCB) PrepPwrite(fd int, b *Buffer, offset int64) error {
	return cb.prepOne("io_prep_pwrite", opPwrite, fd, b, offset)
}

// PrepPreadv prepares a read into several Buffers, one after the other.
// Stands for io_prep_preadv.
func (cb *IOCB) PrepPreadv(fd int, bufs []*Buffer, offset int64) error {
	return cb.prepVec("io_prep_preadv", opPreadv, fd, bufs, offset, 0)
}

// PrepPwritev prepares a write from several Buffers, one after the other.
// Stands for io_prep_pwritev.
func (cb *IOCB) PrepPwritev(fd int, bufs []*Buffer, offset int64) error {
	return cb.prepVec("io_prep_pwritev", opPwritev, fd, bufs, offset, 0)
}

// PrepPreadv2 is PrepPreadv with flags. Stands for io_prep_preadv2.
func (cb *IOCB) PrepPreadv2(fd int, bufs []*Buffer, offset int64, flags RWFlags) error {
	return cb.prepVec("io_prep_preadv2", opPreadv, fd, bufs, offset, flags)
}

// PrepPwritev2 is PrepPwritev with flags. Stands for io_prep_pwritev2.
func (cb *IOCB) PrepPwritev2(fd int, bufs []*Buffer, offset int64, flags RWFlags) error {
	return cb.prepVec("io_prep_pwritev2", opPwritev, fd, bufs, offset, flags)
}

// PrepFsync prepares an fsync. Stands for io_prep_fsync.
func (cb *IOCB) PrepFsync(fd int) error {
	return cb.prep("io_prep_fsync", request{opcode: opFsync, fd: int32(fd)}, nil)
}

// PrepFdsync prepares an fdatasync. Stands for io_prep_fdsync.
func (cb *IOCB) PrepFdsync(fd int) error {
	return cb.prep("io_prep_fdsync", request{opcode: opFdsync, fd: int32(fd)}, nil)
}

// PrepPoll prepares a wait for any of the events, as in poll(2); the result
// is the set that came, which has more than was asked for where the kernel had
// to wait, such as POLLRDNORM beside POLLIN. Stands for io_prep_poll.
func (cb *IOCB) PrepPoll(fd int, events PollEvents) error {
	return cb.prep("io_prep_poll", request{opcode: opPoll, fd: int32(fd), events: uint32(events)}, nil)
}

// SetData sets what the event of this IOCB carries as Data. Stands for
// iocb.data.
func (cb *IOCB) SetData(data uint64) error {
	if err := cb.usable("iocb data"); err != nil {
		return err
	}
	cb.data = data
	return nil
}

// SetEventfd has the completion counted on an eventfd. Stands for
// io_set_eventfd.
func (cb *IOCB) SetEventfd(fd int) error {
	if err := cb.usable("io_set_eventfd"); err != nil {
		return err
	}
	sysSetEventfd(cb.addr, fd)
	return nil
}

// SetRWFlags sets the flags of the operation. Stands for iocb.aio_rw_flags.
func (cb *IOCB) SetRWFlags(flags RWFlags) error {
	if err := cb.usable("iocb flags"); err != nil {
		return err
	}
	sysSetRWFlags(cb.addr, flags)
	return nil
}

// SetPriority sets the I/O priority of the operation. Stands for
// iocb.aio_reqprio and IOCB_FLAG_IOPRIO.
func (cb *IOCB) SetPriority(p Priority) error {
	if err := cb.usable("iocb priority"); err != nil {
		return err
	}
	sysSetPriority(cb.addr, p)
	return nil
}

// begin takes the IOCB and its Buffers for the kernel.
func (cb *IOCB) begin() error {
	const op = "io_submit"
	if err := cb.usable(op); err != nil {
		return err
	}
	if !cb.prepared {
		return invalidf(op, "the IOCB was not prepared: call a Prep method first")
	}
	if !cb.inFlight.CompareAndSwap(false, true) {
		return &Error{Op: op, Err: ErrInFlight, Detail: "the IOCB is being submitted elsewhere"}
	}
	for i, b := range cb.bufs {
		if !b.pin() {
			cb.end(i)
			return &Error{Op: op, Err: ErrFreed, Detail: "a Buffer of the IOCB was freed"}
		}
	}
	return nil
}

// end gives the IOCB and its first n Buffers back.
func (cb *IOCB) end(n int) {
	for _, b := range cb.bufs[:n] {
		b.drop()
	}
	cb.inFlight.Store(false)
}
