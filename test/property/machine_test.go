package property

import (
	"fmt"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// patience is how long anything may take that must happen: it turns a hang
// into a failure, and nothing depends on it otherwise.
const patience = 20 * time.Second

// machine is a Queue, and the model of what it has to do. Its exported methods
// are the actions that rapid chooses from.
type machine struct {
	*maker
	q     *libaio.Queue
	depth int
	cap   int // of the channel

	jobs map[uint64]*job // accepted, and the completion was not received
	left []*job          // of a Do that gave up; they may be in flight

	clogs *pipe
	clog  *job // nil: no call of io_submit blocks

	closing bool // refuses everything
	closed  bool // Close has returned

	accepted uint64 // at least; a Do that gave up may have been accepted too
	withdrew uint64 // so many Dos
	failed   uint64 // completions with an error that were seen
	abandons uint64 // Dos whose end was not seen

	memory libaio.MemoryStats // before
	alive  int                // Buffers that the model has not given back
	zombie map[*memory]bool   // given back in flight
}

func newMachine(t *rapid.T, d *disk) *machine {
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
	m := &machine{
		memory: libaio.Memory(),
		jobs:   make(map[uint64]*job),
		zombie: make(map[*memory]bool),
	}
	d.reset(t)
	m.depth = rapid.IntRange(1, 16).Draw(t, "depth")
	unread := rapid.IntRange(1, 8).Draw(t, "unread")
	m.cap = m.depth + unread
	q, err := libaio.NewQueue(m.depth, &libaio.Options{Unread: unread})
	require.NoError(t, err)
	m.q = q
	m.maker = newMaker(t, d, pick, 0, blocks)
	m.clogs = newPipe(t, 0, "clogs")
	return m
}

// Check holds the counters against the model; rapid calls it after each action.
func (m *machine) Check(t *rapid.T) {
	m.sweep(t)
	s := m.q.Stats()
	require.LessOrEqual(t, s.InFlight, m.depth)
	require.EqualValues(t, s.InFlight, s.Submitted-s.Completed)
	require.LessOrEqual(t, len(m.jobs), m.cap, "in flight or unread")
	// What is accepted and not received is in flight or on the channel.
	require.GreaterOrEqual(t, s.InFlight+s.Unread, len(m.jobs), "a completion is lost")
	require.LessOrEqual(t, s.InFlight+s.Unread, len(m.jobs)+len(m.left), "a completion too many")
	require.GreaterOrEqual(t, s.Submitted, m.accepted)
	require.LessOrEqual(t, s.Submitted, m.accepted+m.withdrew)
	m.checkMemory(t)
}

// checkMemory holds the C memory against the model. What was released in flight
// is freed, or idle in the pool, soon behind its completion.
func (m *machine) checkMemory(t *rapid.T) {
	require.GreaterOrEqual(t, m.allocated(), m.alive+m.idle(t))
	eventually(t, func() bool {
		return m.allocated() <= m.alive+m.idle(t)+len(m.zombie)
	}, "memory that nobody has")
}

// allocated is the number of blocks since the machine was made.
func (m *machine) allocated() int {
	return int(libaio.Memory().Buffers - m.memory.Buffers)
}

// idle is the number of blocks in the pool.
func (m *machine) idle(t *rapid.T) (n int) {
	_, err := fmt.Sscanf(m.pool.String(), fmt.Sprintf("Pool of %d bytes aligned to %d, %%d idle", poolSize, blockSize), &n)
	require.NoError(t, err)
	return n
}

// eventually waits for what has to become true.
func eventually(t require.TestingT, ok func() bool, what string) {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Microsecond) {
		require.True(t, time.Now().Before(deadline), what)
	}
}

// prepare counts the memory of new jobs.
func (m *machine) prepare(js []*job) []*job {
	seen := make(map[*memory]bool)
	for _, j := range js {
		if j.mem != nil && !seen[j.mem] {
			seen[j.mem] = true
			m.alive++
		}
	}
	return js
}

// accept notes jobs that the queue has accepted for the channel.
func (m *machine) accept(js []*job) {
	for _, j := range js {
		m.jobs[j.tag] = j
		m.took(j)
	}
}

func (m *machine) took(j *job) {
	m.accepted++
	j.cancelled = j.kind == libaio.KindPoll && m.closing
}

// drop ends a job that was not accepted, or of which the end was seen.
func (m *machine) drop(t require.TestingT, j *job) {
	switch mem := m.ended(t, j); {
	case mem == nil:
	case mem.released:
		delete(m.zombie, mem)
	default:
		m.alive--
		m.giveBack(t, mem)
	}
}

// sweep ends the jobs of Dos that gave up, once they are not in flight.
func (m *machine) sweep(t require.TestingT) {
	if len(m.left) == 0 {
		return
	}
	s := m.q.Stats()
	none := s.InFlight+s.Unread == len(m.jobs)
	kept := m.left[:0]
	for _, j := range m.left {
		if !none && (j.mem == nil || j.mem.root.InFlight()) {
			kept = append(kept, j)
			continue
		}
		n := j.n
		if j.err == 0 && j.isWrite() {
			copy(m.d.seed[j.from:j.from+j.count], j.seeds)
		}
		if j.mem != nil && !j.mem.released && !j.resumes {
			j.verifyMemory(t, m.d, n)
		}
		m.drop(t, j)
	}
	m.left = kept
}

// received ends the job of a completion.
func (m *machine) received(t require.TestingT, c libaio.Completion) *job {
	j := m.jobs[c.Tag]
	require.NotNil(t, j, "a completion that nobody waits for, or the second: %+v", c)
	delete(m.jobs, c.Tag)
	j.verifyIdentity(t, c)
	j.verify(t, m.d, c.N, c.Err)
	if c.Err != nil {
		m.failed++
	}
	m.drop(t, j)
	return j
}

// receive takes the next completion, which has to come.
func (m *machine) receive(t require.TestingT) *job {
	select {
	case c, ok := <-m.q.Completions():
		require.True(t, ok, "the channel is closed, and these have no completion: %v", m.jobs)
		return m.received(t, c)
	case <-time.After(patience):
		require.FailNow(t, "no completion", "%+v", m.q.Stats())
		return nil
	}
}

// certain is how many completions must come whatever happens.
func (m *machine) certain() (n int) {
	for _, j := range m.jobs {
		if !j.stuck(m.closing) {
			n++
		}
	}
	return n
}

// waiting is how many slots may never become free by themselves.
func (m *machine) waiting() int { return len(m.jobs) - m.certain() }

// end closes the queue and holds against the model what has come of everything.
func (m *machine) end(t *rapid.T) {
	m.Unclog(t)
	m.closeQueue(t)
	for len(m.jobs) > 0 {
		m.receive(t)
	}
	c, ok := <-m.q.Completions()
	require.False(t, ok, "a completion behind the last: %+v", c)
	m.Check(t)
	require.Empty(t, m.left)
	s := m.q.Stats()
	require.GreaterOrEqual(t, s.Failed, m.failed)
	require.LessOrEqual(t, s.Failed, m.failed+m.abandons+m.withdrew)
	m.d.verify(t)
	require.NoError(t, m.pool.Close())
	eventually(t, func() bool { return libaio.Memory() == m.memory }, "memory that nobody has")
}

// cleanup leaves nothing behind, also after a failure.
func (m *machine) cleanup() {
	unix.Close(m.clogs.w) // ends the reads of a clog
	closed := make(chan struct{})
	go func() {
		m.q.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		return // the pipes stay: the queue may be using them
	}
	unix.Close(m.clogs.r)
	m.maker.close()
}
