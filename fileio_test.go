//go:build linux

package libaio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair is a file of ours and, as the model, one of os with the same content.
type pair struct {
	t     testing.TB
	f     *File
	model *os.File
}

// onFileSystems runs a test on the file system of testDir and on tmpfs.
func onFileSystems(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("disk", func(t *testing.T) { test(t, testDir(t)) })
	t.Run("tmpfs", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "libaio-test-")
		if err != nil {
			t.Skipf("no /dev/shm here: %v", err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		f, err := Create(filepath.Join(dir, "x"))
		if err != nil {
			require.ErrorIs(t, err, ErrNoDirectIO)
			t.Skipf("before Linux 6.6: %v", err)
		}
		require.NoError(t, f.Close())
		test(t, dir)
	})
}

func newPair(t testing.TB, dir string, flag int, opts *FileOptions) *pair {
	t.Helper()
	name := filepath.Join(dir, "ours")
	f, err := OpenFileWith(name, flag|os.O_CREATE|os.O_TRUNC, 0o600, opts)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	model, err := os.Create(filepath.Join(dir, "model"))
	require.NoError(t, err)
	t.Cleanup(func() { model.Close() })
	return &pair{t: t, f: f, model: model}
}

// write does the same to both.
func (p *pair) write(data []byte, off int64) {
	p.t.Helper()
	n, err := p.f.WriteAt(data, off)
	require.NoError(p.t, err)
	require.Equal(p.t, len(data), n)
	_, err = p.model.WriteAt(data, off)
	require.NoError(p.t, err)
}

// read wants the same of both.
func (p *pair) read(n int, off int64) {
	p.t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	gn, gerr := p.f.ReadAt(got, off)
	wn, werr := p.model.ReadAt(want, off)
	require.Equal(p.t, wn, gn, "ReadAt(%d, %d)", n, off)
	require.Equal(p.t, werr, gerr, "ReadAt(%d, %d)", n, off)
	require.True(p.t, bytes.Equal(want, got), "ReadAt(%d, %d): other bytes", n, off)
}

// same wants the whole of both to be equal, as everybody else sees it.
func (p *pair) same() {
	p.t.Helper()
	ours, err := os.ReadFile(p.f.Name())
	require.NoError(p.t, err)
	model, err := os.ReadFile(p.model.Name())
	require.NoError(p.t, err)
	require.Equal(p.t, len(model), len(ours))
	require.True(p.t, bytes.Equal(model, ours), "other bytes")
	size, err := p.f.Size()
	require.NoError(p.t, err)
	require.EqualValues(p.t, len(model), size)
}

// openBufferedFile makes a File of the file without direct I/O.
func openBufferedFile(t testing.TB, name string) *File {
	t.Helper()
	of, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer of.Close()
	f, err := NewFile(of)
	require.NoError(t, err)
	require.False(t, f.Direct())
	t.Cleanup(func() { f.Close() })
	return f
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// anyLength is small, or around a block, or some blocks, or many pieces.
func anyLength(r *rand.Rand) int {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1, 2:
		return r.IntN(600)
	case 3:
		return block + r.IntN(3) - 1
	case 4:
		return block * r.IntN(8)
	case 5:
		return r.IntN(3 * bounceSize)
	}
	return r.IntN(5 * block)
}

func anyOffset(r *rand.Rand, size int64) int64 {
	off := r.Int64N(size + 3*block)
	switch r.IntN(4) {
	case 0:
		return off / block * block
	case 1:
		return off / 512 * 512
	}
	return off
}

// Whatever is done to it, the File is as the file of os to which the same is
// done.
func TestFileIsAsOSFile(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 100
	}
	onFileSystems(t, func(t *testing.T, dir string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		p := newPair(t, dir, os.O_RDWR, nil)
		for range steps {
			size, err := p.f.Size()
			require.NoError(t, err)
			switch r.IntN(12) {
			case 0:
				n := max(0, min(anyOffset(r, size), 4<<20))
				require.NoError(t, p.f.Truncate(n))
				require.NoError(t, p.model.Truncate(n))
			case 1:
				require.NoError(t, p.f.Sync())
			case 2:
				p.same()
			case 3, 4, 5, 6:
				p.write(random(r, anyLength(r)), min(anyOffset(r, size), 4<<20))
			default:
				p.read(anyLength(r), anyOffset(r, size))
			}
		}
		p.same()
	})
}

// Many writers to different bytes of the same blocks, beside writers of whole
// blocks and readers: no byte is lost, and the size is right at all times.
func TestConcurrentSubBlockWriters(t *testing.T) {
	const blocks, writers = 8, 8
	onFileSystems(t, func(t *testing.T, dir string) {
		for _, preset := range []int64{0, blocks * block, 3*block + 100} {
			p := newPair(t, dir, os.O_RDWR, nil)
			require.NoError(t, p.f.Truncate(preset))
			want := make([]byte, blocks*block-1000)
			var wg sync.WaitGroup
			for w := range writers {
				r := rand.New(rand.NewPCG(uint64(w), 1))
				wg.Go(func() { // every writers-th run of bytes
					for at := w * 37; at < len(want); at += writers * 37 {
						part := want[at:min(at+37, len(want))]
						for i := range part {
							part[i] = byte(r.Uint32())
						}
						n, err := p.f.WriteAt(part, int64(at))
						if !assert.NoError(t, err) || !assert.Equal(t, len(part), n) {
							return
						}
						got := make([]byte, len(part))
						_, err = p.f.ReadAt(got, int64(at))
						if !assert.NoError(t, err) || !assert.Equal(t, part, got) {
							return
						}
					}
				})
			}
			stop := make(chan struct{})
			var watcher sync.WaitGroup
			watcher.Go(func() {
				got := make([]byte, blocks*block+100)
				for {
					select {
					case <-stop:
						return
					default:
					}
					n, err := p.f.ReadAt(got, 0)
					if !assert.ErrorIs(t, err, io.EOF) || !assert.LessOrEqual(t, int64(n), max(preset, int64(len(want)))) {
						return
					}
				}
			})
			wg.Wait()
			close(stop)
			watcher.Wait()
			got, err := os.ReadFile(p.f.Name())
			require.NoError(t, err)
			require.Len(t, got, int(max(preset, int64(len(want)))))
			require.True(t, bytes.Equal(want, got[:len(want)]))
		}
	})
}

// A File without direct I/O takes part in the locks: it and direct ones write to
// different bytes of one page, and each finds what it wrote.
func TestBufferedBesideDirect(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		p := newPair(t, dir, os.O_RDWR, nil)
		_, err := p.f.WriteAt(make([]byte, 2*block), 0)
		require.NoError(t, err)
		unit := p.f.Alignment().Offset
		var wg sync.WaitGroup
		write := func(f *File, off, n int) {
			wg.Go(func() {
				data, got := make([]byte, n), make([]byte, n)
				for i := range scaled(400, 100) {
					for j := range data {
						data[j] = byte(i + off)
					}
					_, err := f.WriteAt(data, int64(off))
					assert.NoError(t, err)
					_, err = f.ReadAt(got, int64(off))
					assert.NoError(t, err)
					if !assert.Equal(t, data, got, "lost in round %d, at %d", i, off) {
						return
					}
				}
			})
		}
		buffered := openBufferedFile(t, p.f.Name())
		write(buffered, 0, 100)
		write(p.f, 100, 100)
		write(buffered, block-50, 100)
		write(p.f, block+50, 100)
		if unit < block { // without reading and merging
			write(p.f, unit, unit)
			write(p.f, 2*block-unit, unit)
		}
		wg.Wait()
		require.NoError(t, p.f.Sync())
	})
}

func TestFileIOAllocatesNothing(t *testing.T) {
	skipUnderASan(t)
	if debugMemory {
		t.Skip("built with aiodebug, which keeps stacks of the bounce Buffers")
	}
	f, b := newFile(t, 64*block), newBuffer(t, block)
	f.queue = newQueue(t, 4)
	p := make([]byte, 3*block)
	for name, call := range map[string]func() (int, error){
		"ReadAt":       func() (int, error) { return f.ReadAt(p[:block], block) },
		"ReadAt of 3":  func() (int, error) { return f.ReadAt(p, block) },
		"WriteAt":      func() (int, error) { return f.WriteAt(p[:block], block) },
		"WriteAt of 3": func() (int, error) { return f.WriteAt(p, block) },
		"ReadBuffer":   func() (int, error) { return f.ReadBuffer(context.Background(), b, block) },
		"WriteBuffer":  func() (int, error) { return f.WriteBuffer(context.Background(), b, block) },
		"Datasync":     func() (int, error) { return 0, f.Datasync() },
		"odd ReadAt":   func() (int, error) { return f.ReadAt(p[:100], block+7) },
		"odd WriteAt":  func() (int, error) { return f.WriteAt(p[:100], block+7) },
	} {
		t.Run(name, func(t *testing.T) {
			got := testing.AllocsPerRun(50, func() {
				if _, err := call(); err != nil {
					t.Fatal(err)
				}
			})
			require.Zero(t, got)
		})
	}
}

// What each call costs: whole blocks one operation, parts of blocks a read more.
func TestFileIOOperations(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		f := newStreamFile(t, dir, make([]byte, 64*block+100))
		q := newQueue(t, 32)
		f.queue = q
		for _, c := range []struct {
			n, off int
			write  bool
			want   uint64
		}{
			{n: block, off: 0, want: 1},
			{n: 3 * block, off: block, want: 1},
			{n: 100, off: 50, want: 1},
			{n: 100, off: block - 50, want: 1},
			{n: block, off: 0, write: true, want: 1},
			{n: 3 * block, off: block, write: true, want: 1},
			{n: 100, off: 50, write: true, want: 2},
			{n: 100, off: block - 50, write: true, want: 2},
			{n: 20 * block, off: 50, write: true, want: 3},       // both edges
			{n: 20*block - 50, off: 50, write: true, want: 2},    // one
			{n: 10, off: 64*block + 3, write: true, want: 0},     // in the block that the file ends in
			{n: block, off: 64*block - 50, write: true, want: 2}, // and the one before
		} {
			before := q.Stats().Submitted
			var err error
			if c.write {
				_, err = f.WriteAt(make([]byte, c.n), int64(c.off))
			} else {
				_, err = f.ReadAt(make([]byte, c.n), int64(c.off))
			}
			require.NoError(t, err)
			require.Equal(t, c.want, q.Stats().Submitted-before, "%+v", c)
		}
	})
}

// Many pieces are in flight at once, and there is no more than a bounce Buffer for
// each.
func TestPiecesInFlight(t *testing.T) {
	f := newFile(t, 5<<20)
	q := newQueue(t, 32)
	f.queue = q
	p := make([]byte, 5<<20)
	n, err := f.ReadAt(p[1:], 0)
	require.NoError(t, err)
	require.Equal(t, len(p)-1, n)
	requirePattern(t, p[1:], 0, 0)
	require.EqualValues(t, 20, q.Stats().Submitted)
	require.LessOrEqual(t, bounces.pool().Stats().Buffers, piecesInFlight)
}

func TestFileIOArguments(t *testing.T) {
	f, b := newFile(t, block), newBuffer(t, 2*block)
	ctx := ctxOf(t)
	view, err := b.Slice(1, 10)
	require.NoError(t, err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	calls := func(f *File, ctx context.Context, b *Buffer, p []byte, off int64) map[string]error {
		errs := make(map[string]error)
		_, errs["ReadAt"] = f.ReadAtContext(ctx, p, off)
		_, errs["WriteAt"] = f.WriteAtContext(ctx, p, off)
		_, errs["ReadBuffer"] = f.ReadBuffer(ctx, b, off)
		_, errs["WriteBuffer"] = f.WriteBuffer(ctx, b, off)
		_, errs["ReadVector"] = f.ReadVector(ctx, []*Buffer{b}, off)
		_, errs["WriteVector"] = f.WriteVector(ctx, []*Buffer{b}, off)
		return errs
	}
	check := func(what string, want error, errs map[string]error) {
		t.Helper()
		for name, err := range errs {
			require.ErrorIs(t, err, want, "%s: %s", what, name)
			var e *Error
			require.ErrorAs(t, err, &e, "%s: %s", what, name)
		}
	}
	p := make([]byte, 10)
	check("nil context", ErrInvalid, calls(f, nil, view, p, 0))
	check("negative", ErrInvalid, calls(f, ctx, view, p, -1))
	check("too far", ErrInvalid, calls(f, ctx, view, p, math.MaxInt64-5))
	check("ended", context.Canceled, calls(f, ended, view, p, 0))
	check("zero File", ErrInvalid, calls(new(File), ctx, view, p, 0))
	check("nil File", ErrInvalid, calls(nil, ctx, view, p, 0))
	closed := openFile(t, f.Name())
	require.NoError(t, closed.Close())
	check("closed", ErrClosed, calls(closed, ctx, view, p, 0))
	check("closed, and more is wrong", ErrClosed, calls(closed, ended, view, p, -1))
	borrowed := borrow(t, f.Name(), unix.O_RDONLY)
	require.NoError(t, borrowed.Close())
	check("closed, and open for reading", ErrClosed, calls(borrowed, ctx, view, p, 0))
	_, err = borrowed.Stat()
	require.ErrorIs(t, err, ErrClosed)

	freed, err := Alloc(100, 8)
	require.NoError(t, err)
	require.NoError(t, freed.Free())
	for _, b := range []*Buffer{nil, new(Buffer), freed} {
		for _, err := range []error{
			second(f.ReadBuffer(ctx, b, 1)), second(f.WriteBuffer(ctx, b, 1)),
			second(f.ReadVector(ctx, []*Buffer{view, b}, 1)), second(f.WriteVector(ctx, []*Buffer{b}, 1)),
		} {
			var e *Error
			require.ErrorAs(t, err, &e)
			require.True(t, errors.Is(err, ErrInvalid) || errors.Is(err, ErrFreed), "%v", err)
		}
	}
	// Nothing to do is no error, and no operation.
	f.queue = newQueue(t, 1)
	for _, err := range []error{
		second(f.ReadAt(nil, 10*block)), second(f.WriteAt(nil, 3)),
		second(f.ReadVector(ctx, nil, 0)), second(f.WriteVector(ctx, nil, 0)),
	} {
		require.NoError(t, err)
	}
	require.Zero(t, f.queue.Stats().Submitted)
	require.ErrorIs(t, f.Truncate(-1), ErrInvalid)
	require.ErrorIs(t, f.Preallocate(-1, 1), ErrInvalid)
	require.ErrorIs(t, f.Preallocate(0, 0), ErrInvalid)
	require.ErrorIs(t, closed.Truncate(0), ErrClosed)
	var none context.Context
	require.ErrorIs(t, f.TruncateContext(none, 0), ErrInvalid)
	require.ErrorIs(t, f.TruncateContext(ended, 0), context.Canceled)
	require.ErrorIs(t, closed.Preallocate(0, 1), ErrClosed)
	require.ErrorIs(t, closed.Sync(), ErrClosed)
	require.ErrorIs(t, closed.Datasync(), ErrClosed)
	require.ErrorIs(t, second(closed.Size()), ErrClosed)
}

func second[T any](_ T, err error) error { return err }

// Buffers of any size at any offset, one and several.
func TestFileBuffers(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		r, ctx := rand.New(rand.NewPCG(8, 9)), ctxOf(t)
		p := newPair(t, dir, os.O_RDWR, nil)
		all := newBuffer(t, 64*block)
		for range 100 {
			var bufs []*Buffer
			var data []byte
			off := anyOffset(r, 20*block)
			for at, n := 0, 1+r.IntN(4); len(bufs) < n; {
				size := 1 + anyLength(r)%(5*block)
				if r.IntN(2) == 0 {
					size = block * (1 + r.IntN(4))
				}
				b, err := all.Slice(at, size)
				require.NoError(t, err)
				at += size
				copy(b.Bytes(), random(r, size))
				bufs, data = append(bufs, b), append(data, b.Bytes()...)
			}
			var n int
			var err error
			if len(bufs) == 1 {
				n, err = p.f.WriteBuffer(ctx, bufs[0], off)
			} else {
				n, err = p.f.WriteVector(ctx, bufs, off)
			}
			require.NoError(t, err)
			require.Equal(t, len(data), n)
			_, err = p.model.WriteAt(data, off)
			require.NoError(t, err)
			p.same()

			clear(all.Bytes())
			off = anyOffset(r, 20*block)
			want := make([]byte, len(data))
			wn, werr := p.model.ReadAt(want, off)
			if len(bufs) == 1 {
				n, err = p.f.ReadBuffer(ctx, bufs[0], off)
			} else {
				n, err = p.f.ReadVector(ctx, bufs, off)
			}
			require.Equal(t, wn, n)
			require.Equal(t, werr, err)
			require.True(t, bytes.Equal(want[:wn], all.Bytes()[:wn]))
		}
	})
}

// Aligned Buffers are one operation, however many.
func TestFileBuffersGoStraight(t *testing.T) {
	f, ctx := newFile(t, 2000*block), ctxOf(t)
	q := newQueue(t, 8)
	f.queue = q
	all := newBuffer(t, 1500*block)
	bufs := make([]*Buffer, 1500)
	for i := range bufs {
		b, err := all.Slice(i*block, block)
		require.NoError(t, err)
		bufs[i] = b
	}
	n, err := f.ReadVector(ctx, bufs, block)
	require.NoError(t, err)
	require.Equal(t, 1500*block, n)
	require.EqualValues(t, 2, q.Stats().Submitted)
	requirePattern(t, all.Bytes(), block, 0)
	n, err = f.ReadBuffer(ctx, all, 2*block)
	require.NoError(t, err)
	require.Equal(t, 1500*block, n)
	require.EqualValues(t, 3, q.Stats().Submitted)
	requirePattern(t, all.Bytes(), 2*block, 0)
}

func TestAppendModeIsRefused(t *testing.T) {
	f, err := OpenFile(newFile(t, block).Name(), os.O_RDWR|os.O_APPEND, 0)
	require.NoError(t, err)
	defer f.Close()
	b := newBuffer(t, block)
	for _, err := range []error{
		second(f.WriteAt([]byte{1}, 0)), second(f.WriteAt(make([]byte, block), 0)),
		second(f.WriteBuffer(ctxOf(t), b, 0)), second(f.WriteVector(ctxOf(t), []*Buffer{b, b}, 0)),
	} {
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "O_APPEND")
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, block, size)
}

// A file that is open for writing only cannot be read to be merged, and is
// written all the same.
func TestWriteOnlyFile(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		r := rand.New(rand.NewPCG(11, 12))
		p := newPair(t, dir, os.O_WRONLY, nil)
		for range 60 {
			p.write(random(r, anyLength(r)), anyOffset(r, 8*block))
		}
		p.same()
		b := newBuffer(t, block)
		for _, err := range []error{
			second(p.f.ReadAt(make([]byte, 10), 5)),
			second(p.f.ReadBuffer(ctxOf(t), b, 0)),
			second(p.f.ReadVector(ctxOf(t), []*Buffer{b, b}, 0)),
			second(newQueue(t, 1).Do(ctxOf(t), Pread(p.f, b, 0))),
		} {
			require.ErrorIs(t, err, unix.EBADF)
			require.ErrorContains(t, err, "writing only")
		}
		var e *Error
		_, err := p.f.ReadAt(make([]byte, 10), 5)
		require.ErrorAs(t, err, &e)
		require.EqualValues(t, []int{5, 10}, []int{int(e.Offset), e.Length})
	})
}

func TestReadOnlyFile(t *testing.T) {
	f, err := Open(newFile(t, block).Name())
	require.NoError(t, err)
	defer f.Close()
	for _, n := range []int{1, block, block + 1} {
		done, err := f.WriteAt(make([]byte, n), 0)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Zero(t, done)
	}
	require.ErrorIs(t, f.Truncate(0), unix.EINVAL)
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	requirePattern(t, got, 0, 0)
}

// A file without O_DIRECT is as good, through the page cache.
func TestBufferedFile(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	dir := testDir(t)
	name := filepath.Join(dir, "ours")
	of, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer of.Close()
	f, err := NewFile(of)
	require.NoError(t, err)
	defer f.Close()
	require.False(t, f.Direct())
	require.Equal(t, Alignment{}, f.Alignment())
	model, err := os.Create(filepath.Join(dir, "model"))
	require.NoError(t, err)
	defer model.Close()
	p := &pair{t: t, f: f, model: model}
	for range 60 {
		p.write(random(r, anyLength(r)), anyOffset(r, 8*block))
		p.read(anyLength(r), anyOffset(r, 8*block))
	}
	require.NoError(t, f.Sync())
	p.same()
	b := newBuffer(t, 100)
	_, err = f.ReadBuffer(ctxOf(t), b, 5)
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(newReader(t, f, nil), second0(os.ReadFile(name))))
}

func second0[T any](v T, _ error) T { return v }

// procfs has no direct I/O; where that is an option, the file is open.
func TestBufferedWhereThereIsNoDirectIO(t *testing.T) {
	f, err := OpenFileWith("/proc/self/status", os.O_RDONLY, 0, &FileOptions{Buffered: true})
	require.NoError(t, err)
	defer f.Close()
	require.False(t, f.Direct())
	p := make([]byte, 5)
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	require.Equal(t, "Name:", string(p))
	// and where there is, it is used.
	g, err := OpenFileWith(newFile(t, block).Name(), os.O_RDWR, 0, &FileOptions{Buffered: true})
	require.NoError(t, err)
	defer g.Close()
	require.Equal(t, !inMemory(g.fd), g.Direct())
	flags, err := unix.FcntlInt(uintptr(g.FD()), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_DIRECT)
}

// tmpfs takes O_DIRECT and has no direct I/O: the file is open, works as others, and
// tells.
func TestDirectTellsOfTmpfs(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		var fs unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &fs))
		tmpfs := fs.Type == unix.TMPFS_MAGIC
		name := filepath.Join(dir, "x")
		for _, buffered := range []bool{false, true} {
			f, err := OpenFileWith(name, os.O_RDWR|os.O_CREATE, 0o600, &FileOptions{Buffered: buffered, Queue: newQueue(t, 1)})
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, !tmpfs, f.Direct())
			if tmpfs {
				require.Equal(t, guess(), f.Alignment())
			}
			n, err := f.queue.Do(ctxOf(t), Pwrite(f, newBuffer(t, block), 0))
			require.NoError(t, err)
			require.Equal(t, block, n)
		}
	})
}

func TestPreallocateKeepsTheSize(t *testing.T) {
	f := newFile(t, block+1)
	if err := f.Preallocate(block, 100*block); err != nil {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		t.Skipf("this file system cannot: %v", err)
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, block+1, size)
	info, err := f.Stat()
	require.NoError(t, err)
	require.GreaterOrEqual(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(100*block))
}

// Two Files on one file have the same locks; two files do not.
func TestFilesShareLocks(t *testing.T) {
	f := newFile(t, block)
	g, h := openFile(t, f.Name()), newFile(t, block)
	require.Same(t, f.blockLocks(), g.blockLocks())
	require.NotSame(t, f.blockLocks(), h.blockLocks())
	id, err := inodeOf(h.fd)
	require.NoError(t, err)
	known := func() bool {
		inodeLocks.mu.Lock()
		defer inodeLocks.mu.Unlock()
		_, ok := inodeLocks.of[id]
		return ok
	}
	require.True(t, known())
	h.Close()
	h.locks = nil // as if the File were gone
	require.Eventually(t, func() bool { runtime.GC(); return !known() }, time.Minute, time.Millisecond)
}

// A context that ends stops the wait for the lock too.
func TestLockWaitEnds(t *testing.T) {
	f := newFile(t, 4*block)
	ls := f.blockLocks()
	l, err := ls.lock(ctxOf(t), f.blocks(0, 10), f.edges(0, 10))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(ctxOf(t))
	done := make(chan error, 5)
	buffered := openBufferedFile(t, f.Name())
	go func() { done <- f.TruncateContext(ctx, 0) }()
	go func() { done <- second(buffered.WriteAtContext(ctx, make([]byte, 10), 5)) }()
	go func() { done <- second(f.ReadAtContext(ctx, make([]byte, 10), 0)) }()
	go func() { done <- second(f.WriteAtContext(ctx, make([]byte, 10), 5)) }()
	go func() { done <- second(f.WriteAtContext(ctx, make([]byte, block), 0)) }()
	require.Eventually(t, func() bool {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		return ls.waiting == 5
	}, time.Minute, time.Millisecond)
	cancel()
	for range 5 {
		require.ErrorIs(t, <-done, context.Canceled)
	}
	// Other blocks are free.
	_, err = f.WriteAt([]byte{1, 2, 3}, 2*block+1)
	require.NoError(t, err)
	ls.unlock(l)
	require.Zero(t, ls.waiting+ls.exclusive)
	require.Nil(t, ls.head)
	_, err = f.ReadAt(make([]byte, 10), 0)
	require.NoError(t, err)
}

// The default queue is made on first use, and again after its Close.
func TestDefaultQueue(t *testing.T) {
	f := newFile(t, block)
	p := make([]byte, 10)
	_, err := f.ReadAt(p, 0)
	require.NoError(t, err)
	q, err := DefaultQueue()
	require.NoError(t, err)
	again, err := DefaultQueue()
	require.NoError(t, err)
	require.Same(t, q, again)
	require.NoError(t, q.Close())
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	again, err = DefaultQueue()
	require.NoError(t, err)
	require.NotSame(t, q, again)
	require.NoError(t, again.Close())
	require.NoError(t, f.Close())
	_, err = f.ReadAt(p, 0)
	require.ErrorIs(t, err, ErrClosed)
}

// Sync goes by way of the Queue only where its context can end; either way its
// error says what it is about.
func TestSync(t *testing.T) {
	f := newFile(t, block)
	f.queue = newQueue(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	require.NoError(t, f.Sync())
	require.NoError(t, f.DatasyncContext(context.Background()))
	require.Zero(t, f.queue.Stats().Submitted)
	require.NoError(t, f.SyncContext(ctx))
	require.NoError(t, f.DatasyncContext(ctx))
	require.EqualValues(t, 2, f.queue.Stats().Submitted)

	r, _ := newPipe(t) // has nothing to sync
	r.queue = f.queue
	for op, sync := range map[string]func(context.Context) error{"fsync": r.SyncContext, "fdsync": r.DatasyncContext} {
		for _, ctx := range []context.Context{ctx, context.Background()} {
			var e *Error
			err := sync(ctx)
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, syscall.EINVAL)
			require.Equal(t, op, e.Op)
			require.Equal(t, r.Name(), e.File)
		}
	}
}

// A File that is open for reading only is not written to, by no way: the last
// block would go through a second descriptor, which could.
func TestReadOnlyFileIsNotWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(name, []byte("0123456789"), 0o666))
	f, err := OpenFileWith(name, os.O_RDONLY, 0, &FileOptions{Buffered: true})
	require.NoError(t, err)
	defer f.Close()
	b := newBuffer(t, block)
	for _, off := range []int64{0, 4, 10, 5000} {
		for _, err := range []error{
			second(f.WriteAt([]byte("WRITE"), off)),
			second(f.WriteBuffer(ctxOf(t), b, off)),
			second(f.WriteVector(ctxOf(t), []*Buffer{b, b}, off)),
			second(newQueue(t, 1).Do(ctxOf(t), Pwrite(f, b, off/block*block))),
			second(NewWriter(f, nil)),
		} {
			require.ErrorIs(t, err, syscall.EBADF)
			require.ErrorContains(t, err, "reading only")
		}
	}
	shut := BorrowFD(-1, "")
	require.False(t, shut.Direct())
	require.Zero(t, shut.Alignment())
	for _, err := range []error{second(shut.WriteAt([]byte("x"), 0)), second(shut.ReadAt(make([]byte, 1), 0))} {
		require.ErrorIs(t, err, syscall.EBADF)
		require.NotContains(t, err.Error(), "only")
	}
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "0123456789", string(got))

	a, err := OpenFileWith(name, os.O_WRONLY|os.O_APPEND, 0, &FileOptions{Buffered: true})
	require.NoError(t, err)
	defer a.Close()
	require.ErrorIs(t, second(NewWriter(a, nil)), ErrInvalid)
}

func TestFileOptionsQueue(t *testing.T) {
	name := newFile(t, block).Name()
	of, err := os.Open(name)
	require.NoError(t, err)
	defer of.Close()
	for _, q := range []*Queue{newPolledQueue(t, 1), new(Queue)} {
		require.ErrorIs(t, second(OpenFileWith(name, os.O_RDWR, 0, &FileOptions{Queue: q})), ErrInvalid)
		require.ErrorIs(t, second(NewFileWith(of, &FileOptions{Queue: q})), ErrInvalid)
	}
}

// A folder has no direct I/O, and that is not for its file system. Buffered it can
// be opened, to sync it.
func TestOpenFolder(t *testing.T) {
	_, err := Open(t.TempDir())
	require.ErrorIs(t, err, syscall.EISDIR)
	require.ErrorIs(t, err, ErrNoDirectIO)
	require.NotContains(t, err.Error(), "file system")
	f, err := OpenFileWith(t.TempDir(), os.O_RDONLY, 0, &FileOptions{Buffered: true})
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func TestDescriptorAfterClose(t *testing.T) {
	f := newFile(t, block)
	require.GreaterOrEqual(t, f.FD(), 0)
	require.NoError(t, f.Close())
	require.Equal(t, -1, f.FD())
}

// What a call has begun is done, also when the File is closed meanwhile.
func TestCloseBesideAWrite(t *testing.T) {
	for i := range scaled(20, 5) {
		name := filepath.Join(testDir(t), fmt.Sprint("f", i))
		f, err := Create(name)
		require.NoError(t, err)
		p := bytes.Repeat([]byte{1}, 8<<20)
		done := make(chan error, 1)
		go func() {
			n, err := f.WriteAt(p, 0)
			assert.True(t, n == len(p) || n == 0)
			done <- err
		}()
		for f.state.Load() == 0 && len(done) == 0 {
			runtime.Gosched()
		}
		require.NoError(t, f.Close())
		if err = <-done; err != nil {
			require.ErrorIs(t, err, ErrClosed)
			continue // it had not begun
		}
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(p, got))
		require.NoError(t, os.Remove(name))
	}
}

// So does a vector whose Buffers go one by one.
func TestCloseBesideAVector(t *testing.T) {
	f, b := newFile(t, 4*block), newBuffer(t, block)
	again := openFile(t, f.Name())
	var bufs []*Buffer // none of them aligned
	for i := range 3 {
		v, err := b.Slice(1+100*i, 100)
		require.NoError(t, err)
		bufs = append(bufs, v)
	}
	copy(b.Bytes()[1:], bytes.Repeat([]byte{9}, 300))
	ls := f.blockLocks()
	for f, call := range map[*File]func(context.Context, []*Buffer, int64) (int, error){f: f.WriteVector, again: again.ReadVector} {
		l, err := ls.lock(ctxOf(t), f.blocks(0, 10), f.edges(0, 10))
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			n, err := call(ctxOf(t), bufs, 50)
			assert.Equal(t, 300, n)
			done <- err
		}()
		requireWaiting(t, ls, 1)
		require.NoError(t, f.Close())
		ls.unlock(l)
		require.NoError(t, <-done)
	}
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.Equal(t, b.Bytes()[1:301], got[50:350])
}

// A write from inside the file to the end of a block behind it reads the one block
// that it changes, and writes once.
func TestWriteOverTheEnd(t *testing.T) {
	f := newFile(t, 2*block)
	f.queue = newQueue(t, 4)
	p := bytes.Repeat([]byte{7}, 3*block-100)
	n, err := f.WriteAt(p, 100)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
	require.EqualValues(t, 2, f.queue.Stats().Submitted)
	got := make([]byte, 3*block)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, -1, wrongAt(got[:100], 0, 0))
	require.Equal(t, p, got[100:])
}

// requireFileWorks has f, which has the pattern of version 0, do all that it does
// by way of a queue.
func requireFileWorks(t *testing.T, f *File) {
	t.Helper()
	ctx, b := ctxOf(t), newBuffer(t, 2*block)
	n, err := f.ReadBuffer(ctx, b, block)
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	requirePattern(t, b.Bytes(), block, 0)
	head, err := b.Slice(0, block)
	require.NoError(t, err)
	tail, err := b.Slice(block, block)
	require.NoError(t, err)
	n, err = f.ReadVector(ctx, []*Buffer{tail, head}, 2*block)
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	requirePattern(t, tail.Bytes(), 2*block, 0)
	requirePattern(t, head.Bytes(), 3*block, 0)

	want := make([]byte, 8*block)
	fill(want, 0, 0)
	n, err = f.WriteVector(ctx, []*Buffer{head, tail}, 4*block)
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	copy(want[4*block:], head.Bytes())
	copy(want[5*block:], tail.Bytes())
	n, err = f.WriteAt([]byte("a part"), block+7)
	require.NoError(t, err)
	require.Equal(t, 6, n)
	copy(want[block+7:], "a part")
	require.NoError(t, f.SyncContext(ctx))
	require.NoError(t, f.DatasyncContext(ctx))
	got := make([]byte, 9*block)
	n, err = f.ReadAt(got, 0)
	require.Equal(t, io.EOF, err)
	require.Equal(t, 8*block, n)
	require.True(t, bytes.Equal(want, got[:n]))
	n, err = f.ReadBuffer(ctx, b, 7*block)
	require.Equal(t, io.EOF, err)
	require.Equal(t, block, n)
}

// A File works where the kernel has no room for its operations.
func TestFileWithoutRoom(t *testing.T) {
	f := newFile(t, 8*block)
	f.queue = newQueue(t, 4)
	defer exhaust(t, f.queue)()
	requireFileWorks(t, f)
	require.NotZero(t, f.queue.Stats().Failed)
	requireNotHeld(t, f)

	r, err := Open(f.Name())
	require.NoError(t, err)
	defer r.Close()
	r.queue = f.queue
	w, _ := newPipe(t)
	w.queue = f.queue
	var e *Error
	require.ErrorAs(t, w.SyncContext(ctxOf(t)), &e)
	require.ErrorIs(t, e, syscall.EINVAL, "its own errors are told")
}

// What is left of an operation goes on where the first part of it has ended, within
// a Buffer too.
func TestFileGoesOnWithoutRoom(t *testing.T) {
	f := newFile(t, 8*block)
	whole := newBuffer(t, 4*block)
	bufs := []*Buffer{newBuffer(t, block), newBuffer(t, 3*block), newBuffer(t, 2*block)}
	for _, done := range []int{block, 2 * block, 3 * block, 4 * block, 5 * block} {
		for _, b := range bufs {
			clear(b.Bytes())
		}
		op := Preadv(f, bufs, block).WithResume()
		n, err := op.doHere(done)
		require.NoError(t, err)
		require.Equal(t, 6*block, n)
		at := 0
		for _, b := range bufs {
			mine := min(max(done-at, 0), b.Len()) // of what was done before
			require.Equal(t, make([]byte, mine), b.Bytes()[:mine])
			requirePattern(t, b.Bytes()[mine:], int64(block+at+mine), 0)
			at += b.Len()
		}
	}
	op := Pread(f, whole, block).WithResume()
	n, err := op.doHere(3 * block)
	require.NoError(t, err)
	require.Equal(t, 4*block, n)
	require.Equal(t, make([]byte, 3*block), whole.Bytes()[:3*block])
	requirePattern(t, whole.Bytes()[3*block:], 4*block, 0)
	requireNotHeld(t, f)
}

// And where the system lacks what the default queue takes.
func TestFileWithoutDefaultQueue(t *testing.T) {
	for _, c := range []struct {
		name  string
		call  uint32
		errno syscall.Errno
	}{
		{"contexts", unix.SYS_IO_SETUP, syscall.EAGAIN},
		{"memory", unix.SYS_IO_SETUP, syscall.ENOMEM},
		{"descriptors", unix.SYS_EVENTFD2, syscall.EMFILE},
		{"files", unix.SYS_EVENTFD2, syscall.ENFILE},
	} {
		t.Run(c.name, func(t *testing.T) {
			if inChild(t) {
				deny(t, c.call, c.errno)
				_, err := DefaultQueue()
				require.ErrorIs(t, err, c.errno)
				requireFileWorks(t, newFile(t, 8*block))
			}
		})
	}
}

// What is missing because it is not allowed is told.
func TestFileWithoutPermission(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_IO_SETUP, syscall.EPERM)
		require.ErrorIs(t, second(newFile(t, block).ReadAt(make([]byte, 1), 0)), syscall.EPERM)
	}
}

// The default queue takes what the system has left.
func TestDefaultQueueShrinks(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.ENOMEM} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			if inChild(t) {
				denyFrom(t, unix.SYS_IO_SETUP, 17, errno)
				q, err := DefaultQueue()
				require.NoError(t, err)
				require.Equal(t, 16, q.Depth())
				requireFileWorks(t, newFile(t, 8*block))
				require.NotZero(t, q.Stats().Submitted)
				require.NoError(t, q.Close())
			}
		})
	}
}

// A File that is dropped leaves no descriptor open, nor the second one that a
// write at its end has opened, and uses the bounce Buffers no more.
func TestDroppedFile(t *testing.T) {
	name := newFile(t, block+10).Name()
	_, err := DefaultQueue() // with a descriptor
	require.NoError(t, err)
	before, users := leftover.Descriptors(), bounces.users.Load()
	func() {
		f, err := OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		bounced(t, f)
		require.Equal(t, users+1, bounces.users.Load())
		_, err = f.WriteAt([]byte{1}, block+5)
		require.NoError(t, err)
		require.Equal(t, before+2, leftover.Descriptors())
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		return leftover.Descriptors() <= before && bounces.users.Load() <= users
	}, time.Minute, time.Millisecond)
}

// What was never opened has nothing to tell, and breaks nothing.
func TestNoFile(t *testing.T) {
	for _, f := range []*File{nil, {}} {
		require.Empty(t, f.Name())
		require.Equal(t, -1, f.FD())
		require.Zero(t, f.Alignment())
		require.False(t, f.Direct())
		for _, err := range []error{
			f.Sync(), f.Datasync(), f.Truncate(0), f.Preallocate(0, 1), f.Close(),
			second(f.Size()), second(f.Stat()), second(NewReader(f, nil)), second(NewWriter(f, nil)),
			second(f.ReadAt(make([]byte, 1), 0)), second(f.WriteAt(make([]byte, 1), 0)),
			second(f.ReadVector(ctxOf(t), nil, 0)), second(f.WriteVector(ctxOf(t), nil, 0)),
		} {
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	for _, r := range []*Reader{nil, {}} {
		require.ErrorIs(t, second(r.Read(make([]byte, 1))), ErrInvalid)
		require.ErrorIs(t, second(r.WriteTo(io.Discard)), ErrInvalid)
		require.ErrorIs(t, r.Close(), ErrInvalid)
	}
	for _, w := range []*Writer{nil, {}} {
		require.ErrorIs(t, second(w.Write(make([]byte, 1))), ErrInvalid)
		require.ErrorIs(t, second(w.ReadFrom(bytes.NewReader(nil))), ErrInvalid)
		require.ErrorIs(t, w.Flush(), ErrInvalid)
		require.ErrorIs(t, w.Close(), ErrInvalid)
	}
}

// The second descriptor writes as durably as the first, and is closed with it.
func TestTailIsAsDurable(t *testing.T) {
	name := newFile(t, block+10).Name()
	for _, flag := range []int{0, unix.O_DSYNC, unix.O_SYNC} {
		before := leftover.Descriptors()
		f, err := OpenFile(name, os.O_RDWR|flag, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1}, block+5)
		require.NoError(t, err)
		flags, err := unix.FcntlInt(uintptr(f.cache.fd), unix.F_GETFL, 0)
		require.NoError(t, err)
		require.Equal(t, flag, flags&(unix.O_SYNC|unix.O_DSYNC))
		require.Zero(t, flags&unix.O_DIRECT)
		require.Equal(t, before+2, leftover.Descriptors())
		require.NoError(t, f.Close())
		require.Equal(t, before, leftover.Descriptors(), "Close closes both")
	}
}

// Who gives up while the lock is his already leaves nothing behind for the next.
func TestLockIsLeftClean(t *testing.T) {
	ls := &blockLocks{}
	all := span{0, block}
	own := [2]span{all}
	first, err := ls.lock(ctxOf(t), all, own)
	require.NoError(t, err)
	abandoned := func() bool { // unlock and the end of ctx at the same moment: it may take either
		ctx, cancel := context.WithCancel(ctxOf(t))
		done := make(chan *blockLock, 1)
		go func() {
			l, _ := ls.lock(ctx, all, own)
			done <- l
		}()
		waiting := func() bool {
			ls.mu.Lock()
			defer ls.mu.Unlock()
			return ls.waiting == 1
		}
		for !waiting() {
			runtime.Gosched()
		}
		ls.mu.Lock()
		l := ls.tail
		cancel()
		ls.mu.Unlock()
		ls.unlock(first)
		first = <-done
		gaveUp := first == nil
		if gaveUp {
			require.Empty(t, l.ready)
			first, err = ls.lock(ctxOf(t), all, own)
			require.NoError(t, err)
		}
		return gaveUp
	}
	for range 2000 {
		abandoned()
	}
	ls.unlock(first)
	require.Nil(t, ls.head)
}

// busyDisk has more to write than is done in some milliseconds.
type busyDisk struct {
	q   *Queue
	ops []Op
}

// newBusyDisk is on the disk of f.
func newBusyDisk(t *testing.T, f *File) busyDisk {
	t.Helper()
	if !f.Direct() {
		t.Skip("no direct I/O here: nothing is in flight when a call has returned")
	}
	const size, n = 1 << 20, 64
	other, b := newFile(t, n*size), newBuffer(t, size)
	d := busyDisk{q: newQueue(t, n)}
	for i := range n {
		d.ops = append(d.ops, Pwrite(other, b, int64(i*size)))
	}
	return d
}

// during calls a function while the disk has that to do, so that what it submits is in
// flight for a while.
func (d busyDisk) during(t *testing.T, do func()) {
	t.Helper()
	_, err := d.q.Submit(ctxOf(t), d.ops...)
	require.NoError(t, err)
	do()
	receive(t, d.q, len(d.ops))
}

// awaitSubmitted waits until a queue has got something more than that.
func awaitSubmitted(q *Queue, before uint64) {
	for q.Stats().Submitted == before {
		runtime.Gosched()
	}
}

// A write that a call has left behind in the kernel keeps the blocks of the call: all who
// come later wait for it.
func TestAbandonedKeepsItsBlocks(t *testing.T) {
	const size = 512 << 10 // two pieces
	for name, write := range map[string]func(context.Context, *File, *Buffer) (int, error){
		"Buffer": func(ctx context.Context, f *File, b *Buffer) (int, error) {
			return f.WriteBuffer(ctx, b, 0)
		},
		"vector": func(ctx context.Context, f *File, b *Buffer) (int, error) {
			return f.WriteVector(ctx, []*Buffer{b, b}, 0)
		},
		"pieces": func(ctx context.Context, f *File, b *Buffer) (int, error) {
			return f.WriteAtContext(ctx, b.Bytes(), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, b := newFile(t, 2*size), newBuffer(t, size)
			f.queue = newQueue(t, 8)
			ls, disk := f.blockLocks(), newBusyDisk(t, f)
			abandoned := 0
			for range 10 {
				ctx, cancel := context.WithCancel(ctxOf(t))
				disk.during(t, func() {
					before := f.queue.Stats().Submitted
					done := make(chan error, 1)
					go func() { done <- second(write(ctx, f, b)) }()
					awaitSubmitted(f.queue, before)
					cancel()
					err := <-done
					if errors.Is(err, ErrInFlight) && f.queue.Stats().InFlight > 0 {
						abandoned++
					}
					l, err := ls.lock(ctxOf(t), f.blocks(0, 1), [2]span{}) // as for a read, or a write of a whole block
					require.NoError(t, err)
					require.Zero(t, f.queue.Stats().InFlight)
					ls.unlock(l)
				})
			}
			require.NotZero(t, abandoned)
			require.Nil(t, ls.head)
			require.Zero(t, ls.waiting+ls.exclusive)
			require.NoError(t, f.Truncate(0))
		})
	}
}

// The kernel lets a Sync fail where the page cache has a page that a direct write is
// under way on. No write that was given up is such a one.
func TestSyncBesideAbandonedWrites(t *testing.T) {
	const size = 1 << 20
	f := newFile(t, 2*size)
	f.queue = newQueue(t, 4)
	buffered := openBufferedFile(t, f.Name())
	calls := []func(context.Context, *rand.Rand) error{
		func(ctx context.Context, rnd *rand.Rand) error {
			b, err := Alloc(64*block, block)
			if err != nil {
				return err
			}
			defer b.Release()
			return second(f.WriteBuffer(ctx, b, int64(rnd.IntN(20))*block))
		},
		func(ctx context.Context, rnd *rand.Rand) error {
			return second(f.WriteAtContext(ctx, make([]byte, rnd.IntN(size)), rnd.Int64N(size)))
		},
		func(ctx context.Context, rnd *rand.Rand) error { return f.TruncateContext(ctx, rnd.Int64N(2*size)) },
		func(ctx context.Context, rnd *rand.Rand) error {
			return second(buffered.WriteAtContext(ctx, make([]byte, rnd.IntN(2*block)), rnd.Int64N(size)))
		},
		func(ctx context.Context, _ *rand.Rand) error { return f.SyncContext(ctx) },
	}
	var wg sync.WaitGroup
	for i := range 2 * len(calls) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 17))
			for range scaled(1000, 300) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(1500))*time.Microsecond)
				err := calls[i/2](ctx, rnd)
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					assert.NoError(t, err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, f.Sync())
}

// Nobody waits for a read that was given up: it changes nothing.
func TestAbandonedReadKeepsNothing(t *testing.T) {
	const size = 1 << 20
	f, b := newFile(t, size), newBuffer(t, size)
	f.queue = newQueue(t, 8)
	disk := newBusyDisk(t, f)
	ctx, cancel := context.WithCancel(ctxOf(t))
	disk.during(t, func() {
		done := make(chan error, 1)
		go func() { done <- second(f.ReadBuffer(ctx, b, 0)) }()
		awaitSubmitted(f.queue, 0)
		cancel()
		<-done
		require.Nil(t, f.blockLocks().head)
	})
}

// A write of a part of a block carries bytes of others, so once it is on its way it
// is waited for, whatever its context says.
func TestEdgeIsWaitedFor(t *testing.T) {
	f := newFile(t, 4*block)
	f.queue = newQueue(t, 4)
	for i := range scaled(100, 30) {
		ctx, cancel := context.WithCancel(context.Background())
		before := f.queue.Stats().Submitted
		done := make(chan error, 1)
		go func() { done <- second(f.WriteAtContext(ctx, []byte{byte(i)}, block+5)) }()
		for f.queue.Stats().Submitted < before+2 { // the read, and then the write
			runtime.Gosched()
		}
		cancel()
		require.NoError(t, <-done)
	}
}

// Whole sectors are written as they are, but in the block that the file ends in when
// the page cache was used for it: of that block nothing is written directly then.
func TestSectorsInTheLastBlock(t *testing.T) {
	f := openFile(t, newStreamFile(t, testDir(t), make([]byte, 3*block+512)).Name())
	if f.Alignment().Offset > 512 {
		t.Skipf("this file system takes no sectors: %+v", f.Alignment())
	}
	q, ctx, b := newQueue(t, 4), ctxOf(t), newBuffer(t, 2*block)
	f.queue = q
	f.blockLocks().cached.Store(false) // of a removed file with the same inode
	want := make([]byte, 3*block+512)
	for i, c := range []struct{ off, n, operations int }{
		{512, 512, 1},
		{3 * block, 512, 1},
		{3*block + 512, 512, 1},
		{3*block + 1024, 1, 0}, // from here on the page cache is used
		{512, 512, 1},
		{block - 512, 1024, 1},
		{3 * block, 512, 0},
		{3*block - 1024, 1536, 1}, // the sectors before the last block
		{3*block + 512, 1024, 0},
		{3*block + 1024, 2*block - 1024, 1}, // and whole blocks behind it
	} {
		bytes := b.Bytes()[:c.n]
		for j := range bytes {
			bytes[j] = byte(i + 1)
		}
		if end := c.off + c.n; end > len(want) {
			want = append(want, make([]byte, end-len(want))...)
		}
		copy(want[c.off:], bytes)
		part, err := b.Slice(0, c.n)
		require.NoError(t, err)
		before := q.Stats().Submitted
		n, err := f.WriteBuffer(ctx, part, int64(c.off))
		require.NoError(t, err)
		require.Equal(t, c.n, n)
		require.EqualValues(t, c.operations, q.Stats().Submitted-before, "%+v", c)
	}
	head, err := b.Slice(0, 512)
	require.NoError(t, err)
	tail, err := b.Slice(512, 1024)
	require.NoError(t, err)
	n, err := f.WriteVector(ctx, []*Buffer{head, tail}, int64(len(want)))
	require.NoError(t, err)
	require.Equal(t, 1536, n)
	want = append(append(want, head.Bytes()...), tail.Bytes()...)
	require.NoError(t, f.Sync())
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}
