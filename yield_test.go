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

// yielder is a call on a queue that goes from system call to system call.
type yielder struct {
	q    *Queue
	call func()
}

func yielders(t *testing.T) map[string]yielder {
	f, b := newFile(t, block), newBuffer(t, block)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	channel, polled := newQueue(t, 2), newPolledQueue(t, 2)
	do := func(ctx context.Context) func() {
		return func() {
			_, err := channel.Do(ctx, Pread(f, b, 0))
			require.NoError(t, err)
		}
	}
	return map[string]yielder{
		"Reap": {polled, func() {
			_, err := polled.Reap(ctx, nil, 0)
			require.NoError(t, err)
		}},
		"a lone Do by pread":        {channel, do(context.Background())},
		"a lone Do with a deadline": {channel, do(ctx)},
	}
}

// Who goes from system call to system call yields in time: with one processor that
// lets another goroutine run before it returns.
func TestYield(t *testing.T) {
	for name, test := range yielders(t) {
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
	for name, test := range yielders(t) {
		t.Run(name, func(t *testing.T) {
			for range loneTimes + 1 {
				test.call()
			}
			busy(t)
			test.q.mu.Lock()
			test.q.loneHaste = haste{} // of an earlier test
			test.q.mu.Unlock()
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
		q, f, b := newQueue(t, 2), newFile(t, block), newBuffer(t, block)
		busy(t)
		for range 100 {
			_, err := q.Submit(ctxOf(t), Pread(f, b, 0))
			require.NoError(t, err)
			require.NoError(t, receive(t, q, 1)[0].Err)
			q.mu.Lock()
			hurry := q.leadHaste.left
			q.mu.Unlock()
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

// Who gathers may not come back for long: what joins him later is sent all the same.
func TestGatheringIsWatched(t *testing.T) {
	q, f, b := newQueue(t, 4), newFile(t, block), newBuffer(t, block)
	q.mu.Lock()
	q.gathering = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.gathering = false
		q.mu.Unlock()
	}()
	for range 2 {
		_, err := q.Do(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
	}
}
