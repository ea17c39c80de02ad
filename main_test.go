//go:build linux

package libaio

import (
	"os"
	"strconv"
	"testing"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	leftover.Main(m, leftover.Counts{
		"Buffers":                 func() int { return int(Memory().Buffers) },
		"bytes of Buffers":        func() int { return int(Memory().Bytes) },
		"blocks of the allocator": blocksInUse,
	}, func() {
		if q := theDefault.q.Load(); q != nil {
			q.Close()
		}
	})
}

func aioNr(t testing.TB) int {
	t.Helper()
	return atoi(t, readProc("aio-nr"))
}

// threads is the number of OS threads of this process.
func threads(t testing.TB) int {
	t.Helper()
	return len(dirNames(t, "/proc/self/task"))
}

func dirNames(t testing.TB, dir string) []string {
	t.Helper()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	require.NoError(t, err)
	return names
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
