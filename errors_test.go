//go:build linux

package libaio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What errors.Is answers and what the message says is part of the API.
func TestErrorPromises(t *testing.T) {
	op := Op{kind: KindPread, file: &File{name: "/data/x"}, buf: &Buffer{size: 4096}, offset: 8192}
	all := []error{
		ErrClosed, ErrQueueFull, ErrInFlight, ErrFreed, ErrMisaligned, ErrInvalid, ErrNoDirectIO,
		os.ErrClosed, os.ErrInvalid, context.Canceled, errors.ErrUnsupported,
		syscall.EAGAIN, syscall.EBUSY, syscall.EFAULT, syscall.EINVAL, syscall.EIO, syscall.EOPNOTSUPP,
	}
	for _, c := range []struct {
		err  error
		is   []error
		says string
	}{
		{
			op.failure(syscall.EIO, ""),
			[]error{syscall.EIO},
			"libaio: pread /data/x (4096 bytes at offset 8192): input/output error",
		},
		{
			op.failure(syscall.EOPNOTSUPP, ""),
			[]error{syscall.EOPNOTSUPP, errors.ErrUnsupported},
			"libaio: pread /data/x (4096 bytes at offset 8192): operation not supported",
		},
		{
			op.misaligned("offset", 8193, 512),
			[]error{ErrMisaligned, syscall.EINVAL},
			"libaio: pread /data/x (4096 bytes at offset 8192): misaligned: offset 8193 is not a multiple of 512, which direct I/O on this file demands",
		},
		{
			op.abandonError(context.Canceled),
			[]error{context.Canceled, ErrInFlight, syscall.EBUSY},
			"libaio: pread /data/x (4096 bytes at offset 8192): context canceled: the operation is still in flight: give the Buffer back with Release",
		},
		{
			op.waitError(ErrClosed),
			[]error{ErrClosed, os.ErrClosed},
			"libaio: pread /data/x (4096 bytes at offset 8192): the queue is closed",
		},
		{
			op.waitError(context.Canceled),
			[]error{context.Canceled},
			"libaio: pread /data/x (4096 bytes at offset 8192): context canceled: the operation was withdrawn before the kernel had it",
		},
		{
			invalidf("alloc", "size %d", 0),
			[]error{ErrInvalid, os.ErrInvalid, syscall.EINVAL},
			"libaio: alloc: invalid argument: size 0",
		},
		{
			openError("/proc/self/status", os.O_RDONLY, &os.PathError{Op: "open", Err: syscall.EINVAL}),
			[]error{ErrNoDirectIO, errors.ErrUnsupported, syscall.EINVAL},
			"libaio: open /proc/self/status: invalid argument: the file system refused O_DIRECT: it has no direct I/O; for buffered I/O there is FileOptions.Buffered",
		},
		{
			openError("a\x00b", os.O_RDONLY, &os.PathError{Op: "open", Err: syscall.EINVAL}),
			[]error{syscall.EINVAL},
			"libaio: open a\x00b: invalid argument",
		},
		{ErrQueueFull, []error{ErrQueueFull, syscall.EAGAIN}, "queue full"},
		{ErrFreed, []error{ErrFreed, syscall.EFAULT}, "buffer already freed or put back"},
	} {
		assert.Equal(t, c.says, c.err.Error())
		for _, target := range all {
			want := false
			for _, is := range c.is {
				want = want || target == is
			}
			assert.Equal(t, want, errors.Is(c.err, target), "errors.Is(%q, %q)", c.err, target)
		}
		var errno syscall.Errno
		if errors.As(c.err, &errno) {
			assert.ErrorIs(t, c.err, errno)
		}
	}
}

func TestOpPrints(t *testing.T) {
	require.Equal(t, "noop", fmt.Sprint(Noop()))
	require.Equal(t, KindNoop, Noop().Kind())
	require.EqualValues(t, 3, Noop().WithTag(3).Tag())
	f := newFile(t, block)
	require.Equal(t, fmt.Sprintf("pread %s (4096 bytes at offset 8192)", f.Name()), fmt.Sprint(Pread(f, newBuffer(t, block), 8192)))
	_, err := newQueue(t, 1).Do(ctxOf(t), Fsync(f).WithFlags(RWFDsync).WithResume())
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "resumption: only a read or a write has that")
	require.NotContains(t, err.Error(), "priority")
}
