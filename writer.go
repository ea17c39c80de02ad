package libaio

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
)

var (
	_ io.WriteCloser = (*Writer)(nil)
	_ io.ReaderFrom  = (*Writer)(nil)
)

// Writer writes a File from front to back with several writes in flight behind
// the caller, so that a disk is kept busy. It is for one goroutine at a time. Sync
// and Datasync of the File may run while Write does; Flush may not.
//
// The writes in flight end in any order: until Flush or Close has returned without
// an error, parts of what was written may be in the file and others before them
// not. The first error is for good: all later calls return it, up to Reset.
type Writer struct {
	f     *File
	ctx   context.Context // of the writes
	mem   streamMemory    // of all blocks
	idle  chan *Buffer    // those that are not being written
	buf   *Buffer         // what is being filled, nil before the first byte
	n     int             // bytes in it
	limit int             // up to where it is filled
	off   int64           // its place in the file
	depth int

	writes  sync.WaitGroup
	mu      sync.Mutex // guards what follows
	writing int        // goroutines that write
	next    fullBlock  // that all of them are too busy for
	err     error
	closed  bool
}

// fullBlock is what is to be written. The zero value is none.
type fullBlock struct {
	buf *Buffer
	n   int // bytes in it
	off int64
}

// WriterOptions are what NewWriter may be told. The zero value, and a nil pointer,
// mean the defaults.
type WriterOptions struct {
	// Context ends the writing: all calls then have its error. Whether what is in
	// flight at that moment was written is not known. nil means one that never
	// ends.
	Context context.Context
	// Offset is where to begin, in bytes: 0 unless told, so for a log that is
	// opened again give its [File.Size].
	Offset int64
	// BlockSize is how much one operation writes, in bytes: up to 1 GiB, rounded
	// up to what direct I/O takes. 0 means 256 KiB.
	BlockSize int
	// Depth is how many writes are in flight, up to 1024. 0 means 4. The Queue of
	// the File should have room for them.
	Depth int
}

// NewWriter makes a Writer of f, with memory for Depth+1 blocks in one Buffer. Close
// it when done; f must stay open until then, and does after it.
//
// A file that grows is written one operation at a time by some file systems. Where
// the size is known, [File.Preallocate] and [File.Truncate] to it first. For a log
// that is flushed record by record leave out the Truncate: behind the end a part
// of a block goes through the page cache, within the file it costs a read and a
// write. Fill whole blocks where you can.
func NewWriter(f *File, opts *WriterOptions) (*Writer, error) {
	w := new(Writer)
	if err := w.Reset(f, opts); err != nil {
		return nil, err
	}
	return w, nil
}

// Reset has w, which may be the zero value or closed, write f as if NewWriter had made
// it. Flush before: of what is not flushed full blocks are written, the last one is not,
// and an error of theirs is forgotten. Reset waits for the writes that are under way,
// as Close does; the File from before may be closed then.
//
// The memory is used again where it is enough, and grows where it is not: for many files
// that are written one after the other that saves the system from clearing it for each.
// Close gives it back. After an error w is what it was.
func (w *Writer) Reset(f *File, opts *WriterOptions) error {
	if w == nil {
		return errZeroWriter
	}
	var o WriterOptions
	if opts != nil {
		o = *opts
	}
	switch {
	case f == nil || !f.made: // as streamShape says
	case !f.writable():
		return &Error{Op: "writer", File: f.name, Err: syscall.EBADF, Detail: f.onlyFor(true)}
	case f.appends():
		return invalidf("writer", "the file is open with O_APPEND, which ignores offsets: open it without")
	}
	size, depth, err := streamShape("writer", f, o.Offset, o.BlockSize, o.Depth)
	if err != nil {
		return err
	}
	w.writes.Wait()
	bufs, err := w.mem.split(f, depth+1, size)
	if err != nil {
		return err
	}
	w.f, w.ctx, w.buf, w.off, w.depth = f, orBackground(o.Context), nil, o.Offset, depth
	w.idle = make(chan *Buffer, len(bufs))
	for _, b := range bufs {
		w.idle <- b
	}
	w.err, w.closed = nil, false
	return nil
}

// Write takes p, which it copies, and waits while Depth blocks are in flight. See
// [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for {
		if err := w.failed(); err != nil {
			return done, err
		}
		if done == len(p) {
			return done, nil
		}
		room, err := w.room()
		if err != nil {
			return done, err
		}
		n := copy(room, p[done:])
		done += n
		w.filled(n)
	}
}

// ReadFrom writes what r gives until its io.EOF, without a copy in between. See
// [io.ReaderFrom].
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var done int64
	for idle := 0; ; {
		if err := w.failed(); err != nil {
			return done, err
		}
		room, err := w.room()
		if err != nil {
			return done, err
		}
		n, err := r.Read(room)
		if n < 0 || n > len(room) {
			return done, invalidf("writer", "Read of the io.Reader returned %d for %d bytes", n, len(room))
		}
		done += int64(n)
		w.filled(n)
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF:
			return done, w.failed()
		case err != nil:
			return done, err
		case idle == maxIdleReads:
			return done, io.ErrNoProgress
		}
	}
}

// maxIdleReads is how often a reader may return neither bytes nor an error.
const maxIdleReads = 100

// room is where the next bytes go, at least one. The end of a block in the file
// is the end of a block here.
func (w *Writer) room() ([]byte, error) {
	if w.buf == nil {
		b := <-w.idle
		if err := w.failed(); err != nil { // the kernel may have b yet
			w.idle <- b
			return nil, err
		}
		w.buf, w.n = b, 0
		w.limit = b.size - int(w.off%w.f.block())
	}
	return w.buf.slice()[w.n:w.limit], nil
}

// filled says that n more bytes are there, and sends the block if it is full.
func (w *Writer) filled(n int) {
	w.n += n
	if w.n < w.limit {
		return
	}
	w.send(w.take(w.limit))
}

// take takes the block with its first n bytes.
func (w *Writer) take(n int) fullBlock {
	full := fullBlock{w.buf, n, w.off}
	w.buf, w.off = nil, w.off+int64(n)
	return full
}

// send has a block written. While Depth are being written it is the next: there are
// no more Buffers than that.
func (w *Writer) send(full fullBlock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing == w.depth {
		w.next = full
		return
	}
	w.writing++
	w.writes.Go(func() { w.writeOn(full) })
}

// writeOn writes a block, and then the next, for which nobody need be woken.
func (w *Writer) writeOn(full fullBlock) {
	for full.buf != nil {
		w.write(full)
		idle := full.buf
		full = w.takeNext() // before there is a Buffer for another one
		w.idle <- idle
	}
}

// takeNext is the next block. Where there is none the caller writes no more.
func (w *Writer) takeNext() fullBlock {
	w.mu.Lock()
	defer w.mu.Unlock()
	full := w.next
	w.next = fullBlock{}
	if full.buf == nil {
		w.writing--
	}
	return full
}

// write writes a block.
func (w *Writer) write(full fullBlock) {
	var err error
	if b := full.buf; full.n == b.size {
		_, err = w.f.WriteBuffer(w.ctx, b, full.off)
	} else {
		_, err = w.f.WriteAtContext(w.ctx, b.slice()[:full.n], full.off)
	}
	w.fail(err)
}

var errZeroWriter error = invalidf("writer", "the Writer is nil, or was not made by NewWriter or Reset")

// failed is why there is no use in going on.
func (w *Writer) failed() error {
	if w == nil || w.f == nil {
		return errZeroWriter
	}
	w.fail(w.ctx.Err())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return &Error{Op: "writer", File: w.f.name, Err: ErrClosed, Detail: "the Writer is closed"}
	}
	return w.err
}

// fail keeps the first error.
func (w *Writer) fail(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = err
	if ended := w.ctx.Err(); ended != nil && errors.Is(err, ended) {
		w.err = &Error{Op: "writer", File: w.f.name, Err: ended, Detail: "the Context of the Writer has ended: what was in flight may have been written or not"}
	}
}

// Flush writes what is not written yet, in the end the block that is not full, and
// waits for all of it. The file then ends, to the byte, where the last written one
// is, or where it ended before if that is later: nothing is cut off. Nothing is
// durable before [File.Sync] or [File.Datasync]; where that fails the bytes are to be
// written again, as the next one returns nil though they are lost.
func (w *Writer) Flush() error {
	if err := w.failed(); err != nil {
		return err
	}
	w.writes.Wait()
	if err := w.failed(); err != nil || w.buf == nil {
		return err
	}
	last := w.take(w.n)
	w.write(last)
	w.idle <- last.buf
	return w.failed()
}

// Close is Flush, and gives the memory back. f stays open. When the Context has ended
// it waits for what is in flight only as [File.WriteAtContext] does. A second Close
// does nothing.
func (w *Writer) Close() error {
	switch {
	case w == nil || w.f == nil:
		return errZeroWriter
	case w.closed:
		return nil
	}
	err := w.Flush()
	w.writes.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.mem.release()
	w.buf = nil
	return err
}
