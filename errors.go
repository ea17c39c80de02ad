package libaio

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// The sentinels. errors.Is also holds for the errno in parentheses:
// errors.Is(err, ErrQueueFull) and errors.Is(err, syscall.EAGAIN) are true together.
var (
	// ErrClosed is what using a closed Queue, Sharded, File, Reader, Writer, Pool,
	// ClassPool or Context gives. It is [os.ErrClosed].
	ErrClosed = os.ErrClosed

	// ErrQueueFull: TrySubmit had no room for all operations (EAGAIN).
	ErrQueueFull error = &sentinel{"queue full", syscall.EAGAIN}

	// ErrInFlight: the memory belongs to the kernel until the operation that
	// uses it has completed (EBUSY).
	ErrInFlight error = &sentinel{"in flight", syscall.EBUSY}

	// ErrShared: there are further references to the Buffer, which its other users
	// have to release (EBUSY).
	ErrShared error = &sentinel{"buffer shared", syscall.EBUSY}

	// ErrPoolLimit: no Buffer of the Pool is idle, and its limit in bytes allows
	// no new one (EAGAIN).
	ErrPoolLimit error = &sentinel{"pool at its limit", syscall.EAGAIN}

	// ErrFreed: the Buffer was freed, or put back into its Pool, before
	// (EFAULT).
	ErrFreed error = &sentinel{"buffer already freed or put back", syscall.EFAULT}

	// ErrMisaligned: an address, offset or length breaks the alignment rule of
	// direct I/O (EINVAL).
	ErrMisaligned error = &sentinel{"misaligned", syscall.EINVAL}

	// ErrInvalid: an argument is outside its documented range (EINVAL). Such
	// an error also answers to [os.ErrInvalid].
	ErrInvalid error = &sentinel{"invalid argument", syscall.EINVAL}

	// ErrNoDirectIO: the file system or device has no direct I/O (EINVAL, as
	// open(2) says it). Such an error also answers to [errors.ErrUnsupported].
	ErrNoDirectIO error = &sentinel{"no direct I/O", syscall.EINVAL}
)

// sentinel is an error that stands for an errno.
type sentinel struct {
	text  string
	errno syscall.Errno
}

func (s *sentinel) Error() string { return s.text }
func (s *sentinel) Unwrap() error { return s.errno }

func (s *sentinel) Is(target error) bool {
	switch s {
	case ErrInvalid:
		return target == os.ErrInvalid
	case ErrNoDirectIO:
		return target == errors.ErrUnsupported
	}
	return false
}

// Error is the one error type of the package. An operation that is refused by
// the package, one that the kernel refuses when it is submitted, and one that
// fails later all look like this. Returned as they are, without it, are what is no
// failure: ErrQueueFull by TrySubmit, and io.EOF; and what comes from others: the errors
// of the reader or writer that a [Reader] or [Writer] works with, io.ErrNoProgress, and
// those of [File.Stat].
//
// errors.Is(err, target) holds for the errno, for what [syscall.Errno.Is]
// makes of it (such as [errors.ErrUnsupported]), for the sentinel of this
// package where there is one, for [os.ErrClosed] after a Close, and for
// [context.Canceled] or [context.DeadlineExceeded] after a context ended the
// wait. These promises are part of the API.
type Error struct {
	// Op is what was asked: "pread", "fsync", "io_setup", "alloc", ...
	Op string
	// File is the name of the file, "" where none is concerned.
	File string
	// Offset and Length are the range in the file in bytes. Length is 0 for
	// operations without one, and Offset has no meaning then.
	Offset int64
	Length int
	// Detail names the value, the rule it broke and what to do. It may be "".
	Detail string
	// Err is the cause: a [syscall.Errno], a sentinel, a context's error,
	// io.ErrShortWrite, [errors.ErrUnsupported], or what package os has said.
	Err error

	also error // a second thing to answer to
}

// Error gives all that is known, in one line.
func (e *Error) Error() string {
	s := "libaio: " + e.operation()
	if e.Err != ErrClosed || e.Detail == "" { // whose text speaks of a file in any case
		s += ": " + e.Err.Error()
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// operation is what was asked, on what.
func (e *Error) operation() string {
	s := e.Op
	if e.File != "" {
		s += " " + e.File
	}
	if e.Length != 0 {
		s += fmt.Sprintf(" (%d bytes at offset %d)", e.Length, e.Offset)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes the error answer to a second sentinel, such as ErrInFlight beside
// context.Canceled.
func (e *Error) Is(target error) bool { return e.also != nil && errors.Is(e.also, target) }

// invalidf is an argument outside its range, found before the kernel saw it.
func invalidf(op, format string, args ...any) *Error {
	return &Error{Op: op, Err: ErrInvalid, Detail: fmt.Sprintf(format, args...)}
}

var _ error = (*Error)(nil)

func asErrno(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

// counted is a number of things, for messages.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
