package property

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// shared is a Queue that several workers use at once.
type shared struct {
	q       *libaio.Queue
	depth   int
	cap     int
	closing atomic.Bool // set before the Queue is told
	workers []*worker
	stray   atomic.Pointer[libaio.Completion] // of nobody

	mu   sync.Mutex
	errs []string
}

// Errorf and FailNow let the workers, which are not the goroutine of the test,
// use require: a failure ends the worker.
func (s *shared) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, fmt.Sprintf(format, args...))
}

func (s *shared) FailNow() { runtime.Goexit() }

// Several goroutines with blocks, tags and memory of their own use one Queue,
// while it may be closed at any moment.
func TestConcurrent(t *testing.T) {
	d := newDisk(t)
	rapid.Check(t, func(t *rapid.T) {
		before := libaio.Memory()
		d.reset(t)
		s := &shared{depth: rapid.IntRange(1, 16).Draw(t, "depth")}
		unread := rapid.IntRange(1, 8).Draw(t, "unread")
		s.cap = s.depth + unread
		q, err := libaio.NewQueue(s.depth, &libaio.Options{Unread: unread})
		require.NoError(t, err)
		s.q = q

		const workers = 4
		seed := rapid.Uint64().Draw(t, "seed")
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for i := range workers {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			k := newMaker(t, d, r.IntN, i*blocks/workers, (i+1)*blocks/workers)
			k.tag = uint64(i) << 32
			s.workers = append(s.workers, &worker{
				maker: k, s: s, jobs: make(map[uint64]*job),
				inbox: make(chan libaio.Completion, 100*steps+100), polls: (s.depth - 1) / workers,
			})
		}
		pauses := rapid.IntRange(0, 8).Draw(t, "pauses")
		early := rapid.IntRange(-20, 50).Draw(t, "close early") // in units of 100 microseconds
		s.run(steps, pauses, early)

		require.Empty(t, s.errs)
		require.Nil(t, s.stray.Load(), "a completion of nobody")
		st := q.Stats()
		require.Equal(t, st.Submitted, st.Completed)
		require.Zero(t, st.InFlight)
		d.verify(t)
		eventually(t, func() bool { return libaio.Memory() == before }, "memory that nobody has")
	})
}

// run has the workers work, and ends the Queue.
func (s *shared) run(steps, pauses, early int) {
	var work, rest sync.WaitGroup
	rest.Go(func() { s.dispatch(pauses) })
	for _, w := range s.workers {
		work.Go(func() { w.run(steps) })
	}
	if early >= 0 {
		rest.Go(func() {
			time.Sleep(time.Duration(early) * 100 * time.Microsecond)
			s.close()
		})
	}
	work.Wait()
	rest.Go(s.close)
	rest.Wait()
	for _, w := range s.workers {
		w.close()
	}
}

// close ends the Queue: first without waiting, then to the end.
func (s *shared) close() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	s.closing.Store(true)
	err := s.q.Shutdown(over)
	if err != nil && !gaveUp(err) {
		s.Errorf("Shutdown: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.q.Shutdown(ctx); err != nil {
		s.Errorf("Shutdown: %v", err)
	}
}

// dispatch brings the completions to the workers, with pauses in which the
// channel becomes full.
func (s *shared) dispatch(pauses int) {
	for n := 0; ; n++ {
		select {
		case c, ok := <-s.q.Completions():
			if !ok {
				return
			}
			if i := c.Tag >> 32; i < uint64(len(s.workers)) {
				s.workers[i].inbox <- c
			} else {
				s.stray.Store(&c)
			}
		case <-time.After(2 * patience):
			return // the others report what is missing
		}
		if pauses > 0 && n%(8*pauses) == 0 {
			time.Sleep(200 * time.Microsecond)
		}
	}
}

// worker submits, and has its own jobs.
type worker struct {
	*maker
	s     *shared
	jobs  map[uint64]*job
	left  []*job
	inbox chan libaio.Completion
	polls int // as many may wait without blocking the others
}

func (w *worker) run(steps int) {
	for range steps {
		switch w.pick(12) {
		case 0, 1, 2:
			w.submit()
		case 3:
			w.trySubmit()
		case 4, 5, 6:
			w.do()
		case 7, 8:
			for range w.pick(len(w.jobs) + 1) {
				w.receive(false)
			}
		case 9:
			w.cancel()
		case 10:
			w.makeReady()
		default:
			w.makeUnready()
		}
		w.check()
	}
	w.makeReady()
	for len(w.jobs) > 0 {
		w.receive(true)
	}
	deadline := time.Now().Add(patience)
	for w.sweep(); len(w.left) > 0; w.sweep() {
		require.True(w.s, time.Now().Before(deadline), "%v is in flight for ever", &w.left[0].op)
		runtime.Gosched()
	}
}

// check holds the counters against what they may be at any moment.
func (w *worker) check() {
	w.sweep()
	st := w.s.q.Stats()
	require.LessOrEqual(w.s, st.InFlight, w.s.depth)
	require.LessOrEqual(w.s, st.Unread, w.s.cap)
	require.EqualValues(w.s, st.InFlight, st.Submitted-st.Completed)
}

// batch makes jobs; a poll that would be one too many finds its event.
func (w *worker) batch() []*job {
	js := w.maker.jobs(w.s, 3)
	waiting := 0
	for _, j := range w.jobs {
		if j.kind == libaio.KindPoll && !j.ready {
			waiting++
		}
	}
	for _, j := range js {
		if j.kind != libaio.KindPoll {
			continue
		}
		if waiting++; waiting > w.polls {
			w.makeReady()
		}
	}
	for _, j := range js {
		j.ready = w.ready
	}
	return js
}
