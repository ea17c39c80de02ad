package libaio

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// This file is about where the idle Buffers of a Pool are found. What decides
// whether one is idle, and who gets it, is its own state; a shard only has hints
// where to look. So a hint may be out of date or there twice, and a Buffer goes
// to one of all that follow them. What must hold is that an idle Buffer has a
// hint: it is in the slot of a shard, or it is listed.

// shard is what some of the goroutines use, so that others seldom write to the
// same memory.
type shard struct {
	// The Buffer that was put back here last. Get leaves it there, so that a Get
	// and a Put of the same Buffer write to nothing but its state.
	slot atomic.Pointer[Buffer]

	mu     sync.Mutex   // guards listed
	listed []*Buffer    // each once, with stateListed
	some   atomic.Int32 // len(listed), to pass by without the lock
	_      [80]byte
}

func newShards() []shard {
	return make([]shard, max(16, 8*runtime.GOMAXPROCS(0)))
}

// shard is the one for this goroutine. Any is right, this one is likely not used
// by others at the time.
func (p *Pool) shard() *shard { return &p.shards[goroutineSlot(len(p.shards))] }

// goroutineSlot is one of n for this goroutine: by its stack, as nothing else
// tells goroutines apart for nothing. Stacks are 2 KiB at least, and lie side by
// side: multiples of the golden ratio, of which this takes the fraction, are far
// from each other for neighbours at any small distance.
func goroutineSlot(n int) int {
	var here byte
	fraction := uint64(uintptr(unsafe.Pointer(&here))>>11) * 0x9E3779B97F4A7C15
	return int(fraction >> 32 * uint64(n) >> 32)
}

// quick takes the Buffer of the slot.
func (s *shard) quick() *Buffer {
	if b := s.slot.Load(); b != nil && b.claim() {
		return b
	}
	return nil
}

// store gives an idle Buffer a hint. It looks at the slot after the change of
// the state to idle, and who replaces a Buffer in the slot looks at its state
// after that: one of the two sees the other.
func (s *shard) store(b *Buffer) {
	if debugMemory { // the slot would keep the collector from a Buffer in use
		s.list(b)
		return
	}
	old := s.slot.Load()
	switch {
	case old == b:
	case old != nil && old.idle():
		s.list(b)
	default:
		s.replace(old, b)
	}
}

// replace puts an idle Buffer into the slot, in place of one that was in use.
func (s *shard) replace(old, b *Buffer) {
	switch {
	case !s.slot.CompareAndSwap(old, b):
		s.list(b)
	case old != nil && old.idle():
		s.list(old)
	}
}

// list adds an idle Buffer to the list, if it is in none.
func (s *shard) list(b *Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.list() {
		s.listed = append(s.listed, b)
		s.some.Store(int32(len(s.listed)))
	}
}

// pop takes a Buffer of the list.
func (s *shard) pop() *Buffer {
	if s.some.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.listed) - 1; n >= 0; n-- {
		b := s.listed[n]
		s.listed[n] = nil
		s.listed = s.listed[:n]
		s.some.Store(int32(n))
		if b.unlist() {
			return b
		}
	}
	return nil
}

// forget drops the entries of Buffers that were buried.
func (p *Pool) forget() {
	for i := range p.shards {
		p.shards[i].forget()
	}
}

func (s *shard) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.listed[:0]
	for _, b := range s.listed {
		if !b.unlistBuried() {
			kept = append(kept, b)
		}
	}
	clear(s.listed[len(kept):])
	s.listed = kept
	s.some.Store(int32(len(kept)))
}

// find takes an idle Buffer of any shard, this goroutine's first.
func (p *Pool) find() *Buffer {
	mine := p.shard()
	if b := mine.quick(); b != nil {
		return b.taken()
	}
	if b := mine.pop(); b != nil {
		return b.taken()
	}
	for i := range p.shards {
		s := &p.shards[i]
		if b := s.quick(); b != nil {
			return b.taken()
		}
		if b := s.pop(); b != nil {
			return b.taken()
		}
	}
	return nil
}

// taken readies a Buffer that was idle.
func (b *Buffer) taken() *Buffer {
	if debugMemory {
		debugTake(b)
	}
	return b
}
