//go:build linux

package libaio

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const block = 4096

// testDir is a folder in a real file system: LIBAIO_TEST_DIR, or the one for
// temporary files.
func testDir(t testing.TB) string {
	t.Helper()
	base := os.Getenv("LIBAIO_TEST_DIR")
	if base == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "libaio-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// ctxOf ends long before the test binary's own time limit, so that a hang
// fails one test and names it.
func ctxOf(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newQueue(t testing.TB, depth int) *Queue {
	t.Helper()
	q, err := NewQueue(depth, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { q.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatalf("Close hangs: %+v", q.Stats())
		}
		checkInvariants(t, q)
	})
	return q
}

// holdSending keeps q from sending anything until the function returned is
// called.
func holdSending(q *Queue) func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watchdog.Stop()
	q.waiting = true
	return func() {
		q.mu.Lock()
		q.waiting = false
		q.flush()
		q.unlock()
	}
}

// checkInvariants holds a closed queue against the contract.
func checkInvariants(t testing.TB, q *Queue) {
	t.Helper()
	s := q.Stats()
	require.Equal(t, s.Submitted, s.Completed, "exactly one completion for each accepted operation")
	require.Zero(t, s.InFlight)
	require.Zero(t, q.promised, "promised slots")
	require.Zero(t, q.owed, "owed places")
	require.Zero(t, q.polls, "polls")
	require.Zero(t, q.quiet, "operations that the leader waits for")
	require.False(t, q.leading)
	require.Empty(t, q.pending)
	require.True(t, q.waiters.none())
	require.Empty(t, q.blocking)
	require.Zero(t, q.sending)
	require.Zero(t, q.stuck)
	require.Zero(t, q.blockers)
	require.Zero(t, q.returning)
	require.Empty(t, q.leftBuffers)
	require.Empty(t, q.leftFiles)
	seen := make(map[uint32]bool)
	for _, i := range q.free {
		require.False(t, seen[i], "slot %d is free twice", i)
		seen[i] = true
	}
}

func newBuffer(t testing.TB, size int) *Buffer {
	t.Helper()
	b, err := Alloc(size, block)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Free()) })
	return b
}

func newBuffers(t testing.TB, n, size int) []*Buffer {
	t.Helper()
	bs := make([]*Buffer, n)
	for i := range bs {
		bs[i] = newBuffer(t, size)
	}
	return bs
}

// word is the content of the test files: each 8-byte word tells where it is.
func word(offset int64, version uint64) uint64 {
	return uint64(offset)*0x9E3779B97F4A7C15 + version
}

func fill(p []byte, offset int64, version uint64) {
	for i := 0; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], word(offset+int64(i), version))
	}
}

// wrongAt is the index of the first wrong word, -1 for none.
func wrongAt(p []byte, offset int64, version uint64) int {
	for i := 0; i+8 <= len(p); i += 8 {
		if binary.LittleEndian.Uint64(p[i:]) != word(offset+int64(i), version) {
			return i
		}
	}
	return -1
}

func requirePattern(t testing.TB, p []byte, offset int64, version uint64) {
	t.Helper()
	if i := wrongAt(p, offset, version); i >= 0 {
		t.Fatalf("wrong word at offset %d", offset+int64(i))
	}
}

// newFile makes a file of this size with the pattern of version 0, open for
// direct I/O.
func newFile(t testing.TB, size int) *File {
	t.Helper()
	name := filepath.Join(testDir(t), "data")
	p := make([]byte, size)
	fill(p, 0, 0)
	require.NoError(t, os.WriteFile(name, p, 0o600))
	return openFile(t, name)
}

func openFile(t testing.TB, name string) *File {
	t.Helper()
	f, err := OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// receive takes n completions, each of which must be there in time.
func receive(t testing.TB, q *Queue, n int) []Completion {
	t.Helper()
	cs := make([]Completion, 0, n)
	for len(cs) < n {
		select {
		case c, ok := <-q.Completions():
			require.True(t, ok, "the channel was closed after %d of %d completions", len(cs), n)
			cs = append(cs, c)
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d completions: %+v", len(cs), n, q.Stats())
		}
	}
	return cs
}

// skipUnderASan skips a test that counts allocations.
func skipUnderASan(t *testing.T) {
	t.Helper()
	if underASan {
		t.Skip("built with -asan, which has Go allocate what it keeps on the stack otherwise")
	}
}

// requireNotHeld wants no operation to keep the file open. The sender lets it go
// behind io_submit, which may be after the completion.
func requireNotHeld(t testing.TB, f *File) {
	t.Helper()
	require.Eventually(t, func() bool { return f.state.Load() == 0 }, time.Minute, time.Millisecond)
}

// skipIfUnlimited skips a test of what is more than the system allows.
func skipIfUnlimited(t testing.TB) {
	t.Helper()
	if l, err := Limits(); err != nil || l.Max >= maxDepth {
		t.Skipf("aio-max-nr is %d, which no depth exceeds (%v)", l.Max, err)
	}
}
