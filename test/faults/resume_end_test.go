package faults

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about transfers in pieces that end before all is moved.

// The kernel knows the size of the file and cuts the read there, so the end
// comes as a short read, and the remainder, behind the end, as 0.
func TestResumeEndOfFile(t *testing.T) {
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 1)
			f := r.file(mount, Spec{Name: "f", Data: pattern(5*block, 0, 0), Script: []answer{short(2 * block)}})
			b := r.buffer(8*block, 0, 9)
			n, err := r.do(libaio.Pread(f, b, 0).WithResume())
			require.NoError(t, err)
			require.Equal(t, 5*block, n)
			requirePattern(t, b.Bytes()[:n], 0, 0)
			requirePattern(t, b.Bytes()[n:], int64(n), 9)
		})
	}
}

// A file that has become shorter than the kernel knows: the server has nothing
// more to give.
func TestResumeNothingMore(t *testing.T) {
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 1)
			f := r.file(mount, Spec{
				Name: "f", Data: pattern(8*block, 0, 0),
				Script: []answer{short(block), short(2 * block), short(0)},
			})
			b := r.buffer(8*block, 0, 9)
			r.submit(libaio.Pread(f, b, 0).WithResume())
			c := r.receive()
			require.NoError(t, c.Err)
			require.Equal(t, 3*block, c.N)
			requirePattern(t, b.Bytes()[:c.N], 0, 0)
			requirePattern(t, b.Bytes()[c.N:], int64(c.N), 9)
			require.Len(t, r.moves("f"), 3)
		})
	}
}

// With direct I/O a piece that ends between multiples of the alignment is the
// last one; the kernel does not tell the alignment here, so that is 512.
func TestResumeStopsAtOddPiece(t *testing.T) {
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 1)
			f := r.file(mount, Spec{Name: "f", Data: pattern(8*block, 0, 0), Script: []answer{short(512), short(block + 100)}})
			b := r.buffer(8*block, 0, 9)
			n, err := r.do(libaio.Pread(f, b, 0).WithResume())
			require.NoError(t, err)
			require.Equal(t, 512+block+100, n)
			requirePattern(t, b.Bytes()[:n], 0, 0)
			require.Len(t, r.moves("f"), 2)
		})
	}
}

// An error behind two pieces: what was moved counts, and the error names the
// whole operation.
func TestResumeError(t *testing.T) {
	for _, tr := range []transfer{
		{name: "pread", mount: asyncMount},
		{name: "pread", mount: asyncMount, do: true},
		{name: "preadv", mount: asyncMount, vector: []int{2 * block, 3 * block}},
		{name: "pread", mount: syncMount},
		{name: "pwrite", mount: syncMount, write: true},
		{name: "pwrite", mount: syncMount, write: true, do: true},
		{name: "pwritev", mount: syncMount, write: true, vector: []int{2 * block, 3 * block}},
	} {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			t.Run(tr.name+"/"+tr.mount+"/"+errno.Error(), func(t *testing.T) {
				tr.pieces = []int{5 * block}
				r := newRig(t, 1)
				f := r.file(tr.mount, Spec{
					Name: "f", Data: pattern(start+5*block, 0, 0),
					Script: []answer{short(block), short(2 * block), fail(errno)},
				})
				bufs, guards := r.guarded(tr.lengths(), 1)
				n, err := tr.await(r, tr.op(f, bufs).WithResume())
				require.Equal(t, 3*block, n)
				requireError(t, err, tr.name, f, start, 5*block, errno)
				require.Len(t, r.moves("f"), 3, "nothing is tried behind an error")
				requireGuards(t, guards)
				if tr.write {
					requirePattern(t, r.data("f")[start:start+3*block], start, 1)
					requirePattern(t, r.data("f")[start+3*block:], start+3*block, 0)
				}
				s := r.q.Stats()
				require.Equal(t, []uint64{2, 1, 1}, []uint64{s.Resumed, s.Completed, s.Failed})
			})
		}
	}
}

// requireError wants the one error type, with everything in it.
func requireError(t *testing.T, err error, op string, f *libaio.File, offset int64, length int, errno syscall.Errno) {
	t.Helper()
	require.ErrorIs(t, err, errno)
	var e *libaio.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, op, e.Op)
	require.Equal(t, f.Name(), e.File)
	require.Equal(t, offset, e.Offset)
	require.Equal(t, length, e.Length)
	require.Equal(t, error(errno), e.Err)
}
