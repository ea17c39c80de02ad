//go:build linux

package libaio

import (
	"context"
	"runtime"
	"sync"
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

// Behind goroutines that compute a yield takes long. Who finds that does without the
// next ones: otherwise each operation would wait for its turn again.
func TestNoYieldBehindOthers(t *testing.T) {
	f, b := newFile(t, block), newBuffer(t, block)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	channel, polled := newQueue(t, 2), newPolledQueue(t, 2)
	busy := func(t *testing.T) {
		procs := runtime.GOMAXPROCS(1)
		var halt atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !halt.Load() {
			}
		})
		t.Cleanup(func() {
			halt.Store(true)
			wg.Wait()
			runtime.GOMAXPROCS(procs)
		})
	}
	for name, test := range map[string]struct {
		q    *Queue
		call func()
	}{
		"Reap": {polled, func() {
			_, err := polled.Reap(ctx, nil, 0)
			require.NoError(t, err)
		}},
		"a lone Do": {channel, func() {
			_, err := channel.Do(ctx, Pread(f, b, 0))
			require.NoError(t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for range loneTimes + 1 {
				test.call()
			}
			busy(t)
			for range 100 { // of several attempts, as the scheduler may take the caller first
				test.q.mu.Lock()
				test.q.yielded = monotonic() - yieldAfter
				test.q.mu.Unlock()
				test.call()
				test.q.mu.Lock()
				later := test.q.yielded - monotonic()
				test.q.mu.Unlock()
				if later > 0 {
					return
				}
			}
			t.Fatal("the next call is to yield again")
		})
	}
	t.Run("the leader", func(t *testing.T) {
		busy(t)
		for range 100 {
			_, err := channel.Submit(ctx, Pread(f, b, 0))
			require.NoError(t, err)
			require.NoError(t, receive(t, channel, 1)[0].Err)
			channel.mu.Lock()
			hurry := channel.leadHaste.left
			channel.mu.Unlock()
			if hurry > 0 {
				return
			}
		}
		t.Fatal("it yields each time")
	})
}

// One slow yield alone is none of these.
func TestHaste(t *testing.T) {
	var h haste
	for _, busy := range []bool{true, false, true, false} {
		require.False(t, h.after(busy))
		require.False(t, h.hurry())
	}
	require.False(t, h.after(true))
	require.True(t, h.after(true))
	for range hurried {
		require.True(t, h.hurry())
	}
	require.False(t, h.hurry(), "one is tried again")
	require.True(t, h.after(true), "and is enough")
	h.left = 0
	require.False(t, h.after(false))
	require.False(t, h.after(true))
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
