//go:build linux

package libaio

import (
	"context"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Who leads is the one reader of the ring, and nobody else sends in its call.
func TestMayLead(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	free := q.free
	may := func(op Op, change func()) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.free, q.alone = free[:3], loneTimes
		change()
		s := slot{op: op}
		may := q.mayLead(&s)
		q.free, q.alone, q.leading, q.waiting, q.sending, q.blockers = free, 0, false, false, 0, 0
		return may
	}
	read := Pread(f, b, 0)
	require.True(t, may(read, func() {}))
	for name, change := range map[string]func(){
		"not alone before":       func() { q.alone = loneTimes - 1 },
		"others are in flight":   func() { q.free = free[:2] },
		"somebody leads":         func() { q.leading = true },
		"the kernel has no room": func() { q.waiting = true },
		"a sender is at work":    func() { q.sending = 1 },
		"a blocker is at work":   func() { q.blockers = 1 },
	} {
		require.False(t, may(read, change), name)
	}
	require.False(t, may(Pread(BorrowFD(0, ""), b, 0), func() {}), "buffered")
	require.False(t, may(Poll(f, unix.POLLIN), func() {}))
}

// What is sent again is not lone any more: it signals as all others.
func TestSentAgainIsNotLone(t *testing.T) {
	q, f, b := newQueue(t, 2), newFile(t, block), newBuffer(t, block)
	goOn := holdSending(q)
	_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	q.mu.Lock()
	index := q.pending[0]
	for _, again := range []func(){func() { q.enqueue(index) }, func() { q.putBack([]uint32{index}) }} {
		q.pending = q.pending[:0]
		q.slots[index].lone, q.slots[index].stage = 1, stageSent
		again()
		require.Zero(t, q.slots[index].lone)
		require.Equal(t, stagePending, q.slots[index].stage)
		require.Equal(t, []uint32{index}, q.pending)
	}
	q.mu.Unlock()
	goOn()
	require.NoError(t, receive(t, q, 1)[0].Err)
}

// A poll that is cancelled while a sender has it in hand, and the kernel does not
// know it yet, is cancelled behind the call; where the kernel has no room for it,
// at once.
func TestCancelInTheHandsOfASender(t *testing.T) {
	q := newQueue(t, 2)
	r, _ := newPipe(t)
	for _, room := range []bool{true, false} {
		goOn := holdSending(q)
		_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(1))
		require.NoError(t, err)
		q.mu.Lock()
		s := q.hireSender()
		q.sending++
		q.takeBatch(s)
		q.unlock()
		require.Equal(t, 1, q.Cancel(1))
		q.mu.Lock()
		if room {
			q.sendTaken(s)
		} else {
			q.noRoom(s.batch)
		}
		q.sending--
		q.idle = append(q.idle, s)
		q.unlock()
		require.ErrorIs(t, receive(t, q, 1)[0].Err, syscall.ECANCELED)
		goOn()
		requireNotHeld(t, r)
	}
}

// The leader waits in the kernel for reads, and for polls it does not: these may take
// for ever, and no thread is to wait for that long.
func TestLeader(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	r, w := newPipe(t)
	leads := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.leading || q.quiet != 0
	}
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(1))
	require.NoError(t, err)
	for range 100 {
		require.False(t, leads(), "for a poll")
		runtime.Gosched()
	}
	for range 100 {
		_, err = q.Submit(ctxOf(t), Pread(f, b, 0), Pread(f, b, -1*block), Pread(buffered(t, f), b, 0))
		require.Error(t, err, "known beforehand")
		_, err = q.Submit(ctxOf(t), Pread(f, b, 0), Pread(f, b, 0).WithFlags(1<<14), Pread(f, b, 0))
		require.NoError(t, err, "refused in the midst")
		for _, c := range receive(t, q, 3) {
			require.Zero(t, c.Tag)
		}
	}
	require.Eventually(t, func() bool { return !leads() }, time.Minute, time.Millisecond)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	require.EqualValues(t, 1, receive(t, q, 1)[0].Tag)
}

// While a sender is at work the kernel may refuse what is counted: the leader does not
// wait for that for ever.
func TestLeaderOfWhatIsRefused(t *testing.T) {
	q := newQueue(t, 1)
	leads := func(yes bool) {
		require.Eventually(t, func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.leading == yes
		}, time.Minute, time.Millisecond)
	}
	q.mu.Lock()
	q.sending++
	q.quiet++
	q.wakeLeader()
	q.mu.Unlock()
	leads(true)
	q.mu.Lock()
	q.sending--
	q.quiet--
	q.mu.Unlock()
	leads(false)
}

// Who would lead does not where no sender was to be had: the kernel does not have the
// operation, and may refuse it when it is sent later.
func TestLeadOfWhatIsNotSent(t *testing.T) {
	for _, ctx := range []context.Context{context.Background(), ctxOf(t)} {
		q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
		op := Pread(f, b, 0).WithFlags(1 << 14) // EOPNOTSUPP
		require.Nil(t, q.pin(&op))
		q.mu.Lock()
		call := q.newCall()
		index := q.accept(op, sinkCall, call)
		number := q.stats.Submitted
		q.slots[index].lone = number
		q.waitToSend(stuckAfter) // as hireSender does where there is no memory
		q.lead(ctx, index, number)
		q.unlock()
		<-call.done
		require.ErrorIs(t, call.err, syscall.EOPNOTSUPP)
		q.mu.Lock()
		q.returning--
		q.freeCall(call)
		q.mu.Unlock()
	}
}

// What the kernel has taken of a batch completes while the rest of it is stuck in
// io_submit, for which a full pipe stands.
func TestBeforeAStuckPortion(t *testing.T) {
	q, f, bufs := newQueue(t, 8), newFile(t, 2*block), newBuffers(t, 3, block)
	r, w := newPipe(t)
	for {
		if _, err := unix.Write(w, make([]byte, block)); err != nil {
			break
		}
	}
	require.NoError(t, unix.SetNonblock(w, false))
	full := BorrowFD(w, "full pipe")
	full.direct = true // so that it goes in a call with others
	var submitted sync.WaitGroup
	submitted.Go(func() {
		_, err := q.Submit(ctxOf(t), Pread(f, bufs[0], 0), Pread(f, bufs[1], block), Pwrite(full, bufs[2], 0))
		assert.NoError(t, err)
	})
	for _, c := range receive(t, q, 2) {
		require.Equal(t, KindPread, c.Kind)
		require.NoError(t, c.Err)
	}
	require.Equal(t, 1, q.Stats().InFlight)
	_, err := unix.Read(r.fd, make([]byte, 16*block))
	require.NoError(t, err)
	require.NoError(t, receive(t, q, 1)[0].Err)
	submitted.Wait()
}

// mustNotLead has somebody lead for the operation of this number in slot 0, who is to
// return at once.
func mustNotLead(t *testing.T, q *Queue, number uint64, otherwise string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		q.leadOn(0, number)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error(otherwise)
	}
}

// A slot is used again: whoever comes late for a lone operation that has
// completed must not wait for the next one in its slot, which has a leader.
func TestLeadOnLate(t *testing.T) {
	q := newQueue(t, 1)
	q.mu.Lock()
	q.slots[0].lone = 7
	q.mu.Unlock()
	mustNotLead(t, q, 6, "it waits for the operation of another")
	q.mu.Lock()
	require.False(t, q.leading)
	q.slots[0].lone = 0
	q.mu.Unlock()
}

// A Do does not lead beside another: there is one reader of the ring.
func TestLeadBesideTheLeader(t *testing.T) {
	q := newQueue(t, 1)
	q.mu.Lock()
	q.slots[0].lone, q.slots[0].stage, q.leading = 7, stageSent, true
	q.mu.Unlock()
	mustNotLead(t, q, 7, "it waits in the kernel beside the leader")
	q.mu.Lock()
	require.True(t, q.leading)
	q.slots[0].lone, q.slots[0].stage, q.leading = 0, stageIdle, false
	q.mu.Unlock()
}

// An operation that nobody but its leader hears of may come to have company, where
// there was no memory to send it at once.
func TestLoneInCompany(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	r, w := newPipe(t)
	goOn := holdSending(q)
	op := Pread(f, b, 0)
	require.Nil(t, q.pin(&op))
	q.mu.Lock()
	call := q.newCall()
	index := q.accept(op, sinkCall, call)
	q.slots[index].lone = q.stats.Submitted
	number := q.stats.Submitted
	q.mu.Unlock()
	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN))
	require.NoError(t, err)
	goOn()
	q.leadOn(index, number)
	<-call.done
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	require.NoError(t, receive(t, q, 1)[0].Err)
	q.mu.Lock()
	q.returning--
	q.freeCall(call)
	q.mu.Unlock()
}

// For whom no context can call it off a lone Do is a pread or a pwrite, with all
// that an operation has.
func TestLoneDoWithoutTheKernel(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, 8*block), newBuffer(t, 4*block)
	if !f.Direct() {
		t.Skip("buffered files are read and written by io_submit: tmpfs has no direct I/O")
	}
	ctx := context.Background()
	for range loneTimes {
		_, err := q.Do(ctx, Noop())
		require.NoError(t, err)
	}
	before := q.Stats()
	n, err := q.Do(ctx, Pread(f, b, block))
	require.NoError(t, err)
	require.Equal(t, 4*block, n)
	requirePattern(t, b.Bytes(), block, 0)
	n, err = q.Do(ctx, Pwrite(f, b, 4*block).WithLength(block))
	require.NoError(t, err)
	require.Equal(t, block, n)
	_, err = q.Do(ctx, Pread(f, b, 3*block))
	require.NoError(t, err)
	requirePattern(t, b.Bytes()[block:2*block], block, 0)
	requirePattern(t, b.Bytes()[2*block:], 5*block, 0)
	n, err = q.Do(ctx, Pread(f, b, 7*block)) // over the end
	require.NoError(t, err)
	require.Equal(t, block, n)
	readOnly, err := Open(f.Name())
	require.NoError(t, err)
	defer readOnly.Close()
	_, err = q.Do(ctx, Pwrite(readOnly, b, 0))
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorContains(t, err, "pwrite "+f.Name()+" (16384 bytes at offset 0)")
	after := q.Stats()
	require.Equal(t, before.SubmitCalls, after.SubmitCalls)
	require.Equal(t, before.Completed+5, after.Completed)
	require.Equal(t, before.Failed+1, after.Failed)
	require.False(t, b.InFlight())

	n, err = q.Do(ctx, Pread(f, b, 6*block).WithResume()) // the end is found by AIO
	require.NoError(t, err)
	require.Equal(t, 2*block, n)
	require.Equal(t, before.SubmitCalls+1, q.Stats().SubmitCalls)
	n, err = q.Do(ctx, Pwrite(f, b, 0).WithDurability(DurabilityData)) // which pwrite has not
	require.NoError(t, err)
	require.Equal(t, 4*block, n)
	require.Equal(t, before.SubmitCalls+2, q.Stats().SubmitCalls)
	require.Zero(t, f.state.Load(), "references that are left")
}
