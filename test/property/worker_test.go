package property

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
)

// context is one that lives, or one that ends soon.
func (w *worker) context() (ctx context.Context, cancel func(), lives bool) {
	if w.pick(3) > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), patience)
		return ctx, cancel, true
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Duration(w.pick(400))*time.Microsecond)
	return ctx, cancel, false
}

func (w *worker) submit() {
	js := w.batch()
	list, refused := ops(js)
	ctx, cancel, lives := w.context()
	defer cancel()
	n, err := w.s.q.Submit(ctx, list...)
	switch {
	case refused && !errors.Is(err, libaio.ErrClosed):
		require.Zero(w.s, n)
		require.ErrorIs(w.s, err, libaio.ErrInvalid)
	case n == len(js) && err == nil:
	case n < max(len(js), 1) && !lives && errors.Is(err, context.DeadlineExceeded):
	default:
		require.Less(w.s, n, max(len(js), 1))
		require.ErrorIs(w.s, err, libaio.ErrClosed)
		require.True(w.s, w.s.closing.Load(), "closed by nobody")
	}
	w.sorted(js, n)
}

func (w *worker) trySubmit() {
	js := w.batch()
	list, refused := ops(js)
	n, err := w.s.q.TrySubmit(list...)
	switch {
	case refused && !errors.Is(err, libaio.ErrClosed):
		require.Zero(w.s, n)
		require.ErrorIs(w.s, err, libaio.ErrInvalid)
	case errors.Is(err, libaio.ErrClosed):
		require.Zero(w.s, n)
		require.True(w.s, w.s.closing.Load(), "closed by nobody")
	case n == len(js):
		require.NoError(w.s, err)
	default:
		require.ErrorIs(w.s, err, libaio.ErrQueueFull)
	}
	w.sorted(js, n)
}

func (w *worker) sorted(js []*job, n int) {
	for _, j := range js[:n] {
		w.jobs[j.tag] = j
	}
	for _, j := range js[n:] {
		w.drop(j)
	}
}

func (w *worker) do() {
	j := w.maker.job(w.s)
	if j == nil {
		return
	}
	if j.kind == libaio.KindPoll {
		w.makeReady()
		j.ready = true
	}
	ctx, cancel, lives := w.context()
	defer cancel()
	n, err := w.s.q.Do(ctx, j.op)
	switch {
	case j.refused && !errors.Is(err, libaio.ErrClosed):
		require.ErrorIs(w.s, err, libaio.ErrInvalid)
	case errors.Is(err, libaio.ErrClosed):
		require.True(w.s, w.s.closing.Load(), "closed by nobody")
	case gaveUp(err):
		require.False(w.s, lives, "Do hangs: %v", err)
		if isInFlight(err) {
			w.leave(j)
			return
		}
		if j.mem != nil {
			require.False(w.s, j.mem.root.InFlight(), "%v was withdrawn", &j.op)
			j.verifyMemory(w.s, w.d, n)
		}
	default:
		j.cancelled = j.kind == libaio.KindPoll && w.s.closing.Load()
		j.verify(w.s, w.d, n, err)
	}
	w.drop(j)
}

// leave leaves a job to itself that a Do has given up.
func (w *worker) leave(j *job) {
	if j.mem == nil {
		w.drop(j)
		return
	}
	w.left = append(w.left, j)
	if w.pick(2) == 0 {
		require.NoError(w.s, j.mem.root.Release())
		j.mem.released = true
	}
}

// sweep ends the jobs that were left to themselves.
func (w *worker) sweep() {
	w.left = slices.DeleteFunc(w.left, func(j *job) bool {
		if j.mem.root.InFlight() {
			return false
		}
		if j.err == 0 && j.isWrite() {
			copy(w.d.seed[j.from:j.from+j.count], j.seeds)
		}
		if !j.mem.released && !j.resumes {
			j.verifyMemory(w.s, w.d, j.n)
		}
		w.drop(j)
		return true
	})
}

func (w *worker) drop(j *job) {
	if mem := w.ended(w.s, j); mem != nil && !mem.released {
		w.giveBack(w.s, mem)
	}
}

// receive ends the job of the next completion; it waits only if one must come.
func (w *worker) receive(wait bool) {
	var c libaio.Completion
	if wait {
		select {
		case c = <-w.inbox:
		case <-time.After(patience):
			require.FailNow(w.s, "no completion", "%d are missing: %+v", len(w.jobs), w.s.q.Stats())
		}
	} else {
		select {
		case c = <-w.inbox:
		default:
			return
		}
	}
	j := w.jobs[c.Tag]
	require.NotNil(w.s, j, "a completion that nobody waits for, or the second: %+v", c)
	delete(w.jobs, c.Tag)
	j.cancelled = j.cancelled || j.kind == libaio.KindPoll && w.s.closing.Load()
	j.verifyIdentity(w.s, c)
	j.verify(w.s, w.d, c.N, c.Err)
	w.drop(j)
}

func (w *worker) cancel() {
	if len(w.jobs) == 0 {
		return
	}
	tags := make([]uint64, 0, len(w.jobs))
	for tag := range w.jobs {
		tags = append(tags, tag)
	}
	slices.Sort(tags)
	j := w.jobs[tags[w.pick(len(tags))]]
	switch n := w.s.q.Cancel(j.tag); n {
	case 0:
	case 1:
		j.cancelled = true
		j.mustCancel = j.kind != libaio.KindPoll
	default:
		require.Equal(w.s, 1, n, "operations with one tag")
	}
}

func (w *worker) makeReady() {
	if w.ready {
		return
	}
	w.maker.polls.write(w.s, []byte{1})
	w.ready = true
	for _, j := range w.jobs {
		if j.kind == libaio.KindPoll {
			j.ready = true
		}
	}
}

// makeUnready has polls wait again. A poll that was woken looks once more, so
// this is done only when there is none.
func (w *worker) makeUnready() {
	for _, j := range w.jobs {
		if j.kind == libaio.KindPoll {
			return
		}
	}
	w.maker.polls.drain()
	w.ready = false
}
