package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
	"github.com/golibaio/libaio"
)

// benchCommand is aio bench.
type benchCommand struct {
	benchOptions
	Comparison compareOptions `embed:""`
}

// Validate is called by kong.
func (c *benchCommand) Validate(given *kong.Context) error {
	if err := checkGroups(given, c.Comparison.Compare); err != nil {
		return err
	}
	if c.Comparison.Compare {
		return c.Comparison.check(&c.benchOptions)
	}
	return c.benchOptions.Validate()
}

// Run is called by kong.
func (c *benchCommand) Run(ctx context.Context, s streams) error {
	ctx, release := untilSignal(ctx)
	defer release()
	if c.Comparison.Compare {
		return c.compare(ctx, s)
	}
	b := bench{benchOptions: c.benchOptions, progress: newProgress(s.err)}
	rows, err := b.run(ctx)
	if err != nil {
		return err
	}
	if b.inMemory {
		fmt.Fprintf(s.err, "no direct I/O was measured: the file system of %s takes O_DIRECT and keeps its files in memory; put --file on ext4, xfs or btrfs\n", b.File)
	}
	return writeReport(s.out, &c.benchOptions, rows)
}

// bench is one run: it makes the file, measures in rounds, removes the file.
type bench struct {
	benchOptions
	progress progress
	inMemory bool // the file

	// laidOut, where a test sets it, is called between writing and reading.
	laidOut func()
}

// run returns a row for each depth and contender. The file is gone when it
// returns, whatever the outcome. An error after a signal has a *stoppedError
// in its chain.
func (b *bench) run(ctx context.Context) (rows []*row, err error) {
	start := time.Now()
	if err := b.tryQueue(); err != nil {
		return nil, err
	}
	s, err := newScratch(b.File, int64(b.Size))
	if err != nil {
		return nil, err
	}
	defer func() {
		b.progress.end()
		err = alongside(stopCause(ctx, err), s.remove())
	}()
	file, err := s.open()
	if err != nil {
		return nil, err
	}
	defer file.Close() // O_DIRECT leaves nothing that a close could fail to write
	b.inMemory = !file.Direct()
	t := &target{file: file, blocks: int64(b.Size) / blockSize, pattern: pattern{seed: rand.Uint64()}}
	if err := b.layOut(ctx, t); err != nil {
		return nil, err
	}
	if b.laidOut != nil {
		b.laidOut()
	}
	duration, err := b.fit(time.Since(start))
	if err != nil {
		return nil, err
	}
	return b.rounds(ctx, t, duration)
}

// tryQueue finds out before anything is written whether the system grants a
// queue of the largest depth.
func (b *bench) tryQueue() error {
	q, err := libaio.NewQueue(slices.Max(b.Depths), nil)
	if err != nil {
		return err
	}
	return q.Close()
}

// layOut fills the file. It may take all of the limit but no more.
func (b *bench) layOut(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	b.progress.begin(fmt.Sprintf("writing %s", humanize.IBytes(uint64(b.Size))), int64(b.Size), true)
	l := layout{file: t.file, size: int64(b.Size), pattern: t.pattern, advance: func(n int64) { b.progress.advance(n, "") }}
	err := l.run(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return b.tooSlow()
	}
	b.progress.end()
	return err
}

// rounds measures everything once per round. The contenders take turns at
// being first, so that drift of the device hits both alike.
func (b *bench) rounds(ctx context.Context, t *target, duration time.Duration) ([]*row, error) {
	b.progress.begin(fmt.Sprintf("reading %d times %v", b.measurements(), duration.Round(time.Millisecond)), int64(b.measurements()), false)
	rows := b.newRows()
	for round := range b.Rounds {
		for d, depth := range b.Depths {
			for i := range contenders {
				i = (i + round) % len(contenders)
				c := contenders[i]
				what := fmt.Sprintf("round %d/%d, depth %d, %s", round+1, b.Rounds, depth, c.name)
				b.progress.now(what)
				m, err := measure(ctx, c, t, depth, duration)
				if err != nil {
					return nil, err
				}
				rows[d*len(contenders)+i].add(m)
				b.progress.advance(1, fmt.Sprintf("%s: %s IOPS", what, whole(m.iops())))
			}
		}
	}
	return rows, nil
}

// newRows are the rows by depth, and the contenders of each depth together.
func (b *bench) newRows() []*row {
	var rows []*row
	for _, depth := range b.Depths {
		for _, c := range contenders {
			rows = append(rows, newRow(c.name, depth))
		}
	}
	return rows
}

// stopCause replaces the error of a cancelled context by what cancelled it.
func stopCause(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx)
	}
	return err
}

// alongside is both errors in one line, or the one that there is.
func alongside(err, more error) error {
	switch {
	case more == nil:
		return err
	case err == nil:
		return more
	}
	return fmt.Errorf("%w; and %w", err, more)
}
