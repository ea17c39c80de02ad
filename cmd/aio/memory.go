package main

import "github.com/golibaio/libaio"

// memoryAlignment is what buffers for this file are aligned to: a block, which
// is enough for nearly all devices and costs nothing, or more on demand.
func memoryAlignment(f *libaio.File) int {
	return max(f.Alignment().Memory, blockSize)
}

// allocate returns n buffers; with an error, those that it got.
func allocate(n, size, align int) ([]*libaio.Buffer, error) {
	buffers := make([]*libaio.Buffer, 0, n)
	for range n {
		b, err := libaio.Alloc(size, align)
		if err != nil {
			return buffers, err
		}
		buffers = append(buffers, b)
	}
	return buffers, nil
}

// releaseAll gives the buffers back: each at once, or when the kernel has done
// with it.
func releaseAll(buffers []*libaio.Buffer) {
	for _, b := range buffers {
		// The only errors are those of a second release, and of a view.
		_ = b.Release()
	}
}
