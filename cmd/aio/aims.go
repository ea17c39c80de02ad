package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// aim is a figure of one contender divided by that of another, in the same cell and
// round, and what the package sets itself for it.
type aim struct {
	what      string
	a, b      string // contenders
	figure    func(*trialOutcome) float64
	targets   []string // nil: all
	workloads []string // nil: those of 4 KiB
	depths    []int    // nil: all
	want      float64  // 0: nothing, it is there to compare with
	most      bool     // want is the most, not the least
}

var fourKiB = []string{"randread-4k", "randwrite-4k"}

var aims = []aim{
	{
		what: "IOPS", a: "channel", b: "fio-libaio", figure: (*trialOutcome).iops,
		targets: []string{"disk", "loop"}, depths: []int{32, 128, 1024}, want: 1,
	},
	{
		what: "IOPS", a: "channel", b: "fio-libaio", figure: (*trialOutcome).iops,
		targets: []string{"disk", "loop"}, depths: []int{8}, want: 0.95,
	},
	{
		what: "p50 latency", a: "do", b: "readat", figure: (*trialOutcome).p50,
		targets: []string{"disk", "loop"}, depths: []int{1}, want: 1.05, most: true,
	},
	{
		what: "IOPS", a: "do", b: "readat", figure: (*trialOutcome).iops,
		targets: []string{"disk"}, depths: []int{32, 128}, want: 2,
	},
	{
		what: "IOPS", a: "do", b: "readat", figure: (*trialOutcome).iops,
		targets: []string{"loop"}, depths: []int{128}, want: 3.5,
	},
	{
		what: "IOPS", a: "reap", b: "c", figure: (*trialOutcome).iops,
		targets: []string{"zram"}, want: 1,
	},
	{
		what: "IOPS", a: "reap", b: "fio-libaio", figure: (*trialOutcome).iops,
		targets: []string{"zram"}, want: 1,
	},
	{
		what: "IOPS", a: "reap-2", b: "reap", figure: (*trialOutcome).iops,
		targets: []string{"zram"}, want: 1.7,
	},
	{what: "IOPS", a: "c-2", b: "c", figure: (*trialOutcome).iops, targets: []string{"zram"}},
	{what: "IOPS", a: "channel", b: "fio-io_uring", figure: (*trialOutcome).iops, targets: []string{"disk", "loop"}},
	{
		what: "CPU per operation", a: "channel", b: "fio-libaio", figure: (*trialOutcome).cpuNsPerOp,
		targets: []string{"disk"}, depths: []int{32}, want: 1.25, most: true,
	},
	{
		what: "p99 latency", a: "channel", b: "fio-libaio", figure: (*trialOutcome).p99,
		targets: []string{"disk", "loop"}, depths: []int{32}, want: 1.1, most: true,
	},
	{
		what: "IOPS", a: "channel", b: "fio-libaio", figure: (*trialOutcome).iops,
		targets: []string{"disk", "loop"}, workloads: []string{"seqread-1m", "seqwrite-1m"}, want: 0.98,
	},
	{
		what: "IOPS", a: "stream", b: "fio-libaio", figure: (*trialOutcome).iops,
		targets: []string{"disk", "loop"}, workloads: []string{"seqread-1m", "seqwrite-1m"}, want: 0.98,
	},
}

func (a *aim) covers(c cell) bool {
	in := a.workloads
	if in == nil {
		in = fourKiB
	}
	return slices.Contains(in, c.workload.name) &&
		(a.targets == nil || slices.Contains(a.targets, c.target)) &&
		(a.depths == nil || slices.Contains(a.depths, c.depth))
}

// ratios are those of the rounds.
func (a *aim) ratios(of, to *result) []float64 {
	x, y := of.each(a.figure), to.each(a.figure)
	ratios := make([]float64, min(len(x), len(y)))
	for i := range ratios {
		ratios[i] = x[i] / y[i]
	}
	return ratios
}

func (a *aim) met(ratio float64) bool {
	if a.most {
		return ratio <= a.want
	}
	return ratio >= a.want
}

// verdict is what was wanted, and whether it was met; "" where nothing was.
func (a *aim) verdict(ratio float64) string {
	if a.want == 0 {
		return ""
	}
	sign, verdict := "≥", "missed"
	if a.most {
		sign = "≤"
	}
	if a.met(ratio) {
		verdict = "met"
	}
	return fmt.Sprintf("%s %g %s", sign, a.want, verdict)
}

// writeAims writes a line for each aim and cell that both contenders were in.
func writeAims(w io.Writer, results []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "target\tworkload\tdepth\tratio of\tmedian\tmin-max\taim\t")
	for i := range aims {
		for _, of := range results {
			to := findResult(results, of.cell, aims[i].b)
			if of.contender == aims[i].a && to != nil && aims[i].covers(of.cell) {
				aims[i].line(t, of, to)
			}
		}
	}
	return t.Flush()
}

func (a *aim) line(w io.Writer, of, to *result) {
	ratios := a.ratios(of, to)
	fmt.Fprintf(w, "%s\t%s\t%d\t%s, %s / %s\t%.2f\t%.2f-%.2f\t%s\t\n",
		of.target, of.workload.name, of.depth, a.what, a.a, a.b,
		median(ratios), slices.Min(ratios), slices.Max(ratios), a.verdict(median(ratios)))
}

// findResult is what a contender did in a cell; nil where it did nothing.
func findResult(results []*result, c cell, contender string) *result {
	for _, r := range results {
		if r.cell == c && r.contender == contender {
			return r
		}
	}
	return nil
}
