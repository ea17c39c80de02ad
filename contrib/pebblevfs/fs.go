package pebblevfs

import (
	"errors"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golibaio/libaio"
)

// Options are the choices of New. The zero value means the defaults.
type Options struct {
	// Queue does the I/O of all files. nil: libaio.DefaultQueue. It must stay
	// open as long as the database.
	Queue *libaio.Queue

	// Buffered says that files are opened all the same where the file system
	// has no direct I/O. Without it opening them fails with
	// libaio.ErrNoDirectIO.
	Buffered bool
}

// FS is a vfs.FS over direct I/O, for pebble.Options.FS. Its methods, and those
// of its files, are safe for any number of goroutines. It holds nothing that
// would have to be closed.
type FS struct {
	vfs.FS // names, folders, links and locks

	opts  libaio.FileOptions
	nodes nodes
}

var _ vfs.FS = (*FS)(nil)

// New returns an FS. nil options mean the defaults.
func New(opts *Options) *FS {
	fs := &FS{FS: vfs.Default}
	if opts != nil {
		fs.opts = libaio.FileOptions{Queue: opts.Queue, Buffered: opts.Buffered}
	}
	return fs
}

// Create makes a file for reading and writing. One of that name is removed
// before, so that other names of it keep its contents.
func (fs *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	for {
		f, err := fs.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

// Open opens a file for reading. With vfs.SequentialReadsOption it reads ahead.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.open(name, os.O_RDONLY, opts...)
	if errors.Is(err, libaio.ErrNoDirectIO) && isFolder(name) {
		return fs.OpenDir(name)
	}
	return f, err
}

// OpenReadWrite opens a file for reading and writing, and makes it where there is
// none.
func (fs *FS) OpenReadWrite(
	name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption,
) (vfs.File, error) {
	return fs.open(name, os.O_RDWR|os.O_CREATE, opts...)
}

// ReuseForWrite gives a file a new name and opens it for writing over its old
// contents.
func (fs *FS) ReuseForWrite(
	oldname, newname string, _ vfs.DiskWriteCategory,
) (vfs.File, error) {
	if err := fs.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return fs.open(newname, os.O_RDWR|os.O_CREATE)
}

// Stat describes a file, with what its handles have written so far.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	n := fs.nodes.find(info)
	if n == nil {
		return info, nil
	}
	if err := n.flush(); err != nil {
		return nil, err
	}
	return fs.FS.Stat(name)
}

func (fs *FS) open(name string, flag int, opts ...vfs.OpenOption) (vfs.File, error) {
	lf, err := libaio.OpenFileWith(name, flag|syscall.O_CLOEXEC, 0o666, &fs.opts)
	if err != nil {
		return nil, err
	}
	info, err := lf.Stat()
	if err != nil {
		lf.Close()
		return nil, err
	}
	f := &file{fs: fs, File: lf, node: fs.nodes.get(info)}
	if named, err := fs.FS.Stat(name); err == nil {
		f.device = named.DeviceID()
	}
	for _, o := range opts {
		f.sequential = f.sequential || o == vfs.SequentialReadsOption
	}
	return f, nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
