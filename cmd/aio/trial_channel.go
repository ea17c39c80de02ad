package main

import (
	"context"
	"time"

	"github.com/golibaio/libaio"
)

// channelTrial sends in one call what the channel gave: one goroutine waits for
// a completion, takes the others that are there, and submits as many again.
type channelTrial struct {
	*lane
	file  *libaio.File
	queue *libaio.Queue
	sent  []time.Time // by slot
	batch []libaio.Op
	ended []libaio.Completion
}

func startChannelTrial(t *trial) (trialist, error) {
	file, queue, err := openTrial(t)
	if err != nil {
		return nil, err
	}
	return &channelTrial{
		lane: newLanes(t, 1)[0], file: file, queue: queue,
		sent:  make([]time.Time, t.depth),
		batch: make([]libaio.Op, 0, t.depth),
		ended: make([]libaio.Completion, 0, t.depth),
	}, nil
}

// openTrial opens the file, and a queue of the trial's depth.
func openTrial(t *trial) (*libaio.File, *libaio.Queue, error) {
	file, err := libaio.OpenFile(t.path, t.openFlag(), 0)
	if err != nil {
		return nil, nil, err
	}
	queue, err := libaio.NewQueue(t.depth, nil)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, queue, nil
}

func (r *channelTrial) run(ctx context.Context) error {
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
		r.collect()
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

// collect waits for a completion and takes all others that are there.
func (r *channelTrial) collect() {
	completions := r.queue.Completions()
	r.ended = append(r.ended[:0], <-completions)
	for {
		select {
		case c := <-completions:
			r.ended = append(r.ended, c)
		default:
			return
		}
	}
}

// prepare puts the next request of a slot into the batch.
func (r *channelTrial) prepare(slot int, now time.Time) {
	r.sent[slot] = now
	r.batch = append(r.batch, r.trial.op(r.file, slot, r.next(slot)).WithTag(uint64(slot)))
}

// op is the request of a slot at an offset.
func (t *trial) op(f *libaio.File, slot int, offset int64) libaio.Op {
	if t.workload.write {
		return libaio.Pwrite(f, t.memory[slot], offset)
	}
	return libaio.Pread(f, t.memory[slot], offset)
}

func (r *channelTrial) lanes() []*lane { return []*lane{r.lane} }

func (r *channelTrial) close() error { return closeTrial(r.file, r.queue) }

func closeTrial(f *libaio.File, q *libaio.Queue) error {
	return alongside(q.Close(), f.Close())
}
