package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// buckets count latencies, in buckets that are 1/64 of a power of two wide: as
// fio's and those of the C program, so that counting costs all contenders
// alike and says the same. Any number of goroutines may use it.
type buckets struct {
	counts [bucketsMost]atomic.Uint32
}

const (
	bucketBits  = 6 // of a power of two
	bucketWidth = 1 << bucketBits
	// bucketsMost covers all of int64.
	bucketsMost = (63 - bucketBits + 1) * bucketWidth
)

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < bucketWidth {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - bucketBits
	return shift<<bucketBits + int(n>>shift)
}

// bucketLeast is the smallest latency of a bucket.
func bucketLeast(i int) time.Duration {
	if i < bucketWidth {
		return time.Duration(i)
	}
	shift := i>>bucketBits - 1
	return time.Duration(i&(bucketWidth-1)|bucketWidth) << shift
}

func (b *buckets) record(d time.Duration) { b.counts[bucketOf(d)].Add(1) }

// merge adds what another has counted.
func (b *buckets) merge(other *buckets) {
	for i := range other.counts {
		b.counts[i].Add(other.counts[i].Load())
	}
}

func (b *buckets) total() (n int64) {
	for i := range b.counts {
		n += int64(b.counts[i].Load())
	}
	return n
}

// percentile is the latency that so many of a hundred do not pass, rounded
// down to its bucket; 0 where nothing was counted.
func (b *buckets) percentile(percent float64) time.Duration {
	want := max(int64(percent/100*float64(b.total())+0.5), 1)
	for i := range b.counts {
		want -= int64(b.counts[i].Load())
		if want <= 0 {
			return bucketLeast(i)
		}
	}
	return 0
}
