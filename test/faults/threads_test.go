package faults

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// Hundreds of operations that the server has hold no threads here.
func TestThreads(t *testing.T) {
	const depth = 700 // less than maxBackground, above which io_submit waits
	r := newRig(t, depth)
	f := r.file(asyncMount, held("f", depth*512))
	var ops []libaio.Op
	for i := range depth {
		ops = append(ops, libaio.Pread(f, r.buffer(512, 0, 9), int64(i*512)).WithTag(uint64(i)))
	}
	before := threads(t)
	r.submit(ops[:depth/2]...)
	for _, op := range ops[depth/2:] {
		r.submit(op)
	}
	r.await("f", depth)
	require.Equal(t, depth, r.q.Stats().InFlight)
	require.LessOrEqual(t, threads(t), before+4)

	r.open("g")
	seen := make(map[uint64]bool)
	for range depth {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, 512, c.N)
		require.False(t, seen[c.Tag], "a second completion of %d", c.Tag)
		seen[c.Tag] = true
		requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
	}
	require.LessOrEqual(t, threads(t), before+4)
}

// threads is the number of OS threads of this process.
func threads(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	return len(tasks)
}
