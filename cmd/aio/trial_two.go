package main

import (
	"context"
	"errors"
)

// twoTrial is two loops with a queue each, and so two contexts: what two
// processors can do that one cannot. Each keeps the whole depth in flight.
type twoTrial struct {
	loops [2]*loopTrial
}

func startTwoTrial(t *trial) (trialist, error) {
	r := &twoTrial{}
	for i, l := range newLanes(t, len(r.loops)) {
		loop, err := newReapTrial(t, l, i*t.depth)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.loops[i] = loop
	}
	return r, nil
}

func (r *twoTrial) run(ctx context.Context) error {
	second := make(chan error, 1)
	go func() { second <- r.loops[1].run(ctx) }()
	err := r.loops[0].run(ctx)
	if err != nil {
		r.loops[0].trial.phase.Store(phaseOver) // the other need not go on
	}
	return errors.Join(err, <-second)
}

func (r *twoTrial) lanes() (lanes []*lane) {
	for _, l := range r.loops {
		lanes = append(lanes, l.lane)
	}
	return lanes
}

func (r *twoTrial) close() (err error) {
	for _, l := range r.loops {
		if l != nil {
			err = errors.Join(err, l.close())
		}
	}
	return err
}

var _ trialist = (*twoTrial)(nil)
