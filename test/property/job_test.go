package property

import (
	"bytes"
	"context"
	"errors"
	"syscall"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// job is an operation and what is to come of it.
type job struct {
	op     libaio.Op
	file   *libaio.File
	kind   libaio.Kind
	tag    uint64
	offset int64

	mem  *memory          // nil for operations without data
	buf  *libaio.Buffer   // of the operation
	bufs []*libaio.Buffer // of the operation; for one with buf: nil
	at   []int            // where in mem each part is, in the order of the file
	size []int

	n     int           // bytes that will be moved
	err   syscall.Errno // with which it will end; 0: none
	from  int           // blocks of the disk; count is 0 for other files
	count int
	seeds []uint64 // of a write
	input []byte   // of a read that is not of the disk

	refused    bool // breaks a rule that the library knows
	resumes    bool
	ready      bool // of a poll: the event has happened since, or before
	cancelled  bool // may end with ECANCELED
	mustCancel bool // Cancel has found it where nothing but ECANCELED can come
	clog       bool // blocks in io_submit
}

// memory is a Buffer with the users that it has.
type memory struct {
	root     *libaio.Buffer
	pool     *libaio.Pool // nil: from Alloc
	users    int          // jobs whose completion has not been seen
	released bool         // given back while in flight
	image    []byte       // what is in it, as far as the model knows
}

const untouched = 0xEE

// isWrite says whether the job changes the disk.
func (j *job) isWrite() bool {
	return j.kind == libaio.KindPwrite || j.kind == libaio.KindPwritev
}

// stuck says whether the job may never complete by itself.
func (j *job) stuck(closing bool) bool {
	return j.clog || j.kind == libaio.KindPoll && !j.ready && !j.cancelled && !closing
}

// verify holds a result against the model.
func (j *job) verify(t require.TestingT, d *disk, n int, err error) {
	j.verifyError(t, err)
	cancelled := errors.Is(err, syscall.ECANCELED)
	switch {
	case cancelled:
		require.True(t, j.cancelled, "%v: nobody has cancelled it", &j.op)
		require.False(t, n != 0 && !j.resumes, "%v: cancelled with %d bytes", &j.op, n)
	case j.mustCancel:
		require.Failf(t, "Cancel took it back, but it ran", "%v: %v", &j.op, err)
	case j.err != 0:
		require.ErrorIs(t, err, j.err)
		require.Equal(t, j.n, n, "%v", &j.op)
	default:
		require.NoError(t, err)
		if j.kind == libaio.KindPoll {
			require.True(t, j.ready, "a poll ended though nothing happened")
			require.Equal(t, unix.POLLIN, n&unix.POLLIN)
		} else {
			require.Equal(t, j.n, n, "%v", &j.op)
		}
	}
	if j.count > 0 && j.isWrite() && err == nil {
		copy(d.seed[j.from:j.from+j.count], j.seeds)
	}
	if j.mem != nil && !j.mem.released {
		j.verifyMemory(t, d, n)
	}
}

// verifyError checks that an error says what it is about.
func (j *job) verifyError(t require.TestingT, err error) {
	if err == nil {
		return
	}
	var e *libaio.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, j.kind.String(), e.Op)
	if j.file != nil {
		require.Equal(t, j.file.Name(), e.File)
	}
	if j.mem != nil {
		require.Equal(t, j.offset, e.Offset)
		require.Equal(t, sum(j.size), e.Length)
	}
}

// verifyMemory checks that n bytes were moved to where they belong, and that
// nothing else was touched.
func (j *job) verifyMemory(t require.TestingT, d *disk, n int) {
	if !j.isWrite() {
		input := j.input
		if j.count > 0 {
			input = make([]byte, j.count*blockSize)
			for i := range min(j.count, blocks-j.from) {
				fillBlock(input[i*blockSize:][:blockSize], d.seed[j.from+i])
			}
		}
		j.scatter(input[:min(n, len(input))])
		if j.count > 0 {
			j.forget(n)
		}
	}
	require.True(t, bytes.Equal(j.mem.image, j.mem.root.Bytes()), "%v: the memory is not as it should be after %d bytes", &j.op, n)
}

// scatter puts bytes into the image of the memory, part by part.
func (j *job) scatter(p []byte) {
	for i, at := range j.at {
		p = p[copy(j.mem.image[at:at+j.size[i]], p):]
	}
}

// forget takes what the memory has behind the first n bytes for granted: what
// the kernel leaves there when a read of a file ends early is its own affair.
func (j *job) forget(n int) {
	now := j.mem.root.Bytes()
	for i, at := range j.at {
		if n < j.size[i] {
			copy(j.mem.image[at+n:at+j.size[i]], now[at+n:])
		}
		n = max(0, n-j.size[i])
	}
}

// verifyIdentity checks that a completion is that of the job.
func (j *job) verifyIdentity(t require.TestingT, c libaio.Completion) {
	require.Equal(t, j.kind, c.Kind)
	require.Equal(t, j.offset, c.Offset)
	require.True(t, j.buf == c.Buffer, "the Buffer of the completion is another one")
	require.Len(t, c.Buffers, len(j.bufs))
	for i, b := range j.bufs {
		require.True(t, b == c.Buffers[i], "Buffer %d of the completion is another one", i)
	}
}

// gaveUp says whether an error of Do or Submit is that of its context.
func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func sum(ns []int) (n int) {
	for _, m := range ns {
		n += m
	}
	return n
}
