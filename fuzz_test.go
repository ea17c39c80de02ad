//go:build linux

package libaio

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"math/bits"
	"os"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// part is one Buffer of a fuzzed vector.
type part struct {
	shift uint16 // its address, from a page on
	size  uint64
}

// partsOf reads a shape: eleven bytes for each part, the first of which is 0
// for a Buffer that is nil. Sizes are those that an address space has.
func partsOf(shape []byte) (parts []*part) {
	for ; len(shape) >= 11; shape = shape[11:] {
		if shape[0] == 0 {
			parts = append(parts, nil)
			continue
		}
		size := binary.LittleEndian.Uint64(shape[3:]) % min(1<<47, math.MaxInt)
		parts = append(parts, &part{shift: binary.LittleEndian.Uint16(shape[1:]), size: max(size, 1)})
	}
	return parts
}

// shapeOf is the opposite of partsOf.
func shapeOf(parts ...*part) (shape []byte) {
	for _, p := range parts {
		var b [11]byte
		if p != nil {
			b[0] = 1
			binary.LittleEndian.PutUint16(b[1:], p.shift)
			binary.LittleEndian.PutUint64(b[3:], p.size)
		}
		shape = append(shape, b[:]...)
	}
	return shape
}

// fuzzedOp is an Op that the constructors and the With methods can make, and
// what is known of it besides.
type fuzzedOp struct {
	Op
	parts []*part
}

// makeOp makes an Op over Buffers that are never used: only their addresses
// and sizes count. The shape is repeated, within limits, so that a short one
// makes a long vector.
func makeOp(kind Kind, f *File, page unsafe.Pointer, shape []byte, times int) fuzzedOp {
	o := fuzzedOp{Op: Op{kind: kind, file: f}, parts: partsOf(shape)}
	if all := len(o.parts) * times; all > 0 && all <= 2*maxVector {
		o.parts = slices.Repeat(o.parts, times)
	}
	var bufs []*Buffer
	for _, p := range o.parts {
		if p == nil {
			bufs = append(bufs, nil)
			continue
		}
		b := &Buffer{mem: unsafe.Add(page, int(p.shift)), size: int(p.size)}
		b.root = b
		bufs = append(bufs, b)
	}
	switch kind {
	case KindPread, KindPwrite:
		if len(bufs) > 0 {
			o.buf, o.parts = bufs[0], o.parts[:1]
		}
	case KindPreadv, KindPwritev:
		o.bufs = bufs
	default:
		o.parts = nil
	}
	return o
}

// verdict is the rules for operations, said in another way: what an Op must be
// refused with, or nil.
func (o *fuzzedOp) verdict() error {
	moves := o.kind >= KindPread && o.kind <= KindPwritev
	writes := o.kind == KindPwrite || o.kind == KindPwritev
	adorned := o.flags != 0 || o.priority != 0 || o.durability != 0 || o.resume
	length := new(big.Int)
	whole := len(o.parts) >= 1 && len(o.parts) <= 1024
	for _, p := range o.parts {
		if whole = whole && p != nil; whole {
			length.Add(length, new(big.Int).SetUint64(p.size))
		}
	}
	fits := length.Cmp(big.NewInt(math.MaxInt)) <= 0 && length.Add(length, big.NewInt(o.offset)).IsInt64()
	sound := o.kind >= KindPread && o.kind <= KindNoop &&
		(o.file != nil || o.kind == KindNoop) &&
		(moves || !adorned) &&
		(o.kind != KindPoll || o.events >= 1 && o.events <= 0xffff) &&
		(!moves || whole && o.offset >= 0 && fits) &&
		o.durability <= DurabilityFull && (o.durability == 0 || writes)
	switch {
	case !sound:
		return ErrInvalid
	case !moves || o.file.align.Memory <= 0 || o.file.align.Offset <= 0:
		return nil
	}
	// The alignments are powers of two, so one look at the lowest bits of all
	// is enough.
	offsets, addresses := uint64(o.offset), uint64(0)
	for _, p := range o.parts {
		offsets |= p.size
		addresses |= uint64(p.shift)
	}
	if offsets&uint64(o.file.align.Offset-1) != 0 || addresses&uint64(o.file.align.Memory-1) != 0 {
		return ErrMisaligned
	}
	return nil
}

// FuzzCheck holds the check of operations against its rules: it refuses what
// breaks one, with an error that names the operation, and nothing else.
func FuzzCheck(f *testing.F) {
	one := shapeOf(&part{0, block})
	two := shapeOf(&part{512, 512}, &part{0, block})
	for kind := range uint8(KindNoop) + 2 {
		f.Add(kind, int64(0), uint8(9), uint8(12), int32(0), uint8(0), int16(0), uint32(1), false, true, one, uint16(1))
		f.Add(kind, int64(block), uint8(9), uint8(9), int32(RWFDsync), uint8(2), int16(PriorityIdle), uint32(0), true, true, two, uint16(1))
		f.Add(kind, int64(0), uint8(255), uint8(255), int32(0), uint8(0), int16(0), uint32(1<<16), false, false, []byte{}, uint16(0))
	}
	for _, offset := range []int64{-1, math.MinInt64, math.MaxInt64, math.MaxInt64 - block, math.MaxInt64 - block + 1, 511, 512} {
		f.Add(uint8(KindPwrite), offset, uint8(9), uint8(9), int32(0), uint8(1), int16(0), uint32(0), true, true, one, uint16(1))
		f.Add(uint8(KindPreadv), offset, uint8(255), uint8(9), int32(-1), uint8(0), int16(-1), uint32(0), true, true, two, uint16(1))
	}
	f.Add(uint8(KindPreadv), int64(0), uint8(9), uint8(9), int32(0), uint8(0), int16(0), uint32(0), false, true, shapeOf(&part{0, 512}, nil), uint16(1))
	f.Add(uint8(KindPreadv), int64(0), uint8(9), uint8(9), int32(0), uint8(0), int16(0), uint32(0), false, true, shapeOf(&part{0, 512}, &part{1, 512}), uint16(1))
	f.Add(uint8(KindPwritev), int64(0), uint8(9), uint8(9), int32(0), uint8(0), int16(0), uint32(0), false, true, shapeOf(&part{0, 512}, &part{0, 100}), uint16(1))
	f.Add(uint8(KindPwritev), int64(0), uint8(0), uint8(0), int32(0), uint8(3), int16(0), uint32(0), false, true, one, uint16(1))
	for _, n := range []uint16{1023, 1024, 1025} {
		f.Add(uint8(KindPreadv), int64(0), uint8(9), uint8(9), int32(0), uint8(0), int16(0), uint32(0), false, true, shapeOf(&part{0, 1<<47 - 512}), n)
	}

	page := fuzzPage(f)
	f.Fuzz(func(t *testing.T, kind uint8, offset int64, memory, unit uint8, flags int32, durability uint8,
		priority int16, events uint32, resume, hasFile bool, shape []byte, times uint16,
	) {
		var file *File
		if hasFile {
			file = &File{made: true, name: "fuzzed"}
			if memory < 17 { // page is aligned to no more
				file.align.Memory = 1 << memory
			}
			if unit < 31 {
				file.align.Offset = 1 << unit
			}
		}
		o := makeOp(Kind(kind), file, page, shape, int(times))
		o.offset, o.flags, o.events = offset, RWFlags(flags), PollEvents(events)
		o.durability, o.priority, o.resume = Durability(durability), Priority(priority), resume

		want := o.verdict()
		err := o.check()
		if want == nil {
			require.Nil(t, err)
			requireRequest(t, &o)
			return
		}
		require.NotNil(t, err)
		require.Equal(t, want, err.Err)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.Equal(t, want == ErrInvalid, errors.Is(err, os.ErrInvalid))
		require.NotEmpty(t, err.Detail)
		require.NotEmpty(t, err.Error())
		if o.kind < KindPread || o.kind > KindNoop {
			require.Equal(t, "submit", err.Op)
			return
		}
		require.Equal(t, o.kind.String(), err.Op)
		require.Contains(t, err.Error(), "libaio: "+o.kind.String())
		if file != nil {
			require.Equal(t, "fuzzed", err.File)
		}
	})
}

// fuzzPage is memory to have addresses of: 128 KiB, aligned to half of that.
func fuzzPage(f *testing.F) unsafe.Pointer {
	b, err := Alloc(1<<17, 1<<16)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, b.Free()) })
	return b.mem
}

// requireRequest checks what an accepted operation asks of the kernel.
func requireRequest(t *testing.T, o *fuzzedOp) {
	if o.kind == KindNoop {
		return // never goes there
	}
	iov := make([]iovec, len(o.bufs))
	r := o.request(7, 0, iov)
	require.EqualValues(t, 7, r.slot)
	require.Equal(t, o.offset, r.offset)
	require.Equal(t, o.priority != 0, r.hasPrio == 1)
	durable := map[Durability]RWFlags{0: 0, DurabilityData: RWFDsync, DurabilityFull: RWFSync}[o.durability]
	require.Equal(t, o.flags|durable, RWFlags(r.rwFlags))
	switch {
	case o.buf != nil:
		require.Equal(t, o.parts[0].size, r.nbytes)
		require.EqualValues(t, uintptr(o.buf.mem), r.buf)
	default:
		require.EqualValues(t, len(o.bufs), r.nbytes)
	}
}

// FuzzFillVector: the iovecs cover the bytes behind the first done ones, each
// once and in order, and nothing else.
func FuzzFillVector(f *testing.F) {
	f.Add([]byte{1}, uint16(0))
	f.Add([]byte{1}, uint16(1))
	f.Add([]byte{4, 4, 4}, uint16(4))
	f.Add([]byte{4, 4, 4}, uint16(5))
	f.Add([]byte{4, 4, 4}, uint16(11))
	f.Add([]byte{4, 4, 4}, uint16(12))
	f.Add([]byte{200, 1, 1, 255, 0}, uint16(201))
	f.Add([]byte{}, uint16(0))

	page := fuzzPage(f)
	f.Fuzz(func(t *testing.T, sizes []byte, done uint16) {
		sizes = sizes[:min(len(sizes), maxVector)]
		var bufs []*Buffer
		var want []uintptr // the address of each byte
		for i, size := range sizes {
			// Every second Buffer lies before the one before it.
			b := &Buffer{mem: unsafe.Add(page, (i^1)*256%(1<<16)), size: max(int(size), 1)}
			bufs = append(bufs, b)
			for j := range b.size {
				want = append(want, b.address()+uintptr(j))
			}
		}
		moved := min(int(done), len(want))
		iov := make([]iovec, len(bufs)+1)
		untouched := iovec{1, 2}
		for i := range iov {
			iov[i] = untouched
		}
		n := fillVector(iov, bufs, moved)
		var got []uintptr
		for _, v := range iov[:n] {
			require.Positive(t, v.len)
			for j := range v.len {
				got = append(got, v.base+j)
			}
		}
		require.True(t, slices.Equal(want[moved:], got), "bytes %d to %d of %v: %v", moved, len(want), sizes, iov[:n])
		for _, v := range iov[n:] {
			require.Equal(t, untouched, v)
		}
	})
}

// FuzzBuffer: whatever is asked of Alloc and Slice, they give aligned memory
// within bounds, or say what is wrong.
func FuzzBuffer(f *testing.F) {
	for _, n := range []int{math.MinInt, -1, 0, 1, 511, 512, block, 1 << 20, math.MaxInt} {
		f.Add(n, block, 0, 1)
		f.Add(block, n, 0, block)
		f.Add(block, block, n, 1)
		f.Add(block, block, 1, n)
		f.Add(block, block, n, n)
	}
	f.Add(100, 8, 99, 1)
	f.Add(100, 8, 99, 2)
	f.Add(3*block, 24, 0, 1)
	f.Fuzz(func(t *testing.T, size, align, off, n int) {
		const mostSize, mostAlign = 1 << 20, 1 << 22
		if size > mostSize {
			size %= mostSize
		}
		if align > mostAlign && bits.OnesCount(uint(align)) == 1 {
			align = mostAlign
		}
		b, err := Alloc(size, align)
		if size <= 0 || align < 0 || align&(align-1) != 0 {
			require.ErrorIs(t, err, ErrInvalid)
			require.Nil(t, b)
			return
		}
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Free()) }()
		p := b.Bytes()
		require.Len(t, p, size)
		require.Equal(t, size, cap(p))
		require.Zero(t, b.address()%uintptr(max(align, leastAlign)))
		p[0], p[size-1] = 1, 2

		v, err := b.Slice(off, n)
		end := new(big.Int).Add(big.NewInt(int64(off)), big.NewInt(int64(n)))
		if off < 0 || n <= 0 || end.Cmp(big.NewInt(int64(size))) > 0 {
			require.ErrorIs(t, err, ErrInvalid)
			require.Nil(t, v)
			return
		}
		require.NoError(t, err)
		require.Len(t, v.Bytes(), n)
		require.Equal(t, n, cap(v.Bytes()))
		require.True(t, &v.Bytes()[0] == &p[off])
		require.ErrorIs(t, v.Free(), ErrInvalid)
	})
}

// FuzzResult: what the kernel answers becomes a number of bytes and an error
// that has the errno and names the operation.
func FuzzResult(f *testing.F) {
	for _, res := range []int64{
		0, 1, -1, MaxTransfer, -int64(syscall.EINVAL), -int64(syscall.EBADF), -int64(syscall.ECANCELED), -4095, -4096,
		math.MinInt64, math.MinInt32, math.MaxInt64, math.MaxInt32,
	} {
		f.Add(uint8(KindPread), uint32(0), res)
		f.Add(uint8(KindFsync), uint32(block), res)
		f.Add(uint8(200), uint32(block), res)
	}
	file := &File{made: true, name: "fuzzed"}
	f.Fuzz(func(t *testing.T, kind uint8, done uint32, res int64) {
		if res > math.MaxInt-int64(done) {
			return // more than there is memory
		}
		o := Op{kind: Kind(kind), file: file, buf: &Buffer{size: block}, offset: 512}
		n, err := o.result(int(done), res)
		if res >= 0 {
			require.NoError(t, err)
			require.EqualValues(t, int64(done)+res, n)
			return
		}
		require.EqualValues(t, done, n, "what earlier pieces moved")
		var e *Error
		require.ErrorAs(t, err, &e)
		require.ErrorIs(t, err, syscall.Errno(-res))
		require.Equal(t, Kind(kind).String(), e.Op)
		require.Equal(t, "fuzzed", e.File)
		require.Equal(t, block, e.Length)
		require.EqualValues(t, 512, e.Offset)
		require.NotEmpty(t, err.Error())
	})
}
