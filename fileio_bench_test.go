//go:build linux

package libaio

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const benchFileSize = 64 << 20

// BenchmarkReadAt is random reads of a block by 1 and by 32 goroutines: a File
// beside a file of os that is open with O_DIRECT, which has to be given aligned
// memory.
func BenchmarkReadAt(b *testing.B) {
	f := newFile(b, benchFileSize)
	of, err := os.OpenFile(f.Name(), os.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(b, err)
	defer of.Close()
	for _, goroutines := range []int{1, 32} {
		for name, read := range map[string]func(buf *Buffer, p []byte, off int64) (int, error){
			"File.ReadAt":     func(_ *Buffer, p []byte, off int64) (int, error) { return f.ReadAt(p, off) },
			"File.ReadBuffer": func(buf *Buffer, _ []byte, off int64) (int, error) { return f.ReadBuffer(b.Context(), buf, off) },
			"os.File.ReadAt":  func(buf *Buffer, _ []byte, off int64) (int, error) { return of.ReadAt(buf.Bytes(), off) },
		} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, goroutines), func(b *testing.B) {
				b.SetBytes(block)
				b.ReportAllocs()
				each(b, goroutines, func(next func() bool) {
					buf, err := Alloc(block, block)
					if err != nil {
						b.Error(err)
						return
					}
					defer buf.Free()
					p := make([]byte, block)
					for next() {
						if _, err := read(buf, p, rand.Int64N(benchFileSize/block)*block); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// each divides b.N among goroutines.
func each(b *testing.B, goroutines int, work func(next func() bool)) {
	b.Helper()
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	done := make(chan struct{})
	b.ResetTimer()
	for range goroutines {
		go func() {
			work(func() bool { _, ok := <-left; return ok })
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
}

// BenchmarkWriteAt is the price of writes that are not aligned.
func BenchmarkWriteAt(b *testing.B) {
	f := newFile(b, 4<<20)
	p := make([]byte, 4*block)
	for _, c := range []struct {
		name   string
		off, n int
	}{
		{"aligned", block, block},
		{"part of a block", block + 100, 100},
		{"parts of two blocks", 2*block - 50, 100},
		{"block at an odd offset", block + 100, block},
		{"in the last block", 4 << 20, 100},
	} {
		b.Run(c.name, func(b *testing.B) {
			require.NoError(b, f.Truncate(4<<20))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.WriteAt(p[:c.n], int64(c.off)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStream is sequential reads and writes of a whole file.
func BenchmarkStream(b *testing.B) {
	f := newFile(b, benchFileSize)
	for _, depth := range []int{1, 4, 8} {
		b.Run(fmt.Sprintf("Reader/depth=%d", depth), func(b *testing.B) {
			b.SetBytes(benchFileSize)
			for b.Loop() {
				r, err := NewReader(f, &ReaderOptions{Depth: depth})
				require.NoError(b, err)
				_, err = io.Copy(io.Discard, r)
				require.NoError(b, err)
				require.NoError(b, r.Close())
			}
		})
		b.Run(fmt.Sprintf("Writer/depth=%d", depth), func(b *testing.B) {
			b.SetBytes(benchFileSize)
			p := make([]byte, 64<<10)
			for b.Loop() {
				w, err := NewWriter(f, &WriterOptions{Depth: depth})
				require.NoError(b, err)
				for range benchFileSize / len(p) {
					_, err = w.Write(p)
					require.NoError(b, err)
				}
				require.NoError(b, w.Close())
			}
		})
	}
}
