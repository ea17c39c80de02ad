//go:build linux

package libaio

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain fails the run when something is left behind: goroutines of this
// package, descriptors, C memory, or AIO contexts.
func TestMain(m *testing.M) {
	startPoller()
	before := takeInventory()
	code := m.Run()
	if q := theDefault.q.Load(); q != nil {
		q.Close()
	}
	if left := before.left(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "left behind after the tests:", left)
		code = 1
	}
	os.Exit(code)
}

// startPoller has the runtime make its poller's descriptors, which it keeps.
func startPoller() {
	r, w, err := os.Pipe()
	if err == nil {
		r.SetDeadline(time.Time{})
		r.Close()
		w.Close()
	}
}

type inventory struct {
	memory   MemoryStats
	blocks   int
	fds      int
	contexts int
}

func takeInventory() inventory {
	return inventory{memory: Memory(), blocks: blocksInUse(), fds: openFDs(), contexts: aioContexts()}
}

// left names what there is more of than before. Goroutines end in their own
// time, so it looks again for a while.
func (before inventory) left() (what string) {
	for range 100 {
		runtime.GC()
		if what = before.more(takeInventory()); what == "" {
			return ""
		}
		time.Sleep(50 * time.Millisecond)
	}
	return what
}

func (before inventory) more(now inventory) string {
	var more []string
	if now.memory != before.memory {
		more = append(more, fmt.Sprintf("C memory: %+v, before %+v", now.memory, before.memory))
	}
	if now.blocks != before.blocks {
		more = append(more, fmt.Sprintf("blocks of memory: %d, before %d", now.blocks, before.blocks))
	}
	if now.fds > before.fds {
		more = append(more, fmt.Sprintf("descriptors: %d, before %d", now.fds, before.fds))
	}
	if now.contexts > before.contexts {
		more = append(more, fmt.Sprintf("AIO contexts: %d, before %d", now.contexts, before.contexts))
	}
	if s := ourGoroutines(); s != "" {
		more = append(more, "goroutines:\n"+s)
	}
	return strings.Join(more, "; ")
}

// openFDs counts the descriptors of this process, less the one that counts.
func openFDs() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names) - 1
}

// aioContexts counts the rings that the kernel has mapped into this process:
// aio-nr would count those of the whole machine.
func aioContexts() int {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0
	}
	return strings.Count(string(maps), "/[aio]")
}

func aioNr(t testing.TB) int {
	t.Helper()
	return atoi(t, readProc("aio-nr"))
}

// ourGoroutines is the stacks of the goroutines that run code of this package,
// other than the caller's.
func ourGoroutines() string {
	buf := make([]byte, 1<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var ours []string
	for _, g := range all[1:] {
		if strings.Contains(g, "golibaio/libaio.") {
			ours = append(ours, g)
		}
	}
	return strings.Join(ours, "\n\n")
}

// threads is the number of OS threads of this process.
func threads(t testing.TB) int {
	t.Helper()
	return len(dirNames(t, "/proc/self/task"))
}

func dirNames(t testing.TB, dir string) []string {
	t.Helper()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	require.NoError(t, err)
	return names
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
