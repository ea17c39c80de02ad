package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/golibaio/libaio"
)

// infoCommand is aio info.
type infoCommand struct {
	Path string `arg:"" optional:"" help:"A file, a block device, or a directory, in which a file is made for a moment."`
}

// Run is called by kong. What can be told is told, also when something fails.
func (c *infoCommand) Run(s streams) error {
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kernel\t%s\n", kernelRelease())
	fmt.Fprintf(t, "libaio\t%s\n", loadedLibaio())
	fmt.Fprintf(t, "aio-nr\t%s\n", aioCounter("aio-nr"))
	fmt.Fprintf(t, "aio-max-nr\t%s\n", aioCounter("aio-max-nr"))
	failures := c.try(t)
	if err := t.Flush(); err != nil {
		return err
	}
	return failures
}

// try is the lines that can fail.
func (c *infoCommand) try(w io.Writer) error {
	q, err := libaio.NewQueue(1, nil)
	if err != nil {
		return err
	}
	if err := q.Close(); err != nil {
		return err
	}
	fmt.Fprintln(w, "AIO\tallowed")
	if c.Path == "" {
		return nil
	}
	a, err := alignmentOf(c.Path)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "direct I/O on %s\t%s\n", c.Path, describe(a))
	return nil
}

func describe(a libaio.Alignment) string {
	if !a.Known() {
		return "possible; the kernel does not tell the alignment"
	}
	return fmt.Sprintf("memory aligned to %d bytes, offset and length to %d", a.Memory, a.Offset)
}

// alignmentOf asks the path itself, or a file that it makes in the directory.
func alignmentOf(path string) (a libaio.Alignment, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return a, err
	}
	if info.IsDir() {
		temp, err := os.CreateTemp(path, "aio-info-*")
		if err != nil {
			return a, err
		}
		path = temp.Name()
		defer os.Remove(path)
		defer temp.Close()
	}
	f, err := libaio.Open(path)
	if errors.Is(err, libaio.ErrNoDirectIO) {
		return a, fmt.Errorf("the file system of %s has no direct I/O: %w", path, err)
	}
	if err != nil {
		return a, err
	}
	return f.Alignment(), f.Close()
}
