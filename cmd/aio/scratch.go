package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/golibaio/libaio"
	"golang.org/x/sys/unix"
)

// scratch is the file that a run makes for itself and removes at its end.
type scratch struct {
	path string
	made os.FileInfo // to remove nothing but the file that was made
}

// newScratch makes an empty file. It never takes one that exists.
func newScratch(path string, size int64) (*scratch, error) {
	if err := checkSpace(path, size); err != nil {
		return nil, err
	}
	// Without O_DIRECT: where that is refused, open(2) fails and yet leaves
	// the file that it made.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, explainCreate(path, err)
	}
	made, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return &scratch{path: path, made: made}, nil
}

// checkSpace compares the size with what is free for this user.
func checkSpace(path string, size int64) error {
	dir := filepath.Dir(path)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return explainCreate(path, err)
	}
	if st.Blocks == 0 {
		return nil // a file system such as ramfs does not tell
	}
	if free := st.Bavail * uint64(st.Bsize); uint64(size) > free {
		return fmt.Errorf("not enough space in %s: --size is %s, free are %s; lower --size, or put --file on another file system",
			dir, humanize.IBytes(uint64(size)), humanize.IBytes(free))
	}
	return nil
}

func explainCreate(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%s exists, and aio bench overwrites nothing: name a file that does not exist with --file, or remove this one: %w", path, err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		return fmt.Errorf("no permission to make %s: name a file with --file in a directory that you may write to: %w", path, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no directory %s: make it, or name a file with --file in one that exists: %w", filepath.Dir(path), err)
	}
	return fmt.Errorf("cannot make %s: %w", path, explainSpace(err))
}

// explainSpace adds what to do to an error that says that the disk is full.
func explainSpace(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the file system is full: lower --size, or put --file on another: %w", err)
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("the disk quota is used up: lower --size, or put --file on another file system: %w", err)
	case errors.Is(err, unix.EFBIG):
		return fmt.Errorf("the file would be larger than the file system or ulimit -f allows: lower --size: %w", err)
	}
	return err
}

// open opens the file for direct I/O.
func (s *scratch) open() (*libaio.File, error) {
	f, err := libaio.OpenFile(s.path, os.O_RDWR, 0)
	if errors.Is(err, libaio.ErrNoDirectIO) {
		return nil, fmt.Errorf("the file system of %s has no direct I/O: put --file on ext4, xfs or btrfs: %w", s.path, err)
	}
	if err != nil {
		return nil, err
	}
	if a := f.Alignment(); a.Known() && blockSize%a.Offset != 0 {
		f.Close()
		return nil, fmt.Errorf("direct I/O on %s demands multiples of %d bytes, and aio bench reads blocks of %d: put --file on another device",
			s.path, a.Offset, blockSize)
	}
	return f, nil
}

// remove removes the file, if its name still stands for what newScratch made.
func (s *scratch) remove() error {
	now, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil && !os.SameFile(now, s.made):
		return fmt.Errorf("%s was replaced during the run and is left as it is", s.path)
	case err == nil:
		err = os.Remove(s.path)
	}
	if err != nil {
		return fmt.Errorf("remove %s by hand: %w", s.path, err)
	}
	return nil
}
