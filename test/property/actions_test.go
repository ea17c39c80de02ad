package property

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func isInFlight(err error) bool { return errors.Is(err, libaio.ErrInFlight) }

// MakeReady ends the polls.
func (m *machine) MakeReady(t *rapid.T) {
	if m.ready {
		return
	}
	m.polls.write(t, []byte{1})
	m.ready = true
	for _, j := range m.jobs {
		if j.kind == libaio.KindPoll {
			j.ready = true
		}
	}
}

// MakeUnready has polls wait again. A poll that was woken looks once more, so
// this waits until there is none.
func (m *machine) MakeUnready(*rapid.T) {
	for _, j := range m.jobs {
		if j.kind == libaio.KindPoll {
			return
		}
	}
	m.polls.drain()
	m.ready = false
}

// Clog has io_submit block in a read of an empty pipe: what is accepted behind
// it can be withdrawn until it is sent past it, as it must be.
func (m *machine) Clog(t *rapid.T) {
	if m.clog != nil || m.closing || m.waiting() >= m.depth || m.resuming() {
		return
	}
	// With nothing else in flight there is room for a whole batch. A noop that
	// has completed says that no other goroutine is sending.
	m.ReceiveAll(t)
	noop := m.name(&job{kind: libaio.KindNoop, op: libaio.Noop()})
	m.submitOne(t, noop)
	for m.receive(t) != noop {
	}
	j := m.name(&job{kind: libaio.KindPread, file: m.clogs.file, clog: true, n: blockSize})
	b, err := libaio.Alloc(blockSize, blockSize)
	require.NoError(t, err)
	j.mem = &memory{root: b, users: 1, image: make([]byte, blockSize)}
	j.buf, j.at, j.size, j.input = b, []int{0}, []int{blockSize}, make([]byte, blockSize)
	fillBlock(j.input, j.tag)
	j.op = libaio.Pread(j.file, b, 0).WithTag(j.tag)
	batch := []*job{j}
	// What is in hand when io_submit blocks can be cancelled only later.
	if m.waiting()+2 < m.depth && len(m.jobs)+2 < m.cap {
		p := m.poll()
		p.behind = true
		batch = append(batch, p)
	}
	m.prepare(batch)
	m.accept(batch)
	list, _ := ops(batch)

	before := m.q.Stats().Submitted
	c := &clog{job: j, done: make(chan error, 1)}
	go func() {
		n, err := m.q.Submit(context.Background(), list...)
		if err == nil && n != len(list) {
			err = fmt.Errorf("Submit accepted %d of %d operations, without an error", n, len(list))
		}
		c.done <- err
	}()
	m.clog = c
	deadline := time.Now().Add(patience)
	for m.q.Stats().Submitted < before+uint64(len(list)) {
		require.True(t, time.Now().Before(deadline), "Submit hangs: %+v", m.q.Stats())
		runtime.Gosched()
	}
}

// submitOne submits a job for which there must be room in the end.
func (m *machine) submitOne(t *rapid.T, j *job) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := m.q.Submit(ctx, j.op)
	require.NoError(t, err, "%+v", m.q.Stats())
	require.Equal(t, 1, n)
	m.accept([]*job{j})
}

// resuming says whether there are operations that another goroutine may send.
func (m *machine) resuming() bool {
	for _, j := range m.jobs {
		if j.resumes {
			return true
		}
	}
	return len(m.left) > 0
}

// Unclog ends what Clog began.
func (m *machine) Unclog(t *rapid.T) {
	if m.clog == nil {
		return
	}
	m.clogs.write(t, m.clog.job.input)
	select {
	case err := <-m.clog.done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "Submit hangs", "%+v", m.q.Stats())
	}
	m.clog.job.clog = false
	m.clog = nil
	for _, j := range m.jobs {
		j.behind = false
	}
}

// GiveBackInFlight tries to give memory back that the kernel may hold.
func (m *machine) GiveBackInFlight(t *rapid.T) {
	var tags []uint64
	for tag, j := range m.jobs {
		if j.mem != nil && !j.mem.released {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return
	}
	slices.Sort(tags)
	j := m.jobs[tags[m.pick(len(tags))]]
	b := j.mem.root
	if j.clog {
		m.freeInFlight(t, j)
	}
	if j.bufs != nil && !(len(j.bufs) == 1 && j.bufs[0] == b) {
		require.ErrorIs(t, j.bufs[0].Free(), libaio.ErrInvalid, "a view")
		require.ErrorIs(t, j.bufs[0].Release(), libaio.ErrInvalid, "a view")
	}
	if !j.mem.released && m.pick(3) == 0 {
		m.release(t, j)
	}
}

// freeInFlight tries to free the memory of the clog, which has to be refused
// unless a signal has ended the clog.
func (m *machine) freeInFlight(t *rapid.T, j *job) {
	b := j.mem.root
	err := b.Free()
	if b.InFlight() {
		require.ErrorIs(t, err, libaio.ErrInFlight)
		require.NotNil(t, b.Bytes())
	} else if err == nil {
		j.mem.released = true
		m.alive--
		m.zombie[j.mem] = true
	}
}

// release gives back the memory of a job that may be in flight.
func (m *machine) release(t *rapid.T, j *job) {
	before := libaio.Memory()
	require.NoError(t, j.mem.root.Release())
	require.ErrorIs(t, j.mem.root.Release(), libaio.ErrFreed)
	require.Nil(t, j.mem.root.Bytes())
	if now := libaio.Memory(); j.mem.root.InFlight() && len(m.zombie) == 0 {
		require.Equal(t, before, now, "freed in flight")
	}
	j.mem.released = true
	m.alive--
	m.zombie[j.mem] = true
}

// Shutdown closes the queue without waiting for it.
func (m *machine) Shutdown(t *rapid.T) {
	if m.pick(15) != 0 && !m.closing {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.isClosing()
	err := m.q.Shutdown(ctx)
	if err == nil {
		m.isClosed(t)
		return
	}
	require.False(t, m.closed, "a second Shutdown: %v", err)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, libaio.ErrInFlight)
}

// Close closes the queue.
func (m *machine) Close(t *rapid.T) {
	if m.pick(15) != 0 && !m.closing {
		return
	}
	m.Unclog(t)
	m.closeQueue(t)
}

func (m *machine) closeQueue(t *rapid.T) {
	m.isClosing()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, m.q.Shutdown(ctx))
	m.isClosed(t)
	require.NoError(t, m.q.Close(), "the second time")
}

// isClosing notes that polls are cancelled, and nothing is accepted.
func (m *machine) isClosing() {
	if m.closing {
		return
	}
	m.closing = true
	for _, j := range m.jobs {
		if j.kind == libaio.KindPoll {
			j.cancelled = true
		}
	}
}

// isClosed checks what must hold when Close has returned.
func (m *machine) isClosed(t *rapid.T) {
	m.closed = true
	s := m.q.Stats()
	require.Zero(t, s.InFlight, "Close has not waited")
	require.Equal(t, len(m.jobs), s.Unread, "what was accepted must be on the channel")
}

// UseFreed submits memory that was given back.
func (m *machine) UseFreed(t *rapid.T) {
	b, err := libaio.Alloc(blockSize, blockSize)
	require.NoError(t, err)
	view := slice(t, b, 0, blockSize)
	require.NoError(t, b.Free())
	for _, b := range []*libaio.Buffer{b, view} {
		n, err := m.q.TrySubmit(libaio.Pwrite(m.d.file, b, 0), libaio.Pwritev(m.d.file, []*libaio.Buffer{b}, 0))
		require.Zero(t, n)
		if m.closing {
			require.ErrorIs(t, err, libaio.ErrClosed)
		} else {
			require.ErrorIs(t, err, libaio.ErrFreed)
		}
		require.False(t, b.InFlight())
	}
}
