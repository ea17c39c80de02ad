//go:build linux

package libaio

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestQueueCreateAndCloseAtOnce(t *testing.T) {
	for _, depth := range []int{1, 2, 7, 128, 4096} {
		q, err := NewQueue(depth, nil)
		require.NoError(t, err)
		assert.Equal(t, depth, q.Depth())
		require.NoError(t, q.Close())
		_, open := <-q.Completions()
		assert.False(t, open)
		checkInvariants(t, q)
	}
}

// Queues take from what the system has for AIO, and Close gives it back. Other
// processes take and give too, so the numbers are large and the bounds half of
// them.
func TestCloseGivesContextsBack(t *testing.T) {
	const queues, depth = 10, 500
	contexts := leftover.Contexts()
	var qs []*Queue
	before := aioNr(t)
	for range queues {
		q, err := NewQueue(depth, nil)
		require.NoError(t, err)
		qs = append(qs, q)
	}
	require.Equal(t, contexts+queues, leftover.Contexts())
	full := aioNr(t)
	require.Greater(t, full, before+queues*depth/2)
	for _, q := range qs {
		require.NoError(t, q.Close())
	}
	require.Equal(t, contexts, leftover.Contexts())
	require.Eventually(t, func() bool { return aioNr(t) < full-queues*depth/2 }, time.Minute, time.Millisecond)
}

func TestReadOneBlock(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 8*block), newBuffer(t, block)
	n, err := q.Submit(ctxOf(t), Pread(f, b, 3*block).WithTag(7))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	c := receive(t, q, 1)[0]
	require.Equal(t, Completion{Tag: 7, File: f, Buffer: b, Offset: 3 * block, N: block, Kind: KindPread}, c)
	requirePattern(t, b.Bytes(), 3*block, 0)
}

func TestWriteOneBlock(t *testing.T) {
	for name, adorn := range map[string]func(Op) Op{
		"plain":    func(o Op) Op { return o },
		"none":     func(o Op) Op { return o.WithDurability(DurabilityNone) },
		"data":     func(o Op) Op { return o.WithDurability(DurabilityData) },
		"full":     func(o Op) Op { return o.WithDurability(DurabilityFull) },
		"RWFDsync": func(o Op) Op { return o.WithFlags(RWFDsync) },
		"RWFSync":  func(o Op) Op { return o.WithFlags(RWFSync) },
	} {
		t.Run(name, func(t *testing.T) {
			q, f, b := newQueue(t, 4), newFile(t, 4*block), newBuffer(t, block)
			fill(b.Bytes(), 2*block, 9)
			n, err := q.Do(ctxOf(t), adorn(Pwrite(f, b, 2*block)))
			require.NoError(t, err)
			require.Equal(t, block, n)

			p, err := os.ReadFile(f.Name())
			require.NoError(t, err)
			require.Len(t, p, 4*block)
			requirePattern(t, p[:2*block], 0, 0)
			requirePattern(t, p[2*block:3*block], 2*block, 9)
			requirePattern(t, p[3*block:], 3*block, 0)
		})
	}
}

func TestSyncs(t *testing.T) {
	q, f := newQueue(t, 4), newFile(t, block)
	for _, op := range []Op{Fsync(f), Fdsync(f)} {
		n, err := q.Do(ctxOf(t), op)
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

// Every flag goes where the kernel looks for it: a flag that no kernel knows is
// refused. In aio_flags, where it does not belong, it would be accepted.
func TestBogusFlagReachesTheKernel(t *testing.T) {
	const bogus = RWFlags(1 << 30)
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	for _, d := range []Durability{DurabilityNone, DurabilityData, DurabilityFull} {
		_, err := q.Do(ctxOf(t), Pwrite(f, b, 0).WithDurability(d).WithFlags(bogus))
		require.ErrorIs(t, err, syscall.EOPNOTSUPP)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "flags 0x40000000: ")
	}
}

// The durability of an operation is a flag of its request.
func TestDurabilityFlag(t *testing.T) {
	f, b := newFile(t, block), newBuffer(t, block)
	for d, want := range map[Durability]RWFlags{DurabilityNone: 0, DurabilityData: RWFDsync, DurabilityFull: RWFSync} {
		op := Pwrite(f, b, 0).WithDurability(d)
		r := op.request(0, 0, nil)
		assert.Equal(t, int32(want), r.rwFlags)
		assert.Zero(t, r.hasPrio)
	}
}

func TestInvalidDescriptor(t *testing.T) {
	q, b := newQueue(t, 4), newBuffer(t, block)
	for _, fd := range []int{-1, 1 << 20} {
		_, err := q.Do(ctxOf(t), Pread(BorrowFD(fd, ""), b, 0))
		require.ErrorIs(t, err, syscall.EBADF)
		require.Contains(t, err.Error(), "pread fd ")
	}
	require.False(t, b.InFlight())
}

func TestFileClosedBeforeSubmit(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	require.NoError(t, f.Close())
	_, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	n, err := q.Submit(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	require.Zero(t, n)
	require.False(t, b.InFlight())
}

func TestDescriptorClosedBeforeSubmit(t *testing.T) {
	q, b := newQueue(t, 4), newBuffer(t, block)
	fd, err := unix.Open(newFile(t, block).Name(), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	f := BorrowFD(fd, "borrowed")
	require.NoError(t, unix.Close(fd))
	_, err = q.Do(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, syscall.EBADF)
	require.Contains(t, err.Error(), "borrowed")
}

func TestReadAtTheEnd(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 3*block), newBuffer(t, 2*block)
	n, err := q.Do(ctxOf(t), Pread(f, b, 16*block))
	require.NoError(t, err)
	require.Zero(t, n, "past the end")
	n, err = q.Do(ctxOf(t), Pread(f, b, 2*block))
	require.NoError(t, err)
	require.Equal(t, block, n, "across the end")
	requirePattern(t, b.Bytes()[:n], 2*block, 0)
}

// Depth 7, waves of 100: the queue never holds more than its bound, and every
// slot is back after each wave.
func TestWaves(t *testing.T) {
	const depth, waves, perWave, blocks = 7, 50, 100, 64
	q, f := newQueue(t, depth), newFile(t, blocks*block)
	bufs := newBuffers(t, perWave, block)
	for range waves {
		ops := make([]Op, perWave)
		for i := range ops {
			ops[i] = Pread(f, bufs[i], rand.Int64N(blocks)*block).WithTag(uint64(i))
		}
		submitted := make(chan error, 1)
		go func() {
			n, err := q.Submit(ctxOf(t), ops...)
			assert.Equal(t, perWave, n)
			submitted <- err
		}()
		seen := make(map[uint64]bool)
		for range perWave {
			c := receive(t, q, 1)[0]
			require.NoError(t, c.Err)
			require.Equal(t, block, c.N)
			requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
			require.False(t, seen[c.Tag])
			seen[c.Tag] = true
			s := q.Stats()
			require.LessOrEqual(t, s.InFlight, depth)
			require.LessOrEqual(t, s.InFlight+s.Unread, 2*depth)
		}
		require.NoError(t, <-submitted)
		s := q.Stats()
		require.Zero(t, s.InFlight)
		require.Equal(t, depth, q.room(true))
	}
}

// Three chains of read, change, write, read again, each on its own blocks of
// one file, at the same time.
func TestConcurrentChains(t *testing.T) {
	const chains, rounds = 3, 50
	q, f := newQueue(t, 2), newFile(t, chains*block)
	var wg sync.WaitGroup
	for chain := range chains {
		b := newBuffer(t, block)
		wg.Go(func() {
			off := int64(chain) * block
			for v := range uint64(rounds) {
				do := func(op Op) bool {
					n, err := q.Do(ctxOf(t), op)
					return assert.NoError(t, err) && assert.Equal(t, block, n)
				}
				if !do(Pread(f, b, off)) || !assert.Equal(t, -1, wrongAt(b.Bytes(), off, v)) {
					return
				}
				fill(b.Bytes(), off, v+1)
				if !do(Pwrite(f, b, off)) {
					return
				}
				clear(b.Bytes())
				if !do(Pread(f, b, off)) || !assert.Equal(t, -1, wrongAt(b.Bytes(), off, v+1)) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// 256 readers and 4 writers on one file for some seconds. A block is written
// whole by one writer at a time, so a reader sees one version of it: direct
// I/O of one block is not torn on the file systems that we test on.
func TestReadersAndWriters(t *testing.T) {
	const readers, writers, blocks = 256, 4, 512
	runFor := 3 * time.Second
	if testing.Short() {
		runFor = 300 * time.Millisecond
	}
	q, f := newQueue(t, 64), newFile(t, blocks*block)
	pool, err := NewPool(block, block)
	require.NoError(t, err)
	defer pool.Close()
	var stop atomic.Bool
	var reads, writes atomic.Int64
	var wg sync.WaitGroup
	loop := func(count *atomic.Int64, step func(b *Buffer) bool) {
		wg.Go(func() {
			b, err := pool.Get()
			if !assert.NoError(t, err) {
				return
			}
			for !stop.Load() && step(b) {
				count.Add(1)
			}
			assert.NoError(t, pool.Put(b))
		})
	}
	for range readers {
		loop(&reads, func(b *Buffer) bool {
			off := rand.Int64N(blocks) * block
			n, err := q.Do(ctxOf(t), Pread(f, b, off))
			// The version is what the first word says; all others must agree.
			p := b.Bytes()
			version := leWord(p) - word(off, 0)
			return assert.NoError(t, err) && assert.Equal(t, block, n) && assert.Equal(t, -1, wrongAt(p, off, version))
		})
	}
	for w := range int64(writers) {
		var version uint64
		loop(&writes, func(b *Buffer) bool {
			off := (rand.Int64N(blocks/writers)*writers + w) * block // its own blocks
			version++
			fill(b.Bytes(), off, version)
			n, err := q.Do(ctxOf(t), Pwrite(f, b, off))
			return assert.NoError(t, err) && assert.Equal(t, block, n)
		})
	}
	time.Sleep(runFor)
	both := func() bool { return reads.Load() > 0 && writes.Load() > 0 }
	assert.Eventually(t, both, time.Minute, time.Millisecond) // a slow machine takes longer
	stop.Store(true)
	wg.Wait()
	t.Logf("%d reads, %d writes, %+v", reads.Load(), writes.Load(), q.Stats())
}

// Nobody reads the channel: Do works, TrySubmit and Submit say that there is no
// room, memory stays bounded, Close returns, and all completions are there.
func TestAbsentConsumer(t *testing.T) {
	const depth = 4
	q, f, b := newQueue(t, depth), newFile(t, 64*block), newBuffer(t, block)
	bufs := newBuffers(t, 4*depth, block)
	accepted := 0
	for _, b := range bufs {
		// Wait for the kernel, so that only the unread ones fill the queue.
		require.Eventually(t, func() bool { return q.Stats().InFlight == 0 }, time.Minute, time.Millisecond)
		n, err := q.TrySubmit(Pread(f, b, 0))
		accepted += n
		if err != nil {
			require.ErrorIs(t, err, ErrQueueFull)
			require.ErrorIs(t, err, syscall.EAGAIN)
			require.False(t, b.InFlight())
			break
		}
	}
	require.Equal(t, 2*depth, accepted, "depth, and as many unread")

	for range 100 {
		n, err := q.Do(ctxOf(t), Pread(f, b, block))
		require.NoError(t, err)
		require.Equal(t, block, n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	n, err := q.Submit(ctx, Pread(f, b, 0))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, n)
	require.False(t, b.InFlight(), "what was not accepted is the caller's")

	require.NoError(t, q.Close())
	got := 0
	for c := range q.Completions() {
		require.NoError(t, c.Err)
		got++
	}
	require.Equal(t, accepted, got)
}

// A Do does not queue up behind submitters who wait for the channel to be
// read, and those go on when it is.
func TestDoOvertakesBlockedSubmitters(t *testing.T) {
	const depth = 2
	q, f, b := newQueue(t, depth), newFile(t, block), newBuffer(t, block)
	bufs := newBuffers(t, 2*depth, block)
	for _, b := range bufs {
		_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
	}
	late := newBuffers(t, 8, block)
	var wg sync.WaitGroup
	for _, b := range late {
		wg.Go(func() {
			_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
			assert.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return q.Stats().Waits >= uint64(len(late)) }, time.Minute, time.Millisecond)
	// One of them looks at the channel from time to time; they do not keep
	// waking each other, which would be looks by the million.
	looks := q.Stats().Looks
	time.Sleep(100 * time.Millisecond)
	require.Less(t, q.Stats().Looks-looks, uint64(5000))
	for range 50 {
		_, err := q.Do(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
	}
	for _, c := range receive(t, q, len(bufs)+len(late)) {
		require.NoError(t, c.Err)
	}
	wg.Wait()
}

// Room that comes only from the reading of the channel is found, although a
// poll that does not end is in flight and no completion tells of it.
func TestRoomFromTheReaderAlone(t *testing.T) {
	const full = 3 // completions, beside the poll that is in flight
	q, f, b := newQueue(t, 2), newFile(t, block), newBuffer(t, block)
	r, _ := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	for range full {
		_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return q.Stats().Unread == full }, time.Minute, time.Millisecond)
	for range 20 {
		waits := q.Stats().Waits
		submitted := make(chan error, 1)
		go func() {
			_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
			submitted <- err
		}()
		require.Eventually(t, func() bool { return q.Stats().Waits > waits }, time.Minute, time.Millisecond)
		receive(t, q, 1)
		require.NoError(t, <-submitted)
		require.Eventually(t, func() bool { return q.Stats().Unread == full }, time.Minute, time.Millisecond)
	}
}

// The reader can make room between the grant that found none and the wait:
// nothing would ever wake the waiter then. So whether it must look follows
// from what the grant saw, not from the channel as it is now.
func TestRoomMadeBetweenGrantAndWait(t *testing.T) {
	q := newQueue(t, 2)
	q.mu.Lock()
	defer q.mu.Unlock()
	first, second := q.waiters.add(1, true), q.waiters.add(1, true)
	require.Positive(t, q.room(true), "the reader has been here")
	require.True(t, q.mustLook(first))
	require.False(t, q.mustLook(second), "one is enough")
	q.waiters.channel.remove(first)
	require.True(t, q.mustLook(second))
	q.waiters.channel.remove(second)
	do := q.waiters.add(1, false)
	require.False(t, q.mustLook(do), "it needs no place on the channel")
	q.waiters.slot.remove(do)
}

// Submitters and a reader that make room for each other all the time.
func TestSubmittersAndReader(t *testing.T) {
	const submitters, batch = 3, 40
	rounds := 500
	if testing.Short() {
		rounds = 50
	}
	f, b := newFile(t, block), newBuffer(t, block)
	q, err := NewQueue(16, &Options{Unread: 1})
	require.NoError(t, err)
	defer q.Close()
	ctx := ctxOf(t)
	ops := make([]Op, batch)
	for i := range ops {
		ops[i] = Pread(f, b, 1<<30) // past the end: completes at once
	}
	for range submitters {
		go func() {
			for range rounds {
				if _, err := q.Submit(ctx, ops...); !assert.NoError(t, err) {
					return
				}
			}
		}()
	}
	receive(t, q, submitters*rounds*batch)
}

func TestCloseWithRequestsInFlight(t *testing.T) {
	const depth, size = 64, 256 << 10
	q, f := newQueue(t, depth), newFile(t, depth*size)
	bufs := newBuffers(t, depth, size)
	for i, b := range bufs {
		_, err := q.Submit(ctxOf(t), Pread(f, b, int64(i)*size))
		require.NoError(t, err)
	}
	inFlight := q.Stats().InFlight
	require.NoError(t, q.Close())
	t.Logf("%d in flight at Close", inFlight)
	got := 0
	for c := range q.Completions() {
		require.NoError(t, c.Err)
		require.Equal(t, size, c.N)
		requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
		require.False(t, c.Buffer.InFlight())
		got++
	}
	require.Equal(t, depth, got)
}

// Who waits for a place on the channel is served before a TrySubmit that finds one.
func TestTrySubmitOvertakesNobody(t *testing.T) {
	q := newQueue(t, 2)
	for range q.limit {
		_, err := q.Submit(ctxOf(t), Noop())
		require.NoError(t, err)
	}
	submitted := make(chan error, 1)
	go func() {
		_, err := q.Submit(ctxOf(t), Noop().WithTag(1))
		submitted <- err
	}()
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		w := q.waiters.channel.head
		return w != nil && w.looking
	}, time.Minute, time.Millisecond)
	<-q.Completions()
	n, err := q.TrySubmit(Noop())
	require.ErrorIs(t, err, ErrQueueFull)
	require.Zero(t, n)
	<-q.Completions()
	require.NoError(t, <-submitted)
}

// Close ends polls, which might never end by themselves, and those who wait.
func TestCloseEndsWaits(t *testing.T) {
	q, f := newQueue(t, 3), newFile(t, block)
	r, _ := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	errs := make(chan error, 8)
	go func() {
		_, err := q.Do(ctxOf(t), Poll(r, unix.POLLIN))
		errs <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 3 }, time.Minute, time.Millisecond)
	b := newBuffers(t, 2, block)
	go func() {
		_, err := q.Do(ctxOf(t), Pread(f, b[0], 0))
		errs <- err
	}()
	go func() {
		_, err := q.Submit(ctxOf(t), Pread(f, b[1], 0))
		errs <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().Waits >= 2 }, time.Minute, time.Millisecond)
	require.NoError(t, q.Close())
	var closed, cancelled int
	for range 3 {
		switch err := <-errs; {
		case errors.Is(err, os.ErrClosed):
			closed++
		case errors.Is(err, syscall.ECANCELED):
			cancelled++
		default:
			t.Errorf("unexpected: %v", err)
		}
	}
	require.Equal(t, 2, closed, "the two that waited for room")
	require.Equal(t, 1, cancelled, "the poll that waited for its result")
	for c := range q.Completions() {
		require.ErrorIs(t, c.Err, syscall.ECANCELED)
	}
}

func TestUseAfterClose(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	require.NoError(t, q.Close())
	_, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = q.Submit(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = q.TrySubmit(Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	require.NotPanics(t, func() { q.Stats(); q.Depth() })
	_, open := <-q.Completions()
	require.False(t, open)
	require.False(t, b.InFlight())
}

func TestCloseManyTimes(t *testing.T) {
	q := newQueue(t, 4)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { assert.NoError(t, q.Close()) })
	}
	wg.Wait()
	require.NoError(t, q.Close())
}

// Submitters, Dos and a Close at any moment: what was accepted has its
// completion, what was not has ErrClosed.
func TestCloseAtAnyMoment(t *testing.T) {
	f := newFile(t, 16*block)
	for range 30 {
		q, err := NewQueue(3, nil)
		require.NoError(t, err)
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for g := range 8 {
			b := newBuffer(t, block)
			wg.Go(func() {
				for {
					if g%2 == 0 {
						if _, err := q.Do(ctxOf(t), Pread(f, b, 0)); err != nil {
							assert.ErrorIs(t, err, os.ErrClosed)
							return
						}
						continue
					}
					n, err := q.Submit(ctxOf(t), Pread(f, b, 0), Pread(f, b, block))
					accepted.Add(int64(n))
					if err != nil {
						assert.ErrorIs(t, err, os.ErrClosed)
						return
					}
				}
			})
		}
		received := make(chan int64)
		go func() {
			var n int64
			for range q.Completions() {
				n++
			}
			received <- n
		}()
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		require.NoError(t, q.Close())
		wg.Wait()
		require.Equal(t, accepted.Load(), <-received)
		checkInvariants(t, q)
	}
}

func TestCancelledWhileWaitingForRoom(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	r, w := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	for _, try := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := q.Do(ctx, Pread(f, b, 0)); return err },
		func(ctx context.Context) error { _, err := q.Submit(ctx, Pread(f, b, 0)); return err },
	} {
		waits := q.Stats().Waits
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- try(ctx) }()
		require.Eventually(t, func() bool { return q.Stats().Waits > waits }, time.Minute, time.Millisecond)
		cancel()
		err := <-done
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrInFlight, "it was withdrawn")
		require.False(t, b.InFlight())
	}
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	receive(t, q, 1)
	_, err = q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err, "the room is not lost")
}

func TestCancelledBefore(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := q.Do(ctx, Pread(f, b, 0))
	require.ErrorIs(t, err, context.Canceled)
	_, err = q.Submit(ctx, Pread(f, b, 0))
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, q.Stats().Submitted)
}

func TestCancelledWhileWaitingForTheResult(t *testing.T) {
	q := newQueue(t, 1)
	r, _ := newPipe(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := q.Do(ctx, Poll(r, unix.POLLIN))
		done <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 1 }, time.Minute, time.Millisecond)
	cancel()
	err := <-done
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrInFlight)
	require.Eventually(t, func() bool { return q.Stats().InFlight == 0 }, time.Minute, time.Millisecond,
		"the poll is cancelled with its waiter")
}

// A Do on the disk that is cancelled at any moment: the buffer is the
// caller's at once, or after the kernel is done, never lost and never freed
// early; Release covers both.
func TestCancelDiskReads(t *testing.T) {
	const size = 1 << 20
	q, f := newQueue(t, 8), newFile(t, 8*size)
	for range 200 {
		b, err := Alloc(size, block)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(400))*time.Microsecond)
		_, err = q.Do(ctx, Pread(f, b, rand.Int64N(8)*size))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.NoError(t, b.Release())
		require.ErrorIs(t, b.Free(), ErrFreed)
	}
}

// The kernel refuses an operation first, in the middle or last in a batch: each
// has exactly one completion, and the others do their work.
func TestBadOperationInABatch(t *testing.T) {
	const n = 5
	q, f := newQueue(t, n), newFile(t, n*block)
	bufs := newBuffers(t, n, block)
	bad := BorrowFD(1<<20, "bad")
	for _, which := range [][]int{{0}, {2}, {4}, {0, 1}, {0, 4}, {1, 3}, {0, 1, 2, 3, 4}, {}} {
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = Pread(f, bufs[i], int64(i)*block).WithTag(uint64(i))
		}
		for _, i := range which {
			ops[i] = Pread(bad, bufs[i], 0).WithTag(uint64(i))
		}
		got, err := q.Submit(ctxOf(t), ops...)
		require.NoError(t, err)
		require.Equal(t, n, got)
		failed := make(map[uint64]bool)
		seen := make(map[uint64]bool)
		for _, c := range receive(t, q, n) {
			require.False(t, seen[c.Tag], "two completions")
			seen[c.Tag] = true
			if c.Err != nil {
				require.ErrorIs(t, c.Err, syscall.EBADF)
				failed[c.Tag] = true
				continue
			}
			requirePattern(t, c.Buffer.Bytes(), int64(c.Tag)*block, 0)
		}
		require.Len(t, failed, len(which))
		for _, i := range which {
			require.True(t, failed[uint64(i)])
		}
		require.Empty(t, q.Completions())
		for _, b := range bufs {
			require.False(t, b.InFlight())
		}
	}
}

// Signals interrupt every system call that waits; none of that is seen.
func TestSignalStorm(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGUSR1)
	defer signal.Stop(caught)
	stop := make(chan struct{})
	var storm sync.WaitGroup
	for _, sig := range []syscall.Signal{syscall.SIGURG, syscall.SIGUSR1} {
		storm.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, syscall.Kill(syscall.Getpid(), sig))
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
	}
	heavyIO(t, 3000)
	close(stop)
	storm.Wait()
}

func TestCollectorDuringHeavyIO(t *testing.T) {
	var stop atomic.Bool
	var collector sync.WaitGroup
	collector.Go(func() {
		for !stop.Load() {
			runtime.GC()
		}
	})
	heavyIO(t, 3000)
	stop.Store(true)
	collector.Wait()
}

// heavyIO reads and checks n blocks through the channel and as many by Do.
func heavyIO(t *testing.T, n int) {
	t.Helper()
	const depth, blocks = 32, 256
	if testing.Short() {
		n /= 10
	}
	q, f := newQueue(t, depth), newFile(t, blocks*block)
	var wg sync.WaitGroup
	for range 8 {
		b := newBuffer(t, block)
		wg.Go(func() {
			for range n / 8 {
				off := rand.Int64N(blocks) * block
				got, err := q.Do(ctxOf(t), Pread(f, b, off))
				if !assert.NoError(t, err) || !assert.Equal(t, block, got) || !assert.Equal(t, -1, wrongAt(b.Bytes(), off, 0)) {
					return
				}
			}
		})
	}
	bufs := newBuffers(t, depth/2, block)
	for i := range n {
		b := bufs[i%len(bufs)]
		if i >= len(bufs) {
			c := receive(t, q, 1)[0]
			require.NoError(t, c.Err)
			requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
			b = c.Buffer
		}
		_, err := q.Submit(ctxOf(t), Pread(f, b, rand.Int64N(blocks)*block))
		require.NoError(t, err)
	}
	receive(t, q, len(bufs))
	wg.Wait()
}

func TestPoll(t *testing.T) {
	q := newQueue(t, 4)
	r, w := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(1))
	require.NoError(t, err)
	select {
	case c := <-q.Completions():
		t.Fatalf("an empty pipe is readable: %+v", c)
	case <-time.After(10 * time.Millisecond):
	}
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	c := receive(t, q, 1)[0]
	require.NoError(t, c.Err)
	require.Equal(t, unix.POLLIN, c.N&unix.POLLIN)
	n, err := q.Do(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err, "ready already")
	require.Equal(t, unix.POLLIN, n&unix.POLLIN)
}

// The hot paths allocate nothing on the Go heap.
func TestNoAllocations(t *testing.T) {
	skipUnderASan(t)
	q, f := newQueue(t, 8), newFile(t, 8*block)
	bufs := newBuffers(t, 4, block)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, ctx := range []context.Context{ctx, context.Background()} {
		assert.Zero(t, testing.AllocsPerRun(500, func() {
			if _, err := q.Do(ctx, Pread(f, bufs[0], block)); err != nil {
				t.Error(err)
			}
		}), "Do")
	}
	assert.Zero(t, testing.AllocsPerRun(500, func() {
		_, err := q.Submit(ctx, Pread(f, bufs[0], 0), Pread(f, bufs[1], block), Pread(f, bufs[2], 0), Pread(f, bufs[3], 0))
		if err != nil {
			t.Error(err)
		}
		for range 4 {
			if c := <-q.Completions(); c.Err != nil {
				t.Error(c.Err)
			}
		}
	}), "Submit")
	assert.Zero(t, testing.AllocsPerRun(500, func() {
		if _, err := q.TrySubmit(Pread(f, bufs[0], 0)); err != nil {
			t.Error(err)
		}
		<-q.Completions()
	}), "TrySubmit")
}

// A submitter that has to wait allocates nothing either.
func TestNoAllocationsWhileWaiting(t *testing.T) {
	skipUnderASan(t)
	q, f := newQueue(t, 1), newFile(t, 8*block)
	bufs := newBuffers(t, 4, block)
	ctx := context.Background()
	allocs := testing.AllocsPerRun(300, func() {
		for _, b := range bufs[:2] { // the second waits for the first
			if _, err := q.Submit(ctx, Pread(f, b, 0)); err != nil {
				t.Error(err)
			}
		}
		<-q.Completions()
		<-q.Completions()
	})
	assert.Zero(t, allocs)
	assert.Positive(t, q.Stats().Waits)
}

// One crossing into C for a batch of any size, and a few io_submits: the device
// has the first operations before the last are prepared.
func TestCallsPerBatch(t *testing.T) {
	const depth = 512
	q, f := newQueue(t, depth), newFile(t, block)
	b := newBuffer(t, block)
	for n, calls := range map[int]uint64{1: 1, 2: 1, 8: 3, 100: 7, depth: 9} {
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = Pread(f, b, 0)
		}
		before := q.Stats()
		_, err := q.Submit(ctxOf(t), ops...)
		require.NoError(t, err)
		after := q.Stats()
		assert.Equal(t, uint64(1), after.Batches-before.Batches, "batch of %d", n)
		assert.Equal(t, calls, after.SubmitCalls-before.SubmitCalls, "batch of %d", n)
		assert.Zero(t, after.PartialSubmits, "the kernel took all of each portion")
		receive(t, q, n)
	}
}

// Thousands of operations in flight hold no more threads than one, and while
// nothing completes nothing runs.
func TestThreadsAndIdleness(t *testing.T) {
	const depth = 4096
	q := newQueue(t, depth)
	r, w := newPipe(t)
	ops := make([]Op, depth)
	for i := range ops {
		ops[i] = Poll(r, unix.POLLIN)
	}
	before := threads(t)
	_, err := q.Submit(ctxOf(t), ops...)
	require.NoError(t, err)
	require.Equal(t, depth, q.Stats().InFlight)
	reaps := q.Stats().Reaps
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, reaps, q.Stats().Reaps, "the reaper runs though nothing completes")
	require.LessOrEqual(t, threads(t), before+2, "threads with %d in flight", depth)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	receive(t, q, depth)
}

func TestOptions(t *testing.T) {
	q, err := NewQueue(2, &Options{Unread: 5})
	require.NoError(t, err)
	defer q.Close()
	require.Equal(t, 7, cap(q.Completions()))
}

func TestBadDepth(t *testing.T) {
	for _, depth := range []int{0, -1, math.MinInt, maxDepth + 1, math.MaxInt} {
		_, err := NewQueue(depth, nil)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorContains(t, err, "depth")
	}
	for _, unread := range []int{-1, maxDepth + 1} {
		_, err := NewQueue(1, &Options{Unread: unread})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "Unread")
	}
}

// A depth that the system has no room for: both numbers, the request, and how
// to raise the limit.
func TestDepthAboveTheSystemsLimit(t *testing.T) {
	skipIfUnlimited(t)
	_, err := NewQueue(maxDepth, nil)
	require.ErrorIs(t, err, syscall.EAGAIN)
	for _, part := range []string{"io_setup", "aio-nr", "aio-max-nr", "4194304", "sysctl -w fs.aio-max-nr", readProc("aio-max-nr")} {
		require.ErrorContains(t, err, part)
	}
}

func TestBadOperations(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 4*block), newBuffer(t, 2*block)
	freed, err := Alloc(block, block)
	require.NoError(t, err)
	require.NoError(t, freed.Free())
	odd, err := b.Slice(1, block)
	require.NoError(t, err)
	short, err := b.Slice(0, 100)
	require.NoError(t, err)
	good := Pread(f, b, 0)
	for name, c := range map[string]struct {
		op   Op
		is   error
		says []string
	}{
		"zero Op":             {Op{}, ErrInvalid, []string{"zero Op is no operation"}},
		"nil file":            {Pread(nil, b, 0), ErrInvalid, []string{"pread", "File is nil"}},
		"nil buffer":          {Pread(f, nil, 0), ErrInvalid, []string{"pread", f.Name(), "Buffer is nil"}},
		"freed buffer":        {Pwrite(f, freed, 0), ErrFreed, []string{"pwrite", "already freed"}},
		"negative offset":     {Pread(f, b, -4096), ErrInvalid, []string{"offset -4096 is negative"}},
		"offset overflow":     {Pread(f, b, 1<<63-4096), ErrInvalid, []string{"largest file offset"}},
		"misaligned offset":   {Pread(f, b, 100), ErrMisaligned, []string{"offset 100", "multiple of"}},
		"misaligned length":   {Pwrite(f, short, 0), ErrMisaligned, []string{"length 100", "multiple of"}},
		"misaligned memory":   {Pread(f, odd, 0), ErrMisaligned, []string{"memory address 0x", "multiple of"}},
		"durability of read":  {good.WithDurability(DurabilityFull), ErrInvalid, []string{"DurabilityFull: only a write has a durability"}},
		"unknown durability":  {Pwrite(f, b, 0).WithDurability(9), ErrInvalid, []string{"Durability(9) is not one of"}},
		"sync with flags":     {Fsync(f).WithFlags(RWFDsync), ErrInvalid, []string{"fsync", "flags RWF_DSYNC"}},
		"sync with dur.":      {Fdsync(f).WithDurability(DurabilityFull), ErrInvalid, []string{"fdsync", "DurabilityFull: only a write has a durability"}},
		"poll for nothing":    {Poll(f, 0), ErrInvalid, []string{"poll", "events 0x0"}},
		"poll for too much":   {Poll(f, 1<<20), ErrInvalid, []string{"poll", "events 0x100000"}},
		"nil file of an sync": {Fsync(nil), ErrInvalid, []string{"fsync", "File is nil"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.is == ErrMisaligned && !f.Alignment().Known() {
				t.Skipf("statx does not tell the alignment of %s: mask without STATX_DIOALIGN (Linux 6.1)", f.Name())
			}
			check := func(n int, err error) {
				t.Helper()
				var e *Error
				require.ErrorAs(t, err, &e)
				require.ErrorIs(t, err, c.is)
				require.Zero(t, n)
				for _, s := range c.says {
					require.ErrorContains(t, err, s)
				}
			}
			check(q.Do(ctxOf(t), c.op))
			check(q.Submit(ctxOf(t), c.op))
			check(q.TrySubmit(c.op))
			// One bad operation keeps the whole batch out, and says which.
			n, err := q.Submit(ctxOf(t), good, c.op, good)
			check(n, err)
			require.ErrorContains(t, err, "number 1 of 3")
			require.False(t, b.InFlight())
			require.Zero(t, f.state.Load(), "the file is not held")
		})
	}
	require.Zero(t, q.Stats().Submitted)
}

func TestNilContext(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	var none context.Context
	_, err := q.Do(none, Pread(f, b, 0))
	require.ErrorIs(t, err, ErrInvalid)
	_, err = q.Submit(none, Pread(f, b, 0))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "context.Background()")
}

func TestSubmitNothing(t *testing.T) {
	q := newQueue(t, 1)
	n, err := q.Submit(ctxOf(t))
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = q.TrySubmit()
	require.NoError(t, err)
	require.Zero(t, n)
}

// Misalignment that statx did not tell of is the kernel's to find; its error
// comes as the completion's.
func TestMisalignmentFoundByTheKernel(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, 2*block), newBuffer(t, block)
	if !f.Alignment().Known() {
		t.Skipf("%s tells no alignment: it may have no demand", f.Name())
	}
	unknown := BorrowFD(f.FD(), "")
	unknown.align = Alignment{}
	_, err := q.Do(ctxOf(t), Pread(unknown, b, 1))
	require.ErrorIs(t, err, syscall.EINVAL)
}

// What is written sees no content of the file before, and the file's size is
// what was written.
func TestExtend(t *testing.T) {
	name := filepath.Join(testDir(t), "new")
	f, err := Create(name)
	require.NoError(t, err)
	defer f.Close()
	q, b := newQueue(t, 4), newBuffer(t, block)
	fill(b.Bytes(), 5*block, 1)
	n, err := q.Do(ctxOf(t), Pwrite(f, b, 5*block))
	require.NoError(t, err)
	require.Equal(t, block, n)
	g, err := os.Open(name)
	require.NoError(t, err)
	defer g.Close()
	p, err := io.ReadAll(g)
	require.NoError(t, err)
	require.Len(t, p, 6*block)
	requirePattern(t, p[5*block:], 5*block, 1)
	require.Equal(t, make([]byte, 5*block), p[:5*block], "the hole")
}

// newPipe is a pipe whose ends are closed with the test; the reading end as a
// File.
func newPipe(t testing.TB) (*File, int) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	t.Cleanup(func() { unix.Close(p[0]); unix.Close(p[1]) })
	return BorrowFD(p[0], "pipe"), p[1]
}

func leWord(p []byte) uint64 {
	var w uint64
	for i := 7; i >= 0; i-- {
		w = w<<8 | uint64(p[i])
	}
	return w
}
