package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCompareReport(t *testing.T) {
	r := comparison{bench: &benchOptions{Size: 512 << 20, Rounds: 3}, results: someResults()}
	r.skip("zram", skipped("needs root"))
	var out bytes.Buffer
	require.NoError(t, r.report(&out))
	said := out.String()
	assert.Contains(t, said, "O_DIRECT; size: 512 MiB; rounds: 3 of ")
	assert.True(t, strings.HasSuffix(said, "\nskipped: zram: needs root\n"))
	assert.NotContains(t, said, "busy")
	for _, title := range []string{"disk, randread-4k", "disk, seqread-1m", "loop, randread-4k", "loop, seqread-1m"} {
		assert.Equal(t, 1, strings.Count(said, "\n"+title+"\n"))
	}
	var rows [][]string
	for line := range strings.Lines(said) {
		if cells := strings.Fields(line); len(cells) == 11 && (cells[0] == "1" || cells[0] == "32") {
			rows = append(rows, cells)
		}
	}
	require.Len(t, rows, 16)
	assert.Equal(t, strings.Fields("1 channel 2,000 1,000-3,000 5,000 500.0 1000.0 1500.0 30 0.250 0.500"), rows[0])
}

func TestCompareReportOfABusyMachine(t *testing.T) {
	r := comparison{bench: &benchOptions{}, load: 1e6}
	var out bytes.Buffer
	require.NoError(t, r.report(&out))
	assert.Contains(t, out.String(), "This machine was busy before the run (load average 1000000.0, ")
}
