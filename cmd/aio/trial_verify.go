package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// verifySample is how many blocks are looked at after a trial. During it none
// are: no contender shall win or lose by what checking costs.
const verifySample = 32

// verify checks what the last requests of some slots have moved, and returns of
// how many.
func (t *trial) verify() (checked int, err error) {
	check := t.verifyRead
	if t.workload.write {
		f, err := os.OpenFile(t.path, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		check = func(slot int) error { return t.verifyWritten(f, slot) }
	}
	for slot := 0; slot < len(t.memory); slot += 1 + len(t.memory)/verifySample {
		if t.last[slot] < 0 {
			continue // its goroutine did not get its turn
		}
		if err := check(slot); err != nil {
			return checked, fmt.Errorf("%s: %w", t.path, err)
		}
		checked++
	}
	return checked, nil
}

// verifyRead compares what was read with the pattern of its place.
func (t *trial) verifyRead(slot int) error {
	return t.checkBlocks(t.memory[slot].Bytes(), t.last[slot]*t.patternBlocks())
}

func (t *trial) checkBlocks(b []byte, block int64) error {
	for ; len(b) > 0; b, block = b[blockSize:], block+1 {
		if err := t.pattern.check(b[:blockSize], block); err != nil {
			return err
		}
	}
	return nil
}

// verifyWritten reads back what was written. Other slots may have written to the
// same place, at the same time too: each block may be what any of them writes.
func (t *trial) verifyWritten(f *os.File, slot int) error {
	offset := t.last[slot] * t.workload.block
	content := t.memory[0].Bytes()
	if _, err := f.ReadAt(content, offset); err != nil {
		return err
	}
	for i := range t.patternBlocks() {
		if err := t.checkAny(content[i*blockSize:][:blockSize], i); err != nil {
			return fmt.Errorf("offset %d holds nothing that was written there: %w", offset+i*blockSize, err)
		}
	}
	return nil
}

// checkAny compares block i of a request with what the slots write.
func (t *trial) checkAny(b []byte, i int64) (err error) {
	for slot := range int64(len(t.memory)) {
		if err = t.pattern.check(b, slot*t.patternBlocks()+i); err == nil {
			return nil
		}
	}
	return err
}
