//go:build linux

package libaio

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// scaled is the number to take: one in a full run, the other with -short.
func scaled(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// libaio's harness, case 11: a million reads into one page, many at a time.
func TestHarnessManyRepeats(t *testing.T) {
	const batch = 128
	repeats := scaled(1_000_000, 20_000)
	read := func(t *testing.T, f *File, total int) {
		c, b, cbs := newContext(t, batch), newBuffer(t, block), newIOCBs(t, batch)
		var evs [batch]Event
		for _, cb := range cbs {
			require.NoError(t, cb.PrepPread(f.FD(), b, block))
		}
		for done := 0; done < total; done += batch {
			submitAll(t, c, cbs...)
			n, err := c.GetEvents(batch, evs[:], time.Minute)
			if err != nil || n != batch {
				t.Fatalf("%d events of %d after %d operations: %v", n, batch, done, err)
			}
			for i := range evs {
				if evs[i].Res != block {
					t.Fatalf("result %d after %d operations", evs[i].Res, done)
				}
			}
		}
		require.False(t, b.InFlight())
		requirePattern(t, b.Bytes(), block, 0)
	}
	f := newFile(t, 4*block)
	t.Run("buffered", func(t *testing.T) { read(t, buffered(t, f), repeats) })
	t.Run("direct", func(t *testing.T) { read(t, f, repeats/50) })
	t.Run("queue", func(t *testing.T) {
		q, b := newQueue(t, batch), newBuffer(t, block)
		ops := make([]Op, batch)
		for i := range ops {
			ops[i] = Pread(buffered(t, f), b, block)
		}
		for range repeats / 10 / batch {
			_, err := q.Submit(ctxOf(t), ops...)
			require.NoError(t, err)
			for _, done := range receive(t, q, batch) {
				if done.Err != nil || done.N != block {
					t.Fatalf("%+v", done)
				}
			}
		}
		requirePattern(t, b.Bytes(), block, 0)
	})
}

// libaio's harness, case 16: the eventfd counts each completion once, and only
// when its event can be read.
func TestHarnessEventfd(t *testing.T) {
	const n = 512
	c, f, b, cbs := newContext(t, n), newFile(t, block), newBuffer(t, block), newIOCBs(t, n)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	prepare := func(resfd int) {
		for _, cb := range cbs {
			require.NoError(t, cb.PrepPread(f.FD(), b, 0))
			require.NoError(t, cb.SetEventfd(resfd))
		}
	}
	count := func() int {
		ready, err := 0, error(syscall.EINTR)
		for err == syscall.EINTR {
			ready, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		}
		require.NoError(t, err)
		require.Equal(t, 1, ready, "the eventfd was not signalled")
		var word [8]byte
		_, err = unix.Read(fd, word[:])
		require.NoError(t, err)
		return int(binary.NativeEndian.Uint64(word[:]))
	}

	prepare(fd)
	submitAll(t, c, cbs...)
	reap(t, c, n)
	require.Equal(t, n, count(), "the events first, then the eventfd")

	prepare(fd)
	submitAll(t, c, cbs...)
	evs := make([]Event, n)
	for signalled, seen := 0, 0; signalled < n; {
		signalled += count()
		got, err := c.GetEvents(0, evs, 0)
		require.NoError(t, err)
		seen += got
		require.GreaterOrEqual(t, seen, signalled, "the eventfd first, then the events")
	}

	r, _ := newPipe(t)
	for _, none := range []int{f.FD(), r.FD(), 1 << 20} {
		prepare(none)
		got, err := c.Submit(cbs...)
		require.Error(t, err)
		require.Contains(t, []error{syscall.EINVAL, syscall.EBADF}, errnoIn(t, err))
		require.Zero(t, got)
		require.False(t, b.InFlight())
	}
}

// libaio's harness, case 17: rings smaller and larger than the number of
// requests. What does not fit is refused with EAGAIN, never lost.
func TestHarnessRingSizes(t *testing.T) {
	f := buffered(t, newFile(t, block))
	for _, size := range []int{1, 8, 128, 1024} {
		c, cbs := newContext(t, size), newIOCBs(t, 4*size)
		b := newBuffer(t, block)
		for _, n := range []int{(size + 1) / 2, size - 1, size, size + 1, 2 * size, 4 * size} {
			t.Run(fmt.Sprintf("%d in a ring for %d", n, size), func(t *testing.T) {
				refused := fillRing(t, c, cbs[:n], f, b)
				require.False(t, refused && n <= size, "no less than was asked for")
				// The kernel rounds up: to a page, and to some for each processor.
				require.False(t, !refused && n >= 4096, "no more than the ring holds")
			})
			t.Run(fmt.Sprintf("%d in a queue of depth %d", n, size), func(t *testing.T) {
				throughQueue(t, size, n, f, b)
			})
		}
	}
}

// fillRing submits all and reads no event before the kernel refuses more. It
// says whether the kernel did.
func fillRing(t *testing.T, c *Context, cbs []*IOCB, f *File, b *Buffer) (refused bool) {
	t.Helper()
	done := 0
	evs := make([]Event, len(cbs)+1)
	take := func(minimum int) {
		got, err := c.GetEvents(minimum, evs, time.Minute)
		require.NoError(t, err)
		for _, ev := range evs[:got] {
			require.EqualValues(t, block, ev.Res)
			require.EqualValues(t, done, ev.Data, "none lost, none twice, all in order")
			done++
		}
	}
	for i, cb := range cbs {
		require.NoError(t, cb.PrepPread(f.FD(), b, 0))
		require.NoError(t, cb.SetData(uint64(i)))
	}
	for sent := 0; sent < len(cbs); {
		n, err := c.Submit(cbs[sent:]...)
		sent += n
		if err != nil {
			require.ErrorIs(t, err, syscall.EAGAIN)
			refused = true
			take(1)
		}
	}
	take(len(cbs) - done)
	require.Equal(t, len(cbs), done)
	got, err := c.GetEvents(0, evs, 0)
	require.NoError(t, err)
	require.Zero(t, got, "one event for each")
	return refused
}

// throughQueue has a queue wait for room, which never is an EAGAIN.
func throughQueue(t *testing.T, depth, n int, f *File, b *Buffer) {
	t.Helper()
	q := newQueue(t, depth)
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Pread(f, b, 0).WithTag(uint64(i))
	}
	submitted := make(chan error, 1)
	go func() {
		_, err := q.Submit(ctxOf(t), ops...)
		submitted <- err
	}()
	seen := make([]bool, n)
	for _, done := range receive(t, q, n) {
		require.NoError(t, done.Err)
		require.Equal(t, block, done.N)
		require.False(t, seen[done.Tag], "completion %d a second time", done.Tag)
		seen[done.Tag] = true
	}
	require.NoError(t, <-submitted)
	require.NotContains(t, seen, false)
}

// libaio's harness, case 18: a hundred at the same time, each with a context of
// its own, and all with one queue; half of them go through the page cache.
func TestHarnessManyReaders(t *testing.T) {
	const readers, blocks = 100, 64
	reads := scaled(1000, 20)
	f := newFile(t, blocks*block)
	cached := buffered(t, f)
	type reader func(b *Buffer, offset int64) (int, error)
	all := func(t *testing.T, newReader func(f *File) reader) {
		var wg sync.WaitGroup
		for i := range readers {
			b, read := newBuffer(t, block), newReader([]*File{f, cached}[i%2])
			wg.Go(func() {
				for range reads {
					offset := rand.Int64N(blocks) * block
					n, err := read(b, offset)
					if !assert.NoError(t, err) || !assert.Equal(t, block, n) || !assert.Equal(t, -1, wrongAt(b.Bytes(), offset, 0)) {
						return
					}
				}
			})
		}
		wg.Wait()
	}
	t.Run("contexts", func(t *testing.T) {
		all(t, func(f *File) reader {
			c, cb := newContext(t, 4), newIOCB(t)
			return func(b *Buffer, offset int64) (int, error) {
				if err := cb.PrepPread(f.FD(), b, offset); err != nil {
					return 0, err
				}
				if _, err := c.Submit(cb); err != nil {
					return 0, err
				}
				var ev [1]Event
				if n, err := c.GetEvents(1, ev[:], time.Minute); n != 1 {
					return 0, fmt.Errorf("%d events: %w", n, err)
				}
				return int(ev[0].Res), ev[0].Err()
			}
		})
	})
	t.Run("queue", func(t *testing.T) {
		q, ctx := newQueue(t, 64), ctxOf(t)
		all(t, func(f *File) reader {
			return func(b *Buffer, offset int64) (int, error) { return q.Do(ctx, Pread(f, b, offset)) }
		})
	})
}

// libaio's harness, case 18: when Destroy or Close has returned, the kernel is
// done with the memory.
func TestHarnessNothingAfterDestroy(t *testing.T) {
	const n, size, canary = 16, 1 << 20, 99
	f, bufs := newFile(t, size), newBuffers(t, n, size)
	check := func(t *testing.T) {
		for _, b := range bufs {
			require.False(t, b.InFlight())
			fill(b.Bytes(), 0, canary)
		}
		time.Sleep(50 * time.Millisecond) // for what should not come
		for _, b := range bufs {
			requirePattern(t, b.Bytes(), 0, canary)
		}
	}
	t.Run("context", func(t *testing.T) {
		for range scaled(6, 1) {
			c, cbs := newContext(t, n), newIOCBs(t, n)
			for i, cb := range cbs {
				require.NoError(t, cb.PrepPread(f.FD(), bufs[i], 0))
			}
			submitAll(t, c, cbs...)
			require.NoError(t, c.Destroy())
			check(t)
		}
	})
	t.Run("queue", func(t *testing.T) {
		for range scaled(6, 1) {
			q, ops := newQueue(t, n), []Op(nil)
			for _, b := range bufs {
				ops = append(ops, Pread(f, b, 0))
			}
			_, err := q.Submit(ctxOf(t), ops...)
			require.NoError(t, err)
			require.NoError(t, q.Close())
			check(t)
		}
	})
}

// libaio's harness, case 19: the ring goes round and round, in steps of each
// size, and gives each event once and in order. Reads from the page cache
// complete within io_submit, so their order is that of their submission.
func TestHarnessRingWraps(t *testing.T) {
	f, b := buffered(t, newFile(t, block)), newBuffer(t, 8)
	c := newContext(t, 1)
	// Half of the room: the kernel keeps some of the rest for each processor.
	cbs := newIOCBs(t, ringRoom(t, c)/2)
	next, expected := uint64(0), uint64(0)
	for _, cb := range cbs {
		require.NoError(t, cb.PrepPread(f.FD(), b, 0))
	}
	for chunk := 1; chunk <= len(cbs); chunk += scaled(1, 7) {
		evs := make([]Event, chunk)
		for turned := 0; turned < 6*len(cbs); turned += chunk {
			for _, cb := range cbs[:chunk] {
				require.NoError(t, cb.SetData(next))
				next++
			}
			submitAll(t, c, cbs[:chunk]...)
			n, err := c.GetEvents(chunk, evs, time.Minute)
			require.NoError(t, err)
			require.Equal(t, chunk, n)
			for _, ev := range evs {
				if ev.Data != expected || ev.Res != 8 {
					t.Fatalf("steps of %d: event %d with result %d, expected %d with 8", chunk, ev.Data, ev.Res, expected)
				}
				expected++
			}
		}
	}
	require.Equal(t, next, expected)

	// The same for a queue, which empties its ring when it likes, and has several
	// callers of io_submit for such reads.
	const depth = 8
	q := newQueue(t, depth)
	for chunk := 1; chunk <= depth; chunk++ {
		for first := 0; first < scaled(2000, 400); first += chunk {
			var ops []Op
			for i := range chunk {
				ops = append(ops, Pread(f, b, 0).WithTag(uint64(first+i)))
			}
			_, err := q.Submit(ctxOf(t), ops...)
			require.NoError(t, err)
			seen := make([]bool, chunk)
			for _, done := range receive(t, q, chunk) {
				i := int(done.Tag) - first
				require.Equal(t, Completion{Tag: uint64(first + i), File: f, Buffer: b, N: 8, Kind: KindPread}, done)
				require.False(t, seen[i])
				seen[i] = true
			}
		}
	}
}

// ringRoom is how many operations the kernel takes into a context, which is
// more than was asked for.
func ringRoom(t *testing.T, c *Context) int {
	t.Helper()
	r, w := newPipe(t)
	for n := 0; ; n++ {
		cb := newIOCB(t)
		require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
		if _, err := c.Submit(cb); err != nil {
			require.ErrorIs(t, err, syscall.EAGAIN)
			_, err := unix.Write(w, []byte{1})
			require.NoError(t, err)
			reap(t, c, n)
			return n
		}
	}
}

// libaio's harness, case 20: contexts until the system has no more. The error
// says so with the numbers, and Destroy gives all back. Others of the machine
// take and give too, so the number of contexts is not known exactly; nothing is
// done while all are taken, so that they do not starve.
func TestHarnessContextsUsedUp(t *testing.T) {
	limit, err := strconv.Atoi(readProc("aio-max-nr"))
	require.NoError(t, err)
	size := max(4000, limit/32)
	if limit > 1<<21 {
		t.Skipf("fs.aio-max-nr is %d: the rings would take %d MiB of memory", limit, limit*64>>20)
	}
	before := leftover.Contexts()
	var contexts []*Context
	var full error
	for full == nil {
		c, err := Setup(size)
		if full = err; err == nil {
			contexts = append(contexts, c)
		}
	}
	q, queueFull := NewQueue(size, nil)
	taken, mapped := aioNr(t), leftover.Contexts()
	var wg sync.WaitGroup
	for _, c := range contexts {
		wg.Go(func() { assert.NoError(t, c.Destroy()) })
	}
	wg.Wait()
	if queueFull == nil { // somebody gave some back in between
		require.NoError(t, q.Close())
		mapped--
	}

	t.Logf("%d contexts of %d, aio-nr %d of %d: %v", len(contexts), size, taken, limit, full)
	require.LessOrEqual(t, len(contexts), limit/size)
	require.Equal(t, before+len(contexts), mapped)
	require.Equal(t, before, leftover.Contexts())
	for _, err := range []error{full, queueFull} {
		if err == nil {
			continue
		}
		require.ErrorIs(t, err, syscall.EAGAIN)
		require.ErrorContains(t, err, "aio-nr is ")
		require.ErrorContains(t, err, fmt.Sprintf("aio-max-nr %d", limit))
		require.ErrorContains(t, err, fmt.Sprintf("depth %d", size))
	}
	require.Eventually(t, func() bool {
		c, err := Setup(size)
		return err == nil && assert.NoError(t, c.Destroy())
	}, time.Minute, 10*time.Millisecond, "what was used up is there again")
	if len(contexts) > 1 {
		require.Eventually(t, func() bool { return aioNr(t) < taken-len(contexts)*size/2 }, time.Minute, time.Millisecond)
	}
}
