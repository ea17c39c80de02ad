package main

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/golibaio/libaio"
	"golang.org/x/sys/unix"
)

// readAtReader reads as plain Go does it: a goroutine per request, each in
// os.File.ReadAt on a file that is open with O_DIRECT.
type readAtReader struct {
	file    *os.File
	workers []*tally
	memory  []*libaio.Buffer // of the workers
}

func startReadAt(t *target, depth int) (reader, error) {
	file, err := os.OpenFile(t.file.Name(), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	memory, err := allocate(depth, blockSize, memoryAlignment(t.file))
	if err != nil {
		releaseAll(memory)
		file.Close()
		return nil, err
	}
	workers := make([]*tally, depth)
	for i := range workers {
		workers[i] = newTally(t)
	}
	return &readAtReader{file: file, workers: workers, memory: memory}, nil
}

func (r *readAtReader) read(ctx, during context.Context) error {
	during, fail := context.WithCancelCause(during)
	defer fail(nil)
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for i, y := range r.workers {
		wg.Go(func() {
			if err := r.work(during, y, r.memory[i].Bytes()); err != nil {
				once.Do(func() { first = err })
				fail(err) // the others need not go on
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	return ctx.Err()
}

// work is one goroutine: one read at a time.
func (r *readAtReader) work(during context.Context, y *tally, b []byte) error {
	for during.Err() == nil {
		block := y.choose()
		sent := time.Now()
		n, err := r.file.ReadAt(b, block*blockSize)
		took := time.Since(sent)
		if err != nil && err != io.EOF { // take tells what is missing at the end
			return err
		}
		if err := y.take(block, b, n, took); err != nil {
			return err
		}
	}
	return nil
}

func (r *readAtReader) tallies() []*tally { return r.workers }

func (r *readAtReader) close() error {
	releaseAll(r.memory)
	return r.file.Close()
}
