package faults

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
// package, descriptors, C memory, AIO contexts or mounts.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		serve(dir)
		return
	}
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
	if r, w, err := os.Pipe(); err == nil {
		r.SetDeadline(time.Time{})
		r.Close()
		w.Close()
	}
}

// inventory is what there is of everything that must not be left behind.
type inventory struct {
	memory                libaio.MemoryStats
	fds, contexts, mounts int
}

func takeInventory() inventory {
	fds, _ := os.ReadDir("/proc/self/fd")
	return inventory{
		memory:   libaio.Memory(),
		fds:      len(fds),
		contexts: lines("/proc/self/maps", "/[aio]"),
		mounts:   lines("/proc/self/mounts", mountsOf(os.Getpid())+" "),
	}
}

// lines counts the lines of a file of /proc that contain this.
func lines(file, substr string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err) // then nothing here would be checked
	}
	n := 0
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, substr) {
			n++
		}
	}
	return n
}

// left names what there is more of than before. Goroutines end in their own
// time, so it looks again for a while.
func (before inventory) left() (what string) {
	for range 100 {
		if what = before.more(takeInventory()); what == "" {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
	}
	return what
}

func (before inventory) more(now inventory) string {
	if s := ourGoroutines(); s != "" {
		return "goroutines:\n" + s
	}
	if now.fds <= before.fds { // the runtime may have closed one
		now.fds = before.fds
	}
	if now != before {
		return fmt.Sprintf("%+v, before %+v", now, before)
	}
	return ""
}

// ourGoroutines is the stacks of the goroutines that run code of libaio, other
// than the caller's.
func ourGoroutines() string {
	var ours []string
	for _, g := range stacks()[1:] {
		if strings.Contains(g, "golibaio/libaio.") {
			ours = append(ours, g)
		}
	}
	return strings.Join(ours, "\n\n")
}

// stacks is the stacks of all goroutines, the caller's first.
func stacks() []string {
	buf := make([]byte, 1<<20)
	return strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
}
