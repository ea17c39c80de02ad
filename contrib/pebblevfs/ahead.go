package pebblevfs

import (
	"errors"
	"io"

	"github.com/golibaio/libaio"
)

// maxSkip is the most bytes that are read and thrown away to stay with a stream:
// as many as it has in flight.
const maxSkip = 1 << 20

// ahead reads a file from the front to the back with several requests in
// flight. Reads that go forward are served from the stream, others from the
// file.
type ahead struct {
	r      *libaio.Reader
	pos    int64 // of r
	writes int64 // of the node that were in the file before r was made
}

// readAt reads, behind writes of the node that are in the file.
func (a *ahead) readAt(f *file, p []byte, off, writes int64) (int, error) {
	if len(p) == 0 || a.r != nil && off < a.pos {
		return f.File.ReadAt(p, off)
	}
	if err := a.seek(f, off, writes); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(a.r, p)
	a.pos += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF // as io.ReaderAt has it
	}
	return n, err
}

// seek has the stream stand at an offset, and not be older than these writes.
func (a *ahead) seek(f *file, off, writes int64) error {
	if a.r != nil && (off-a.pos > maxSkip || a.writes != writes) {
		if err := a.close(); err != nil {
			return err
		}
	}
	if a.r == nil {
		a.writes = writes
		r, err := libaio.NewReader(f.File, &libaio.ReaderOptions{Offset: off})
		if err != nil {
			return err
		}
		a.r, a.pos = r, off
	}
	n, err := io.CopyN(io.Discard, a.r, off-a.pos)
	a.pos += n
	return err
}

func (a *ahead) close() error {
	if a.r == nil {
		return nil
	}
	err := a.r.Close()
	a.r = nil
	return err
}
