package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
)

// comparison is one run of aio bench --compare.
type comparison struct {
	compareOptions
	bench    *benchOptions
	self     string // this program
	progress progress

	load    float64 // of the machine, before the run
	rivals  []rival
	skipped []string // what was left out, and why
	results []*result
}

// compare measures, prints the tables and writes the files.
func (c *benchCommand) compare(ctx context.Context, s streams) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r := comparison{compareOptions: c.Comparison, bench: &c.benchOptions, self: self, progress: newProgress(s.err)}
	if err := r.run(ctx, s); err != nil {
		return stopCause(ctx, err)
	}
	if err := r.report(s.out); err != nil {
		return err
	}
	if len(r.results) == 0 {
		return errors.New("nothing could be measured: see what was skipped")
	}
	files := published(r.results)
	if err := writeRecords(r.JSON, files); err != nil || len(files) == 0 {
		return err
	}
	return writePlot(r.SVG, files)
}

func (r *comparison) skip(what string, why error) {
	r.skipped = append(r.skipped, fmt.Sprintf("%s: %v", what, why))
}

// run fills the results, target by target.
func (r *comparison) run(ctx context.Context, s streams) error {
	r.load = loadAverage()
	r.findRivals()
	fmt.Fprintf(s.err, "%d measurements: about %v\n", r.measurements(), r.estimate().Round(time.Second))
	for _, t := range targets {
		if !slices.Contains(r.Target, t.name) {
			continue
		}
		if err := r.on(ctx, t.name, t.make); err != nil {
			return err
		}
	}
	return nil
}

// findRivals finds out who can take part.
func (r *comparison) findRivals() {
	for _, v := range rivals {
		if !slices.Contains(r.Contenders, v.name) {
			continue
		}
		if why := v.missing(r.self); why != "" {
			r.skip(v.name, skipped(why))
			continue
		}
		r.rivals = append(r.rivals, v)
	}
}

func (r *comparison) measurements() (n int) {
	for _, w := range r.Workload {
		n += r.turns(findWorkload(w)) * len(r.bench.Depths)
	}
	return n
}

// turns is how many measurements there are of a workload at one depth.
func (r *comparison) turns(w workload) (n int) {
	for _, target := range r.Target {
		n += len(r.rivalsFor(target, w)) * r.bench.Rounds
	}
	return n
}

// trialOverhead is what a measurement takes beside its time, more or less: a
// process to start and memory to get.
const trialOverhead = 200 * time.Millisecond

// estimate counts the extra time four times: it is in the warm-up and in the
// measured time, and as much goes into the memory and the requests that are in
// flight at the end.
func (r *comparison) estimate() (all time.Duration) {
	for _, w := range r.Workload {
		for _, depth := range r.bench.Depths {
			c := cell{workload: findWorkload(w), depth: depth}
			all += (r.warmUp() + r.duration() + trialOverhead + 4*c.extra()) * time.Duration(r.turns(c.workload))
		}
	}
	return all
}

// on measures on one target, which exists only meanwhile.
func (r *comparison) on(ctx context.Context, name string, make func(*benchOptions) (*place, error)) (err error) {
	p, err := make(r.bench)
	var why skipped
	if errors.As(err, &why) {
		r.skip(name, err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		r.progress.end()
		err = alongside(stopCause(ctx, err), p.remove())
	}()
	seed := rand.Uint64()
	if err := r.layOut(ctx, name, p, seed); err != nil {
		return err
	}
	for _, w := range workloads {
		if !slices.Contains(r.Workload, w.name) {
			continue
		}
		if err := r.rounds(ctx, name, p, w, seed); err != nil {
			return err
		}
	}
	return nil
}

func (r *comparison) layOut(ctx context.Context, name string, p *place, seed uint64) error {
	file, err := p.open()
	if err != nil {
		return err
	}
	defer file.Close()
	r.progress.begin(fmt.Sprintf("%s: writing %s to %s", name, humanize.IBytes(uint64(r.bench.Size)), p.path), int64(r.bench.Size), true)
	l := layout{file: file, size: int64(r.bench.Size), pattern: pattern{seed: seed}, advance: func(n int64) { r.progress.advance(n, "") }}
	err = l.run(ctx)
	r.progress.end()
	return err
}

// rounds measures one workload on one target. In a round every contender has
// its turn at each depth, one right behind the other; who is first changes with
// the round.
func (r *comparison) rounds(ctx context.Context, name string, p *place, w workload, seed uint64) error {
	cells, rivals := r.cells(name, w), r.rivalsFor(name, w)
	steps := len(cells) * len(rivals) * r.bench.Rounds
	if steps == 0 {
		return nil
	}
	r.progress.begin(name+" "+w.name, int64(steps), false)
	defer r.progress.end()
	results := make([]*result, 0, len(cells)*len(rivals))
	for _, c := range cells {
		for _, v := range rivals {
			results = append(results, &result{cell: c, contender: v.name})
		}
	}
	for round := range r.bench.Rounds {
		for i, c := range cells {
			for n := range rivals {
				n = (n + round) % len(rivals)
				what := fmt.Sprintf("%s %s, round %d/%d, depth %d, %s", name, w.name, round+1, r.bench.Rounds, c.depth, rivals[n].name)
				r.progress.now(what)
				t := r.trial(p, c, seed)
				if r.Profile != "" {
					t.Profile = filepath.Join(r.Profile, fmt.Sprintf("%s-%s-%d-%s-%d.prof", name, w.name, c.depth, rivals[n].name, round+1))
				}
				o, err := rivals[n].measure(ctx, r.self, t, w, slices.Contains(r.UserReap, name))
				if err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				result := results[i*len(rivals)+n]
				result.rounds = append(result.rounds, o)
				r.progress.advance(1, fmt.Sprintf("%s: %s IOPS", what, whole(o.iops())))
			}
		}
	}
	r.results = append(r.results, results...)
	return nil
}

// rivalsFor are those who take part in a workload on a target.
func (r *comparison) rivalsFor(target string, w workload) (all []rival) {
	for _, v := range r.rivals {
		if v.takes(target, w) {
			all = append(all, v)
		}
	}
	return all
}

// cells are the depths for which there is memory.
func (r *comparison) cells(name string, w workload) (cells []cell) {
	for _, depth := range r.bench.Depths {
		if err := enoughMemory(int64(depth)*w.block, "what is in flight"); err != nil {
			r.skip(fmt.Sprintf("%s %s at depth %d", name, w.name, depth), err)
			continue
		}
		cells = append(cells, cell{target: name, workload: w, depth: depth})
	}
	return cells
}

func (r *comparison) trial(p *place, c cell, seed uint64) *trialCommand {
	return &trialCommand{
		Path: p.path, Size: int64(r.bench.Size), Depth: c.depth,
		WarmUp: r.warmUp() + c.extra(), Duration: r.duration() + c.extra(), Seed: seed,
	}
}

// extra is what a cell with much in flight takes longer, so that its requests
// have the time to end: half a second for a GiB.
func (c *cell) extra() time.Duration {
	return time.Duration(float64(c.workload.block) * float64(c.depth) / (1 << 30) * float64(time.Second/2))
}
