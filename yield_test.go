//go:build linux

package libaio

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who goes from system call to system call yields in time: with one processor that
// lets another goroutine run before it returns.
func TestYield(t *testing.T) {
	f, b := newFile(t, block), newBuffer(t, block)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	channel, polled := newQueue(t, 2), newPolledQueue(t, 2)
	do := func(ctx context.Context) func() {
		return func() {
			_, err := channel.Do(ctx, Pread(f, b, 0))
			require.NoError(t, err)
		}
	}
	for name, test := range map[string]struct {
		q    *Queue
		call func()
	}{
		"Reap": {polled, func() {
			_, err := polled.Reap(ctx, nil, 0)
			require.NoError(t, err)
		}},
		"a lone Do by pread":        {channel, do(context.Background())},
		"a lone Do with a deadline": {channel, do(ctx)},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			for range loneTimes + 1 {
				test.call()
			}
			// Of several attempts, as the scheduler may take the caller first.
			yielded := 0
			for range 20 {
				var ran atomic.Bool
				test.q.mu.Lock()
				test.q.yielded = monotonic() - yieldAfter
				test.q.mu.Unlock()
				go ran.Store(true)
				test.call()
				if ran.Load() {
					yielded++
				}
			}
			require.Greater(t, yielded, 10)
		})
	}
}

func TestYieldDue(t *testing.T) {
	q := newQueue(t, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	before := monotonic()
	q.yielded = before - yieldAfter
	require.True(t, q.yieldDue())
	require.GreaterOrEqual(t, q.yielded, before, "it is noted")
	q.yielded = monotonic() + yieldAfter
	require.False(t, q.yieldDue(), "not before its time")
}
