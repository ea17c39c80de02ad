package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// threadCount is how many threads a process has; pid may be "self".
func threadCount(pid string) (int, error) {
	name := filepath.Join("/proc", pid, "status")
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, "Threads:"); found {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("%s has no line Threads", name)
}

// familyThreads is the number of threads of a process and its children; 0 when
// they are gone. Children are looked for among the next numbers only: to look at
// every process would take from what is being measured.
func familyThreads(pid int) int {
	const near = 128
	n, _ := threadCount(strconv.Itoa(pid)) // 0 when it has ended
	for child := pid + 1; n > 0 && child <= pid+near; child++ {
		name := strconv.Itoa(child)
		stat, err := os.ReadFile(filepath.Join("/proc", name, "stat"))
		if err == nil && parentOf(string(stat)) == strconv.Itoa(pid) {
			more, _ := threadCount(name)
			n += more
		}
	}
	return n
}

// watchThreads looks from time to time until stop is called, which returns the
// most that there were.
func watchThreads(pid int) (stop func() int) {
	quit, most := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-tick.C:
				n = max(n, familyThreads(pid))
			case <-quit:
				most <- n
				return
			}
		}
	}()
	return func() int {
		close(quit)
		return <-most
	}
}

// parentOf is the parent's number in a line of /proc/PID/stat: the second field
// behind the name, which is in parentheses and may hold anything.
func parentOf(stat string) string {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// loadAverage is that of the last minute; 0 where the kernel does not tell.
func loadAverage() float64 {
	content, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(content), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

// startProfile writes a CPU profile until stop is called; to "" nothing.
func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, alongside(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
