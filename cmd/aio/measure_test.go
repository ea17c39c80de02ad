package main

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rounds makes a row of measurements of one second with so many reads each.
func rounds(t *testing.T, contender string, reads ...int64) *row {
	t.Helper()
	r := newRow(contender, 4)
	for i, n := range reads {
		m := &measurement{elapsed: time.Second, cpu: time.Duration(n) * time.Microsecond, threads: i + 1, latencies: newLatencies()}
		require.NoError(t, m.latencies.RecordValues(int64(time.Millisecond), n))
		r.add(m)
	}
	return r
}

func TestRowSumsUpItsRounds(t *testing.T) {
	r := rounds(t, "channel", 300, 100, 200)
	assert.Equal(t, 200.0, r.median())
	least, most := r.spread()
	assert.Equal(t, 100.0, least)
	assert.Equal(t, 300.0, most)
	assert.Equal(t, int64(600), r.reads())
	assert.Equal(t, time.Microsecond, r.cpuPerRead())
	assert.Equal(t, 3, r.threads)
	assert.Equal(t, []float64{300, 100, 200}, r.iops, "the order of the rounds is kept")

	assert.Equal(t, 150.0, rounds(t, "channel", 200, 100).median())
}

func TestThreadsThatRan(t *testing.T) {
	before := threadAccounts{"1": "10 0 1", "2": "20 0 1"}
	after := threadAccounts{"1": "10 0 1", "2": "21 0 2", "3": "1 0 1"}
	assert.Equal(t, 2, after.ranSince(before))
	assert.Equal(t, 0, before.ranSince(before))
}

func TestThreadAccountsSeeWhoRuns(t *testing.T) {
	const n = 40
	before := readThreadAccounts()
	require.NotEmpty(t, before, "this kernel keeps no schedstat")
	var started, ended sync.WaitGroup
	quit := make(chan struct{})
	started.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread() // without an unlock: the thread ends with it
			started.Done()
			<-quit
		})
	}
	started.Wait()
	after := readThreadAccounts()
	close(quit)
	ended.Wait()
	assert.GreaterOrEqual(t, after.ranSince(before), n)
}

func TestChannelNeedsNoThreadPerRead(t *testing.T) {
	const depth = 100
	y := newTarget(t, minSize)
	m, err := measure(t.Context(), contenders[0], y, depth, 100*time.Millisecond)
	require.NoError(t, err)
	assert.Positive(t, m.threads)
	assert.Less(t, m.threads, depth/2)
}

func TestCPUTimeGrows(t *testing.T) {
	before, err := cpuTime()
	require.NoError(t, err)
	p, content := pattern{seed: 1}, make([]byte, 1<<20)
	for now := before; now <= before; {
		p.fill(content, 0)
		now, err = cpuTime()
		require.NoError(t, err)
	}
}
