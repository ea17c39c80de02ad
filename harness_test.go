//go:build linux

package libaio

import (
	"fmt"
	"math"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The tests named TestHarness show what libaio's own test programs, the cases
// of its folder "harness", show of the C library: that it holds here too. Each
// test names its case. Where the case is about a function of libaio it uses
// Context and IOCB, and Queue besides where Queue has to keep the same promise.

// buffered is the file once more, without direct I/O: such operations complete
// within io_submit, in order, and take any offset, length and address.
func buffered(t testing.TB, f *File) *File {
	t.Helper()
	return borrow(t, f.Name(), unix.O_RDWR)
}

// borrow opens a file as it is told, for the length of the test.
func borrow(t testing.TB, name string, flags int) *File {
	t.Helper()
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return BorrowFD(fd, name)
}

// mapped is a Buffer over an mmap for the length of the test; fd -1 maps
// nothing but memory.
func mapped(t testing.TB, fd, size, prot, flags int) *Buffer {
	t.Helper()
	if fd < 0 {
		flags |= unix.MAP_ANON
	}
	mem, err := unix.Mmap(fd, 0, size, prot, flags)
	require.NoError(t, err)
	b, err := WrapMemory(mem)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, b.Free())
		require.NoError(t, unix.Munmap(mem))
	})
	return b
}

// view is Slice of what is known to be there.
func view(t testing.TB, b *Buffer, off, n int) *Buffer {
	t.Helper()
	v, err := b.Slice(off, n)
	require.NoError(t, err)
	return v
}

func newIOCBs(t testing.TB, n int) []*IOCB {
	t.Helper()
	cbs := make([]*IOCB, n)
	for i := range cbs {
		cbs[i] = newIOCB(t)
	}
	return cbs
}

// submitAll submits all, and again what the kernel did not take the first time.
func submitAll(t testing.TB, c *Context, cbs ...*IOCB) {
	t.Helper()
	for len(cbs) > 0 {
		n, err := c.Submit(cbs...)
		require.NoError(t, err)
		cbs = cbs[n:]
	}
}

// reap waits for n events.
func reap(t testing.TB, c *Context, n int) []Event {
	t.Helper()
	evs := make([]Event, n)
	got, err := c.GetEvents(n, evs, time.Minute)
	require.NoError(t, err)
	require.Equal(t, n, got)
	return evs
}

// outcome runs one IOCB and says it as pread(2) and its like do, whether the
// kernel fails it in io_submit or in the event.
func outcome(t testing.TB, c *Context, cb *IOCB) (int, error) {
	t.Helper()
	n, err := c.Submit(cb)
	if err != nil {
		require.Zero(t, n)
		require.False(t, cb.inFlight.Load())
		return 0, errnoIn(t, err)
	}
	ev := reap(t, c, 1)[0]
	require.Same(t, cb, ev.Obj)
	if ev.Res < 0 {
		return 0, errnoIn(t, ev.Err())
	}
	return int(ev.Res), nil
}

// errnoIn is the errno in an error of this package.
func errnoIn(t testing.TB, err error) error {
	t.Helper()
	var errno syscall.Errno
	require.ErrorAs(t, err, &errno)
	return errno
}

// on runs a test once through direct I/O and once through the page cache.
func on(t *testing.T, size int, test func(t *testing.T, f *File)) {
	t.Run("direct", func(t *testing.T) { test(t, newFile(t, size)) })
	t.Run("buffered", func(t *testing.T) { test(t, buffered(t, newFile(t, size))) })
}

// libaio's harness, case 2: io_setup with counts that are none. In C it also
// refuses a context that is not zero; here there is no such thing to pass. The
// counterpart is a Context that no Setup has made, which is invalid, or that was
// destroyed, which is closed.
func TestHarnessBadSetup(t *testing.T) {
	contexts := leftover.Contexts()
	for _, n := range []int{0, -1, -1000, math.MinInt, maxDepth + 1, math.MaxInt32, math.MaxInt} {
		c, err := Setup(n)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorContains(t, err, fmt.Sprint(n))
		require.Nil(t, c)
		q, err := NewQueue(n, nil)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.Nil(t, q)
	}
	require.Equal(t, contexts, leftover.Contexts(), "a failed setup leaves nothing")

	c := newContext(t, 1)
	require.NoError(t, c.Destroy())
	for c, want := range map[*Context]error{c: ErrClosed, {}: ErrInvalid} {
		_, err := c.Submit(newIOCB(t))
		require.ErrorIs(t, err, want)
		_, err = c.GetEvents(0, nil, 0)
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, c.Destroy(), want)
	}
}

// libaio's harness, case 3: io_submit of what cannot be submitted. A negative
// count and an unknown opcode cannot be expressed here: the count is that of
// the arguments, and each Prep method has its opcode.
func TestHarnessBadSubmit(t *testing.T) {
	c, f, b := newContext(t, 8), newFile(t, block), newBuffer(t, block)
	good, freed, unprepared, stale := newIOCB(t), newIOCB(t), newIOCB(t), newIOCB(t)
	require.NoError(t, good.PrepPread(f.FD(), b, 0))
	require.NoError(t, freed.PrepPread(f.FD(), b, 0))
	require.NoError(t, freed.Free())
	gone, err := Alloc(block, block)
	require.NoError(t, err)
	require.NoError(t, stale.PrepPread(f.FD(), gone, 0))
	require.NoError(t, gone.Free())

	for name, bad := range map[string]struct {
		cb   *IOCB
		want error
	}{
		"nil":              {nil, ErrInvalid},
		"freed":            {freed, ErrFreed},
		"zero":             {&IOCB{}, ErrFreed},
		"not prepared":     {unprepared, ErrInvalid},
		"its Buffer freed": {stale, ErrFreed},
		"twice":            {good, ErrInFlight},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := c.Submit(good, bad.cb)
			require.ErrorIs(t, err, bad.want)
			require.Zero(t, n, "all or none, for what is found before the kernel")
			require.False(t, b.InFlight())
			require.False(t, good.inFlight.Load())
		})
	}
	n, err := c.Submit()
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.GetEvents(0, make([]Event, 8), 0)
	require.NoError(t, err)
	require.Zero(t, n, "nothing of all that reached the kernel")
	require.EqualValues(t, block, run(t, c, good).Res, "and the context is as good as new")

	require.NoError(t, c.Destroy())
	_, err = c.Submit(good)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Submit()
	require.ErrorIs(t, err, ErrClosed)
}

// libaio's harness, case 4: descriptors and offsets that are none, and
// descriptors that are open for something else.
func TestHarnessBadDescriptor(t *testing.T) {
	c, cb, q, f, b := newContext(t, 8), newIOCB(t), newQueue(t, 4), newFile(t, 2*block), newBuffer(t, block)
	readOnly, writeOnly := borrow(t, f.Name(), unix.O_RDONLY), borrow(t, f.Name(), unix.O_WRONLY)
	path := borrow(t, f.Name(), unix.O_PATH)
	for name, bad := range map[string]struct {
		f      *File
		offset int64
		read   error
		write  error
	}{
		"-1":              {BorrowFD(-1, ""), 0, syscall.EBADF, syscall.EBADF},
		"not open":        {BorrowFD(1<<20, ""), 0, syscall.EBADF, syscall.EBADF},
		"O_PATH":          {path, 0, syscall.EBADF, syscall.EBADF},
		"O_RDONLY":        {readOnly, 0, nil, syscall.EBADF},
		"O_WRONLY":        {writeOnly, 0, syscall.EBADF, nil},
		"offset -1":       {f, -1, syscall.EINVAL, syscall.EINVAL},
		"offset -block":   {f, -block, syscall.EINVAL, syscall.EINVAL},
		"smallest offset": {f, math.MinInt64, syscall.EINVAL, syscall.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(prep error, op Op, want error) {
				t.Helper()
				require.NoError(t, prep)
				n, err := outcome(t, c, cb)
				require.Equal(t, want, err)
				m, err := q.Do(ctxOf(t), op)
				require.ErrorIs(t, err, want)
				require.Equal(t, n, m)
				require.False(t, b.InFlight())
			}
			fill(b.Bytes(), 0, 0)
			check(cb.PrepPread(bad.f.FD(), b, bad.offset), Pread(bad.f, b, bad.offset), bad.read)
			check(cb.PrepPwrite(bad.f.FD(), b, bad.offset), Pwrite(bad.f, b, bad.offset), bad.write)
		})
	}
}

// libaio's harness, case 4: memory that may not be used so. The kernel finds
// it when it moves the data, so it is in the event, and nothing of the file
// changes.
func TestHarnessBadPointer(t *testing.T) {
	none := mapped(t, -1, 2*block, unix.PROT_NONE, unix.MAP_PRIVATE)
	readable := mapped(t, -1, 2*block, unix.PROT_READ, unix.MAP_PRIVATE)
	on(t, 4*block, func(t *testing.T, f *File) {
		c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
		for _, bad := range []struct {
			prep func() error
			op   Op
		}{
			{func() error { return cb.PrepPread(f.FD(), none, 0) }, Pread(f, none, 0)},
			{func() error { return cb.PrepPread(f.FD(), readable, 0) }, Pread(f, readable, 0)},
			{func() error { return cb.PrepPwrite(f.FD(), none, 0) }, Pwrite(f, none, 0)},
			{func() error { return cb.PrepPreadv(f.FD(), []*Buffer{none, readable}, 0) }, Preadv(f, []*Buffer{none, readable}, 0)},
			{func() error { return cb.PrepPwritev(f.FD(), []*Buffer{none, readable}, 0) }, Pwritev(f, []*Buffer{none, readable}, 0)},
		} {
			require.NoError(t, bad.prep())
			ev := run(t, c, cb)
			require.ErrorIs(t, ev.Err(), syscall.EFAULT)
			_, err := q.Do(ctxOf(t), bad.op)
			require.ErrorIs(t, err, syscall.EFAULT)
			require.ErrorContains(t, err, f.Name())
			require.False(t, none.InFlight())
			require.False(t, readable.InFlight())
		}
		p, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		requirePattern(t, p, 0, 0)

		// To write from memory that can only be read is what it is for.
		require.NoError(t, cb.PrepPwrite(f.FD(), readable, block))
		require.EqualValues(t, 2*block, run(t, c, cb).Res)
		p, err = os.ReadFile(f.Name())
		require.NoError(t, err)
		require.Equal(t, make([]byte, 2*block), p[block:3*block])
	})
}

// libaio's harness, case 5: reads into and writes from memory that maps the
// same file, the same block even, which takes the same page twice.
func TestHarnessMappedFile(t *testing.T) {
	const blocks = 16
	for name, share := range map[string]int{"shared": unix.MAP_SHARED, "private": unix.MAP_PRIVATE} {
		t.Run(name, func(t *testing.T) {
			on(t, blocks*block, func(t *testing.T, f *File) {
				c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
				mem := mapped(t, f.FD(), blocks*block, unix.PROT_READ|unix.PROT_WRITE, share)
				want, err := os.ReadFile(f.Name())
				require.NoError(t, err)
				at := func(p []byte, from, n int) []byte { return p[from*block : (from+n)*block] }

				// n blocks of the memory, from one block, and of the file, from another.
				move := func(write bool, inMemory, inFile, n int, facade bool) {
					t.Helper()
					v, offset := view(t, mem, inMemory*block, n*block), int64(inFile)*block
					op, prep := Pread(f, v, offset), cb.PrepPread
					if write {
						op, prep = Pwrite(f, v, offset), cb.PrepPwrite
					}
					moved := slices.Clone(at(want, inFile, n))
					if write {
						moved = slices.Clone(v.Bytes())
					}
					if facade {
						got, err := q.Do(ctxOf(t), op)
						require.NoError(t, err)
						require.Equal(t, n*block, got)
					} else {
						require.NoError(t, prep(f.FD(), v, offset))
						require.EqualValues(t, n*block, run(t, c, cb).Res)
					}
					switch {
					case write:
						copy(at(want, inFile, n), moved)
					case share == unix.MAP_SHARED: // what is read into the mapping is written to the file
						copy(at(want, inMemory, n), moved)
					}
					require.Equal(t, moved, v.Bytes())
					p, err := os.ReadFile(f.Name())
					require.NoError(t, err)
					require.Equal(t, want, p)
				}
				for _, facade := range []bool{false, true} {
					for _, write := range []bool{true, false} {
						move(write, 1, 5, 1, facade)
						move(write, 2, 2, 1, facade)
						move(write, 8, 0, 4, facade)
						move(write, 9, 9, 3, facade)
					}
				}
			})
		})
	}
}

// libaio's harness, case 13: eight large writes at the same time, each to its
// own range.
func TestHarnessConcurrentWrites(t *testing.T) {
	const writes, size = 8, 1 << 20
	check := func(t *testing.T, f *File, version uint64) {
		p, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		require.Len(t, p, writes*size)
		requirePattern(t, p, 0, version)
	}
	on(t, writes*size, func(t *testing.T, f *File) {
		bufs := newBuffers(t, writes, size)
		c, cbs := newContext(t, writes), newIOCBs(t, writes)
		for i, b := range bufs {
			fill(b.Bytes(), int64(i)*size, 1)
			require.NoError(t, cbs[i].PrepPwrite(f.FD(), b, int64(i)*size))
		}
		submitAll(t, c, cbs...)
		for _, ev := range reap(t, c, writes) {
			require.EqualValues(t, size, ev.Res)
		}
		check(t, f, 1)

		q, ops := newQueue(t, writes), []Op(nil)
		for i, b := range bufs {
			fill(b.Bytes(), int64(i)*size, 2)
			ops = append(ops, Pwrite(f, b, int64(i)*size))
		}
		_, err := q.Submit(ctxOf(t), ops...)
		require.NoError(t, err)
		for _, done := range receive(t, q, writes) {
			require.NoError(t, done.Err)
			require.Equal(t, size, done.N)
		}
		check(t, f, 2)
	})
}

// libaio's harness, case 15: vectors go to and come from the offset that they
// are given, one part behind the other, and touch nothing else.
func TestHarnessVectorOffsets(t *testing.T) {
	const size = 32 * block
	shapes := map[string][]int{
		"one":      {block},
		"two":      {block, block},
		"unequal":  {2 * block, block, 3 * block},
		"large":    {16 * block},
		"sixteen":  slices.Repeat([]int{block}, 16),
		"odd":      {1, 7, block, 13, 3 * block},
		"one byte": {1},
		"bytes":    slices.Repeat([]int{1}, 1024),
	}
	on(t, size, func(t *testing.T, f *File) {
		c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
		mem := mapped(t, -1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		want, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		version := uint64(0)
		check := func(t *testing.T, shape []int, offset int, write, read func(bufs []*Buffer) int) {
			var bufs []*Buffer
			total := 0
			for _, n := range shape {
				bufs = append(bufs, view(t, mem, total, n))
				total += n
			}
			version++
			fill(mem.Bytes(), 0, version)
			copy(want[offset:], mem.Bytes()[:total])
			require.Equal(t, total, write(bufs))
			p, err := os.ReadFile(f.Name())
			require.NoError(t, err)
			require.Equal(t, want, p)

			slices.Reverse(bufs) // the parts need not follow one another in memory
			clear(mem.Bytes())
			require.Equal(t, total, read(bufs))
			at := offset
			for _, b := range bufs {
				require.Equal(t, want[at:at+b.Len()], b.Bytes())
				at += b.Len()
			}
		}
		for name, shape := range shapes {
			for _, offset := range []int{block, 7 * block, 1, 4095, 3*block + 17} {
				isOdd := func(n int) bool { return n%block != 0 }
				if f.Alignment().Known() && (isOdd(offset) || slices.ContainsFunc(shape, isOdd)) {
					continue // direct I/O has no odd ones
				}
				at := int64(offset)
				t.Run(fmt.Sprint(name, " at ", offset), func(t *testing.T) {
					check(t, shape, offset, func(bufs []*Buffer) int {
						require.NoError(t, cb.PrepPwritev(f.FD(), bufs, at))
						return int(run(t, c, cb).Res)
					}, func(bufs []*Buffer) int {
						require.NoError(t, cb.PrepPreadv(f.FD(), bufs, at))
						return int(run(t, c, cb).Res)
					})
					do := func(op Op) int {
						n, err := q.Do(ctxOf(t), op)
						require.NoError(t, err)
						return n
					}
					check(t, shape, offset,
						func(bufs []*Buffer) int { return do(Pwritev(f, bufs, at)) },
						func(bufs []*Buffer) int { return do(Preadv(f, bufs, at)) })
				})
			}
		}
	})
}
