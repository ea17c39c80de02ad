//go:build linux

package libaio_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
)

// cacheOf is a page cache over a file of this content. Its reads are buffered:
// with direct I/O some file systems clear what is behind the end, these never do.
func cacheOf(t *testing.T, content []byte, pages int64) *pageCache {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv("LIBAIO_TEST_DIR"), "libaio-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "data")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	f, err := libaio.NewFile(file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	q, err := libaio.NewQueue(16, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	c, err := newPageCache(q, f, pages*pageSize)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.close()) })
	return c
}

// The example of Pool never shows what another page has left in a Buffer.
func TestPageCacheAtEndOfFile(t *testing.T) {
	c := cacheOf(t, bytes.Repeat([]byte{1}, pageSize+100), 1)
	ctx := context.Background()
	full, err := c.get(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{1}, pageSize), full.Bytes())
	require.NoError(t, full.Release())

	last, err := c.get(ctx, 1) // in the same memory
	require.NoError(t, err)
	want := make([]byte, pageSize)
	copy(want, bytes.Repeat([]byte{1}, 100))
	require.Equal(t, want, last.Bytes())
	require.NoError(t, last.Release())

	_, err = c.get(ctx, 2)
	require.ErrorIs(t, err, io.EOF)
	s := c.pool.Stats()
	require.Equal(t, s.Buffers, s.Idle, "the memory of a page that is not there is lost")
}

// seenContext tells that somebody is about to wait for it.
type seenContext struct {
	context.Context
	seen chan struct{} // capacity 1
}

func (c seenContext) Done() <-chan struct{} {
	select {
	case c.seen <- struct{}{}:
	default:
	}
	return c.Context.Done()
}

// A reader whose context ends while it loads a page fails alone.
func TestPageCacheContextIsItsCallers(t *testing.T) {
	c := cacheOf(t, make([]byte, 2*pageSize), 1)
	held, err := c.get(context.Background(), 0) // all memory there is
	require.NoError(t, err)

	parent, cancel := context.WithCancel(context.Background())
	loader := seenContext{parent, make(chan struct{}, 1)}
	loaded := make(chan error, 1)
	go func() {
		_, err := c.get(loader, 1)
		loaded <- err
	}()
	<-loader.seen // it waits for memory

	other := seenContext{context.Background(), make(chan struct{}, 1)}
	type result struct {
		buf *libaio.Buffer
		err error
	}
	got := make(chan result, 1)
	go func() {
		buf, err := c.get(other, 1)
		got <- result{buf, err}
	}()
	<-other.seen // it waits for the page

	cancel()
	require.ErrorIs(t, <-loaded, context.Canceled)
	require.NoError(t, held.Release())
	r := <-got
	require.NoError(t, r.err)
	require.NoError(t, r.buf.Release())
}
