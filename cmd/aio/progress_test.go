package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProgressByLines(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.begin("writing 8 KiB", 8192, true)
	for range 8 {
		p.advance(1024, "")
	}
	p.end()
	p.begin("reading", 2, false)
	p.now("first")
	p.advance(1, "first: 10 IOPS")
	p.advance(1, "second: 20 IOPS")
	p.end()
	assert.Equal(t, `writing 8 KiB
2.0 KiB of 8.0 KiB
4.0 KiB of 8.0 KiB
6.0 KiB of 8.0 KiB
8.0 KiB of 8.0 KiB
reading
1/2 first: 10 IOPS
2/2 second: 20 IOPS
`, out.String())
}

func TestProgressByBar(t *testing.T) {
	var out bytes.Buffer
	p := &barProgress{out: &out}
	p.end() // before anything began
	p.begin("writing", 100, true)
	p.advance(50, "")
	p.end()
	assert.Contains(t, out.String(), "writing")
	p.begin("reading", 2, false)
	p.now("first")
	p.end()
	p.end()
	assert.Contains(t, out.String(), "first")
}

func TestTerminalIsToldFromAPipe(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	defer terminal.Close()
	assert.IsType(t, &barProgress{}, newProgress(terminal))

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	assert.IsType(t, &lineProgress{}, newProgress(w))
}
