package libaio

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is what operations work on. OpenFile, Open and Create make one that
// does direct I/O; NewFile makes one of an os.File, BorrowFD of any descriptor.
//
// A File stays open for every operation that was submitted before Close, so a
// descriptor that is closed and used again can never receive I/O that was
// meant for the File. Its methods are safe for any number of goroutines.
type File struct {
	made  bool // not the zero value, whose descriptor would be 0
	name  string
	fd    int
	os    *os.File // nil for a borrowed descriptor
	align Alignment
	// direct: the kernel was asked for direct I/O.
	direct bool

	// The operations between Submit and io_submit, and the flags. The kernel
	// takes its own reference in io_submit.
	state atomic.Int64
}

const (
	fileClosed = 1 << 40 // no new operations
)

// Alignment is what direct I/O on a file demands, in bytes. The zero value
// means that it is not known, or that there is no demand.
type Alignment struct {
	Memory int // of the address of the memory
	Offset int // of the offset in the file, and of the length
}

// Known says whether the demand is known. Where it is not, the kernel judges,
// with EINVAL.
func (a Alignment) Known() bool { return a.Memory > 0 && a.Offset > 0 }

// Open opens a file for reading with direct I/O. See OpenFile.
func Open(name string) (*File, error) { return OpenFile(name, os.O_RDONLY, 0) }

// Create makes a file, or empties it, for reading and writing with direct I/O
// and mode 0666 before umask. See OpenFile.
func Create(name string) (*File, error) {
	return OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile opens a file as [os.OpenFile] does, with O_DIRECT added, and asks
// the kernel for the alignment that it demands (statx with STATX_DIOALIGN,
// Linux 6.1). Close it when done.
//
// ErrNoDirectIO where the file system has none, or where it accepts O_DIRECT
// and then buffers all the same (ext4 with data=journal); an empty file that
// os.O_CREATE has made by then stays. Otherwise the errors of open(2), which
// answer to [os.ErrNotExist], [os.ErrPermission] and so on.
func OpenFile(name string, flag int, perm os.FileMode) (*File, error) {
	f, err := os.OpenFile(name, flag|unix.O_DIRECT, perm)
	if err != nil {
		return nil, openError(name, flag, err)
	}
	fd := int(f.Fd())
	align, direct := alignmentOf(fd)
	if !direct {
		f.Close()
		return nil, &Error{
			Op: "open", File: name, Err: ErrNoDirectIO,
			Detail: "statx says that this file has no direct I/O, though open accepts O_DIRECT",
		}
	}
	return &File{made: true, name: name, fd: fd, os: f, align: align, direct: true}, nil
}

func openError(name string, flag int, err error) error {
	e := &Error{Op: "open", File: name, Err: err}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Err = errno
	}
	if errno == syscall.EINVAL && opensBuffered(name, flag) {
		e.also = ErrNoDirectIO
		e.Detail = "the file system refused O_DIRECT: it has no direct I/O"
	}
	return e
}

// opensBuffered says whether it was O_DIRECT that open(2) did not like: EINVAL
// has other reasons too.
func opensBuffered(name string, flag int) bool {
	const changes = os.O_CREATE | os.O_EXCL | os.O_TRUNC
	f, err := os.OpenFile(name, flag&^changes, 0)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// NewFile makes a File of a file that os opened, in whatever mode it is: add
// syscall.O_DIRECT to the flags of [os.OpenFile] for direct I/O. The File has a
// descriptor of its own (dup), so f may be closed at any time; Close it when
// done. Mind that closing any descriptor of a file drops the locks of fcntl(2)
// that the process holds on it.
func NewFile(f *os.File) (*File, error) {
	if f == nil {
		return nil, invalidf("dup", "the os.File is nil")
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, &Error{Op: "dup", File: f.Name(), Err: err}
	}
	fd := -1
	if e := conn.Control(func(p uintptr) { fd, err = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		err = ErrClosed // the only error of Control
	}
	if err != nil {
		return nil, &Error{Op: "dup", File: f.Name(), Err: err}
	}
	n := BorrowFD(fd, f.Name())
	n.os = os.NewFile(uintptr(fd), f.Name())
	return n, nil
}

// BorrowFD makes a File of an open descriptor that stays the caller's: it must
// stay open until the operations on it have completed, and Close does not
// close it. A descriptor that its owner closes and opens anew in between may
// receive I/O that was meant for the old one. The name is for error messages;
// "" stands for the number. A descriptor that is not open fails the operation
// with EBADF.
func BorrowFD(fd int, name string) *File {
	if name == "" {
		name = fmt.Sprintf("fd %d", fd)
	}
	f := &File{made: true, name: name, fd: fd}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_DIRECT != 0 {
		f.direct = true
		f.align, _ = alignmentOf(fd)
	}
	return f
}

// alignmentOf asks statx: the zero Alignment where the kernel does not say, and
// direct is false where it says that there is no direct I/O.
func alignmentOf(fd int) (a Alignment, direct bool) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return Alignment{}, true
	}
	a = Alignment{Memory: int(st.Dio_mem_align), Offset: int(st.Dio_offset_align)}
	return a, a.Known()
}

// Name is the name as it was given to OpenFile or BorrowFD.
func (f *File) Name() string { return f.name }

// FD is the descriptor. It is valid until Close.
func (f *File) FD() int { return f.fd }

// Alignment is what direct I/O on this file demands.
func (f *File) Alignment() Alignment { return f.align }

// unit is what the offset of an operation must be a multiple of: the smallest
// that any device has where the kernel does not tell.
func (f *File) unit() int {
	switch {
	case f.align.Known():
		return f.align.Offset
	case f.direct:
		return 512
	}
	return 1
}

// Stat is the state of the file, as [os.File.Stat]; ErrInvalid for a borrowed
// descriptor.
func (f *File) Stat() (os.FileInfo, error) {
	switch {
	case f.os == nil:
		return nil, &Error{Op: "stat", File: f.name, Err: ErrInvalid, Detail: "a borrowed descriptor: ask its owner"}
	case !f.acquire():
		return nil, &Error{Op: "stat", File: f.name, Err: ErrClosed, Detail: "the file is closed"}
	}
	defer f.release()
	return f.os.Stat()
}

// Close closes the file. Operations that were submitted before complete; later
// ones fail with ErrClosed. Where a Submit is under way at that moment the
// descriptor is closed right after it. A second Close does nothing.
func (f *File) Close() error {
	if f == nil || !f.made {
		return invalidf("close", "the File is nil, or was not made by OpenFile, NewFile or BorrowFD")
	}
	for {
		s := f.state.Load()
		if s&fileClosed != 0 {
			return nil
		}
		switch {
		case s == 0 && f.state.CompareAndSwap(0, fileClosed):
			return f.closeFD()
		case s != 0 && f.state.CompareAndSwap(s, s|fileClosed):
			return nil // the last release closes it
		}
	}
}

func (f *File) closeFD() error {
	if f.os == nil {
		return nil
	}
	err := f.os.Close()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &Error{Op: "close", File: f.name, Err: errno}
	}
	return err
}

// acquire keeps the descriptor open; false if the File is closed.
func (f *File) acquire() bool {
	for {
		s := f.state.Load()
		if s&fileClosed != 0 {
			return false
		}
		if f.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// release ends what acquire began.
func (f *File) release() {
	if f.unref() {
		_ = f.closeFD() // Close has returned; direct I/O leaves nothing to write back
	}
}

// unref is release that leaves the closing, which may take long, to a caller who
// is told to do it.
func (f *File) unref() bool { return f.state.Add(-1) == fileClosed }
