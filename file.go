package libaio

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// File is what operations work on. OpenFile, Open and Create make one that
// does direct I/O; NewFile makes one of an os.File, BorrowFD of any descriptor.
//
// ReadAt, WriteAt and the other methods that move data take any offset, length
// and memory. What direct I/O demands they see to: see [File.WriteAt] for what that
// costs. They run on the File's Queue (see [FileOptions]). Operations such as
// [Pread] that are given to a Queue as they are must keep the [Alignment].
//
// A File stays open for every operation that was submitted before Close, so a
// descriptor that is closed and used again can never receive I/O that was
// meant for the File. It holds no goroutine and no thread. Its methods are safe
// for any number of goroutines.
type File struct {
	made  bool // not the zero value, whose descriptor would be 0
	name  string
	fd    int
	os    *os.File // nil for a borrowed descriptor
	queue *Queue   // nil for the default one
	align Alignment
	flags int // of open(2)
	// direct: the kernel was asked for direct I/O, and did not say that there
	// is none. memory: it is done as such, but there is no device for it.
	direct, memory bool

	locks     *blockLocks // by blockLocks
	locksOnce sync.Once
	cache     cacheFD
	bounces   atomic.Bool     // counts among the users of the bounce Buffers
	dropped   runtime.Cleanup // ends that without a Close; set with bounces

	// The operations between Submit and io_submit, and the flags. The kernel
	// takes its own reference in io_submit.
	state atomic.Int64
}

const (
	fileClosed = 1 << 40 // no new operations
)

// Open opens a file for reading with direct I/O. See OpenFile.
func Open(name string) (*File, error) { return OpenFile(name, os.O_RDONLY, 0) }

// Create makes a file, or empties it, for reading and writing with direct I/O
// and mode 0666 before umask. See OpenFile.
func Create(name string) (*File, error) {
	return OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile opens a file as [os.OpenFile] does, with O_DIRECT added, and asks
// the kernel for the alignment that it demands. Close it when done.
//
// ErrNoDirectIO where the file system has none, or where it accepts O_DIRECT
// and then buffers all the same (ext4 with data=journal); an empty file that
// os.O_CREATE has made by then stays. Not for tmpfs since Linux 6.6: see
// [File.Direct]. Otherwise the errors of open(2), which
// answer to [os.ErrNotExist], [os.ErrPermission] and so on.
func OpenFile(name string, flag int, perm os.FileMode) (*File, error) {
	return OpenFileWith(name, flag, perm, nil)
}

// FileOptions are what OpenFileWith and NewFileWith may be told. The zero
// value, and a nil pointer, mean the defaults.
type FileOptions struct {
	// Queue is what the File's own methods run on, which may serve any number
	// of Files. It must outlive them, and not be Polled. nil means
	// [DefaultQueue], which is made by the first call that moves data: where AIO is
	// not allowed that call fails, and not OpenFile. Call DefaultQueue or [Probe] at
	// the start to find out.
	Queue *Queue
	// Buffered says what to do where there is no direct I/O: true opens the
	// file for buffered I/O, and [File.Direct] tells; false is ErrNoDirectIO.
	Buffered bool
}

// check says why the options cannot be used.
func (o *FileOptions) check(op string) error {
	switch {
	case o.Queue == nil:
	case !o.Queue.made():
		return &Error{Op: op, Err: errZeroQueue}
	case o.Queue.polled != nil:
		return invalidf(op, "FileOptions.Queue is polled, and nobody may be there to complete what the File does: use one with a channel")
	}
	return nil
}

// OpenFileWith is OpenFile with options.
func OpenFileWith(name string, flag int, perm os.FileMode, opts *FileOptions) (*File, error) {
	var o FileOptions
	if opts != nil {
		o = *opts
	}
	if err := supported("open"); err != nil {
		return nil, err
	}
	if err := o.check("open"); err != nil {
		return nil, err
	}
	if o.Buffered {
		return openEither(name, flag, perm, o)
	}
	of, err := os.OpenFile(name, flag|oDirect, perm)
	if err != nil {
		return nil, openError(name, flag, err)
	}
	f := fileOf(of, o)
	if !f.direct {
		f.Close()
		return nil, &Error{
			Op: "open", File: name, Err: ErrNoDirectIO,
			Detail: "statx says that this file has no direct I/O, though open accepts O_DIRECT; for buffered I/O there is FileOptions.Buffered",
		}
	}
	return f, nil
}

// openEither asks for direct I/O when the file is open, so that where there is
// none the file has been opened, and made, once and not twice.
func openEither(name string, flag int, perm os.FileMode, o FileOptions) (*File, error) {
	of, err := os.OpenFile(name, flag&^oDirect, perm)
	if err != nil {
		return nil, openError(name, flag, err)
	}
	setDirect(int(of.Fd()), true)
	f := fileOf(of, o)
	if !f.direct {
		setDirect(f.fd, false)
	}
	return f, nil
}

// fileOf makes the File of an os.File that is its own.
func fileOf(of *os.File, o FileOptions) *File {
	f := BorrowFD(int(of.Fd()), of.Name())
	f.os, f.queue = of, o.Queue
	return f
}

func openError(name string, flag int, err error) error {
	e := &Error{Op: "open", File: name, Err: err}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Err = errno
	}
	if errno != syscall.EINVAL {
		return e
	}
	st, err := os.Stat(name)
	switch {
	case err == nil && st.IsDir():
		e.Err, e.also = syscall.EISDIR, ErrNoDirectIO
	case err == nil && st.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0:
		// To open it a second time may wait for somebody, or drive him away.
		e.also = ErrNoDirectIO
		e.Detail = "pipes and character devices have no direct I/O: open it with the os package, and give it to NewFile"
	case opensBuffered(name, flag):
		e.also = ErrNoDirectIO
		e.Detail = "the file system refused O_DIRECT: it has no direct I/O; for buffered I/O there is FileOptions.Buffered"
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
// syscall.O_DIRECT (Linux) to the flags of [os.OpenFile] for direct I/O. The File has a
// descriptor of its own (dup), so f may be closed at any time; Close it when
// done. Mind that closing any descriptor of a file drops the locks of fcntl(2)
// that the process holds on it.
func NewFile(f *os.File) (*File, error) { return NewFileWith(f, nil) }

// NewFileWith is NewFile with options, of which Buffered has no meaning.
func NewFileWith(f *os.File, opts *FileOptions) (*File, error) {
	if err := supported("dup"); err != nil {
		return nil, err
	}
	if f == nil {
		return nil, invalidf("dup", "the os.File is nil")
	}
	if opts != nil {
		if err := opts.check("dup"); err != nil {
			return nil, err
		}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, &Error{Op: "dup", File: f.Name(), Err: err}
	}
	fd := -1
	if e := conn.Control(func(p uintptr) { fd, err = duplicate(p) }); e != nil {
		err = ErrClosed // the only error of Control
	}
	if err != nil {
		return nil, &Error{Op: "dup", File: f.Name(), Err: err}
	}
	n := BorrowFD(fd, f.Name())
	n.os = os.NewFile(uintptr(fd), f.Name())
	if opts != nil {
		n.queue = opts.Queue
	}
	return n, nil
}

// BorrowFD makes a File of an open descriptor that stays the caller's: it must
// stay open until the operations on it have completed, and Close does not
// close it. A descriptor that its owner closes and opens anew in between may
// receive I/O that was meant for the old one. The name is for error messages;
// "" stands for the number. A descriptor that is not open fails the operation
// with EBADF.
//
// The File's own methods may open the file a second time, for what WriteAt writes
// at its end. Close closes that one, and with it drops the locks of fcntl(2) that
// the process holds on the file.
func BorrowFD(fd int, name string) *File {
	if name == "" {
		name = fmt.Sprintf("fd %d", fd)
	}
	f := &File{made: true, name: name, fd: fd}
	f.flags, _ = statusFlags(fd) // 0 for what is not open
	if f.flags&oDirect != 0 {
		f.align, f.direct = alignmentOf(fd)
		f.memory = f.align.Source == AlignmentGuess && inMemory(fd)
	}
	return f
}

// Name is the name as it was given to OpenFile or BorrowFD, or that of the os.File.
// Like Alignment and Direct it stays after Close; a File that is nil, or the zero
// value, has the zero value of each.
func (f *File) Name() string {
	if f == nil {
		return ""
	}
	return f.name
}

// FD is the descriptor, and -1 after Close or where there never was one.
func (f *File) FD() int {
	if f == nil || !f.made || f.state.Load()&fileClosed != 0 {
		return -1
	}
	return f.fd
}

// Alignment is what direct I/O on this file demands, and who said so.
func (f *File) Alignment() Alignment {
	if f == nil {
		return Alignment{}
	}
	return f.align
}

// Direct says whether I/O on this file is direct: the file is open with O_DIRECT,
// the kernel did not say that it buffers all the same, and it is not in tmpfs, which
// takes O_DIRECT, so that OpenFile has no error, but keeps its files in the page cache.
// Other file systems may do so without a word, as overlayfs over tmpfs does.
func (f *File) Direct() bool { return f != nil && f.direct && !f.memory }

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

// closeFD is the end of the File, when nobody uses it.
func (f *File) closeFD() error {
	f.cache.close()
	if f.bounces.Load() {
		f.dropped.Stop()
		runtime.KeepAlive(f) // or it could be running by then
		bounces.leave()
	}
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
