package libaio

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// budget is what the Pools that share one limit have in common: the bytes, who
// waits for some, and the timer that gives back what is idle.
type budget struct {
	limit     int64 // 0: none
	trimAfter time.Duration
	pools     []*Pool
	bytes     gauge
	atLimit   *Error // ErrPoolLimit, made once: a cache meets it all the time

	// What Get and Put have to look at: the flags below, and the number of those
	// who wait, times gateWaiter. 0 or gateUnarmed lets a Get pass.
	gate atomic.Int64

	mu    sync.Mutex // guards what follows; nothing is locked under it
	queue []*getter  // in the order of arrival
	timer *time.Timer
}

const (
	gateUnarmed = 1 << iota // the timer is to be set by the next Put
	gateClosed
	gateWaiter
)

// getter is a goroutine in wait.
type getter struct {
	turn chan struct{} // capacity 1: look again
}

func newBudget(o *PoolOptions, pools ...*Pool) *budget {
	g := &budget{limit: o.Limit, trimAfter: o.TrimAfter, pools: pools}
	g.atLimit = &Error{
		Op: "get", Err: ErrPoolLimit,
		Detail: fmt.Sprintf("all of its %d bytes are in use, or others wait for them: put a Buffer back, wait with GetContext, or raise the Limit", g.limit),
	}
	if g.trimAfter > 0 {
		g.timer = time.AfterFunc(math.MaxInt64, g.tick)
		g.timer.Stop()
		g.gate.Store(gateUnarmed)
	}
	return g
}

// reserve takes the bytes of a new Buffer of p, if need be from what is idle in
// the other Pools.
func (g *budget) reserve(p *Pool) bool {
	for !g.bytes.addWithin(int64(p.stride), g.limit) {
		if !g.reclaim(p) {
			return false
		}
	}
	return true
}

// reclaim has another Pool give back what p needs, or all it can.
func (g *budget) reclaim(p *Pool) bool {
	for _, other := range g.pools {
		if other != p && other.trim(int64(p.stride), false) > 0 {
			return true
		}
	}
	return false
}

// unreserve gives bytes back, to who waits for them.
func (g *budget) unreserve(n int64) {
	g.bytes.live.Add(-n)
	if g.gate.Load() >= gateWaiter {
		g.wakeFirst()
	}
}

// addWithin is add without the peak, unless that makes more than the limit; 0
// is none.
func (g *gauge) addWithin(n, limit int64) bool {
	for {
		now := g.live.Load()
		if limit > 0 && now > limit-n {
			return false
		}
		if g.live.CompareAndSwap(now, now+n) {
			return true
		}
	}
}

// wait is GetContext when the limit is reached. Only the first in the queue
// takes, so that nobody overtakes.
func (g *budget) wait(ctx context.Context, p *Pool) (*Buffer, error) {
	w := &getter{turn: make(chan struct{}, 1)}
	g.mu.Lock()
	g.queue = append(g.queue, w)
	g.mu.Unlock()
	g.gate.Add(gateWaiter)
	defer g.leave(w)
	for {
		if g.gate.Load()&gateClosed != 0 {
			return nil, errPoolClosed
		}
		if g.isFirst(w) {
			if b, err := p.take(); err != g.atLimit {
				return b, err
			}
		}
		select {
		case <-w.turn:
		case <-ctx.Done():
			return nil, &Error{Op: "get", Err: ctx.Err(), Detail: "while waiting for a Buffer: the Pool is at its limit", also: ErrPoolLimit}
		}
	}
}

func (g *budget) isFirst(w *getter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue[0] == w
}

// leave takes w out of the queue, and has the next one look.
func (g *budget) leave(w *getter) {
	g.mu.Lock()
	g.queue = slices.DeleteFunc(g.queue, func(other *getter) bool { return other == w })
	g.mu.Unlock()
	g.gate.Add(-gateWaiter)
	g.wakeFirst()
}

func (g *budget) wakeFirst() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > 0 {
		g.queue[0].wake()
	}
}

func (w *getter) wake() {
	select {
	case w.turn <- struct{}{}:
	default:
	}
}

// returned is the rest of stash, where the gate asks for it.
func (g *budget) returned(p *Pool, b *Buffer, gate int64) {
	if gate&gateClosed != 0 {
		p.discard(b)
		return
	}
	if gate&gateUnarmed != 0 {
		g.arm()
	}
	if gate >= gateWaiter {
		g.wakeFirst()
	}
}

// arm sets the timer, unless it is set.
func (g *budget) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gate.Load()&(gateUnarmed|gateClosed) != gateUnarmed {
		return
	}
	g.gate.And(^gateUnarmed)
	g.timer.Reset(g.trimAfter)
}

// tick gives back what nobody has used since the last time, and sets the timer
// again while there is something idle.
func (g *budget) tick() {
	g.gate.Or(gateUnarmed) // first, as a Put that is too late for the loop arms
	idle := 0
	for _, p := range g.pools {
		p.trim(math.MaxInt64, true)
		_, n := p.count()
		idle += n
	}
	if idle > 0 {
		g.arm()
	}
}

func (g *budget) close() {
	if g.gate.Or(gateClosed)&gateClosed != 0 {
		return
	}
	g.mu.Lock()
	if g.timer != nil {
		g.timer.Stop()
	}
	for _, w := range g.queue {
		w.wake()
	}
	g.mu.Unlock()
	for _, p := range g.pools {
		p.trim(math.MaxInt64, false)
	}
}

func (g *budget) stats() PoolStats {
	s := PoolStats{
		Bytes: g.bytes.live.Load(), Peak: g.bytes.peak.Load(),
		Waiting: int(max(0, g.gate.Load()/gateWaiter)),
	}
	for _, p := range g.pools {
		buffers, idle := p.count()
		s.Buffers += buffers
		s.Idle += idle
	}
	return s
}
