package faults

import "syscall"

// This file is what the tests and the server tell each other. net/rpc wants the
// types exported.

// Spec is a file: its content, and how requests to it are answered. By default
// they are answered at once and in full.
type Spec struct {
	Name string
	Data []byte

	// The first of these that has an answer gives it.
	At     map[int64]answer // of reads and writes, by offset
	Script []answer         // of reads and writes, one after the other
	Else   answer           // of all other reads and writes

	Fsync answer
	Flush answer // of close(2)
}

// answer is what the server does with a request. The zero answer is to do all
// that is asked at once.
type answer struct {
	Gate  string        // first, wait until this is opened
	Errno syscall.Errno // fail
	Short bool          // move Bytes only
	Bytes int
}

// short answers with this many bytes.
func short(bytes int) answer { return answer{Short: true, Bytes: bytes} }

// fail answers with this error.
func fail(errno syscall.Errno) answer { return answer{Errno: errno} }

// behind answers in the same way when the gate is open.
func (a answer) behind(gate string) answer {
	a.Gate = gate
	return a
}

// Request is one that the server had, in the order in which they came.
type Request struct {
	Kind     string // "read", "write", "fsync", "fdatasync", "flush" for a close(2), "release" for the end of the last reference
	Offset   int64
	Length   int
	Answered bool
}

// Wanted is a state of a file to wait for.
type Wanted struct {
	Name  string
	Kind  string // "" for reads and writes
	Count int    // at least this many
}
