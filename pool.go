package libaio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// Pool keeps Buffers of one size and alignment for use again: in steady state
// Get and Put allocate nothing on the Go heap and call neither C nor the kernel.
// A Buffer is zeroed when Get makes it, and not when it is used again. A Pool is
// safe for any number of goroutines. Close it when done.
type Pool struct {
	size, align int
	stride      int // bytes from one Buffer of an arena to the next
	options     PoolOptions
	label       *account
	budget      *budget // shared by the classes of a ClassPool
	shards      []shard

	mu sync.Mutex // guards what follows; nothing is locked under it
	arenas
}

// PoolOptions is how a Pool gets and keeps its memory. The zero value has no
// limit and keeps what is idle until Trim or Close.
type PoolOptions struct {
	// Limit in bytes of all Buffers, idle ones included, each counted with its
	// size rounded up to the alignment; 0 for none. It is never exceeded.
	Limit int64
	// TrimAfter gives back to the system what has been idle for so long, at the
	// latest after twice that; 0 for never. It takes a timer while there is
	// something idle, and no goroutine.
	TrimAfter time.Duration
	// Label, HugePages and Lock are those of AllocOptions. Memory of reserved
	// huge pages is taken and given back in whole pages, whatever the Limit.
	Label     string
	HugePages HugePages
	Lock      bool
}

// PoolStats is what a Pool holds.
type PoolStats struct {
	Buffers int   // idle and in use
	Idle    int   // in the Pool
	Bytes   int64 // of all Buffers, as PoolOptions.Limit counts them
	Peak    int64 // the most that Bytes was
	Waiting int   // calls of GetContext that wait
}

// NewPool returns an empty Pool of Buffers of size bytes whose addresses are
// multiples of align; the rules of [Alloc] hold for both.
func NewPool(size, align int) (*Pool, error) { return NewPoolWith(size, align, nil) }

// NewPoolWith is NewPool with options; nil stands for their zero value.
func NewPoolWith(size, align int, o *PoolOptions) (*Pool, error) {
	if o == nil {
		o = &PoolOptions{}
	}
	p, err := newPool(size, align, o)
	if err != nil {
		return nil, err
	}
	p.budget = newBudget(o, p)
	return p, nil
}

// newPool makes a Pool without a budget.
func newPool(size, align int, o *PoolOptions) (*Pool, error) {
	if err := checkBlock(size, align, o.HugePages); err != nil {
		return nil, err
	}
	align = max(align, leastAlign)
	p := &Pool{size: size, align: align, options: *o, label: labelled(o.Label), shards: newShards()}
	p.stride = strideOf(size, align)
	switch {
	case o.Limit < 0:
		return nil, invalidf("pool", "Limit %d: must be 0, for none, or the bytes that all Buffers may have", o.Limit)
	case o.Limit > 0 && o.Limit < int64(p.stride):
		return nil, invalidf("pool", "Limit %d: must allow one Buffer, which takes %d bytes", o.Limit, p.stride)
	case o.TrimAfter < 0:
		return nil, invalidf("pool", "TrimAfter %v: must be 0, for never, or more", o.TrimAfter)
	}
	return p, nil
}

// Get returns an idle Buffer, or a new one where none is idle. It never waits.
// The caller owns it until Put. The errors are those of [AllocWith], ErrClosed,
// and, where the Pool has a limit, ErrPoolLimit: all Buffers are in use, or
// others wait in GetContext, who come first.
func (p *Pool) Get() (*Buffer, error) {
	if p == nil || p.budget == nil {
		return nil, errZeroPool
	}
	gate := p.budget.gate.Load()
	if gate < gateClosed {
		if b := p.shard().quick(); b != nil {
			return b, nil
		}
		return p.take()
	}
	if gate&gateClosed != 0 {
		return nil, errPoolClosed
	}
	return nil, p.budget.atLimit
}

// GetContext is Get that waits, where the limit is reached, for a Buffer to
// come back, until ctx ends. Who waits is served in the order of arrival. The
// error of ctx then, and ErrClosed when the Pool is closed meanwhile.
func (p *Pool) GetContext(ctx context.Context) (*Buffer, error) {
	if ctx == nil {
		return nil, &Error{Op: "get", Err: errNilContext}
	}
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "get", Err: err}
	}
	b, err := p.Get()
	if err == nil || !errors.Is(err, ErrPoolLimit) {
		return b, err
	}
	return p.budget.wait(ctx, p)
}

// Put takes a Buffer of this Pool back. It fails, and changes nothing, with
// ErrInFlight while the kernel holds the memory, with ErrShared while there are
// references of Retain, with ErrFreed if the Buffer was put back before, and
// with ErrInvalid for one that is not of this Pool. After Close it gives the
// memory back to the system.
func (p *Pool) Put(b *Buffer) error {
	if b == nil || b.pool != p || p == nil {
		return invalidf("put", "the Buffer is nil, a view, or not of this Pool")
	}
	if debugMemory {
		if err := b.retire("put", stateFreed); err != nil {
			return err
		}
		p.put(b)
		return nil
	}
	if err := b.retire("put", stateFreed|stateIdle); err != nil {
		return err
	}
	p.stash(b)
	return nil
}

// put makes a retired Buffer idle.
func (p *Pool) put(b *Buffer) {
	if debugMemory {
		debugIdle(b)
	}
	b.rest()
	p.stash(b)
}

// stash stores an idle Buffer where it will be found, and sees to those who wait
// for that. They look at the stores after their announcement in gate, and this
// looks at gate after the store: one of the two sees the other.
func (p *Pool) stash(b *Buffer) {
	if s := p.shard(); debugMemory || s.slot.Load() != b {
		s.store(b)
	}
	if gate := p.budget.gate.Load(); gate != 0 {
		p.budget.returned(p, b, gate)
	}
}

// take finds an idle Buffer anywhere, or makes a new one within the budget.
func (p *Pool) take() (*Buffer, error) {
	if b := p.find(); b != nil {
		return b, nil
	}
	if !p.budget.reserve(p) {
		return nil, p.budget.atLimit
	}
	b, err := p.carve()
	if err != nil {
		p.budget.unreserve(int64(p.stride))
		return nil, err
	}
	p.budget.bytes.raise(p.budget.bytes.live.Load())
	return b, nil
}

// Trim gives the memory of all idle Buffers back to the system, and returns how
// many bytes that were.
func (p *Pool) Trim() int64 {
	if p == nil || p.budget == nil {
		return 0
	}
	return p.trim(math.MaxInt64, false)
}

// Close gives the memory of the idle Buffers back to the system; that of those
// still in use follows with their Put or Release. Who waits in GetContext gets
// ErrClosed. A second Close does nothing.
func (p *Pool) Close() error {
	if p != nil && p.budget != nil {
		p.budget.close()
	}
	return nil
}

// Stats returns what the Pool holds. It looks at each Buffer: for monitoring,
// not for decisions.
func (p *Pool) Stats() PoolStats {
	if p == nil || p.budget == nil {
		return PoolStats{}
	}
	return p.budget.stats()
}

// String says what the Pool holds, for logs.
func (p *Pool) String() string {
	if p == nil {
		return "Pool <nil>"
	}
	buffers, idle := p.count()
	return fmt.Sprintf("Pool of %d bytes aligned to %d, %d idle, %d in use", p.size, p.align, idle, buffers-idle)
}

var (
	errZeroPool   = invalidf("get", "the Pool was not made by NewPool")
	errPoolClosed = &Error{Op: "get", Err: ErrClosed, Detail: "the Pool is closed"}
)

var _ fmt.Stringer = (*Pool)(nil)
