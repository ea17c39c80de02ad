package main

import "context"

// contender is one way to keep a number of reads in flight.
type contender struct {
	name  string
	start func(t *target, depth int) (reader, error)
}

// reader is a contender that is ready to read.
type reader interface {
	// read reads random blocks until during ends, and then waits for those in
	// flight. Its error is that of a read, of a wrong block, or ctx's.
	read(ctx, during context.Context) error
	// tallies is what was read.
	tallies() []*tally
	// close gives everything back. Nothing is in flight after it.
	close() error
}

// The first is compared with the second.
var contenders = [...]contender{
	{name: "channel", start: startChannel},
	{name: "ReadAt", start: startReadAt},
}

var (
	_ reader = (*channelReader)(nil)
	_ reader = (*readAtReader)(nil)
)
