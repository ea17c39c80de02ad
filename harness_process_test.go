//go:build linux

package libaio

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// childEnv names the test that a copy of the test binary runs for another: for
// what changes, or ends, a whole process.
const childEnv = "LIBAIO_TEST_CHILD"

func isChild(t *testing.T) bool { return os.Getenv(childEnv) == t.Name() }

// childCommand runs the test that calls it once more, in a process of its own.
func childCommand(t *testing.T) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctxOf(t), exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	return cmd
}

// inChild says whether this is the child. Elsewhere it runs it and holds it to
// its success, or to the reason why it cannot.
func inChild(t *testing.T) bool {
	t.Helper()
	if isChild(t) {
		return true
	}
	out, err := childCommand(t).CombinedOutput()
	require.NoError(t, err, "%s", out)
	if strings.Contains(string(out), "--- SKIP: "+t.Name()+" ") {
		t.Skipf("%s", out)
	}
	require.Contains(t, string(out), "--- PASS: "+t.Name()+" ")
	return false
}

// libaio's harness, case 12: processes that are started while operations are
// in flight do not disturb them. Go has no fork without exec, so a child that
// goes on with the context of its parent cannot be made here.
func TestHarnessForkDuringIO(t *testing.T) {
	var stop atomic.Bool
	var started atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if !assert.NoError(t, exec.Command("true").Run()) {
					return
				}
				started.Add(1)
			}
		})
	}
	defer wg.Wait()
	defer stop.Store(true)

	const blocks = 256
	c, f, cbs, bufs := newContext(t, 32), newFile(t, blocks*block), newIOCBs(t, 32), newBuffers(t, 32, block)
	for round := range 3000 {
		for i, cb := range cbs {
			require.NoError(t, cb.PrepPread(f.FD(), bufs[i], int64((round*7+i)%blocks)*block))
		}
		submitAll(t, c, cbs...)
		for _, ev := range reap(t, c, len(cbs)) {
			require.EqualValues(t, block, ev.Res)
		}
		for i, b := range bufs {
			requirePattern(t, b.Bytes(), int64((round*7+i)%blocks)*block, 0)
		}
		if started.Load() >= int64(scaled(200, 30)) {
			break
		}
	}
	heavyIO(t, 3000)
	require.Positive(t, started.Load())
}

// libaio's harness, case 12: a child has neither the ring nor the eventfd nor
// the file of its parent.
func TestHarnessChildHoldsNothing(t *testing.T) {
	c, q, f, b := newContext(t, 8), newQueue(t, 8), newFile(t, block), newBuffer(t, block)
	_, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)

	cmd := exec.CommandContext(ctxOf(t), "cat") // ends with its input
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	// When Start returns, the child may still have its parent's memory (seen with
	// Linux 6.12.117). An answer shows that it runs its own program.
	_, err = in.Write([]byte{'\n'})
	require.NoError(t, err)
	_, err = io.ReadFull(out, make([]byte, 1))
	require.NoError(t, err)
	theirs := holdings(t, cmd.Process.Pid)
	ours := holdings(t, os.Getpid())
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())

	for _, what := range []string{"/[aio]", "anon_inode:[eventfd]", f.Name()} {
		find := func(s string) bool { return strings.Contains(s, what) }
		require.True(t, slices.ContainsFunc(ours, find), "we hold %s", what)
		require.False(t, slices.ContainsFunc(theirs, find), "the child holds %s", what)
	}
	require.NoError(t, c.Destroy())
}

// holdings lists what a process has mapped and open.
func holdings(t *testing.T, pid int) []string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	maps, err := os.ReadFile(filepath.Join(proc, "maps"))
	require.NoError(t, err)
	all := strings.Split(string(maps), "\n")
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	require.NoError(t, err)
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil { // some close meanwhile
			all = append(all, link)
		}
	}
	return all
}

// libaio's harness, case 14: a process that exits with operations in flight
// exits, and the system has its contexts back.
func TestHarnessExitInFlight(t *testing.T) {
	const contextSize, reads, size, status = 8000, 64, 1 << 20, 3
	if isChild(t) {
		exitInFlight(t, os.Getenv("LIBAIO_TEST_FILE"), contextSize, reads, size, status)
	}
	f := newFile(t, size)
	cmd := childCommand(t)
	cmd.Env = append(cmd.Env, "LIBAIO_TEST_FILE="+f.Name())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for line := ""; !strings.HasPrefix(line, "context made"); {
		line, err = lines.ReadString('\n')
		require.NoError(t, err, "the child says that it has its context")
	}
	with := aioNr(t)
	require.NoError(t, in.Close())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, status, exit.ExitCode(), "%s", rest)
	require.Contains(t, string(rest), "in flight", "at the exit")
	t.Logf("%s", rest)
	require.Eventually(t, func() bool { return aioNr(t) <= with-contextSize/2 }, time.Minute, time.Millisecond, "aio-nr")

	// And what it read is whole.
	p, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	requirePattern(t, p, 0, 0)
}

// exitInFlight is the child: it exits with all its operations in flight that
// have not completed by then. The poll among them never does.
func exitInFlight(t *testing.T, name string, contextSize, reads, size, status int) {
	c, f := newContext(t, contextSize), openFile(t, name)
	cbs, bufs := newIOCBs(t, reads), newBuffers(t, reads, size)
	for i, cb := range cbs {
		require.NoError(t, cb.PrepPread(f.FD(), bufs[i], 0))
	}
	r, _ := newPipe(t)
	poll := newIOCB(t)
	require.NoError(t, poll.PrepPoll(r.FD(), unix.POLLIN))
	fmt.Println("context made")
	_, err := io.ReadAll(os.Stdin)
	require.NoError(t, err)
	submitAll(t, c, append([]*IOCB{poll}, cbs...)...)
	n, err := c.GetEvents(0, make([]Event, reads+1), 0)
	require.NoError(t, err)
	fmt.Printf("%d of %d operations in flight\n", reads+1-n, reads+1)
	os.Exit(status)
}
