package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fioArgs makes fio do what the others do: direct I/O from one job, a depth, a
// time, and every block as often as chance wants (norandommap). What is not
// named is fio's default, above all that it submits each request by itself
// (iodepth_batch_submit=1).
func fioArgs(engine string, t *trialCommand, w workload, userReap bool) []string {
	args := []string{
		"--name=compare", "--filename=" + t.Path, "--size=" + strconv.FormatInt(t.Size, 10),
		"--ioengine=" + engine, "--rw=" + fioPattern(w), fmt.Sprintf("--bs=%d", w.block),
		fmt.Sprintf("--iodepth=%d", t.Depth), "--numjobs=1", "--direct=1",
		"--time_based", "--runtime=" + fioTime(t.Duration), "--ramp_time=" + fioTime(t.WarmUp),
		"--norandommap", "--randrepeat=0",
		"--scramble_buffers=0",               // the others do not change theirs either
		"--invalidate=0", "--fallocate=none", // the file is there, and not cached
		"--lat_percentiles=1", "--clat_percentiles=0", // from before the submission on
		"--percentile_list=50:99:99.9",
		"--disk_util=0", "--eta=never", "--output-format=json",
	}
	if userReap {
		// fio looks at the ring only where it need not wait for a minimum.
		args = append(args, "--userspace_reap=1", "--iodepth_batch_complete_min=0")
	}
	return args
}

func fioPattern(w workload) string {
	pattern := "read"
	if w.write {
		pattern = "write"
	}
	if w.random {
		pattern = "rand" + pattern
	}
	return pattern
}

// fioTime is a time as fio reads it. It knows no fractions.
func fioTime(d time.Duration) string {
	return strconv.FormatInt(d.Microseconds(), 10) + "us"
}

// fioReport is what is used of fio's JSON.
type fioReport struct {
	Jobs []fioJob `json:"jobs"`
}

type fioJob struct {
	Error      int     `json:"error"`
	Read       fioSide `json:"read"`
	Write      fioSide `json:"write"`
	JobRuntime float64 `json:"job_runtime"` // milliseconds
	UserCPU    float64 `json:"usr_cpu"`     // per cent of JobRuntime, as getrusage tells the job
	SystemCPU  float64 `json:"sys_cpu"`
	Switches   float64 `json:"ctx"` // of both kinds
}

type fioSide struct {
	IOPS     float64 `json:"iops"`
	TotalIOs int64   `json:"total_ios"`
	Latency  struct {
		Percentile map[string]float64 `json:"percentile"` // nanoseconds
	} `json:"lat_ns"`
}

// parseFio reads what fio has measured. fio may write lines of text before the
// JSON. Of its context switches it tells the sum of both kinds: how many of a
// hundred were voluntary is known of the whole process.
func parseFio(out []byte, w workload, usage *syscall.Rusage) (*trialOutcome, error) {
	text := string(out)
	var report fioReport
	if err := json.Unmarshal([]byte(text[max(0, strings.Index(text, "{")):]), &report); err != nil {
		return nil, fmt.Errorf("fio wrote no JSON: %w", err)
	}
	if len(report.Jobs) != 1 {
		return nil, fmt.Errorf("fio reported %d jobs instead of 1", len(report.Jobs))
	}
	job := &report.Jobs[0]
	side := &job.Read
	if w.write {
		side = &job.Write
	}
	switch {
	case job.Error != 0:
		return nil, fmt.Errorf("fio: %w", syscall.Errno(job.Error))
	case side.TotalIOs == 0 || side.IOPS == 0:
		return nil, fmt.Errorf("fio ended no request: raise --seconds")
	}
	o := &trialOutcome{
		Ops:       side.TotalIOs,
		ElapsedNs: int64(float64(side.TotalIOs) / side.IOPS * 1e9),
		CPUNs:     int64((job.UserCPU + job.SystemCPU) / 100 * job.JobRuntime * 1e6),
		P50Us:     side.Latency.Percentile["50.000000"] / 1e3,
		P99Us:     side.Latency.Percentile["99.000000"] / 1e3,
		P999Us:    side.Latency.Percentile["99.900000"] / 1e3,
	}
	if all := usage.Nvcsw + usage.Nivcsw; all > 0 {
		o.VolCtxSwitches = int64(math.Round(job.Switches * float64(usage.Nvcsw) / float64(all)))
	}
	return o, nil
}

// missingFio is why an engine of fio cannot be used; "" when it can.
func missingFio(engine string) string {
	if _, err := exec.LookPath("fio"); err != nil {
		return "fio is not installed: make compare installs it"
	}
	if out, err := exec.Command("fio", "--enghelp="+engine).CombinedOutput(); err != nil {
		return fmt.Sprintf("this fio has no engine %s: %s", engine, firstLine(out))
	}
	if engine == "io_uring" {
		return missingURing()
	}
	return ""
}

// missingURing asks the kernel for the smallest ring.
func missingURing() string {
	var params [120]byte // struct io_uring_params, all zero
	fd, errno := ioURingSetup(&params)
	if errno != 0 {
		setting, _ := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
		return fmt.Sprintf("io_uring_setup: %v (kernel.io_uring_disabled: %q)", errno, strings.TrimSpace(string(setting)))
	}
	_ = syscall.Close(fd)
	return ""
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
