package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outcomes are rounds of so many requests, in a second each.
func outcomes(ops ...int64) (all []*trialOutcome) {
	for _, n := range ops {
		all = append(all, &trialOutcome{
			Ops: n, ElapsedNs: 1e9, CPUNs: n * 5000, Allocs: n / 4, VolCtxSwitches: n / 2, Threads: int(n / 100),
			P50Us: 1e6 / float64(n), P99Us: 2e6 / float64(n), P999Us: 3e6 / float64(n),
		})
	}
	return all
}

// someResults are of two targets, two workloads and two depths.
func someResults() (all []*result) {
	for _, target := range []string{"disk", "loop"} {
		for _, w := range workloads[:2] {
			for _, depth := range []int{1, 32} {
				for i, name := range []string{"channel", "fio-libaio"} {
					n := int64(1000 * depth * (i + 1))
					all = append(all, &result{cell: cell{target, w, depth}, contender: name, rounds: outcomes(n, 3*n, 2*n)})
				}
			}
		}
	}
	return all
}

func TestPlotShowsEveryTargetAndContender(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plot.svg")
	require.NoError(t, writePlot(path, someResults()))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	texts, err := svgTexts(string(content))
	require.NoError(t, err)
	for _, title := range []string{"disk, randread-4k", "disk, seqread-1m", "loop, randread-4k", "loop, seqread-1m"} {
		assert.Equal(t, 1, count(texts, title), title)
	}
	assert.Equal(t, 1, count(texts, "channel"))
	assert.Equal(t, 1, count(texts, "fio-libaio"))
	assert.Equal(t, 0, count(texts, "readat"), "took no part")
	assert.Equal(t, 4, count(texts, "32"), "each depth is marked once in a plot")
}

// A logarithmic axis needs two different ends. The workload that disk lacks has
// an empty place.
func TestPlotOfSingleDepths(t *testing.T) {
	results := []*result{
		{cell: cell{"disk", workloads[0], 1}, contender: "do", rounds: outcomes(5)},
		{cell: cell{"loop", workloads[1], 1024}, contender: "do", rounds: outcomes(5)},
	}
	path := filepath.Join(t.TempDir(), "plot.svg")
	require.NoError(t, writePlot(path, results))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	texts, err := svgTexts(string(content))
	require.NoError(t, err)
	assert.Equal(t, 1, count(texts, "disk, randread-4k"))
	assert.Equal(t, 1, count(texts, "loop, seqread-1m"))
	assert.Equal(t, 0, count(texts, "disk, seqread-1m"))
}

// svgTexts reads the whole document and returns what it writes.
func svgTexts(doc string) (texts []string, err error) {
	decoder := xml.NewDecoder(strings.NewReader(doc))
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return texts, nil
		}
		if err != nil {
			return nil, err
		}
		if text, is := token.(xml.CharData); is {
			texts = append(texts, strings.TrimSpace(string(text)))
		}
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

func TestThereIsAColourForEveryRival(t *testing.T) {
	published := 0
	for _, v := range rivals {
		if !v.special() {
			published++
		}
	}
	assert.GreaterOrEqual(t, len(colours), published)
}
