package libaio

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
)

var (
	_ io.ReadCloser = (*Reader)(nil)
	_ io.WriterTo   = (*Reader)(nil)
)

// Reader reads a File from front to back with several reads in flight ahead of
// the caller, so that a disk is kept busy. It is for one goroutine at a time; any
// number of Readers may be on one File.
type Reader struct {
	f      *File
	ctx    context.Context    // of the reads
	cancel context.CancelFunc // by Close, of those ahead
	reads  sync.WaitGroup
	mem    streamMemory // of all blocks
	blocks []readBlock  // a ring: those that are being read, in their order

	current int    // the block that rest is of
	rest    []byte // what was read and not yet given out
	next    int64  // the offset of the next block to ask for
	end     int64  // up to where to read
	skip    int    // what is in front of the Offset that was asked for
	begun   bool
	err     error // behind rest
}

// readBlock is one block of the file. n and err are written before ready is sent.
type readBlock struct {
	buf   *Buffer
	n     int
	err   error
	ready chan struct{} // capacity 1
}

// ReaderOptions are what NewReader may be told. The zero value, and a nil pointer,
// mean the defaults.
type ReaderOptions struct {
	// Context ends the reading: Read and WriteTo then have its error, after what
	// was read before. nil means one that never ends.
	Context context.Context
	// Offset is where to begin, in bytes.
	Offset int64
	// Length is how much to read at most, in bytes. 0 means up to the end of the
	// file.
	Length int64
	// BlockSize is how much one operation reads, in bytes: up to 1 GiB, rounded
	// up to what direct I/O takes. 0 means 256 KiB.
	BlockSize int
	// Depth is how many reads are in flight, up to 1024, or fewer where there is less
	// to read. 0 means 4. The Queue of the File should have room for them.
	Depth int
}

// NewReader makes a Reader of f, with memory for Depth blocks in one Buffer, or for
// those up to the Length or the end that the file has now, where these are fewer. The
// first Read or WriteTo begins to read ahead. Close it when done; f must stay open until
// then, and does after it.
func NewReader(f *File, opts *ReaderOptions) (*Reader, error) {
	r := new(Reader)
	if err := r.Reset(f, opts); err != nil {
		return nil, err
	}
	return r, nil
}

// Reset has r, which may be the zero value or closed, read f as if NewReader had made
// it. It waits for the reads that are under way, whatever the Context of opts says; Close
// does not, but gives the memory back. The File from before may be closed then.
//
// The memory is used again where it is enough, and grows where it is not: for many files
// that are read one after the other that saves the system from clearing it for each.
// Close gives it back. After an error r is what it was.
func (r *Reader) Reset(f *File, opts *ReaderOptions) error {
	if r == nil {
		return errZeroReader
	}
	var o ReaderOptions
	if opts != nil {
		o = *opts
	}
	size, depth, err := streamShape("reader", f, o.Offset, o.BlockSize, o.Depth)
	if err != nil {
		return err
	}
	if o.Length < 0 || o.Length > math.MaxInt64-o.Offset {
		return invalidf("reader", "Length %d from Offset %d on: must be 0, for the rest of the file, or more, and end within the largest file offset", o.Length, o.Offset)
	}
	first, end := roundDown(o.Offset, f.block()), int64(math.MaxInt64)
	if o.Length > 0 {
		end = o.Offset + o.Length
	}
	depth = int(min(int64(depth), blocksTo(f, first, end, int64(size))))
	r.reads.Wait()
	bufs, err := r.mem.split(f, depth, size)
	if err != nil {
		return err
	}
	if r.cancel != nil {
		r.cancel()
	}
	*r = Reader{f: f, mem: r.mem, blocks: make([]readBlock, depth), next: first, end: end, skip: int(o.Offset - first)}
	r.ctx, r.cancel = orBackground(o.Context), func() {}
	if r.ahead() {
		r.ctx, r.cancel = context.WithCancel(r.ctx)
	}
	for i := range r.blocks {
		r.blocks[i] = readBlock{buf: bufs[i], ready: make(chan struct{}, 1)}
	}
	return nil
}

// blocksTo is how many blocks of this size there are to read from first up to end, or up
// to where the file ends, by now, and one for who finds that out.
func blocksTo(f *File, first, end, size int64) int64 {
	if now, err := f.Size(); err == nil && now > 0 { // 0 says nothing, of a character device
		end = min(end, max(first, min(now, math.MaxInt64-1))+1)
	}
	return (end-first-1)/size + 1
}

var errZeroReader error = invalidf("reader", "the Reader is nil, or was not made by NewReader or Reset")

// Read is that of [io.Reader]. io.EOF is for good, also where the file grows
// later.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes the rest of the file to w, without a copy in between; see
// [io.WriterTo]. w must not keep or change what it is given.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var done int64
	for {
		switch err := r.fill(); {
		case err == io.EOF:
			return done, nil
		case err != nil:
			return done, err
		}
		n, err := w.Write(r.rest)
		if n < 0 || n > len(r.rest) {
			return done, invalidf("reader", "Write of the io.Writer returned %d for %d bytes", n, len(r.rest))
		}
		if err == nil && n < len(r.rest) {
			err = io.ErrShortWrite
		}
		done += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return done, err
		}
	}
}

// fill waits until there is a rest, or says why there is none.
func (r *Reader) fill() error {
	for r == nil || len(r.rest) == 0 {
		switch {
		case r == nil || r.f == nil:
			return errZeroReader
		case r.err != nil:
			return r.err
		case !r.begun:
			r.begun = true
			for i := range r.blocks {
				r.ask(i)
			}
		default:
			r.ask(r.current)
			r.current = (r.current + 1) % len(r.blocks)
		}
		b := &r.blocks[r.current]
		<-b.ready
		r.err = b.err
		if ended := r.ctx.Err(); ended != nil && errors.Is(b.err, ended) {
			r.err = &Error{Op: "reader", File: r.f.name, Err: ended, Detail: "the Context of the Reader has ended"}
		}
		r.rest = b.buf.slice()[min(r.skip, b.n):b.n]
		r.skip = 0
	}
	return nil
}

// ask begins to read the next block of the file.
func (r *Reader) ask(i int) {
	b, off := &r.blocks[i], r.next
	if off >= r.end {
		b.n, b.err = 0, io.EOF
		b.ready <- struct{}{}
		return
	}
	r.next += int64(b.buf.size)
	if r.ahead() {
		r.reads.Go(func() { r.load(b, off) })
	} else {
		r.load(b, off)
	}
}

// ahead says whether any block is read before it is waited for. Of a single one the
// caller would only wait for a goroutine that waits.
func (r *Reader) ahead() bool { return len(r.blocks) > 1 }

// load reads a block.
func (r *Reader) load(b *readBlock, off int64) {
	b.n, b.err = r.read(b.buf, off)
	b.ready <- struct{}{}
}

// read reads a block, and no more of it than the blocks of the file up to the end.
func (r *Reader) read(b *Buffer, off int64) (int, error) {
	left := r.end - off
	if left >= int64(b.size) {
		return r.f.ReadBuffer(r.ctx, b, off)
	}
	part, err := b.Slice(0, int(roundUp(left, r.f.block())))
	if err != nil {
		return 0, err
	}
	n, err := r.f.ReadBuffer(r.ctx, part, off)
	if int64(n) >= left {
		n, err = int(left), io.EOF
	}
	return n, err
}

// Close ends the reading ahead and gives the memory back. Read and WriteTo have
// ErrClosed afterwards. It waits for the kernel only where pread(2) does the work
// (see [File.ReadAtContext]). A second Close does nothing.
func (r *Reader) Close() error {
	if r == nil || r.f == nil {
		return errZeroReader
	}
	r.cancel()
	r.reads.Wait()
	r.mem.release()
	r.rest = nil
	r.err = &Error{Op: "reader", File: r.f.name, Err: ErrClosed, Detail: "the Reader is closed"}
	return nil
}
