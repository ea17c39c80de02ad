package libaio

import (
	"os"
	"sync"
)

// cacheFD is a second descriptor of a File, without O_DIRECT. The last block of a
// file whose size is no multiple of the block goes through it: with direct I/O the
// whole block would have to be written, and the file would be too long until it is
// cut again. Others could see that, what they have appended meanwhile would be cut
// off with it, and a crash in between would leave it so.
//
// The kernel keeps both ways coherent as long as they do not meet on one page at
// the same time, which the block locks see to: direct I/O on a page that is
// cached writes it back first, and drops it.
type cacheFD struct {
	mu sync.Mutex // guards what follows
	os *os.File   // nil before the first use: closes what is dropped without a Close
	fd int
}

// get opens it, the first time.
func (c *cacheFD) get(f *File) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.os == nil {
		fd, err := openBuffered(f.fd, f.flags)
		if err != nil {
			return -1, err
		}
		c.os, c.fd = os.NewFile(uintptr(fd), f.name), fd
	}
	return c.fd, nil
}

func (c *cacheFD) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.os != nil {
		_ = c.os.Close() // the next fsync has what is wrong with the data
		c.os = nil
	}
}

// writeCached writes through the page cache.
func (f *File) writeCached(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	fd, err := f.cache.get(f)
	if err != nil {
		e := f.failure("pwrite", off, len(p), err)
		e.Detail = "a block that the file ends in is written through the page cache, and the descriptor for that could not be opened by way of /proc/self/fd"
		return 0, e
	}
	f.locks.cached.Store(true)
	n, err := writeFD(fd, p, off)
	return n, f.outcome("pwrite", off, len(p), n, err)
}
