package main

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
)

// report writes the tables, the ratios and what was skipped, in one piece.
func (r *comparison) report(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "O_DIRECT; size: %s; rounds: %d of %v each; kernel: %s\n",
		humanize.IBytes(uint64(r.bench.Size)), r.bench.Rounds, r.duration(), kernelRelease())
	if processors := runtime.NumCPU(); r.load > float64(processors)/4 {
		fmt.Fprintf(&b, "This machine was busy before the run (load average %.1f, %d processors): contenders with many threads get more of it\n"+
			"than those with one. Believe the CPU time per operation more than the rest.\n", r.load, processors)
	}
	if len(r.results) > 0 {
		if err := r.tables(&b); err != nil {
			return err
		}
		b.WriteString("\nIOPS: median of the rounds, and the least and the most. Latency, CPU (user and system), heap allocations and\n" +
			"voluntary context switches per operation: medians. Threads: the most, of all processes of a contender.\n\n")
		if err := writeAims(&b, r.results); err != nil {
			return err
		}
	}
	for _, s := range r.skipped {
		fmt.Fprintf(&b, "skipped: %s\n", s)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// tables are one for each target and workload.
func (r *comparison) tables(w io.Writer) error {
	var t *tabwriter.Writer
	for i, result := range r.results {
		if i == 0 || result.target != r.results[i-1].target || result.workload != r.results[i-1].workload {
			if t != nil {
				if err := t.Flush(); err != nil {
					return err
				}
			}
			fmt.Fprintf(w, "\n%s, %s\n", result.target, result.workload.name)
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(t, "depth\tcontender\tIOPS\tmin-max\tCPU ns/op\tp50 µs\tp99 µs\tp99.9 µs\tthreads\tallocs/op\tswitches/op\t")
		}
		writeRecord(t, result.record())
	}
	return t.Flush()
}

func writeRecord(w io.Writer, r record) {
	fmt.Fprintf(w, "%d\t%s\t%s\t%s-%s\t%s\t%.1f\t%.1f\t%.1f\t%s\t%.3f\t%.3f\t\n",
		r.Depth, r.Contender, whole(r.IOPS), whole(r.IOPSMin), whole(r.IOPSMax), whole(r.CPUNsPerOp),
		r.P50Us, r.P99Us, r.P999Us, known(r.Threads), r.AllocsPerOp, r.VolCtxSwitchesPerOp)
}
