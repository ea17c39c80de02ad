package pebblevfs

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// corruptions are file systems that are wrong in one way each, and what has to be
// said of them. They run in a process of their own, which Pebble ends where it
// finds out by itself.
var corruptions = map[string]struct {
	suffix  string
	corrupt func(vfs.File) vfs.File
	seen    string
}{
	// Pebble cannot know: a log may end anywhere.
	"log without its end": {".log", cutShort, "the histories differ"},
	// Pebble knows by its checksums, and may stop the test before the comparison.
	"table with a flipped bit": {".sst", flipBit, "the histories differ|corruption"},
}

const corruptEnv = "PEBBLEVFS_TEST_CORRUPT"

func TestComparisonSeesCorruption(t *testing.T) {
	for name, c := range corruptions {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestCorrupt$", "-test.v")
			cmd.Env = append(os.Environ(), corruptEnv+"="+name, "TMPDIR="+t.TempDir()) // it may not clean up
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "nothing was noticed")
			require.Regexp(t, c.seen, tail(out))
		})
	}
}

// TestCorrupt is the other process.
func TestCorrupt(t *testing.T) {
	c, ok := corruptions[os.Getenv(corruptEnv)]
	if !ok {
		t.Skip("the other process of TestComparisonSeesCorruption")
	}
	for seed := range runs() {
		fs := &corruptFS{FS: New(nil), suffix: c.suffix, corrupt: c.corrupt}
		diff := compareWithMemFS(t, seed, fs)
		require.Empty(t, diff, "the histories differ: - MemFS, + corrupt")
	}
}

func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// corruptFS spoils what is read from files with a suffix.
type corruptFS struct {
	vfs.FS
	suffix  string
	corrupt func(vfs.File) vfs.File
}

func (fs *corruptFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, fs.suffix) {
		return f, err
	}
	return fs.corrupt(f), nil
}

// cutShort has a file end at once.
func cutShort(f vfs.File) vfs.File { return shortFile{f} }

type shortFile struct{ vfs.File }

func (shortFile) Read([]byte) (int, error) { return 0, io.EOF }

// flipBit has the first bit of each read be wrong.
func flipBit(f vfs.File) vfs.File { return flippedFile{f} }

type flippedFile struct{ vfs.File }

func (f flippedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if n > 0 {
		p[0] ^= 1
	}
	return n, err
}
