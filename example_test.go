//go:build linux

package libaio_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/golibaio/libaio"
)

func Example() {
	dir, err := os.MkdirTemp(os.Getenv("LIBAIO_TEST_DIR"), "libaio-example-")
	check(err)
	defer os.RemoveAll(dir)
	f, err := libaio.Create(filepath.Join(dir, "data")) // O_DIRECT
	check(err)
	defer f.Close()
	buf, err := libaio.Alloc(4096, 4096) // aligned C memory
	check(err)
	defer buf.Free()
	q, err := libaio.NewQueue(32, nil) // at most 32 in flight
	check(err)
	defer q.Close() // before the Free above

	ctx := context.Background()
	copy(buf.Bytes(), "hello, disk")
	_, err = q.Do(ctx, libaio.Pwrite(f, buf, 0).WithDurability(libaio.DurabilityData).WithResume())
	check(err)
	clear(buf.Bytes())
	_, err = q.Submit(ctx, libaio.Pread(f, buf, 0).WithTag(7))
	check(err)
	c := <-q.Completions()
	check(c.Err)
	fmt.Printf("tag %d: %d bytes: %s\n", c.Tag, c.N, c.Buffer.Bytes()[:11])
	// Output: tag 7: 4096 bytes: hello, disk
}

// A loop that keeps the queue full: each completion gives back the Buffer of the next
// operation.
func ExampleQueue_Submit() {
	f, remove := exampleFile(64 * 4096)
	defer remove()
	defer f.Close()
	const block, blocks, depth = 4096, 64, 8
	pool, err := libaio.NewPool(block, block)
	check(err)
	defer pool.Close()
	q, err := libaio.NewQueue(depth, nil)
	check(err)
	defer q.Close()

	ctx := context.Background()
	submit := func(b *libaio.Buffer, number int64) {
		_, err := q.Submit(ctx, libaio.Pread(f, b, number*block).WithTag(uint64(number)))
		check(err)
	}
	next, read := int64(0), 0
	for ; next < depth; next++ {
		b, err := pool.Get()
		check(err)
		submit(b, next)
	}
	for ; read < blocks; read++ {
		c := <-q.Completions()
		check(c.Err)
		// c.Buffer.Bytes()[:c.N] is block number c.Tag.
		if next < blocks {
			submit(c.Buffer, next)
			next++
		} else {
			check(pool.Put(c.Buffer))
		}
	}
	fmt.Println(read, "blocks were read")
	// Output: 64 blocks were read
}

// A Do that is called off: the kernel may still have the Buffer, and Release gives it
// back as soon as that is over.
func ExampleBuffer_Release() {
	f, remove := exampleFile(4096)
	defer remove()
	defer f.Close()
	buf, err := libaio.Alloc(4096, 4096)
	check(err)
	q, err := libaio.NewQueue(8, nil)
	check(err)
	defer q.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n, err := q.Do(ctx, libaio.Pread(f, buf, 0))
	if errors.Is(err, context.DeadlineExceeded) {
		check(buf.Release()) // and do not touch it any more
		return
	}
	check(err)
	fmt.Println(n, "bytes were read")
	check(buf.Free())
	// Output: 4096 bytes were read
}

// What went wrong is for errors.Is, and on what for errors.As.
func ExampleError() {
	f, remove := exampleFile(4096)
	defer remove()
	buf, err := libaio.Alloc(4096, 4096)
	check(err)
	defer buf.Free()
	q, err := libaio.NewQueue(8, nil)
	check(err)
	defer q.Close()

	check(f.Close())
	_, err = q.Do(context.Background(), libaio.Pread(f, buf, 0))
	fmt.Println(errors.Is(err, libaio.ErrClosed), errors.Is(err, os.ErrClosed))
	var e *libaio.Error
	if errors.As(err, &e) {
		fmt.Println(e.Op, filepath.Base(e.File), e.Offset, e.Length)
	}
	// Output:
	// true true
	// pread data 0 4096
}

// Code that is ported from C. Each call is that of libaio in the comment behind it.
func ExampleContext() {
	f, remove := exampleFile(4096)
	defer remove()
	defer f.Close()
	buf, err := libaio.Alloc(4096, 4096)
	check(err)
	defer buf.Free()
	cb, err := libaio.NewIOCB()
	check(err)
	defer cb.Free()

	ctx, err := libaio.Setup(8) // io_setup(8, &ctx)
	check(err)
	defer ctx.Destroy() // io_destroy(ctx)

	check(cb.PrepPread(f.FD(), buf, 0)) // io_prep_pread(cb, fd, buf, 4096, 0)
	_, err = ctx.Submit(cb)             // io_submit(ctx, 1, &cb)
	check(err)
	events := make([]libaio.Event, 1)
	n, err := ctx.GetEvents(1, events, -1) // io_getevents(ctx, 1, 1, events, NULL)
	check(err)
	check(events[0].Err())
	fmt.Println(n, "event:", events[0].Res, "bytes")
	// Output: 1 event: 4096 bytes
}

// exampleFile makes a file of this size.
func exampleFile(size int64) (f *libaio.File, remove func()) {
	dir, err := os.MkdirTemp(os.Getenv("LIBAIO_TEST_DIR"), "libaio-example-")
	check(err)
	f, err = libaio.Create(filepath.Join(dir, "data"))
	check(err)
	check(f.Truncate(size))
	return f, func() { os.RemoveAll(dir) }
}

// One Writer for many files, in the memory that it has.
func ExampleWriter_Reset() {
	var w libaio.Writer
	for i := range 3 {
		f, remove := exampleFile(0)
		defer remove()
		check(w.Reset(f, &libaio.WriterOptions{BlockSize: 1 << 20}))
		_, err := fmt.Fprintf(&w, "table %d\n", i)
		check(err)
		check(w.Flush())
		check(f.Sync())
		size, err := f.Size()
		check(err)
		fmt.Println(size)
		check(f.Close())
	}
	check(w.Close())
	// Output:
	// 8
	// 8
	// 8
}

// A write-ahead log with group commit: whoever commits while a sync is under way
// shares the next one.
func ExampleWriter_groupCommit() {
	f, remove := exampleFile(0)
	defer remove()
	defer f.Close()
	check(f.Preallocate(0, 1<<20)) // no Truncate: see docs/files.md
	w, err := libaio.NewWriter(f, nil)
	check(err)
	defer w.Close()

	var mu sync.Mutex      // of w, and of what follows
	var syncing sync.Mutex // of the sync
	var written, durable int64
	commit := func(record string) error {
		mu.Lock()
		n, err := w.Write([]byte(record))
		written += int64(n)
		mine := written
		mu.Unlock()
		if err != nil {
			return err
		}
		syncing.Lock() // others append meanwhile
		defer syncing.Unlock()
		if durable >= mine {
			return nil // the one before me has synced mine as well
		}
		mu.Lock()
		upTo, err := written, w.Flush()
		mu.Unlock()
		if err == nil {
			err = f.Datasync()
		}
		if err == nil {
			durable = upTo
		}
		return err
	}

	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { check(commit(fmt.Sprintf("record %d\n", i))) })
	}
	wg.Wait()
	size, err := f.Size()
	check(err)
	fmt.Println(size, "bytes are durable:", durable)
	// Output: 90 bytes are durable: 90
}

// A loop of one goroutine that keeps a depth in flight, without a channel.
func ExampleQueue_Reap() {
	f, remove := exampleFile(64 * 4096)
	defer remove()
	defer f.Close()
	const block, blocks, depth = 4096, 64, 8
	pool, err := libaio.NewPool(block, block)
	check(err)
	defer pool.Close()
	q, err := libaio.NewQueue(depth, &libaio.Options{Polled: true})
	check(err)
	defer q.Close()

	ctx := context.Background()
	next, read := int64(0), 0
	ops, done := make([]libaio.Op, 0, depth), make([]libaio.Completion, depth)
	for read < blocks {
		for ; q.Stats().InFlight+len(ops) < depth && next < blocks; next++ {
			b, err := pool.Get()
			check(err)
			ops = append(ops, libaio.Pread(f, b, next*block))
		}
		_, err := q.Submit(ctx, ops...) // one io_submit for all, or few
		check(err)
		ops = ops[:0]
		n, err := q.Reap(ctx, done, 1)
		check(err)
		for _, c := range done[:n] {
			check(c.Err)
			check(pool.Put(c.Buffer))
		}
		read += n
	}
	fmt.Println(read, "blocks were read")
	// Output: 64 blocks were read
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
