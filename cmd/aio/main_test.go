package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain fails the run when C memory or descriptors are left behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	if left := libaio.Memory(); code == 0 && left != (libaio.MemoryStats{}) {
		fmt.Fprintf(os.Stderr, "buffers left behind after the tests: %+v\n", left)
		code = 1
	}
	os.Exit(code)
}

// outcome is what one run of the command gave.
type outcome struct {
	code     int
	out, err string
}

// runHere runs the command in this process.
func runHere(t *testing.T, args ...string) outcome {
	t.Helper()
	fds := openDescriptors(t)
	var out, err bytes.Buffer
	code := run(t.Context(), args, streams{&out, &err})
	assert.Equal(t, fds, openDescriptors(t), "descriptors left behind")
	return outcome{code, out.String(), err.String()}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(names)
}

// names is what is in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := []string{}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// program is the command as a program, with the C program beside it, built once.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "aio-test-"); built.err != nil {
			return
		}
		var said []byte
		said, built.err = exec.Command("go", "build", "-o", filepath.Join(built.dir, "aio"), ".").CombinedOutput()
		if built.err == nil {
			said, built.err = exec.Command("sh", "-c", `$(go env CC) -O2 -Wall -Wextra -Werror -o "$0" plain/plain.c -laio`,
				plainProgram(filepath.Join(built.dir, "aio"))).CombinedOutput()
		}
		if built.err != nil {
			built.err = fmt.Errorf("%w: %s", built.err, said)
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "aio")
}

func TestHelpNamesTheCommands(t *testing.T) {
	said, err := exec.Command(program(t), "--help").Output()
	require.NoError(t, err)
	assert.Contains(t, string(said), "bench")
	assert.Contains(t, string(said), "info")
}

func TestWrongCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{}, "expected one of"},
		{[]string{"bonch"}, "bonch"},
		{[]string{"bench", "--size", "lots"}, `"lots" is no size: write it like 256MiB or 1GiB`},
		{[]string{"bench", "--size=-1MiB"}, `"-1MiB" is no size`},
		{[]string{"bench", "--size", "9EiB"}, `"9EiB" is more than a file can hold`},
		{[]string{"bench", "--size", "0"}, "--size 0: must be a multiple of 4096 bytes and at least 1.0 MiB"},
		{[]string{"bench", "--size", "1GB"}, "--size 1000000000: must be a multiple of 4096 bytes"},
		{[]string{"bench", "--size", "4KiB"}, "at least 1.0 MiB"},
		{[]string{"bench", "--target", "loop"}, "--target has no meaning without --compare"},
		{[]string{"bench", "--compare", "--duration", "1s"}, "--duration has no meaning with --compare"},
		{[]string{"bench", "--depths", "0"}, "--depths 0: must be 1 to 4096"},
		{[]string{"bench", "--depths", "1,4097"}, "--depths 4097: must be 1 to 4096"},
		{[]string{"bench", "--depths", "8,8"}, "--depths 8: is named twice"},
		{[]string{"bench", "--depths", ""}, "--depths"},
		{[]string{"bench", "--rounds", "0"}, "--rounds 0: must be 1 to 1000"},
		{[]string{"bench", "--duration", "1ms"}, "--duration 1ms: must be at least 20ms"},
		{[]string{"bench", "--duration=-1s"}, "--duration -1s: must be at least"},
		{[]string{"bench", "--duration", "10s"}, "--limit 55s: 24 measurements of 10s need 4m1.2s"},
		{[]string{"bench", "--file", ""}, "--file is empty"},
		{[]string{"bench", "--compare", "--file", ""}, "--file is empty"},
		{[]string{"bench", "--compare", "--size", "4KiB"}, "--size 4096: must be a multiple of 1.0 MiB with --compare"},
		{[]string{"bench", "--compare", "--rounds", "0"}, "--rounds 0: must be 1 to 1000"},
		{[]string{"bench", "--compare", "--seconds", "0.001"}, "--seconds 0.001: must be 0.02 to 3600"},
		{[]string{"bench", "--compare", "--seconds", "NaN"}, "--seconds NaN: must be 0.02 to 3600"},
		{[]string{"bench", "--compare", "--depths", "5000"}, "--depths 5000: must be 1 to 4096"},
		{[]string{"bench", "--compare", "--target", "tape"}, "--target tape: must be of disk, loop, zram"},
		{[]string{"bench", "--compare", "--target", "disk,disk"}, "--target disk: is named twice"},
		{[]string{"bench", "--compare", "--target", ""}, "--target"},
		{[]string{"bench", "--compare", "--workload", "randrw"}, "--workload randrw: must be of randread-4k, seqread-1m, randwrite-4k, seqwrite-1m"},
		{[]string{"bench", "--compare", "--contenders", "spdk"}, "--contenders spdk: must be of channel, do, "},
		{[]string{"bench", "--compare", "--user-reap", "tape"}, "--user-reap tape: must be of disk, loop, zram, none"},
		{[]string{"bench", "--compare", "--json", ""}, "--json is empty"},
		{[]string{"bench", "--compare", "--svg", ""}, "--svg is empty"},
		{[]string{"bench", "--compare", "--profile", "no/such"}, "--profile no/such: must be a directory that exists"},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) {
			t.Chdir(t.TempDir())
			o := runHere(t, c.args...)
			assert.Equal(t, exitUsage, o.code)
			assert.Contains(t, o.err, c.says)
			assert.Contains(t, o.err, "see aio --help")
			assert.Empty(t, o.out)
			assert.Empty(t, names(t, "."))
		})
	}
}
