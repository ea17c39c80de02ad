//go:build linux

package libaio

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// deep is how often the tests of growth repeat what they do: in full when
// LIBAIO_TEST_DEEP is set.
func deep(full, short int) int {
	if os.Getenv("LIBAIO_TEST_DEEP") != "" {
		return full
	}
	return short
}

// residentBytes is how many bytes of this process are in RAM.
func residentBytes(t testing.TB) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, rss int
	_, err = fmt.Sscan(string(statm), &size, &rss)
	require.NoError(t, err)
	return rss * pageSize
}

// requireNoGrowth runs work four times, and wants the process not to be larger
// after the last three than after the first, but for what the Go heap and the C
// library round by.
func requireNoGrowth(t *testing.T, work func()) {
	t.Helper()
	if underASan || debugMemory {
		t.Skip("this build keeps freed memory on purpose")
	}
	const slack = 16 << 20
	work()
	debug.FreeOSMemory() // so that what the Go heap keeps is no part of it
	first := residentBytes(t)
	for range 3 {
		work()
	}
	debug.FreeOSMemory()
	last := residentBytes(t)
	t.Logf("resident: %d KiB after the first of four rounds, %d KiB after the last", first>>10, last>>10)
	require.Less(t, last, first+slack)
}

// Ten million Get and Put, from one goroutine and from many, while the collector
// runs.
func TestPoolGrowth(t *testing.T) {
	const goroutines = 64
	times := deep(2_500_000, 100_000) / goroutines
	p := newPoolWith(t, 2*block, nil)
	requireNoGrowth(t, func() {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for i := range times {
					b, err := p.Get()
					if err != nil {
						t.Error(err)
						return
					}
					b.Bytes()[0] = 1
					if i%1000 == 0 {
						runtime.Gosched()
					}
					if err := p.Put(b); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	require.LessOrEqual(t, p.Stats().Buffers, goroutines)
}

// A hundred thousand Alloc and Free of mixed sizes, of which some hundred are
// live at a time.
func TestAllocGrowth(t *testing.T) {
	times := deep(25_000, 2_000)
	rng := rand.New(rand.NewPCG(3, 4))
	requireNoGrowth(t, func() {
		live := make([]*Buffer, 200)
		for range times {
			i := rng.IntN(len(live))
			if live[i] != nil {
				require.NoError(t, live[i].Free())
			}
			b, err := Alloc(1+rng.IntN(1<<(6+rng.IntN(14))), 1<<(3+rng.IntN(10)))
			require.NoError(t, err)
			b.Bytes()[b.Len()-1] = 1
			live[i] = b
		}
		for _, b := range live {
			if b != nil {
				require.NoError(t, b.Free())
			}
		}
	})
}

// A Pool that grows and is trimmed again and again; what Trim gives back leaves
// the process at once, though Buffers are in use beside it.
func TestTrimGivesBack(t *testing.T) {
	const n = 4096
	p := newPoolWith(t, 2*block, nil)
	requireNoGrowth(t, func() {
		bs := get(t, p, n)
		for _, b := range bs {
			b.Bytes()[0], b.Bytes()[block] = 1, 1
		}
		full := residentBytes(t)
		for i, b := range bs {
			if i%2 == 0 {
				require.NoError(t, p.Put(b))
			}
		}
		require.EqualValues(t, n*block, p.Trim())
		require.Less(t, residentBytes(t), full-n*block*3/4, "half of the pages are idle")
		for i, b := range bs {
			if i%2 == 1 {
				require.NoError(t, p.Put(b))
			}
		}
		p.Trim()
	})
}
