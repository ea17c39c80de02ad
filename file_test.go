//go:build linux

package libaio

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOpenFileIsDirect(t *testing.T) {
	f := newFile(t, block)
	flags, err := unix.FcntlInt(uintptr(f.FD()), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_DIRECT)
	fdFlags, err := unix.FcntlInt(uintptr(f.FD()), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, fdFlags&unix.FD_CLOEXEC, "inherited by children")
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, block, info.Size())
}

func TestOpenErrors(t *testing.T) {
	dir := testDir(t)
	_, err := Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "libaio: open "+dir)
	_, err = Create(filepath.Join(dir, "none", "x"))
	require.ErrorIs(t, err, os.ErrNotExist)
	// procfs has no direct I/O.
	_, err = Open("/proc/self/status")
	require.ErrorIs(t, err, ErrNoDirectIO)
}

// ext4 with data=journal takes O_DIRECT and buffers all the same.
func TestOpenBufferedInDisguise(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a loop device")
	}
	dir := testDir(t)
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(at, 0o700))
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 16<<20))
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", image},
		{"mount", "-o", "loop,data=journal", image, at},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", argv, err, out)
		}
	}
	defer func() { require.NoError(t, exec.Command("umount", at).Run()) }()
	_, err := Create(filepath.Join(at, "x"))
	if err == nil {
		t.Skip("this kernel's statx does not tell of the missing direct I/O (STATX_DIOALIGN, Linux 6.1)")
	}
	require.ErrorIs(t, err, ErrNoDirectIO)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestCreateEmpties(t *testing.T) {
	f := newFile(t, block)
	g, err := Create(f.Name())
	require.NoError(t, err)
	defer g.Close()
	info, err := g.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Size())
}

// The File has a descriptor of its own.
func TestNewFile(t *testing.T) {
	q, b := newQueue(t, 1), newBuffer(t, block)
	of, err := os.OpenFile(newFile(t, block).Name(), os.O_RDWR|unix.O_DIRECT, 0)
	require.NoError(t, err)
	f, err := NewFile(of)
	require.NoError(t, err)
	require.NoError(t, of.Close())
	require.Equal(t, of.Name(), f.Name())
	flags, err := unix.FcntlInt(uintptr(f.FD()), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC, "inherited by children")
	_, err = q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	requirePattern(t, b.Bytes(), 0, 0)
	if f.Alignment().Known() {
		_, err = q.Do(ctxOf(t), Pread(f, b, 1))
		require.ErrorIs(t, err, ErrMisaligned)
	}
	fd := uintptr(f.FD())
	require.NoError(t, f.Close())
	_, err = unix.FcntlInt(fd, unix.F_GETFD, 0)
	require.ErrorIs(t, err, unix.EBADF)

	_, err = NewFile(of)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = NewFile(nil)
	require.ErrorIs(t, err, ErrInvalid)
}

// A pipe of os stays what it is: its reader goes on waiting on the poller.
func TestNewFileOfAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	f, err := NewFile(r)
	require.NoError(t, err)
	defer f.Close()
	flags, err := unix.FcntlInt(uintptr(f.FD()), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_NONBLOCK)
	_, err = w.Write([]byte{1})
	require.NoError(t, err)
	n, err := newQueue(t, 1).Do(ctxOf(t), Poll(f, unix.POLLIN))
	require.NoError(t, err)
	require.NotZero(t, n&unix.POLLIN)
}

func TestFileCloseTwice(t *testing.T) {
	f := newFile(t, block)
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	_, err := f.Stat()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestBorrowedStaysOpen(t *testing.T) {
	f := newFile(t, block)
	g := BorrowFD(f.FD(), "")
	_, err := g.Stat()
	require.ErrorIs(t, err, ErrInvalid)
	require.NoError(t, g.Close())
	_, err = f.Stat()
	require.NoError(t, err)
	_, err = g.Stat()
	require.ErrorIs(t, err, ErrClosed)
}

// The descriptor stays open from acquire to release, and is closed once,
// whoever comes last.
func TestFileCloseWhileInUse(t *testing.T) {
	f := newFile(t, block)
	require.True(t, f.acquire())
	require.NoError(t, f.Close())
	require.False(t, f.acquire(), "a new operation on a closed file")
	_, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFD, 0)
	require.NoError(t, err, "closed under an operation")
	f.release()
	_, err = unix.FcntlInt(uintptr(f.fd), unix.F_GETFD, 0)
	require.ErrorIs(t, err, unix.EBADF)
}

func TestFileCloseRace(t *testing.T) {
	name := newFile(t, block).Name()
	before := leftover.Descriptors()
	for range 300 {
		f, err := Open(name)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if i < 2 {
					assert.NoError(t, f.Close())
				} else if f.acquire() {
					f.release()
				}
			})
		}
		wg.Wait()
	}
	require.LessOrEqual(t, leftover.Descriptors(), before)
}

// A descriptor that is closed and used again between Submit and io_submit
// never gets I/O that was meant for the other file.
func TestFileCloseDuringSubmit(t *testing.T) {
	q := newQueue(t, 8)
	first, second := newFile(t, 8*block), newFile(t, 8*block)
	b := newBuffer(t, block)
	fill(b.Bytes(), 0, 77)
	for range 300 {
		f, err := OpenFile(first.Name(), os.O_RDWR, 0)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			_, err := q.Do(ctxOf(t), Pwrite(f, b, 0))
			done <- err
		}()
		require.NoError(t, f.Close())
		g, err := OpenFile(second.Name(), os.O_RDWR, 0) // likely the same number
		require.NoError(t, err)
		if err := <-done; err != nil {
			require.ErrorIs(t, err, os.ErrClosed)
		}
		require.NoError(t, g.Close())
	}
	p, err := os.ReadFile(second.Name())
	require.NoError(t, err)
	requirePattern(t, p, 0, 0)
}

// A pipe and a character device have no direct I/O, and are not opened twice to find
// that out: that would be noticed at the other end.
func TestOpenWhatIsNoFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	other, err := os.OpenFile(fifo, os.O_RDWR, 0) // so that no open waits
	require.NoError(t, err)
	defer other.Close()
	for _, name := range []string{fifo, os.DevNull} {
		_, err := OpenFile(name, os.O_RDONLY, 0)
		require.ErrorIs(t, err, ErrNoDirectIO)
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorContains(t, err, "pipes and character devices")
	}
}
