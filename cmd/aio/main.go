// Command aio measures the libaio package on a disk, and tells what a system
// offers to it.
//
//	aio bench    compares reads through a completion channel with os.File.ReadAt,
//	             and with --compare the whole package with fio and a C program
//	aio info     shows the kernel, its AIO limits and the alignment of a path
//
// The exit code is 0 for success, 1 for a failure, 2 for a wrong command line,
// and 128 plus the number of the signal that stopped it (130 for SIGINT).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

// commands is the command line, as kong reads it.
type commands struct {
	Bench benchCommand `cmd:"" help:"Compare reads through the completion channel with os.File.ReadAt, or with --compare the whole package with fio, a C program and os.File.ReadAt. It writes a file of its own and removes it. Every block that is read is checked, with --compare up to 32 after each measurement, but for fio."`
	Trial trialCommand `cmd:"" hidden:""`
	Info  infoCommand  `cmd:"" help:"Show the kernel, its AIO limits, and what direct I/O on a path demands."`
}

// streams is where a command writes: results to out, all else to err.
type streams struct {
	out, err io.Writer
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	var c commands
	parser, err := kong.New(&c,
		kong.Name("aio"),
		kong.Description("Measures Linux kernel AIO through the Go package libaio."),
		kong.Writers(s.out, s.err),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
		benchDefaults(args),
	)
	if err != nil {
		return fail(s, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(s.err, "aio: %v; see aio --help\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		return fail(s, err)
	}
	return 0
}

// fail tells the error in one line and returns its exit code.
func fail(s streams, err error) int {
	fmt.Fprintf(s.err, "aio: %v\n", err)
	var by *stoppedError
	if errors.As(err, &by) {
		return by.exitCode()
	}
	return exitFailure
}
