package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var recordKeys = []string{
	"allocs_per_op", "block_size", "contender", "cpu_ns_per_op", "depth", "iops", "iops_max", "iops_min",
	"p50_us", "p999_us", "p99_us", "rounds", "target", "threads", "vol_ctx_switches_per_op", "workload",
}

func readRecords(t *testing.T, path string) (records []record) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var raw []map[string]any
	require.NoError(t, json.Unmarshal(b, &raw))
	for _, r := range raw {
		var keys []string
		for k := range r {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		require.Equal(t, recordKeys, keys)
	}
	require.NoError(t, json.Unmarshal(b, &records))
	return records
}

func TestRecordsAreMediansOfRounds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "compare.json")
	results := []*result{{cell: cell{"loop", workloads[1], 8}, contender: "reap", rounds: outcomes(1000, 4000, 2000)}}
	require.NoError(t, writeRecords(path, results))
	assert.Equal(t, []record{{
		Target: "loop", Workload: "seqread-1m", BlockSize: 1 << 20, Depth: 8, Contender: "reap",
		IOPS: 2000, IOPSMin: 1000, IOPSMax: 4000, CPUNsPerOp: 5000, P50Us: 500, P99Us: 1000, P999Us: 1500,
		Threads: 40, AllocsPerOp: 0.25, VolCtxSwitchesPerOp: 0.5, Rounds: 3,
	}}, readRecords(t, path))
}

func TestPublishedAreThoseForEverything(t *testing.T) {
	c := cell{"zram", workloads[1], 1}
	results := []*result{{cell: c, contender: "reap"}, {cell: c, contender: "reap-2"}, {cell: c, contender: "stream"}}
	assert.Equal(t, results[:1], published(results))
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 3.0, median([]float64{9, 1, 3}))
	assert.Equal(t, 2.0, median([]float64{9, 1, 3, 0}))
}

func TestWriteRecordsThatCannotBeWritten(t *testing.T) {
	assert.ErrorIs(t, writeRecords(filepath.Join(t.TempDir(), "no", "such"), nil), os.ErrNotExist)
}
