package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// measurement is one contender at one depth, once.
type measurement struct {
	elapsed   time.Duration
	cpu       time.Duration
	threads   int // that ran; 0 where the kernel does not tell
	latencies *hdrhistogram.Histogram
}

func (m *measurement) reads() int64 { return m.latencies.TotalCount() }

func (m *measurement) iops() float64 { return float64(m.reads()) / m.elapsed.Seconds() }

// measure lets a contender read for a time.
func measure(ctx context.Context, c contender, t *target, depth int, duration time.Duration) (m *measurement, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s at depth %d on %s: %w", c.name, depth, t.file.Name(), err)
		}
	}()
	r, err := c.start(t, depth)
	if err != nil {
		return nil, err
	}
	defer func() { err = alongside(err, r.close()) }()
	m, err = clock(ctx, r, duration)
	if err != nil {
		return nil, err
	}
	for _, y := range r.tallies() {
		m.latencies.Merge(y.latencies)
	}
	if m.reads() == 0 {
		return nil, fmt.Errorf("no read was done in %v: raise --duration", duration)
	}
	return m, nil
}

// clock takes the time, and what the process uses meanwhile. What costs much
// to find out is found out outside of the measured time.
func clock(ctx context.Context, r reader, duration time.Duration) (*measurement, error) {
	threads := readThreadAccounts()
	cpu, err := cpuTime()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	during, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	if err := r.read(ctx, during); err != nil {
		return nil, err
	}
	m := &measurement{elapsed: time.Since(start), latencies: newLatencies()}
	cpuAfter, err := cpuTime()
	if err != nil {
		return nil, err
	}
	m.cpu = cpuAfter - cpu
	m.threads = readThreadAccounts().ranSince(threads)
	return m, nil
}

// row is all measurements of one contender at one depth.
type row struct {
	contender string
	depth     int
	iops      []float64 // of each round
	cpu       time.Duration
	threads   int // the most of any round
	latencies *hdrhistogram.Histogram
}

func newRow(contender string, depth int) *row {
	return &row{contender: contender, depth: depth, latencies: newLatencies()}
}

func (r *row) add(m *measurement) {
	r.iops = append(r.iops, m.iops())
	r.cpu += m.cpu
	r.threads = max(r.threads, m.threads)
	r.latencies.Merge(m.latencies)
}

func (r *row) reads() int64 { return r.latencies.TotalCount() }

// cpuPerRead is user and system time.
func (r *row) cpuPerRead() time.Duration { return r.cpu / time.Duration(r.reads()) }

// median is that of the rounds; of an even number, the mean of the middle two.
func (r *row) median() float64 {
	s := slices.Sorted(slices.Values(r.iops))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (r *row) spread() (least, most float64) {
	return slices.Min(r.iops), slices.Max(r.iops)
}
