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
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// newStreamFile makes a file with these bytes.
func newStreamFile(t testing.TB, dir string, content []byte) *File {
	t.Helper()
	name := filepath.Join(dir, fmt.Sprintf("stream-%d", len(content)))
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return openFile(t, name)
}

func newReader(t testing.TB, f *File, opts *ReaderOptions) *Reader {
	t.Helper()
	r, err := NewReader(f, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestReaderIsAnIOReader(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	onFileSystems(t, func(t *testing.T, dir string) {
		for _, size := range []int{0, 1, block - 1, block, block + 1, 4 * block, 10*block + 17} {
			content := random(rnd, size)
			f := newStreamFile(t, dir, content)
			require.NoError(t, iotest.TestReader(newReader(t, f, &ReaderOptions{BlockSize: block, Depth: 3}), content))
			require.NoError(t, iotest.TestReader(newReader(t, f, nil), content))
			near := max(0, size-200) // a read for each byte
			require.NoError(t, iotest.TestReader(io.NewSectionReader(f, int64(near), int64(size-near)), content[near:]))
			for _, from := range []int{0, 1, 511, block, block + 5} {
				want := content[min(from, size):]
				r := newReader(t, f, &ReaderOptions{Offset: int64(from), BlockSize: block, Depth: 2})
				var got bytes.Buffer
				n, err := r.WriteTo(&got)
				require.NoError(t, err)
				require.EqualValues(t, len(want), n)
				require.True(t, bytes.Equal(want, got.Bytes()))
				_, err = r.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
			}
		}
	})
}

// As many reads as were asked for are in flight, and no more.
func TestReaderReadsAhead(t *testing.T) {
	f := newFile(t, 64*block)
	q := newQueue(t, 16)
	f.queue = q
	r := newReader(t, f, &ReaderOptions{BlockSize: block, Depth: 5})
	require.Zero(t, q.Stats().Submitted, "before the first Read")
	_, err := r.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return q.Stats().Submitted == 5 }, time.Minute, time.Millisecond)
	_, err = io.ReadFull(r, make([]byte, block))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return q.Stats().Submitted == 6 }, time.Minute, time.Millisecond)
}

// With one block nothing is ahead, and whoever reads waits himself.
func TestReaderOfOneBlock(t *testing.T) {
	f := newFile(t, 64*block)
	f.queue = newQueue(t, 16)
	r := newReader(t, f, &ReaderOptions{BlockSize: block, Depth: 1})
	_, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	s := f.queue.Stats()
	require.EqualValues(t, 65, s.Submitted, "the last finds the end")
	require.EqualValues(t, loneTimes, s.Batches, "all others are a pread")
}

// As many writes as were asked for are in flight, and no more. One block is full
// beside them, and who is done goes on with it.
func TestWriterWritesBehind(t *testing.T) {
	content := random(rand.New(rand.NewPCG(8, 9)), 20*block)
	f := newFile(t, len(content))
	ls := f.blockLocks()
	all := span{0, int64(len(content))}
	l, err := ls.lock(ctxOf(t), all, [2]span{all})
	require.NoError(t, err)
	w, err := NewWriter(f, &WriterOptions{BlockSize: block, Depth: 3})
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := w.Write(content)
		done <- errors.Join(err, w.Close())
	}()
	requireWaiting(t, ls, 3)
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.next.buf != nil
	}, time.Minute, time.Millisecond)
	requireWaiting(t, ls, 3)
	ls.unlock(l)
	require.NoError(t, <-done)
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}

func TestReaderCloses(t *testing.T) {
	r := newReader(t, newFile(t, 64*block), &ReaderOptions{BlockSize: block})
	_, err := r.Read(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.WriteTo(io.Discard)
	require.ErrorIs(t, err, ErrClosed)
	_, err = new(Reader).Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorIs(t, new(Reader).Close(), ErrInvalid)
}

type limitedWriter struct{ n int }

var errFull = errors.New("full")

func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.n)
	w.n -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// What the io.Writer did not take is still there.
func TestWriteToStopsWithTheWriter(t *testing.T) {
	content := random(rand.New(rand.NewPCG(3, 4)), 5*block)
	r := newReader(t, newStreamFile(t, testDir(t), content), &ReaderOptions{BlockSize: block})
	n, err := r.WriteTo(&limitedWriter{n: block + 10})
	require.ErrorIs(t, err, errFull)
	require.EqualValues(t, block+10, n)
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content[block+10:], rest))
}

// Any run of Write, ReadFrom and Flush, from any offset, gives the file that it
// gives on a file of os.
func TestWriterIsAsOSFile(t *testing.T) {
	onFileSystems(t, func(t *testing.T, dir string) {
		for round := range 30 {
			rnd := rand.New(rand.NewPCG(uint64(round), 5))
			p := newPair(t, dir, os.O_RDWR, nil)
			p.write(random(rnd, rnd.IntN(5*block)), 0)
			at := rnd.Int64N(6 * block)
			w, err := NewWriter(p.f, &WriterOptions{Offset: at, BlockSize: block * (1 + rnd.IntN(3)), Depth: 1 + rnd.IntN(4)})
			require.NoError(t, err)
			for range 10 {
				data := random(rnd, anyLength(rnd)/4)
				switch rnd.IntN(4) {
				case 0:
					n, err := w.ReadFrom(iotest.OneByteReader(bytes.NewReader(data)))
					require.NoError(t, err)
					require.EqualValues(t, len(data), n)
				case 1:
					n, err := w.ReadFrom(bytes.NewReader(data))
					require.NoError(t, err)
					require.EqualValues(t, len(data), n)
				default:
					n, err := w.Write(data)
					require.NoError(t, err)
					require.Equal(t, len(data), n)
				}
				_, err = p.model.WriteAt(data, at)
				require.NoError(t, err)
				at += int64(len(data))
				if rnd.IntN(3) == 0 {
					require.NoError(t, w.Flush())
					p.same()
				}
			}
			require.NoError(t, w.Close())
			require.NoError(t, w.Close())
			p.same()
			_, err = w.Write(nil)
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, w.Flush(), ErrClosed)
		}
	})
}

// The first error stays, and Close gives the memory back all the same.
func TestWriterKeepsItsError(t *testing.T) {
	f := newFile(t, block)
	w, err := NewWriter(f, &WriterOptions{BlockSize: block, Depth: 2})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = w.Write(make([]byte, 10*block))
	if err == nil {
		err = w.Flush()
	}
	var e *Error
	require.ErrorAs(t, err, &e)
	_, again := w.Write([]byte{1})
	require.Equal(t, err, again)
	_, again = w.ReadFrom(strings.NewReader("x"))
	require.Equal(t, err, again)
	require.Equal(t, err, w.Flush())
	require.Equal(t, err, w.Close())
}

func TestReadFromAStuckReader(t *testing.T) {
	w, err := NewWriter(newFile(t, block), nil)
	require.NoError(t, err)
	defer w.Close()
	_, err = w.ReadFrom(stuckReader{})
	require.ErrorIs(t, err, io.ErrNoProgress)
	n, err := w.ReadFrom(iotest.TimeoutReader(iotest.HalfReader(strings.NewReader("some words"))))
	require.ErrorIs(t, err, iotest.ErrTimeout)
	require.NotZero(t, n)
	_, err = new(Writer).Write([]byte{1})
	require.ErrorIs(t, err, ErrInvalid)
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestStreamOptions(t *testing.T) {
	f := newFile(t, block)
	for _, o := range []ReaderOptions{{Offset: -1}, {BlockSize: -1}, {BlockSize: maxStreamBlock + 1}, {Depth: -1}, {Depth: maxStreamDepth + 1}} {
		_, err := NewReader(f, &o)
		require.ErrorIs(t, err, ErrInvalid, "%+v", o)
		w := WriterOptions{Offset: o.Offset, BlockSize: o.BlockSize, Depth: o.Depth}
		_, err = NewWriter(f, &w)
		require.ErrorIs(t, err, ErrInvalid, "%+v", o)
	}
	for _, n := range []int64{-1, math.MaxInt64} {
		_, err := NewReader(f, &ReaderOptions{Offset: 1, Length: n})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("Length %d from Offset 1 on", n))
	}
	_, err := NewReader(nil, nil)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = NewWriter(new(File), nil)
	require.ErrorIs(t, err, ErrInvalid)
}

// A Reader with a Length gives these bytes, and reads no more than their blocks.
func TestReaderOfALength(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 7))
	content := random(rnd, 10*block+17)
	onFileSystems(t, func(t *testing.T, dir string) {
		f := newStreamFile(t, dir, content)
		for _, from := range []int{0, 5, block, 3*block - 1} {
			for _, n := range []int{1, block - 5, block, block + 1, 4 * block, 4*block + 9, 100 * block} {
				want := content[from:min(from+n, len(content))]
				opts := &ReaderOptions{Offset: int64(from), Length: int64(n), BlockSize: block, Depth: 3}
				require.NoError(t, iotest.TestReader(newReader(t, f, opts), want))
				opts.BlockSize = 4 * block
				require.NoError(t, iotest.TestReader(newReader(t, f, opts), want))
			}
		}
		f = openFile(t, f.Name()) // which nobody reads ahead
		f.queue = newQueue(t, 8)
		r := newReader(t, f, &ReaderOptions{Length: 2*block + 1, BlockSize: 2 * block, Depth: 8})
		require.Len(t, r.blocks, 2, "memory for what there is to read")
		_, err := io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.EqualValues(t, 2, f.queue.Stats().Submitted)
	})
}

// A Reader takes no more memory than there is to read when it is made, and all the same
// reads what comes to it.
func TestReaderOfAFileThatGrows(t *testing.T) {
	content := random(rand.New(rand.NewPCG(13, 14)), 12*block)
	for _, c := range []struct {
		size int
		opts ReaderOptions
		want int // Buffers
	}{
		{0, ReaderOptions{}, 8}, // nothing is known
		{1, ReaderOptions{}, 1},
		{block, ReaderOptions{}, 2},
		{3*block - 1, ReaderOptions{}, 3},
		{3 * block, ReaderOptions{}, 4},
		{3 * block, ReaderOptions{Offset: block}, 3},
		{3 * block, ReaderOptions{Offset: 5 * block}, 1},
		{3 * block, ReaderOptions{Length: 2 * block}, 2},
		{3 * block, ReaderOptions{Length: math.MaxInt64}, 4},
	} {
		f := newStreamFile(t, testDir(t), content[:c.size])
		c.opts.BlockSize, c.opts.Depth = block, 8
		r := newReader(t, f, &c.opts)
		require.Len(t, r.blocks, c.want, "%d bytes, %+v", c.size, c.opts)
		_, err := f.WriteAt(content, 0)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		want := content[c.opts.Offset:]
		if c.opts.Length > 0 {
			want = want[:min(c.opts.Length, int64(len(want)))]
		}
		require.True(t, bytes.Equal(want, got), "%d bytes, %+v", c.size, c.opts)
	}
	r := newReader(t, newStreamFile(t, testDir(t), content), &ReaderOptions{BlockSize: block, Depth: 8})
	require.Len(t, r.blocks, 8, "it is Depth where there is more to read")
}

// Its Context ends a Reader: behind what was read, and for good.
func TestReaderContext(t *testing.T) {
	f := newFile(t, 64*block)
	ctx, cancel := context.WithCancel(context.Background())
	r := newReader(t, f, &ReaderOptions{Context: ctx, BlockSize: block, Depth: 2})
	_, err := r.Read(make([]byte, 10))
	require.NoError(t, err)
	cancel()
	n, err := io.Copy(io.Discard, r)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrInFlight, "the Buffers are not the caller's")
	require.ErrorContains(t, err, f.Name())
	require.LessOrEqual(t, n, int64(2*block))
	_, err = r.Read(make([]byte, 10))
	require.ErrorIs(t, err, context.Canceled)

	// Also one that waits: for a lock, here.
	ls := f.blockLocks()
	l, err := ls.lock(ctxOf(t), f.blocks(0, 10), f.edges(0, 10))
	require.NoError(t, err)
	defer ls.unlock(l)
	ctx, cancel = context.WithCancel(context.Background())
	r = newReader(t, f, &ReaderOptions{Context: ctx, BlockSize: block, Depth: 1})
	done := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 10))
		done <- err
	}()
	requireWaiting(t, ls, 1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func requireWaiting(t *testing.T, ls *blockLocks, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		return ls.waiting == n
	}, time.Minute, time.Millisecond)
}

// Its Context ends a Writer, also one that waits for what is in flight.
func TestWriterContext(t *testing.T) {
	f := newFile(t, 64*block)
	ls := f.blockLocks()
	l, err := ls.lock(ctxOf(t), f.blocks(0, 10), f.edges(0, 10))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	w, err := NewWriter(f, &WriterOptions{Context: ctx, BlockSize: block, Depth: 1})
	require.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 3*block)) // the first waits for the lock, the third for its Buffer
		if err == nil {
			err = w.Flush()
		}
		done <- err
	}()
	requireWaiting(t, ls, 1)
	cancel()
	err = <-done
	ls.unlock(l)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrInFlight)
	require.ErrorContains(t, err, f.Name())
	_, again := w.Write([]byte{1})
	require.Equal(t, err, again)
	require.Equal(t, err, w.Flush())
	require.Equal(t, err, w.Close())
	require.NoError(t, w.Close())

	ctx, cancel = context.WithCancel(context.Background())
	w, err = NewWriter(f, &WriterOptions{Context: ctx, BlockSize: block})
	require.NoError(t, err)
	cancel()
	_, err = w.Write([]byte{1})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, w.Close(), context.Canceled)
}

// A Reset begins anew, with the memory that is there where that is enough.
func TestReaderReset(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	dir := testDir(t)
	first, second := random(rnd, 20*block+3), random(rnd, 9*block+1)
	f, g := newStreamFile(t, dir, first), newStreamFile(t, dir, second)
	var r Reader
	defer func() { require.NoError(t, r.Close()) }()
	require.ErrorIs(t, r.Reset(nil, nil), ErrInvalid)
	require.ErrorIs(t, r.Close(), ErrInvalid, "it is what it was: none")

	require.NoError(t, r.Reset(f, &ReaderOptions{BlockSize: 2 * block, Depth: 3}))
	mem := r.mem.all
	_, err := io.ReadFull(&r, make([]byte, block)) // the others are read ahead
	require.NoError(t, err)
	require.ErrorIs(t, r.Reset(g, &ReaderOptions{Offset: -1}), ErrInvalid)
	rest, err := io.ReadAll(&r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first[block:], rest), "after an error it is what it was")

	require.NoError(t, r.Reset(f, &ReaderOptions{BlockSize: block, Depth: 6}))
	_, err = r.Read(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, r.Reset(g, &ReaderOptions{Offset: 5, BlockSize: block, Depth: 3})) // while f is read
	require.NoError(t, f.Close())
	require.Same(t, mem, r.mem.all)
	rest, err = io.ReadAll(&r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(second[5:], rest))
	require.NoError(t, r.Reset(g, &ReaderOptions{BlockSize: block, Depth: 7}))
	require.NotSame(t, mem, r.mem.all, "that is more")
	require.ErrorIs(t, mem.Free(), ErrFreed)

	require.NoError(t, r.Close())
	require.NoError(t, r.Reset(g, nil))
	rest, err = io.ReadAll(&r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(second, rest))
	require.ErrorIs(t, (*Reader)(nil).Reset(g, nil), ErrInvalid)
}

func TestWriterReset(t *testing.T) {
	f, g := newFile(t, 0), newFile(t, 0)
	var w Writer
	require.ErrorIs(t, w.Reset(nil, nil), ErrInvalid)
	require.ErrorIs(t, w.Close(), ErrInvalid, "it is what it was: none")

	require.NoError(t, w.Reset(f, &WriterOptions{BlockSize: 2 * block, Depth: 3}))
	mem := w.mem.all
	content := random(rand.New(rand.NewPCG(9, 10)), 11*block+3)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.ErrorIs(t, w.Reset(g, &WriterOptions{Depth: -1}), ErrInvalid)
	require.NoError(t, w.Flush())
	requireContent(t, f, content)

	_, err = w.Write([]byte("not flushed"))
	require.NoError(t, err)
	require.NoError(t, w.Reset(g, &WriterOptions{BlockSize: block, Depth: 7})) // while f is written
	requireContent(t, f, content)
	require.NoError(t, f.Close())
	require.Same(t, mem, w.mem.all)
	_, err = w.Write(content[1:])
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	requireContent(t, g, content[1:])

	require.NoError(t, g.Truncate(0))
	require.NoError(t, w.Reset(g, nil))
	require.NotSame(t, mem, w.mem.all, "that is more")
	require.ErrorIs(t, mem.Free(), ErrFreed)
	require.NoError(t, w.Close())
	require.NoError(t, w.Reset(g, nil))
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	requireContent(t, g, content)
	require.ErrorIs(t, (*Writer)(nil).Reset(g, nil), ErrInvalid)
}

func requireContent(t *testing.T, f *File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

// What the kernel still has of a Writer whose Context has ended is not used again, and
// what is written next is not overtaken by it.
func TestWriterResetInFlight(t *testing.T) {
	const size, depth = 64 << 10, 4
	f := newFile(t, depth*size)
	f.queue = newQueue(t, depth)
	disk := newBusyDisk(t, f)
	rnd := rand.New(rand.NewPCG(11, 12))
	old, content := random(rnd, depth*size), random(rnd, depth*size)
	var w Writer
	inFlight := 0
	for range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		require.NoError(t, w.Reset(f, &WriterOptions{Context: ctx, BlockSize: size, Depth: depth}))
		disk.during(t, func() {
			before := f.queue.Stats().Submitted
			_, err := w.Write(old)
			require.NoError(t, err)
			awaitSubmitted(f.queue, before)
			cancel()
			w.writes.Wait()
			if w.mem.all.InFlight() {
				inFlight++
			}
			require.NoError(t, w.Reset(f, &WriterOptions{BlockSize: size, Depth: depth}))
			require.False(t, w.mem.all.InFlight())
			_, err = w.Write(content)
			require.NoError(t, err, "the error is forgotten")
			require.NoError(t, w.Flush())
			requireContent(t, f, content)
			require.Zero(t, f.queue.Stats().InFlight)
		})
	}
	require.NotZero(t, inFlight)
	require.NoError(t, w.Close())
}

// Reset waits for the writes that are under way.
func TestWriterResetWaits(t *testing.T) {
	const size, depth = 1 << 20, 4
	f, g := newFile(t, depth*size), newFile(t, 0)
	f.queue = newQueue(t, depth)
	disk := newBusyDisk(t, f)
	content := random(rand.New(rand.NewPCG(15, 16)), depth*size)
	w, err := NewWriter(f, &WriterOptions{BlockSize: size, Depth: depth})
	require.NoError(t, err)
	disk.during(t, func() {
		_, err := w.Write(content)
		require.NoError(t, err)
		require.NoError(t, w.Reset(g, &WriterOptions{BlockSize: size, Depth: depth}))
		require.Zero(t, f.queue.Stats().InFlight)
		requireContent(t, f, content)
	})
	require.NoError(t, w.Close())
}

// Large streams ask for huge pages.
func TestStreamsHaveHugePages(t *testing.T) {
	f := newFile(t, 4<<20)
	for size, want := range map[int]HugePages{hugeStream / 2: HugePagesNo, hugeStream: HugePagesTransparent} {
		r := newReader(t, f, &ReaderOptions{BlockSize: size, Depth: 1})
		require.Equal(t, want, r.mem.all.home.own.huge)
	}
}
