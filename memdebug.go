//go:build linux && aiodebug

package libaio

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// This file is the debug mode of memory: see Leaks.

const (
	debugMemory = true
	guardSize   = 1 // byte, which is a page

	poison = 0xDB // what is freed is filled with this
	canary = 0xCA // and what lies between a page and the Buffer with this

	// Freed mappings are kept up to these, so that their addresses are not used
	// for something else.
	quarantineBlocks = 1024
	quarantineBytes  = 256 << 20
)

// memoryRecord is what is known of a Buffer. It does not refer to that, so that
// the collector can find it.
type memoryRecord struct {
	number uint64
	size   int
	label  string
	mem    uintptr
	m      *mapping

	// Guarded by debugging.mu.
	state     recordState
	lost      bool
	allocated []uintptr // the stack of Alloc, or the last Get
	freed     []uintptr // that of Free, Put or Release; nil while in use
	fault     int       // what faultName returned
}

type recordState int

const (
	recordInUse recordState = iota
	recordIdle
	recordFreed
)

// debugging is the registry. Its mutex is taken last of all.
var debugging struct {
	mu         sync.Mutex
	numbers    uint64
	records    map[uintptr]*memoryRecord // by m.base
	quarantine []*memoryRecord           // oldest first
	kept       int                       // bytes in quarantine
}

// report tells of a misuse that is no error of a call.
var report = func(text string) { fmt.Fprint(os.Stderr, text) }

func (b *Buffer) mapping() *mapping {
	if b.home.own != nil {
		return b.home.own
	}
	return b.home.arena.memory
}

// debugAlloc begins the record of a new Buffer.
func debugAlloc(b *Buffer) {
	m := b.mapping()
	r := &memoryRecord{size: b.room, mem: b.address(), m: m, allocated: callers(), fault: -1}
	for label, a := range *accounts.Load() {
		if a == b.home.label {
			r.label = label
		}
	}
	before, behind := r.gaps()
	fillWith(before, canary)
	fillWith(behind, canary)
	b.home.debug = r
	debugging.mu.Lock()
	if debugging.records == nil {
		debugging.records = make(map[uintptr]*memoryRecord)
	}
	debugging.numbers++
	r.number = debugging.numbers
	debugging.records[uintptr(m.base)] = r
	r.name()
	debugging.mu.Unlock()
	runtime.AddCleanup(b, lostBuffer, r)
}

// gaps is what of the pages lies before the Buffer, as its end is where the
// guard page is, and what behind it, for the sake of the alignment.
func (r *memoryRecord) gaps() (before, behind []byte) {
	all := r.m.bytes(r.m.base, r.m.length)
	at := int(r.mem - uintptr(r.m.base))
	return all[:at], all[at+r.size:]
}

func fillWith(p []byte, c byte) {
	for i := range p {
		p[i] = c
	}
}

// debugFree ends the record of a Buffer whose mapping goes next.
func debugFree(b *Buffer) {
	r := b.home.debug
	debugging.mu.Lock()
	wasIdle := r.state == recordIdle
	r.state = recordFreed
	if !wasIdle { // whose freed tells where it was put back
		r.freed = callers()
	}
	r.name()
	debugging.mu.Unlock()
	if !wasIdle {
		r.poison()
	}
}

// poison fills the Buffer, and checks what lies around it.
func (r *memoryRecord) poison() {
	before, behind := r.gaps()
	for where, gap := range map[string][]byte{"before": before, "behind": behind} {
		if bytes.Count(gap, []byte{canary}) != len(gap) {
			debugging.mu.Lock()
			text := r.describe()
			debugging.mu.Unlock()
			report("libaio: somebody wrote " + where + " the bytes of " + text)
			fillWith(gap, canary)
		}
	}
	fillWith(r.m.bytes(unsafe.Add(r.m.base, int(r.mem-uintptr(r.m.base))), r.size), poison)
}

// debugKeep makes a freed mapping fault, and keeps it in place of an older one.
func debugKeep(m *mapping) bool {
	m.unlock(m.base, m.length)
	m.protect(true)
	debugging.mu.Lock()
	defer debugging.mu.Unlock()
	r := debugging.records[uintptr(m.base)]
	if r == nil {
		return false
	}
	debugging.quarantine = append(debugging.quarantine, r)
	debugging.kept += m.length
	for len(debugging.quarantine) > quarantineBlocks || debugging.kept > quarantineBytes {
		old := debugging.quarantine[0]
		debugging.quarantine = debugging.quarantine[1:]
		debugging.kept -= old.m.length
		delete(debugging.records, uintptr(old.m.base))
		faultForget(old.fault)
		old.m.munmap()
	}
	return true
}

// debugIdle makes a Buffer that goes into its Pool fault.
func debugIdle(b *Buffer) {
	r := b.home.debug
	r.poison()
	r.m.protect(true)
	debugging.mu.Lock()
	r.state, r.freed = recordIdle, callers()
	r.name()
	debugging.mu.Unlock()
	b.pool.mu.Lock()
	b.home.arena.bufs[0] = b
	b.pool.mu.Unlock()
}

// debugTake is the reverse of debugIdle. The Pool lets go of the Buffer, so that
// the collector can find it.
func debugTake(b *Buffer) {
	r := b.home.debug
	b.pool.mu.Lock()
	b.home.arena.bufs[0] = nil
	b.pool.mu.Unlock()
	r.m.protect(false)
	debugging.mu.Lock()
	r.state, r.allocated, r.freed = recordInUse, callers(), nil
	r.name()
	debugging.mu.Unlock()
}

// lostBuffer is what the collector calls when a Buffer is gone.
func lostBuffer(r *memoryRecord) {
	debugging.mu.Lock()
	text := ""
	if r.state != recordFreed {
		r.lost = true
		text = "libaio: the collector found, unfreed, " + r.describe()
	}
	debugging.mu.Unlock()
	if text != "" {
		report(text)
	}
}

// describe is all that is known of the Buffer. Held: debugging.mu.
func (r *memoryRecord) describe() string {
	s := fmt.Sprintf("Buffer #%d of %d bytes at %#x", r.number, r.size, r.mem)
	if r.label != "" {
		s += fmt.Sprintf(" (%s)", r.label)
	}
	switch r.state {
	case recordInUse:
		s += ", in use"
	case recordIdle:
		s += ", put back into its Pool"
	case recordFreed:
		s += ", freed"
	}
	s += "\nallocated by:\n" + stack(r.allocated)
	if r.freed != nil {
		s += "freed by:\n" + stack(r.freed)
	}
	return s
}

// name has a fault in the pages of the Buffer, and in those around them, say
// what was touched. Held: debugging.mu.
func (r *memoryRecord) name() {
	guard := uintptr(roundUp(guardSize, pageSize))
	from, to := uintptr(r.m.base)-guard, uintptr(r.m.base)+uintptr(r.m.length)+guard
	text := "a touch after the end of the life of "
	if r.state == recordInUse {
		text = "a touch outside the bytes of "
	}
	r.fault = faultName(r.fault, from, to, "\nlibaio: "+text+r.describe()+"\n")
}

func debugDescribe(b *Buffer) string {
	if b.home == nil || b.home.debug == nil {
		return ""
	}
	debugging.mu.Lock()
	defer debugging.mu.Unlock()
	return b.home.debug.describe()
}

func debugDescribeAddress(addr uintptr) string {
	guard := uintptr(roundUp(guardSize, pageSize))
	debugging.mu.Lock()
	defer debugging.mu.Unlock()
	for base, r := range debugging.records {
		if base-guard <= addr && addr < base+uintptr(r.m.length)+guard {
			return r.describe()
		}
	}
	return ""
}

func debugLeaks() []Leak {
	debugging.mu.Lock()
	defer debugging.mu.Unlock()
	var all []Leak
	for _, r := range debugging.records {
		if r.state == recordInUse {
			all = append(all, Leak{r.number, r.size, r.label, stack(r.allocated), r.lost})
		}
	}
	slices.SortFunc(all, func(a, b Leak) int { return cmp.Compare(a.Buffer, b.Buffer) })
	return all
}

// callers is the stack of who called the package, or what of it is near.
func callers() []uintptr {
	pcs := make([]uintptr, 24)
	return pcs[:runtime.Callers(3, pcs)]
}

func stack(pcs []uintptr) string {
	var s strings.Builder
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&s, "\t%s\n\t\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return s.String()
		}
	}
}
