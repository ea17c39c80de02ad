package pebblevfs

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A write between the flush of a read and the making of its stream: the stream is
// older than the write, and does not serve what is read behind it.
func TestWriteBetweenFlushAndStream(t *testing.T) {
	fs := New(&Options{Queue: newQueue(t)})
	name := filepath.Join(t.TempDir(), "data")
	w, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	defer w.Close()
	_, err = w.Write(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	opened, err := fs.Open(name, vfs.SequentialReadsOption)
	require.NoError(t, err)
	defer opened.Close()
	r := opened.(*file)

	r.mu.Lock() // what r.ReadAt does, with the write in the middle of it
	writes := r.node.writes.Load()
	require.NoError(t, r.node.flush())
	_, err = w.Write(make([]byte, 10))
	require.NoError(t, err)
	n, err := r.ahead.readAt(r, make([]byte, 20), 0, writes)
	r.mu.Unlock()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 10, n)

	require.NoError(t, w.Sync())
	n, err = r.ReadAt(make([]byte, 10), 10)
	require.NoError(t, err, "what was synced is read")
	require.Equal(t, 10, n)
}
