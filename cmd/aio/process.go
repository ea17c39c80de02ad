package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
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
// they are gone.
func familyThreads(pid string) int {
	n, err := threadCount(pid)
	if err != nil {
		return 0
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	for _, name := range processes {
		if stat, err := os.ReadFile(name); err == nil && parentOf(string(stat)) == pid {
			child, _ := threadCount(filepath.Base(filepath.Dir(name))) // 0 when it has ended meanwhile
			n += child
		}
	}
	return n
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
