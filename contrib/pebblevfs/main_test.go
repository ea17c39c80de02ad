package pebblevfs

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golibaio/libaio"
)

// TestMain fails the run when something is left behind: goroutines of the
// library, descriptors, C memory, or AIO contexts.
func TestMain(m *testing.M) {
	startPoller()
	before := takeInventory()
	code := m.Run()
	if left := before.left(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "left behind after the tests:", left)
		code = 1
	}
	os.Exit(code)
}

// startPoller has the runtime make its poller's descriptors, which it keeps.
func startPoller() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.SetDeadline(time.Time{}) //nolint:errcheck // only its side effect matters
	r.Close()
	w.Close()
}

type inventory struct {
	memory   libaio.MemoryStats
	fds      int
	contexts int
}

func takeInventory() inventory {
	i := inventory{memory: libaio.Memory()}
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		i.fds = len(names)
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		i.contexts = strings.Count(string(maps), "/[aio]")
	}
	return i
}

// left names what there is more of than before. Goroutines end in their own
// time, so it looks again for a while.
func (before inventory) left() (what string) {
	for range 100 {
		runtime.GC()
		if what = before.more(takeInventory()); what == "" {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return what
}

func (before inventory) more(now inventory) string {
	var more []string
	if now.memory != before.memory {
		more = append(more, fmt.Sprintf("C memory: %+v, before %+v", now.memory, before.memory))
	}
	if now.fds > before.fds {
		more = append(more, fmt.Sprintf("descriptors: %d, before %d", now.fds, before.fds))
	}
	if now.contexts > before.contexts {
		more = append(more, fmt.Sprintf("AIO contexts: %d, before %d", now.contexts, before.contexts))
	}
	if s := libraryGoroutines(); s != "" {
		more = append(more, "goroutines:\n"+s)
	}
	return strings.Join(more, "; ")
}

// libraryGoroutines is the stacks of the goroutines that run code of the
// library. Its test packages have a slash behind its name, not a dot.
func libraryGoroutines() string {
	buf := make([]byte, 1<<20)
	var ours []string
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:] {
		if strings.Contains(g, "golibaio/libaio.") {
			ours = append(ours, g)
		}
	}
	return strings.Join(ours, "\n\n")
}
