package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/golibaio/libaio"
	"golang.org/x/sys/unix"
)

// trialCommand is one measurement of a comparison, in a process of its own: so
// what the process has used is what the contender has used. The comparison runs
// it and reads the outcome, in JSON, from its standard output.
type trialCommand struct {
	Contender string        `arg:""`
	Workload  string        `arg:""`
	Path      string        `arg:""`
	Size      int64         `help:"Bytes of the file."`
	Depth     int           `help:"Requests in flight."`
	WarmUp    time.Duration `help:"Time before the measured time."`
	Duration  time.Duration `help:"The measured time."`
	Seed      uint64        `help:"Of the pattern in the file."`
	Profile   string        `help:"Write a CPU profile of the measured time to this file."`
}

// trialOutcome is what each contender must tell of a trial, whatever it is made of.
type trialOutcome struct {
	Ops            int64   `json:"ops"`
	ElapsedNs      int64   `json:"elapsed_ns"`
	CPUNs          int64   `json:"cpu_ns"` // user and system
	Allocs         int64   `json:"allocs"` // on the heap
	VolCtxSwitches int64   `json:"vol_ctx_switches"`
	Threads        int     `json:"threads"` // the most there were
	P50Us          float64 `json:"p50_us"`
	P99Us          float64 `json:"p99_us"`
	P999Us         float64 `json:"p999_us"`
	Verified       int     `json:"verified"` // blocks whose content was looked at
}

// trial is what the goroutines of a contender share.
type trial struct {
	path     string
	workload workload
	depth    int
	blocks   int64 // of the workload's size
	pattern  pattern
	memory   []*libaio.Buffer // one for each request in flight
	last     []int64          // the block that each of them moved last; -1: none

	phase  atomic.Int32
	cursor atomic.Int64 // of a sequential workload
}

// The phases of a trial.
const (
	phaseWarm int32 = iota
	phaseMeasured
	phaseOver
)

// trialist is a contender that is ready.
type trialist interface {
	// run keeps the requests in flight until the phase is over, and returns
	// when all have completed.
	run(ctx context.Context) error
	lanes() []*lane
	close() error
}

var trialists = map[string]func(*trial) (trialist, error){
	"channel": startChannelTrial,
	"do":      startDoTrial,
	"reap":    startReapTrial,
	"reap-2":  startTwoTrial,
	"readat":  startReadAtTrial,
	"stream":  startStreamTrial,
}

// lane chooses the blocks of one goroutine and counts its requests.
type lane struct {
	trial     *trial
	random    *rand.Rand
	latencies *buckets
	ended     atomic.Int64 // requests, in all phases
}

// latenciesMost is how many buckets there are at most: enough that two processors
// seldom meet, and few enough that they stay in their caches.
const latenciesMost = 8

// newLanes makes lanes that share a few buckets.
func newLanes(t *trial, n int) []*lane {
	shared := make([]buckets, min(n, latenciesMost))
	lanes := make([]*lane, n)
	for i := range lanes {
		lanes[i] = &lane{
			trial: t, latencies: &shared[i%len(shared)],
			random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		}
	}
	return lanes
}

// next is the offset of the next request of this slot.
func (l *lane) next(slot int) int64 {
	t := l.trial
	var block int64
	if t.workload.random {
		block = l.random.Int64N(t.blocks)
	} else {
		block = (t.cursor.Add(1) - 1) % t.blocks
	}
	t.last[slot] = block
	return block * t.workload.block
}

// take counts a request that moved n bytes, if it ended in the measured time.
func (l *lane) take(n int, took time.Duration) error {
	if int64(n) != l.trial.workload.block {
		return fmt.Errorf("%d of %d bytes were moved", n, l.trial.workload.block)
	}
	l.ended.Add(1)
	if l.trial.phase.Load() == phaseMeasured {
		l.latencies.record(took)
	}
	return nil
}

func (t *trial) over() bool { return t.phase.Load() == phaseOver }

// Run is called by kong.
func (c *trialCommand) Run(ctx context.Context, s streams) error {
	outcome, err := c.measure(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(s.out).Encode(outcome)
}

// newTrial allocates the memory. That of a writer holds the pattern of block
// 0, 1, 2, ..., wherever it will be written.
func (c *trialCommand) newTrial() (*trial, error) {
	w, known := findWorkload(c.Workload), trialists[c.Contender] != nil
	if w.name == "" || !known || c.Contender == "stream" && w.random || c.Depth < 1 || c.Size < w.block {
		return nil, fmt.Errorf("no such trial: %+v", *c)
	}
	t := &trial{
		path: c.Path, workload: w, depth: c.Depth, blocks: c.Size / w.block,
		pattern: pattern{seed: c.Seed}, last: make([]int64, c.slots()),
	}
	for i := range t.last {
		t.last[i] = -1
	}
	var err error
	if t.memory, err = allocate(c.slots(), int(w.block), blockSize); err != nil {
		releaseAll(t.memory)
		return nil, err
	}
	if w.write {
		for i, b := range t.memory {
			t.pattern.fill(b.Bytes(), int64(i)*t.patternBlocks())
		}
	}
	return t, nil
}

// slots is how many requests are in flight in all.
func (c trialCommand) slots() int {
	if c.Contender == "reap-2" || c.Contender == "c-2" {
		return 2 * c.Depth
	}
	return c.Depth
}

// patternBlocks is how many blocks of the pattern one request moves.
func (t *trial) patternBlocks() int64 { return t.workload.block / blockSize }

func (c *trialCommand) measure(ctx context.Context) (o *trialOutcome, err error) {
	t, err := c.newTrial()
	if err != nil {
		return nil, err
	}
	defer func() { releaseAll(t.memory) }()
	r, err := trialists[c.Contender](t)
	if err != nil {
		return nil, err
	}
	ran := make(chan error, 1)
	go func() {
		err := r.run(ctx)
		if err != nil {
			t.phase.Store(phaseOver) // the clock need not go on
		}
		ran <- err
	}()
	o, clockErr := c.clock(t, r.lanes())
	err = errors.Join(clockErr, <-ran, r.close())
	if err != nil {
		return nil, err
	}
	o.count(r.lanes())
	if o.Ops == 0 {
		return nil, fmt.Errorf("no request ended in %v: raise --seconds", c.Duration)
	}
	if o.Threads, err = threadCount("self"); err != nil {
		return nil, err
	}
	o.Verified, err = t.verify()
	return o, err
}

// clock takes the phases one after the other, and what the process uses during
// the measured one. runtime.ReadMemStats stops the world, so it stays outside.
func (c *trialCommand) clock(t *trial, lanes []*lane) (o *trialOutcome, err error) {
	defer t.phase.Store(phaseOver)
	t.letRun(c.WarmUp, lanes)
	stop, err := startProfile(c.Profile)
	if err != nil {
		return nil, err
	}
	var memBefore, memAfter runtime.MemStats
	var before, after unix.Rusage
	runtime.ReadMemStats(&memBefore)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return nil, os.NewSyscallError("getrusage", err)
	}
	start := time.Now()
	t.phase.CompareAndSwap(phaseWarm, phaseMeasured)
	t.letRun(c.Duration, lanes)
	t.phase.Store(phaseOver)
	elapsed := time.Since(start)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return nil, os.NewSyscallError("getrusage", err)
	}
	runtime.ReadMemStats(&memAfter)
	return &trialOutcome{
		ElapsedNs:      int64(elapsed),
		CPUNs:          usedNs(&after) - usedNs(&before),
		Allocs:         int64(memAfter.Mallocs - memBefore.Mallocs),
		VolCtxSwitches: after.Nvcsw - before.Nvcsw,
	}, stop()
}

// letRun waits for so long, and until as many requests have ended as are kept in
// flight: a thousand of 1 MiB can take longer. Such requests end in bursts, as
// the next io_submit holds their contender up, so a phase ends behind a burst.
func (t *trial) letRun(least time.Duration, lanes []*lane) {
	const look = time.Millisecond
	start, first := time.Now(), endedOf(lanes)
	time.Sleep(least - 2*look)
	for t.phase.Load() != phaseOver && time.Since(start) < longestPhase {
		before := endedOf(lanes)
		time.Sleep(look)
		if now := endedOf(lanes); now > before && now-first >= int64(t.depth) {
			time.Sleep(look)
			return
		}
	}
}

// longestPhase ends a phase of a device that does not get on.
const longestPhase = 20 * time.Second

// endedOf is how many requests have ended.
func endedOf(lanes []*lane) (n int64) {
	for _, l := range lanes {
		n += l.ended.Load()
	}
	return n
}

func usedNs(r *unix.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }

// count sums up what the lanes have counted.
func (o *trialOutcome) count(lanes []*lane) {
	var all buckets
	for _, l := range lanes[:min(len(lanes), latenciesMost)] { // the others share these
		all.merge(l.latencies)
	}
	us := func(percent float64) float64 {
		return float64(all.percentile(percent)) / float64(time.Microsecond)
	}
	o.Ops = all.total()
	o.P50Us, o.P99Us, o.P999Us = us(50), us(99), us(99.9)
}
