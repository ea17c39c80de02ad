package libaio

import (
	"math/bits"
	"sync"
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
	// bounceKeep is how much idle memory is kept, in bytes.
	bounceKeep = 32 << 20
)

// bounce is a Buffer to borrow for one operation.
type bounce struct {
	buf  *Buffer
	part Buffer // a view of buf: kept here, so that making one does not allocate
}

// bounceStore keeps bounce Buffers for use again, in classes of 4 KiB, 8 KiB and so
// on to bounceSize. All Files share it, and when the last that used it is closed
// its memory is given back.
type bounceStore struct {
	mu    sync.Mutex // guards what follows
	users int        // Files that have used it and are not closed
	idle  [bounceClasses][]*bounce
	size  int // of all that is idle
}

const bounceClasses = 7 // 4096<<6 is bounceSize

var bounces bounceStore

func (s *bounceStore) join() {
	s.mu.Lock()
	s.users++
	s.mu.Unlock()
}

// leave ends what join began.
func (s *bounceStore) leave() {
	s.mu.Lock()
	s.users--
	var idle [bounceClasses][]*bounce
	if s.users == 0 {
		idle, s.idle, s.size = s.idle, idle, 0
	}
	s.mu.Unlock()
	for _, class := range idle {
		for _, b := range class {
			_ = b.buf.Free()
		}
	}
}

// bounceClass is the class of the smallest Buffers of at least n bytes.
func bounceClass(n int) int { return bits.Len(uint(max(n-1, 0)) / bounceAlign) }

func (s *bounceStore) get(n, align int) (*bounce, error) {
	class := bounceClass(n)
	if class >= bounceClasses || align > bounceAlign {
		buf, err := Alloc(n, max(align, bounceAlign))
		return &bounce{buf: buf}, err
	}
	s.mu.Lock()
	if last := len(s.idle[class]) - 1; last >= 0 {
		b := s.idle[class][last]
		s.idle[class] = s.idle[class][:last]
		s.size -= b.buf.size
		s.mu.Unlock()
		return b, nil
	}
	s.mu.Unlock()
	buf, err := Alloc(bounceAlign<<class, bounceAlign)
	return &bounce{buf: buf}, err
}

// put takes back what get gave. What the kernel still has, of an operation that
// was abandoned, is freed when that completes.
func (s *bounceStore) put(b *bounce) {
	class := bounceClass(b.buf.size)
	keep := !b.buf.InFlight() && class < bounceClasses && b.buf.size == bounceAlign<<class
	if keep {
		s.mu.Lock()
		keep = s.users > 0 && s.size+b.buf.size <= bounceKeep
		if keep {
			s.idle[class] = append(s.idle[class], b)
			s.size += b.buf.size
		}
		s.mu.Unlock()
	}
	if !keep {
		_ = b.buf.Release()
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
