//go:build linux

package libaio

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func labelStats(label string) LabelStats {
	for _, s := range MemoryByLabel() {
		if s.Label == label {
			return s
		}
	}
	return LabelStats{}
}

func TestMemoryByLabel(t *testing.T) {
	const label = "TestMemoryByLabel"
	before := Memory()
	var bs []*Buffer
	for _, size := range []int{1, 1000, MapThreshold} {
		b, err := AllocWith(size, block, &AllocOptions{Label: label})
		require.NoError(t, err)
		bs = append(bs, b)
	}
	all := MemoryStats{3, 1001 + MapThreshold}
	require.Equal(t, LabelStats{label, all, all}, labelStats(label))
	require.Equal(t, MemoryStats{before.Buffers + 3, before.Bytes + all.Bytes}, Memory())
	require.GreaterOrEqual(t, PeakMemory().Bytes, Memory().Bytes)
	require.GreaterOrEqual(t, PeakMemory().Buffers, Memory().Buffers)

	require.NoError(t, bs[0].Free())
	require.NoError(t, bs[2].Free())
	require.Equal(t, LabelStats{label, MemoryStats{1, 1000}, all}, labelStats(label), "the peak stays")
	require.NoError(t, bs[1].Release())
	require.Equal(t, LabelStats{label, MemoryStats{}, all}, labelStats(label))
	require.Equal(t, before, Memory())

	p, err := NewPoolWith(512, 512, &PoolOptions{Label: label})
	require.NoError(t, err)
	b, err := p.Get()
	require.NoError(t, err)
	require.Equal(t, MemoryStats{1, 512}, labelStats(label).Live)
	require.NoError(t, p.Put(b))
	require.Equal(t, MemoryStats{1, 512}, labelStats(label).Live, "idle memory is counted")
	require.NoError(t, p.Close())
	require.Equal(t, MemoryStats{}, labelStats(label).Live)
	require.Equal(t, all, labelStats(label).Peak)
}

// The peak is exact: as much as there was while all goroutines had theirs.
func TestPeak(t *testing.T) {
	const label, goroutines, each = "TestPeak", 32, 20
	for round := range 3 {
		var all, done sync.WaitGroup
		all.Add(goroutines)
		for range goroutines {
			done.Go(func() {
				var bs []*Buffer
				for range each {
					b, err := AllocWith(64, 64, &AllocOptions{Label: label})
					if err == nil {
						bs = append(bs, b)
					}
				}
				all.Done()
				all.Wait()
				for _, b := range bs {
					_ = b.Free()
				}
			})
		}
		done.Wait()
		s := labelStats(label)
		require.Equal(t, MemoryStats{goroutines * each, goroutines * each * 64}, s.Peak, "round %d", round)
		require.Zero(t, s.Live)
	}
}
