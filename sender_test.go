//go:build linux

package libaio

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A read of an empty pipe that is not O_NONBLOCK blocks in io_submit until
// somebody writes: what a slow file system does, for as long as we like. If
// direct, the queue takes it for direct I/O.
func newBlockingPipe(t testing.TB, direct bool) (*File, func()) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	unblock := sync.OnceFunc(func() { unix.Write(p[1], make([]byte, 8)) })
	t.Cleanup(func() { unblock(); unix.Close(p[0]); unix.Close(p[1]) })
	f := BorrowFD(p[0], "blocking pipe")
	f.direct = direct
	return f, unblock
}

// blockSender has a sender of q block until the function returned is called.
func blockSender(t *testing.T, q *Queue, direct bool) func() {
	t.Helper()
	f, unblock := newBlockingPipe(t, direct)
	small := newBuffer(t, 8)
	before := q.Stats().InFlight
	done := make(chan error, 1)
	go func() {
		_, err := q.Do(ctxOf(t), Pread(f, small, 0))
		done <- err
	}()
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.pending)+len(q.blocking) == 0 && q.depth-len(q.free) > before
	}, time.Minute, 100*time.Microsecond)
	return func() { unblock(); require.NoError(t, <-done) }
}

// whatBlocks are the two ways in which an operation blocks in io_submit.
var whatBlocks = []struct {
	name   string
	direct bool
	most   int
}{{"direct", true, maxSenders}, {"buffered", false, maxBlockers}}

// An operation that blocks in io_submit delays those that came with it, and no
// others.
func TestBlockedSenderDelaysNobodyElse(t *testing.T) {
	for _, what := range whatBlocks {
		t.Run(what.name, func(t *testing.T) { testBlockedSender(t, what.direct) })
	}
}

func testBlockedSender(t *testing.T, direct bool) {
	q, f, b := newQueue(t, 16), newFile(t, 8*block), newBuffer(t, block)
	var unblock []func()
	for range 3 {
		unblock = append(unblock, blockSender(t, q, direct))
		n, err := q.Do(ctxOf(t), Pread(f, b, block))
		require.NoError(t, err)
		require.Equal(t, block, n)
		requirePattern(t, b.Bytes(), block, 0)
		_, err = q.Submit(ctxOf(t), Pread(f, b, 0), Noop())
		require.NoError(t, err)
		for _, c := range receive(t, q, 2) {
			require.NoError(t, c.Err)
		}
	}
	for _, u := range unblock {
		u()
	}
}

// Close waits for a sender that blocks: its C memory is in use.
func TestCloseWaitsForTheSender(t *testing.T) {
	for _, what := range whatBlocks {
		t.Run(what.name, func(t *testing.T) { testCloseWaits(t, what.direct) })
	}
}

func testCloseWaits(t *testing.T, direct bool) {
	// A signal, as Go's own, may end what blocks: with ECANCELED once the queue is
	// closed. Then another has its turn.
	for interrupted := true; interrupted; {
		q, b := newQueue(t, 4), newBuffer(t, 8)
		f, unblock := newBlockingPipe(t, direct)
		var submitted sync.WaitGroup
		submitted.Go(func() { // which waits for it where it is direct
			_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
			assert.NoError(t, err)
		})
		require.Eventually(t, func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.sending+q.blockers == 1
		}, time.Minute, 100*time.Microsecond)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		err := q.Shutdown(ctx)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		interrupted = q.Stats().Cancelled > 0
		if !interrupted {
			require.ErrorContains(t, err, "pread blocking pipe (8 bytes at offset 0)")
		}
		unblock()
		require.NoError(t, q.Close())
		submitted.Wait()
		require.Len(t, q.Completions(), 1)
	}
}

// idle must not be true while a sender is at work, even if all that it has sent
// is through.
func TestNotIdleWhileSending(t *testing.T) {
	q := newQueue(t, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	require.True(t, q.atRest())
	q.sending++
	require.False(t, q.atRest())
	q.sending--
}

// With all senders blocked, what is pending can still be withdrawn, and goes on
// when one comes back.
func TestAllSendersBlocked(t *testing.T) {
	for _, what := range whatBlocks {
		t.Run(what.name, func(t *testing.T) { testAllBlocked(t, what.direct, what.most) })
	}
}

func testAllBlocked(t *testing.T, direct bool, most int) {
	pipe, write := newBlockingPipe(t, direct)
	q, b := newQueue(t, 2*most), newBuffer(t, block)
	var unblock []func()
	for range most {
		unblock = append(unblock, blockSender(t, q, direct))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, err := q.Do(ctx, Pread(pipe, b, 0))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrInFlight)
	require.False(t, b.InFlight())

	_, err = q.Submit(ctxOf(t), Pread(pipe, b, 0))
	require.NoError(t, err)
	write()
	for _, u := range unblock {
		u()
	}
	require.NoError(t, receive(t, q, 1)[0].Err)
}

// Buffered operations that block, however many, do not keep direct ones waiting.
func TestAllBlockersBlocked(t *testing.T) {
	q, f, b := newQueue(t, 2*maxBlockers), newFile(t, block), newBuffer(t, block)
	for range maxBlockers {
		defer blockSender(t, q, false)()
	}
	_, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	requirePattern(t, b.Bytes(), 0, 0)
}

// A read that waits in io_submit for a write of the same Submit does not take it
// into its call.
func TestBlockingOperationsGoAlone(t *testing.T) {
	q := newQueue(t, 8)
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	r, w := BorrowFD(p[0], "r"), BorrowFD(p[1], "w")
	in, out := newBuffer(t, 8), newBuffer(t, 8)
	fill(out.Bytes(), 0, 3)
	n, err := q.Submit(ctxOf(t), Pread(r, in, 0), Pwrite(w, out, 0))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for _, c := range receive(t, q, 2) {
		require.NoError(t, c.Err)
		require.Equal(t, 8, c.N)
	}
	require.Equal(t, out.Bytes(), in.Bytes())
}

// Submit and Do do not wait in io_submit for what is not direct I/O.
func TestContextEndsABlockingDo(t *testing.T) {
	q, b := newQueue(t, 2), newBuffer(t, 8)
	f, unblock := newBlockingPipe(t, false)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := q.Do(ctx, Pread(f, b, 0))
		failed <- err
	}()
	require.Eventually(t, func() bool { // before that it is withdrawn
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.pending)+len(q.blocking) == 0 && len(q.free) < q.depth
	}, time.Minute, 100*time.Microsecond)
	cancel()
	err := <-failed
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrInFlight)
	require.True(t, b.InFlight())
	unblock()
	require.Eventually(t, func() bool { return !b.InFlight() }, time.Minute, time.Millisecond)
}

// Once a sender is known to be stuck, nobody waits for the watchdog again.
func TestStuckSenderIsKnown(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	unblock := blockSender(t, q, true)
	const times = 100
	waited := 0 // for the watchdog: the first time, and when a signal had the stuck one begin anew
	for last, i := uint64(0), 0; i < times; i++ {
		_, err := q.Do(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
		q.mu.Lock()
		if q.takenStuck != last {
			waited++
		}
		last = q.takenStuck
		q.mu.Unlock()
	}
	require.Less(t, waited, times/2)
	unblock()
	require.Eventually(t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.stuck == 0 && q.sending == 0
	}, time.Minute, 100*time.Microsecond)
}

// Concurrent submitters share calls: what is accepted while a sender is at work
// goes in one batch.
func TestSubmittersShareCalls(t *testing.T) {
	const others = 20
	q, f := newQueue(t, 64), newFile(t, others*block)
	bufs := newBuffers(t, others, block)
	goOn := holdSending(q)
	var wg sync.WaitGroup
	for i, b := range bufs {
		wg.Go(func() {
			n, err := q.Do(ctxOf(t), Pread(f, b, int64(i)*block))
			assert.NoError(t, err)
			assert.Equal(t, block, n)
			assert.Equal(t, -1, wrongAt(b.Bytes(), int64(i)*block, 0))
		})
	}
	require.Eventually(t, func() bool { return q.Stats().InFlight == others }, time.Minute, time.Millisecond)
	before := q.Stats()
	goOn()
	wg.Wait()
	after := q.Stats()
	require.EqualValues(t, 1, after.Batches-before.Batches)
	require.EqualValues(t, 5, after.SubmitCalls-before.SubmitCalls, "in growing portions")
}

// A submitter is not kept sending for others without end: it hands over.
func TestSenderHandsOver(t *testing.T) {
	q := newQueue(t, 8)
	var stop atomic.Bool
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for !stop.Load() {
				_, err := q.Do(ctxOf(t), Noop())
				assert.NoError(t, err)
			}
		})
	}
	for range 2000 {
		_, err := q.Do(ctxOf(t), Noop())
		require.NoError(t, err)
	}
	stop.Store(true)
	others.Wait()
}

// Go preempts with signals, and a read that a signal interrupts completes with
// EINTR: nobody gets to see that.
func TestInterruptedRead(t *testing.T) {
	q, b := newQueue(t, 2), newBuffer(t, 8)
	f, unblock := newBlockingPipe(t, false)
	done := make(chan error, 1)
	go func() {
		n, err := q.Do(ctxOf(t), Pread(f, b, 0))
		assert.Equal(t, 8, n)
		done <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 1 }, time.Minute, time.Millisecond)
	// A signal to the process goes to any thread; one of many hits.
	require.Eventually(t, func() bool {
		for _, tid := range threadIDs(t) {
			_ = unix.Tgkill(unix.Getpid(), tid, syscall.SIGURG)
		}
		return q.Stats().Interrupted > 0
	}, time.Minute, 100*time.Microsecond)
	require.Empty(t, done)
	unblock()
	require.NoError(t, <-done)
	requireNotHeld(t, f)
	require.False(t, b.InFlight())
}

// The same with the file closed before the signal: there is nothing to try
// again on.
func TestInterruptedReadOfAClosedFile(t *testing.T) {
	q, b := newQueue(t, 2), newBuffer(t, 8)
	f, _ := newBlockingPipe(t, false)
	done := make(chan error, 1)
	go func() {
		_, err := q.Do(ctxOf(t), Pread(f, b, 0))
		done <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 1 }, time.Minute, time.Millisecond)
	time.Sleep(time.Millisecond)
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool {
		for _, tid := range threadIDs(t) {
			_ = unix.Tgkill(unix.Getpid(), tid, syscall.SIGURG)
		}
		return len(done) > 0
	}, time.Minute, 100*time.Microsecond)
	require.ErrorIs(t, <-done, syscall.ECANCELED)
}

// Released memory is freed once the last operation is through, not under mu.
func TestReleasedInFlight(t *testing.T) {
	before := Memory()
	q, f := newQueue(t, 4), newFile(t, 8*block)
	for range 50 {
		b, err := Alloc(8*block, block)
		require.NoError(t, err)
		_, err = q.Submit(ctxOf(t), Pread(f, b, 0), Preadv(f, []*Buffer{b}, 0))
		require.NoError(t, err)
		require.NoError(t, b.Release())
		for _, c := range receive(t, q, 2) {
			require.NoError(t, c.Err)
		}
	}
	require.Eventually(t, func() bool { return Memory() == before }, time.Minute, time.Millisecond)
}

func TestZeroValues(t *testing.T) {
	q, f, b := newQueue(t, 2), newFile(t, block), newBuffer(t, block)
	for _, bad := range []*Buffer{nil, {}} {
		require.Nil(t, bad.Bytes())
		require.Zero(t, bad.Len())
		require.False(t, bad.InFlight())
		require.ErrorIs(t, bad.Free(), ErrInvalid)
		require.ErrorIs(t, bad.Release(), ErrInvalid)
		_, err := bad.Slice(0, 1)
		require.ErrorIs(t, err, ErrInvalid)
		for _, op := range []Op{Pread(f, bad, 0), Preadv(f, []*Buffer{b, bad}, 0)} {
			_, err = q.Do(ctxOf(t), op)
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
	for _, bad := range []*File{nil, {}} {
		require.ErrorIs(t, bad.Close(), ErrInvalid)
		_, err := q.Do(ctxOf(t), Pwrite(bad, b, 0)) // the zero descriptor is standard input
		require.ErrorIs(t, err, ErrInvalid)
	}
	for _, zero := range []*Queue{nil, {}} {
		_, err := zero.Do(ctxOf(t), Noop())
		require.ErrorIs(t, err, ErrInvalid)
		_, err = zero.Submit(ctxOf(t), Poll(newFile(t, block), unix.POLLIN))
		require.ErrorIs(t, err, ErrInvalid)
		_, err = zero.TrySubmit(Noop())
		require.ErrorIs(t, err, ErrInvalid)
		_, err = zero.Reap(ctxOf(t), make([]Completion, 1), 1)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, zero.Close(), ErrInvalid)
		require.Zero(t, zero.Cancel(0))
		require.Nil(t, zero.Completions())
		require.Zero(t, zero.Depth())
		require.Zero(t, zero.Stats())
	}
}

// The slice of a vector is the caller's again once the operation is accepted.
func TestVectorSliceIsCopied(t *testing.T) {
	q, f := newQueue(t, 4), newFile(t, 4*block)
	a, b := newBuffer(t, block), newBuffer(t, block)
	goOn := holdSending(q)
	bufs := []*Buffer{a}
	_, err := q.Submit(ctxOf(t), Preadv(f, bufs, 0))
	require.NoError(t, err)
	bufs[0] = b
	require.True(t, a.InFlight())
	require.False(t, b.InFlight())
	goOn()
	require.NoError(t, receive(t, q, 1)[0].Err)
	requirePattern(t, a.Bytes(), 0, 0)
	require.Equal(t, make([]byte, block), b.Bytes())
	require.False(t, a.InFlight())
	require.False(t, b.InFlight())
}

// A view ends with the life of its parent in which it was made.
func TestStaleView(t *testing.T) {
	p, err := NewPool(block, block)
	require.NoError(t, err)
	defer p.Close()
	b, err := p.Get()
	require.NoError(t, err)
	v, err := b.Slice(0, 512)
	require.NoError(t, err)
	require.NoError(t, p.Put(b))
	again, err := p.Get()
	require.NoError(t, err)
	require.Same(t, b, again)
	require.Nil(t, v.Bytes())
	require.False(t, v.pin())
	require.False(t, again.InFlight())
	_, err = v.Slice(0, 1)
	require.ErrorIs(t, err, ErrFreed)
	w, err := again.Slice(0, 512)
	require.NoError(t, err)
	require.NotNil(t, w.Bytes())
	require.NoError(t, p.Put(again))
}

// An IOCB in flight is left alone by a Prep that is refused: it still has the
// Buffer that it was submitted with.
func TestRefusedPrepLeavesTheBuffer(t *testing.T) {
	c, cb, f := newContext(t, 8), newIOCB(t), newFile(t, block)
	a, b := newBuffer(t, block), newBuffer(t, block)
	require.NoError(t, cb.PrepPread(f.FD(), a, 0))
	_, err := c.Submit(cb)
	require.NoError(t, err)
	require.ErrorIs(t, cb.PrepPread(f.FD(), b, 0), ErrInFlight)
	require.ErrorIs(t, cb.PrepPreadv(f.FD(), []*Buffer{b}, 0), ErrInFlight)
	var ev [1]Event
	_, err = c.GetEvents(1, ev[:], time.Minute)
	require.NoError(t, err)
	require.False(t, a.InFlight())
	require.False(t, b.InFlight())
	require.NotNil(t, b.Bytes())
}

func threadIDs(t testing.TB) []int {
	t.Helper()
	var ids []int
	for _, name := range dirNames(t, "/proc/self/task") {
		ids = append(ids, atoi(t, name))
	}
	return ids
}

// exhaust takes all that the kernel has for operations on q, by polls that q
// knows nothing of, so that io_submit answers EAGAIN. The kernel keeps a part for
// each processor, so they are taken on each. The function returned gives it all
// back.
func exhaust(t *testing.T, q *Queue) func() {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	defer func() { require.NoError(t, unix.SchedSetaffinity(0, &all)) }()

	r, _ := newPipe(t)
	counter := newEventfd(t)
	var taken []*IOCB
	for cpu := range len(all) * 64 {
		if !all.IsSet(cpu) {
			continue
		}
		var one unix.CPUSet
		one.Set(cpu)
		require.NoError(t, unix.SchedSetaffinity(0, &one))
		for {
			cb := newIOCB(t)
			require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
			require.NoError(t, cb.SetEventfd(counter.FD()))
			var ptr cMemory
			require.Zero(t, ptr.grow(int(ptrSize)))
			_, errno := sysSubmitIOCBs(q.ring.ctx, []uint64{uint64(cb.addr)}, uintptr(ptr.p))
			ptr.free()
			if errno == syscall.EAGAIN {
				break
			}
			require.Zero(t, errno)
			taken = append(taken, cb)
		}
	}
	require.NotEmpty(t, taken)
	return func() {
		// Nobody else is to read what was taken, nor to give up meanwhile, however long
		// this takes: neither can be without mu, but for who waits in the kernel already.
		for q.mu.Lock(); q.leading; q.mu.Lock() {
			q.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		defer q.mu.Unlock()
		q.tries = 0 // else the next gives up at once, as those behind the last delay do
		for _, cb := range taken {
			var ev event
			require.Equal(t, syscall.EINPROGRESS, sysCancel(q.ring.ctx, cb.addr, &ev))
		}
		for left := len(taken); left > 0; {
			left -= readCounter(t, counter)
		}
		n, errno := sysGetEvents(q.ring.ctx, len(taken), make([]event, len(taken)), time.Minute)
		require.Zero(t, errno)
		require.Equal(t, len(taken), n)
	}
}

// readCounter waits until an eventfd has counted something, and returns that.
func readCounter(t testing.TB, f *File) int {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.FD()), Events: unix.POLLIN}}, 60_000)
	if err == unix.EINTR {
		return 0
	}
	require.NoError(t, err)
	require.Equal(t, 1, n)
	var p [8]byte
	_, err = unix.Read(f.FD(), p[:])
	require.NoError(t, err)
	return int(binary.NativeEndian.Uint64(p[:]))
}

// When the kernel has no room io_submit is tried again for a while: once for a
// batch, not once for each of its operations.
func TestKernelHasNoRoom(t *testing.T) {
	const n = 3
	q, f := newQueue(t, n), newFile(t, block)
	giveBack := exhaust(t, q)
	defer giveBack()
	b := newBuffer(t, block)
	_, err := q.Submit(ctxOf(t), Pread(f, b, 0), Pread(f, b, 0), Pread(f, b, 0))
	require.NoError(t, err)
	for _, c := range receive(t, q, n) {
		require.ErrorIs(t, c.Err, syscall.EAGAIN)
	}
	require.EqualValues(t, len(retryDelays), q.Stats().Retries)
	require.False(t, b.InFlight())
}

// And goes on as soon as there is room again.
func TestKernelHasRoomAgain(t *testing.T) {
	q, f, b := newQueue(t, 2), newFile(t, block), newBuffer(t, block)
	err := error(syscall.EAGAIN)
	for try := 0; errors.Is(err, syscall.EAGAIN) && try < 20; try++ { // a slow machine may look too late
		giveBack := exhaust(t, q)
		done := make(chan error, 1)
		go func() {
			_, err := q.Do(ctxOf(t), Pread(f, b, 0))
			done <- err
		}()
		require.Eventually(t, func() bool { return q.Stats().InFlight == 1 || len(done) == 1 }, time.Minute, 10*time.Microsecond)
		giveBack()
		err = <-done
	}
	require.NoError(t, err)
	requirePattern(t, b.Bytes(), 0, 0)
}

// What the kernel has no room for is pending, and can be withdrawn, but for the
// moments in which it is tried again.
func TestWithdrawWithoutRoom(t *testing.T) {
	q, f := newQueue(t, 64), newFile(t, block)
	a, b := newBuffer(t, block), newBuffer(t, block)
	defer exhaust(t, q)()
	cancelled := func() bool {
		q.mu.Lock()
		q.tries = 0
		q.mu.Unlock()
		_, err := q.Submit(ctxOf(t), Pread(f, a, 0).WithTag(1), Pread(f, b, 0).WithTag(2))
		require.NoError(t, err)
		n := q.Cancel(1)
		for _, c := range receive(t, q, 2) {
			if n == 1 && c.Tag == 1 {
				require.ErrorIs(t, c.Err, syscall.ECANCELED)
			} else if c.Err != nil { // the kernel may have had room after all
				require.ErrorIs(t, c.Err, syscall.EAGAIN)
			}
		}
		return n == 1
	}
	require.Eventually(t, cancelled, time.Minute, time.Millisecond)
	withdrawn := func() bool {
		q.mu.Lock()
		q.tries = 0 // the kernel took something: it is asked again and again
		q.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := q.Do(ctx, Pread(f, a, 0))
		require.Eventually(t, func() bool { return !a.InFlight() }, time.Minute, time.Millisecond)
		return errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrInFlight)
	}
	require.Eventually(t, withdrawn, time.Minute, time.Millisecond)
	requireNotHeld(t, f)
}

// A Shutdown whose context has ended waits for nothing, not even for the
// kernel to take back an idle context.
func TestShutdownOfAnIdleQueue(t *testing.T) {
	q := newQueue(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := q.Shutdown(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrInFlight)
	require.NoError(t, q.Close())
	require.NoError(t, q.Shutdown(ctx), "it is closed")
}

// Room is passed on in the order of arrival.
func TestWaitersInOrder(t *testing.T) {
	const n = 10
	q := newQueue(t, 1)
	r, w := newPipe(t)
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	var wg sync.WaitGroup
	order := make(chan int, n)
	for i := range n {
		wg.Go(func() {
			_, err := q.Submit(ctxOf(t), Noop().WithTag(uint64(i)))
			assert.NoError(t, err)
		})
		require.Eventually(t, func() bool { return q.Stats().Waits == uint64(i+1) }, time.Minute, 100*time.Microsecond)
	}
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	receive(t, q, 1)
	for range n {
		order <- int(receive(t, q, 1)[0].Tag)
	}
	wg.Wait()
	close(order)
	i := 0
	for got := range order {
		require.Equal(t, i, got)
		i++
	}
}

// A waiter that gives up passes on what it was promised.
func TestWaiterThatGivesUp(t *testing.T) {
	q := newQueue(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q.mu.Lock()
	other := func() *waiter {
		slots := q.free
		q.free = nil // as if in use
		w := q.waiters.add(1, false)
		q.free = slots
		return w
	}()
	q.grant()
	require.Equal(t, 1, other.granted)
	q.waiters.retire(other)
	q.promise(other, -1)

	// Ours comes while another waits, so it has to wait; its context is over.
	behind := q.waiters.add(1, false)
	_, err := q.awaitRoom(ctx, 1, false)
	require.ErrorIs(t, err, context.Canceled)
	q.grant()
	require.Equal(t, 1, behind.granted)
	q.promise(behind, -1)
	q.waiters.retire(behind)
	q.mu.Unlock()
}

// A stale view that is submitted all the time does not keep the owner from
// giving the memory back.
func TestRefusedPinsLeaveNoTrace(t *testing.T) {
	p, err := NewPool(block, block)
	require.NoError(t, err)
	defer p.Close()
	b, err := p.Get()
	require.NoError(t, err)
	stale, err := b.Slice(0, 512)
	require.NoError(t, err)
	require.NoError(t, p.Put(b))
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			assert.False(t, stale.pin())
		}
	})
	for range 20_000 {
		b, err := p.Get()
		require.NoError(t, err)
		require.NoError(t, p.Put(b))
	}
	stop.Store(true)
	wg.Wait()
}

func TestProbeLeavesStrangersAlone(t *testing.T) {
	f := newFile(t, block)
	require.NoError(t, f.Close())
	require.Equal(t, Probe(nil).Flags, Probe(f).Flags, "a closed file is none")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	require.Zero(t, Probe(BorrowFD(pair[0], "")).Flags)
	_, err = unix.Read(pair[1], make([]byte, 1))
	require.ErrorIs(t, err, unix.EAGAIN, "a message was sent")
}

func TestZeroBufferInAnIOCB(t *testing.T) {
	cb := newIOCB(t)
	require.ErrorIs(t, cb.PrepPread(0, &Buffer{}, 0), ErrInvalid)
	require.ErrorIs(t, cb.PrepPreadv(0, []*Buffer{{}}, 0), ErrInvalid)
}

// After Close that is what is said, whatever else is wrong with an operation.
func TestClosedComesFirst(t *testing.T) {
	q := newQueue(t, 1)
	require.NoError(t, q.Close())
	_, err := q.Do(ctxOf(t), Op{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = q.Submit(ctxOf(t), Op{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = q.TrySubmit(Op{})
	require.ErrorIs(t, err, ErrClosed)
}

// Those whose operations complete together submit their next ones together.
func TestReturningSubmitTogether(t *testing.T) {
	const n, rounds = 64, 20
	q := newQueue(t, n)
	var turn [rounds]*File
	var begin [rounds]func()
	for i := range turn {
		r, w := newPipe(t)
		turn[i] = r
		begin[i] = func() { unix.Write(w, []byte{1}) }
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for _, r := range turn {
				_, err := q.Do(context.Background(), Poll(r, unix.POLLIN))
				assert.NoError(t, err)
			}
		})
	}
	before, batches, counted := uint64(0), uint64(0), 0
	for i := range begin {
		hurried := false
		require.Eventually(t, func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.stats.Submitted < uint64((i+1)*n) || len(q.pending) > 0 || q.sending > 0 {
				return false
			}
			hurried, q.gatherHaste = q.gatherHaste.slow > 0, haste{}
			return true
		}, time.Minute, 100*time.Microsecond)
		now := q.Stats().Batches
		if i > 0 && !hurried {
			counted++
			batches += now - before
		}
		before = now
		begin[i]()
	}
	wg.Wait()
	if counted == 0 {
		t.Skipf("this machine is busy with others: a yield took over %v in each of the rounds", slowYield)
	}
	t.Logf("%d batches for %d operations", batches, counted*n)
	require.Less(t, batches, uint64(counted*n/4))
}

// A batch goes in growing portions, so that the device works while the rest is
// prepared, but all at once to one that has shown often enough that it works within
// io_submit: as the kernel does for a poll of what is ready.
func TestPortions(t *testing.T) {
	const n = 32
	ready, w := newPipe(t)
	_, err := unix.Write(w, []byte("x"))
	require.NoError(t, err)
	empty, _ := newPipe(t)
	for name, test := range map[string]struct {
		options Options
		known   uint64 // calls for a batch when the device is known
	}{
		"shared ring":  {known: 1},
		"system calls": {options: Options{SystemCalls: true}, known: 5},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := NewQueue(2*n, &test.options)
			require.NoError(t, err)
			defer q.Close()
			callsFor := func(f *File) uint64 {
				ops := make([]Op, n)
				for i := range ops {
					ops[i] = Poll(f, unix.POLLIN)
				}
				before := q.Stats().SubmitCalls
				_, err := q.Submit(ctxOf(t), ops...)
				require.NoError(t, err)
				calls := q.Stats().SubmitCalls - before
				if f == empty {
					require.Equal(t, n, q.Cancel(0))
				}
				receive(t, q, n)
				return calls
			}
			require.EqualValues(t, 5, callsFor(empty))
			for range worksWithin / 5 {
				require.EqualValues(t, 5, callsFor(ready))
			}
			callsFor(ready) // in the midst of it the number is reached
			require.Equal(t, test.known, callsFor(ready))
			require.Equal(t, test.known, callsFor(empty), "as before")
			require.EqualValues(t, 5, callsFor(empty), "which did not work within")
		})
	}
}

// The slot of an operation that is given up for want of room in the kernel goes to
// who waits for one, whatever becomes of the next operation.
func TestGivenUpSlotIsPassedOn(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	goOn := holdSending(q)
	_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	waiter := make(chan error, 1)
	go func() {
		_, err := q.Do(ctxOf(t), Noop())
		waiter <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().Waits == 1 }, time.Minute, time.Millisecond)
	q.mu.Lock()
	index := q.pending[0]
	q.pending = q.pending[:0]
	q.tries = len(retryDelays)
	q.slots[index].stage = stageSent
	q.noRoom([]uint32{index})
	granted := q.waiters.slot.head == nil
	q.tries = 0
	q.unlock()
	goOn()
	require.True(t, granted)
	require.NoError(t, <-waiter)
	require.ErrorIs(t, receive(t, q, 1)[0].Err, syscall.EAGAIN)
}

// O_DIRECT on a pipe is packet mode and not direct I/O: such a pipe holds nobody up,
// and has no positions.
func TestPacketPipe(t *testing.T) {
	q, f := newQueue(t, 64), newFile(t, block)
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_DIRECT|unix.O_CLOEXEC))
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	w := BorrowFD(fds[1], "packet pipe")
	require.False(t, w.Direct())
	small := newBuffer(t, 64)
	for range 2 * loneTimes {
		n, err := q.Do(context.Background(), Pwrite(w, small, 0))
		require.NoError(t, err)
		require.Equal(t, 64, n)
	}
	const most = 32 // more than the pipe takes beside those, and fewer than it takes and may block
	for _, b := range newBuffers(t, most-2*loneTimes, block) {
		_, err := q.Submit(ctxOf(t), Pwrite(w, b, 0))
		require.NoError(t, err)
	}
	_, err := q.Do(ctxOf(t), Pread(f, newBuffer(t, block), 0))
	require.NoError(t, err)
	for range most {
		_, err := unix.Read(fds[0], make([]byte, block))
		require.NoError(t, err)
	}
	receive(t, q, most-2*loneTimes)
}

// A lone operation of a file that pread(2) has no position for is left to AIO.
func TestLoneDoWithoutPositions(t *testing.T) {
	q, b := newQueue(t, 4), newBuffer(t, block)
	r, w := newPipe(t)
	r.direct = true // as a file that FUSE opens as a stream
	for i := range 2 * loneTimes {
		_, err := unix.Write(w, b.Bytes())
		require.NoError(t, err)
		n, err := q.Do(context.Background(), Pread(r, b, 0))
		require.NoError(t, err, "number %d", i)
		require.Equal(t, block, n)
	}
}
