package main

import (
	"fmt"
	"math"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
)

const (
	blockSize = 4096    // bytes of one read
	minSize   = 1 << 20 // bytes: fewer blocks would be read again and again
	maxDepth  = 4096    // ReadAt takes an OS thread per request, and Go dies at 10000

	// closeTime is what a measurement takes beside its duration: a queue to
	// make and to close.
	closeTime = 50 * time.Millisecond
	// shortest is the least duration that still says something.
	shortest = 20 * time.Millisecond

	// The groups of flags.
	withCompare    = "With --compare:"
	withoutCompare = "Without --compare:"
)

// benchOptions are the flags of aio bench.
type benchOptions struct {
	File     string        `default:"aio-bench.tmp" placeholder:"PATH" help:"The file to write, read and remove. It must not exist. The default is ${default} in the current directory."`
	Size     byteSize      `default:"${size}" placeholder:"SIZE" help:"Size of the file, and with --compare of the devices, such as 256MiB or 4GiB (${default})."`
	Depths   []int         `default:"${depths}" placeholder:"N" help:"How many requests to keep in flight (${default})."`
	Rounds   int           `default:"${rounds}" placeholder:"N" help:"How often each measurement is made, all of them in turn (${default})."`
	Duration time.Duration `default:"1s" placeholder:"TIME" group:"Without --compare:" help:"How long one measurement reads (${default})."`
	Limit    time.Duration `default:"55s" placeholder:"TIME" group:"Without --compare:" help:"How long the whole run may take, writing the file included; measurements are made shorter to keep it (${default})."`
}

// checkGroups refuses flags of the benchmark in a comparison, and the other way round.
func checkGroups(given *kong.Context, compare bool) error {
	for _, p := range given.Path {
		switch {
		case p.Flag == nil || p.Flag.Group == nil:
		case compare && p.Flag.Group.Key == withoutCompare:
			return fmt.Errorf("--%s has no meaning with --compare", p.Flag.Name)
		case !compare && p.Flag.Group.Key == withCompare:
			return fmt.Errorf("--%s has no meaning without --compare", p.Flag.Name)
		}
	}
	return nil
}

// Validate is called by kong. It refuses what can be known to be wrong before
// anything is done.
func (o *benchOptions) Validate() error {
	switch {
	case o.File == "":
		return fmt.Errorf("--file is empty: name a file that does not exist")
	case o.Size < minSize || o.Size%blockSize != 0:
		return fmt.Errorf("--size %d: must be a multiple of %d bytes and at least %s; write it like 256MiB or 1GiB",
			int64(o.Size), blockSize, humanize.IBytes(minSize))
	case o.Rounds < 1 || o.Rounds > 1000:
		return fmt.Errorf("--rounds %d: must be 1 to 1000", o.Rounds)
	case o.Duration < shortest:
		return fmt.Errorf("--duration %v: must be at least %v", o.Duration, shortest)
	}
	if err := o.checkDepths(); err != nil {
		return err
	}
	if need := time.Duration(o.measurements()) * (o.Duration + closeTime); need > o.Limit {
		return fmt.Errorf("--limit %v: %d measurements of %v need %v and the time to write the file; raise it, or lower --duration, --rounds or --depths",
			o.Limit, o.measurements(), o.Duration, need)
	}
	return nil
}

func (o *benchOptions) checkDepths() error {
	if len(o.Depths) == 0 {
		return fmt.Errorf("--depths is empty: name at least one, such as 1,8,32")
	}
	seen := map[int]bool{}
	for _, d := range o.Depths {
		if d < 1 || d > maxDepth {
			return fmt.Errorf("--depths %d: must be 1 to %d", d, maxDepth)
		}
		if seen[d] {
			return fmt.Errorf("--depths %d: is named twice", d)
		}
		seen[d] = true
	}
	return nil
}

// measurements is how many there are in all.
func (o *benchOptions) measurements() int { return o.Rounds * len(o.Depths) * len(contenders) }

// fit is how long each measurement may be when so much time was spent
// already: as long as was asked, or less where the limit demands it.
func (o *benchOptions) fit(spent time.Duration) (time.Duration, error) {
	share := (o.Limit-spent)/time.Duration(o.measurements()) - closeTime
	if share < shortest {
		return 0, o.tooSlow()
	}
	return min(share, o.Duration), nil
}

// tooSlow is the error of a layout that leaves no time to measure.
func (o *benchOptions) tooSlow() error {
	return fmt.Errorf("writing %s to %s leaves too little of --limit %v for %d measurements: lower --size or raise --limit",
		humanize.IBytes(uint64(o.Size)), o.File, o.Limit, o.measurements())
}

// byteSize is a number of bytes that is written like 256MiB.
type byteSize int64

// UnmarshalText reads "256MiB", "1GiB", "4096".
func (s *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is no size: write it like 256MiB or 1GiB", text)
	}
	if n > math.MaxInt64 {
		return fmt.Errorf("%q is more than a file can hold: write it like 256MiB or 1GiB", text)
	}
	*s = byteSize(n)
	return nil
}
