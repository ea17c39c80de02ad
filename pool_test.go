//go:build linux

package libaio

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newPoolWith(t testing.TB, size int, o *PoolOptions) *Pool {
	t.Helper()
	p, err := NewPoolWith(size, block, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// get takes n Buffers, which the Pool must have.
func get(t testing.TB, p *Pool, n int) []*Buffer {
	t.Helper()
	var bs []*Buffer
	for range n {
		b, err := p.Get()
		require.NoError(t, err)
		bs = append(bs, b)
	}
	return bs
}

func putAll(t testing.TB, p *Pool, bs []*Buffer) {
	t.Helper()
	for _, b := range bs {
		require.NoError(t, p.Put(b))
	}
}

func TestPoolBadOptions(t *testing.T) {
	for says, o := range map[string]PoolOptions{
		"Limit -1":      {Limit: -1},
		"Limit 4095":    {Limit: block - 1},
		"TrimAfter -1s": {TrimAfter: -time.Second},
		"HugePages 3":   {HugePages: 3},
	} {
		_, err := NewPoolWith(block, block, &o)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, says)
	}
	for _, sizes := range [][]int{nil, {}, {8192, 4096}, {0, 4096}} {
		_, err := NewClassPool(sizes, block, nil)
		require.ErrorIs(t, err, ErrInvalid, "%v", sizes)
	}
	_, err := NewClassPool([]int{block, 4 * block}, block, &PoolOptions{Limit: 3 * block})
	require.ErrorIs(t, err, ErrInvalid, "the largest class has to fit")
	p, err := NewPool(math.MaxInt, block)
	require.NoError(t, err)
	_, err = p.Get()
	require.ErrorIs(t, err, syscall.ENOMEM)
	require.Zero(t, p.Stats())
}

// A Pool that nobody made refuses everything, and crashes nothing.
func TestPoolZero(t *testing.T) {
	for _, p := range []*Pool{nil, {}} {
		_, err := p.Get()
		require.ErrorIs(t, err, ErrInvalid)
		_, err = p.GetContext(t.Context())
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, p.Put(newBuffer(t, block)), ErrInvalid)
		require.ErrorIs(t, p.Put(nil), ErrInvalid)
		require.Zero(t, p.Trim())
		require.Zero(t, p.Stats())
		require.NotEmpty(t, p.String())
		require.NoError(t, p.Close())
	}
	for _, c := range []*ClassPool{nil, {}} {
		_, err := c.Get(1)
		require.ErrorIs(t, err, ErrInvalid)
		_, err = c.GetContext(t.Context(), 1)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorIs(t, c.Put(newBuffer(t, block)), ErrInvalid)
		require.Zero(t, c.Trim())
		require.Zero(t, c.Stats())
		require.NotEmpty(t, c.String())
		require.NoError(t, c.Close())
	}
}

func TestPoolLimit(t *testing.T) {
	p := newPoolWith(t, 2*block, &PoolOptions{Limit: 6*block + 1})
	bs := get(t, p, 3)
	for range 2 {
		_, err := p.Get()
		require.ErrorIs(t, err, ErrPoolLimit)
		require.ErrorIs(t, err, syscall.EAGAIN)
		require.ErrorContains(t, err, "24577 bytes")
	}
	require.Equal(t, PoolStats{Buffers: 3, Bytes: 6 * block, Peak: 6 * block}, p.Stats())
	require.NoError(t, p.Put(bs[1]))
	require.Equal(t, 1, p.Stats().Idle)
	b, err := p.Get()
	require.NoError(t, err)
	require.Same(t, bs[1], b)
	putAll(t, p, bs)
	require.EqualValues(t, 6*block, p.Trim())
	require.Equal(t, PoolStats{Peak: 6 * block}, p.Stats())
	putAll(t, p, get(t, p, 3))
}

func TestPoolLimitNoAllocations(t *testing.T) {
	skipUnderASan(t)
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	bs := get(t, p, 1)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := p.Get(); err == nil {
			t.Error("beyond the limit")
		}
	}))
	putAll(t, p, bs)
}

// The steady state: nothing on the Go heap, no call to C, whatever the Pool.
func TestPoolSteadyState(t *testing.T) {
	skipUnderASan(t)
	if debugMemory {
		t.Skip("built with aiodebug, which keeps stacks")
	}
	for name, o := range map[string]*PoolOptions{
		"plain": nil, "limit": {Limit: 64 * block}, "timer": {TrimAfter: time.Hour}, "label": {Label: "TestPoolSteadyState"},
	} {
		for _, held := range []int{1, 16} {
			p := newPoolWith(t, block, o)
			bs := make([]*Buffer, held)
			cycle := func() {
				for i := range bs {
					bs[i], _ = p.Get()
				}
				for _, b := range bs {
					_ = p.Put(b)
				}
			}
			cycle()
			calls := runtime.NumCgoCall()
			require.Zero(t, testing.AllocsPerRun(1000, cycle), "%s, %d held", name, held)
			// The odd one is not the Pool's: blocks of other tests go back after a while.
			require.Less(t, runtime.NumCgoCall()-calls, int64(100), "%s, %d held: calls of a thousand rounds", name, held)
			require.Equal(t, held, p.Stats().Buffers)
		}
	}
}

// The Buffers of a Pool lie side by side: no page beside each is lost.
func TestPoolDense(t *testing.T) {
	if debugMemory {
		t.Skip("built with aiodebug, which puts guard pages around each")
	}
	p := newPoolWith(t, 2*block, nil)
	bs := get(t, p, arenaLeast/(2*block))
	low, high := bs[0].address(), bs[0].address()
	for _, b := range bs {
		low, high = min(low, b.address()), max(high, b.address())
	}
	require.EqualValues(t, arenaLeast-2*block, high-low)
	putAll(t, p, bs)
}

func TestPoolOddSizes(t *testing.T) {
	for _, c := range [][2]int{{1, 8}, {100, 64}, {513, 512}, {5000, 4096}, {1 << 20, 4096}, {3<<20 + 1, 1 << 21}, {4096, 1 << 22}} {
		p, err := NewPool(c[0], c[1])
		require.NoError(t, err)
		bs := get(t, p, 20)
		for i, b := range bs {
			require.Zero(t, b.address()%uintptr(c[1]))
			require.Equal(t, c[0], b.Len())
			require.Equal(t, c[0], bytes.Count(b.Bytes(), []byte{0}), "not zeroed")
			copy(b.Bytes(), bytes.Repeat([]byte{byte(i + 1)}, c[0]))
		}
		for i, b := range bs {
			require.Equal(t, c[0], bytes.Count(b.Bytes(), []byte{byte(i + 1)}), "overlap")
		}
		putAll(t, p, bs[:10])
		require.EqualValues(t, 10*p.stride, p.Trim())
		more := get(t, p, 10)
		for _, b := range more {
			if p.stride%pageSize == 0 {
				require.Equal(t, c[0], bytes.Count(b.Bytes(), []byte{0}), "what was given back is zero again")
			}
		}
		for i, b := range bs[10:] {
			require.Equal(t, c[0], bytes.Count(b.Bytes(), []byte{byte(i + 11)}), "Trim took what is in use")
		}
		putAll(t, p, append(more, bs[10:]...))
		require.NoError(t, p.Close())
	}
}

func TestPoolTrim(t *testing.T) {
	before := Memory()
	p := newPoolWith(t, block, nil)
	bs := get(t, p, 1000)
	stale := bs[7]
	putAll(t, p, bs[:999])
	require.EqualValues(t, 999*block, p.Trim())
	require.Zero(t, p.Trim())
	require.Equal(t, MemoryStats{before.Buffers + 1, before.Bytes + block}, Memory())
	require.ErrorIs(t, p.Put(stale), ErrFreed)
	require.ErrorIs(t, stale.Release(), ErrFreed)
	require.Nil(t, stale.Bytes())

	for _, b := range get(t, p, 999) {
		require.NotSame(t, stale, b, "a Buffer that was given back does not come again")
		require.NoError(t, p.Put(b))
	}
	require.NoError(t, p.Put(bs[999]))
	listed := 0
	p.Trim()
	for i := range p.shards {
		listed += len(p.shards[i].listed)
	}
	require.Zero(t, listed, "hints to what is gone are kept")
	require.Empty(t, p.all)
	require.Equal(t, before, Memory())
}

// A Buffer that Get makes is zeroed, also where another was that Trim took, and whose
// page others are on.
func TestPoolMakesZeroes(t *testing.T) {
	p, err := NewPool(512, 512)
	require.NoError(t, err)
	defer p.Close()
	a, err := p.Get()
	require.NoError(t, err)
	b, err := p.Get() // keeps the mapping
	require.NoError(t, err)
	at := a.address()
	for i := range a.Bytes() {
		a.Bytes()[i] = 0xAA
	}
	require.NoError(t, p.Put(a))
	p.Trim()
	c, err := p.Get()
	require.NoError(t, err)
	if !debugMemory {
		require.Equal(t, at, c.address(), "the place is used again")
	}
	require.Equal(t, make([]byte, 512), c.Bytes())
	require.NoError(t, p.Put(b))
	require.NoError(t, p.Put(c))
}

// What is idle for long goes back by itself; what is used stays.
func TestPoolTrimAfter(t *testing.T) {
	before := Memory()
	p := newPoolWith(t, block, &PoolOptions{TrimAfter: 20 * time.Millisecond})
	busy := get(t, p, 1)
	putAll(t, p, get(t, p, 100))
	require.Eventually(t, func() bool { return p.Stats().Buffers == 1 }, time.Minute, time.Millisecond)
	require.Equal(t, MemoryStats{before.Buffers + 1, before.Bytes + block}, Memory())
	require.NoError(t, p.Put(busy[0]))
	require.Eventually(t, func() bool { return Memory() == before }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return p.budget.gate.Load() == gateUnarmed }, time.Minute, time.Millisecond,
		"the timer is set though nothing is idle")

	putAll(t, p, get(t, p, 3))
	require.Eventually(t, func() bool { return Memory() == before }, time.Minute, time.Millisecond, "the timer is not set again")
}

// A Buffer that is used again and again is not taken for idle.
func TestPoolTrimSparesUsed(t *testing.T) {
	p := newPoolWith(t, block, nil)
	bs := get(t, p, 3)
	putAll(t, p, bs)
	require.Zero(t, p.trim(math.MaxInt64, true), "the first look only notes")
	used := get(t, p, 1)
	putAll(t, p, used)
	require.EqualValues(t, 2*block, p.trim(math.MaxInt64, true))
	require.Equal(t, 1, p.Stats().Buffers)
	require.Same(t, used[0], get(t, p, 1)[0])
	require.NoError(t, p.Put(used[0]))
}

func TestPoolGetContext(t *testing.T) {
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	b, err := p.GetContext(t.Context())
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() {
		_, err := p.GetContext(ctx)
		got <- err
	}()
	require.Eventually(t, func() bool { return p.Stats().Waiting == 1 }, time.Minute, time.Millisecond)
	cancel()
	err = <-got
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrPoolLimit)
	require.Zero(t, p.Stats().Waiting)

	_, err = p.GetContext(ctx)
	require.ErrorIs(t, err, context.Canceled)
	var none context.Context
	_, err = p.GetContext(none)
	require.ErrorIs(t, err, ErrInvalid)
	require.NoError(t, p.Put(b))
	again, err := p.GetContext(t.Context())
	require.NoError(t, err)
	require.Same(t, b, again)
	require.NoError(t, p.Put(b))
}

// Who waits is served in the order of arrival, and nobody overtakes.
func TestPoolOrder(t *testing.T) {
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	b := get(t, p, 1)[0]
	const n = 10
	order := make(chan int, n)
	for i := range n {
		go func() {
			b, err := p.GetContext(context.Background())
			if !assert.NoError(t, err) {
				return
			}
			order <- i
			assert.NoError(t, p.Put(b))
		}()
		require.Eventually(t, func() bool { return p.Stats().Waiting == i+1 }, time.Minute, 10*time.Microsecond)
	}
	_, err := p.Get()
	require.ErrorIs(t, err, ErrPoolLimit)
	require.NoError(t, p.Put(b))
	for i := range n {
		require.Equal(t, i, <-order)
	}
	require.Eventually(t, func() bool { return p.Stats() == PoolStats{Buffers: 1, Idle: 1, Bytes: block, Peak: block} },
		time.Minute, time.Millisecond)
}

// The first in the queue goes away while a Buffer comes back: the next has it.
func TestPoolCancelledTurn(t *testing.T) {
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	for range 500 {
		b := get(t, p, 1)[0]
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if b, err := p.GetContext(ctx); err == nil {
				assert.NoError(t, p.Put(b))
			}
		})
		wg.Go(func() {
			b, err := p.GetContext(context.Background())
			if assert.NoError(t, err) {
				assert.NoError(t, p.Put(b))
			}
		})
		wg.Go(cancel)
		wg.Go(func() { assert.NoError(t, b.Release()) })
		wg.Wait()
		require.Zero(t, p.Stats().Waiting)
	}
}

func TestPoolCloseWakes(t *testing.T) {
	before := Memory()
	p, err := NewPoolWith(block, block, &PoolOptions{Limit: 2 * block, TrimAfter: time.Hour})
	require.NoError(t, err)
	bs := get(t, p, 2)
	const n = 5
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := p.GetContext(context.Background())
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { return p.Stats().Waiting == n }, time.Minute, time.Millisecond)
	require.NoError(t, p.Close())
	for range n {
		require.ErrorIs(t, <-errs, ErrClosed)
	}
	_, err = p.Get()
	require.ErrorIs(t, err, ErrClosed)
	require.NotContains(t, err.Error(), "file", "os.ErrClosed speaks of one")
	_, err = p.GetContext(t.Context())
	require.ErrorIs(t, err, ErrClosed)
	require.NotNil(t, bs[0].Bytes(), "what is in use stays good")
	require.NoError(t, p.Put(bs[0]))
	require.ErrorIs(t, p.Put(bs[0]), ErrFreed)
	require.NoError(t, bs[1].Release())
	require.Equal(t, before, Memory())
	require.Empty(t, p.all, "an arena is kept")
}

func TestClassPool(t *testing.T) {
	before := Memory()
	c, err := NewClassPool([]int{block, 4 * block, 16 * block}, block, &PoolOptions{Limit: 32 * block})
	require.NoError(t, err)
	for _, x := range []struct{ size, class int }{{1, 1}, {block, 1}, {block + 1, 4}, {4 * block, 4}, {5 * block, 16}, {16 * block, 16}} {
		b, err := c.Get(x.size)
		require.NoError(t, err)
		require.Equal(t, x.size, b.Len())
		require.Len(t, b.Bytes(), x.size)
		require.Equal(t, x.class*block, b.Cap())
		v, err := b.Slice(0, b.Cap())
		require.NoError(t, err, "up to the capacity")
		require.Equal(t, b.Cap(), v.Cap())
		require.NoError(t, c.Put(b))
		require.ErrorIs(t, c.Put(b), ErrFreed)
		require.ErrorIs(t, c.Put(v), ErrInvalid)
	}
	for _, size := range []int{0, -1, math.MinInt, 16*block + 1, math.MaxInt} {
		_, err := c.Get(size)
		require.ErrorIs(t, err, ErrInvalid)
	}
	require.ErrorIs(t, c.Put(newBuffer(t, block)), ErrInvalid)
	p := newPoolWith(t, block, nil)
	b := get(t, p, 1)[0]
	require.ErrorIs(t, c.Put(b), ErrInvalid, "of another Pool")
	require.NoError(t, p.Put(b))
	require.Contains(t, c.String(), "1 idle")

	require.EqualValues(t, 21*block, c.Trim())
	require.Zero(t, c.Stats().Bytes)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Get(1)
	require.ErrorIs(t, err, ErrClosed)
	require.Eventually(t, func() bool { return Memory().Buffers == before.Buffers+2 }, time.Minute, time.Millisecond)
}

// Idle memory of one class makes room for another, no more than is needed; what
// is in use does not.
func TestClassPoolShares(t *testing.T) {
	c, err := NewClassPool([]int{block, 4 * block}, block, &PoolOptions{Limit: 8 * block})
	require.NoError(t, err)
	defer c.Close()
	var small []*Buffer
	for range 8 {
		b, err := c.Get(1)
		require.NoError(t, err)
		small = append(small, b)
	}
	_, err = c.Get(4 * block)
	require.ErrorIs(t, err, ErrPoolLimit)
	for _, b := range small[:5] {
		require.NoError(t, c.Put(b))
	}
	large, err := c.Get(4 * block)
	require.NoError(t, err)
	require.Equal(t, PoolStats{Buffers: 5, Idle: 1, Bytes: 8 * block, Peak: 8 * block}, c.Stats())

	got := make(chan *Buffer)
	go func() {
		b, err := c.GetContext(context.Background(), 4*block)
		assert.NoError(t, err)
		got <- b
	}()
	require.Eventually(t, func() bool { return c.Stats().Waiting == 1 }, time.Minute, time.Millisecond)
	for _, b := range small[5:] {
		require.NoError(t, c.Put(b))
	}
	other := <-got
	require.NoError(t, c.Put(large))
	require.NoError(t, c.Put(other))
	require.LessOrEqual(t, c.Stats().Peak, int64(8*block))
}

// A thousand goroutines on one Pool, in every way that there is, while the
// collector runs all the time and memory goes back to the system.
func TestPoolThousand(t *testing.T) {
	const goroutines, limit = 1000, 100
	times := 100
	if testing.Short() || underASan {
		times = 20
	}
	before := Memory()
	p, err := NewPoolWith(block, block, &PoolOptions{Limit: limit * block, TrimAfter: time.Millisecond})
	require.NoError(t, err)
	var stop atomic.Bool
	var collector sync.WaitGroup
	collector.Go(func() {
		for !stop.Load() {
			runtime.GC()
			p.Trim()
			if s := p.Stats(); s.Bytes > limit*block || s.Peak > limit*block {
				t.Errorf("beyond the limit: %+v", s)
				return
			}
		}
	})
	var wg sync.WaitGroup
	var inUse, most atomic.Int64
	for g := range goroutines {
		rng := rand.New(rand.NewPCG(uint64(g), 1))
		mine := bytes.Repeat([]byte{byte(g)}, block)
		wg.Go(func() {
			for range times {
				b := thousandGet(t, p, rng)
				if b == nil {
					continue
				}
				if n := inUse.Add(1); n > most.Load() {
					most.Store(n)
				}
				copy(b.Bytes(), mine)
				pinned := rng.IntN(3) == 0 && b.pin()
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
				if !bytes.Equal(mine, b.Bytes()) {
					t.Error("another goroutine has the same memory")
				}
				inUse.Add(-1)
				if pinned && p.Put(b) == nil {
					t.Error("put in flight")
				}
				if !pinned && rng.IntN(2) == 0 {
					assert.NoError(t, p.Put(b))
					continue
				}
				if rng.IntN(2) == 0 && b.Retain() == nil {
					assert.NoError(t, b.Release())
				}
				assert.NoError(t, b.Release())
				if pinned {
					b.drop()
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	collector.Wait()
	s := p.Stats()
	require.Equal(t, s.Buffers, s.Idle, "nothing is in use, and all of it is found")
	require.Zero(t, s.Waiting)
	var found []*Buffer
	for b := p.find(); b != nil; b = p.find() {
		found = append(found, b)
	}
	s = p.Stats()
	require.Zero(t, s.Idle, "an idle Buffer without a hint")
	require.Len(t, found, s.Buffers)
	require.LessOrEqual(t, most.Load(), int64(limit))
	putAll(t, p, found)
	require.NoError(t, p.Close())
	require.Equal(t, before, Memory())
}

// thousandGet is one of the ways to get a Buffer, nil where that one has none.
func thousandGet(t *testing.T, p *Pool, rng *rand.Rand) *Buffer {
	switch rng.IntN(3) {
	case 0:
		b, err := p.Get()
		if err != nil {
			assert.ErrorIs(t, err, ErrPoolLimit)
		}
		return b
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(1000))*time.Microsecond)
		defer cancel()
		b, err := p.GetContext(ctx)
		if err != nil {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}
		return b
	}
	b, err := p.GetContext(context.Background())
	assert.NoError(t, err)
	return b
}

// Two goroutines trade Buffers, so that the slots of the shards are always
// about another's: none is lost.
func TestPoolTrade(t *testing.T) {
	times := 200_000
	if testing.Short() || underASan {
		times = 20_000
	}
	p := newPoolWith(t, block, &PoolOptions{Limit: 8 * block})
	trade := make(chan *Buffer, 4)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range times {
				b, err := p.GetContext(context.Background())
				if !assert.NoError(t, err) {
					return
				}
				select {
				case trade <- b:
				default:
					assert.NoError(t, p.Put(b))
				}
				select {
				case b := <-trade:
					assert.NoError(t, p.Put(b))
				default:
				}
			}
		})
	}
	wg.Wait()
	close(trade)
	for b := range trade {
		require.NoError(t, p.Put(b))
	}
	s := p.Stats()
	require.Equal(t, s.Buffers, s.Idle)
	all := get(t, p, 8)
	require.Equal(t, 8, p.Stats().Buffers)
	putAll(t, p, all)
}

// Two goroutines at one slot: one puts back the Buffer that the slot points to
// while the other puts its own there. Both are found afterwards.
func TestShardStore(t *testing.T) {
	if debugMemory {
		t.Skip("built with aiodebug, which does not use the slot")
	}
	p := newPoolWith(t, block, nil)
	s := &p.shards[0]
	bs := get(t, p, 2)
	first, second := bs[0], bs[1]
	var round, done atomic.Int64
	retire := func(b *Buffer) {
		assert.NoError(t, b.retire("put", stateFreed|stateIdle))
		s.store(b)
	}
	times := int64(50_000)
	if runtime.GOMAXPROCS(0) == 1 || underASan {
		times = 1000 // there is no race to be seen
	}
	go func() {
		for i := int64(1); i <= times; i++ {
			for spins := 1; round.Load() != i; spins++ {
				if spins%1000 == 0 {
					runtime.Gosched()
				}
			}
			retire(second)
			done.Store(i)
		}
	}()
	for i := int64(1); i <= times; i++ {
		s.slot.Store(first)
		round.Store(i)
		retire(first)
		for done.Load() != i {
			runtime.Gosched()
		}
		for _, b := range bs {
			if state := b.state.Load(); s.slot.Load() != b && state&stateListed == 0 {
				t.Fatalf("round %d: an idle Buffer has no hint", i)
			}
		}
		for range bs {
			if p.find() == nil {
				t.Fatalf("round %d: an idle Buffer is not found", i)
			}
		}
	}
	putAll(t, p, bs)
}

// What store decides by may be out of date when it replaces the Buffer in the
// slot: whoever is idle has a hint afterwards.
func TestShardReplace(t *testing.T) {
	if debugMemory {
		t.Skip("built with aiodebug, which does not use the slot")
	}
	p := newPoolWith(t, block, nil)
	s := &p.shards[0]
	for name, slot := range map[string]int{"the old one is put back meanwhile": 0, "a third takes the slot": 2} {
		bs := get(t, p, 3)
		s.slot.Store(bs[slot])
		for _, b := range bs {
			require.NoError(t, b.retire("put", stateFreed|stateIdle))
		}
		s.list(bs[2-slot]) // which has no hint else
		s.replace(bs[0], bs[1])
		found := map[*Buffer]bool{}
		for b := p.find(); b != nil; b = p.find() {
			require.False(t, found[b], "%s: found twice", name)
			found[b] = true
		}
		require.Len(t, found, 3, name)
		putAll(t, p, bs)
	}
}

// A Buffer that was used since somebody looked is not buried.
func TestBuryOutOfDate(t *testing.T) {
	p := newPoolWith(t, block, nil)
	b := get(t, p, 1)[0]
	require.NoError(t, p.Put(b))
	seen := b.state.Load() &^ stateListed
	require.Same(t, b, get(t, p, 1)[0])
	require.False(t, b.bury(seen), "in use")
	require.NoError(t, p.Put(b))
	require.False(t, b.bury(seen), "in a later life")
	require.EqualValues(t, block, p.Trim())
	require.False(t, b.bury(seen), "buried before")
}

// Bytes that come back without a Buffer wake who waits: of a Trim, or of a
// mapping that there was no memory for.
func TestPoolUnreserveWakes(t *testing.T) {
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	g := p.budget
	require.True(t, g.reserve(p))
	first := &getter{turn: make(chan struct{}, 1)}
	g.queue = append(g.queue, first)
	g.gate.Add(gateWaiter)
	require.False(t, g.reserve(p))
	require.Empty(t, first.turn)
	g.unreserve(block)
	require.Len(t, first.turn, 1)
	g.leave(first)
	putAll(t, p, get(t, p, 1))
}

// While somebody is first in the queue nobody overtakes, neither Get nor the
// second in the queue; who leaves without taking has the next one look.
func TestPoolFirstLeaves(t *testing.T) {
	p := newPoolWith(t, block, &PoolOptions{Limit: block})
	g, b := p.budget, get(t, p, 1)[0]
	first := &getter{turn: make(chan struct{}, 1)}
	g.queue = append(g.queue, first)
	g.gate.Add(gateWaiter)
	got := make(chan *Buffer, 1)
	go func() {
		b, err := p.GetContext(context.Background())
		assert.NoError(t, err)
		got <- b
	}()
	require.Eventually(t, func() bool { return p.Stats().Waiting == 2 }, time.Minute, time.Millisecond)
	require.NoError(t, p.Put(b))
	<-first.turn
	_, err := p.Get()
	require.ErrorIs(t, err, ErrPoolLimit, "Get overtakes")
	g.mu.Lock()
	g.queue[1].wake()
	g.mu.Unlock()
	require.Never(t, func() bool { return p.Stats().Waiting < 2 }, 50*time.Millisecond, time.Millisecond, "the second overtakes")
	g.leave(first)
	require.Same(t, b, <-got)
	require.NoError(t, p.Put(b))
}
