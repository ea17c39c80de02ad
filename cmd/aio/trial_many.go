package main

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// manyTrial has a goroutine for each request in flight: in Queue.Do, or in
// ReadAt and WriteAt of an os.File.
type manyTrial struct {
	trial   *trial
	workers []*lane // by slot
	request func(ctx context.Context, slot int, offset int64) (int, error)
	end     func() error
}

func newManyTrial(t *trial) *manyTrial {
	return &manyTrial{trial: t, workers: newLanes(t, t.depth)}
}

func startDoTrial(t *trial) (trialist, error) {
	file, queue, err := openTrial(t, nil)
	if err != nil {
		return nil, err
	}
	r := newManyTrial(t)
	// As with os.File, no context ends a request.
	r.request = func(_ context.Context, slot int, offset int64) (int, error) {
		return queue.Do(context.Background(), t.op(file, slot, offset))
	}
	r.end = func() error { return closeTrial(file, queue) }
	return r, nil
}

func startReadAtTrial(t *trial) (trialist, error) {
	file, err := os.OpenFile(t.path, t.openFlag()|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	memory := make([][]byte, t.depth)
	for i, b := range t.memory {
		memory[i] = b.Bytes()
	}
	move := file.ReadAt
	if t.workload.write {
		move = file.WriteAt
	}
	r := newManyTrial(t)
	r.request = func(_ context.Context, slot int, offset int64) (int, error) {
		return move(memory[slot], offset)
	}
	r.end = file.Close
	return r, nil
}

// openFlag is how the file must be opened.
func (t *trial) openFlag() int {
	if t.workload.write {
		return os.O_RDWR
	}
	return os.O_RDONLY
}

func (r *manyTrial) run(ctx context.Context) error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for slot, l := range r.workers {
		wg.Go(func() {
			if err := r.work(ctx, slot, l); err != nil {
				once.Do(func() { first = err })
				r.trial.phase.Store(phaseOver) // the others need not go on
			}
		})
	}
	wg.Wait()
	return first
}

// work is one goroutine: one request at a time.
func (r *manyTrial) work(ctx context.Context, slot int, l *lane) error {
	for !r.trial.over() {
		offset := l.next(slot)
		sent := time.Now()
		n, err := r.request(ctx, slot, offset)
		took := time.Since(sent)
		if err != nil {
			return err
		}
		if err := l.take(n, took); err != nil {
			return err
		}
	}
	return nil
}

func (r *manyTrial) lanes() []*lane { return r.workers }

func (r *manyTrial) close() error { return r.end() }

var (
	_ trialist = (*loopTrial)(nil)
	_ trialist = (*manyTrial)(nil)
)
