//go:build linux

package pebblevfs

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// benchKeys of benchValue bytes are 100 MB.
const (
	benchKeys  = 100_000
	benchValue = 1000
)

// both are Pebble's default file system and this one.
func both(b *testing.B) []named {
	return []named{{"fs=default", vfs.Default}, {"fs=direct", New(&Options{Queue: newQueue(b)})}}
}

type named struct {
	name string
	fs   vfs.FS
}

func onBoth(b *testing.B, bench func(b *testing.B, fs vfs.FS)) {
	for _, n := range both(b) {
		b.Run(n.name, func(b *testing.B) { bench(b, n.fs) })
	}
}

// onBothLoaded is onBoth with a database that is filled once, and read once.
func onBothLoaded(b *testing.B, cacheSize int64, bench func(b *testing.B, db *pebble.DB)) {
	for _, n := range both(b) {
		db := benchOpen(b, filepath.Join(b.TempDir(), "db"), benchOptions(b, n.fs, cacheSize))
		load(b, db)
		scan(b, db)
		b.Run(n.name, func(b *testing.B) { bench(b, db) })
	}
}

func benchOptions(b *testing.B, fs vfs.FS, cacheSize int64) *pebble.Options {
	cache := pebble.NewCache(cacheSize)
	b.Cleanup(cache.Unref)
	return &pebble.Options{FS: fs, Cache: cache, Logger: quiet{b}, MemTableSize: 16 << 20}
}

func benchOpen(b *testing.B, dir string, opts *pebble.Options) *pebble.DB {
	db, err := pebble.Open(dir, opts)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return db
}

// BenchmarkCommit is one commit after the other, each waiting for its sync.
func BenchmarkCommit(b *testing.B) {
	onBoth(b, func(b *testing.B, fs vfs.FS) {
		db := benchOpen(b, filepath.Join(b.TempDir(), "db"), benchOptions(b, fs, 8<<20))
		value := make([]byte, benchValue)
		for i := 0; b.Loop(); i++ {
			require.NoError(b, db.Set(numbered(i), value, pebble.Sync))
		}
	})
}

// BenchmarkCommitParallel is 64 goroutines, on two processors, that do that.
func BenchmarkCommitParallel(b *testing.B) {
	onBoth(b, func(b *testing.B, fs vfs.FS) {
		db := benchOpen(b, filepath.Join(b.TempDir(), "db"), benchOptions(b, fs, 8<<20))
		value := make([]byte, benchValue)
		var next atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := db.Set(numbered(int(next.Add(1))), value, pebble.Sync); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkLoad writes 100 MB of random keys without a sync, flushes and
// compacts: logs and tables at the speed of the disk.
func BenchmarkLoad(b *testing.B) {
	onBoth(b, func(b *testing.B, fs vfs.FS) {
		b.SetBytes(benchKeys * benchValue)
		for b.Loop() {
			db, err := pebble.Open(filepath.Join(b.TempDir(), "db"), benchOptions(b, fs, 8<<20))
			require.NoError(b, err)
			load(b, db)
			require.NoError(b, db.Close())
		}
	})
}

// load fills a database with values that do not compress.
func load(b *testing.B, db *pebble.DB) {
	rng := rand.New(rand.NewPCG(7, 7))
	value := make([]byte, benchValue)
	for _, i := range rng.Perm(benchKeys) {
		for j := 0; j < len(value); j += 8 {
			binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
		}
		require.NoError(b, db.Set(numbered(i), value, pebble.NoSync))
	}
	require.NoError(b, db.Flush())
	require.NoError(b, db.Compact(b.Context(), numbered(0), numbered(benchKeys), true))
}

// BenchmarkGet is random reads by 16 goroutines, on two processors, with a cache that holds a
// part of the data, and with one that holds all of it. The page cache holds all
// in any case, where it is used.
func BenchmarkGet(b *testing.B) {
	for _, cacheMB := range []int64{8, 256} {
		b.Run(fmt.Sprintf("cache=%dMB", cacheMB), func(b *testing.B) {
			onBothLoaded(b, cacheMB<<20, func(b *testing.B, db *pebble.DB) {
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_, closer, err := db.Get(numbered(rand.IntN(benchKeys)))
						if err != nil {
							b.Error(err)
							return
						}
						closer.Close()
					}
				})
			})
		})
	}
}

// BenchmarkScan reads all 100 MB in order.
func BenchmarkScan(b *testing.B) {
	onBothLoaded(b, 8<<20, func(b *testing.B, db *pebble.DB) {
		b.SetBytes(benchKeys * benchValue)
		for b.Loop() {
			scan(b, db)
		}
	})
}

func scan(b *testing.B, db *pebble.DB) {
	it, err := db.NewIter(nil)
	require.NoError(b, err)
	n := 0
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	require.NoError(b, it.Close())
	require.Equal(b, benchKeys, n)
}
