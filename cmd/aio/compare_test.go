package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runProgram runs aio bench --compare as a program, in this directory.
func runProgram(t *testing.T, dir string, as *syscall.Credential, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), append([]string{"bench", "--compare", "--size", "4MiB", "--seconds", "0.03"}, args...)...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), said.String()}
}

func TestCompareOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	o := runProgram(t, dir, nil, "--target", "disk", "--workload", "randread-4k,seqwrite-1m", "--depths", "1,4", "--rounds", "2")
	require.Equal(t, 0, o.code, o.err)
	assert.ElementsMatch(t, []string{"compare.json", "compare.svg"}, names(t, dir))

	var here []string
	for _, v := range rivals {
		if v.special() {
			continue // not in the files
		}
		if why := v.missing(program(t)); why != "" {
			assert.Contains(t, o.out, fmt.Sprintf("skipped: %s: %s", v.name, why))
			continue
		}
		here = append(here, v.name)
	}
	records := readRecords(t, filepath.Join(dir, "compare.json"))
	require.Len(t, records, 2*2*len(here))
	for i, r := range records {
		assert.Equal(t, "disk", r.Target)
		w := findWorkload([]string{"randread-4k", "seqwrite-1m"}[i/(2*len(here))])
		assert.Equal(t, w.name, r.Workload)
		assert.Equal(t, w.block, r.BlockSize)
		assert.Equal(t, []int{1, 4}[i/len(here)%2], r.Depth)
		assert.Equal(t, here[i%len(here)], r.Contender)
		assert.Equal(t, 2, r.Rounds)
		assert.Positive(t, r.IOPS)
		assert.LessOrEqual(t, r.IOPSMin, r.IOPS)
		assert.GreaterOrEqual(t, r.IOPSMax, r.IOPS)
		assert.LessOrEqual(t, r.P50Us, r.P99Us)
	}
	assert.Equal(t, 1, strings.Count(o.out, "\ndisk, randread-4k\n"))
	assert.Equal(t, 1, strings.Count(o.out, "\ndisk, seqwrite-1m\n"))
	stream := 2 * 2 // with one of the workloads
	assert.Equal(t, 2*2*len(here)*2+stream, strings.Count(o.err, " IOPS\n"))
	assert.Contains(t, o.err, fmt.Sprint(2*2*len(here)*2+stream, " measurements: "))
	inRatios := 0
	if slices.Contains(here, "fio-libaio") { // which its ratios are of
		inRatios = 2
	}
	assert.Equal(t, 2+inRatios, strings.Count(o.out, " stream "), "it is in the table and the ratios")
	assert.Contains(t, o.out, "p50 latency, do / readat")
}

// The order of a round begins with the next contender.
func TestCompareAlternatesTheOrder(t *testing.T) {
	dir := t.TempDir()
	o := runProgram(t, dir, nil, "--target", "disk", "--workload", "randread-4k", "--contenders", "channel,readat", "--depths", "2", "--rounds", "3")
	require.Equal(t, 0, o.code, o.err)
	var order []string
	for line := range strings.Lines(o.err) {
		if _, what, found := strings.Cut(line, "depth 2, "); found {
			name, _, _ := strings.Cut(what, ":")
			order = append(order, name)
		}
	}
	assert.Equal(t, []string{"channel", "readat", "readat", "channel", "channel", "readat"}, order)
}

func TestCompareOnDevicesInMemory(t *testing.T) {
	if !mayMount() {
		t.Skip("making a block device needs CAP_SYS_ADMIN, which this process does not have")
	}
	for _, target := range []string{"loop", "zram"} {
		t.Run(target, func(t *testing.T) {
			dir, before := t.TempDir(), blockDevices(t)
			o := runProgram(t, dir, nil, "--target", target, "--workload", "randread-4k,randwrite-4k", "--contenders", "channel,c,reap-2,c-2", "--depths", "4", "--rounds", "1")
			if reason := "skipped: " + target + ": "; strings.Contains(o.out, reason) {
				t.Skip(o.out[strings.Index(o.out, reason):])
			}
			require.Equal(t, 0, o.code, o.err)
			records := readRecords(t, filepath.Join(dir, "compare.json"))
			require.Len(t, records, 4)
			for _, r := range records {
				assert.Equal(t, target, r.Target)
				assert.NotContains(t, []string{"reap-2", "c-2"}, r.Contender, "they are in the table only")
			}
			for _, name := range []string{" reap-2 ", " c-2 "} {
				assert.Equal(t, target == "zram", strings.Contains(o.out, name), name)
			}
			assert.Equal(t, before, blockDevices(t), "the device is gone")
		})
	}
}

// blockDevices is how many zram devices there are, and how many loop devices
// are over a file of a comparison.
func blockDevices(t *testing.T) (counts [2]int) {
	t.Helper()
	zram, err := filepath.Glob("/sys/block/zram*")
	require.NoError(t, err)
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	counts[0] = len(zram)
	for _, name := range loops {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), "aio-compare") {
			counts[1]++
		}
	}
	return counts
}

func TestCompareWithoutRoot(t *testing.T) {
	var nobody *syscall.Credential
	if os.Geteuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	program(t)
	require.NoError(t, os.Chmod(built.dir, 0o755))
	dir, err := os.MkdirTemp("", "aio-test-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o777))

	o := runProgram(t, dir, nobody, "--target", "loop,zram")
	assert.Equal(t, exitFailure, o.code, o.err)
	assert.Contains(t, o.out, "skipped: loop: needs root\nskipped: zram: needs root\n")
	assert.Contains(t, o.err, "nothing could be measured: see what was skipped")
	assert.Empty(t, names(t, dir))

	o = runProgram(t, dir, nobody, "--target", "disk,zram", "--workload", "randread-4k", "--contenders", "do", "--depths", "1", "--rounds", "1")
	assert.Equal(t, 0, o.code, o.err)
	assert.Contains(t, o.out, "skipped: zram: needs root\n")
	assert.Len(t, readRecords(t, filepath.Join(dir, "compare.json")), 1)
}

func TestCompareRefusesAnExistingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	o := runProgram(t, dir, nil, "--target", "disk", "--file", path)
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, path+" exists, and aio bench overwrites nothing")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(content))
}

func TestCellsThatNeedTooMuchMemory(t *testing.T) {
	r := comparison{bench: &benchOptions{Depths: []int{1, 1 << 40}}}
	cells := r.cells("disk", workloads[0])
	require.Len(t, cells, 1)
	assert.Equal(t, 1, cells[0].depth)
	require.Len(t, r.skipped, 1)
	assert.Contains(t, r.skipped[0], "disk randread-4k at depth 1099511627776: what is in flight is 4.0 PiB, more than half of the ")
}
