package libaio

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"
)

// blockLocks keeps those apart who would undo each other's work on the blocks of
// one file: a write of a part of a block, which reads the block, changes it and
// writes it back, has it for itself; all others, readers and writers of whole
// blocks, share.
//
// Who comes later waits for who came before, if the two conflict. All blocks of
// a call are taken at once, so nobody waits while he holds some.
type blockLocks struct {
	// cached says that the page cache may have, of our own doing, a part of a page.
	cached atomic.Bool

	mu sync.Mutex // guards what follows
	// The locks that are held or waited for, in the order of their arrival.
	head, tail *blockLock
	exclusive  int // those of them with a part of their own
	waiting    int
	spare      *blockLock // to use again, linked by next
}

// blockLock is a lock on blocks that is held or waited for.
type blockLock struct {
	holders    int // the call, and its writes that it has abandoned
	all        span
	own        [2]span // parts of all that nobody else may touch
	held       bool
	ready      chan struct{} // capacity 1: it is held now
	prev, next *blockLock
}

// span is the bytes from one offset up to another.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.from >= s.to }
func (s span) overlaps(t span) bool {
	return s.from < t.to && t.from < s.to && !s.empty() && !t.empty()
}

func (l *blockLock) exclusive() bool { return !l.own[0].empty() || !l.own[1].empty() }

func (l *blockLock) conflicts(m *blockLock) bool {
	return l.own[0].overlaps(m.all) || l.own[1].overlaps(m.all) ||
		m.own[0].overlaps(l.all) || m.own[1].overlaps(l.all)
}

// lock takes all for sharing, and the parts in own for the caller alone. The
// error is that of ctx, which ended before. It allocates only where it waits.
func (ls *blockLocks) lock(ctx context.Context, all span, own [2]span) (*blockLock, error) {
	ls.mu.Lock()
	l := ls.spare
	if l == nil {
		l = new(blockLock)
	} else {
		ls.spare = l.next
	}
	l.holders, l.all, l.own = 1, all, own
	ls.push(l)
	l.held = ls.mayHold(l)
	if l.held {
		ls.mu.Unlock()
		return l, nil
	}
	// Made for each wait: a bubble of testing/synctest may not use the channels of
	// another, and the locks of a file outlive both.
	l.ready = make(chan struct{}, 1)
	ls.waiting++
	ls.mu.Unlock()
	select {
	case <-l.ready:
		return l, nil
	case <-ctx.Done():
		ls.unlock(l)
		return nil, ctx.Err()
	}
}

// keep has a lock that is held stay for one more holder, a write that its call has
// abandoned: who comes later is to find what it has written, and not to be overtaken by it.
func (ls *blockLocks) keep(l *blockLock) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.holders++
	if !l.exclusive() {
		ls.exclusive++
	}
	l.own = [2]span{l.all}
}

// unlock is called by each holder, and by who waits no longer. The last of them
// ends the lock.
func (ls *blockLocks) unlock(l *blockLock) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.holders--; l.holders > 0 {
		return
	}
	behind := l.next
	ls.remove(l)
	if !l.held {
		ls.waiting--
	}
	for m := behind; m != nil && ls.waiting > 0; m = m.next {
		if !m.held && ls.mayHold(m) {
			m.held = true
			ls.waiting--
			m.ready <- struct{}{}
		}
	}
	l.held, l.ready, l.prev, l.next = false, nil, nil, ls.spare
	ls.spare = l
}

// mayHold says whether nobody before l is in its way. Held: mu.
func (ls *blockLocks) mayHold(l *blockLock) bool {
	if ls.exclusive == 0 {
		return true
	}
	for m := l.prev; m != nil; m = m.prev {
		if m.conflicts(l) {
			return false
		}
	}
	return true
}

func (ls *blockLocks) push(l *blockLock) {
	l.prev, l.next = ls.tail, nil
	if ls.tail == nil {
		ls.head = l
	} else {
		ls.tail.next = l
	}
	ls.tail = l
	if l.exclusive() {
		ls.exclusive++
	}
}

func (ls *blockLocks) remove(l *blockLock) {
	if l.prev == nil {
		ls.head = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		ls.tail = l.prev
	} else {
		l.next.prev = l.prev
	}
	if l.exclusive() {
		ls.exclusive--
	}
}

// inode is which file a descriptor is open on, whatever its name.
type inode struct {
	dev, ino uint64
	device   bool // ino is the number of a block device
}

// inodeLocks has the blockLocks of each file that is open, so that several Files
// on one file share them. They live as long as a File has them.
var inodeLocks = struct {
	mu sync.Mutex
	of map[inode]weak.Pointer[blockLocks]
}{of: make(map[inode]weak.Pointer[blockLocks])}

// blockLocks are the locks of the file that f is open on.
func (f *File) blockLocks() *blockLocks {
	f.locksOnce.Do(func() { f.locks = locksOf(f.fd) })
	return f.locks
}

func locksOf(fd int) *blockLocks {
	id, err := inodeOf(fd)
	if err != nil {
		return &blockLocks{} // nothing will come of the I/O either
	}
	inodeLocks.mu.Lock()
	defer inodeLocks.mu.Unlock()
	if ls := inodeLocks.of[id].Value(); ls != nil {
		return ls
	}
	ls := &blockLocks{}
	inodeLocks.of[id] = weak.Make(ls)
	runtime.AddCleanup(ls, forgetLocks, id)
	return ls
}

func forgetLocks(id inode) {
	inodeLocks.mu.Lock()
	defer inodeLocks.mu.Unlock()
	if p, ok := inodeLocks.of[id]; ok && p.Value() == nil { // and not others, made since
		delete(inodeLocks.of, id)
	}
}
