package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBucketsCoverAllLatencies(t *testing.T) {
	assert.Equal(t, 0, bucketOf(-1))
	assert.Equal(t, bucketsMost-1, bucketOf(math.MaxInt64))
	for i := range bucketsMost {
		least := bucketLeast(i)
		require.Equal(t, i, bucketOf(least))
		if i > 0 {
			require.Equal(t, i-1, bucketOf(least-1), "no gap below %d", least)
		}
		if i+1 < bucketsMost {
			width := bucketLeast(i+1) - least
			require.LessOrEqual(t, width, max(least/bucketWidth, 1))
		}
	}
}

func TestPercentilesOfBuckets(t *testing.T) {
	var odd, even, all buckets
	for i := range 1000 {
		d := time.Duration(i+1) * time.Microsecond
		if i%2 == 0 {
			even.record(d)
		} else {
			odd.record(d)
		}
	}
	all.merge(&odd)
	all.merge(&even)
	assert.Equal(t, int64(1000), all.total())
	for _, percent := range []float64{0.1, 50, 99, 99.9, 100} {
		want := time.Duration(percent * 10 * float64(time.Microsecond))
		got := all.percentile(percent)
		assert.LessOrEqual(t, got, want)
		assert.GreaterOrEqual(t, got, want-want/bucketWidth)
	}
	assert.Zero(t, new(buckets).percentile(50))
}
