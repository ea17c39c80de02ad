package main

import (
	"context"
	"time"

	"github.com/golibaio/libaio"
)

// channelReader reads through a queue: one goroutine takes completions from
// the channel and sends the next reads, as many in one call as there are.
type channelReader struct {
	*tally
	queue  *libaio.Queue
	slots  []channelSlot    // by tag
	memory []*libaio.Buffer // of the slots
	batch  []libaio.Op      // to be sent next
}

// channelSlot is one of the reads that are kept in flight.
type channelSlot struct {
	block int64
	sent  time.Time
}

func startChannel(t *target, depth int) (reader, error) {
	memory, err := allocate(depth, blockSize, memoryAlignment(t.file))
	if err != nil {
		releaseAll(memory)
		return nil, err
	}
	queue, err := libaio.NewQueue(depth, nil)
	if err != nil {
		releaseAll(memory)
		return nil, err
	}
	return &channelReader{
		tally:  newTally(t),
		queue:  queue,
		slots:  make([]channelSlot, depth),
		memory: memory,
		batch:  make([]libaio.Op, 0, depth),
	}, nil
}

func (r *channelReader) read(ctx, during context.Context) error {
	for slot := range r.slots {
		r.prepare(slot)
	}
	for flying := 0; ; {
		if err := r.send(ctx); err != nil {
			return err
		}
		flying += len(r.batch)
		r.batch = r.batch[:0]
		if flying == 0 {
			return ctx.Err()
		}
		n, err := r.collect(during)
		if err != nil {
			return err
		}
		flying -= n
	}
}

// prepare puts the next read of a slot into the batch.
func (r *channelReader) prepare(slot int) {
	block := r.choose()
	r.slots[slot].block = block
	r.batch = append(r.batch, libaio.Pread(r.target.file, r.memory[slot], block*blockSize).WithTag(uint64(slot)))
}

func (r *channelReader) send(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	now := time.Now()
	for i := range r.batch {
		r.slots[r.batch[i].Tag()].sent = now
	}
	_, err := r.queue.Submit(ctx, r.batch...)
	return err
}

// collect waits for a completion, takes all others that are there, and
// prepares a new read for each. It returns how many it took.
func (r *channelReader) collect(during context.Context) (int, error) {
	completions := r.queue.Completions()
	c := <-completions
	for n := 1; ; n++ {
		if err := r.check(c); err != nil {
			return n, err
		}
		if during.Err() == nil {
			r.prepare(int(c.Tag))
		}
		select {
		case c = <-completions:
		default:
			return n, nil
		}
	}
}

func (r *channelReader) check(c libaio.Completion) error {
	if c.Err != nil {
		return c.Err
	}
	s := &r.slots[c.Tag]
	return r.take(s.block, c.Buffer.Bytes(), c.N, time.Since(s.sent))
}

func (r *channelReader) tallies() []*tally { return []*tally{r.tally} }

// close waits for what is in flight after a failure; the memory goes after it.
func (r *channelReader) close() error {
	err := r.queue.Close()
	releaseAll(r.memory)
	return err
}
