package bench

import (
	"fmt"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/golibaio/libaio"
)

const align = 4096

// goroutines is what the benchmarks of contention run with.
var goroutines = []int{1, 2, 8, 64}

// share runs b.N times work on n goroutines.
func share(b *testing.B, n int, work func(times int)) {
	b.ReportAllocs()
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		times := b.N / n
		if i < b.N%n {
			times++
		}
		wg.Go(func() { work(times) })
	}
	wg.Wait()
}

// manual is a slice of the Go heap, aligned by hand.
func manual(size int) []byte {
	p := make([]byte, size+align-1)
	off := -int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) & (align - 1)
	return p[off : off+size : off+size]
}

var sink [64][]byte

// One block taken and given back, again and again.
func BenchmarkPool(b *testing.B) {
	const size = 8192
	for _, n := range goroutines {
		b.Run(fmt.Sprintf("Pool/%d", n), func(b *testing.B) {
			p, err := libaio.NewPool(size, align)
			require.NoError(b, err)
			defer p.Close()
			share(b, n, func(times int) {
				for range times {
					buf, err := p.Get()
					if err != nil || p.Put(buf) != nil {
						b.Error("get or put")
						return
					}
				}
			})
		})
		b.Run(fmt.Sprintf("sync.Pool/%d", n), func(b *testing.B) {
			p := sync.Pool{New: func() any { s := manual(size); return &s }}
			share(b, n, func(times int) {
				for range times {
					p.Put(p.Get().(*[]byte))
				}
			})
		})
	}
}

// Sixteen blocks held at a time, as an engine's requests do.
func BenchmarkPool16(b *testing.B) {
	const size, held = 8192, 16
	for _, n := range goroutines {
		b.Run(fmt.Sprintf("Pool/%d", n), func(b *testing.B) {
			p, err := libaio.NewPool(size, align)
			require.NoError(b, err)
			defer p.Close()
			share(b, n, func(times int) {
				var mine [held]*libaio.Buffer
				for i := range times {
					slot := &mine[i%held]
					if *slot != nil && p.Put(*slot) != nil {
						b.Error("put")
						return
					}
					if *slot, err = p.Get(); err != nil {
						b.Error(err)
						return
					}
				}
				for _, buf := range mine {
					if buf != nil {
						_ = p.Put(buf)
					}
				}
			})
		})
		b.Run(fmt.Sprintf("sync.Pool/%d", n), func(b *testing.B) {
			p := sync.Pool{New: func() any { s := manual(size); return &s }}
			share(b, n, func(times int) {
				var mine [held]*[]byte
				for i := range times {
					slot := &mine[i%held]
					if *slot != nil {
						p.Put(*slot)
					}
					*slot = p.Get().(*[]byte)
				}
			})
		})
	}
}

// A block made and freed. "zero" are those that clear the memory.
func BenchmarkAlloc(b *testing.B) {
	for _, size := range []int{512, 4096, 8192, 65536} {
		b.Run(fmt.Sprintf("C/%d", size), func(b *testing.B) { require.True(b, cAllocFree(b.N, align, size, false)) })
		b.Run(fmt.Sprintf("Alloc/%d", size), func(b *testing.B) {
			o := &libaio.AllocOptions{Uninitialized: true}
			share(b, 1, func(times int) { allocFree(b, times, size, o) })
		})
		b.Run(fmt.Sprintf("C-zero/%d", size), func(b *testing.B) { require.True(b, cAllocFree(b.N, align, size, true)) })
		b.Run(fmt.Sprintf("Alloc-zero/%d", size), func(b *testing.B) {
			share(b, 1, func(times int) { allocFree(b, times, size, nil) })
		})
		b.Run(fmt.Sprintf("make/%d", size), func(b *testing.B) {
			share(b, 1, func(times int) {
				for i := range times {
					sink[i%len(sink)] = manual(size)
				}
			})
		})
	}
}

// Blocks made and freed by several goroutines.
func BenchmarkAllocParallel(b *testing.B) {
	const size = 8192
	for _, n := range goroutines {
		b.Run(fmt.Sprintf("C/%d", n), func(b *testing.B) {
			share(b, n, func(times int) {
				if !cAllocFree(times, align, size, false) {
					b.Error("posix_memalign")
				}
			})
		})
		b.Run(fmt.Sprintf("Alloc/%d", n), func(b *testing.B) {
			o := &libaio.AllocOptions{Uninitialized: true}
			share(b, n, func(times int) { allocFree(b, times, size, o) })
		})
		b.Run(fmt.Sprintf("make/%d", n), func(b *testing.B) {
			var mu sync.Mutex
			share(b, n, func(times int) {
				var mine []byte
				for range times {
					mine = manual(size)
				}
				mu.Lock()
				sink[0] = mine
				mu.Unlock()
			})
		})
	}
}

func allocFree(b *testing.B, times, size int, o *libaio.AllocOptions) {
	for range times {
		buf, err := libaio.AllocWith(size, align, o)
		if err != nil || buf.Free() != nil {
			b.Error("alloc or free")
			return
		}
	}
}

// What MapThreshold decides: a block that is made, written to and freed, from C
// and as a mapping.
func BenchmarkMapThreshold(b *testing.B) {
	for size := 32 << 10; size <= 16<<20; size *= 2 {
		b.Run(fmt.Sprintf("C-zero/%d", size), func(b *testing.B) { require.True(b, cAllocFree(b.N, align, size, true)) })
		b.Run(fmt.Sprintf("mmap/%d", size), func(b *testing.B) {
			for range b.N {
				p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
				require.NoError(b, err)
				for off := 0; off < size; off += 4096 {
					*(*byte)(unsafe.Add(p, off)) = 1
				}
				require.NoError(b, unix.MunmapPtr(p, uintptr(size)))
			}
		})
	}
}
