package main

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// phases is how to catch a run in each of its phases: the arguments make the
// phase long, and the line is what begins it.
var phases = []struct {
	name   string
	args   []string
	begins string
	not    string // what the next phase would say
}{
	{"writing", []string{"--size", "2GiB"}, "writing", "reading"},
	{"channel", []string{"--size", "1MiB", "--rounds", "1", "--depths", "8", "--duration", "1h", "--limit", "3h"}, "reading", "round"},
	{"ReadAt", []string{"--size", "1MiB", "--rounds", "1", "--depths", "8", "--duration", "2s"}, "1/2 round", "2/2 round"},
	{"compare", []string{
		"--compare", "--target", "disk", "--workload", "randread-4k", "--contenders", "do",
		"--size", "1MiB", "--rounds", "1", "--depths", "8", "--seconds", "3600",
	}, "disk randread-4k", "1/1"},
}

func TestSignalsLeaveNothingBehind(t *testing.T) {
	for _, phase := range phases {
		for _, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
			t.Run(phase.name+"/"+unix.SignalName(signal), func(t *testing.T) {
				dir := t.TempDir()
				c := startBench(t, dir, phase.args)
				before := c.readUntil(t, phase.begins)
				require.Equal(t, []string{"f"}, names(t, dir), "the phase has a file to remove")
				require.NoError(t, c.cmd.Process.Signal(signal))
				after, err := io.ReadAll(c.lines)
				require.NoError(t, err)

				assert.Equal(t, 128+int(signal), c.exitCode(t))
				assert.Empty(t, names(t, dir))
				assert.NotContains(t, before+string(after), phase.not)
				assert.True(t, strings.HasSuffix(string(after), "aio: stopped by "+unix.SignalName(signal)+"\n"), "%s", after)
			})
		}
	}
}

// As in aio bench 2>&1 | head -1.
func TestClosedPipeLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	c := startBench(t, dir, []string{"--size", "8MiB", "--rounds", "100", "--duration", "20ms", "--limit", "5m"})
	c.readUntil(t, "reading")
	require.NoError(t, c.stderr.Close())
	require.NotZero(t, c.exitCode(t))
	assert.Empty(t, names(t, dir))
}

// child is aio bench as a program of its own.
type child struct {
	cmd    *exec.Cmd
	stderr io.ReadCloser
	lines  *bufio.Reader
}

func startBench(t *testing.T, dir string, args []string) *child {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"bench", "--file", filepath.Join(dir, "f")}, args...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return &child{cmd, stderr, bufio.NewReader(stderr)}
}

// readUntil returns the lines up to the first that begins so.
func (c *child) readUntil(t *testing.T, begins string) (lines string) {
	t.Helper()
	for {
		line, err := c.lines.ReadString('\n')
		require.NoError(t, err, "it ended after: %s%s", lines, line)
		lines += line
		if strings.HasPrefix(line, begins) {
			return lines
		}
	}
}

// exitCode is -1 where a signal ended the process.
func (c *child) exitCode(t *testing.T) int {
	t.Helper()
	var ended *exec.ExitError
	require.ErrorAs(t, c.cmd.Wait(), &ended)
	return ended.ExitCode()
}
