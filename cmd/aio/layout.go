package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/golibaio/libaio"
	"golang.org/x/sys/unix"
)

const (
	layoutChunk = 1 << 20 // bytes of one write
	layoutDepth = 8       // writes in flight
)

// layout writes the pattern over a whole file, several large writes at a time.
type layout struct {
	file    *libaio.File
	size    int64
	pattern pattern
	advance func(n int64) // is told of bytes that are written

	queue   *libaio.Queue
	buffers []*libaio.Buffer // by tag
	next    int64            // offset of the next write
	flying  int              // writes in flight
}

// run writes the file and returns when all of it has reached the device. When
// ctx ends it returns ctx's error; no write is in flight then.
func (l *layout) run(ctx context.Context) (err error) {
	if err := l.reserve(); err != nil {
		return err
	}
	l.buffers, err = allocate(layoutDepth, layoutChunk, memoryAlignment(l.file))
	defer releaseAll(l.buffers)
	if err != nil {
		return err
	}
	if l.queue, err = libaio.NewQueue(layoutDepth, nil); err != nil {
		return err
	}
	defer l.queue.Close() // waits for what is in flight; the buffers go after it
	if err := l.write(ctx); err != nil {
		return err
	}
	_, err = l.queue.Do(ctx, libaio.Fdsync(l.file))
	return err
}

// reserve takes the space at once: a full disk shows before anything is
// written, and a write that extends a file would make io_submit wait.
func (l *layout) reserve() error {
	for {
		err := unix.Fallocate(l.file.FD(), 0, 0, l.size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil, errors.Is(err, unix.EOPNOTSUPP):
			return nil
		}
		return fmt.Errorf("cannot reserve %s for %s: %w", humanize.IBytes(uint64(l.size)), l.file.Name(), explainSpace(err))
	}
}

func (l *layout) write(ctx context.Context) error {
	for slot := range l.buffers {
		if err := l.submit(ctx, slot); err != nil {
			return err
		}
	}
	for l.flying > 0 {
		c := <-l.queue.Completions()
		l.flying--
		if err := checkWrite(l.file, c); err != nil {
			return err
		}
		l.advance(int64(c.N))
		if err := l.submit(ctx, int(c.Tag)); err != nil {
			return err
		}
	}
	return nil
}

// submit sends the next piece of the file from this slot, if there is one.
func (l *layout) submit(ctx context.Context, slot int) error {
	n := min(l.size-l.next, layoutChunk)
	if n == 0 {
		return nil
	}
	b, err := l.buffers[slot].Slice(0, int(n))
	if err != nil {
		return err
	}
	l.pattern.fill(b.Bytes(), l.next/blockSize)
	if _, err := l.queue.Submit(ctx, libaio.Pwrite(l.file, b, l.next).WithTag(uint64(slot))); err != nil {
		return err
	}
	l.next += n
	l.flying++
	return nil
}

func checkWrite(f *libaio.File, c libaio.Completion) error {
	if c.Err != nil {
		return explainSpace(c.Err)
	}
	if c.N < c.Buffer.Len() {
		return explainSpace(fmt.Errorf("%d of %d bytes were written to %s at offset %d: %w",
			c.N, c.Buffer.Len(), f.Name(), c.Offset, unix.ENOSPC))
	}
	return nil
}
