package pebblevfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/metamorphic"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// Pebble's metamorphic test makes a sequence of operations of a seed and writes
// down what each of them returned: the history. It must be the same on any file
// system and with any options. Here one run is on a MemFS, with real crashes
// where the sequence restarts the database, and one is on the file system under
// test.

// opsPerRun is how many operations a history has.
const opsPerRun = 3000

// runs is how many pairs of histories are compared.
func runs() uint64 {
	switch {
	case os.Getenv("LIBAIO_TEST_DEEP") != "":
		return 60
	case testing.Short():
		return 3
	}
	return 6
}

func TestHistoriesAreThoseOfMemFS(t *testing.T) {
	for seed := range runs() {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			q := newQueue(t)
			diff := compareWithMemFS(t, seed, New(&Options{Queue: q}))
			require.Empty(t, diff, "the histories differ: - MemFS, + direct I/O")
			require.Greater(t, q.Stats().Completed, uint64(100), "the database did not use the queue")
		})
	}
}

// compareWithMemFS runs the same operations on a MemFS and on fs, and returns the
// first difference of the histories.
func compareWithMemFS(t *testing.T, seed uint64, fs vfs.FS) (diff string) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "memfs"), filepath.Join(dir, "direct")}
	play(t, seed, "/data", paths[0])
	play(t, seed, filepath.Join(dir, "data"), paths[1], onFS{fs})
	for _, path := range paths {
		requireHistory(t, path)
	}
	_, diff = metamorphic.CompareHistories(t, paths)
	return diff
}

// play runs the operations of a seed with the options of a seed, and writes the
// history. Without a custom option that is on a MemFS.
func play(t *testing.T, seed uint64, dir, history string, custom ...metamorphic.CustomOption) {
	kf := metamorphic.TestkeysKeyFormat
	ops := metamorphic.GenerateOps(rand.New(rand.NewPCG(1, seed)), opsPerRun, kf, metamorphic.DefaultOpConfig())
	// AlwaysStrictFS has every commit wait for a sync, and restarts restart.
	options := metamorphic.RandomOptions(rand.New(rand.NewPCG(2, seed)), kf, metamorphic.RandomOptionsCfg{AlwaysStrictFS: true})
	options.CustomOpts = custom

	w, err := os.Create(history)
	require.NoError(t, err)
	defer w.Close()
	test, err := metamorphic.New(ops, options, dir, w)
	require.NoError(t, err)
	require.NoError(t, metamorphic.Execute(test))
}

// requireHistory wants results and restarts in a history: two empty ones would
// not differ.
func requireHistory(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	results := 0
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("//")) {
			results++
		}
	}
	require.GreaterOrEqual(t, results, opsPerRun/2)
	for _, op := range []string{".Restart()", ".Flush()", ".Compact(", ".Checkpoint(", ".Ingest("} {
		require.Contains(t, string(text), op)
	}
}

// onFS is the option to run on a file system. Pebble's own way to choose one is
// made for a MemFS alone: it takes the innermost file system for one when it
// restarts the database, so the MemFS stays there, unused.
type onFS struct{ fs vfs.FS }

type overMemFS struct {
	vfs.FS
	unused vfs.FS
}

func (o *overMemFS) Unwrap() vfs.FS { return o.unused }

func (o onFS) Name() string  { return "fs" }
func (o onFS) Value() string { return "" }

// Open is called before the database is opened, at first and in each restart.
func (o onFS) Open(opts *pebble.Options) error {
	opts.FS = &overMemFS{FS: o.fs, unused: vfs.Root(opts.FS)}
	if opts.WALFailover != nil {
		opts.WALFailover.Secondary.FS = opts.FS
	}
	return nil
}

// Close is called in each restart, behind the database's own.
func (o onFS) Close(*pebble.Options) error { return nil }
