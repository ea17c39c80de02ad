package faults

import (
	"context"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
	"github.com/golibaio/libaio/internal/leftover"
)

// This file is what most tests stand on: a file system, a queue, and the checks
// behind every test.

const block = 4096

// rig is a queue and a file system for one test. What it gave out it takes
// back in the right order, and then holds the queue against its contract.
type rig struct {
	*server
	t        testing.TB
	q        *libaio.Queue
	before   libaio.MemoryStats
	buffers  []*libaio.Buffer
	files    []*libaio.File
	accepted int // operations that owe a completion on the channel
	received int
}

// newRig makes a rig with a queue of this depth.
func newRig(t testing.TB, depth int) *rig {
	t.Helper()
	r := &rig{server: startServer(t), t: t, before: libaio.Memory()}
	q, err := libaio.NewQueue(depth, nil)
	require.NoError(t, err)
	r.q = q
	t.Cleanup(r.finish)
	return r
}

// finish closes everything. A test that failed may have left gates closed:
// without the server, all that is in flight ends.
func (r *rig) finish() {
	if r.t.Failed() {
		r.kill()
	}
	if r.close() != nil {
		r.t.Error("Close has an error")
	}
	for range r.q.Completions() {
		r.received++
	}
	for _, f := range r.files {
		f.Close()
	}
	for _, b := range r.buffers {
		b.Release() // a test may have given it back
	}
	if r.t.Failed() {
		return
	}
	s := r.q.Stats()
	require.Equal(r.t, s.Submitted, s.Completed, "exactly one completion for each accepted operation")
	require.Zero(r.t, s.InFlight)
	require.Equal(r.t, r.accepted, r.received, "completions on the channel")
	requireMemory(r.t, r.before)
}

// file makes a file on the server and opens it for direct I/O in a mount.
func (r *rig) file(mount string, s Spec) *libaio.File {
	r.t.Helper()
	r.call("Add", s, new(bool))
	return r.reopen(mount, s.Name)
}

// reopen opens a file that is there.
func (r *rig) reopen(mount, name string) *libaio.File {
	r.t.Helper()
	f, err := libaio.OpenFile(r.path(mount, name), os.O_RDWR, 0)
	require.NoError(r.t, err)
	r.files = append(r.files, f)
	return f
}

// plain makes a file and opens it without O_DIRECT, which the library knows:
// it then sees no demand for alignment.
func (r *rig) plain(mount string, s Spec) *libaio.File {
	r.t.Helper()
	r.call("Add", s, new(bool))
	f, err := os.OpenFile(r.path(mount, s.Name), os.O_RDWR, 0)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { f.Close() })
	return libaio.BorrowFD(int(f.Fd()), f.Name())
}

// buffer allocates one that holds the pattern of an offset and version.
func (r *rig) buffer(size int, offset int64, version byte) *libaio.Buffer {
	r.t.Helper()
	b, err := libaio.Alloc(size, block)
	require.NoError(r.t, err)
	r.buffers = append(r.buffers, b)
	copy(b.Bytes(), pattern(size, offset, version))
	return b
}

// submit gives operations to the queue, which must accept them all in time.
func (r *rig) submit(ops ...libaio.Op) {
	r.t.Helper()
	require.NoError(r.t, result(r.t, "Submit", r.submitBeside(ops...)))
}

// submitBeside is Submit in a goroutine: the sync mount holds it.
func (r *rig) submitBeside(ops ...libaio.Op) <-chan error {
	r.accepted += len(ops)
	ctx := r.context()
	return beside(func() error {
		_, err := r.q.Submit(ctx, ops...)
		return err
	})
}

// did is what a Do returned.
type did struct {
	n   int
	err error
}

// doBeside is Do in a goroutine.
func (r *rig) doBeside(ctx context.Context, op libaio.Op) <-chan did {
	return beside(func() did {
		n, err := r.q.Do(ctx, op)
		return did{n, err}
	})
}

// do is Do, for a bounded time even where io_submit does not return.
func (r *rig) do(op libaio.Op) (int, error) {
	r.t.Helper()
	d := result(r.t, "Do", r.doBeside(r.context(), op))
	return d.n, d.err
}

// context ends when patience does.
func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// receive takes one completion.
func (r *rig) receive() libaio.Completion {
	r.t.Helper()
	select {
	case c, ok := <-r.q.Completions():
		require.True(r.t, ok, "the channel is closed")
		r.received++
		return c
	case <-time.After(patience):
		r.t.Fatalf("no completion: %+v", r.q.Stats())
		return libaio.Completion{}
	}
}

// awaitStats waits until the counters of the queue are as wanted.
func (r *rig) awaitStats(what string, ok func(libaio.Stats) bool) {
	r.t.Helper()
	eventually(r.t, what, func() bool { return ok(r.q.Stats()) })
}

// inFlight waits until this many operations are in flight.
func (r *rig) inFlight(n int) {
	r.t.Helper()
	r.awaitStats("operations in flight", func(s libaio.Stats) bool { return s.InFlight == n })
}

// senders is how many calls of io_submit a queue has under way at most: its
// maxSenders.
const senders = 16

// holdSenders keeps all senders of the queue inside io_submit, so that what is
// accepted from now on stays with the queue, while what the kernel has goes on.
// They need room for as many operations. The returned function lets them go.
func (r *rig) holdSenders() (let func()) {
	r.t.Helper()
	const name, gate = "holds the senders", "senders"
	f := r.file(syncMount, Spec{Name: name, Data: make([]byte, block), Else: answer{Gate: gate}})
	b := r.buffer(block, 0, 0)
	var held []<-chan did
	for i := range senders {
		held = append(held, r.doBeside(r.context(), libaio.Pread(f, b, 0)))
		r.await(name, i+1)
	}
	return func() {
		r.t.Helper()
		r.open(gate)
		for _, done := range held {
			require.NoError(r.t, result(r.t, "Do", done).err)
		}
	}
}

// beside runs f in a goroutine.
func beside[T any](f func() T) <-chan T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return ch
}

// result waits for what a goroutine sends.
func result[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s hangs:\n%s", what, strings.Join(leftover.Stacks(), "\n\n"))
		panic("unreachable")
	}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("it has not come: %s", what)
		}
	}
}

// pattern is bytes each of which tells its place in the file, and a version:
// a byte at a wrong place is seen wherever it comes from within 64 KiB.
func pattern(size int, offset int64, version byte) []byte {
	p := make([]byte, size)
	var word [8]byte
	for i := range p {
		at := offset + int64(i)
		binary.LittleEndian.PutUint64(word[:], uint64(at/2+1)*0x9E3779B97F4A7C15)
		p[i] = word[6+at%2] ^ version
	}
	return p
}

// requirePattern compares without printing both.
func requirePattern(t testing.TB, p []byte, offset int64, version byte) {
	t.Helper()
	for i, want := range pattern(len(p), offset, version) {
		if p[i] != want {
			t.Fatalf("wrong byte at %d, which is offset %d: %#x, want %#x", i, offset+int64(i), p[i], want)
		}
	}
}
