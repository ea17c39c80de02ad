package faults

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file pins down what the kernel does with this file system: the other
// tests build on it.

// On the async mount Submit returns while the server still has the request.
// Without FUSE_ASYNC_DIO this test hangs in Submit, and fails.
func TestSubmitReturnsBeforeTheAnswer(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(2*block, 0, 0), Else: answer{Gate: "g"}})
	in, out := r.buffer(block, 0, 9), r.buffer(block, block, 1)
	r.submit(libaio.Pread(f, in, 0), libaio.Pwrite(f, out, block))
	r.await("f", 2)
	for _, m := range r.moves("f") {
		require.False(t, m.Answered)
	}
	require.Equal(t, 2, r.q.Stats().InFlight)
	require.Zero(t, r.q.Stats().Unread)

	r.open("g")
	for range 2 {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, block, c.N)
	}
	requirePattern(t, in.Bytes(), 0, 0)
	requirePattern(t, r.data("f")[block:], block, 1)
}

// On the sync mount io_submit takes as long as the answer. The queue goes on
// meanwhile: others submit, and their operations complete.
func TestSenderHeldInSubmitHoldsNobodyElse(t *testing.T) {
	r := newRig(t, 4)
	slow := r.file(syncMount, held("slow", block))
	sender := r.doBeside(r.context(), libaio.Pread(slow, r.buffer(block, 0, 9), 0))
	r.await("slow", 1)
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0)})
	b := r.buffer(block, 0, 9)
	for tag := range uint64(3) {
		r.submit(libaio.Pread(f, b, 0).WithTag(tag))
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, tag, c.Tag)
	}
	n, err := r.do(libaio.Pread(f, b, 0))
	require.NoError(t, err)
	require.Equal(t, block, n)
	require.Equal(t, 1, r.q.Stats().InFlight)
	r.open("g")
	require.NoError(t, result(t, "Do", sender).err)
	requirePattern(t, b.Bytes(), 0, 0)
}

// What is longer than maxRequest goes to the server in several requests. Of the
// async mount's, which are all sent at once, counts what lies before the first
// gap, whatever came behind it; of the sync mount's there is none behind a
// short one.
func TestKernelCutsLongRequests(t *testing.T) {
	const size = 4 * maxRequest
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 1)
			f := r.file(mount, Spec{
				Name: "f", Data: pattern(size, 0, 0),
				At: map[int64]answer{maxRequest: short(3 * block)},
			})
			b := r.buffer(size, 0, 9)
			n, err := r.do(libaio.Pread(f, b, 0))
			require.NoError(t, err)
			require.Equal(t, maxRequest+3*block, n)
			requirePattern(t, b.Bytes()[:n], 0, 0)

			want := map[string][]int64{
				asyncMount: {0, maxRequest, 2 * maxRequest, 3 * maxRequest},
				syncMount:  {0, maxRequest},
			}
			var offsets []int64
			for _, m := range r.moves("f") {
				require.Equal(t, maxRequest, m.Length)
				offsets = append(offsets, m.Offset)
			}
			require.ElementsMatch(t, want[mount], offsets)
		})
	}
}

// A short answer to a read is no end of the file: the kernel still believes in
// the size that it knows.
func TestShortReadIsNotTheEnd(t *testing.T) {
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 1)
			f := r.file(mount, Spec{Name: "f", Data: pattern(4*block, 0, 0), Script: []answer{short(block), short(0)}})
			b := r.buffer(4*block, 0, 9)
			for _, want := range []int{block, 0, 4 * block} {
				n, err := r.do(libaio.Pread(f, b, 0))
				require.NoError(t, err)
				require.Equal(t, want, n)
			}
			fi, err := f.Stat()
			require.NoError(t, err)
			require.Equal(t, int64(4*block), fi.Size())
		})
	}
}

// A write that is answered short ends short on the sync mount, and on the
// async mount with EIO: all that resumption can do there is to pass that on.
func TestShortWrite(t *testing.T) {
	for mount, want := range map[string]error{asyncMount: syscall.EIO, syncMount: nil} {
		for _, resume := range []bool{false, true} {
			t.Run(mount, func(t *testing.T) {
				r := newRig(t, 1)
				f := r.file(mount, Spec{Name: "f", Data: make([]byte, 2*block), Script: []answer{short(block)}})
				op := libaio.Pwrite(f, r.buffer(2*block, 0, 0), 0)
				if resume {
					op = op.WithResume()
				}
				n, err := r.do(op)
				require.ErrorIs(t, err, want)
				switch {
				case want != nil:
					require.Zero(t, n)
				case resume:
					require.Equal(t, 2*block, n)
				default:
					require.Equal(t, block, n)
				}
			})
		}
	}
}
