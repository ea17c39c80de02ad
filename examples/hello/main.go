package main

import (
	"context"
	"fmt"
	"log"

	"github.com/golibaio/libaio"
)

func main() {
	f := must(libaio.Create("hello.dat")) // opened with O_DIRECT
	defer f.Close()
	buf := must(libaio.Alloc(4096, 4096)) // C memory, aligned
	defer buf.Free()
	q := must(libaio.NewQueue(32, nil)) // at most 32 in flight
	defer q.Close()                     // before the Free above

	ctx := context.Background()
	copy(buf.Bytes(), "hello, disk")
	must(q.Do(ctx, libaio.Pwrite(f, buf, 0).WithDurability(libaio.DurabilityData).WithResume()))
	clear(buf.Bytes())
	must(q.Submit(ctx, libaio.Pread(f, buf, 0).WithTag(7)))
	c := <-q.Completions()
	fmt.Printf("tag %d: %d bytes: %s (error: %v)\n", c.Tag, c.N, c.Buffer.Bytes()[:11], c.Err)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
