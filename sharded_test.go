//go:build linux

package libaio

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func newSharded(t testing.TB, queues, depth int) *Sharded {
	t.Helper()
	s, err := NewSharded(queues, depth, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		for _, q := range s.Queues() {
			checkInvariants(t, q)
		}
	})
	return s
}

func TestSharded(t *testing.T) {
	const each = 200
	s, f := newSharded(t, 3, 8), newFile(t, 64*block)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b := newBuffer(t, block)
			for k := range each {
				at := int64((i*each+k)%64) * block
				n, err := s.Do(context.Background(), Pread(f, b, at))
				assert.NoError(t, err)
				assert.Equal(t, block, n)
				assert.Equal(t, -1, wrongAt(b.Bytes(), at, 0))
			}
		})
	}
	wg.Wait()
	sum := s.Stats()
	require.EqualValues(t, 16*each, sum.Completed)
	require.Zero(t, sum.InFlight)

	b := newBuffer(t, block)
	for range 50 {
		q, n, err := s.Submit(ctxOf(t), Pread(f, b, 0), Noop())
		require.NoError(t, err)
		require.Equal(t, 2, n)
		receive(t, q, 2)
		q, n, err = s.TrySubmit(Noop())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		receive(t, q, 1)
	}
}

// Each processor has a Queue of its own.
func TestShardedSpreads(t *testing.T) {
	s := newSharded(t, 2, 4)
	used := make(map[*Queue]bool)
	for range 2 {
		used[s.processors.New().(*Queue)] = true
	}
	require.Len(t, used, 2)
}

func TestShardedCancelAndClose(t *testing.T) {
	s := newSharded(t, 2, 4)
	r, _ := newPipe(t)
	for _, q := range s.Queues() {
		for range 2 {
			_, err := q.Submit(ctxOf(t), Poll(r, unix.POLLIN).WithTag(7))
			require.NoError(t, err)
		}
	}
	require.Equal(t, 4, s.Cancel(7))
	for _, q := range s.Queues() {
		receive(t, q, 2)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Shutdown(over), context.Canceled)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Do(ctxOf(t), Noop())
	require.ErrorIs(t, err, ErrClosed)
	_, _, err = s.Submit(ctxOf(t), Noop())
	require.ErrorIs(t, err, ErrClosed)
	_, _, err = s.TrySubmit(Noop())
	require.ErrorIs(t, err, ErrClosed)
}

func TestShardedBadInput(t *testing.T) {
	for _, n := range []int{-1, 0, maxDepth + 1} {
		_, err := NewSharded(n, 1, nil)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err := NewSharded(2, 0, nil)
	require.ErrorIs(t, err, ErrInvalid)
	for _, zero := range []*Sharded{nil, {}} {
		_, err = zero.Do(ctxOf(t), Noop())
		require.ErrorIs(t, err, ErrInvalid)
		_, _, err = zero.Submit(ctxOf(t), Noop())
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, zero.Close(), ErrInvalid)
		require.Zero(t, zero.Cancel(0))
		require.Zero(t, zero.Stats())
		require.Empty(t, zero.Queues())
	}
}

// add knows every counter.
func TestStatsAdd(t *testing.T) {
	var one, sum Stats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(1)
		default:
			f.SetInt(1)
		}
	}
	sum.add(one)
	sum.add(one)
	v = reflect.ValueOf(sum)
	for i := range v.NumField() {
		got := v.Field(i)
		if got.CanUint() {
			require.EqualValues(t, 2, got.Uint(), v.Type().Field(i).Name)
		} else {
			require.EqualValues(t, 2, got.Int(), v.Type().Field(i).Name)
		}
	}
}

func TestShardedDoesNotAllocate(t *testing.T) {
	skipUnderASan(t)
	s, f, b := newSharded(t, 2, 4), newFile(t, block), newBuffer(t, block)
	ctx := context.Background()
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if _, err := s.Do(ctx, Pread(f, b, 0)); err != nil {
			t.Fatal(err)
		}
	}))
}

// A thousand requests in flight, and more, hold no threads.
func TestThreadsWithManyInFlight(t *testing.T) {
	const n = 4096
	q := newQueue(t, n)
	r, w := newPipe(t)
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Poll(r, unix.POLLIN)
	}
	before := len(threadIDs(t))
	_, err := q.Submit(ctxOf(t), ops...)
	require.NoError(t, err)
	require.Equal(t, n, q.Stats().InFlight)
	time.Sleep(10 * time.Millisecond)
	require.LessOrEqual(t, len(threadIDs(t)), before+2)
	_, err = unix.Write(w, []byte{1})
	require.NoError(t, err)
	receive(t, q, n)
}
