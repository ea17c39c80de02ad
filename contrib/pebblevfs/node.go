package pebblevfs

import (
	"os"
	"sync"
	"sync/atomic"

	"github.com/golibaio/libaio"
)

// nodeID is what the kernel knows a file by, whatever its names are.
type nodeID struct{ dev, ino uint64 }

// node is what the open handles of one file share: the bytes that were written
// and that the file does not have yet. At most one handle at a time has such
// bytes; when another one wants to write, they are written out before.
type node struct {
	id      nodeID
	handles int // guarded by nodes.mu

	// unwritten is false where flush has nothing to do, and writes counts them:
	// what was read ahead before the last one is old.
	unwritten atomic.Bool
	writes    atomic.Int64

	mu    sync.Mutex     // guards what follows; that of a handle is taken before it
	w     *libaio.Writer // nil: nobody has unwritten bytes
	owner *file          // whose w is
	next  int64          // where w goes on
	err   error          // of a write behind: it fails all that comes after it
}

// nodes are the files that are open.
type nodes struct {
	mu   sync.Mutex // guards the map and the counts of handles
	open map[nodeID]*node
}

// get returns the node of an open file, for one more handle.
func (ns *nodes) get(info os.FileInfo) *node {
	id := idOf(info)
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n := ns.open[id]
	if n == nil {
		if ns.open == nil {
			ns.open = make(map[nodeID]*node)
		}
		n = &node{id: id}
		ns.open[id] = n
	}
	n.handles++
	return n
}

// put ends what get began. It comes before the handle's descriptor is closed:
// behind that the kernel may give the number to another file.
func (ns *nodes) put(n *node) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if n.handles--; n.handles == 0 {
		delete(ns.open, n.id)
	}
}

// find returns the node of a file, nil if it is not open.
func (ns *nodes) find(info os.FileInfo) *node {
	id := idOf(info)
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.open[id]
}

// write takes p for the handle, at an offset. It returns when p is copied.
func (n *node) write(f *file, p []byte, off int64) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.w == nil || n.owner != f || n.next != off {
		n.settle()
		n.start(f, off)
	}
	if n.err != nil {
		return 0, n.err
	}
	n.unwritten.Store(true)
	n.writes.Add(1)
	k, err := n.w.Write(p)
	n.next += int64(k)
	n.note(err)
	return k, err
}

func (n *node) start(f *file, off int64) {
	w, err := libaio.NewWriter(f.File, &libaio.WriterOptions{Offset: off})
	if err != nil {
		n.note(err)
		return
	}
	n.w, n.owner, n.next = w, f, off
}

// flush writes out what is unwritten.
func (n *node) flush() error {
	if !n.unwritten.Load() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.w != nil {
		n.note(n.w.Flush())
	}
	n.unwritten.Store(n.err != nil)
	return n.err
}

// release is flush for a handle that goes away.
func (n *node) release(f *file) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owner == f {
		n.settle()
	}
	return n.err
}

// writeAt writes to the file itself, in order with what was written before.
func (n *node) writeAt(f *file, p []byte, off int64) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.settle()
	if n.err != nil {
		return 0, n.err
	}
	defer n.writes.Add(1)
	return f.File.WriteAt(p, off)
}

// settle writes out what is unwritten and ends the Writer. Held: mu.
func (n *node) settle() {
	if n.w == nil {
		return
	}
	n.note(n.w.Close())
	n.w, n.owner = nil, nil
	n.unwritten.Store(n.err != nil)
}

// note keeps the first error. Held: mu.
func (n *node) note(err error) {
	if n.err == nil {
		n.err = err
	}
}
