package property

import (
	"runtime"
	"testing"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The memory is the caller's when its completion can be seen, not a moment
// later. Vectors of many parts would make that moment long.
func TestMemoryIsBackWithTheCompletion(t *testing.T) {
	d := newDisk(t)
	const parts = 1024
	b, err := libaio.Alloc(parts*d.unit, blockSize)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Free()) }()
	views := make([]*libaio.Buffer, parts)
	for i := range views {
		views[i] = slice(t, b, i*d.unit, d.unit)
	}
	q, err := libaio.NewQueue(4, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	files := []*libaio.File{d.file, libaio.BorrowFD(1<<20, "bad")}

	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(files).Draw(t, "file")
		n := rapid.IntRange(parts/2, parts).Draw(t, "parts")
		seen := make(chan bool)
		go func() {
			deadline := time.Now().Add(patience)
			for len(q.Completions()) == 0 && time.Now().Before(deadline) {
				if runtime.GOMAXPROCS(0) == 1 {
					runtime.Gosched()
				}
			}
			seen <- b.InFlight()
		}()
		_, err := q.TrySubmit(libaio.Preadv(f, views[:n], 0))
		require.NoError(t, err)
		require.False(t, <-seen, "in flight beside its completion")
		require.Len(t, q.Completions(), 1)
		<-q.Completions()
	})
}
