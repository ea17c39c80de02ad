//go:build linux

package libaio

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What outlives a bubble of testing/synctest, such as the locks of a file and the
// bounce Buffers, is of use in the next one and outside: the runtime ends the
// program for a channel or a timer of another bubble.
func TestBubbles(t *testing.T) {
	use := func(t *testing.T, name string) {
		q, err := NewQueue(4, nil)
		require.NoError(t, err)
		defer q.Close()
		f, err := OpenFileWith(name, os.O_RDWR, 0, &FileOptions{Queue: q})
		require.NoError(t, err)
		defer f.Close()
		_, err = f.ReadAt(make([]byte, 100), 1)
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, 100), 1)
		require.NoError(t, err)
	}
	for range 3 {
		name := filepath.Join(testDir(t), "x")
		require.NoError(t, os.WriteFile(name, make([]byte, 2*block), 0o600))
		synctest.Test(t, func(t *testing.T) {
			use(t, name)
			time.Sleep(2 * bounceTrimAfter)
		})
		use(t, name)
		require.NoError(t, os.Remove(name)) // the next has its inode
	}
}
