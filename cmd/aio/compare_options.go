package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
)

// compareOptions are the flags of aio bench --compare, beside those of aio bench.
type compareOptions struct {
	Compare    bool     `help:"Compare the package with fio, with a C program over libaio and with os.File.ReadAt, each in processes of their own."`
	Target     []string `default:"disk,loop,zram" placeholder:"NAME" group:"With --compare:" help:"On what: disk is --file, loop a loop device over memory, zram a zram device. The latter two need root (${default})."`
	Workload   []string `default:"randread-4k,seqread-1m,randwrite-4k,seqwrite-1m" placeholder:"NAME" group:"With --compare:" help:"How to access it (${default})."`
	Contenders []string `default:"${rivals}" placeholder:"NAME" group:"With --compare:" help:"Who takes part (${default})."`
	Seconds    float64  `default:"0.15" placeholder:"N" group:"With --compare:" help:"How long one measurement lasts, behind a warm-up of a quarter of it (${default})."`
	UserReap   []string `default:"zram" placeholder:"NAME" group:"With --compare:" help:"The targets on which fio's libaio engine and the C program read the completion ring in user space; none for nowhere (${default})."`
	JSON       string   `default:"compare.json" placeholder:"PATH" group:"With --compare:" help:"Where to write the figures (${default})."`
	SVG        string   `default:"compare.svg" placeholder:"PATH" group:"With --compare:" help:"Where to write the plot of IOPS over depth (${default})."`
	Profile    string   `placeholder:"DIR" group:"With --compare:" help:"Write a CPU profile of each measurement of the package, for go tool pprof, into this directory, which must exist."`
}

// benchDefaults are the defaults that --compare changes.
func benchDefaults(args []string) kong.Vars {
	v := kong.Vars{"size": "1GiB", "depths": "1,8,32,128", "rounds": "3", "rivals": strings.Join(rivalNames(), ",")}
	if slices.Contains(args, "--compare") {
		v["size"], v["depths"], v["rounds"] = "512MiB", "1,8,32,128,1024", "5"
	}
	return v
}

// check refuses what can be known to be wrong before anything is done.
func (c *compareOptions) check(o *benchOptions) error {
	switch {
	case o.File == "":
		return fmt.Errorf("--file is empty: name a file that does not exist")
	case o.Size < minSize || o.Size%minSize != 0:
		return fmt.Errorf("--size %d: must be a multiple of %s with --compare; write it like 512MiB or 1GiB",
			int64(o.Size), humanize.IBytes(minSize))
	case o.Rounds < 1 || o.Rounds > 1000:
		return fmt.Errorf("--rounds %d: must be 1 to 1000", o.Rounds)
	case !(c.Seconds >= shortest.Seconds() && c.Seconds <= 3600):
		return fmt.Errorf("--seconds %v: must be %v to 3600", c.Seconds, shortest.Seconds())
	case c.JSON == "":
		return fmt.Errorf("--json is empty: name the file to write")
	case c.SVG == "":
		return fmt.Errorf("--svg is empty: name the file to write")
	}
	for _, list := range []struct {
		flag       string
		given, all []string
	}{
		{"--target", c.Target, targetNames()},
		{"--workload", c.Workload, workloadNames()},
		{"--contenders", c.Contenders, rivalNames()},
		{"--user-reap", c.UserReap, append(targetNames(), "none")},
	} {
		if err := checkNames(list.flag, list.given, list.all); err != nil {
			return err
		}
	}
	if info, err := os.Stat(c.Profile); c.Profile != "" && (err != nil || !info.IsDir()) {
		return fmt.Errorf("--profile %s: must be a directory that exists", c.Profile)
	}
	return o.checkDepths()
}

func checkNames(flag string, given, all []string) error {
	if len(given) == 0 {
		return fmt.Errorf("%s is empty: name at least one of %s", flag, strings.Join(all, ", "))
	}
	for i, name := range given {
		switch {
		case !slices.Contains(all, name):
			return fmt.Errorf("%s %s: must be of %s", flag, name, strings.Join(all, ", "))
		case slices.Contains(given[:i], name):
			return fmt.Errorf("%s %s: is named twice", flag, name)
		}
	}
	return nil
}

func (c *compareOptions) duration() time.Duration {
	return time.Duration(c.Seconds * float64(time.Second))
}

func (c *compareOptions) warmUp() time.Duration { return c.duration() / 4 }
