package main

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what the process has used of the processors, user and system.
func cpuTime() (time.Duration, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0, os.NewSyscallError("getrusage", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// threadAccounts is the scheduler's account of each thread of the process. It
// changes whenever the thread runs. Empty where the kernel keeps none.
type threadAccounts map[string]string

func readThreadAccounts() threadAccounts {
	accounts := threadAccounts{}
	files, _ := filepath.Glob("/proc/self/task/*/schedstat") // the pattern is valid
	for _, name := range files {
		if b, err := os.ReadFile(name); err == nil {
			accounts[name] = string(b)
		}
	}
	return accounts
}

// ranSince counts the threads that ran since an earlier account. The number of
// threads of the process would not do: Go keeps each thread that it ever
// needed, so one contender would be charged with those of the other.
func (a threadAccounts) ranSince(before threadAccounts) int {
	n := 0
	for name, account := range a {
		if before[name] != account {
			n++
		}
	}
	return n
}
