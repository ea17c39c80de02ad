package libaio

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
)

// defaultDepth is the depth of the default queue: where devices gain little from
// more, and small beside the 65536 that a machine has for all its processes. Where
// it is refused for lack of room or memory, a quarter is tried, down to leastDepth.
const (
	defaultDepth = 256
	leastDepth   = 4
)

var theDefault struct {
	mu sync.Mutex // held to make one
	q  atomic.Pointer[Queue]
}

// DefaultQueue is the queue of those Files that were not given one. It is made on
// first use, with a depth of 256, or less where the system has not so much left. It
// may be closed like any other, once its Files are done: the next use makes a new one. The errors are
// those of NewQueue.
func DefaultQueue() (*Queue, error) {
	if q := theDefault.q.Load(); q != nil && q.open() {
		return q, nil
	}
	theDefault.mu.Lock()
	defer theDefault.mu.Unlock()
	if q := theDefault.q.Load(); q != nil && q.open() {
		return q, nil
	}
	for depth := defaultDepth; ; depth /= 4 {
		q, err := NewQueue(depth, nil)
		if err == nil {
			theDefault.q.Store(q)
			return q, nil
		}
		if depth <= leastDepth || !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.ENOMEM) {
			return nil, err
		}
	}
}

// errNoDefault is that the system has not got what a default queue takes.
var errNoDefault = errors.New("no default queue")

// lacking is what the system says then: no room among its contexts, no memory, no
// descriptor left in the process, none in the system.
var lacking = [...]syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE}

// doDefault runs an operation on the default queue; errNoDefault where there is none
// to be had now.
func doDefault(ctx context.Context, op Op) (int, error) {
	for q := theDefault.q.Load(); ; {
		if q != nil {
			n, err := q.Do(ctx, op)
			if err == nil || n > 0 || !errors.Is(err, ErrClosed) || q.open() {
				return n, err
			}
		}
		var err error
		if q, err = DefaultQueue(); err != nil { // the one that we had is closed
			for _, errno := range lacking {
				if errors.Is(err, errno) {
					return 0, errNoDefault
				}
			}
			return 0, err
		}
	}
}

// open says whether Close was not called.
func (q *Queue) open() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed
}
