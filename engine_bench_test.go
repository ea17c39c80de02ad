//go:build linux

package libaio

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkEngine is what an engine costs: /dev/null completes writes within
// io_submit. Run it once as it is and once with -tags nolibaio.
func BenchmarkEngine(b *testing.B) {
	for _, batch := range []int{1, 32} {
		b.Run(fmt.Sprint(engine, "/batch=", batch), func(b *testing.B) {
			c, f, buf := newContext(b, batch), borrow(b, os.DevNull, unix.O_RDWR), newBuffer(b, block)
			cbs, events := newIOCBs(b, batch), make([]Event, batch)
			for _, cb := range cbs {
				require.NoError(b, cb.PrepPwrite(f.FD(), buf, 0))
			}
			b.ReportAllocs()
			for b.Loop() {
				n, err := c.Submit(cbs...)
				if err != nil || n != batch {
					b.Fatal(n, err)
				}
				if n, err = c.GetEvents(batch, events, time.Minute); err != nil || n != batch {
					b.Fatal(n, err)
				}
			}
		})
	}
}
