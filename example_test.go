//go:build linux

package libaio_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

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

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
