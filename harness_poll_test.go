//go:build linux

package libaio

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func newEventfd(t testing.TB) *File {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return BorrowFD(fd, "eventfd")
}

func newSocketPair(t testing.TB) (a, b *File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return BorrowFD(fds[0], "socket"), BorrowFD(fds[1], "peer")
}

// put writes, take reads, and both find what they expect.
func put(t testing.TB, fd int, p ...byte) {
	t.Helper()
	n, err := unix.Write(fd, p)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
}

func take(t testing.TB, fd, n int) {
	t.Helper()
	n, err := unix.Read(fd, make([]byte, n))
	require.NoError(t, err)
	require.Positive(t, n)
}

// requireEvents expects what poll(2) would return. A poll that had to wait may
// tell more than it was asked for, such as POLLRDNORM beside POLLIN: the kernel
// passes on what the waker said.
func requireEvents[T int | int64](t testing.TB, reply, ask PollEvents, got T) {
	t.Helper()
	require.Equal(t, reply, PollEvents(got)&(ask|unix.POLLERR|unix.POLLHUP), "of events %#x", got)
}

// libaio's harness, case 22: a poll of what is ready completes with what
// poll(2) says, whatever the descriptor is.
func TestHarnessPollReady(t *testing.T) {
	full, fullWriter := newPipe(t)
	put(t, fullWriter, 1)
	hungUp, writer := newPipe(t)
	require.NoError(t, unix.Dup3(fullWriter, writer, unix.O_CLOEXEC)) // closes the only writer
	_, noReader := newPipe(t)
	event, spent := newEventfd(t), newEventfd(t)
	put(t, event.FD(), 1, 0, 0, 0, 0, 0, 0, 0)
	idle, _ := newSocketPair(t)
	filled, peer := newSocketPair(t)
	put(t, peer.FD(), 1, 2, 3)
	half, halfPeer := newSocketPair(t)
	require.NoError(t, unix.Shutdown(halfPeer.FD(), unix.SHUT_WR))
	regular := newFile(t, block)

	c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
	const all = unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.POLLRDHUP
	for name, test := range map[string]struct {
		f          *File
		ask, reply PollEvents
	}{
		"pipe with data":               {full, unix.POLLIN, unix.POLLIN},
		"pipe with data, all events":   {full, all, unix.POLLIN},
		"pipe whose writer closed":     {hungUp, unix.POLLIN, unix.POLLHUP},
		"hang-up comes without asking": {hungUp, unix.POLLPRI, unix.POLLHUP},
		"pipe to write to":             {BorrowFD(noReader, "writer"), unix.POLLOUT, unix.POLLOUT},
		"eventfd with a count":         {event, unix.POLLIN, unix.POLLIN},
		"eventfd with room":            {spent, all, unix.POLLOUT},
		"socket with room":             {idle, all, unix.POLLOUT},
		"socket with data":             {filled, unix.POLLIN, unix.POLLIN},
		"socket with data and room":    {filled, all, unix.POLLIN | unix.POLLOUT},
		"socket, other side shut":      {half, unix.POLLRDHUP | unix.POLLIN, unix.POLLRDHUP | unix.POLLIN},
		"regular file":                 {regular, all, unix.POLLIN | unix.POLLOUT},
	} {
		t.Run(name, func(t *testing.T) {
			fds := []unix.PollFd{{Fd: int32(test.f.FD()), Events: int16(test.ask)}}
			_, err := unix.Poll(fds, 0)
			require.NoError(t, err)
			require.EqualValues(t, test.reply, fds[0].Revents, "poll(2)")
			require.NoError(t, cb.PrepPoll(test.f.FD(), test.ask))
			require.EqualValues(t, test.reply, run(t, c, cb).Res)
			n, err := q.Do(ctxOf(t), Poll(test.f, test.ask))
			require.NoError(t, err)
			require.EqualValues(t, test.reply, n)
		})
	}
	require.NoError(t, cb.PrepPoll(-1, unix.POLLIN))
	_, err := c.Submit(cb)
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = q.Do(ctxOf(t), Poll(BorrowFD(-1, ""), unix.POLLIN))
	require.ErrorIs(t, err, syscall.EBADF)
	// The events have 16 bits.
	require.NoError(t, cb.PrepPoll(full.FD(), 1<<16))
	_, err = c.Submit(cb)
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = q.Do(ctxOf(t), Poll(full, 1<<16))
	require.ErrorIs(t, err, syscall.EINVAL)
}

// libaio's harness, case 22: a poll of what is not ready waits for exactly what
// it asked for.
func TestHarnessPollWaits(t *testing.T) {
	const all = unix.POLLIN | unix.POLLRDHUP
	pipe, writer := newPipe(t)
	event := newEventfd(t)
	socket, peer := newSocketPair(t)
	shut, shutPeer := newSocketPair(t)
	for name, test := range map[string]struct {
		f          *File
		ready      func()
		undo       func()
		ask, reply PollEvents
	}{
		"pipe":       {pipe, func() { put(t, writer, 1) }, func() { take(t, pipe.FD(), 1) }, all, unix.POLLIN},
		"eventfd":    {event, func() { put(t, event.FD(), 1, 0, 0, 0, 0, 0, 0, 0) }, func() { take(t, event.FD(), 8) }, all, unix.POLLIN},
		"socketpair": {socket, func() { put(t, peer.FD(), 1) }, func() { take(t, socket.FD(), 1) }, all, unix.POLLIN},
		"shutdown": {
			shut, func() { require.NoError(t, unix.Shutdown(shutPeer.FD(), unix.SHUT_WR)) }, nil, unix.POLLRDHUP, unix.POLLRDHUP,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
			require.NoError(t, cb.PrepPoll(test.f.FD(), test.ask))
			submitAll(t, c, cb)
			_, err := q.Submit(ctxOf(t), Poll(test.f, test.ask).WithTag(3))
			require.NoError(t, err)
			n, err := c.GetEvents(1, make([]Event, 1), 5*time.Millisecond)
			require.NoError(t, err)
			require.Zero(t, n)
			require.Zero(t, q.Stats().Completed)

			test.ready()
			requireEvents(t, test.reply, test.ask, reap(t, c, 1)[0].Res)
			done := receive(t, q, 1)[0]
			requireEvents(t, test.reply, test.ask, done.N)
			require.Equal(t, Completion{Tag: 3, File: test.f, N: done.N, Kind: KindPoll}, done)
			if test.undo == nil {
				return
			}
			test.undo()
			_, err = q.Submit(ctxOf(t), Poll(test.f, test.ask))
			require.NoError(t, err)
			n, err = c.GetEvents(0, make([]Event, 1), 0)
			require.NoError(t, err)
			require.Zero(t, n, "a poll completes once")
			test.ready()
			receive(t, q, 1)
			test.undo()
		})
	}
}

// libaio's harness, case 22: one event wakes all polls of a pipe, and a writer
// that goes away too.
func TestHarnessManyPollsOfOnePipe(t *testing.T) {
	const polls = 64
	for name, test := range map[string]struct {
		wake  func(writer int)
		reply PollEvents
	}{
		"data":    {func(writer int) { put(t, writer, 1) }, unix.POLLIN},
		"hang-up": {func(writer int) { require.NoError(t, unix.Close(writer)) }, unix.POLLHUP},
	} {
		t.Run(name, func(t *testing.T) {
			var p [2]int
			require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
			writer := p[1]
			defer unix.Close(p[0])
			c, cbs, q, pipe := newContext(t, polls), newIOCBs(t, polls), newQueue(t, polls), BorrowFD(p[0], "pipe")
			for _, cb := range cbs {
				require.NoError(t, cb.PrepPoll(p[0], unix.POLLIN))
			}
			submitAll(t, c, cbs...)
			_, err := q.Submit(ctxOf(t), slices.Repeat([]Op{Poll(pipe, unix.POLLIN)}, polls)...)
			require.NoError(t, err)
			test.wake(writer)
			for _, ev := range reap(t, c, polls) {
				requireEvents(t, test.reply, unix.POLLIN, ev.Res)
			}
			for _, done := range receive(t, q, polls) {
				require.NoError(t, done.Err)
				requireEvents(t, test.reply, unix.POLLIN, done.N)
			}
			if test.reply == unix.POLLIN {
				require.NoError(t, unix.Close(writer))
			}
		})
	}
}

// libaio's harness, case 22: a poll that is cancelled has its one event, and
// leaves the descriptor and the other polls as they were.
func TestHarnessPollCancel(t *testing.T) {
	c, q := newContext(t, 8), newQueue(t, 8)
	cbs := newIOCBs(t, 3)
	r, w := newPipe(t)
	for _, cb := range cbs {
		require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
	}
	submitAll(t, c, cbs...)
	require.NoError(t, c.Cancel(cbs[1]))
	require.Same(t, cbs[1], reap(t, c, 1)[0].Obj)
	require.ErrorIs(t, c.Cancel(cbs[1]), syscall.EINVAL)

	_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(5))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(ctxOf(t))
	cancelled := make(chan error, 1)
	go func() {
		_, err := q.Do(ctx, Poll(r, unix.POLLIN))
		cancelled <- err
	}()
	require.Eventually(t, func() bool { return q.Stats().InFlight == 2 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-cancelled, context.Canceled)
	require.Eventually(t, func() bool { return q.Stats().InFlight == 1 }, time.Minute, time.Millisecond)

	put(t, w, 1)
	evs := reap(t, c, 2)
	require.ElementsMatch(t, []*IOCB{cbs[0], cbs[2]}, []*IOCB{evs[0].Obj, evs[1].Obj})
	done := receive(t, q, 1)[0]
	require.NoError(t, done.Err)
	require.EqualValues(t, 5, done.Tag)
	requireEvents(t, unix.POLLIN, unix.POLLIN, done.N)

	// What nothing will ever make ready ends with the queue, and the context.
	take(t, r.FD(), 1)
	_, err = q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(6))
	require.NoError(t, err)
	submitAll(t, c, cbs[0])
	require.NoError(t, c.Destroy())
	require.False(t, cbs[0].inFlight.Load())
	require.NoError(t, q.Close())
	require.ErrorIs(t, (<-q.Completions()).Err, syscall.ECANCELED)
}

// libaio's harness, case 23: the write that makes a pipe ready comes while the
// poll is being set up, from another thread. A wake-up that gets lost leaves
// the poll waiting.
func TestHarnessPollRace(t *testing.T) {
	rounds := scaled(20_000, 1000)
	race := func(t *testing.T, r *File, w int, poll func() (int, error)) {
		start, written := make(chan struct{}), make(chan error)
		go func() {
			for range start {
				_, err := unix.Write(w, []byte{1})
				written <- err
			}
		}()
		defer close(start)
		for i := range rounds {
			start <- struct{}{}
			events, err := poll()
			if err != nil || events&unix.POLLIN == 0 {
				t.Fatalf("round %d: events %#x, %v", i, events, err)
			}
			require.NoError(t, <-written)
			take(t, r.FD(), 1)
		}
	}
	t.Run("context", func(t *testing.T) {
		c, cb := newContext(t, 8), newIOCB(t)
		r, w := newPipe(t)
		race(t, r, w, func() (int, error) {
			if err := cb.PrepPoll(r.FD(), unix.POLLIN); err != nil {
				return 0, err
			}
			return outcome(t, c, cb)
		})
	})
	t.Run("do", func(t *testing.T) {
		q, ctx := newQueue(t, 8), ctxOf(t)
		r, w := newPipe(t)
		race(t, r, w, func() (int, error) { return q.Do(ctx, Poll(r, unix.POLLIN)) })
	})
	t.Run("submit", func(t *testing.T) {
		q, ctx := newQueue(t, 8), ctxOf(t)
		r, w := newPipe(t)
		race(t, r, w, func() (int, error) {
			if _, err := q.Submit(ctx, Poll(r, unix.POLLIN)); err != nil {
				return 0, err
			}
			done := receive(t, q, 1)[0]
			return done.N, done.Err
		})
	})
}

// libaio's harness, case 23: a cancellation that races with the write that
// makes the pipe ready. Whichever wins, there is one event.
func TestHarnessPollCancelRace(t *testing.T) {
	c, cb := newContext(t, 8), newIOCB(t)
	r, w := newPipe(t)
	start, written := make(chan struct{}), make(chan error)
	go func() {
		for range start {
			_, err := unix.Write(w, []byte{1})
			written <- err
		}
	}()
	defer close(start)
	cancelled := 0
	for i := range scaled(20_000, 1000) {
		require.NoError(t, cb.PrepPoll(r.FD(), unix.POLLIN))
		submitAll(t, c, cb)
		start <- struct{}{}
		err := c.Cancel(cb)
		if err == nil {
			cancelled++
		} else {
			require.ErrorIs(t, err, syscall.EINVAL)
		}
		res := reap(t, c, 1)[0].Res
		if res != 0 && res&unix.POLLIN == 0 || err != nil && res == 0 {
			t.Fatalf("round %d: result %d after the cancellation said %v", i, res, err)
		}
		require.NoError(t, <-written)
		take(t, r.FD(), 1)
		n, err := c.GetEvents(0, make([]Event, 1), 0)
		require.NoError(t, err)
		require.Zero(t, n, "a second event")
	}
	t.Logf("%d were cancelled in time", cancelled)
}
