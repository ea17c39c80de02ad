package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/golibaio/libaio"
)

// target is the file that is read, and what must be in it.
type target struct {
	file    *libaio.File
	blocks  int64
	pattern pattern
}

// Latencies are kept in nanoseconds, up to a minute, with two significant
// digits: better than one per cent.
const (
	latencyMost   = int64(time.Minute)
	latencyDigits = 2
)

func newLatencies() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMost, latencyDigits)
}

// tally chooses the blocks that one goroutine reads, checks and counts them.
// All contenders use it, so that this costs each of them the same.
type tally struct {
	target    *target
	random    *rand.Rand
	latencies *hdrhistogram.Histogram
}

func newTally(t *target) *tally {
	return &tally{
		target:    t,
		random:    rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		latencies: newLatencies(),
	}
}

// choose is the number of the next block to read.
func (y *tally) choose() int64 { return y.random.Int64N(y.target.blocks) }

// take counts a read of a block that returned n bytes, and checks all of them.
// The memory is not cleared before a read: what it held was another block, so
// a read that did not happen shows as a wrong block.
func (y *tally) take(block int64, b []byte, n int, took time.Duration) error {
	if n != blockSize {
		return fmt.Errorf("block %d (offset %d): %d of %d bytes were read; was the file changed?",
			block, block*blockSize, n, blockSize)
	}
	if err := y.target.pattern.check(b, block); err != nil {
		return err
	}
	return y.latencies.RecordValue(min(int64(took), latencyMost))
}
