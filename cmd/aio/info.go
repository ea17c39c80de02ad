package main

import (
	"cmp"
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
	system := libaio.Probe(nil)
	fmt.Fprintf(t, "kernel\t%s\n", system.Kernel)
	fmt.Fprintf(t, "engine\t%s\n", system.Engine)
	if system.Engine == "libaio" {
		fmt.Fprintf(t, "libaio\t%s\n", cmp.Or(system.Libaio, "linked into this program, version unknown"))
	}
	limits, err := libaio.Limits()
	if err == nil {
		fmt.Fprintf(t, "aio-nr\t%d\n", limits.InUse)
		fmt.Fprintf(t, "aio-max-nr\t%d\n", limits.Max)
	}
	for _, feature := range []struct {
		name string
		err  error
	}{
		{"AIO", system.AIO},
		{"io_pgetevents", system.PGetEvents},
		{"io_cancel", system.Cancel},
		{"fsync", system.Fsync},
		{"poll", system.Poll},
	} {
		fmt.Fprintf(t, "%s\t%s\n", feature.name, works(feature.err))
	}
	err = errors.Join(err, system.AIO)
	if c.Path != "" {
		err = errors.Join(err, c.path(t))
	}
	return errors.Join(err, t.Flush())
}

func works(err error) string {
	if err != nil {
		return err.Error()
	}
	return "works"
}

// path is what can be told of a file.
func (c *infoCommand) path(w io.Writer) error {
	f, err := openForInfo(c.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(w, "direct I/O on %s\t%s\n", c.Path, describe(f.Direct(), f.Alignment()))
	fmt.Fprintf(w, "flags on %s\t%s\n", c.Path, libaio.Probe(f).Flags)
	return nil
}

func describe(direct bool, a libaio.Alignment) string {
	switch {
	case !direct:
		return "none: O_DIRECT is taken, but the files are in memory"
	case !a.Known():
		return "possible; the kernel does not tell the alignment"
	}
	return fmt.Sprintf("memory aligned to %d bytes, offset and length to %d", a.Memory, a.Offset)
}

// openForInfo opens the path itself, or a file that it makes in the directory
// and removes at once.
func openForInfo(path string) (*libaio.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	flag := os.O_RDONLY
	if info.IsDir() {
		temp, err := os.CreateTemp(path, "aio-info-*")
		if err != nil {
			return nil, err
		}
		path, flag = temp.Name(), os.O_RDWR
		defer os.Remove(path)
		defer temp.Close()
	}
	f, err := libaio.OpenFile(path, flag, 0)
	if errors.Is(err, libaio.ErrNoDirectIO) {
		return nil, fmt.Errorf("the file system of %s has no direct I/O: %w", path, err)
	}
	return f, err
}
