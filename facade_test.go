//go:build linux

package libaio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// An operation may move the front of a Buffer alone.
func TestWithLength(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 8*block), newBuffer(t, 4*block)
	clear(b.Bytes())
	n, err := q.Do(ctxOf(t), Pread(f, b, block).WithLength(2*block))
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	requirePattern(t, b.Bytes()[:2*block], block, 0)
	require.Equal(t, make([]byte, 2*block), b.Bytes()[2*block:])

	n, err = q.Do(ctxOf(t), Pwrite(f, b, 5*block).WithLength(block))
	require.NoError(t, err)
	require.Equal(t, block, n)
	_, err = q.Do(ctxOf(t), Pread(f, b, 5*block).WithLength(3*block).WithResume())
	require.NoError(t, err)
	requirePattern(t, b.Bytes()[:block], block, 0)
	requirePattern(t, b.Bytes()[block:3*block], 6*block, 0)

	n, err = q.Do(ctxOf(t), Pread(f, b, 7*block).WithLength(3*block).WithResume()) // over the end
	require.NoError(t, err)
	require.Equal(t, block, n)
	for _, n := range []int{-1, 0, 4*block + 1} {
		_, err = q.Do(ctxOf(t), Pread(f, b, 0).WithLength(n))
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("length %d: must be 1 to %d", n, 4*block))
	}
	_, err = q.Do(ctxOf(t), Pread(f, b, 0).WithLength(block+1))
	require.ErrorIs(t, err, ErrMisaligned)
	_, err = q.Do(ctxOf(t), Preadv(f, []*Buffer{b}, 0).WithLength(block))
	require.ErrorIs(t, err, ErrInvalid)
	_, err = q.Do(ctxOf(t), Fsync(f).WithLength(block))
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "length 4096: only a read or a write has that")
	require.Equal(t, "pread "+f.Name()+" (4096 bytes at offset 8192)", Pread(f, b, 2*block).WithLength(block).String())
}

func TestVectors(t *testing.T) {
	q, f := newQueue(t, 4), newFile(t, 16*block)
	bufs := []*Buffer{newBuffer(t, block), newBuffer(t, 3*block), newBuffer(t, 2*block)}
	n, err := q.Submit(ctxOf(t), Preadv(f, bufs, 2*block).WithTag(3))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	c := receive(t, q, 1)[0]
	require.Equal(t, Completion{Tag: 3, File: f, Buffers: bufs, Offset: 2 * block, N: 6 * block, Kind: KindPreadv}, c)
	requirePattern(t, bufs[0].Bytes(), 2*block, 0)
	requirePattern(t, bufs[1].Bytes(), 3*block, 0)
	requirePattern(t, bufs[2].Bytes(), 6*block, 0)

	off := int64(5 * block)
	for _, b := range bufs {
		fill(b.Bytes(), off, 4)
		off += int64(b.Len())
	}
	n, err = q.Do(ctxOf(t), Pwritev(f, bufs, 5*block).WithDurability(DurabilityData))
	require.NoError(t, err)
	require.Equal(t, 6*block, n)
	p, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	requirePattern(t, p[:5*block], 0, 0)
	requirePattern(t, p[5*block:11*block], 5*block, 4)
	requirePattern(t, p[11*block:], 11*block, 0)
}

// Several vectors in one batch have iovecs of their own.
func TestVectorsInABatch(t *testing.T) {
	const n = 16
	q, f := newQueue(t, n), newFile(t, 2*n*block)
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Preadv(f, newBuffers(t, 2, block), int64(2*i)*block)
	}
	_, err := q.Submit(ctxOf(t), ops...)
	require.NoError(t, err)
	for _, c := range receive(t, q, n) {
		require.NoError(t, c.Err)
		requirePattern(t, c.Buffers[0].Bytes(), c.Offset, 0)
		requirePattern(t, c.Buffers[1].Bytes(), c.Offset+block, 0)
	}
}

func TestBadVectors(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, 4*block), newBuffer(t, block)
	freed, err := Alloc(block, block)
	require.NoError(t, err)
	require.NoError(t, freed.Free())
	many := make([]*Buffer, maxVector+1)
	for i := range many {
		many[i] = b
	}
	for says, c := range map[string]struct {
		bufs []*Buffer
		is   error
	}{
		"0 Buffers":            {nil, ErrInvalid},
		"1025 Buffers":         {many, ErrInvalid},
		"Buffer 1 of 2 is nil": {[]*Buffer{b, nil}, ErrInvalid},
		"already freed":        {[]*Buffer{b, freed}, ErrFreed},
	} {
		_, err := q.Do(ctxOf(t), Preadv(f, c.bufs, 0))
		require.ErrorIs(t, err, c.is)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "preadv")
		require.False(t, b.InFlight())
	}
	n, err := q.Do(ctxOf(t), Preadv(f, many[:maxVector], 0))
	require.NoError(t, err)
	require.Equal(t, 4*block, n, "the largest vector, up to the end of the file")
}

func TestNoop(t *testing.T) {
	q := newQueue(t, 4)
	n, err := q.Do(ctxOf(t), Noop())
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = q.Submit(ctxOf(t), Noop().WithTag(1), Noop().WithTag(2))
	require.NoError(t, err)
	cs := receive(t, q, 2)
	require.Equal(t, Completion{Tag: 1, Kind: KindNoop}, cs[0])
	require.Equal(t, Completion{Tag: 2, Kind: KindNoop}, cs[1])
	require.Zero(t, q.Stats().SubmitCalls, "the kernel has no such operation")
}

// The kernel looks at the priority: one that does not exist is refused.
func TestPriority(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	for _, p := range []Priority{PriorityBestEffort, PriorityBestEffort + 7, PriorityIdle} {
		n, err := q.Do(ctxOf(t), Pread(f, b, 0).WithPriority(p))
		require.NoError(t, err)
		require.Equal(t, block, n)
	}
	for p, said := range map[Priority]string{-1: "priority 0xffff has no class", 77: "priority 0x4d has no class"} {
		_, err := q.Do(ctxOf(t), Pread(f, b, 0).WithPriority(p))
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorContains(t, err, said)
	}
	_, err := q.Do(ctxOf(t), Fsync(f).WithPriority(PriorityIdle))
	require.ErrorIs(t, err, ErrInvalid)
}

func TestCancelPolls(t *testing.T) {
	q := newQueue(t, 8)
	r, _ := newPipe(t)
	for i := range 6 {
		_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(uint64(i%2)))
		require.NoError(t, err)
	}
	require.Equal(t, 3, q.Cancel(1))
	for _, c := range receive(t, q, 3) {
		require.EqualValues(t, 1, c.Tag)
		require.ErrorIs(t, c.Err, syscall.ECANCELED)
	}
	require.Zero(t, q.Cancel(1))
	require.Zero(t, q.Cancel(7))
	require.Equal(t, 3, q.Cancel(0))
	receive(t, q, 3)
	require.EqualValues(t, 6, q.Stats().Cancelled)
	require.EqualValues(t, 6, q.Stats().Failed)
}

// Cancel leaves alone what the kernel runs to its end, and Do, which has its
// context for that.
func TestCancelDisk(t *testing.T) {
	q, f, b := newQueue(t, 8), newFile(t, block), newBuffer(t, block)
	for range 100 {
		_, err := q.Submit(ctxOf(t), Pread(f, b, 0).WithTag(5))
		require.NoError(t, err)
		q.Cancel(5)
		c := receive(t, q, 1)[0]
		if c.Err != nil {
			require.ErrorIs(t, c.Err, syscall.ECANCELED)
		}
	}
	require.False(t, b.InFlight())
}

// What is pending behind a sender that is busy can be withdrawn.
func TestWithdrawPending(t *testing.T) {
	q, f := newQueue(t, 8), newFile(t, 2*block)
	bufs := newBuffers(t, 3, block)
	goOn := holdSending(q)
	for i, b := range bufs[:2] {
		_, err := q.Submit(ctxOf(t), Pread(f, b, 0).WithTag(uint64(i)))
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := q.Do(ctx, Preadv(f, bufs[2:], block))
		done <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 3 }, time.Minute, time.Millisecond)
	cancel()
	err := <-done
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrInFlight, "withdrawn: the memory is the caller's")
	require.ErrorContains(t, err, "(4096 bytes at offset 4096)")
	require.False(t, bufs[2].InFlight())

	require.Equal(t, 1, q.Cancel(0))
	c := receive(t, q, 1)[0]
	require.ErrorIs(t, c.Err, syscall.ECANCELED)
	require.EqualValues(t, 0, c.Tag)
	require.False(t, bufs[0].InFlight())
	require.EqualValues(t, 1, f.state.Load(), "the one that is still pending")

	goOn()
	c = receive(t, q, 1)[0]
	require.NoError(t, c.Err)
	require.EqualValues(t, 1, c.Tag)
	requireNotHeld(t, f)
}

// One request moves at most MaxTransfer bytes. Without WithResume that is what
// is reported; with it three pieces make the whole, the last of which has to
// land in the last Buffer, from the right offset.
func TestResumeHugeVector(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 10 GiB of a hole: not in the short tests")
	}
	const part = 8 << 20
	const parts = 2*MaxTransfer/part + 4
	const total = int64(parts) * part
	q, f := newQueue(t, 2), newFile(t, block)
	require.NoError(t, os.Truncate(f.Name(), total))
	hole, last := newBuffer(t, part), newBuffer(t, part)
	bufs := make([]*Buffer, parts)
	for i := range bufs {
		bufs[i] = hole
	}
	bufs[parts-1] = last
	tail, err := last.Slice(part-block, block)
	require.NoError(t, err)
	fill(tail.Bytes(), total-block, 8)
	_, err = q.Do(ctxOf(t), Pwrite(f, tail, total-block))
	require.NoError(t, err)
	clear(tail.Bytes())

	n, err := q.Do(ctxOf(t), Preadv(f, bufs, 0))
	if total > math.MaxInt {
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "more than an int holds")
		return
	}
	require.NoError(t, err)
	require.Equal(t, MaxTransfer, n, "short, and reported as it is")
	require.Zero(t, q.Stats().Resumed)

	n, err = q.Do(ctxOf(t), Preadv(f, bufs, 0).WithResume())
	require.NoError(t, err)
	require.EqualValues(t, total, n)
	require.EqualValues(t, 2, q.Stats().Resumed, "three pieces")
	requirePattern(t, tail.Bytes(), total-block, 8)
	requireNotHeld(t, f)
}

// The end of the file is not resumed past, wherever it lies.
func TestResumeAtTheEnd(t *testing.T) {
	q, f, b := newQueue(t, 2), newFile(t, 3*block), newBuffer(t, 8*block)
	for _, size := range []int64{3 * block, 2*block + 512, 2*block + 100} {
		require.NoError(t, os.Truncate(f.Name(), size))
		n, err := q.Do(ctxOf(t), Pread(f, b, block).WithResume())
		require.NoError(t, err)
		require.EqualValues(t, size-block, n)
		requirePattern(t, b.Bytes()[:n/8*8], block, 0)
	}
	requireNotHeld(t, f)
}

// A pipe gives what it has: pieces of any length, and EAGAIN when it is empty,
// which comes with what was moved before it.
func TestResumePieces(t *testing.T) {
	q, b := newQueue(t, 2), newBuffer(t, 8*block)
	r, w := newPipe(t)
	want := make([]byte, 5000)
	fill(want, 0, 1)
	_, err := unix.Write(w, want)
	require.NoError(t, err)
	n, err := q.Do(ctxOf(t), Pread(r, b, 0).WithResume())
	require.ErrorIs(t, err, syscall.EAGAIN)
	require.Equal(t, len(want), n)
	require.Equal(t, want, b.Bytes()[:n])
	require.EqualValues(t, 1, q.Stats().Resumed)
	require.False(t, b.InFlight())
}

func TestShutdown(t *testing.T) {
	q, err := NewQueue(4, nil)
	require.NoError(t, err)
	f, b := newFile(t, block), newBuffer(t, block)
	require.True(t, b.pin()) // the kernel could hold it for long
	q.mu.Lock()
	q.accept(Pread(f, b, 0), sinkChannel, nil)
	q.owed++
	index := q.pending[0]
	q.pending = q.pending[:0]
	q.slots[index].stage = stageSent
	q.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for range 2 {
		err = q.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrInFlight)
		require.ErrorContains(t, err, "1 operation still in flight: pread "+f.Name()+" (4096 bytes at offset 0)")
	}
	_, err = q.Do(ctxOf(t), Pread(f, b, 0))
	require.ErrorIs(t, err, os.ErrClosed)
	var none context.Context
	require.ErrorIs(t, q.Shutdown(none), ErrInvalid)

	q.mu.Lock()
	q.finish(index, block)
	q.settle()
	q.unlock()
	require.NoError(t, q.Shutdown(ctxOf(t)))
	require.NoError(t, q.Close())
	c := <-q.Completions()
	require.Equal(t, block, c.N)
	checkInvariants(t, q)
}

// A poll never loses a wake-up: the byte is written around the moment at which
// the poll is submitted.
func TestPollRace(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	q := newQueue(t, 4)
	r, w := newPipe(t)
	var buf [8]byte
	for range rounds {
		wrote := make(chan error, 1)
		go func() {
			_, err := unix.Write(w, buf[:1])
			wrote <- err
		}()
		n, err := q.Do(ctxOf(t), Poll(r, unix.POLLIN))
		require.NoError(t, err)
		require.Equal(t, unix.POLLIN, n, "what was asked for and no more")
		require.NoError(t, <-wrote)
		_, err = unix.Read(r.FD(), buf[:])
		require.NoError(t, err)
	}
}

// Children that are started during heavy I/O disturb nothing, and inherit
// neither the eventfd nor anything else of the queue.
func TestChildren(t *testing.T) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
			if !assert.NoError(t, err) {
				return
			}
			assert.NotContains(t, string(out), "eventfd")
			assert.NotContains(t, string(out), "libaio")
		}
	})
	heavyIO(t, 3000)
	close(stop)
	wg.Wait()
}

// The ring is a shared mapping, so it must not be in a child that is forked
// without an exec.
func TestRingIsNotForked(t *testing.T) {
	newQueue(t, 1000)
	newContext(t, 1)
	smaps, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	rings, isRing := 0, false
	for line := range strings.Lines(string(smaps)) {
		fields := strings.Fields(line)
		switch {
		case strings.Contains(fields[0], "-"): // the addresses of a mapping
			isRing = strings.Contains(line, "/[aio]")
		case isRing && fields[0] == "VmFlags:":
			rings++
			require.Contains(t, fields, "dc", "the flag of what is not copied on fork")
		}
	}
	require.GreaterOrEqual(t, rings, 2) // others may have made the default queue
}

func TestLimits(t *testing.T) {
	l, err := Limits()
	require.NoError(t, err)
	require.Equal(t, readProc("aio-max-nr"), strconv.Itoa(l.Max))
	newQueue(t, 1000)
	after, err := Limits()
	require.NoError(t, err)
	require.GreaterOrEqual(t, after.InUse, 1000)
}

func TestProbe(t *testing.T) {
	f := newFile(t, block)
	c := Probe(f)
	require.NoError(t, c.AIO)
	require.NoError(t, c.Fsync)
	require.NoError(t, c.Poll)
	require.NoError(t, c.Cancel)
	if c.PGetEvents != nil {
		require.True(t, errors.Is(c.PGetEvents, syscall.EPERM) || errors.Is(c.PGetEvents, syscall.ENOSYS), "%v", c.PGetEvents)
	}
	require.NotEmpty(t, c.Kernel)
	require.Equal(t, RWFDsync|RWFSync, c.Flags&(RWFDsync|RWFSync))
	// What it says of a flag is what an operation with it does.
	q, b := newQueue(t, 1), newBuffer(t, block)
	for flag := RWFHiPri; flag <= RWFDontCache; flag <<= 1 {
		_, errRead := q.Do(ctxOf(t), Pread(f, b, 0).WithFlags(flag))
		_, errWrite := q.Do(ctxOf(t), Pwrite(f, b, 0).WithFlags(flag))
		refused := errors.Is(errRead, syscall.EOPNOTSUPP) && errors.Is(errWrite, syscall.EOPNOTSUPP)
		require.Equal(t, c.Flags&flag == 0, refused, "flag %#x: %v, %v", int32(flag), errRead, errWrite)
	}
	require.Equal(t, c.Kernel, Probe(nil).Kernel, "without a file")
}

func TestFlagNames(t *testing.T) {
	for want, flags := range map[string]RWFlags{
		"0x0":                      0,
		"RWF_DSYNC":                unix.RWF_DSYNC,
		"RWF_HIPRI|RWF_SYNC":       unix.RWF_HIPRI | unix.RWF_SYNC,
		"RWF_NOWAIT|RWF_APPEND":    unix.RWF_NOWAIT | unix.RWF_APPEND,
		"RWF_NOAPPEND|RWF_ATOMIC":  RWFNoAppend | RWFAtomic,
		"RWF_DONTCACHE|0x40000000": RWFDontCache | 1<<30,
	} {
		require.Equal(t, want, flags.String())
	}
}

func TestWrapMemory(t *testing.T) {
	before := Memory()
	q, f := newQueue(t, 1), newFile(t, 2*block)
	mem, err := unix.Mmap(-1, 0, 2*block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(mem)) }()
	b, err := WrapMemory(mem)
	require.NoError(t, err)
	require.Equal(t, before, Memory(), "it is not ours")
	n, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	requirePattern(t, mem, 0, 0)
	require.NoError(t, b.Free())
	require.ErrorIs(t, b.Free(), ErrFreed)
	requirePattern(t, mem, 0, 0)
	_, err = WrapMemory(nil)
	require.ErrorIs(t, err, ErrInvalid)
}

func TestHugeOffsets(t *testing.T) {
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	n, err := q.Do(ctxOf(t), Pread(f, b, math.MaxInt64-2*block+1))
	if err != nil {
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	require.Zero(t, n)
}
