package libaio

import "unsafe"

// This file is about the memory of a Pool: mappings that hold many Buffers side
// by side. One by one from posix_memalign a page would take two, as the
// allocator's own word stands before each.

// The size of an arena, where a Buffer is not larger: as much as the Pool has
// already, within these. An arena is address space until its Buffers are used,
// but for one of reserved huge pages, which stays as small as can be.
const (
	arenaLeast = 1 << 20
	arenaMost  = 64 << 20
)

// arena is a mapping cut into spots, one for each Buffer.
type arena struct {
	home   home // of its Buffers
	memory *mapping
	first  unsafe.Pointer // the first spot
	fresh  int            // spots from this one on were never used
	used   int            // spots that have a Buffer
	cold   []int          // spots given back, to be used again
	// By spot: the Buffer, nil where there is none; and its state when it was last
	// looked at, 0 where it was not idle.
	bufs []*Buffer
	seen []uint64
}

// arenas is what a Pool has of them. Guarded by the Pool's mu.
type arenas struct {
	all  []*arena
	open []*arena // that have a spot, the last to be used first
}

// pooled keeps the states of two Buffers out of one cache line.
type pooled struct {
	Buffer
	_ [128 - unsafe.Sizeof(Buffer{})%128]byte
}

// strideOf is what a Buffer takes in an arena.
func strideOf(size, align int) int {
	if size > maxBlock || align > maxBlock {
		return size // which carve will refuse
	}
	return roundUp(size, align)
}

func (s *arena) full() bool { return s.fresh == len(s.bufs) && len(s.cold) == 0 }

// carve makes a new Buffer. Its bytes are reserved from the budget.
func (p *Pool) carve() (*Buffer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 {
		s, err := p.newArena()
		if err != nil {
			return nil, err
		}
		p.all, p.open = append(p.all, s), append(p.open, s)
	}
	s := p.open[len(p.open)-1]
	spot := s.fresh
	reused := len(s.cold) > 0
	if reused {
		spot = s.cold[len(s.cold)-1]
	}
	mem := unsafe.Add(s.first, spot*p.stride)
	if p.options.Lock {
		if err := s.memory.lock(mem, p.stride); err != nil {
			return nil, err
		}
	}
	if reused {
		s.cold = s.cold[:len(s.cold)-1]
		if p.stride%s.memory.unit != 0 { // the pages could not be given back: see cool
			clear(unsafe.Slice((*byte)(mem), p.size))
		}
	} else {
		s.fresh++
	}
	if s.full() {
		p.open = p.open[:len(p.open)-1]
	}
	b := &new(pooled).Buffer
	b.mem, b.size, b.room, b.root, b.pool, b.home = mem, p.size, p.size, b, p, &s.home
	s.used++
	s.bufs[spot] = b
	count(p.label, b.room)
	if debugMemory {
		s.bufs[spot] = nil // so that the collector can find it
		debugAlloc(b)
	}
	return b, nil
}

// newArena maps one. Held: mu.
func (p *Pool) newArena() (*arena, error) {
	size, have := p.stride, 0
	for _, s := range p.all {
		have += s.memory.length
	}
	most := min(max(have, arenaLeast), arenaMost)
	if p.options.HugePages == HugePagesReserved {
		most = hugePageSize()
	}
	if !debugMemory && size < most {
		n := most / p.stride
		if p.options.Limit > 0 {
			n = int(min(int64(n), p.options.Limit/int64(p.stride)))
		}
		size = n * p.stride
	}
	m, err := mapMemory(size, p.align, p.options.HugePages)
	if err != nil && size > p.stride {
		size = p.stride
		m, err = mapMemory(size, p.align, p.options.HugePages)
	}
	if err != nil {
		return nil, err
	}
	n := size / p.stride
	s := &arena{memory: m, first: m.place(p.size, p.align), bufs: make([]*Buffer, n), seen: make([]uint64, n)}
	s.home = home{label: p.label, arena: s}
	return s, nil
}

// spotOf is the spot of a Buffer.
func (s *arena) spotOf(b *Buffer) int {
	return (int(uintptr(b.mem)) - int(uintptr(s.first))) / b.pool.stride
}

// trim gives idle Buffers back to the system until that is want bytes, and
// returns how many bytes it is. With unused it takes only those that nobody has
// used since the last such call.
func (p *Pool) trim(want int64, unused bool) (freed int64) {
	p.mu.Lock()
	for _, s := range p.all {
		before := len(s.cold)
		for spot, b := range s.bufs {
			if b == nil || freed >= want {
				continue
			}
			state := b.state.Load() &^ stateListed
			take := state&stateIdle != 0 && (!unused || s.seen[spot] == state)
			if unused {
				s.seen[spot] = state
			}
			if take && b.bury(state) {
				s.vacate(spot, b)
				freed += int64(p.stride)
			}
		}
		p.cool(s, s.cold[before:])
	}
	p.sweep()
	p.mu.Unlock()
	if freed > 0 {
		p.forget()
		p.budget.unreserve(freed)
	}
	return freed
}

// discard is trim for one Buffer, of a closed Pool.
func (p *Pool) discard(b *Buffer) {
	p.mu.Lock()
	buried := b.bury(b.state.Load() &^ stateListed)
	if s := b.home.arena; buried {
		s.vacate(s.spotOf(b), b)
		p.cool(s, s.cold[len(s.cold)-1:])
		if s.used == 0 {
			p.sweep()
		}
	}
	p.mu.Unlock()
	if buried {
		p.budget.unreserve(int64(p.stride))
	}
}

// vacate takes a buried Buffer out of its spot. Held: mu.
func (s *arena) vacate(spot int, b *Buffer) {
	uncount(s.home.label, b.room)
	if debugMemory {
		debugFree(b)
	}
	s.bufs[spot], s.seen[spot] = nil, 0
	s.cold = append(s.cold, spot)
	s.used--
}

// cool gives the memory of vacated spots, in ascending order, back to the
// system, in runs of neighbours. That of smaller Buffers than a page, and of
// reserved huge pages, goes back with the whole arena alone. Held: mu.
func (p *Pool) cool(s *arena, spots []int) {
	if s.used == 0 || p.stride%s.memory.unit != 0 {
		return
	}
	for len(spots) > 0 {
		n := 1
		for n < len(spots) && spots[n] == spots[0]+n {
			n++
		}
		mem, size := unsafe.Add(s.first, spots[0]*p.stride), n*p.stride
		if p.options.Lock {
			s.memory.unlock(mem, size)
		}
		s.memory.discard(mem, size)
		spots = spots[n:]
	}
}

// sweep unmaps the arenas that have no Buffer, and finds those that have a spot.
// Held: mu.
func (p *Pool) sweep() {
	all := p.all
	p.all, p.open = nil, nil
	for _, s := range all {
		if s.used == 0 {
			s.memory.unmap()
			continue
		}
		p.all = append(p.all, s)
		if !s.full() {
			p.open = append(p.open, s)
		}
	}
}

// count counts the Buffers, and those of them that are idle.
func (p *Pool) count() (buffers, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		buffers += s.used
		for _, b := range s.bufs {
			if b != nil && b.idle() {
				idle++
			}
		}
	}
	return buffers, idle
}
