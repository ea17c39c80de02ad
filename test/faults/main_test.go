package faults

import (
	"os"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/golibaio/libaio/internal/leftover"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		serve(dir)
		return
	}
	leftover.Main(m, leftover.Counts{
		"blocks of memory": func() int { return int(libaio.Memory().Buffers) },
		"bytes of memory":  func() int { return int(libaio.Memory().Bytes) },
		"mounts":           func() int { return leftover.Lines("/proc/self/mounts", mountsOf(os.Getpid())+" ") },
	}, nil)
}
