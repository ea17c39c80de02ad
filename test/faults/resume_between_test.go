package faults

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about what happens between the pieces of a transfer.

// pieces is a file whose read comes in three pieces of a block: the second and
// third wait for their gates.
func pieces(name string) Spec {
	return Spec{
		Name: name, Data: pattern(3*block, 0, 0),
		Script: []answer{short(block), short(block).behind("second"), short(block).behind("third")},
	}
}

// A File that is closed between the pieces keeps its descriptor up to the last
// of them, so that they all go to it.
func TestFileClosedBetweenPieces(t *testing.T) {
	for _, mount := range []string{asyncMount, syncMount} {
		t.Run(mount, func(t *testing.T) {
			r := newRig(t, 2)
			f := r.file(mount, pieces("f"))
			b := r.buffer(3*block, 0, 9)
			done := r.submitBeside(libaio.Pread(f, b, 0).WithResume())
			r.await("f", 2)
			fd := f.FD()
			require.NoError(t, f.Close())
			var others []*libaio.File
			for range 3 { // they would take the number at once
				name := filepath.Join(t.TempDir(), "other")
				require.NoError(t, os.WriteFile(name, pattern(3*block, 0, 7), 0o600))
				o, err := os.Open(name)
				require.NoError(t, err)
				defer o.Close()
				others = append(others, libaio.BorrowFD(int(o.Fd()), name))
			}
			r.open("second")
			r.await("f", 3)
			require.Zero(t, r.count("f", "flush"), "the descriptor is closed before the last piece has come")
			for _, o := range others {
				require.NotEqual(t, fd, o.FD())
			}
			r.open("third")
			c := r.receive()
			require.NoError(t, result(t, "Submit", done))
			require.NoError(t, c.Err)
			require.Equal(t, 3*block, c.N)
			requirePattern(t, b.Bytes(), 0, 0)
			r.awaitKind("f", "release", 1) // and then it is closed
			require.Equal(t, 1, r.count("f", "flush"))
		})
	}
}

// A Do that is cancelled while the kernel has a piece: that piece is the last,
// and gives memory and file back.
func TestDoCancelledDuringPiece(t *testing.T) {
	r := newRig(t, 1)
	f := r.file(asyncMount, pieces("f"))
	before := libaio.Memory()
	b := r.buffer(3*block, 0, 9)
	ctx, cancel := context.WithCancel(context.Background())
	done := r.doBeside(ctx, libaio.Pread(f, b, 0).WithResume())
	r.await("f", 2)
	cancel()
	d := result(t, "Do", done)
	require.Equal(t, block, d.n, "the first piece")
	require.ErrorIs(t, d.err, context.Canceled)
	require.ErrorIs(t, d.err, libaio.ErrInFlight)

	require.ErrorIs(t, b.Free(), libaio.ErrInFlight)
	require.NoError(t, b.Release())
	require.NoError(t, f.Close())
	require.NotEqual(t, before, libaio.Memory())
	require.Zero(t, r.count("f", "flush"))
	r.open("second", "third")
	r.inFlight(0)
	requireMemory(t, before)
	r.awaitKind("f", "release", 1)
	require.Len(t, r.moves("f"), 2, "no piece behind the cancellation")
}

// betweenPieces has an operation come back short while all senders are held: its
// remainder is with the queue, and not with the kernel.
func (r *rig) betweenPieces(start func(f *libaio.File, b *libaio.Buffer)) (let func()) {
	r.t.Helper()
	f := r.file(asyncMount, Spec{
		Name: "f", Data: pattern(3*block, 0, 0),
		Script: []answer{short(block).behind("first")},
	})
	start(f, r.buffer(3*block, 0, 9))
	r.await("f", 1)
	let = r.holdSenders()
	r.open("first")
	r.awaitStats("the remainder pending", func(s libaio.Stats) bool { return s.Resumed == 1 })
	return let
}

// A Do that is cancelled while the remainder is with the queue: nothing is
// in flight any more.
func TestDoCancelledBetweenPieces(t *testing.T) {
	r := newRig(t, senders+1)
	ctx, cancel := context.WithCancel(context.Background())
	var done <-chan did
	var buf *libaio.Buffer
	let := r.betweenPieces(func(f *libaio.File, b *libaio.Buffer) {
		buf = b
		done = r.doBeside(ctx, libaio.Pread(f, b, 0).WithResume())
	})
	cancel()
	d := result(t, "Do", done)
	require.Equal(t, block, d.n)
	require.ErrorIs(t, d.err, context.Canceled)
	require.NotErrorIs(t, d.err, libaio.ErrInFlight)
	require.False(t, buf.InFlight())
	requirePattern(t, buf.Bytes()[:block], 0, 0)
	require.NoError(t, buf.Free())
	let()
	require.Len(t, r.moves("f"), 1)
}

// Cancel finds the remainder that is with the queue.
func TestCancelBetweenPieces(t *testing.T) {
	r := newRig(t, senders+1)
	let := r.betweenPieces(func(f *libaio.File, b *libaio.Buffer) {
		r.submit(libaio.Pread(f, b, 0).WithResume().WithTag(3))
	})
	require.Equal(t, 1, r.q.Cancel(3))
	require.Zero(t, r.q.Cancel(3))
	c := r.receive()
	require.Equal(t, block, c.N)
	require.ErrorIs(t, c.Err, syscall.ECANCELED)
	require.False(t, c.Buffer.InFlight())
	let()
	require.Len(t, r.moves("f"), 1)
	require.Equal(t, uint64(1), r.q.Stats().Cancelled)
}

// Cancel leaves alone what the kernel has: the transfer goes on to its end.
func TestCancelDuringPiece(t *testing.T) {
	r := newRig(t, 1)
	b := r.buffer(3*block, 0, 9)
	r.submit(libaio.Pread(r.file(asyncMount, pieces("f")), b, 0).WithResume().WithTag(3))
	r.await("f", 2)
	require.Zero(t, r.q.Cancel(3))
	r.open("second", "third")
	c := r.receive()
	require.NoError(t, c.Err)
	require.Equal(t, 3*block, c.N)
	requirePattern(t, b.Bytes(), 0, 0)
}

// Close waits for the whole, pieces that were not sent yet included.
func TestCloseDuringPiece(t *testing.T) {
	r := newRig(t, 1)
	f := r.file(asyncMount, pieces("f"))
	b := r.buffer(3*block, 0, 9)
	r.submit(libaio.Pread(f, b, 0).WithResume())
	r.await("f", 2)
	closed := r.closeBeside()
	requireOpen(t, closed)
	r.open("second")
	r.await("f", 3)
	requireOpen(t, closed)
	r.open("third")
	require.NoError(t, result(t, "Close", closed))
	c := r.receive()
	require.NoError(t, c.Err)
	require.Equal(t, 3*block, c.N)
	requirePattern(t, b.Bytes(), 0, 0)
}
