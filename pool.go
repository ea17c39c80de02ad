package libaio

import (
	"fmt"
	"sync"
)

// Pool keeps Buffers of one size and alignment for use again: in steady state
// Get and Put allocate nothing, neither in Go nor in C. What Get returns is
// not zeroed after its first use. A Pool is safe for any number of goroutines.
type Pool struct {
	size, align int

	mu     sync.Mutex // guards what follows
	idle   []*Buffer
	closed bool
}

// NewPool returns an empty Pool of Buffers of size bytes whose addresses are
// multiples of align; the rules of [Alloc] hold for both. Close it when done.
func NewPool(size, align int) (*Pool, error) {
	if err := checkBlock(size, align); err != nil {
		return nil, err
	}
	return &Pool{size: size, align: align}, nil
}

// Get returns an idle Buffer, or a new one where none is idle. The caller owns
// it until Put. The errors are those of Alloc, and ErrClosed.
func (p *Pool) Get() (*Buffer, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, &Error{Op: "get", Err: ErrClosed}
	}
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		b.revive()
		return b, nil
	}
	p.mu.Unlock()

	b, err := Alloc(p.size, p.align)
	if err != nil {
		return nil, err
	}
	b.pool = p
	return b, nil
}

// Put takes a Buffer of this Pool back. It fails, and changes nothing, with
// ErrInFlight while the kernel holds the memory, with ErrFreed if the Buffer
// was put back before, and with ErrInvalid for one that is not of this Pool.
// After Close it frees the Buffer.
func (p *Pool) Put(b *Buffer) error {
	if b == nil || b.pool != p {
		return invalidf("put", "the Buffer is nil, a view, or not of this Pool")
	}
	if err := b.retire("put"); err != nil {
		return err
	}
	p.put(b)
	return nil
}

// put stores a retired Buffer, or frees it after Close.
func (p *Pool) put(b *Buffer) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.idle = append(p.idle, b)
	}
	p.mu.Unlock()
	if closed {
		b.free()
	}
}

// Close frees the idle Buffers; those still in use are freed by their Put or
// Release. A second Close does nothing.
func (p *Pool) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, b := range idle {
		b.free()
	}
	return nil
}

// String says what the Pool holds, for logs.
func (p *Pool) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("Pool of %d bytes aligned to %d, %d idle", p.size, p.align, len(p.idle))
}
