package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golibaio/libaio"
)

// streamTrial reads the file with a Reader, or writes it with a Writer, from front
// to back and then from the front again. A request is a block; its latency is how
// long the caller waits for it.
type streamTrial struct {
	*lane
	file   *libaio.File
	queue  *libaio.Queue
	r      libaio.Reader
	w      libaio.Writer
	moved  int64     // blocks, of this pass over the file
	filled int64     // blocks of the Writer's memory
	slot   int       // whose memory is next: to be written, or to keep what is read
	since  time.Time // of the block before
}

func startStreamTrial(t *trial) (trialist, error) {
	queue, err := libaio.NewQueue(t.depth, nil)
	if err != nil {
		return nil, err
	}
	file, err := libaio.OpenFileWith(t.path, t.openFlag(), 0, &libaio.FileOptions{Queue: queue})
	if err != nil {
		return nil, errors.Join(err, queue.Close())
	}
	return &streamTrial{lane: newLanes(t, 1)[0], file: file, queue: queue}, nil
}

func (s *streamTrial) run(ctx context.Context) error {
	pass := s.readAll
	if s.trial.workload.write {
		pass = s.writeAll
	}
	for {
		s.moved = 0
		switch err := pass(ctx); {
		case errors.Is(err, errTrialOver):
			return nil
		case err != nil:
			return err
		case s.moved != s.trial.blocks:
			return fmt.Errorf("%s ends after %d of %d blocks", s.trial.path, s.moved, s.trial.blocks)
		}
	}
}

var errTrialOver = errors.New("the trial is over")

func (s *streamTrial) readAll(ctx context.Context) error {
	err := s.r.Reset(s.file, &libaio.ReaderOptions{
		Context: ctx, BlockSize: int(s.trial.workload.block), Depth: s.trial.depth,
		Length: s.trial.blocks * s.trial.workload.block,
	})
	if err != nil {
		return err
	}
	s.since = time.Now()
	_, err = s.r.WriteTo(s)
	return err
}

// Write takes a block from the Reader. Behind the end of the trial blocks are kept
// to be looked at, one for each slot.
func (s *streamTrial) Write(block []byte) (int, error) {
	s.next(s.slot)
	if err := s.count(len(block)); err != nil {
		return 0, err
	}
	if !s.trial.over() {
		return len(block), nil
	}
	copy(s.trial.memory[s.slot].Bytes(), block)
	if s.slot++; s.slot == s.trial.depth {
		return len(block), errTrialOver
	}
	return len(block), nil
}

func (s *streamTrial) writeAll(ctx context.Context) error {
	err := s.w.Reset(s.file, &libaio.WriterOptions{
		Context: ctx, BlockSize: int(s.trial.workload.block), Depth: s.trial.depth,
	})
	if err != nil {
		return err
	}
	s.since = time.Now()
	_, err = s.w.ReadFrom(s)
	return flushing(&s.w, err)
}

// flushing flushes a Writer whose pass ended with an error. One that comes with that is
// what counts: it is of requests that were in flight when the trial was over.
func flushing(w *libaio.Writer, err error) error {
	if failed := w.Flush(); failed != nil {
		return failed
	}
	return err
}

// Read gives a block to the Writer, whose own memory it fills the first time, and each
// pass begins with the same. After that it leaves it as it is: the other contenders do
// not change theirs either.
func (s *streamTrial) Read(block []byte) (int, error) {
	switch {
	case s.moved == s.trial.blocks:
		return 0, io.EOF
	case s.trial.over():
		return 0, errTrialOver
	}
	if s.filled < min(int64(s.trial.depth)+1, s.trial.blocks) { // it has one Buffer more than depth
		copy(block, s.trial.memory[s.slot].Bytes())
		s.filled++
	}
	s.next(s.slot)
	s.slot = (s.slot + 1) % s.trial.depth
	return len(block), s.count(len(block))
}

// count counts a block.
func (s *streamTrial) count(n int) error {
	now := time.Now()
	took := now.Sub(s.since)
	s.since = now
	s.moved++
	return s.take(n, took)
}

func (s *streamTrial) lanes() []*lane { return []*lane{s.lane} }

func (s *streamTrial) close() error {
	for _, c := range []io.Closer{&s.r, &s.w} {
		_ = c.Close() // of the one that was used, which has told by now what failed
	}
	return closeTrial(s.file, s.queue)
}

var (
	_ trialist  = (*streamTrial)(nil)
	_ io.Reader = (*streamTrial)(nil)
	_ io.Writer = (*streamTrial)(nil)
)
