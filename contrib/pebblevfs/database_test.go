//go:build linux

package pebblevfs

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func open(t testing.TB, fs vfs.FS, dir string) *pebble.DB {
	t.Helper()
	cache := pebble.NewCache(1 << 20) // small, so that reads come from the files
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, Cache: cache, Logger: quiet{t}, MemTableSize: 256 << 10, LBaseMaxBytes: 1 << 20,
	})
	require.NoError(t, err)
	return db
}

// quiet passes on only what is wrong.
type quiet struct{ t testing.TB }

func (quiet) Infof(string, ...any)                {}
func (l quiet) Errorf(format string, args ...any) { l.t.Errorf(format, args...) }
func (l quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// model is what the database must hold.
type model map[string]string

// change makes one change to both.
func (m model) change(t *testing.T, db *pebble.DB, rng *rand.Rand, sync *pebble.WriteOptions) {
	key := fmt.Sprintf("key-%05d", rng.IntN(20000))
	switch rng.IntN(100) {
	case 0:
		end := fmt.Sprintf("%s-%d", key[:len(key)-1], 9)
		require.NoError(t, db.DeleteRange([]byte(key), []byte(end), sync))
		for k := range m {
			if k >= key && k < end {
				delete(m, k)
			}
		}
	case 1, 2, 3, 4, 5, 6, 7, 8, 9:
		require.NoError(t, db.Delete([]byte(key), sync))
		delete(m, key)
	default:
		value := make([]byte, rng.IntN(1000))
		for i := range value {
			value[i] = byte(rng.Uint32())
		}
		require.NoError(t, db.Set([]byte(key), value, sync))
		m[key] = string(value)
	}
}

// check wants exactly what the model has in the database, and its levels right.
func (m model) check(t *testing.T, db *pebble.DB) {
	t.Helper()
	require.NoError(t, db.CheckLevels(nil))
	it, err := db.NewIter(nil)
	require.NoError(t, err)
	n := 0
	for it.First(); it.Valid(); it.Next() {
		require.Equal(t, m[string(it.Key())], string(it.Value()), "key %s", it.Key())
		n++
	}
	require.NoError(t, it.Close())
	require.Len(t, m, n)
	n = 0
	for k, v := range m {
		if n++; n > 500 {
			break
		}
		got, closer, err := db.Get([]byte(k))
		require.NoError(t, err, "key %s", k)
		require.Equal(t, v, string(got), "key %s", k)
		require.NoError(t, closer.Close())
	}
}

func TestDatabaseIsThereAfterReopening(t *testing.T) {
	q := newQueue(t)
	dir := filepath.Join(t.TempDir(), "db")
	rng := rand.New(rand.NewPCG(3, 3))
	changes := 10000
	if testing.Short() {
		changes = 3000
	}
	m := model{}
	for round := range 4 {
		db := open(t, New(&Options{Queue: q}), dir)
		m.check(t, db)
		for i := range changes {
			sync := pebble.NoSync
			if i%500 == 0 {
				sync = pebble.Sync
			}
			m.change(t, db, rng, sync)
		}
		requireDirect(t, dir)
		if round == 2 {
			require.NoError(t, db.Compact(t.Context(), []byte("a"), []byte("z"), true))
		}
		m.check(t, db)
		checkpoint := filepath.Join(dir, fmt.Sprintf("checkpoint-%d", round))
		require.NoError(t, db.Checkpoint(checkpoint, pebble.WithFlushedWAL()))
		require.NoError(t, db.Close())

		// What is on disk is right for other file systems as well.
		for _, fs := range []vfs.FS{New(&Options{Queue: q}), vfs.Default} {
			db = open(t, fs, checkpoint)
			m.check(t, db)
			require.NoError(t, db.Close())
		}
	}
	require.Greater(t, q.Stats().Completed, uint64(1000), "the database did not use the queue")
}

// requireDirect wants open tables and logs below dir, each with a descriptor that
// does direct I/O. Pebble opens and closes them meanwhile, so it looks again.
func requireDirect(t *testing.T, dir string) {
	t.Helper()
	var direct map[string]bool
	require.Eventually(t, func() bool {
		direct = directFiles(t, dir)
		return len(direct) > 0 && !slices.Contains(slices.Collect(maps.Values(direct)), false)
	}, 10*time.Second, 10*time.Millisecond, "some are open for buffered I/O alone: %v", &direct)
}

// directFiles says of each open table and log below dir if it does direct I/O.
func directFiles(t *testing.T, dir string) map[string]bool {
	t.Helper()
	direct := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		name, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(name, dir) || strings.HasSuffix(name, "(deleted)") {
			continue
		}
		if ext := filepath.Ext(name); ext == ".sst" || ext == ".log" {
			direct[name] = direct[name] || isDirect(fd.Name())
		}
	}
	return direct
}

func isDirect(fd string) bool {
	text, _ := os.ReadFile("/proc/self/fdinfo/" + fd) // gone meanwhile: not direct
	for line := range strings.Lines(string(text)) {
		var flags int
		if _, err := fmt.Sscanf(line, "flags: %o", &flags); err == nil {
			return flags&syscall.O_DIRECT != 0
		}
	}
	return false
}

const killedEnv = "PEBBLEVFS_TEST_KILLED"

// TestSyncedSurvivesKill kills a process that writes, and looks for all that it
// had been told was synced.
func TestSyncedSurvivesKill(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	dir := filepath.Join(t.TempDir(), "db")
	synced := 0
	for range rounds {
		synced = writeUntilKilled(t, dir, synced+150)
		db := open(t, New(&Options{Queue: newQueue(t)}), dir)
		require.NoError(t, db.CheckLevels(nil))
		for i := range synced + 1 {
			value, closer, err := db.Get(numbered(i))
			require.NoError(t, err, "number %d of %d", i, synced)
			require.Equal(t, string(bulky(i)), string(value))
			require.NoError(t, closer.Close())
		}
		require.NoError(t, db.Close())
	}
}

// writeUntilKilled kills a process that writes and has told that this many numbers
// are synced, and returns the last one it told.
func writeUntilKilled(t *testing.T, dir string, enough int) (last int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestToBeKilled$")
	cmd.Env = append(os.Environ(), killedEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	last = -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, err := fmt.Sscanf(lines.Text(), "synced %d", &last)
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
		t.Skip("the other process of TestSyncedSurvivesKill")
	}
	db := open(t, New(nil), dir)
	for i := 0; ; i++ {
		require.NoError(t, db.Set(numbered(i), bulky(i), pebble.Sync))
		fmt.Println("synced", i)
	}
}

func numbered(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

// bulky makes a value whose length and bytes depend on the number.
func bulky(i int) []byte {
	rng := rand.New(rand.NewPCG(4, uint64(i)))
	b := make([]byte, 1+rng.IntN(8000))
	for j := range b {
		b[j] = byte(rng.Uint32())
	}
	return b
}
