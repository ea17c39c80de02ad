package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBenchPrintsAllRows(t *testing.T) {
	dir := t.TempDir()
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"),
		"--size", "8MiB", "--duration", "50ms", "--rounds", "1")
	require.Equal(t, 0, o.code, o.err)
	assert.Empty(t, names(t, dir), "the file is removed")

	rows := tableRows(t, o.out)
	require.Len(t, rows, 8)
	for i, r := range rows {
		assert.Equal(t, []int{1, 8, 32, 128}[i/2], int(r.number(t, "depth")))
		assert.Equal(t, contenders[i%2].name, r["contender"])
		r.sane(t)
	}
	for i := 0; i < len(rows); i += 2 {
		want := rows[i].number(t, "IOPS") / rows[i+1].number(t, "IOPS")
		assert.InDelta(t, want, rows[i].number(t, "vs ReadAt"), 0.02)
		assert.Equal(t, "1.00x", rows[i+1]["vs ReadAt"])
	}
	assert.Regexp(t, `All [1-9][0-9,]* blocks that were read had the right content`, o.out)
	assert.Contains(t, o.err, "8.0 MiB of 8.0 MiB")
	assert.Equal(t, 8, strings.Count(o.err, "round 1/1"))
}

// tableRow is one line of the table, by heading.
type tableRow map[string]string

var columns = []string{"depth", "contender", "IOPS", "min-max", "MB/s", "p50 µs", "p99 µs", "CPU µs/op", "threads", "vs ReadAt"}

func tableRows(t *testing.T, out string) (rows []tableRow) {
	t.Helper()
	gap := regexp.MustCompile(` {2,}`)
	for line := range strings.Lines(out) {
		cells := gap.Split(strings.TrimSpace(line), -1)
		if len(cells) != len(columns) || cells[0] == columns[0] {
			continue
		}
		row := tableRow{}
		for i, name := range columns {
			row[name] = cells[i]
		}
		rows = append(rows, row)
	}
	require.Contains(t, gap.ReplaceAllString(out, "|"), strings.Join(columns, "|"))
	return rows
}

func (r tableRow) number(t *testing.T, column string) float64 {
	t.Helper()
	return parseNumber(t, r[column])
}

func parseNumber(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(strings.TrimSuffix(strings.ReplaceAll(s, ",", ""), "x"), 64)
	require.NoError(t, err)
	return f
}

// sane checks what holds for a row on any machine.
func (r tableRow) sane(t *testing.T) {
	t.Helper()
	iops := r.number(t, "IOPS")
	assert.Positive(t, iops)
	least, most, found := strings.Cut(r["min-max"], "-")
	require.True(t, found)
	assert.LessOrEqual(t, parseNumber(t, least), iops)
	assert.GreaterOrEqual(t, parseNumber(t, most), iops)
	assert.InDelta(t, iops*blockSize/1e6, r.number(t, "MB/s"), 0.06)
	assert.Positive(t, r.number(t, "p50 µs"))
	assert.GreaterOrEqual(t, r.number(t, "p99 µs"), r.number(t, "p50 µs"))
	assert.GreaterOrEqual(t, r.number(t, "CPU µs/op"), 0.0)
	assert.GreaterOrEqual(t, r.number(t, "threads"), 1.0)
}

// newTarget lays out a file for a test that reads it by itself.
func newTarget(t *testing.T, size int64) *target {
	t.Helper()
	s, err := newScratch(filepath.Join(t.TempDir(), "f"), size)
	require.NoError(t, err)
	file, err := s.open()
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	y := &target{file: file, blocks: size / blockSize, pattern: pattern{seed: 42}}
	var written int64
	l := layout{file: file, size: size, pattern: y.pattern, advance: func(n int64) { written += n }}
	require.NoError(t, l.run(t.Context()))
	require.Equal(t, size, written)
	return y
}

// The length is not a multiple of what one write takes.
func TestLayoutWritesEveryBlock(t *testing.T) {
	y := newTarget(t, 11*layoutChunk+3*blockSize)
	content, err := os.ReadFile(y.file.Name())
	require.NoError(t, err)
	require.Len(t, content, 11*layoutChunk+3*blockSize)
	for i := range y.blocks {
		require.NoError(t, y.pattern.check(content[i*blockSize:][:blockSize], i))
	}
}

func flip(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	require.NoError(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], offset)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
}

// With 256 blocks, ten seconds of reading cannot miss one of them; the error
// comes long before their end.
const untilFound = 10 * time.Second

func TestContendersFindOneFlippedBit(t *testing.T) {
	for _, c := range contenders {
		for _, depth := range []int{1, 16} {
			t.Run(fmt.Sprint(c.name, depth), func(t *testing.T) {
				y := newTarget(t, minSize)
				flip(t, y.file.Name(), 100*blockSize+2048)

				_, err := measure(t.Context(), c, y, depth, untilFound)
				var wrong *wrongBlockError
				require.ErrorAs(t, err, &wrong)
				assert.Equal(t, int64(100), wrong.block)
				assert.Equal(t, 2048/wordSize, wrong.word)
				assert.Equal(t, uint64(0x10), wrong.expected^wrong.found)
				assert.ErrorContains(t, err, fmt.Sprintf("%s at depth %d on %s: wrong content in block 100 (offset 409600)", c.name, depth, y.file.Name()))
			})
		}
	}
	assert.Zero(t, libaio.Memory(), "buffers are given back after a failure")
}

func TestContendersFindSwappedBlocks(t *testing.T) {
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			y := newTarget(t, minSize)
			f, err := os.OpenFile(y.file.Name(), os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			for at, number := range map[int64]int64{3: 4, 4: 3} {
				_, err := f.WriteAt(block(y.pattern, number), at*blockSize)
				require.NoError(t, err)
			}
			require.NoError(t, f.Sync())

			_, err = measure(t.Context(), c, y, 4, untilFound)
			var wrong *wrongBlockError
			require.ErrorAs(t, err, &wrong)
			assert.Contains(t, []int64{3, 4}, wrong.block)
			assert.Equal(t, blockSize/wordSize, wrong.wrong)
		})
	}
}

func TestContendersFindATruncatedFile(t *testing.T) {
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			y := newTarget(t, minSize)
			require.NoError(t, os.Truncate(y.file.Name(), minSize/2))
			_, err := measure(t.Context(), c, y, 4, untilFound)
			assert.ErrorContains(t, err, "0 of 4096 bytes were read; was the file changed?")
		})
	}
}

// One goroutine fails at once, the others never would.
func TestReadAtStopsAllWhenOneFails(t *testing.T) {
	y := newTarget(t, minSize)
	r, err := startReadAt(y, 3)
	require.NoError(t, err)
	defer r.close()
	stale := *y
	stale.pattern.seed++
	r.tallies()[1].target = &stale

	var wrong *wrongBlockError
	assert.ErrorAs(t, r.read(t.Context(), t.Context()), &wrong)
}

// smallBench is a run of few reads.
func smallBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		benchOptions: benchOptions{
			File: filepath.Join(t.TempDir(), "f"), Size: minSize, Depths: []int{2},
			Rounds: 1, Duration: 20 * time.Millisecond, Limit: time.Minute,
		},
		progress: newProgress(&bytes.Buffer{}),
	}
	require.NoError(t, b.Validate())
	return b
}

func TestBenchFailsOnACorruptedFile(t *testing.T) {
	b := smallBench(t)
	b.Duration = untilFound
	b.laidOut = func() { flip(t, b.File, 5*blockSize) }
	rows, err := b.run(t.Context())
	var wrong *wrongBlockError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, int64(5), wrong.block)
	assert.Nil(t, rows)
	assert.NoFileExists(t, b.File)
	assert.Zero(t, libaio.Memory())

	var said bytes.Buffer
	assert.Equal(t, exitFailure, fail(streams{&said, &said}, err))
	assert.Equal(t, 1, strings.Count(said.String(), "\n"), "one line: %s", &said)
}

func TestBenchAlternatesTheOrder(t *testing.T) {
	b := smallBench(t)
	b.Rounds, b.Depths = 2, []int{1, 2}
	var said bytes.Buffer
	b.progress = newProgress(&said)
	rows, err := b.run(t.Context())
	require.NoError(t, err)
	require.Len(t, rows, 4)
	for _, r := range rows {
		assert.Len(t, r.iops, 2)
	}
	order := regexp.MustCompile(`round \d/2, depth \d, \w+`).FindAllString(said.String(), -1)
	assert.Equal(t, []string{
		"round 1/2, depth 1, channel", "round 1/2, depth 1, ReadAt",
		"round 1/2, depth 2, channel", "round 1/2, depth 2, ReadAt",
		"round 2/2, depth 1, ReadAt", "round 2/2, depth 1, channel",
		"round 2/2, depth 2, ReadAt", "round 2/2, depth 2, channel",
	}, order)
}

func TestBenchStopsWithItsContext(t *testing.T) {
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			y := newTarget(t, minSize)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			_, err := measure(ctx, c, y, 8, time.Hour)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	assert.Zero(t, libaio.Memory())
}

func TestLayoutHasToKeepTheLimit(t *testing.T) {
	b := smallBench(t)
	b.Size, b.Limit = 256<<20, time.Millisecond
	_, err := b.run(t.Context())
	require.ErrorContains(t, err, "leaves too little of --limit 1ms for 2 measurements: lower --size or raise --limit")
	assert.NoFileExists(t, b.File)
}

func TestDurationsFitIntoTheLimit(t *testing.T) {
	o := benchOptions{Rounds: 1, Depths: []int{1}, Duration: time.Second, Limit: 10 * time.Second}
	for _, c := range []struct{ spent, want time.Duration }{
		{0, time.Second},
		{7 * time.Second, time.Second},
		{9 * time.Second, 450 * time.Millisecond},
	} {
		got, err := o.fit(c.spent)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	_, err := o.fit(9900 * time.Millisecond)
	assert.ErrorContains(t, err, "leaves too little of --limit 10s")
}

func TestTooManyForTheSystem(t *testing.T) {
	b := smallBench(t)
	b.Depths = []int{1 << 30} // no kernel grants as many
	_, err := b.run(t.Context())
	require.Error(t, err)
	assert.Contains(t, err.Error(), "io_setup")
	assert.NoFileExists(t, b.File)
}
