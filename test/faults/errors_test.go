package faults

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// An errno of the server arrives as it is, in the one error type, by both ways.
// That is so even for those that mean something to a queue when they come from
// io_submit or io_getevents.
func TestErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.EIO, syscall.ENOSPC, syscall.ESTALE, syscall.EDQUOT,
		syscall.EAGAIN, syscall.EINVAL, syscall.ECANCELED,
	} {
		for _, mount := range []string{asyncMount, syncMount} {
			t.Run(errno.Error()+"/"+mount, func(t *testing.T) { testErrno(t, errno, mount) })
		}
	}
}

func testErrno(t *testing.T, errno syscall.Errno, mount string) {
	r := newRig(t, 4)
	f := r.file(mount, Spec{Name: "f", Data: pattern(8*block, 0, 0), Else: fail(errno), Fsync: fail(errno)})
	b := r.buffer(block, 0, 9)
	v := []*libaio.Buffer{r.buffer(block, 0, 9), r.buffer(2*block, 0, 9)}
	ops := []libaio.Op{
		libaio.Pread(f, b, block), libaio.Pwrite(f, b, 2*block), libaio.Preadv(f, v, 3*block), libaio.Pwritev(f, v, 4*block),
		libaio.Fsync(f), libaio.Fdsync(f),
	}
	offsets := []int64{block, 2 * block, 3 * block, 4 * block, 0, 0}
	lengths := []int{block, block, 3 * block, 3 * block, 0, 0}
	for i, op := range ops {
		name := op.Kind().String()
		n, err := r.do(op)
		require.Zero(t, n)
		requireError(t, err, name, f, offsets[i], lengths[i], errno)

		r.submit(op.WithTag(uint64(i)))
		c := r.receive()
		require.Equal(t, uint64(i), c.Tag)
		require.Equal(t, op.Kind(), c.Kind)
		require.Zero(t, c.N)
		require.Equal(t, err, c.Err, "both ways tell the same")
		require.False(t, b.InFlight())
	}
	require.Equal(t, 2*len(ops), r.count("f", "read")+r.count("f", "write")+r.count("f", "fsync")+r.count("f", "fdatasync"), "nothing is tried again")
	requirePattern(t, r.data("f"), 0, 0)
	s := r.q.Stats()
	require.Equal(t, uint64(2*len(ops)), s.Failed)
	require.Zero(t, s.Retries)
}

// A failure among others is that one's alone.
func TestErrorAmongOthers(t *testing.T) {
	r := newRig(t, 8)
	f := r.file(asyncMount, Spec{
		Name: "f", Data: pattern(8*block, 0, 0),
		At: map[int64]answer{3 * block: fail(syscall.EIO), 5 * block: short(512)},
	})
	var ops []libaio.Op
	for i := range 8 {
		ops = append(ops, libaio.Pread(f, r.buffer(block, 0, 9), int64(i*block)).WithTag(uint64(i)))
	}
	r.submit(ops...)
	for range ops {
		switch c := r.receive(); c.Tag {
		case 3:
			requireError(t, c.Err, "pread", f, 3*block, block, syscall.EIO)
		case 5:
			require.NoError(t, c.Err)
			require.Equal(t, 512, c.N)
		default:
			require.NoError(t, c.Err)
			requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
		}
	}
}

// EINTR is what file systems say when a signal came in between, and Go sends
// signals all the time. It never surfaces: what was interrupted is done again.
func TestInterruptedIsDoneAgain(t *testing.T) {
	for _, tr := range []transfer{
		{name: "pread", mount: asyncMount},
		{name: "pread", mount: syncMount, do: true},
		{name: "preadv", mount: asyncMount, vector: []int{block, 2 * block}, do: true},
		{name: "pwrite", mount: asyncMount, write: true},
		{name: "pwritev", mount: syncMount, write: true, vector: []int{block, 2 * block}},
	} {
		t.Run(tr.name+"/"+tr.mount, func(t *testing.T) {
			tr.pieces = []int{3 * block}
			r := newRig(t, 1)
			f := r.file(tr.mount, Spec{
				Name: "f", Data: pattern(start+3*block, 0, 0),
				Script: []answer{fail(syscall.EINTR), fail(syscall.EINTR)},
			})
			bufs, guards := r.guarded(tr.lengths(), 1)
			n, err := tr.await(r, tr.op(f, bufs))
			require.NoError(t, err)
			require.Equal(t, 3*block, n)
			want := byte(0)
			if tr.write {
				want = 1
			}
			requirePattern(t, r.data("f")[start:], start, want)
			offset := int64(start)
			for _, b := range bufs {
				requirePattern(t, b.Bytes(), offset, want)
				offset += int64(b.Len())
			}
			requireGuards(t, guards)
			require.Len(t, r.moves("f"), 3)
		})
	}
}

// Fdsync is fdatasync and Fsync is fsync, in the queue and by a File itself.
func TestKindsOfSync(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0)})
	for i := range 2 {
		_, err := r.do(libaio.Fsync(f))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.Equal(t, 2*i+2, r.count("f", "fsync"))
		require.Equal(t, 2*i, r.count("f", "fdatasync"))
		_, err = r.do(libaio.Fdsync(f))
		require.NoError(t, err)
		require.NoError(t, f.Datasync())
		require.Equal(t, 2*i+2, r.count("f", "fsync"))
		require.Equal(t, 2*i+2, r.count("f", "fdatasync"))
	}
}

// An fsync that takes long is in flight like all else.
func TestFsyncInFlight(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0), Fsync: answer{Gate: "g"}})
	r.submit(libaio.Fsync(f))
	r.awaitKind("f", "fsync", 1)
	require.Equal(t, 1, r.q.Stats().InFlight)
	r.open("g")
	require.NoError(t, r.receive().Err)
}
