//go:build linux

package libaio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/golibaio/libaio"
)

const pageSize = 8192

// pageCache keeps pages of a file in memory, up to a limit in bytes. A page is
// shared by reference count: the table has one reference, each reader one of its
// own.
type pageCache struct {
	queue *libaio.Queue
	file  *libaio.File
	pool  *libaio.Pool

	mu      sync.Mutex
	pages   map[int64]*page
	clock   []int64 // the loaded pages, in the order in which eviction looks at them
	waiting int     // who found nothing to evict
}

type page struct {
	loaded chan struct{} // closed when buf and err are set
	buf    *libaio.Buffer
	err    error
	used   bool // since the clock passed by
}

func newPageCache(q *libaio.Queue, f *libaio.File, limit int64) (*pageCache, error) {
	pool, err := libaio.NewPoolWith(pageSize, 4096, &libaio.PoolOptions{Limit: limit, Label: "pages"})
	if err != nil {
		return nil, err
	}
	return &pageCache{queue: q, file: f, pool: pool, pages: make(map[int64]*page)}, nil
}

// get returns a page of the file, with zeros behind the end of the file, or
// io.EOF. The caller must Release it.
func (c *pageCache) get(ctx context.Context, number int64) (*libaio.Buffer, error) {
	for {
		c.mu.Lock()
		p := c.pages[number]
		if p == nil {
			p = &page{loaded: make(chan struct{})}
			c.pages[number] = p
			c.mu.Unlock()
			return c.load(ctx, number, p)
		}
		c.mu.Unlock()
		select {
		case <-p.loaded:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if ctx.Err() == nil && (errors.Is(p.err, context.Canceled) || errors.Is(p.err, context.DeadlineExceeded)) {
			continue // it was the context of the reader that loaded the page
		}
		if p.err != nil {
			return nil, p.err
		}
		// While it is in the table the page has the table's reference, so under
		// the lock the Buffer cannot be another page's yet.
		c.mu.Lock()
		if c.pages[number] == p {
			defer c.mu.Unlock()
			p.used = true
			return p.buf, p.buf.Retain()
		}
		c.mu.Unlock() // it was evicted meanwhile
	}
}

// load reads a page that is new in the table, for the caller and for whoever
// waits for it.
func (c *pageCache) load(ctx context.Context, number int64, p *page) (*libaio.Buffer, error) {
	defer close(p.loaded)
	buf, err := c.memory(ctx)
	if err == nil {
		if err = c.read(ctx, buf, number); err != nil {
			_ = buf.Release() // not Put: the kernel may still be writing to it
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		p.err = err
		delete(c.pages, number)
		return nil, err
	}
	p.buf = buf
	c.clock = append(c.clock, number)
	err = buf.Retain() // one for the table, one for the caller
	if c.waiting > 0 {
		c.evict()
	}
	return buf, err
}

// read reads a page. It is one aligned operation, so it goes to the queue without
// the locks of File.ReadBuffer, which guard parts of blocks. Fewer bytes than asked
// are no error of Do: behind them is what another page has left in the Buffer.
func (c *pageCache) read(ctx context.Context, buf *libaio.Buffer, number int64) error {
	n, err := c.queue.Do(ctx, libaio.Pread(c.file, buf, number*pageSize).WithResume())
	switch {
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	clear(buf.Bytes()[n:])
	return nil
}

// memory is a Buffer for one more page, at the limit in place of another.
func (c *pageCache) memory(ctx context.Context) (*libaio.Buffer, error) {
	for {
		b, err := c.pool.Get()
		if !errors.Is(err, libaio.ErrPoolLimit) {
			return b, err
		}
		c.mu.Lock()
		if c.evict() {
			c.mu.Unlock()
			continue
		}
		c.waiting++ // all of it is with readers, or being loaded
		c.mu.Unlock()
		b, err = c.pool.GetContext(ctx)
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
		return b, err
	}
}

// evict gives up the table's reference to a page that was not used since it was
// last looked at. Its memory is free when the last reader is done. Held: mu.
func (c *pageCache) evict() bool {
	for len(c.clock) > 0 {
		number := c.clock[0]
		c.clock = c.clock[1:]
		p := c.pages[number]
		if p.used {
			p.used = false
			c.clock = append(c.clock, number)
			continue
		}
		delete(c.pages, number)
		return p.buf.Release() == nil
	}
	return false
}

// close gives all pages up. Nobody may call get any more.
func (c *pageCache) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.evict() {
	}
	return c.pool.Close()
}

// A page cache over one Pool: pages of 8 KiB, evicted under a limit in bytes,
// shared by reference count.
func ExamplePool() {
	dir, err := os.MkdirTemp(os.Getenv("LIBAIO_TEST_DIR"), "libaio-example-")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "data")
	data := make([]byte, 64*pageSize)
	for i := range 64 {
		data[i*pageSize] = byte(i)
	}
	check(os.WriteFile(name, data, 0o600))
	f, err := libaio.OpenFile(name, os.O_RDONLY, 0)
	check(err)
	defer f.Close()
	q, err := libaio.NewQueue(16, nil)
	check(err)
	defer q.Close()
	cache, err := newPageCache(q, f, 16*pageSize) // a quarter of the file
	check(err)

	var wg sync.WaitGroup
	wrong := make(chan int64, 8*64)
	for range 8 {
		wg.Go(func() {
			for number := range int64(64) {
				b, err := cache.get(context.Background(), number)
				check(err)
				if b.Bytes()[0] != byte(number) {
					wrong <- number
				}
				check(b.Release())
			}
		})
	}
	wg.Wait()
	s := cache.pool.Stats()
	fmt.Println("wrong pages:", len(wrong))
	fmt.Println("pages in memory:", s.Buffers, "of", s.Peak/pageSize)
	check(cache.close())
	// Output:
	// wrong pages: 0
	// pages in memory: 16 of 16
}
