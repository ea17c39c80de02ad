package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelRelease is what uname -r says.
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// aioCounter reads aio-nr or aio-max-nr.
func aioCounter(name string) string {
	b, err := os.ReadFile("/proc/sys/fs/" + name)
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return strings.TrimSpace(string(b))
}

// loadedLibaio is the file of the C library. The library has no call that
// tells its version, but the name of its file often ends with one.
func loadedLibaio() string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	for line := range strings.Lines(string(maps)) {
		if at := strings.Index(line, "/"); at >= 0 && strings.Contains(line[at:], "/libaio.so") {
			return strings.TrimSpace(line[at:])
		}
	}
	return "linked into this program, version unknown"
}
