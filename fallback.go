package libaio

import (
	"context"
	"errors"
	"syscall"
)

// This file has the methods of File do their work where the system has no room for
// asking the kernel: no memory for a request, which is EAGAIN, or nothing left that
// a default queue takes: no context, no memory or no descriptor. pread(2) and
// pwrite(2), and so os.File, need none of that.

// do runs one operation on the File's Queue, or without it where that has no room.
// The caller is between begin and release.
func (f *File) do(ctx context.Context, op Op) (int, error) {
	op.held = true
	n, err := f.ask(ctx, op)
	if err != nil && (err == errNoDefault || errors.Is(err, syscall.EAGAIN)) {
		return op.doHere(n)
	}
	return n, err
}

// ask runs one operation on the File's Queue.
func (f *File) ask(ctx context.Context, op Op) (int, error) {
	if f.queue != nil {
		return f.queue.Do(ctx, op)
	}
	return doDefault(ctx, op)
}

// doHere does what is left of an operation behind done bytes on the goroutine that
// calls, with the system call that needs no context.
func (o *Op) doHere(done int) (int, error) {
	if err := o.pin(); err != nil {
		return done, err
	}
	defer o.unpin()
	if !kinds[o.kind].data {
		return o.hereResult(0, syncFD(o.file.fd, o.kind == KindFdsync))
	}
	for {
		n, err := o.call(done)
		done += n
		if err != nil || n == 0 || !o.resumable(done) {
			return o.hereResult(done, err)
		}
	}
}

// call is pread(2) or pwrite(2) of what is behind done bytes.
func (o *Op) call(done int) (int, error) {
	if kinds[o.kind].write {
		return pwriteFD(o.file.fd, o.behind(done), o.offset+int64(done))
	}
	return preadFD(o.file.fd, o.behind(done), o.offset+int64(done))
}

func (o *Op) hereResult(n int, err error) (int, error) {
	if err != nil {
		return n, o.failure(err, "")
	}
	return n, nil
}

// behind is the memory behind the first done bytes, up to the end of the Buffer
// where that is.
func (o *Op) behind(done int) []byte {
	if o.buf != nil {
		return o.buf.slice()[done:o.bytes()]
	}
	for _, b := range o.bufs {
		if done < b.size {
			return b.slice()[done:]
		}
		done -= b.size
	}
	return nil
}
