package main

import (
	"context"
	"time"

	"github.com/golibaio/libaio"
)

// loopTrial is one goroutine that waits for a completion, takes the others that
// are there, and submits as many again in one call.
type loopTrial struct {
	*lane
	first   int // of its slots
	file    *libaio.File
	queue   *libaio.Queue
	collect func(context.Context) error // fills ended
	sent    []time.Time                 // by slot
	batch   []libaio.Op
	ended   []libaio.Completion
}

// startChannelTrial takes completions from the channel.
func startChannelTrial(t *trial) (trialist, error) {
	r, err := newLoopTrial(t, nil, newLanes(t, 1)[0], 0)
	if err != nil {
		return nil, err
	}
	r.collect = r.receive
	return r, nil
}

// startReapTrial takes completions with Reap.
func startReapTrial(t *trial) (trialist, error) { return newReapTrial(t, newLanes(t, 1)[0], 0) }

func newReapTrial(t *trial, l *lane, first int) (*loopTrial, error) {
	r, err := newLoopTrial(t, &libaio.Options{Polled: true}, l, first)
	if err != nil {
		return nil, err
	}
	r.collect = r.reap
	return r, nil
}

func newLoopTrial(t *trial, o *libaio.Options, l *lane, first int) (*loopTrial, error) {
	file, queue, err := openTrial(t, o)
	if err != nil {
		return nil, err
	}
	return &loopTrial{
		lane: l, first: first, file: file, queue: queue,
		sent:  make([]time.Time, t.depth),
		batch: make([]libaio.Op, 0, t.depth),
		ended: make([]libaio.Completion, 0, t.depth),
	}, nil
}

// openTrial opens the file, and a queue of the trial's depth.
func openTrial(t *trial, o *libaio.Options) (*libaio.File, *libaio.Queue, error) {
	file, err := libaio.OpenFile(t.path, t.openFlag(), 0)
	if err != nil {
		return nil, nil, err
	}
	queue, err := libaio.NewQueue(t.depth, o)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, queue, nil
}

func (r *loopTrial) run(ctx context.Context) error {
	now := time.Now()
	for slot := range r.sent {
		r.prepare(slot, now)
	}
	flying := 0
	for {
		if len(r.batch) > 0 {
			n, err := r.queue.Submit(ctx, r.batch...)
			if err != nil {
				return err
			}
			flying += n
			r.batch = r.batch[:0]
		}
		if flying == 0 {
			return nil
		}
		if err := r.collect(ctx); err != nil {
			return err
		}
		flying -= len(r.ended)
		now := time.Now()
		again := !r.trial.over()
		for i := range r.ended {
			c := &r.ended[i]
			if c.Err != nil {
				return c.Err
			}
			slot := int(c.Tag)
			if err := r.take(c.N, now.Sub(r.sent[slot])); err != nil {
				return err
			}
			if again {
				r.prepare(slot, now)
			}
		}
	}
}

// receive waits for a completion and takes all others that are there.
func (r *loopTrial) receive(context.Context) error {
	completions := r.queue.Completions()
	r.ended = append(r.ended[:0], <-completions)
	for {
		select {
		case c := <-completions:
			r.ended = append(r.ended, c)
		default:
			return nil
		}
	}
}

func (r *loopTrial) reap(ctx context.Context) error {
	n, err := r.queue.Reap(ctx, r.ended[:cap(r.ended)], 1)
	r.ended = r.ended[:n]
	return err
}

// prepare puts the next request of a slot into the batch.
func (r *loopTrial) prepare(slot int, now time.Time) {
	r.sent[slot] = now
	at := r.first + slot
	r.batch = append(r.batch, r.trial.op(r.file, at, r.next(at)).WithTag(uint64(slot)))
}

// op is the request of a slot at an offset.
func (t *trial) op(f *libaio.File, slot int, offset int64) libaio.Op {
	if t.workload.write {
		return libaio.Pwrite(f, t.memory[slot], offset)
	}
	return libaio.Pread(f, t.memory[slot], offset)
}

func (r *loopTrial) lanes() []*lane { return []*lane{r.lane} }

func (r *loopTrial) close() error { return closeTrial(r.file, r.queue) }

func closeTrial(f *libaio.File, q *libaio.Queue) error {
	return alongside(q.Close(), f.Close())
}
