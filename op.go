package libaio

import (
	"fmt"
	"math"
	"strings"
	"syscall"
)

// MaxTransfer is the most that one operation moves, in bytes: the kernel's
// MAX_RW_COUNT for 4 KiB pages. A longer Buffer gives a short transfer.
const MaxTransfer = 2147479552

// Kind is what an Op does.
type Kind uint8

// The kinds of operation. The zero Kind is no operation.
const (
	KindPread  Kind = iota + 1 // read at an offset
	KindPwrite                 // write at an offset
	KindFsync                  // fsync(2): data and metadata
	KindFdsync                 // fdatasync(2): data, and the metadata needed to read it
	KindPoll                   // wait for readiness, as poll(2)
)

var kinds = [...]struct {
	name   string
	opcode uint16
	data   bool // has a Buffer and an offset
}{
	0:          {name: "zero Op"},
	KindPread:  {"pread", opPread, true},
	KindPwrite: {"pwrite", opPwrite, true},
	KindFsync:  {"fsync", opFsync, false},
	KindFdsync: {"fdsync", opFdsync, false},
	KindPoll:   {"poll", opPoll, false},
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

// Op is one operation, a plain value: make it with [Pread], [Pwrite], [Fsync],
// [Fdsync] or [Poll], adorn it with the With methods, give it to a [Queue]. An Op may
// be submitted any number of times.
type Op struct {
	file       *File
	buf        *Buffer
	offset     int64
	tag        uint64
	flags      RWFlags
	events     PollEvents
	kind       Kind
	durability Durability
}

// Pread reads len(b.Bytes()) bytes at the offset, in bytes from the start of
// the file, into b. At the end of the file it reads fewer, or 0, without an
// error. Stands for io_prep_pread.
func Pread(f *File, b *Buffer, offset int64) Op {
	return Op{kind: KindPread, file: f, buf: b, offset: offset}
}

// Pwrite writes the bytes of b at the offset, in bytes from the start of the
// file. Stands for io_prep_pwrite.
func Pwrite(f *File, b *Buffer, offset int64) Op {
	return Op{kind: KindPwrite, file: f, buf: b, offset: offset}
}

// Fsync brings all writes of f that completed before it to stable storage,
// with all metadata. It orders nothing: wait for the writes first. Stands for
// io_prep_fsync; Linux 4.18 or later, EINVAL before.
func Fsync(f *File) Op { return Op{kind: KindFsync, file: f} }

// Fdsync is Fsync without the metadata that reading does not need. Stands for
// io_prep_fdsync.
func Fdsync(f *File) Op { return Op{kind: KindFdsync, file: f} }

// Poll waits until any of the events, or POLLERR or POLLHUP, is true of the
// descriptor of f, typically a pipe, a socket or an eventfd given by BorrowFD.
// The result is the set of events that came. It completes once: submit it
// again to wait again. A poll that is cancelled ends with ECANCELED. Stands for
// io_prep_poll; Linux 4.19 or later, EINVAL before.
func Poll(f *File, events PollEvents) Op { return Op{kind: KindPoll, file: f, events: events} }

// WithTag returns the operation with a tag that its Completion carries.
func (o Op) WithTag(tag uint64) Op {
	o.tag = tag
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

// Kind is what the operation does.
func (o *Op) Kind() Kind { return o.kind }

// Tag is the tag of the operation.
func (o *Op) Tag() uint64 { return o.tag }

// check finds what is wrong with the operation as far as that can be known
// without the kernel.
func (o *Op) check() *Error {
	switch {
	case o.kind == 0 || int(o.kind) >= len(kinds):
		return invalidf("submit", "%v is no operation: make one with Pread, Pwrite, Fsync, Fdsync or Poll", o.kind)
	case o.file == nil:
		return o.invalid("the File is nil: open one with OpenFile")
	}
	if !kinds[o.kind].data {
		return o.checkOther()
	}
	return o.checkData()
}

func (o *Op) checkOther() *Error {
	if o.flags != 0 || o.durability != DurabilityNone {
		return o.invalid("flags %#x and durability %d: only reads and writes take them", int32(o.flags), o.durability)
	}
	if o.kind == KindPoll && (o.events == 0 || o.events > math.MaxUint16) {
		return o.invalid("events %#x: must be a set of unix.POLL* bits, not empty, within 16 bits", uint32(o.events))
	}
	return nil
}

func (o *Op) checkData() *Error {
	switch {
	case o.buf == nil:
		return o.invalid("the Buffer is nil: allocate one with Alloc or a Pool")
	case o.offset < 0:
		return o.invalid("offset %d is negative", o.offset)
	case o.offset > math.MaxInt64-int64(o.buf.Len()):
		return o.invalid("offset %d plus length %d is past the largest file offset", o.offset, o.buf.Len())
	case o.durability > DurabilityFull:
		return o.invalid("durability %d is not one of DurabilityNone, DurabilityData, DurabilityFull", o.durability)
	case o.durability != DurabilityNone && o.kind != KindPwrite:
		return o.invalid("durability %d: only a write has one", o.durability)
	}
	return o.checkAlignment()
}

// checkAlignment applies the alignment rule where the file told it.
func (o *Op) checkAlignment() *Error {
	a := o.file.align
	switch {
	case !a.Known():
		return nil
	case o.buf.address()%uintptr(a.Memory) != 0:
		return o.misaligned("memory address", fmt.Sprintf("%#x", o.buf.address()), a.Memory)
	case o.offset%int64(a.Offset) != 0:
		return o.misaligned("offset", o.offset, a.Offset)
	case o.buf.Len()%a.Offset != 0:
		return o.misaligned("length", o.buf.Len(), a.Offset)
	}
	return nil
}

func (o *Op) invalid(format string, args ...any) *Error {
	return o.failure(ErrInvalid, fmt.Sprintf(format, args...))
}

func (o *Op) misaligned(what string, value any, want int) *Error {
	return o.failure(ErrMisaligned, fmt.Sprintf("%s %v is not a multiple of %d, which direct I/O on this file demands", what, value, want))
}

// failure is the error of this operation with this cause.
func (o *Op) failure(cause error, detail string) *Error {
	e := &Error{Op: o.kind.String(), Err: cause, Detail: detail}
	if o.file != nil {
		e.File = o.file.name
	}
	if o.buf != nil {
		e.Offset, e.Length = o.offset, o.buf.Len()
	}
	return e
}

// result turns the kernel's res into what the caller sees.
func (o *Op) result(res int64) (int, error) {
	switch {
	case res < 0:
		return 0, o.failure(syscall.Errno(-res), "")
	case res == 0 && o.kind == KindPoll: // the kernel's result of a cancelled poll
		return 0, o.failure(syscall.ECANCELED, "")
	}
	return int(res), nil
}

// pin takes the file and the buffer for the kernel, or says why it cannot.
// Every pin has its unpinFile (after io_submit, when the kernel holds its own
// reference) and its unpinBuffer (after the completion).
func (o *Op) pin() *Error {
	if err := o.check(); err != nil {
		return err
	}
	if !o.file.acquire() {
		return o.failure(ErrClosed, "the file is closed")
	}
	if o.buf != nil && !o.buf.pin() {
		o.file.release()
		return o.failure(ErrFreed, "")
	}
	return nil
}

func (o *Op) unpinBuffer() {
	if o.buf != nil {
		o.buf.unpin()
	}
}

// unpin takes back a pin whose operation never reached the kernel.
func (o *Op) unpin() {
	o.file.release()
	o.unpinBuffer()
}

// pinAll pins all operations or none.
func pinAll(ops []Op) error {
	for i := range ops {
		if err := ops[i].pin(); err != nil {
			unpinAll(ops[:i])
			return inBatch(err, i, len(ops))
		}
	}
	return nil
}

// inBatch adds to an error which operation of several it is about.
func inBatch(err *Error, i, n int) error {
	if n > 1 {
		err.Detail = strings.TrimSpace(fmt.Sprintf("%s (number %d of %d, counted from 0; none was submitted)", err.Detail, i, n))
	}
	return err
}

func unpinAll(ops []Op) {
	for i := range ops {
		ops[i].unpin()
	}
}

// request writes the operation as the C side wants it.
func (o *Op) request(slot uint32) request {
	r := request{
		fd:      int32(o.file.fd),
		opcode:  kinds[o.kind].opcode,
		rwFlags: int32(o.flags),
		slot:    slot,
		events:  uint32(o.events),
	}
	if o.buf != nil {
		r.buf, r.nbytes, r.offset = uint64(o.buf.address()), uint64(o.buf.Len()), o.offset
	}
	switch o.durability {
	case DurabilityData:
		r.rwFlags |= int32(RWFDsync)
	case DurabilityFull:
		r.rwFlags |= int32(RWFSync)
	}
	return r
}
