package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rival is a contender of a comparison: a program to run for each measurement.
type rival struct {
	name    string
	missing func(self string) string // why it cannot run here; "" when it can
	command func(self string, t *trialCommand, w workload, userReap bool) []string
	parse   func(out []byte, w workload, usage *syscall.Rusage) (*trialOutcome, error)
	// only is the one target that it is for, and sequential that it is for workloads
	// that are. The figures of such a rival are in the tables and the ratios, and not
	// in the files.
	only       string
	sequential bool
	// outside: the threads must be counted from outside.
	outside bool
}

// The order is that of the tables.
var rivals = []rival{
	goRival("channel"),
	goRival("do"),
	goRival("reap"),
	plainRival("c"),
	fioRival("libaio"),
	fioRival("io_uring"),
	goRival("readat"),
	twoRival(goRival("reap-2")),
	twoRival(plainRival("c-2", "two")),
	streamRival(),
}

// special says whether it is not for everything.
func (r *rival) special() bool { return r.only != "" || r.sequential }

// takes says whether it is for this target and workload.
func (r *rival) takes(target string, w workload) bool {
	return (r.only == "" || r.only == target) && !(r.sequential && w.random)
}

func rivalNames() []string {
	var names []string
	for _, r := range rivals {
		names = append(names, r.name)
	}
	return names
}

// goRival is this program, as aio trial.
func goRival(name string) rival {
	return rival{
		name:    name,
		missing: func(string) string { return "" },
		command: func(self string, t *trialCommand, w workload, _ bool) []string {
			args := []string{
				self, "trial", name, w.name, t.Path,
				fmt.Sprintf("--size=%d", t.Size), fmt.Sprintf("--depth=%d", t.Depth),
				fmt.Sprintf("--warm-up=%v", t.WarmUp), fmt.Sprintf("--duration=%v", t.Duration),
				fmt.Sprintf("--seed=%d", t.Seed),
			}
			if t.Profile != "" {
				args = append(args, "--profile="+t.Profile)
			}
			return args
		},
		parse: parseTrial,
	}
}

// twoRival is for what its two contexts gain over one, where the processor is all
// that counts.
func twoRival(r rival) rival {
	r.only = "zram"
	return r
}

// streamRival is NewReader and NewWriter.
func streamRival() rival {
	r := goRival("stream")
	r.sequential = true
	return r
}

func fioRival(engine string) rival {
	return rival{
		name:    "fio-" + engine,
		missing: func(string) string { return missingFio(engine) },
		command: func(_ string, t *trialCommand, w workload, userReap bool) []string {
			return append([]string{"fio"}, fioArgs(engine, t, w, userReap && engine == "libaio")...)
		},
		parse:   parseFio,
		outside: true,
	}
}

// plainProgram is the C program: make build puts it beside this one.
func plainProgram(self string) string { return filepath.Join(filepath.Dir(self), "aio-plain") }

func missingPlain(self string) string {
	if _, err := exec.LookPath(plainProgram(self)); err != nil {
		return fmt.Sprintf("%v: make build compiles it", err)
	}
	return ""
}

// plainRival is the C program, with arguments behind the usual ones.
func plainRival(name string, more ...string) rival {
	return rival{
		name:    name,
		missing: missingPlain,
		command: func(self string, t *trialCommand, w workload, userReap bool) []string {
			return append(plainCommand(self, t, w, userReap), more...)
		},
		parse: parseTrial,
	}
}

func plainCommand(self string, t *trialCommand, w workload, userReap bool) []string {
	direction, order := "read", "seq"
	if w.write {
		direction = "write"
	}
	if w.random {
		order = "random"
	}
	args := []string{
		plainProgram(self), t.Path, strconv.FormatInt(t.Size, 10), strconv.FormatInt(w.block, 10), strconv.Itoa(t.Depth),
		direction, order,
		strconv.FormatFloat(t.WarmUp.Seconds(), 'f', -1, 64), strconv.FormatFloat(t.Duration.Seconds(), 'f', -1, 64),
		strconv.FormatUint(t.Seed, 10),
	}
	if userReap {
		args = append(args, "userreap")
	}
	return args
}

func parseTrial(out []byte, _ workload, _ *syscall.Rusage) (*trialOutcome, error) {
	o := &trialOutcome{}
	if err := json.Unmarshal(out, o); err != nil {
		return nil, fmt.Errorf("the outcome is no JSON: %w: %q", err, out)
	}
	if o.Ops < 1 || o.ElapsedNs < 1 {
		return nil, errors.New("no request ended: raise --seconds")
	}
	return o, nil
}

// measure runs the rival once.
func (r *rival) measure(ctx context.Context, self string, t *trialCommand, w workload, userReap bool) (*trialOutcome, error) {
	args := r.command(self, t, w, userReap)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	threads := func() int { return 0 }
	if r.outside {
		threads = watchThreads(cmd.Process.Pid)
	}
	err := cmd.Wait()
	most := threads()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%s: %w: %s", r.name, err, firstLine(append(said.Bytes(), out.Bytes()...)))
	}
	o, err := r.parse(out.Bytes(), w, cmd.ProcessState.SysUsage().(*syscall.Rusage))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	if r.outside {
		o.Threads = most
	}
	return o, nil
}

func ioURingSetup(params *[120]byte) (int, syscall.Errno) {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(params)), 0)
	return int(fd), errno
}
