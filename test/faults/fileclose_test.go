package faults

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about files that are closed while operations on them are under
// way, and whose descriptor's number is used again.

// other is a file somewhere else.
func other(t *testing.T) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(name, pattern(2*block, 0, 7), 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// untouched wants the file to be as it was made.
func untouched(t *testing.T, f *os.File) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.Len(t, got, 2*block)
	requirePattern(t, got, 0, 7)
}

// What the kernel has goes on in the file that it was submitted to: the kernel
// keeps that, and the descriptor is closed at once.
func TestFileClosedInFlight(t *testing.T) {
	r := newRig(t, 2)
	f := r.file(asyncMount, held("f", 2*block))
	in, out := r.buffer(block, 0, 9), r.buffer(block, block, 1)
	r.submit(libaio.Pread(f, in, 0), libaio.Pwrite(f, out, block))
	r.await("f", 2)
	fd := f.FD()
	require.NoError(t, f.Close())
	r.awaitKind("f", "flush", 1)
	o := other(t)
	require.Equal(t, fd, int(o.Fd()), "the number was not used again, so this shows nothing")
	require.Zero(t, r.count("f", "release"), "the kernel has let go of a file in flight")

	r.open("g")
	for range 2 {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, block, c.N)
	}
	requirePattern(t, in.Bytes(), 0, 0)
	requirePattern(t, r.data("f")[block:], block, 1)
	untouched(t, o)
	r.awaitKind("f", "release", 1)
}

// What waits for a sender keeps the descriptor open until it was sent.
func TestFileClosedBeforeItIsSent(t *testing.T) {
	r := newRig(t, senders+2)
	let := r.holdSenders()
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(2*block, 0, 0)})
	in, out := r.buffer(block, 0, 9), r.buffer(block, block, 1)
	r.submit(libaio.Pread(f, in, 0), libaio.Pwrite(f, out, block))
	fd := f.FD()
	require.NoError(t, f.Close())
	var others []*os.File
	for range 3 {
		o := other(t)
		require.NotEqual(t, fd, int(o.Fd()), "the number is free before its operations were sent")
		others = append(others, o)
	}
	require.Zero(t, r.count("f", "flush"))
	_, err := r.q.TrySubmit(libaio.Pread(f, in, 0))
	require.ErrorIs(t, err, os.ErrClosed)

	let()
	for range 2 {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, block, c.N)
	}
	requirePattern(t, in.Bytes(), 0, 0)
	requirePattern(t, r.data("f")[block:], block, 1)
	for _, o := range others {
		untouched(t, o)
	}
	r.awaitKind("f", "release", 1)
}

// An operation that is withdrawn before it was sent gives its file back.
func TestFileClosedAndCancelled(t *testing.T) {
	r := newRig(t, senders+2)
	let := r.holdSenders()
	f := r.file(asyncMount, Spec{Name: "f", Data: pattern(block, 0, 0)})
	r.submit(libaio.Pread(f, r.buffer(block, 0, 9), 0).WithTag(1))
	require.NoError(t, f.Close())
	require.Zero(t, r.count("f", "flush"))
	require.Equal(t, 1, r.q.Cancel(1))
	require.Error(t, r.receive().Err)
	r.awaitKind("f", "release", 1)
	require.Empty(t, r.moves("f"))
	let()
}
