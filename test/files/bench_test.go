package files

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

const streamSize = 256 * mib

// BenchmarkStreamBesideFio is a Reader and a Writer beside fio with the same block
// size and depth on the same file, by turns. The figure to look at is the ratio.
func BenchmarkStreamBesideFio(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "stream")
	require.NoError(b, os.WriteFile(file, nil, 0o600))
	f := open(b, file, os.O_RDWR)
	fill(b, f, 8)
	require.NoError(b, f.Sync())
	for _, rw := range []string{"read", "write"} {
		for _, depth := range []int{1, 4, 8} {
			b.Run(fmt.Sprintf("%s/depth=%d", rw, depth), func(b *testing.B) {
				var ratios []float64
				var ours, theirs float64
				for b.Loop() {
					start := time.Now()
					if rw == "read" {
						drain(b, f, depth)
					} else {
						fill(b, f, depth)
					}
					ours = streamSize / time.Since(start).Seconds()
					theirs = fioSpeed(b, file, rw, depth)
					ratios = append(ratios, ours/theirs)
				}
				slices.Sort(ratios)
				b.ReportMetric(ours/1e6, "MB/s")
				b.ReportMetric(theirs/1e6, "fio-MB/s")
				b.ReportMetric(ratios[len(ratios)/2], "x-fio")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func drain(b *testing.B, f *libaio.File, depth int) {
	r, err := libaio.NewReader(f, &libaio.ReaderOptions{Depth: depth})
	require.NoError(b, err)
	n, err := io.Copy(io.Discard, r)
	require.NoError(b, err)
	require.EqualValues(b, streamSize, n)
	require.NoError(b, r.Close())
}

func fill(b *testing.B, f *libaio.File, depth int) {
	w, err := libaio.NewWriter(f, &libaio.WriterOptions{Depth: depth})
	require.NoError(b, err)
	p := make([]byte, 64<<10)
	for range streamSize / len(p) {
		_, err = w.Write(p)
		require.NoError(b, err)
	}
	require.NoError(b, w.Close())
}

// fioSpeed is the bytes per second of fio.
func fioSpeed(b *testing.B, file, rw string, depth int) float64 {
	if _, err := exec.LookPath("fio"); err != nil {
		b.Skipf("%v: scripts/deps.sh disks installs it", err)
	}
	out, err := exec.Command("fio", "--name=stream", "--filename="+file, "--rw="+rw, "--bs=256k", fmt.Sprint("--size=", streamSize),
		"--ioengine=libaio", "--direct=1", fmt.Sprint("--iodepth=", depth), "--overwrite=1", "--output-format=json").Output()
	require.NoError(b, err)
	var report struct {
		Jobs []map[string]json.RawMessage
	}
	require.NoError(b, json.Unmarshal(out, &report))
	var side struct {
		Bytes float64 `json:"bw_bytes"`
	}
	require.NoError(b, json.Unmarshal(report.Jobs[0][rw], &side))
	return side.Bytes
}
