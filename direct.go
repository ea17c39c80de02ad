package libaio

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"syscall"
)

// This file makes direct I/O of reads and writes of any offset, length and memory.

// piecesInFlight is how many pieces of one call are in flight at once.
const piecesInFlight = 8

// block is what is locked, and read and written back, where a part of it is to be
// written: what direct I/O takes, and a page at least, as the page cache is kept
// out of the way by pages.
func (f *File) block() int64 { return int64(max(f.align.Offset, pageSize)) }

// blocks is the whole blocks around n bytes.
func (f *File) blocks(off int64, n int) span {
	return span{roundDown(off, f.block()), roundUp(off+int64(n), f.block())}
}

// edges is the blocks of which a write of n bytes changes a part.
func (f *File) edges(off int64, n int) (own [2]span) {
	end, size := off+int64(n), f.block()
	if off%size != 0 {
		own[0] = f.blocks(off, 1)
	}
	if end%size != 0 {
		own[1] = f.blocks(end, 1)
	}
	return own
}

// share takes the blocks of a call that changes whole ones or none.
func (f *File) share(ctx context.Context, op string, off int64, n int) (*blockLock, error) {
	l, err := f.blockLocks().lock(ctx, f.blocks(off, n), [2]span{})
	if err != nil {
		return nil, f.failure(op, off, n, err)
	}
	return l, nil
}

// readWhole reads n bytes with one operation.
func (f *File) readWhole(ctx context.Context, op Op, off int64, n int) (int, error) {
	l, err := f.share(ctx, "pread", off, n)
	if err != nil {
		return 0, err
	}
	defer f.locks.unlock(l)
	got, err := f.do(ctx, op.WithResume())
	if errors.Is(err, syscall.EIO) {
		got, err = f.readAgain(ctx, op, off)
	}
	if err != nil {
		return got, err
	}
	return got, f.outcome("pread", off, n, got, nil)
}

// readAgain reads into the Buffers of an operation piece by piece, as readPiece does,
// which knows what to do about EIO. Held: the blocks.
func (f *File) readAgain(ctx context.Context, op Op, off int64) (int, error) {
	return f.eachBuffer("pread", op, func(p []byte, done int) (int, error) {
		return f.inPieces(ctx, nil, p, off+int64(done), (*File).readPiece)
	})
}

// writeWhole writes n bytes with one operation, unless a block that the file ends in
// is among them.
func (f *File) writeWhole(ctx context.Context, op Op, off int64, n int) (int, error) {
	if f.appends() {
		return 0, f.appending(off, n)
	}
	l, err := f.lockToWrite(ctx, off, n)
	if err != nil {
		return 0, err
	}
	defer f.locks.unlock(l)
	if l.exclusive() {
		size, err := sizeOf(f.fd)
		if err != nil {
			return 0, f.failure("pwrite", off, n, err)
		}
		if f.directPart(off, n, size) != (span{off, off + int64(n)}) {
			return f.writeInParts(ctx, l, op, off)
		}
	}
	got, err := f.do(ctx, op.WithResume().under(l))
	if err != nil {
		return got, err
	}
	return got, f.outcome("pwrite", off, n, got, nil)
}

// writeInParts writes the Buffers of an operation as WriteAt does. Held: the blocks.
func (f *File) writeInParts(ctx context.Context, l *blockLock, op Op, off int64) (int, error) {
	return f.eachBuffer("pwrite", op, func(p []byte, done int) (int, error) {
		return f.writeParts(ctx, l, p, off+int64(done))
	})
}

// eachBuffer calls move for the memory of each Buffer of an operation, until one
// comes out short or fails.
func (f *File) eachBuffer(name string, op Op, move func(p []byte, done int) (int, error)) (int, error) {
	bufs := op.bufs
	if op.buf != nil {
		bufs = []*Buffer{op.buf}
	}
	done := 0
	for _, b := range bufs {
		if err := f.hold(name, b); err != nil {
			return done, err
		}
		n, err := move(b.slice(), done)
		b.drop()
		done += n
		if err != nil || n < b.size {
			return done, err
		}
	}
	return done, nil
}

// read is ReadAt.
func (f *File) read(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case !f.direct:
		n, err := readFD(f.fd, p, off)
		return n, f.outcome("pread", off, len(p), n, err)
	}
	l, err := f.share(ctx, "pread", off, len(p))
	if err != nil {
		return 0, err
	}
	defer f.locks.unlock(l)
	n, err := f.inPieces(ctx, nil, p, off, (*File).readPiece)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// readPiece reads what fits into one bounce Buffer: less than p at the end of the
// file.
func (f *File) readPiece(ctx context.Context, _ *blockLock, p []byte, off int64) (int, error) {
	unit := int64(f.align.Offset)
	from, to := roundDown(off, unit), roundUp(off+int64(len(p)), unit)
	b, err := f.bounce(int(to - from))
	if err != nil {
		return 0, err
	}
	defer bounces.put(b)
	n, err := f.doBounce(ctx, Pread(f, b.view(0, int(to-from)), from))
	if errors.Is(err, syscall.EIO) {
		// XFS has this where space is reserved behind the end, of a write through
		// the page cache, and the range goes that far.
		size, sizeErr := sizeOf(f.fd)
		if end := roundUp(size, unit); sizeErr == nil && end < to {
			n, err = 0, nil
			if end > from {
				n, err = f.doBounce(ctx, Pread(f, b.view(0, int(end-from)), from))
			}
		}
	}
	skip := int(off - from)
	if n <= skip {
		return 0, err
	}
	return copy(p, b.bytes(n)[skip:]), err
}

// write is WriteAt.
func (f *File) write(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case f.appends():
		return 0, f.appending(off, len(p))
	case len(p) == 0:
		return 0, nil
	case !f.direct:
		return f.writeBuffered(ctx, p, off)
	}
	l, err := f.lockToWrite(ctx, off, len(p))
	if err != nil {
		return 0, err
	}
	defer f.locks.unlock(l)
	if !l.exclusive() {
		return f.inPieces(ctx, l, p, off, (*File).writePiece)
	}
	return f.writeParts(ctx, l, p, off)
}

// lockToWrite takes the blocks of a write: those of which it changes a part for
// itself alone.
func (f *File) lockToWrite(ctx context.Context, off int64, n int) (*blockLock, error) {
	l, err := f.blockLocks().lock(ctx, f.blocks(off, n), f.edges(off, n))
	if err != nil {
		return nil, f.failure("pwrite", off, n, err)
	}
	return l, nil
}

// writeBuffered is WriteAt of a File without direct I/O. It has its blocks for
// itself, as a direct File on the same file may read and write around the page
// cache what this writes through it.
func (f *File) writeBuffered(ctx context.Context, p []byte, off int64) (int, error) {
	blocks := f.blocks(off, len(p))
	l, err := f.blockLocks().lock(ctx, blocks, [2]span{blocks})
	if err != nil {
		return 0, f.failure("pwrite", off, len(p), err)
	}
	defer f.locks.unlock(l)
	f.locks.cached.Store(true)
	n, err := writeFD(f.fd, p, off)
	return n, f.outcome("pwrite", off, len(p), n, err)
}

// appending refuses a write.
func (f *File) appending(off int64, n int) error {
	e := f.failure("pwrite", off, n, ErrInvalid)
	e.Detail = "the file is open with O_APPEND, where a write at an offset goes to the end all the same"
	return e
}

// writeParts writes through the page cache what is in a block that is not wholly in
// the file, and the rest directly. Held: the blocks.
func (f *File) writeParts(ctx context.Context, l *blockLock, p []byte, off int64) (int, error) {
	size, err := sizeOf(f.fd)
	if err != nil {
		return 0, f.failure("pwrite", off, len(p), err)
	}
	part := f.directPart(off, len(p), size)
	if part.empty() {
		return f.writeCached(p, off)
	}
	from, to := part.from-off, part.to-off
	n, err := f.writeCached(p[:from], off)
	if err != nil {
		return n, err
	}
	m, err := f.inPieces(ctx, l, p[from:to], part.from, (*File).writePiece)
	if err != nil {
		return n + m, err
	}
	k, err := f.writeCached(p[to:], part.to)
	return n + m + k, err
}

// directPart is what of a write of n bytes is written directly: all but the parts of
// blocks that would make the file longer, or cannot be read to be merged. What is
// aligned needs neither, but from the first time on that the page cache was used
// for the file only the whole of the block that it ends in is written directly, and
// no part: where parts of a page are written both ways, ext4 was seen to have Sync
// fail.
func (f *File) directPart(off int64, n int, size int64) span {
	aligned := f.align.aligned(0, off, n)
	if aligned && !f.locks.cached.Load() {
		return span{off, off + int64(n)}
	}
	block, end := f.block(), off+int64(n)
	may := f.readable() || aligned
	inside := func(at int64) bool { return may && roundDown(at, block)+block <= size }
	part := span{off, end}
	if off%block != 0 && !inside(off) {
		part.from = min(roundUp(off, block), end)
	}
	if end%block != 0 && !inside(end) {
		part.to = max(roundDown(end, block), part.from)
	}
	return part
}

// writePiece writes what fits into one bounce Buffer, with the rest of the blocks
// at its edges as they are in the file.
func (f *File) writePiece(ctx context.Context, l *blockLock, p []byte, off int64) (int, error) {
	unit := f.block()
	whole := f.align.aligned(0, off, len(p))
	if whole {
		unit = int64(f.align.Offset)
	}
	from, to := roundDown(off, unit), roundUp(off+int64(len(p)), unit)
	b, err := f.bounce(int(to - from))
	if err != nil {
		return 0, err
	}
	defer bounces.put(b)
	if !whole {
		if full, err := f.readEdges(ctx, b, span{from, to}, off, len(p)); err != nil {
			return 0, err
		} else if !full { // it was cut in this moment, by somebody who does not lock
			return f.writeCached(p, off)
		}
		// What the neighbours of p have in these blocks must not be brought back
		// by a write that comes late: this one is waited for.
		ctx = context.Background()
	}
	skip := int(off - from)
	copy(b.bytes(skip + len(p))[skip:], p)
	n, err := f.doBounce(ctx, Pwrite(f, b.view(0, int(to-from)), from).under(l))
	n = max(0, min(n-skip, len(p)))
	if err != nil {
		return n, err
	}
	return n, f.outcome("pwrite", off, len(p), n, nil)
}

// fewBlocks is how many blocks are read as a whole though only the edges are
// needed: one operation is less than two.
const fewBlocks = 4

// readEdges reads the blocks at the edges of a piece to their places in b; full says
// whether all of them are in the file.
func (f *File) readEdges(ctx context.Context, b *bounce, piece span, off int64, n int) (full bool, err error) {
	block := f.block()
	if piece.to-piece.from <= fewBlocks*block {
		edges := piece // and no whole block beside them: it may lie behind the end
		if piece.from == off {
			edges.from = piece.to - block
		}
		if piece.to == off+int64(n) {
			edges.to = piece.from + block
		}
		return f.readEdge(ctx, b, piece, edges)
	}
	full = true
	if piece.from != off {
		full, err = f.readEdge(ctx, b, piece, span{piece.from, piece.from + block})
	}
	if full && err == nil && piece.to != off+int64(n) {
		full, err = f.readEdge(ctx, b, piece, span{piece.to - block, piece.to})
	}
	return full, err
}

func (f *File) readEdge(ctx context.Context, b *bounce, piece, edge span) (full bool, err error) {
	n := int(edge.to - edge.from)
	got, err := f.doBounce(ctx, Pread(f, b.view(int(edge.from-piece.from), n), edge.from))
	return got == n, err
}

// bounce borrows a bounce Buffer of at least n bytes.
func (f *File) bounce(n int) (*bounce, error) {
	if !f.bounces.Load() && f.bounces.CompareAndSwap(false, true) {
		bounces.join()
		f.dropped = runtime.AddCleanup(f, (*bounceStore).leave, &bounces)
	}
	return bounces.get(n, f.align.Memory)
}

// doBounce runs an operation on a bounce Buffer.
func (f *File) doBounce(ctx context.Context, op Op) (int, error) {
	n, err := f.do(ctx, op.WithResume())
	if err == nil {
		return n, nil
	}
	var e *Error
	if errors.As(err, &e) && e.also == ErrInFlight {
		e.Detail = "the operation is still in flight" // and the Buffer is not the caller's
	}
	return n, err
}

// inPieces moves p with as many bounce Buffers as it takes, several at once. It
// returns what was moved up to the first piece that came out short or failed.
func (f *File) inPieces(
	ctx context.Context, l *blockLock, p []byte, off int64,
	piece func(*File, context.Context, *blockLock, []byte, int64) (int, error),
) (int, error) {
	size := max(bounceSize, f.block())
	base := roundDown(off, f.block())
	end := off + int64(len(p))
	if end-base <= size {
		return piece(f, ctx, l, p, off)
	}
	pieces := int((end - base + size - 1) / size)
	w := pieceWork{n: len(p), bad: pieces}
	run := func() {
		for i, ok := w.take(); ok; i, ok = w.take() {
			from := max(off, base+int64(i)*size)
			to := min(end, base+int64(i+1)*size)
			n, err := piece(f, ctx, l, p[from-off:to-off], from)
			if err != nil || n < int(to-from) {
				w.stop(i, int(from-off)+n, err)
			}
		}
	}
	var wg sync.WaitGroup
	for range min(pieces, piecesInFlight) - 1 {
		wg.Go(run)
	}
	run()
	wg.Wait()
	return w.n, w.err
}

// pieceWork is the pieces of one call.
type pieceWork struct {
	mu   sync.Mutex // guards what follows
	next int
	bad  int   // the first piece that is not all there, or how many there are
	n    int   // what is moved up to there
	err  error // of that piece
}

// take is the next piece to do. None is begun behind one that is not all there;
// all before it have been begun.
func (w *pieceWork) take() (piece int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	piece = w.next
	w.next++
	return piece, piece < w.bad
}

func (w *pieceWork) stop(piece, n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if piece < w.bad {
		w.bad, w.n, w.err = piece, n, err
	}
}
