package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func block(p pattern, number int64) []byte {
	b := make([]byte, blockSize)
	p.fill(b, number)
	return b
}

// diagnosis is the error of a block that must be found wrong.
func diagnosis(t *testing.T, p pattern, b []byte, number int64) *wrongBlockError {
	t.Helper()
	var e *wrongBlockError
	require.ErrorAs(t, p.check(b, number), &e)
	require.Equal(t, number, e.block)
	return e
}

func TestPatternAcceptsItself(t *testing.T) {
	p := pattern{seed: rand.Uint64()}
	const first, n = 1 << 40, 16
	b := make([]byte, n*blockSize)
	p.fill(b, first)
	for i := range int64(n) {
		at := b[i*blockSize:][:blockSize]
		require.NoError(t, p.check(at, first+i))
		require.Equal(t, block(p, first+i), at, "the same alone as among others")
	}
}

func TestPatternSeesEveryFlippedBit(t *testing.T) {
	p := pattern{seed: rand.Uint64()}
	b := block(p, 7)
	for bit := range blockSize * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		e := diagnosis(t, p, b, 7)
		require.Equal(t, bit/64, e.word)
		require.Equal(t, uint64(1)<<(bit%64), e.expected^e.found)
		require.Equal(t, 1, e.wrong)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestPatternSeesABlockFromElsewhere(t *testing.T) {
	p := pattern{seed: rand.Uint64()}
	for _, other := range []int64{6, 8, 0, 7 + 1<<32} {
		e := diagnosis(t, p, block(p, other), 7)
		assert.Equal(t, blockSize/wordSize, e.wrong, "block %d", other)
	}
}

func TestPatternSeesAnOldBlock(t *testing.T) {
	p := pattern{seed: 1}
	e := diagnosis(t, p, block(pattern{seed: 2}, 7), 7)
	assert.Equal(t, blockSize/wordSize, e.wrong)
	diagnosis(t, p, make([]byte, blockSize), 7)
}

func TestPatternSeesATornBlock(t *testing.T) {
	p := pattern{seed: rand.Uint64()}
	for at := 512; at < blockSize; at += 512 {
		torn := slices.Concat(block(p, 7)[:at], block(p, 8)[at:])
		e := diagnosis(t, p, torn, 7)
		assert.Equal(t, at/wordSize, e.word)
		assert.Equal(t, (blockSize-at)/wordSize, e.wrong)
	}
}

func TestPatternSeesSwappedSectors(t *testing.T) {
	p := pattern{seed: rand.Uint64()}
	b := block(p, 7)
	swapped := slices.Concat(b[512:1024], b[:512], b[1024:])
	e := diagnosis(t, p, swapped, 7)
	assert.Equal(t, 1024/wordSize, e.wrong)
}

func TestWrongBlockErrorNamesAll(t *testing.T) {
	p := pattern{seed: 3}
	b := block(p, 5)
	b[17*wordSize] ^= 1
	e := diagnosis(t, p, b, 5)
	assert.Regexp(t, `^wrong content in block 5 \(offset 20480\): word 17 \(offset 20616\) is 0x[0-9a-f]{16}, expected 0x[0-9a-f]{16}; 1 of 512 words differ$`, e.Error())
}

func BenchmarkPatternCheck(b *testing.B) {
	p := pattern{seed: 1}
	content := block(p, 7)
	b.SetBytes(blockSize)
	for b.Loop() {
		if err := p.check(content, 7); err != nil {
			b.Fatal(err)
		}
	}
}
