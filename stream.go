package libaio

import "context"

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

// streamBuffers allocates n of them for f, or none.
func streamBuffers(f *File, n, size int) ([]*Buffer, error) {
	bufs := make([]*Buffer, n)
	for i := range bufs {
		b, err := Alloc(size, max(bounceAlign, f.align.Memory))
		if err != nil {
			releaseAll(bufs[:i])
			return nil, err
		}
		bufs[i] = b
	}
	return bufs, nil
}

// releaseAll gives them back as soon as the kernel is done.
func releaseAll(bufs []*Buffer) {
	for _, b := range bufs {
		_ = b.Release()
	}
}

// orBackground is ctx, or one that never ends for nil.
func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
