package main

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	var out bytes.Buffer
	rows := []*row{rounds(t, "channel", 3000, 1000, 2500), rounds(t, "ReadAt", 1000, 1000)}
	rows[1].threads = 0
	require.NoError(t, writeReport(&out, &benchOptions{Size: 1 << 30, Rounds: 3}, rows))

	table := tableRows(t, out.String())
	require.Len(t, table, 2)
	assert.Equal(t, tableRow{
		"depth": "4", "contender": "channel", "IOPS": "2,500", "min-max": "1,000-3,000", "MB/s": "10.2",
		"p50 µs": table[0]["p50 µs"], "p99 µs": table[0]["p99 µs"],
		"CPU µs/op": "1.0", "threads": "3", "vs ReadAt": "2.50x",
	}, table[0])
	assert.InEpsilon(t, 1000.0, table[0].number(t, "p50 µs"), 0.01)
	assert.InEpsilon(t, 1000.0, table[0].number(t, "p99 µs"), 0.01)
	assert.Equal(t, "?", table[1]["threads"])
	assert.Equal(t, "1.00x", table[1]["vs ReadAt"])
	assert.Contains(t, out.String(), "All 8,500 blocks")
	assert.Contains(t, out.String(), "file: 1.0 GiB; rounds: 3")
}

func TestReportThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	err = writeReport(full, &benchOptions{}, []*row{rounds(t, "channel", 1), rounds(t, "ReadAt", 1)})
	assert.ErrorContains(t, err, "no space left")
}

func TestTwoErrorsAreOneLine(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	assert.NoError(t, alongside(nil, nil))
	assert.Equal(t, a, alongside(a, nil))
	assert.Equal(t, b, alongside(nil, b))
	both := alongside(a, b)
	assert.EqualError(t, both, "a; and b")
	assert.ErrorIs(t, both, a)
	assert.ErrorIs(t, both, b)
}
