package main

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// laidOut is a trial on a file of 4 MiB that holds the pattern of the seed.
func laidOut(t *testing.T, depth int) *trialCommand {
	t.Helper()
	y := newTarget(t, 4<<20)
	return &trialCommand{
		Path: y.file.Name(), Size: 4 << 20, Depth: depth,
		WarmUp: 20 * time.Millisecond, Duration: 50 * time.Millisecond, Seed: y.pattern.seed,
	}
}

func (v *rival) here(t *testing.T) {
	t.Helper()
	if why := v.missing(program(t)); why != "" {
		t.Skipf("%s cannot take part here: %s", v.name, why)
	}
}

func TestRivalsMeasure(t *testing.T) {
	for _, v := range rivals {
		for _, w := range workloads {
			if !v.takes(v.only, w) {
				continue
			}
			t.Run(v.name+"/"+w.name, func(t *testing.T) {
				v.here(t)
				o, err := v.measure(t.Context(), program(t), laidOut(t, 6), w, false)
				require.NoError(t, err)
				assert.Positive(t, o.Ops)
				assert.GreaterOrEqual(t, o.ElapsedNs, int64(40*time.Millisecond))
				assert.Positive(t, o.P50Us)
				assert.GreaterOrEqual(t, o.P99Us, o.P50Us)
				assert.GreaterOrEqual(t, o.P999Us, o.P99Us)
				assert.GreaterOrEqual(t, o.CPUNs, int64(0))
				if v.name == "c" {
					assert.Equal(t, 1, o.Threads)
				}
				assert.Positive(t, o.Threads)
				if !v.outside {
					slots := trialCommand{Contender: v.name, Depth: 6}.slots()
					assert.Equal(t, slots, o.Verified)
				}
			})
		}
	}
}

// The end of the trial does not hide that what was in flight has failed.
func TestStreamTellsOfItsLastWrites(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w, err := libaio.NewWriter(newTarget(t, 4<<20).file, &libaio.WriterOptions{Context: ctx})
	require.NoError(t, err)
	defer w.Close()
	_, err = w.Write([]byte("what Flush is to write"))
	require.NoError(t, err)
	cancel()
	err = flushing(w, errTrialOver)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, errTrialOver)
	require.NoError(t, w.Reset(newTarget(t, 4<<20).file, nil))
	require.ErrorIs(t, flushing(w, errTrialOver), errTrialOver)
}

// With another seed all content is wrong.
func TestRivalsVerifyWhatTheyRead(t *testing.T) {
	for _, v := range rivals {
		if v.outside {
			continue
		}
		for _, w := range []string{"randread-4k", "seqread-1m"} {
			if !v.takes(v.only, findWorkload(w)) {
				continue
			}
			t.Run(v.name+"/"+w, func(t *testing.T) {
				c := laidOut(t, 3)
				c.Seed++
				_, err := v.measure(t.Context(), program(t), c, findWorkload(w), false)
				assert.ErrorContains(t, err, "wrong content")
			})
		}
	}
}

// The file keeps what was laid out: nothing of it was written by a slot.
func TestVerifyFindsAWriteThatDidNotHappen(t *testing.T) {
	c := laidOut(t, 2)
	c.Contender, c.Workload = "channel", "randwrite-4k"
	y, err := c.newTrial()
	require.NoError(t, err)
	defer releaseAll(y.memory)
	y.last[0] = 7
	n, err := y.verify()
	assert.ErrorContains(t, err, "offset 28672 holds nothing that was written there")
	assert.Equal(t, 0, n)

	// Block 1 as it was laid out is what slot 1 would have written.
	y.last[0] = 1
	n, err = y.verify()
	require.NoError(t, err)
	assert.Equal(t, 1, n, "the other slot has written nothing")
}

func TestRivalsFailOnAShorterFile(t *testing.T) {
	for _, v := range rivals {
		if v.outside {
			continue // fio writes what is missing
		}
		t.Run(v.name, func(t *testing.T) {
			c := laidOut(t, 4)
			require.NoError(t, os.Truncate(c.Path, 0))
			_, err := v.measure(t.Context(), program(t), c, findWorkload("seqread-1m"), false)
			assert.ErrorContains(t, err, v.name+": ")
		})
	}
	assert.Zero(t, libaio.Memory())
}

// The C program reads the ring by itself, and nothing is lost by that.
func TestPlainReapsInUserSpace(t *testing.T) {
	v := rivals[slices.Index(rivalNames(), "c")]
	args := v.command("", &trialCommand{Path: "x"}, workloads[0], true)
	assert.Equal(t, "userreap", args[len(args)-1])
	for _, w := range workloads {
		o, err := v.measure(t.Context(), program(t), laidOut(t, 16), w, true)
		require.NoError(t, err)
		assert.Equal(t, 16, o.Verified)
	}
}

func TestTrialThatThereIsNot(t *testing.T) {
	for _, args := range [][]string{
		{"trial", "nobody", "randread-4k", "x", "--size=4096", "--depth=1"},
		{"trial", "stream", "randread-4k", "x", "--size=4096", "--depth=1"},
		{"trial", "do", "randrw", "x", "--size=4096", "--depth=1"},
		{"trial", "do", "randread-4k", "x", "--size=4096", "--depth=0"},
		{"trial", "do", "randread-4k", "x", "--size=4095", "--depth=1"},
	} {
		o := runHere(t, args...)
		assert.Equal(t, exitFailure, o.code)
		assert.Contains(t, o.err, "no such trial")
	}
}

func TestFamilyThreads(t *testing.T) {
	sleep := exec.Command("sh", "-c", "sleep 60 & wait")
	sleep.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, sleep.Start())
	defer sleep.Wait()
	defer func() { syscall.Kill(-sleep.Process.Pid, syscall.SIGKILL) }()
	most := watchThreads(sleep.Process.Pid)
	require.Eventually(t, func() bool { return familyThreads(sleep.Process.Pid) == 2 }, 10*time.Second, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // the watch looks several times meanwhile
	assert.Equal(t, 2, most())
	assert.Zero(t, familyThreads(4194305), "more than any process can have")
}

func TestParentOf(t *testing.T) {
	assert.Equal(t, "41", parentOf("42 (a name) S ) S 41 40 39"))
	assert.Equal(t, "", parentOf("42 (x)"))
}

func TestProfileIsWritten(t *testing.T) {
	c := laidOut(t, 2)
	c.Contender, c.Workload, c.Profile = "do", "randread-4k", c.Path+".prof"
	_, err := c.measure(t.Context())
	require.NoError(t, err)
	content, err := os.ReadFile(c.Profile)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(content), "\x1f\x8b"), "gzip, as pprof reads it")
}
