package files

import (
	"fmt"
	"os"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/golibaio/libaio/internal/leftover"
)

func TestMain(m *testing.M) {
	leftover.Main(m, leftover.Counts{
		"blocks of memory": func() int { return int(libaio.Memory().Buffers) },
		"bytes of memory":  func() int { return int(libaio.Memory().Bytes) },
	}, closeDefaultQueue)
}

// closeDefaultQueue also proves that it can be had.
func closeDefaultQueue() {
	q, err := libaio.DefaultQueue()
	if err == nil {
		err = q.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the default queue:", err)
	}
}
