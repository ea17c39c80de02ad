package libaio

import (
	"fmt"
	"math"
	"strings"
)

// This file is what can be known to be wrong with an operation before the kernel
// sees it.

// check finds what is wrong with the operation as far as that can be known
// without the kernel.
func (o *Op) check() *Error {
	switch {
	case o.kind == 0 || int(o.kind) >= len(kinds):
		return invalidf("submit", "%v is no operation: make one with Pread, Pwrite, Preadv, Pwritev, Fsync, Fdsync, Poll or Noop", o.kind)
	case o.file == nil && o.kind != KindNoop:
		return o.invalid("the File is nil: open one with OpenFile")
	case o.file != nil && !o.file.made:
		return o.invalid("the File was not made by OpenFile, NewFile or BorrowFD")
	case !kinds[o.kind].data:
		return o.checkOther()
	case kinds[o.kind].vector:
		if err := o.checkVector(); err != nil {
			return err
		}
	case o.buf == nil:
		return o.invalid("the Buffer is nil: allocate one with Alloc or a Pool")
	case o.buf.root == nil:
		return o.invalid("the Buffer was not made by Alloc or a Pool")
	case o.partial && (o.size < 1 || o.size > o.buf.size):
		return o.invalid("length %d: must be 1 to %d, that of the Buffer", o.size, o.buf.size)
	}
	return o.checkData()
}

func (o *Op) checkOther() *Error {
	switch {
	case o.durability != DurabilityNone:
		return o.notDurable()
	case o.flags != 0 || o.priority != 0 || o.resume || o.partial:
		return o.invalid("%s: only a read or a write has that", o.adornments())
	case o.kind == KindPoll && (o.events == 0 || o.events > math.MaxUint16):
		return o.invalid("events %#x: must be a set of unix.POLL* bits, not empty, within 16 bits", uint32(o.events))
	}
	return nil
}

// notDurable refuses the durability of what is no write.
func (o *Op) notDurable() *Error { return o.invalid("%v: only a write has a durability", o.durability) }

// adornments names what only reads and writes have, but for the durability.
func (o *Op) adornments() string {
	var set []string
	if o.flags != 0 {
		set = append(set, fmt.Sprintf("flags %v", o.flags))
	}
	if o.priority != 0 {
		set = append(set, fmt.Sprintf("priority %#x", int16(o.priority)))
	}
	if o.resume {
		set = append(set, "resumption")
	}
	if o.partial {
		set = append(set, fmt.Sprintf("length %d", o.size))
	}
	return strings.Join(set, ", ")
}

func (o *Op) checkVector() *Error {
	if o.partial {
		return o.invalid("length %d: a vector moves all of its Buffers", o.size)
	}
	if len(o.bufs) < 1 || len(o.bufs) > maxVector {
		return o.invalid("%d Buffers: must be 1 to %d", len(o.bufs), maxVector)
	}
	for i, b := range o.bufs {
		if b == nil || b.root == nil {
			return o.invalid("Buffer %d of %d is nil, or was not made by Alloc or a Pool", i, len(o.bufs))
		}
	}
	return nil
}

func (o *Op) checkData() *Error {
	n := o.length()
	switch {
	case o.offset < 0:
		return o.invalid("offset %d is negative", o.offset)
	case int64(int(n)) != n:
		return o.invalid("%d bytes are more than an int holds", n)
	case o.offset > math.MaxInt64-n:
		return o.invalid("offset %d plus length %d is past the largest file offset", o.offset, n)
	case o.durability > DurabilityFull:
		return o.invalid("%v is not one of DurabilityNone, DurabilityData, DurabilityFull", o.durability)
	case o.durability != DurabilityNone && !kinds[o.kind].write:
		return o.notDurable()
	case !o.file.align.Known():
		return nil
	}
	return o.checkAlignment()
}

// checkAlignment applies the alignment rule where the file told it. Each part
// of a vector must keep it.
func (o *Op) checkAlignment() *Error {
	if a := int64(o.file.align.Offset); o.offset%a != 0 {
		return o.misaligned("offset", o.offset, int(a))
	}
	if o.buf != nil {
		return o.checkMemory(o.buf, o.bytes())
	}
	for _, b := range o.bufs {
		if err := o.checkMemory(b, b.size); err != nil {
			return err
		}
	}
	return nil
}

func (o *Op) checkMemory(b *Buffer, size int) *Error {
	a := o.file.align
	switch {
	case b.address()%uintptr(a.Memory) != 0:
		return o.misaligned("memory address", fmt.Sprintf("%#x", b.address()), a.Memory)
	case size%a.Offset != 0:
		return o.misaligned("length", size, a.Offset)
	}
	return nil
}

func (o *Op) invalid(format string, args ...any) *Error {
	return o.failure(ErrInvalid, fmt.Sprintf(format, args...))
}

func (o *Op) misaligned(what string, value any, want int) *Error {
	return o.failure(ErrMisaligned, fmt.Sprintf("%s %v is not a multiple of %d, which direct I/O on this file demands", what, value, want))
}
