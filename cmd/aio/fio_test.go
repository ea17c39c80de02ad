package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fioSample is what fio 3.33 wrote when it read at random for 150 ms.
func fioSample(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/fio-randread.json")
	require.NoError(t, err)
	return string(b)
}

func TestParseFio(t *testing.T) {
	usage := &syscall.Rusage{Nvcsw: 300, Nivcsw: 100}
	o, err := parseFio([]byte(fioSample(t)), workloads[0], usage)
	require.NoError(t, err)
	assert.Equal(t, int64(2794), o.Ops)
	assert.InEpsilon(t, 18503.311258, o.iops(), 1e-6)
	assert.InEpsilon(t, 75e6/2794, o.cpuNsPerOp(), 1e-6, "half of 150 ms")
	assert.Equal(t, int64(199), o.VolCtxSwitches, "three quarters of 265")
	assert.Equal(t, []float64{252.928, 1515.520, 2146.304}, []float64{o.P50Us, o.P99Us, o.P999Us})
}

func TestParseFioPassesOverText(t *testing.T) {
	o, err := parseFio([]byte("fio: a note\n"+fioSample(t)), workloads[0], &syscall.Rusage{})
	require.NoError(t, err)
	assert.Equal(t, int64(2794), o.Ops)
}

func TestParseFioFails(t *testing.T) {
	sample := fioSample(t)
	for _, c := range []struct {
		name, out, says string
		w               workload
	}{
		{"text", "fio: no such device", "fio wrote no JSON", workloads[0]},
		{"nothing", "", "fio wrote no JSON", workloads[0]},
		{"no job", "{}", "fio reported 0 jobs instead of 1", workloads[0]},
		{"an error", strings.Replace(sample, `"error" : 0`, `"error" : 5`, 1), unix.EIO.Error(), workloads[0]},
		{"it did not write", sample, "fio ended no request", findWorkload("randwrite-4k")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseFio([]byte(c.out), c.w, &syscall.Rusage{})
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestFioArgs(t *testing.T) {
	trial := &trialCommand{Path: "/dev/x", Size: 1 << 30, Depth: 32, WarmUp: 50 * time.Millisecond, Duration: 1500 * time.Millisecond}
	args := fioArgs("libaio", trial, findWorkload("seqwrite-1m"), false)
	for _, want := range []string{
		"--filename=/dev/x", "--size=1073741824", "--ioengine=libaio", "--rw=write", "--bs=1048576", "--iodepth=32",
		"--numjobs=1", "--direct=1", "--time_based", "--runtime=1500000us", "--ramp_time=50000us", "--norandommap", "--randrepeat=0",
	} {
		assert.Contains(t, args, want)
	}
	assert.NotContains(t, args, "--userspace_reap=1")
	args = fioArgs("libaio", trial, findWorkload("randread-4k"), true)
	assert.Contains(t, args, "--rw=randread")
	assert.Subset(t, args, []string{"--userspace_reap=1", "--iodepth_batch_complete_min=0"})
}

func TestMissingFio(t *testing.T) {
	if why := missingFio("libaio"); why != "" {
		t.Log(why)
	} else {
		assert.Contains(t, missingFio("no-such"), "this fio has no engine no-such: ")
	}
	t.Setenv("PATH", t.TempDir())
	assert.Equal(t, "fio is not installed: make compare installs it", missingFio("libaio"))
}
