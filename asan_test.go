//go:build linux && asan

package libaio

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

const underASan = true

// TestLeakOnPurpose leaks when it is asked to: that shows that a leak elsewhere
// would be seen. In a loop, as a single block can hide behind a stale pointer.
func TestLeakOnPurpose(t *testing.T) {
	if os.Getenv("LIBAIO_TEST_LEAK") == "" {
		t.Skip("leaks only when LIBAIO_TEST_LEAK is set")
	}
	for range 100 {
		_, errno := sysAlloc(64, 64)
		require.Zero(t, errno)
	}
}

// TestUseAfterFreeOnPurpose likewise.
func TestUseAfterFreeOnPurpose(t *testing.T) {
	if os.Getenv("LIBAIO_TEST_USE_AFTER_FREE") == "" {
		t.Skip("touches freed memory only when LIBAIO_TEST_USE_AFTER_FREE is set")
	}
	b, err := Alloc(64, 64)
	require.NoError(t, err)
	p := b.Bytes()
	require.NoError(t, b.Free())
	p[0]++
}
