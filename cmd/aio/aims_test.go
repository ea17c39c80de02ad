package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// aimLines are the fields of each line behind the heading.
func aimLines(t *testing.T, results []*result) (lines [][]string) {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, writeAims(&out, results))
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// The median of the ratios, 2, is not the ratio of the medians, 1: rounds are
// compared each with its own.
func TestAimsCompareRoundByRound(t *testing.T) {
	c := cell{"loop", workloads[0], 128}
	results := []*result{
		{cell: c, contender: "channel", rounds: outcomes(200, 400, 100)},
		{cell: c, contender: "fio-libaio", rounds: outcomes(100, 200, 300)},
	}
	lines := aimLines(t, results)
	require.Len(t, lines, 1)
	assert.Equal(t, strings.Fields("loop randread-4k 128 IOPS, channel / fio-libaio 2.00 0.33-2.00 ≥ 1 met"), lines[0])
}

func TestAimsAreMetOrMissed(t *testing.T) {
	c := cell{"disk", workloads[0], 1}
	for _, x := range []struct {
		do      int64 // requests, where readat has 1000; latencies go the other way
		verdict string
	}{{1000, "met"}, {900, "missed"}, {1100, "met"}} {
		lines := aimLines(t, []*result{
			{cell: c, contender: "do", rounds: outcomes(x.do)},
			{cell: c, contender: "readat", rounds: outcomes(1000)},
		})
		require.Len(t, lines, 1)
		assert.Equal(t, "p50", lines[0][3])
		assert.Equal(t, x.verdict, lines[0][len(lines[0])-1])
	}
}

func TestAimOfNothingHasNoVerdict(t *testing.T) {
	c := cell{"zram", workloads[0], 1}
	lines := aimLines(t, []*result{
		{cell: c, contender: "c-2", rounds: outcomes(2000)},
		{cell: c, contender: "c", rounds: outcomes(1000)},
	})
	require.Len(t, lines, 1)
	assert.Equal(t, strings.Fields("zram randread-4k 1 IOPS, c-2 / c 2.00 2.00-2.00"), lines[0])
}

func TestAimsNeedBothContenders(t *testing.T) {
	c := cell{"disk", workloads[0], 32}
	assert.Empty(t, aimLines(t, []*result{{cell: c, contender: "channel", rounds: outcomes(1)}}))
	other := cell{"disk", workloads[0], 128}
	assert.Empty(t, aimLines(t, []*result{
		{cell: c, contender: "channel", rounds: outcomes(1)},
		{cell: other, contender: "fio-libaio", rounds: outcomes(1)},
	}))
}

func TestAimsNameWhatThereIs(t *testing.T) {
	for _, a := range aims {
		for _, name := range append([]string{a.a, a.b}, a.targets...) {
			assert.Contains(t, append(append(targetNames(), workloadNames()...), rivalNames()...), name)
		}
		for _, name := range a.workloads {
			assert.Contains(t, workloadNames(), name)
		}
	}
}
