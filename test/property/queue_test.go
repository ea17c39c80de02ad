package property

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// One goroutine, and every call of a Queue in any order.
func TestQueue(t *testing.T) {
	d := newDisk(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t, d)
		defer m.cleanup()
		t.Repeat(rapid.StateMachineActions(m))
		m.end(t)
	})
}

// ops is the operations of jobs, and whether the library must refuse them.
func ops(js []*job) (ops []libaio.Op, refused bool) {
	for _, j := range js {
		ops = append(ops, j.op)
		refused = refused || j.refused
	}
	return ops, refused
}

// sorted ends the jobs of a batch of which the first n were accepted.
func (m *machine) sorted(t *rapid.T, js []*job, n int) {
	m.accept(js[:n])
	for _, j := range js[n:] {
		m.drop(t, j)
	}
}

// Submit submits a batch with a context that is over, lives, or ends soon.
func (m *machine) Submit(t *rapid.T) {
	js := m.prepare(m.jobs1(t, m.cap))
	list, refused := ops(js)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	how := m.pick(6)
	fits := m.fits(js)
	switch {
	case how == 0:
		cancel()
	case how == 1 || !fits:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(m.pick(500))*time.Microsecond)
		defer cancel()
	}
	n, err := m.q.Submit(ctx, list...)
	switch {
	case m.closing: // whatever else is wrong
		require.Zero(t, n)
		require.ErrorIs(t, err, libaio.ErrClosed)
	case refused:
		require.Zero(t, n)
		require.ErrorIs(t, err, libaio.ErrInvalid)
	case how == 0:
		require.Zero(t, n)
		require.ErrorIs(t, err, context.Canceled)
	case how > 1 && fits:
		require.NoError(t, err)
		require.Equal(t, len(js), n)
	case n == len(js) && n > 0:
		require.NoError(t, err)
	default: // nothing is accepted of nothing, whatever the context
		require.True(t, len(js) == 0 && err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
	}
	m.sorted(t, js, n)
}

// jobs1 is jobs with the batches mostly small.
func (m *machine) jobs1(t *rapid.T, most int) []*job {
	if m.pick(3) > 0 {
		most = min(most, 3)
	}
	return m.maker.jobs(t, most)
}

// fits says whether a batch must be accepted in the end though nobody reads
// the channel.
func (m *machine) fits(js []*job) bool {
	polls := 0
	for _, j := range js {
		if j.kind == libaio.KindPoll && !j.ready {
			polls++
		}
	}
	return len(js) <= m.cap-len(m.jobs) && m.waiting()+polls < m.depth
}

// TrySubmit submits what there is room for.
func (m *machine) TrySubmit(t *rapid.T) {
	js := m.prepare(m.jobs1(t, m.cap))
	list, refused := ops(js)
	before := m.q.Stats()
	places := m.cap - len(m.jobs)
	least := min(len(js), places, m.depth-before.InFlight)
	n, err := m.q.TrySubmit(list...)
	switch {
	case m.closing: // whatever else is wrong
		require.Zero(t, n)
		require.ErrorIs(t, err, libaio.ErrClosed)
	case refused:
		require.Zero(t, n)
		require.ErrorIs(t, err, libaio.ErrInvalid)
	default:
		require.GreaterOrEqual(t, n, least)
		require.LessOrEqual(t, n, places)
		if before.Completed == m.q.Stats().Completed { // no room came meanwhile
			require.Equal(t, least, n)
		}
		if n == len(js) {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, libaio.ErrQueueFull)
		}
	}
	m.sorted(t, js, n)
}

// Do runs one operation, with a context that is over, lives, or ends soon.
func (m *machine) Do(t *rapid.T) {
	j := m.maker.job(t)
	if j == nil {
		return
	}
	m.prepare([]*job{j})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	how := m.pick(6)
	switch {
	case how == 0:
		cancel()
	case how == 1 || m.waiting() >= m.depth || j.stuck(false):
		ctx, cancel = context.WithTimeout(ctx, time.Duration(m.pick(300))*time.Microsecond)
		defer cancel()
	}
	n, err := m.q.Do(ctx, j.op)
	switch {
	case m.closing: // whatever else is wrong
		require.ErrorIs(t, err, libaio.ErrClosed)
	case j.refused:
		require.ErrorIs(t, err, libaio.ErrInvalid)
	case gaveUp(err):
		require.Error(t, ctx.Err())
		m.gaveUp(t, j, n, err)
		return
	default:
		require.NotEqual(t, 0, how, "the context was over")
		m.took(j)
		j.verify(t, m.d, n, err)
		if err != nil {
			m.failed++
		}
	}
	m.drop(t, j)
}

// gaveUp is what has to be right when the context of a Do ended.
func (m *machine) gaveUp(t *rapid.T, j *job, n int, err error) {
	j.verifyError(t, err)
	if !isInFlight(err) {
		m.withdrew++
		if j.mem != nil {
			require.False(t, j.mem.root.InFlight(), "%v was withdrawn", &j.op)
			j.verifyMemory(t, m.d, n)
		}
		m.drop(t, j)
		return
	}
	m.took(j)
	m.abandons++
	m.left = append(m.left, j)
	if j.mem != nil && m.pick(2) == 0 {
		m.release(t, j)
	}
}

// Receive takes some of the completions that must come.
func (m *machine) Receive(t *rapid.T) {
	for range m.pick(m.certain() + 1) {
		m.receive(t)
	}
}

// ReceiveAll takes all that must come.
func (m *machine) ReceiveAll(t *rapid.T) {
	for m.certain() > 0 {
		m.receive(t)
	}
}

// Cancel cancels one of the accepted jobs, or none.
func (m *machine) Cancel(t *rapid.T) {
	tags := make([]uint64, 0, len(m.jobs))
	for tag := range m.jobs {
		tags = append(tags, tag)
	}
	if len(tags) == 0 {
		require.Zero(t, m.q.Cancel(1<<40))
		return
	}
	slices.Sort(tags)
	j := m.jobs[tags[m.pick(len(tags))]]
	n := m.q.Cancel(j.tag)
	require.True(t, n == 0 || n == 1, "%d operations with one tag", n)
	if j.kind == libaio.KindPoll && !j.ready && !j.cancelled && !m.closing {
		require.Equal(t, 1, n, "the poll is in flight")
	}
	if n == 1 {
		j.cancelled = true
		j.mustCancel = j.kind != libaio.KindPoll
	}
}
