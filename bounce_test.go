//go:build linux

package libaio

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// bounced reads through a bounce Buffer.
func bounced(t *testing.T, f *File) {
	t.Helper()
	p := make([]byte, block)
	_, err := f.ReadAt(p[1:], 1)
	require.NoError(t, err)
	require.Positive(t, bounces.pool().Stats().Buffers)
}

// The memory goes back when it was idle, and with the last File that used it.
func TestBounceGoesBack(t *testing.T) {
	require.Zero(t, bounces.users.Load())
	g := bounces.pool().budget
	require.Equal(t, bounceTrimAfter, g.trimAfter)
	f, other := newFile(t, 2*block), newFile(t, 2*block)
	bounced(t, f)
	g.tick()
	g.tick()
	require.Zero(t, bounces.pool().Stats().Buffers, "idle")

	bounced(t, f)
	bounced(t, other)
	require.NoError(t, f.Close())
	require.Positive(t, bounces.pool().Stats().Buffers, "of a File that may use it again")
	require.NoError(t, other.Close())
	require.Zero(t, bounces.pool().Stats().Buffers, "of no File")
}

// Beyond the limit there is memory, but it is not kept; nor is what is too large
// or aligned to more.
func TestBounceLimit(t *testing.T) {
	before := Memory()
	var all []*bounce
	for i := range bounceLimit/bounceSize + 1 {
		b, err := bounces.get(bounceSize, bounceAlign)
		require.NoError(t, err)
		require.Equal(t, i < bounceLimit/bounceSize, b.buf.pool != nil)
		all = append(all, b)
	}
	for _, c := range [][2]int{{bounceSize + 1, 512}, {512, 2 * bounceAlign}} {
		b, err := bounces.get(c[0], c[1])
		require.NoError(t, err)
		require.Nil(t, b.buf.pool)
		require.GreaterOrEqual(t, len(b.bytes(c[0])), c[0])
		require.Zero(t, b.buf.address()%uintptr(c[1]))
		all = append(all, b)
	}
	for _, b := range all {
		bounces.put(b)
	}
	require.EqualValues(t, bounceLimit, bounces.pool().Trim())
	require.Equal(t, before, Memory())
}

// What the kernel still has, of an operation that was abandoned, is nobody
// else's: neither the memory nor the view.
func TestBounceAbandoned(t *testing.T) {
	before := Memory()
	b, err := bounces.get(2*block, block)
	require.NoError(t, err)
	view := b.view(block, block)
	require.True(t, view.pin())
	buf := b.buf
	bounces.put(b)
	for range 10 {
		other, err := bounces.get(2*block, block)
		require.NoError(t, err)
		require.NotSame(t, buf, other.buf)
		require.NotSame(t, b, other)
		bounces.put(other)
	}
	require.Same(t, buf, view.root)
	view.drop()
	require.False(t, buf.InFlight())
	bounces.pool().Trim()
	require.Equal(t, before, Memory())
}
