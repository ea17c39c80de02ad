package property

import (
	"context"
	"errors"
	"slices"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// Clog has a call of io_submit block in a read of an empty pipe: nothing else
// may wait for it.
func (m *machine) Clog(t *rapid.T) {
	if m.clog != nil || m.closing || m.waiting() >= m.depth {
		return
	}
	m.ReceiveAll(t)
	j := m.name(&job{kind: libaio.KindPread, file: m.clogs.file, clog: true, n: blockSize})
	b, err := libaio.Alloc(blockSize, blockSize)
	require.NoError(t, err)
	j.mem = &memory{root: b, users: 1, image: make([]byte, blockSize)}
	j.buf, j.at, j.size, j.input = b, []int{0}, []int{blockSize}, make([]byte, blockSize)
	fillBlock(j.input, j.tag)
	j.op = libaio.Pread(j.file, b, 0).WithTag(j.tag)
	m.prepare([]*job{j})
	m.submitOne(t, j)
	m.clog = j
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

// Unclog ends what Clog began. The next may read from the pipe only when this
// one is through.
func (m *machine) Unclog(t *rapid.T) {
	j := m.clog
	if j == nil {
		return
	}
	m.clogs.write(t, j.input)
	for m.clog = nil; m.jobs[j.tag] != nil; {
		m.receive(t)
	}
	left, err := unix.IoctlGetUint32(m.clogs.r, unix.TIOCINQ)
	require.NoError(t, err)
	if left > 0 { // it was cancelled
		_, err = unix.Read(m.clogs.r, make([]byte, left))
		require.NoError(t, err)
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
	if j == m.clog {
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
	if !isInFlight(err) {
		require.Zero(t, m.q.Stats().InFlight)
	}
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
		if j.kind == libaio.KindPoll || j.clog { // a signal may end the clog, and it is not begun anew
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
