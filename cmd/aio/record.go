package main

import (
	"encoding/json"
	"os"
	"slices"
)

// record is one row of compare.json: a contender with one workload, at one
// depth, on one target. The figures are medians of the rounds.
type record struct {
	Target              string  `json:"target"`     // disk, loop or zram
	Workload            string  `json:"workload"`   // randread-4k, seqread-1m, randwrite-4k or seqwrite-1m
	BlockSize           int64   `json:"block_size"` // bytes
	Depth               int     `json:"depth"`
	Contender           string  `json:"contender"`
	IOPS                float64 `json:"iops"`
	IOPSMin             float64 `json:"iops_min"`
	IOPSMax             float64 `json:"iops_max"`
	CPUNsPerOp          float64 `json:"cpu_ns_per_op"` // user and system
	P50Us               float64 `json:"p50_us"`
	P99Us               float64 `json:"p99_us"`
	P999Us              float64 `json:"p999_us"`
	Threads             int     `json:"threads"`
	AllocsPerOp         float64 `json:"allocs_per_op"`
	VolCtxSwitchesPerOp float64 `json:"vol_ctx_switches_per_op"`
	Rounds              int     `json:"rounds"`
}

func (o *trialOutcome) iops() float64         { return float64(o.Ops) / float64(o.ElapsedNs) * 1e9 }
func (o *trialOutcome) perOp(n int64) float64 { return float64(n) / float64(o.Ops) }

func (o *trialOutcome) cpuNsPerOp() float64    { return o.perOp(o.CPUNs) }
func (o *trialOutcome) allocsPerOp() float64   { return o.perOp(o.Allocs) }
func (o *trialOutcome) switchesPerOp() float64 { return o.perOp(o.VolCtxSwitches) }
func (o *trialOutcome) p50() float64           { return o.P50Us }
func (o *trialOutcome) p99() float64           { return o.P99Us }
func (o *trialOutcome) p999() float64          { return o.P999Us }

// published are the results for the files: those of rivals for everything.
func published(results []*result) (all []*result) {
	for _, r := range results {
		i := slices.Index(rivalNames(), r.contender)
		if i < 0 || !rivals[i].special() {
			all = append(all, r)
		}
	}
	return all
}

// cell is where contenders meet: the same target, workload and depth.
type cell struct {
	target   string
	workload workload
	depth    int
}

// result is what one contender did in a cell, by round.
type result struct {
	cell
	contender string
	rounds    []*trialOutcome
}

// each is one figure of every round.
func (r *result) each(figure func(*trialOutcome) float64) []float64 {
	var all []float64
	for _, o := range r.rounds {
		all = append(all, figure(o))
	}
	return all
}

func (r *result) median(figure func(*trialOutcome) float64) float64 {
	return median(r.each(figure))
}

// median of an even number is the mean of the middle two.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (r *result) record() record {
	iops := r.each((*trialOutcome).iops)
	threads := 0
	for _, o := range r.rounds {
		threads = max(threads, o.Threads)
	}
	return record{
		Target: r.target, Workload: r.workload.name, BlockSize: r.workload.block,
		Depth: r.depth, Contender: r.contender,
		IOPS: median(iops), IOPSMin: slices.Min(iops), IOPSMax: slices.Max(iops),
		CPUNsPerOp:          r.median((*trialOutcome).cpuNsPerOp),
		P50Us:               r.median((*trialOutcome).p50),
		P99Us:               r.median((*trialOutcome).p99),
		P999Us:              r.median((*trialOutcome).p999),
		Threads:             threads,
		AllocsPerOp:         r.median((*trialOutcome).allocsPerOp),
		VolCtxSwitchesPerOp: r.median((*trialOutcome).switchesPerOp),
		Rounds:              len(r.rounds),
	}
}

// writeRecords writes an array with one record for each result.
func writeRecords(path string, results []*result) error {
	records := []record{}
	for _, r := range results {
		records = append(records, r.record())
	}
	b, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}
