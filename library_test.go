//go:build linux && cgo && !nolibaio && !aiostatic

package libaio

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What runs is the library that scripts/test-library.sh has found, whose version
// it knows from the package manager.
func TestLoadedLibrary(t *testing.T) {
	want := os.Getenv("LIBAIO_TEST_LIBRARY")
	if want == "" {
		t.Skip("wants LIBAIO_TEST_LIBRARY, as scripts/test-library.sh sets it")
	}
	want, err := filepath.EvalSymlinks(want)
	require.NoError(t, err)
	require.Equal(t, want, Probe(nil).Libaio)
}
