package libaio

import "fmt"

// This file is about whose a Buffer's memory is, which one atomic word of its
// root tells: the references to it, the operations in flight on it, and whether
// it was given back. Each change is one compare-and-swap of that word.

// The state of a Buffer: the number of operations in flight in the lowest bits,
// the flags, the references beyond the first, and above them which life it has:
// a Buffer of a Pool has one from each Get to the Put after it, and the views
// of one life are not of the next.
const (
	statePins      = 1<<26 - 1
	stateFreed     = 1 << 26 // back in the system or in the Pool
	stateReleasing = 1 << 27 // goes back when the last operation completes
	stateIdle      = 1 << 28 // freed, and in its Pool for whoever swaps it out of this state
	stateListed    = 1 << 29 // has one entry in the list of a shard of its Pool
	stateGone      = stateFreed | stateReleasing
	stateRef       = 1 << 30
	stateRefs      = 1<<16 - 1 // times stateRef
	stateLife      = 1 << 46
)

func pins(s uint64) uint64       { return s & statePins }
func references(s uint64) uint64 { return s / stateRef & stateRefs }

// alive says whether the memory is the caller's or the kernel's.
func (b *Buffer) alive() bool {
	return b != nil && b.root != nil && b.lives(b.root.state.Load())
}

// lives says whether b is good in this state of its root.
func (b *Buffer) lives(s uint64) bool {
	return s&stateGone == 0 && (b == b.root || s/stateLife == b.life)
}

// InFlight says whether the kernel holds the memory at this moment.
func (b *Buffer) InFlight() bool {
	return b != nil && b.root != nil && pins(b.root.state.Load()) != 0
}

// Retain takes one more reference to the Buffer, for another user of its
// memory: it goes back with the last Release. The references are counted apart
// from the operations in flight, each of which keeps the memory by itself. While
// there is more than one reference, Free and Put refuse the Buffer with
// ErrShared. ErrFreed if it was given back before, which makes it safe to try
// on a Buffer of Alloc that another goroutine may be releasing. A Buffer of a
// Pool may be someone else's again by then: retain it under the lock of the
// table where it was found, or hold a reference for the table. ErrInvalid for a
// view, and beyond 65535 further references.
func (b *Buffer) Retain() error {
	if err := b.owned("retain"); err != nil {
		return err
	}
	for {
		s := b.state.Load()
		switch {
		case s&stateGone != 0:
			return b.freed("retain")
		case references(s) == stateRefs:
			return invalidf("retain", "the Buffer has %d references: no more can be counted", stateRefs+1)
		case b.state.CompareAndSwap(s, s+stateRef):
			return nil
		}
	}
}

// Free gives the memory back to the system. It fails, and changes nothing, with
// ErrInFlight while the kernel holds the memory, with ErrShared while there are
// references of Retain, with ErrFreed if it was freed before, and with
// ErrInvalid for a view and for a Buffer of a Pool. Stands for free, and for
// munmap where the block is a mapping.
func (b *Buffer) Free() error {
	if err := b.owned("free"); err != nil {
		return err
	}
	if b.pool != nil {
		return invalidf("free", "the Buffer belongs to a Pool: Put it back")
	}
	if err := b.retire("free", stateFreed); err != nil {
		return err
	}
	b.giveBack()
	return nil
}

// owned says why b is none that can be given back.
func (b *Buffer) owned(op string) error {
	switch {
	case b == nil || b.root == nil:
		return invalidf(op, "the Buffer is nil, or was not made by Alloc or a Pool")
	case b.root != b:
		return invalidf(op, "a view made by Slice: use the Buffer it was made from")
	}
	return nil
}

// Release gives one reference back, and with the last one the memory to where
// it came from, the system or the Pool: at once, or soon after the last
// operation in flight on it has completed. It is what to call after [Queue.Do]
// was cancelled, when it is not known whether the kernel is done. It fails with
// ErrFreed if the memory was given back before, and with ErrInvalid for a view.
func (b *Buffer) Release() error {
	if err := b.owned("release"); err != nil {
		return err
	}
	for {
		s := b.state.Load()
		switch {
		case s&stateGone != 0:
			return b.freed("release")
		case references(s) != 0:
			if b.state.CompareAndSwap(s, s-stateRef) {
				return nil
			}
		case pins(s) != 0:
			if b.state.CompareAndSwap(s, s|stateReleasing) {
				return nil
			}
		case b.state.CompareAndSwap(s, (s+stateLife)|stateFreed):
			b.giveBack()
			return nil
		}
	}
}

// retire marks an idle Buffer with the flags as given back, or says why it may
// not be.
func (b *Buffer) retire(op string, flags uint64) error {
	for {
		s := b.state.Load()
		if s&(statePins|stateGone|stateRefs*stateRef) != 0 {
			return b.unretirable(op, s)
		}
		if b.state.CompareAndSwap(s, (s+stateLife)|flags) {
			return nil
		}
	}
}

// unretirable is why a Buffer in this state may not be given back.
func (b *Buffer) unretirable(op string, s uint64) error {
	switch {
	case s&stateGone != 0:
		return b.freed(op)
	case pins(s) != 0:
		return &Error{
			Op: op, Err: ErrInFlight,
			Detail: fmt.Sprintf("%s on the buffer not completed: wait for that, or use Release", counted(int(pins(s)), "operation")),
		}
	}
	return &Error{
		Op: op, Err: ErrShared,
		Detail: fmt.Sprintf("%s beside this one: use Release, which gives back one", counted(int(references(s)), "reference")),
	}
}

// freed is the error of using a Buffer that was given back.
func (b *Buffer) freed(op string) *Error {
	e := &Error{Op: op, Err: ErrFreed}
	if debugMemory {
		e.Detail = debugDescribe(b.root)
	}
	return e
}

// giveBack returns retired memory. The caller has set stateFreed, and was the
// only one that could.
func (b *Buffer) giveBack() {
	if b.pool != nil {
		b.pool.put(b)
		return
	}
	b.free()
}

// pin counts an operation in flight; false if the memory was given back, or has
// more operations than can be counted.
func (b *Buffer) pin() bool {
	for {
		s := b.root.state.Load()
		if !b.lives(s) || pins(s) == statePins {
			return false
		}
		if b.root.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// unpin ends what pin began, and says whether the memory is to be given back
// now: after a Release, with the last operation. Nothing is pinned after a
// Release, so only one comes to that.
func (b *Buffer) unpin() bool {
	s := b.root.state.Add(^uint64(0))
	if s&(statePins|stateGone) != stateReleasing {
		return false
	}
	b.root.state.Add(stateLife + stateFreed - stateReleasing)
	return true
}

// drop is unpin that gives the memory back itself.
func (b *Buffer) drop() {
	if b.unpin() {
		b.root.giveBack()
	}
}

// idle says whether the Buffer is in its Pool, for claim to take.
func (b *Buffer) idle() bool { return b.state.Load()&stateIdle != 0 }

// rest makes a retired Buffer idle.
func (b *Buffer) rest() { b.state.Or(stateIdle) }

// claim takes an idle Buffer, which begins a new life; false if it is not idle.
// Of many that try, one has it.
func (b *Buffer) claim() bool {
	for {
		s := b.state.Load()
		if s&stateIdle == 0 {
			return false
		}
		if b.state.CompareAndSwap(s, s&^(stateIdle|stateFreed)) {
			return true
		}
	}
}

// bury takes an idle Buffer out of its Pool for good; false if it is no longer
// in the idle state that the caller saw, stateListed aside.
func (b *Buffer) bury(seen uint64) bool {
	for {
		s := b.state.Load()
		if s&stateIdle == 0 || s&^stateListed != seen {
			return false
		}
		if b.state.CompareAndSwap(s, s&^stateIdle) {
			return true
		}
	}
}

// list notes that the Buffer gets an entry in a list; false if it has one, or is
// not idle.
func (b *Buffer) list() bool {
	for {
		s := b.state.Load()
		if s&stateIdle == 0 || s&stateListed != 0 {
			return false
		}
		if b.state.CompareAndSwap(s, s|stateListed) {
			return true
		}
	}
}

// unlist notes that the entry is gone, and claims the Buffer where it is idle.
func (b *Buffer) unlist() (claimed bool) {
	for {
		s := b.state.Load()
		next := s &^ stateListed
		if s&stateIdle != 0 {
			next &^= stateIdle | stateFreed
		}
		if b.state.CompareAndSwap(s, next) {
			return s&stateIdle != 0
		}
	}
}

// unlistBuried notes that the entry is gone, if the Buffer was buried or is on
// its way into the Pool, where it will get another.
func (b *Buffer) unlistBuried() bool {
	s := b.state.Load()
	return s&stateFreed != 0 && s&stateIdle == 0 && b.state.CompareAndSwap(s, s&^stateListed)
}
