package faults

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// The file system goes away while it has operations: each of them ends with an
// error, and nothing hangs.
func TestFileSystemGoesAway(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"server killed":      func(r *rig) { r.kill() },
		"connection aborted": func(r *rig) { r.abort() },
	} {
		t.Run(name, func(t *testing.T) { testGoesAway(t, end) })
	}
}

func testGoesAway(t *testing.T, end func(*rig)) {
	const n = 50
	r := newRig(t, n+4)
	f := r.file(asyncMount, held("f", n*block))
	resumed := r.file(asyncMount, pieces("resumed"))
	for i := range n {
		b := r.buffer(block, 0, 9)
		op := libaio.Pread(f, b, int64(i*block))
		if i%2 == 1 {
			op = libaio.Pwrite(f, b, int64(i*block))
		}
		r.submit(op)
	}
	r.submit(libaio.Pread(resumed, r.buffer(3*block, 0, 9), 0).WithResume().WithTag(7))
	waiting := r.doBeside(context.Background(), libaio.Pread(f, r.buffer(block, 0, 9), 0))
	ctx, cancel := context.WithCancel(context.Background())
	abandoned := r.buffer(block, 0, 9)
	left := r.doBeside(ctx, libaio.Pread(f, abandoned, 0))
	r.await("f", n+2)
	r.await("resumed", 2)
	cancel()
	require.ErrorIs(t, result(t, "Do", left).err, libaio.ErrInFlight)
	require.NoError(t, abandoned.Release())

	end(r)
	requireGone(t, result(t, "Do", waiting).err)
	for range n + 1 {
		c := r.receive()
		requireGone(t, c.Err)
		require.False(t, c.Buffer.InFlight())
		want := 0
		if c.Tag == 7 {
			want = block // the piece that came before
		}
		require.Equal(t, want, c.N)
	}
	r.inFlight(0)
	_, err := r.do(libaio.Pread(f, r.buffer(block, 0, 9), 0))
	requireGone(t, err)
	for _, f := range []*libaio.File{f, resumed} {
		err := result(t, "Close of a file", beside(f.Close))
		require.ErrorIs(t, err, syscall.ENOTCONN)
	}
	require.NoError(t, r.close())
}

// requireGone wants an error that the kernel gives when nobody serves a FUSE
// file system any more. It has EIO for a request that the server was just
// reading, so the tests let that arrive first.
func requireGone(t *testing.T, err error) {
	t.Helper()
	require.Condition(t, func() bool {
		return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
	}, "%v", err)
	var e *libaio.Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.File)
}

// Close that is already waiting ends too, and so does a sender in io_submit.
func TestServerKilledUnderClose(t *testing.T) {
	r := newRig(t, 4)
	f := r.file(asyncMount, held("f", block))
	r.submit(libaio.Pread(f, r.buffer(block, 0, 9), 0).WithTag(1))
	r.await("f", 1)
	h := r.file(syncMount, held("h", block))
	sender := r.submitBeside(libaio.Pread(h, r.buffer(block, 0, 9), 0))
	r.await("h", 1)
	r.submit(libaio.Pread(f, r.buffer(block, 0, 9), 0))
	r.await("f", 2)
	closed := r.closeBeside()
	requireOpen(t, closed)
	r.kill()
	require.NoError(t, result(t, "Submit", sender))
	require.NoError(t, result(t, "Close", closed))
	for range 3 {
		requireGone(t, r.receive().Err)
	}
}
