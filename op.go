package libaio

import (
	"fmt"
	"math"
	"syscall"
	"unsafe"
)

// MaxTransfer is the most that one operation moves, in bytes: the kernel's
// MAX_RW_COUNT for 4 KiB pages. A longer Buffer gives a short transfer.
const MaxTransfer = 2147479552

// maxVector is the most Buffers that one operation takes: the kernel's
// UIO_MAXIOV.
const maxVector = 1024

// Kind is what an Op does.
type Kind uint8

// The kinds of operation. The zero Kind is no operation.
const (
	KindPread   Kind = iota + 1 // read at an offset
	KindPwrite                  // write at an offset
	KindPreadv                  // read at an offset into several Buffers
	KindPwritev                 // write at an offset from several Buffers
	KindFsync                   // fsync(2): data and metadata
	KindFdsync                  // fdatasync(2): data, and the metadata needed to read it
	KindPoll                    // wait for readiness, as poll(2)
	KindNoop                    // nothing
)

var kinds = [...]struct {
	name   string
	opcode uint16
	data   bool // moves bytes at an offset
	vector bool // from or to several Buffers
	write  bool
}{
	0:           {name: "zero Op"},
	KindPread:   {name: "pread", opcode: opPread, data: true},
	KindPwrite:  {name: "pwrite", opcode: opPwrite, data: true, write: true},
	KindPreadv:  {name: "preadv", opcode: opPreadv, data: true, vector: true},
	KindPwritev: {name: "pwritev", opcode: opPwritev, data: true, vector: true, write: true},
	KindFsync:   {name: "fsync", opcode: opFsync},
	KindFdsync:  {name: "fdsync", opcode: opFdsync},
	KindPoll:    {name: "poll", opcode: opPoll},
	KindNoop:    {name: "noop"},
}

// String is the name of the kind as errors give it: "pread", "fsync", ...
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].name
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Durability is what has reached stable storage when a write has completed.
type Durability uint8

const (
	// DurabilityNone promises nothing: the data may be in the volatile cache
	// of the device. Direct I/O alone gives no more than this.
	DurabilityNone Durability = iota
	// DurabilityData: the data, and the metadata needed to read it back
	// (RWF_DSYNC; as pwrite followed by fdatasync).
	DurabilityData
	// DurabilityFull: data and all metadata (RWF_SYNC; as pwrite followed by
	// fsync).
	DurabilityFull
)

var durabilities = [...]string{"DurabilityNone", "DurabilityData", "DurabilityFull"}

// String is the name of the constant.
func (d Durability) String() string {
	if int(d) < len(durabilities) {
		return durabilities[d]
	}
	return fmt.Sprintf("Durability(%d)", uint8(d))
}

// Op is one operation, a plain value: make it with [Pread], [Pwrite],
// [Preadv], [Pwritev], [Fsync], [Fdsync], [Poll] or [Noop], adorn it with the
// With methods, give it to a [Queue]. An Op may be submitted any number of
// times.
//
// What is wrong with one is told when it is submitted, before the kernel sees it.
// ErrInvalid: a File or Buffer that is nil or was not made by this package; an offset
// that is negative, or ends past the largest file offset; a vector of no Buffers or of
// more than 1024; a length outside the Buffer, or for a vector; flags, priority, length or
// resumption of what is no read or write; a durability of what is no write; events of a
// poll that are empty or beyond 16 bits. ErrMisaligned: what breaks the File's
// [Alignment], where that is known. ErrFreed and ErrClosed: a Buffer that was given
// back, a File that was closed.
type Op struct {
	file       *File
	buf        *Buffer
	bufs       []*Buffer
	locked     *blockLock // of file, which the caller holds: see under
	offset     int64
	size       int // to be moved, where partial
	tag        uint64
	flags      RWFlags
	events     PollEvents
	priority   Priority
	kind       Kind
	durability Durability
	resume     bool
	partial    bool // of buf the first size bytes alone
	held       bool // the caller has a reference to the file
}

// Pread reads len(b.Bytes()) bytes at the offset, in bytes from the start of
// the file, into b. At the end of the file it reads fewer, or 0, without an
// error. Stands for io_prep_pread.
func Pread(f *File, b *Buffer, offset int64) Op {
	return Op{kind: KindPread, file: f, buf: b, offset: offset}
}

// Pwrite writes the bytes of b at the offset, in bytes from the start of the
// file; on a file that is open with O_APPEND, at its end, whatever the offset. It may
// write fewer, without an error: see [Op.WithResume]. Stands for io_prep_pwrite.
func Pwrite(f *File, b *Buffer, offset int64) Op {
	return Op{kind: KindPwrite, file: f, buf: b, offset: offset}
}

// Preadv reads at the offset into several Buffers, 1 to 1024 of them, each of
// which is filled before the next. Leave the slice alone until the completion: Submit
// copies it, so a later change cannot misdirect the I/O, but Completion.Buffers is this
// slice. A change while Submit or Do runs is a data race. Stands for io_prep_preadv and, with flags, io_prep_preadv2.
func Preadv(f *File, bufs []*Buffer, offset int64) Op {
	return Op{kind: KindPreadv, file: f, bufs: bufs, offset: offset}
}

// Pwritev writes several Buffers, 1 to 1024 of them, one after the other, at
// the offset. It may write fewer bytes, without an error: see [Op.WithResume]. For the
// slice see [Preadv]. Stands for io_prep_pwritev and, with flags, io_prep_pwritev2.
func Pwritev(f *File, bufs []*Buffer, offset int64) Op {
	return Op{kind: KindPwritev, file: f, bufs: bufs, offset: offset}
}

// Fsync brings all writes of f that completed before it to stable storage,
// with all metadata. It orders nothing: wait for the writes first. After an error do
// not sync again and go on: see [File.Sync]. Stands for io_prep_fsync; Linux 4.18 or
// later, EINVAL before.
func Fsync(f *File) Op { return Op{kind: KindFsync, file: f} }

// Fdsync is Fsync without the metadata that reading does not need, with the same
// rule for errors. Stands for io_prep_fdsync.
func Fdsync(f *File) Op { return Op{kind: KindFdsync, file: f} }

// Poll waits until any of the events, or POLLERR or POLLHUP, is true of the
// descriptor of f, typically a pipe, a socket or an eventfd given by BorrowFD.
// The result is the set of events that came. It completes once: submit it
// again to wait again. A poll that is cancelled ends with ECANCELED. Stands for
// io_prep_poll; Linux 4.19 or later, EINVAL before.
func Poll(f *File, events PollEvents) Op { return Op{kind: KindPoll, file: f, events: events} }

// Noop does nothing and completes. The kernel has no such operation (it answers
// EINVAL to IO_CMD_NOOP), so it never goes there; otherwise it takes the way of
// all others, and tells when that is through.
func Noop() Op { return Op{kind: KindNoop} }

// WithTag returns the operation with a tag that its Completion carries.
func (o Op) WithTag(tag uint64) Op {
	o.tag = tag
	return o
}

// WithLength returns the read or write of one Buffer for the first n bytes of it
// alone, 1 to its Len, for which no view (Buffer.Slice) has to be made. Direct I/O wants n aligned as it
// does the offset.
func (o Op) WithLength(n int) Op {
	o.size, o.partial = n, true
	return o
}

// WithFlags returns the read or write with these flags in addition to those it
// has. They go to the kernel as they are.
func (o Op) WithFlags(flags RWFlags) Op {
	o.flags |= flags
	return o
}

// WithDurability returns the write with this durability.
func (o Op) WithDurability(d Durability) Op {
	o.durability = d
	return o
}

// WithPriority returns the read or write with this I/O priority; EPERM for
// PriorityRealTime without the privilege, EINVAL for what is no priority.
func (o Op) WithPriority(p Priority) Op {
	o.priority = p
	return o
}

// WithResume returns the read or write with the remainder resumed after a short
// transfer, until all is moved, nothing more comes (the end of the file) or an
// error: the completion then has the sum of all pieces, and beside an error
// what was moved before it. The pieces are operations of their own: with
// RWFAtomic the whole is not atomic, with RWFAppend it may lie in pieces.
//
// What cannot be resumed with direct I/O, because a piece ended between
// multiples of the alignment, stays short: that is the end of the file.
func (o Op) WithResume() Op {
	o.resume = true
	return o
}

// under tells which lock the caller of Do has for a write. One that is abandoned keeps it
// until the kernel is done.
func (o Op) under(l *blockLock) Op {
	o.locked = l
	return o
}

// Kind is what the operation does.
func (o Op) Kind() Kind { return o.kind }

// Tag is the tag of the operation.
func (o Op) Tag() uint64 { return o.tag }

// length is the number of bytes to move. The parts of a vector can be the same
// memory, so it can be more than an int holds where that has 32 bits.
func (o *Op) length() int64 {
	n := int64(0)
	if o.buf != nil {
		n = int64(o.bytes())
	}
	for _, b := range o.bufs {
		if b != nil {
			n += int64(b.size)
		}
	}
	return n
}

// bytes is how many bytes of its one Buffer are to be moved.
func (o *Op) bytes() int {
	if o.partial {
		return o.size
	}
	return o.buf.size
}

// String says what the operation is, as errors do: "pread /data/x (4096 bytes
// at offset 8192)".
func (o Op) String() string { return o.failure(nil, "").operation() }

// failure is the error of this operation with this cause.
func (o *Op) failure(cause error, detail string) *Error {
	e := &Error{Op: o.kind.String(), Err: cause, Detail: detail}
	if o.file != nil {
		e.File = o.file.name
	}
	if n := o.length(); n != 0 {
		e.Length = int(min(n, math.MaxInt))
		e.Offset = o.offset
	}
	return e
}

// result turns the kernel's res into what the caller sees; done bytes were
// moved before.
func (o *Op) result(done int, res int64) (int, error) {
	switch {
	case res < 0:
		return done, o.refused(syscall.Errno(-res))
	case o.kind == KindPoll:
		// Where it had to wait the kernel tells all that is true, such as
		// POLLRDNORM beside POLLIN; poll(2) tells what was asked.
		return int(res) & int(o.events|pollErr|pollHup), nil
	}
	return done + int(res), nil
}

// refused is the error of this operation with what the kernel says.
func (o *Op) refused(errno syscall.Errno) *Error {
	detail := ""
	switch {
	case errno == syscall.EBADF && o.reads():
		detail = o.file.onlyFor(false)
	case errno == syscall.EBADF && o.writes():
		detail = o.file.onlyFor(true)
	case errno == syscall.EOPNOTSUPP && o.flags != 0:
		detail = fmt.Sprintf("flags %v: this kernel or this file does not take them; those that Probe finds it does", o.flags)
	case errno == syscall.EINVAL && !o.priority.hasClass():
		detail = fmt.Sprintf("priority %#x has no class: begin with PriorityRealTime, PriorityBestEffort or PriorityIdle", uint16(o.priority))
	}
	return o.failure(errno, detail)
}

func (o *Op) reads() bool  { return o.kind == KindPread || o.kind == KindPreadv }
func (o *Op) writes() bool { return o.kind == KindPwrite || o.kind == KindPwritev }

// resumable says whether the remainder behind done bytes is to be asked for.
func (o *Op) resumable(done int) bool {
	return o.resume && int64(done) < o.length() && (o.offset+int64(done))%int64(o.file.unit()) == 0
}

// pin takes the file and the memory for the kernel, or says why it cannot.
// The file is released after io_submit, when the kernel holds its own
// reference, and the memory after the completion.
func (o *Op) pin() *Error {
	if err := o.check(); err != nil {
		return err
	}
	if o.file != nil && !o.acquireFile() {
		return o.failure(ErrClosed, "the file is closed")
	}
	if !o.pinMemory() {
		o.releaseFile()
		return o.failure(ErrFreed, "")
	}
	return nil
}

func (o *Op) pinMemory() bool {
	if o.buf != nil {
		return o.buf.pin()
	}
	for i, b := range o.bufs {
		if !b.pin() {
			for _, b := range o.bufs[:i] {
				b.drop()
			}
			return false
		}
	}
	return true
}

func (o *Op) unpinMemory() {
	if o.buf != nil {
		o.buf.drop()
	}
	for _, b := range o.bufs {
		b.drop()
	}
}

// acquireFile is File.acquire, but that what a call on a File has begun goes on
// when the File is closed meanwhile.
func (o *Op) acquireFile() bool {
	if o.held {
		o.file.state.Add(1)
		return true
	}
	return o.file.acquire()
}

func (o *Op) releaseFile() {
	if o.file != nil {
		o.file.release()
	}
}

// unpin takes back a pin whose operation never reached the kernel.
func (o *Op) unpin() {
	o.releaseFile()
	o.unpinMemory()
}

// request writes what is left of the operation behind done bytes as the C side
// wants it. iov is where the iovecs of a vector are written, in C memory.
func (o *Op) request(slot uint32, done int, iov []iovec) request {
	r := request{
		opcode:  kinds[o.kind].opcode,
		fd:      int32(o.file.fd),
		rwFlags: int32(o.flags | o.durability.flag()),
		slot:    slot,
		events:  uint32(o.events),
		offset:  o.offset + int64(done),
		reqprio: int16(o.priority),
	}
	if o.priority != 0 {
		r.hasPrio = 1
	}
	if o.signals() {
		r.signals = 1
	}
	switch {
	case o.buf != nil:
		r.buf, r.nbytes = uint64(o.buf.address())+uint64(done), uint64(o.bytes()-done)
	case o.bufs != nil:
		n := fillVector(iov, o.bufs, done)
		r.buf, r.nbytes = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(iov)))), uint64(n)
	}
	return r
}

func (d Durability) flag() RWFlags {
	switch d {
	case DurabilityData:
		return RWFDsync
	case DurabilityFull:
		return RWFSync
	}
	return 0
}
