package main

import (
	"encoding/binary"
	"fmt"
)

const (
	wordSize = 8
	// wordStep is the difference of neighbouring words: odd, so that no word
	// of a block occurs in it twice.
	wordStep = 0x9e3779b97f4a7c15
)

// pattern gives each word of each block a value of its own, from the seed of
// the run, the number of the block and the index of the word. So a block from
// another place, a block that an earlier run left behind, and a block that is
// made of two are all seen to be wrong.
type pattern struct {
	seed uint64
}

// first is the first word of a block: splitmix64 of seed and number.
func (p pattern) first(block int64) uint64 {
	z := p.seed + uint64(block)*0xd1342543de82ef95
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// fill writes what belongs into consecutive blocks, from this block on.
func (p pattern) fill(b []byte, block int64) {
	for ; len(b) >= blockSize; block++ {
		word := p.first(block)
		for at := b[:blockSize]; len(at) >= wordSize; at = at[wordSize:] {
			binary.LittleEndian.PutUint64(at, word)
			word += wordStep
		}
		b = b[blockSize:]
	}
}

// check compares all of one block; nil if it is as fill made it.
func (p pattern) check(b []byte, block int64) error {
	word := p.first(block)
	for at := b; len(at) >= wordSize; at = at[wordSize:] {
		if binary.LittleEndian.Uint64(at) != word {
			return p.diagnose(b, block)
		}
		word += wordStep
	}
	return nil
}

// diagnose describes a block that is known to be wrong.
func (p pattern) diagnose(b []byte, block int64) error {
	e := &wrongBlockError{block: block, word: -1}
	word := p.first(block)
	for i := range len(b) / wordSize {
		found := binary.LittleEndian.Uint64(b[i*wordSize:])
		if found != word {
			if e.wrong == 0 {
				e.word, e.expected, e.found = i, word, found
			}
			e.wrong++
		}
		word += wordStep
	}
	return e
}

// wrongBlockError says how a block differs from what was written to it.
type wrongBlockError struct {
	block           int64
	word            int // the first that differs
	expected, found uint64
	wrong           int // words that differ
}

func (e *wrongBlockError) Error() string {
	return fmt.Sprintf("wrong content in block %d (offset %d): word %d (offset %d) is %#016x, expected %#016x; %d of %d words differ",
		e.block, e.block*blockSize, e.word, e.block*blockSize+int64(e.word)*wordSize,
		e.found, e.expected, e.wrong, blockSize/wordSize)
}
