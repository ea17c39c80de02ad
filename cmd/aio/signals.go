package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// stopSignals end a run in an orderly way. SIGPIPE is among them because
// "aio bench | head" must not leave the file behind either.
var stopSignals = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE}

// stoppedError is the cause of a context that a signal cancelled.
type stoppedError struct {
	signal unix.Signal
}

func (e *stoppedError) Error() string { return "stopped by " + unix.SignalName(e.signal) }

func (e *stoppedError) exitCode() int { return 128 + int(e.signal) }

// untilSignal returns a context that the first stop signal cancels, with a
// *stoppedError as its cause. Later signals change nothing: the kernel must
// give the buffers back before the process may end in any case.
func untilSignal(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopSignals...)
	go func() {
		select {
		case s := <-signals:
			cancel(&stoppedError{s.(unix.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
