package raftwalvfs

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"github.com/stretchr/testify/require"
)

func newQueue(t *testing.T) *libaio.Queue {
	t.Helper()
	q, err := libaio.NewQueue(16, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	return q
}

// log is a WAL with its metadata, which its own Close leaves open, and locked.
type log struct {
	*wal.WAL
	meta *metadb.BoltMetaDB
}

// open has small segments, so that there are many.
func open(t *testing.T, dir string, v types.VFS) log {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o777))
	meta := &metadb.BoltMetaDB{}
	w, err := wal.Open(dir, wal.WithSegmentFiler(segment.NewFiler(dir, v)), wal.WithMetaStore(meta),
		wal.WithSegmentSize(64<<10), wal.WithLogger(hclog.NewNullLogger()))
	require.NoError(t, err)
	return log{WAL: w, meta: meta}
}

func (l log) close(t *testing.T) {
	t.Helper()
	require.NoError(t, l.Close())
	require.NoError(t, l.meta.Close())
}

// entry makes the log entry of an index: its length and bytes depend on it.
func entry(index, term uint64) *raft.Log {
	rng := rand.New(rand.NewPCG(index, term))
	data := make([]byte, rng.IntN(5000))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

// check wants exactly the entries of these terms, from first on.
func check(t *testing.T, w log, first uint64, terms []uint64) {
	t.Helper()
	index, err := w.FirstIndex()
	require.NoError(t, err)
	require.Equal(t, first, index)
	index, err = w.LastIndex()
	require.NoError(t, err)
	require.Equal(t, first+uint64(len(terms))-1, index)
	for i, term := range terms {
		want := entry(first+uint64(i), term)
		var got raft.Log
		require.NoError(t, w.GetLog(want.Index, &got))
		require.Equal(t, want.Term, got.Term)
		require.Equal(t, string(want.Data), string(got.Data), "entry %d", want.Index)
	}
}

// TestLogIsThereAfterReopening appends, cuts the head off, and reopens, beside a
// model.
func TestLogIsThereAfterReopening(t *testing.T) {
	q := newQueue(t)
	v := New(&libaio.FileOptions{Queue: q})
	dir := filepath.Join(t.TempDir(), "wal")
	rng := rand.New(rand.NewPCG(6, 6))
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	first, terms := uint64(1), []uint64(nil)
	for round := range rounds {
		w := open(t, dir, v)
		for range 30 {
			batch := make([]*raft.Log, 1+rng.IntN(8))
			for i := range batch {
				batch[i] = entry(first+uint64(len(terms)), uint64(round))
				terms = append(terms, uint64(round))
			}
			require.NoError(t, w.StoreLogs(batch))
		}
		check(t, w, first, terms)
		if cut := rng.IntN(len(terms) / 2); cut > 0 {
			require.NoError(t, w.DeleteRange(first, first+uint64(cut)-1))
			first, terms = first+uint64(cut), terms[cut:]
		}
		check(t, w, first, terms)
		w.close(t)
	}
	// What is on disk is right for the log's own file system as well.
	w := open(t, dir, fs.New())
	check(t, w, first, terms)
	w.close(t)
	require.Greater(t, q.Stats().Completed, uint64(100), "the log did not use the queue")
}

const killedEnv = "RAFTWALVFS_TEST_KILLED"

// TestStoredSurvivesKill kills a process that appends, and looks for all that it
// had been told was stored.
func TestStoredSurvivesKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	for round := range 4 {
		stored := storeUntilKilled(t, dir, 100*(round+1))
		w := open(t, dir, New(&libaio.FileOptions{Queue: newQueue(t)}))
		last, err := w.LastIndex()
		require.NoError(t, err)
		require.GreaterOrEqual(t, last, uint64(stored))
		check(t, w, 1, make([]uint64, last))
		w.close(t)
	}
}

// storeUntilKilled kills a process that appends when it has told that this many
// entries are stored, and returns the last one that it told.
func storeUntilKilled(t *testing.T, dir string, enough int) (last int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestToBeKilled$")
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, err := fmt.Sscanf(lines.Text(), "stored %d", &last)
		require.NoError(t, err, lines.Text())
		if last == enough {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
	require.GreaterOrEqual(t, last, enough)
	return last
}

// TestToBeKilled is the other process.
func TestToBeKilled(t *testing.T) {
	dir := os.Getenv(killedEnv)
	if dir == "" {
		t.Skip("the other process of TestStoredSurvivesKill")
	}
	w := open(t, dir, New(nil))
	last, err := w.LastIndex()
	require.NoError(t, err)
	for i := last + 1; ; i++ {
		require.NoError(t, w.StoreLog(entry(i, 0)))
		fmt.Println("stored", i)
	}
}

// TestVFS holds the file system against what types.VFS says.
func TestVFS(t *testing.T) {
	dir := t.TempDir()
	v := New(&libaio.FileOptions{Queue: newQueue(t)})
	_, err := v.ListDir(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = v.OpenReader(dir, "none")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = v.OpenWriter(dir, "none")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorIs(t, v.Delete(dir, "none"), os.ErrNotExist)
	_, err = v.Create(filepath.Join(dir, "none"), "f", 0)
	require.ErrorIs(t, err, os.ErrNotExist)

	w, err := v.Create(dir, "f", 100000)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, "f"))
	require.NoError(t, err)
	require.Equal(t, int64(100000), info.Size())
	_, err = v.Create(dir, "f", 0)
	require.ErrorIs(t, err, os.ErrExist)

	_, err = w.WriteAt([]byte("across the end"), 99990)
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	r, err := v.OpenReader(dir, "f")
	require.NoError(t, err)
	b := make([]byte, 20)
	n, err := r.ReadAt(b, 99988)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "\x00\x00across the end", string(b[:n]))
	require.NoError(t, r.Close())
	require.NoError(t, w.Close())

	names, err := v.ListDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names)
	require.NoError(t, v.Delete(dir, "f"))
	require.NoFileExists(t, filepath.Join(dir, "f"))
}
