package libaio

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
)

// This file is the methods of File that read and write.

var (
	_ io.ReaderAt = (*File)(nil)
	_ io.WriterAt = (*File)(nil)
	_ io.Closer   = (*File)(nil)
)

// ReadAt reads len(p) bytes at the offset, which may be any; see [io.ReaderAt].
// With fewer bytes comes an error: [io.EOF], as it is, at the end of the file, or an
// [*Error].
//
// The data comes through Buffers of the package's own, as the kernel must not have
// memory that the collector manages: one copy. ReadBuffer goes without. Where the
// range is not aligned, the blocks around it are read. More than 256 KiB is read
// in pieces, several of them in flight.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that waits only until ctx ends. p is the caller's own as
// soon as it returns. A ctx has no power over pread(2): where that does the work, for
// buffered Files and where the system has no room for a request, each call of it
// runs to its end.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.begin(ctx, "pread", off, len(p)); err != nil {
		return 0, err
	}
	defer f.release()
	return f.read(ctx, p, off)
}

// WriteAt writes p at the offset, which may be any; see [io.WriterAt]. With fewer
// bytes comes an [*Error]. After an error more than the n bytes may have been
// written. The size of the file becomes what it must be and is never more, not
// even in between. A file that is open with O_APPEND is refused, as os.File does.
//
// Where offset and length are aligned this is one copy of the data and direct I/O, in
// pieces of 256 KiB, several of them in flight. Otherwise the blocks at the edges
// cost a read each: they are read, changed and written back, under a lock on them, so
// that any number of writers may write to different bytes of one block. A part of a
// block that is not wholly in the file is written through the page cache: Sync or
// Datasync bring it to the device, and the next direct I/O on it waits for that.
//
// The lock is that of all Files of this process on the same file, buffered ones too.
// It does not bind other descriptors, other processes, nor operations that are
// given to a Queue: these must leave blocks alone that WriteAt writes a part of.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteAtContext(context.Background(), p, off)
}

// WriteAtContext is WriteAt that waits only until ctx ends. What the kernel has by
// then it does: whether the data was written is not known. Until it is done all later calls
// of direct Files that touch these blocks wait for it, and so do Truncate and buffered
// writes: none of them is overtaken. Blocks at the edges are the exception: once they are
// being written WriteAtContext itself waits for that, and for pwrite(2) where that does the
// work, as pread(2) in [File.ReadAtContext]. p is the caller's own as soon as it returns.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.begin(ctx, "pwrite", off, len(p)); err != nil {
		return 0, err
	}
	defer f.release()
	return f.write(ctx, p, off)
}

// ReadBuffer is ReadAt into the whole of b, as [Queue.Do] with [Pread]: without a
// copy where the memory, the offset and the length are aligned, and otherwise as
// ReadAt. Unlike Do it tells of a short read, with io.EOF. When ctx ends, the kernel
// may still have b: call [Buffer.Release] on it.
func (f *File) ReadBuffer(ctx context.Context, b *Buffer, off int64) (int, error) {
	if err := f.begin(ctx, "pread", off, b.Len()); err != nil {
		return 0, err
	}
	defer f.release()
	return f.readBuffer(ctx, b, off)
}

// readBuffer is ReadBuffer. Held: a reference to f.
func (f *File) readBuffer(ctx context.Context, b *Buffer, off int64) (int, error) {
	if f.direct && f.fits(b, off) {
		return f.readWhole(ctx, Pread(f, b, off), off, b.size)
	}
	if err := f.hold("pread", b); err != nil {
		return 0, err
	}
	defer b.drop()
	return f.read(ctx, b.slice(), off)
}

// WriteBuffer is WriteAt of the whole of b, as [Queue.Do] with [Pwrite]: without a
// copy where the memory, the offset and the length are aligned. Otherwise, and now and
// then in the block that the file ends in, it copies as WriteAt does. When ctx ends, the
// kernel may still have b: call [Buffer.Release] on it.
func (f *File) WriteBuffer(ctx context.Context, b *Buffer, off int64) (int, error) {
	if err := f.begin(ctx, "pwrite", off, b.Len()); err != nil {
		return 0, err
	}
	defer f.release()
	return f.writeBuffer(ctx, b, off)
}

// writeBuffer is WriteBuffer. Held: a reference to f.
func (f *File) writeBuffer(ctx context.Context, b *Buffer, off int64) (int, error) {
	if f.direct && f.fits(b, off) {
		return f.writeWhole(ctx, Pwrite(f, b, off), off, b.size)
	}
	if err := f.hold("pwrite", b); err != nil {
		return 0, err
	}
	defer b.drop()
	return f.write(ctx, b.slice(), off)
}

// ReadVector is ReadBuffer into several Buffers, each of which is filled before
// the next: with one operation for each 1024 of them where all are aligned.
func (f *File) ReadVector(ctx context.Context, bufs []*Buffer, off int64) (int, error) {
	return f.vector(ctx, "preadv", bufs, off, (*File).readBuffer, func(bufs []*Buffer, off int64, n int) (int, error) {
		return f.readWhole(ctx, Preadv(f, bufs, off), off, n)
	})
}

// WriteVector is WriteBuffer of several Buffers, one after the other: with one
// operation for each 1024 of them where all are aligned.
func (f *File) WriteVector(ctx context.Context, bufs []*Buffer, off int64) (int, error) {
	return f.vector(ctx, "pwritev", bufs, off, (*File).writeBuffer, func(bufs []*Buffer, off int64, n int) (int, error) {
		return f.writeWhole(ctx, Pwritev(f, bufs, off), off, n)
	})
}

// vector moves the Buffers with as few calls as it can.
func (f *File) vector(
	ctx context.Context, op string, bufs []*Buffer, off int64,
	one func(*File, context.Context, *Buffer, int64) (int, error),
	many func([]*Buffer, int64, int) (int, error),
) (int, error) {
	if err := f.begin(ctx, op, off, lengthOf(bufs)); err != nil {
		return 0, err
	}
	defer f.release()
	done := 0
	for len(bufs) > 0 {
		some, at := bufs[:min(len(bufs), maxVector)], off+int64(done)
		var n int
		var err error
		if size := f.allFit(some, at); size > 0 {
			n, err = many(some, at, size)
		} else if some = bufs[:1]; ctx.Err() != nil {
			err = f.failure(op, at, some[0].Len(), ctx.Err())
		} else {
			n, err = one(f, ctx, some[0], at)
		}
		done += n
		if err != nil {
			return done, err
		}
		bufs = bufs[len(some):]
	}
	return done, nil
}

// lengthOf is the length of the Buffers, or the largest int.
func lengthOf(bufs []*Buffer) int {
	n := 0
	for _, b := range bufs {
		n += min(b.Len(), math.MaxInt-n)
	}
	return n
}

// allFit is the length of the Buffers, or 0 if they cannot be one operation.
func (f *File) allFit(bufs []*Buffer, off int64) int {
	n := 0
	for _, b := range bufs {
		if !f.direct || !f.fits(b, off+int64(n)) {
			return 0
		}
		n += b.size
	}
	return n
}

// fits says whether b may go to the kernel as it is. An offset that is out of
// range is the business of [Op].
func (f *File) fits(b *Buffer, off int64) bool {
	return b != nil && b.root != nil && f.align.aligned(b.address(), off, b.size)
}

// hold keeps the memory of b for a call that copies.
func (f *File) hold(op string, b *Buffer) error {
	switch {
	case b == nil || b.root == nil:
		return &Error{Op: op, File: f.name, Err: ErrInvalid, Detail: "the Buffer is nil, or was not made by Alloc or a Pool"}
	case !b.pin():
		return &Error{Op: op, File: f.name, Err: ErrFreed}
	}
	return nil
}

// begin begins a call: the descriptor stays open until release. That the file is
// closed is said first.
func (f *File) begin(ctx context.Context, op string, off int64, n int) error {
	if f == nil || !f.made {
		return invalidf(op, "the File is nil, or was not made by OpenFile, NewFile or BorrowFD")
	}
	if f.acquire() {
		err := f.check(ctx, op, off, n)
		if err != nil {
			f.release()
		}
		return err
	}
	e := f.failure(op, off, n, ErrClosed)
	e.Detail = "the file is closed"
	return e
}

// check says why a call cannot be done.
func (f *File) check(ctx context.Context, op string, off int64, n int) error {
	switch {
	case ctx == nil:
		return f.failure(op, off, n, errNilContext)
	case off < 0:
		e := f.failure(op, off, n, ErrInvalid)
		e.Detail = fmt.Sprintf("offset %d is negative", off)
		return e
	case off > math.MaxInt64-int64(n)-lastBlock:
		e := f.failure(op, off, n, ErrInvalid)
		e.Detail = fmt.Sprintf("offset %d plus length %d is past the largest file offset", off, n)
		return e
	case ctx.Err() != nil:
		return f.failure(op, off, n, ctx.Err())
	case (op == "pwrite" || op == "pwritev") && !f.writable():
		// The second descriptor of cachefd.go would write all the same.
		e := f.failure(op, off, n, syscall.EBADF)
		e.Detail = f.onlyFor(true)
		return e
	case (op == "pread" || op == "preadv") && !f.readable():
		e := f.failure(op, off, n, syscall.EBADF)
		e.Detail = f.onlyFor(false)
		return e
	}
	return nil
}

// lastBlock is what rounding up may add to an offset.
const lastBlock = 1 << 30

// failure is the error of a call on f.
func (f *File) failure(op string, off int64, n int, cause error) *Error {
	e := &Error{Op: op, File: f.name, Err: cause, Length: n}
	if n != 0 {
		e.Offset = off
	}
	return e
}

// outcome is what a call on f returns beside n, of want bytes.
func (f *File) outcome(op string, off int64, want, n int, err error) error {
	switch {
	case err != nil:
		return f.failure(op, off, want, err)
	case n < want && op == "pread":
		return io.EOF
	case n < want:
		e := f.failure(op, off, want, io.ErrShortWrite)
		e.Detail = fmt.Sprintf("%d bytes were written, and no error came", n)
		return e
	}
	return nil
}

// Sync brings all writes that have returned to stable storage, with all metadata.
// It calls fsync(2) itself: one sync after the other is quicker so than by way of
// the Queue and the kernel's worker, which hands it to another thread and back.
//
// After an error do not call it again and go on: the kernel tells an error of
// writing back once, and the next Sync returns nil though the bytes are lost.
func (f *File) Sync() error { return f.SyncContext(context.Background()) }

// SyncContext is Sync that waits only until ctx ends. With a ctx that can end it
// goes through the Queue; otherwise, and where the system has no room for a request,
// it is Sync.
func (f *File) SyncContext(ctx context.Context) error {
	return f.sync(ctx, Fsync(f))
}

// Datasync is Sync without the metadata that reading does not need: fdatasync(2).
// After an error the next one returns nil though the bytes are lost, as with Sync.
func (f *File) Datasync() error { return f.DatasyncContext(context.Background()) }

// DatasyncContext is Datasync that waits only until ctx ends, as SyncContext is Sync.
func (f *File) DatasyncContext(ctx context.Context) error {
	return f.sync(ctx, Fdsync(f))
}

func (f *File) sync(ctx context.Context, op Op) error {
	if err := f.begin(ctx, op.kind.String(), 0, 0); err != nil {
		return err
	}
	defer f.release()
	if ctx.Done() != nil {
		_, err := f.do(ctx, op)
		return err
	}
	if err := syncFD(f.fd, op.kind == KindFdsync); err != nil {
		return op.failure(err, "")
	}
	return nil
}

// Truncate makes the file this long: what is behind is gone, what is added reads
// as zeros. It waits for the writes that are under way on the file and the reads of
// direct Files; not for those of buffered ones, which take no lock, nor for operations
// that were given to a Queue as they are. Stands for ftruncate(2).
func (f *File) Truncate(size int64) error {
	return f.TruncateContext(context.Background(), size)
}

// TruncateContext is Truncate that waits for others only until ctx ends.
func (f *File) TruncateContext(ctx context.Context, size int64) error {
	if err := f.begin(ctx, "truncate", 0, 0); err != nil {
		return err
	}
	defer f.release()
	if size < 0 {
		e := f.failure("truncate", 0, 0, ErrInvalid)
		e.Detail = fmt.Sprintf("size %d is negative", size)
		return e
	}
	ls := f.blockLocks()
	all := span{0, math.MaxInt64}
	l, err := ls.lock(ctx, all, [2]span{all})
	if err != nil {
		return f.failure("truncate", 0, 0, err)
	}
	defer ls.unlock(l)
	if size%f.block() != 0 { // the kernel makes the rest of the page zero, in the cache
		ls.cached.Store(true)
	}
	return f.outcome("truncate", 0, 0, 0, truncateFD(f.fd, size))
}

// Preallocate has the file system allocate the space for n bytes, at least 1, from
// the offset on, and leaves the size as it is. A write that extends a file makes
// io_submit block, which Truncate to the final size after Preallocate avoids, and
// Preallocate alone does not. EOPNOTSUPP, which is errors.ErrUnsupported, where the
// file system cannot. Stands for fallocate(2) with FALLOC_FL_KEEP_SIZE.
func (f *File) Preallocate(off, n int64) error {
	if err := f.begin(context.Background(), "fallocate", 0, 0); err != nil {
		return err
	}
	defer f.release()
	if off < 0 || n < 1 || n > math.MaxInt64-off {
		e := f.failure("fallocate", 0, 0, ErrInvalid)
		e.Detail = fmt.Sprintf("%d bytes from offset %d on: must be at least 1 byte, and end within the largest file offset", n, off)
		return e
	}
	return f.outcome("fallocate", 0, 0, 0, preallocateFD(f.fd, off, n))
}

// Size is the size in bytes of the file, or of the block device.
func (f *File) Size() (int64, error) {
	if err := f.begin(context.Background(), "stat", 0, 0); err != nil {
		return 0, err
	}
	defer f.release()
	n, err := sizeOf(f.fd)
	return n, f.outcome("stat", 0, 0, 0, err)
}

// Stat is the state of the file, as [os.File.Stat]; ErrInvalid for a borrowed
// descriptor.
func (f *File) Stat() (os.FileInfo, error) {
	if err := f.begin(context.Background(), "stat", 0, 0); err != nil {
		return nil, err
	}
	defer f.release()
	if f.os == nil {
		return nil, &Error{Op: "stat", File: f.name, Err: ErrInvalid, Detail: "a borrowed descriptor: ask its owner"}
	}
	return f.os.Stat()
}

// appends says whether writes go to the end of the file, whatever the offset.
func (f *File) appends() bool { return f.flags&os.O_APPEND != 0 }

// readable says whether the descriptor is open for reading.
func (f *File) readable() bool { return f.flags&(os.O_WRONLY|os.O_RDWR) != os.O_WRONLY }

// writable says whether the descriptor can be written to.
func (f *File) writable() bool { return f.flags&(os.O_WRONLY|os.O_RDWR) != os.O_RDONLY }

// onlyFor says beside EBADF what the file is open for, if that is the other way
// alone. Nothing is known of a borrowed descriptor without flags: it may not be
// open at all.
func (f *File) onlyFor(write bool) string {
	switch {
	case !write && !f.readable():
		return "the file is open for writing only"
	case write && !f.writable() && (f.os != nil || f.flags != 0):
		return "the file is open for reading only"
	}
	return ""
}
