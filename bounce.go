package libaio

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// This file has the bounce Buffers: memory that the kernel may have, for data
// that is to come from, or go to, where it may not.

const (
	// bounceSize is the most that one operation moves through a bounce Buffer. More
	// is moved in pieces, several of them in flight.
	bounceSize = 256 << 10
	// bounceAlign is what addresses are multiples of, at least.
	bounceAlign = 4096
	// bounceLimit is how many bytes the store has at most. What is needed beyond
	// that goes back to the system after its operation.
	bounceLimit = 32 << 20
	// bounceTrimAfter is how long idle memory is kept, at least.
	bounceTrimAfter = 10 * time.Second
)

// bounce is a Buffer to borrow for one operation.
type bounce struct {
	buf  *Buffer
	part Buffer // a view of buf: kept here, so that making one does not allocate
}

// bounceStore keeps bounce Buffers for use again. All Files share it. Its memory
// is given back when it has been idle, and when the last File that used it is
// closed, or dropped.
type bounceStore struct {
	users atomic.Int64 // Files that have used it and are neither closed nor dropped
	pool  func() *ClassPool
	views sync.Pool // of *bounce, without a Buffer
}

var bounces = bounceStore{
	pool:  sync.OnceValue(newBouncePool),
	views: sync.Pool{New: func() any { return new(bounce) }},
}

func newBouncePool() *ClassPool {
	var sizes []int
	for size := bounceAlign; size <= bounceSize; size *= 2 {
		sizes = append(sizes, size)
	}
	p, err := NewClassPool(sizes, bounceAlign, &PoolOptions{Limit: bounceLimit, TrimAfter: bounceTrimAfter, Label: "libaio bounce"})
	if err == nil {
		p.budget.timer = bounceTimer
	}
	return p
}

// bounceTimer is the timer of the store. Who uses the store first may be in a
// bubble of testing/synctest, and nobody outside may set a timer made there.
var bounceTimer *time.Timer

func init() {
	bounceTimer = time.AfterFunc(math.MaxInt64, func() { bounces.pool().budget.tick() })
	bounceTimer.Stop()
}

func (s *bounceStore) join() { s.users.Add(1) }

// leave ends what join began.
func (s *bounceStore) leave() {
	if s.users.Add(-1) == 0 {
		s.pool().Trim()
	}
}

// get borrows at least n bytes.
func (s *bounceStore) get(n, align int) (*bounce, error) {
	buf, err := s.buffer(max(n, 1), align)
	if err != nil {
		return nil, err
	}
	b := s.views.Get().(*bounce)
	b.buf = buf
	return b, nil
}

func (s *bounceStore) buffer(n, align int) (*Buffer, error) {
	if n <= bounceSize && align <= bounceAlign {
		buf, err := s.pool().Get(n)
		if !errors.Is(err, ErrPoolLimit) {
			return buf, err
		}
	}
	return Alloc(n, max(align, bounceAlign))
}

// put takes back what get gave. What the kernel still has, of an operation that
// was abandoned, goes back when that completes: the view is then still its.
func (s *bounceStore) put(b *bounce) {
	abandoned := b.buf.InFlight()
	_ = b.buf.Release()
	if !abandoned {
		*b = bounce{}
		s.views.Put(b)
	}
}

// bytes is the first n bytes.
func (b *bounce) bytes(n int) []byte { return b.buf.Bytes()[:n] }

// view is the n bytes from off on, until the next call of view.
func (b *bounce) view(off, n int) *Buffer {
	if off == 0 && n == b.buf.size {
		return b.buf
	}
	b.part = Buffer{mem: unsafe.Add(b.buf.mem, off), size: n, root: b.buf, life: b.buf.state.Load() / stateLife}
	return &b.part
}

// slice is the memory of b, which the caller has pinned.
func (b *Buffer) slice() []byte { return unsafe.Slice((*byte)(b.mem), b.size) }
