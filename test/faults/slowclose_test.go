package faults

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// close(2) takes as long as the file system likes. Where the queue closes a
// descriptor, because the File was closed while the queue needed it, that must
// hold up nobody else.
func TestSlowCloseHoldsUpNobody(t *testing.T) {
	r := newRig(t, 4)
	s := pieces("f")
	s.Flush = answer{Gate: "flush"}
	f := r.file(asyncMount, s)
	g := r.file(asyncMount, Spec{Name: "g", Data: pattern(block, 0, 0)})
	r.submit(libaio.Pread(f, r.buffer(3*block, 0, 9), 0).WithResume().WithTag(1))
	r.await("f", 2)
	require.NoError(t, f.Close())
	r.open("second", "third")
	r.awaitKind("f", "flush", 1) // the last piece has come, and close(2) is under way

	stats := beside(r.q.Stats)
	n, err := r.do(libaio.Pread(g, r.buffer(block, 0, 9), 0))
	require.NoError(t, err)
	require.Equal(t, block, n)
	result(t, "Stats", stats)
	require.Equal(t, uint64(1), r.receive().Tag)
	r.open("flush")
	r.awaitKind("f", "release", 1)
}
