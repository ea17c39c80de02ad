package pebblevfs

import (
	"testing"

	"github.com/golibaio/libaio"
	"github.com/golibaio/libaio/internal/leftover"
)

func TestMain(m *testing.M) {
	leftover.Main(m, leftover.Counts{
		"blocks of memory": func() int { return int(libaio.Memory().Buffers) },
		"bytes of memory":  func() int { return int(libaio.Memory().Bytes) },
	}, nil)
}
