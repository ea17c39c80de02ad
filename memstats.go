package libaio

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// MemoryStats counts the memory that this package has from the system for
// Buffers, idle Buffers in Pools included. Freed blocks that wait for the next
// Alloc, as MapThreshold tells, are not.
type MemoryStats struct {
	Buffers int64 // blocks
	Bytes   int64 // their sizes
}

// LabelStats is the memory of one label.
type LabelStats struct {
	Label string
	Live  MemoryStats // now
	Peak  MemoryStats // the most there was, of each by itself
}

// Memory returns what is allocated now. Safe for any number of goroutines.
func Memory() MemoryStats { return memory.now() }

// PeakMemory returns the most that was allocated at a time, of blocks and of
// bytes each by itself. Safe for any number of goroutines.
func PeakMemory() MemoryStats { return memory.most() }

// MemoryByLabel returns what is allocated under each label that was ever used,
// in the order of the labels. What has no label is the difference to Memory.
// Safe for any number of goroutines.
func MemoryByLabel() []LabelStats {
	var all []LabelStats
	for label, a := range *accounts.Load() {
		all = append(all, LabelStats{label, a.now(), a.most()})
	}
	slices.SortFunc(all, func(a, b LabelStats) int { return cmp.Compare(a.Label, b.Label) })
	return all
}

// account counts blocks and bytes.
type account struct {
	buffers, bytes gauge
	home           home // of small blocks under a label
}

// gauge is a number and the most it was.
type gauge struct{ live, peak atomic.Int64 }

func (g *gauge) add(n int64) { g.raise(g.live.Add(n)) }

// raise is what the number was.
func (g *gauge) raise(now int64) {
	for {
		peak := g.peak.Load()
		if now <= peak || g.peak.CompareAndSwap(peak, now) {
			return
		}
	}
}

func (a *account) now() MemoryStats { return MemoryStats{a.buffers.live.Load(), a.bytes.live.Load()} }

func (a *account) most() MemoryStats { return MemoryStats{a.buffers.peak.Load(), a.bytes.peak.Load()} }

func (a *account) add(size int) {
	a.buffers.add(1)
	a.bytes.add(int64(size))
}

func (a *account) remove(size int) {
	a.buffers.live.Add(-1)
	a.bytes.live.Add(-int64(size))
}

var (
	memory account // of all

	// The accounts by label. The map is replaced under accountsMu and never
	// changed, so that looking one up takes no lock.
	accounts   atomic.Pointer[map[string]*account]
	accountsMu sync.Mutex
)

func init() { accounts.Store(&map[string]*account{}) }

// labelled is the account of a label, nil for "".
func labelled(label string) *account {
	if label == "" {
		return nil
	}
	if a := (*accounts.Load())[label]; a != nil {
		return a
	}
	accountsMu.Lock()
	defer accountsMu.Unlock()
	old := *accounts.Load()
	if a := old[label]; a != nil {
		return a
	}
	all := make(map[string]*account, len(old)+1)
	for l, a := range old {
		all[l] = a
	}
	a := new(account)
	a.home.label = a
	all[label] = a
	accounts.Store(&all)
	return a
}

// count adds a block; label may be nil.
func count(label *account, size int) {
	memory.add(size)
	if label != nil {
		label.add(size)
	}
}

// uncount takes back what count added.
func uncount(label *account, size int) {
	memory.remove(size)
	if label != nil {
		label.remove(size)
	}
}
