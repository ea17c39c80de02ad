// Package raftwalvfs runs the write-ahead log of hashicorp/raft-wal on direct I/O:
// a [types.VFS] whose segments are files of package libaio.
//
//	log, err := wal.Open(dir, wal.WithSegmentFiler(segment.NewFiler(dir, raftwalvfs.New(nil))))
package raftwalvfs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/golibaio/libaio"
	"github.com/hashicorp/raft-wal/types"
)

// VFS is a types.VFS over direct I/O. It is safe for any number of goroutines,
// and so are its files.
type VFS struct{ opts libaio.FileOptions }

var _ types.VFS = (*VFS)(nil)

// New returns a VFS. nil options mean those of libaio: the default queue, and an
// error where the file system has no direct I/O.
func New(opts *libaio.FileOptions) *VFS {
	v := &VFS{}
	if opts != nil {
		v.opts = *opts
	}
	return v
}

// ListDir returns the names of the files in a folder, sorted.
func (v *VFS) ListDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create makes a file of a size, with space allocated where the file system can,
// or fails with os.ErrExist.
func (v *VFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := libaio.OpenFileWith(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644, &v.opts)
	if err != nil {
		return nil, err
	}
	if err := extend(f, size); err != nil {
		f.Close()
		return nil, err
	}
	return &writable{File: f, dir: dir}, nil
}

func extend(f *libaio.File, size uint64) error {
	if size == 0 {
		return nil
	}
	n := int64(min(size, math.MaxInt64))
	if err := f.Preallocate(0, n); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return f.Truncate(n)
}

// Delete removes a file for good.
func (v *VFS) Delete(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// OpenReader opens a file for reading.
func (v *VFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	f, err := libaio.OpenFileWith(filepath.Join(dir, name), os.O_RDONLY, 0, &v.opts)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenWriter opens a file for reading and writing.
func (v *VFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := libaio.OpenFileWith(filepath.Join(dir, name), os.O_RDWR, 0, &v.opts)
	if err != nil {
		return nil, err
	}
	return &writable{File: f, dir: dir}, nil
}

// writable is a segment that is written to. The first Sync makes its name
// durable too, so that Create need not.
type writable struct {
	*libaio.File
	dir   string
	named atomic.Bool
}

// Sync has all that was written, and the name of the file, reach stable storage.
func (w *writable) Sync() error {
	if err := w.Datasync(); err != nil {
		return err
	}
	if w.named.Load() {
		return nil
	}
	if err := syncDir(w.dir); err != nil {
		return err
	}
	w.named.Store(true)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
