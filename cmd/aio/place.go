package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/golibaio/libaio"
)

// place is where a comparison reads and writes: a file or a block device.
type place struct {
	path   string
	open   func() (*libaio.File, error)
	remove func() error
}

// skipped says why a part of a comparison cannot be done here.
type skipped string

func (s skipped) Error() string { return string(s) }

// targets make the places of a comparison, or fail with skipped.
var targets = []struct {
	name string
	make func(o *benchOptions) (*place, error)
}{
	{"disk", makeDisk},
	{"loop", makeLoop},
	{"zram", makeZram},
}

func targetNames() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

// makeDisk makes the file that the user has named.
func makeDisk(o *benchOptions) (*place, error) {
	s, err := newScratch(o.File, int64(o.Size))
	if err != nil {
		return nil, err
	}
	return &place{path: s.path, open: s.open, remove: s.remove}, nil
}

// devicePlace is a block device.
func devicePlace(path string, remove func() error) *place {
	open := func() (*libaio.File, error) { return libaio.OpenFile(path, os.O_RDWR, 0) }
	return &place{path: path, open: open, remove: remove}
}

// mayMakeDevice says what keeps this process from making a block device that
// lives in memory.
func mayMakeDevice(o *benchOptions) error {
	if os.Geteuid() != 0 {
		return skipped("needs root")
	}
	return enoughMemory(int64(o.Size), "--size")
}

// enoughMemory refuses what would take more than half of what is free.
func enoughMemory(need int64, what string) error {
	free, err := availableMemory()
	if err != nil {
		return err
	}
	if need > free/2 {
		return skipped(fmt.Sprintf("%s is %s, more than half of the %s of memory that are available",
			what, humanize.IBytes(uint64(need)), humanize.IBytes(uint64(free))))
	}
	return nil
}

// availableMemory is MemAvailable of /proc/meminfo, in bytes.
func availableMemory() (int64, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, "MemAvailable:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no line MemAvailable")
}
