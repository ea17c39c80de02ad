// Package leftover is for the TestMain of the package and of its nested modules:
// it fails a run of tests that leaves something behind.
package leftover

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Counts are what must be as many behind the tests as before, by name.
type Counts map[string]func() int

// Main runs the tests and then end, if there is one, and ends the process: with a
// failure where the run has changed one of the counts, or left goroutines of the
// library, descriptors or AIO contexts behind.
func Main(m *testing.M, counts Counts, end func()) {
	startPoller()
	counts["AIO contexts"] = Contexts
	before := take(counts)
	code := m.Run()
	if end != nil {
		end()
	}
	if left := before.left(counts); code == 0 && left != "" {
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

type inventory struct {
	fds    int
	counts map[string]int
}

func take(counts Counts) inventory {
	i := inventory{fds: Descriptors(), counts: make(map[string]int)}
	for name, count := range counts {
		i.counts[name] = count()
	}
	return i
}

// left names what is not as before. Goroutines end in their own time, so it looks
// again for a while.
func (before inventory) left(counts Counts) (what string) {
	for range 100 {
		runtime.GC()
		if what = before.difference(take(counts)); what == "" {
			return ""
		}
		time.Sleep(50 * time.Millisecond)
	}
	return what
}

func (before inventory) difference(now inventory) string {
	var more []string
	if now.fds > before.fds { // the runtime may have closed one
		more = append(more, fmt.Sprintf("descriptors: %d, before %d", now.fds, before.fds))
	}
	for name, n := range now.counts {
		if n != before.counts[name] {
			more = append(more, fmt.Sprintf("%s: %d, before %d", name, n, before.counts[name]))
		}
	}
	if s := goroutines(); s != "" {
		more = append(more, "goroutines:\n"+s)
	}
	return strings.Join(more, "; ")
}

// goroutines is the stacks of the goroutines that run code of the library, other
// than the caller's. Its test packages have a slash behind its name, not a dot.
func goroutines() string {
	var ours []string
	for _, g := range Stacks()[1:] {
		if strings.Contains(g, "golibaio/libaio.") {
			ours = append(ours, g)
		}
	}
	return strings.Join(ours, "\n\n")
}

// Stacks is the stacks of all goroutines, the caller's first.
func Stacks() []string {
	buf := make([]byte, 1<<20)
	return strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
}

// Descriptors counts the descriptors of this process, less the one that counts.
func Descriptors() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names) - 1
}

// Contexts counts the rings that the kernel has mapped into this process: aio-nr
// would count those of the whole machine.
func Contexts() int { return Lines("/proc/self/maps", "/[aio]") }

// Lines counts the lines of a file of /proc that contain this; 0 without /proc.
func Lines(file, substr string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n := 0
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, substr) {
			n++
		}
	}
	return n
}
