package pebblevfs

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golibaio/libaio"
)

// file is a handle. Write goes through the node, which writes behind; all else
// has what was written before go first.
type file struct {
	*libaio.File
	fs         *FS
	node       *node
	device     vfs.DeviceID
	sequential bool // reads ahead

	mu     sync.Mutex // guards what follows
	pos    int64      // of Read and Write
	ahead  ahead
	closed bool
}

var _ vfs.File = (*file)(nil)

// Write writes at the position of the handle, and moves it. p is copied, and
// not changed.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	n, err := f.node.write(f, p, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt writes at an offset, past what is written behind.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return f.node.writeAt(f, p, off)
}

// Read reads at the position of the handle, and moves it.
func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // comes with the next call
	}
	return n, err
}

// ReadAt reads at an offset, as io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if f.sequential {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	return f.readAt(p, off)
}

// readAt reads. Held: mu, if the handle is sequential.
func (f *file) readAt(p []byte, off int64) (int, error) {
	writes := f.node.writes.Load() // all of them are in the file behind flush
	if err := f.node.flush(); err != nil {
		return 0, err
	}
	if f.sequential {
		return f.ahead.readAt(f, p, off, writes)
	}
	return f.File.ReadAt(p, off)
}

// Sync has all that was written reach stable storage, with all metadata.
func (f *file) Sync() error {
	if err := f.node.flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

// SyncData has all that was written reach stable storage.
func (f *file) SyncData() error {
	if err := f.node.flush(); err != nil {
		return err
	}
	return f.File.Datasync()
}

// SyncTo does nothing: what it is for, that data goes to the device before
// there is much of it, happens with direct I/O in any case.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

// Prefetch does nothing: there is no page cache to fetch into.
func (f *file) Prefetch(int64, int64) error { return nil }

// Preallocate allocates space without a change of the size, where the file
// system can.
func (f *file) Preallocate(off, length int64) error {
	err := f.File.Preallocate(off, length)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Stat describes the file.
func (f *file) Stat() (vfs.FileInfo, error) {
	if err := f.node.flush(); err != nil {
		return nil, err
	}
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{FileInfo: info, device: f.device}, nil
}

// Fd is the descriptor.
func (f *file) Fd() uintptr { return uintptr(f.FD()) }

// Close writes out what was written and closes the handle. It does not sync.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	err := f.node.release(f)
	err = first(err, f.ahead.close())
	f.fs.nodes.put(f.node)
	return first(err, f.File.Close())
}

type fileInfo struct {
	os.FileInfo
	device vfs.DeviceID
}

func (i fileInfo) DeviceID() vfs.DeviceID { return i.device }

func first(err, second error) error {
	if err != nil {
		return err
	}
	return second
}
