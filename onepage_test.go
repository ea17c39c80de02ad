//go:build linux

package libaio_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// As small as can be: one page of memory for many readers of many pages.
func TestPageCacheOfOnePage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	if dir := os.Getenv("LIBAIO_TEST_DIR"); dir != "" {
		name = filepath.Join(dir, "TestPageCacheOfOnePage")
		defer os.Remove(name)
	}
	require.NoError(t, os.WriteFile(name, make([]byte, 8*pageSize), 0o600))
	f, err := libaio.OpenFile(name, os.O_RDONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	q, err := libaio.NewQueue(16, nil)
	require.NoError(t, err)
	defer q.Close()
	cache, err := newPageCache(q, f, pageSize)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range int64(100) {
				b, err := cache.get(ctx, i%8)
				if !assert.NoError(t, err) {
					return
				}
				assert.NoError(t, b.Release())
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, pageSize, cache.pool.Stats().Peak)
	require.NoError(t, cache.close())
	require.Zero(t, cache.pool.Stats().Bytes)
}
