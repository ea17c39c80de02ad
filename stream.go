package libaio

import (
	"context"
	"syscall"
)

// This file is what Reader and Writer have in common.

const (
	// streamBlockSize is enough for a disk to be busy with one operation for
	// longer than the next takes to arrive.
	streamBlockSize = 256 << 10
	streamDepth     = 4
	// maxStreamBlock and maxStreamDepth bound what one of them can be told to
	// allocate.
	maxStreamBlock = 1 << 30
	maxStreamDepth = 1024
	// hugeStream is from how many bytes on they ask for huge pages: that of one, where
	// pages have 4 KiB.
	hugeStream = 2 << 20
)

// streamShape checks what a Reader or Writer is told, and fills in the defaults.
func streamShape(op string, f *File, off int64, blockSize, depth int) (int, int, error) {
	switch {
	case f == nil || !f.made:
		return 0, 0, invalidf(op, "the File is nil, or was not made by OpenFile, NewFile or BorrowFD")
	case off < 0:
		return 0, 0, invalidf(op, "Offset %d is negative", off)
	case blockSize < 0 || blockSize > maxStreamBlock:
		return 0, 0, invalidf(op, "BlockSize %d: must be 0, for %d, to %d", blockSize, streamBlockSize, maxStreamBlock)
	case depth < 0 || depth > maxStreamDepth:
		return 0, 0, invalidf(op, "Depth %d: must be 0, for %d, to %d", depth, streamDepth, maxStreamDepth)
	}
	if blockSize == 0 {
		blockSize = streamBlockSize
	}
	if depth == 0 {
		depth = streamDepth
	}
	return int(roundUp(int64(blockSize), f.block())), depth, nil
}

// streamMemory is the Buffers of a stream, all in one block.
type streamMemory struct{ all *Buffer }

// split is n Buffers of this size for f. The block is a new one unless there is one
// that is large enough and of which the kernel has nothing.
func (m *streamMemory) split(f *File, n, size int) ([]*Buffer, error) {
	align := max(bounceAlign, f.align.Memory)
	if size > maxBlock/n {
		return nil, noMemory(size, align, syscall.ENOMEM)
	}
	if !m.has(n*size, align) {
		all, err := allocStream(n*size, align)
		if err != nil {
			return nil, err
		}
		m.release()
		m.all = all
	}
	each := make([]*Buffer, n)
	for i := range each {
		each[i], _ = m.all.Slice(i*size, size) // which is within
	}
	return each, nil
}

func (m *streamMemory) has(size, align int) bool {
	return m.all != nil && !m.all.InFlight() && m.all.size >= size && m.all.address()%uintptr(align) == 0
}

// allocStream allocates with huge pages, of which a request has few: the kernel has less
// to do for each.
func allocStream(size, align int) (*Buffer, error) {
	o := AllocOptions{Label: "libaio stream"}
	if size >= hugeStream {
		o.HugePages = HugePagesTransparent
	}
	return AllocWith(size, align, &o)
}

// release gives the block back, now or when the kernel is done.
func (m *streamMemory) release() {
	if m.all != nil {
		_ = m.all.Release()
		m.all = nil
	}
}

// orBackground is ctx, or one that never ends for nil.
func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
