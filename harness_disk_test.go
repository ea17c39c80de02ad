//go:build linux

package libaio

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newBoth returns a function that runs an operation through a context and
// through a queue and expects the same of both.
func newBoth(t *testing.T) func(t *testing.T, f *File, write bool, b *Buffer, offset int64, want int, wantErr error) {
	t.Helper()
	c, cb, q := newContext(t, 1), newIOCB(t), newQueue(t, 1)
	return func(t *testing.T, f *File, write bool, b *Buffer, offset int64, want int, wantErr error) {
		t.Helper()
		op, prep := Pread(f, b, offset), cb.PrepPread
		if write {
			op, prep = Pwrite(f, b, offset), cb.PrepPwrite
		}
		require.NoError(t, prep(f.FD(), b, offset))
		n, err := outcome(t, c, cb)
		require.Equal(t, wantErr, err)
		require.Equal(t, want, n)
		n, err = q.Do(ctxOf(t), op)
		require.ErrorIs(t, err, wantErr)
		require.Equal(t, want, n)
	}
}

// bySyscall is what pread(2) or pwrite(2) says.
func bySyscall(t *testing.T, f *File, write bool, b *Buffer, offset int64) (int, error) {
	t.Helper()
	call := unix.Pread
	if write {
		call = unix.Pwrite
	}
	n, err := call(f.FD(), b.Bytes(), offset)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// libaio's harness, case 6: more than one operation can move. The kernel moves
// MaxTransfer bytes and no more.
func TestHarnessHugeRequests(t *testing.T) {
	both := newBoth(t)
	limit := math.MaxInt32 &^ (os.Getpagesize() - 1)
	if os.Getpagesize() == 4096 {
		require.Equal(t, limit, MaxTransfer)
	}
	c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
	f := newFile(t, block)

	// The last page that is moved, and the first that is not, have content; the
	// rest of the file is a hole. All parts of the vector are the same memory.
	const part = 4 << 20
	page := newBuffer(t, block)
	require.NoError(t, unix.Ftruncate(f.FD(), 3<<30))
	for i := range 2 {
		offset := int64(limit - block + i*block)
		fill(page.Bytes(), offset, 1)
		require.NoError(t, cb.PrepPwrite(f.FD(), page, offset))
		require.EqualValues(t, block, run(t, c, cb).Res)
	}
	mem := mapped(t, -1, part, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	vector := append(slices.Repeat([]*Buffer{mem}, 511), view(t, mem, 0, part-512))
	check := func(t *testing.T) {
		at := (limit - block) % part
		requirePattern(t, mem.Bytes()[at:at+block], int64(limit-block), 1)
		requireZero(t, mem.Bytes()[at+block:], "what was not moved")
		clear(mem.Bytes())
	}
	t.Run("read", func(t *testing.T) {
		require.NoError(t, cb.PrepPreadv(f.FD(), vector, 0))
		require.EqualValues(t, limit, run(t, c, cb).Res)
		check(t)
		n, err := q.Do(ctxOf(t), Preadv(f, vector, 0))
		require.NoError(t, err)
		require.Equal(t, limit, n)
		check(t)
	})

	// What is written is never looked at, so it need not be there, and neither
	// need the disk space.
	null := borrow(t, os.DevNull, unix.O_RDWR)
	large := mapped(t, -1, min(3<<30, math.MaxInt), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	t.Run("write", func(t *testing.T) {
		require.NoError(t, cb.PrepPwritev(null.FD(), vector, 0))
		require.EqualValues(t, limit, run(t, c, cb).Res)
		both(t, null, true, large, 0, limit, nil)
	})
	t.Run("parts", func(t *testing.T) {
		small := view(t, mem, 0, block)
		require.NoError(t, cb.PrepPreadv(f.FD(), slices.Repeat([]*Buffer{small}, 1024), 0))
		require.EqualValues(t, 1024*block, run(t, c, cb).Res)
		many := slices.Repeat([]*Buffer{small}, 1025)
		for _, prep := range []error{cb.PrepPreadv(f.FD(), many, 0), cb.PrepPwritev(null.FD(), many, 0)} {
			require.NoError(t, prep)
			_, err := outcome(t, c, cb)
			require.Equal(t, syscall.EINVAL, err)
		}
		_, err := q.Do(ctxOf(t), Preadv(f, many, 0))
		require.ErrorIs(t, err, syscall.EINVAL)
		require.False(t, mem.InFlight())
	})
}

func requireZero(t testing.TB, p []byte, what string) {
	t.Helper()
	i := slices.IndexFunc(p, func(b byte) bool { return b != 0 })
	require.Negative(t, i, what)
}

// libaio's harness, case 7: the limit on the size of files cuts a write that
// crosses it and refuses one behind it. The signal that comes with it does not
// end a Go program.
func TestHarnessFileSizeLimit(t *testing.T) {
	if !inChild(t) {
		return
	}
	const limit = 8 * block
	both := newBoth(t)
	exceeded := make(chan os.Signal, 100)
	signal.Notify(exceeded, unix.SIGXFSZ)
	defer signal.Stop(exceeded)
	refused := func(t *testing.T, f *File, b *Buffer, offset int64) {
		t.Helper()
		both(t, f, true, b, offset, 0, syscall.EFBIG)
		select {
		case <-exceeded: // of both there may be one signal
		case <-time.After(30 * time.Second):
			t.Fatal("no SIGXFSZ")
		}
	}
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	if old.Max < 1<<40 {
		t.Skipf("the hard limit on the size of files is %d already", old.Max)
	}
	on(t, 6*block, func(t *testing.T, f *File) {
		b := newBuffer(t, 4*block)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: old.Max}))
		defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) }()
		fill(b.Bytes(), 6*block, 1)
		both(t, f, true, b, 6*block, 2*block, nil)
		refused(t, f, b, limit)
		refused(t, f, b, limit+block)
		p, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		require.Len(t, p, limit)
		requirePattern(t, p[:6*block], 0, 0)
		requirePattern(t, p[6*block:], 6*block, 1)
		both(t, f, true, view(t, b, 0, block), limit-block, block, nil)
		both(t, f, false, b, limit-block, block, nil)
		if !f.Alignment().Known() {
			both(t, f, true, view(t, b, 0, 100), limit-40, 40, nil)
			both(t, f, true, view(t, b, 0, 1), limit-1, 1, nil)
		}
	})
	// Nobody asked for the signal: it is dropped all the same.
	signal.Stop(exceeded)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: old.Max}))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) }()
	both(t, newFile(t, block), true, newBuffer(t, block), limit, 0, syscall.EFBIG)
}

// libaio's harness, case 8: at the largest size that the file system has for a
// file, and behind it, operations do as pread(2) and pwrite(2).
func TestHarnessLargestOffset(t *testing.T) {
	on(t, block, func(t *testing.T, f *File) {
		both, size := newBoth(t), largestSize(t, f)
		require.NoError(t, unix.Ftruncate(f.FD(), size))
		last := (size - block) &^ (block - 1)
		b := newBuffer(t, 2*block)
		one := view(t, b, 0, block)
		t.Logf("the largest size is %d", size)
		for _, offset := range []int64{last - block, last, last + block, last + 2*block, math.MaxInt64 &^ (block - 1), math.MaxInt64 - 2*block} {
			for _, mem := range []*Buffer{one, b} {
				for _, write := range []bool{true, false} {
					if offset < 0 || offset > math.MaxInt64-int64(mem.Len()) || f.Alignment().Known() && offset%block != 0 {
						continue
					}
					fill(b.Bytes(), offset, 5)
					n, err := bySyscall(t, f, write, mem, offset)
					both(t, f, write, mem, offset, n, err)
					if !write {
						requirePattern(t, mem.Bytes()[:n], offset, 5)
					}
				}
			}
		}
		// What is written right up to the end is there, and nothing is behind.
		fill(b.Bytes(), last, 6)
		both(t, f, true, one, last, block, nil)
		clear(b.Bytes())
		both(t, f, false, one, last, block, nil)
		requirePattern(t, one.Bytes(), last, 6)
		if size%block == 0 {
			both(t, f, true, b, last, block, nil)
			both(t, f, true, one, size, 0, syscall.EFBIG)
			both(t, f, false, one, size, 0, nil)
		}
	})
}

// largestSize is the largest size that the file may have. The file is empty
// afterwards.
func largestSize(t *testing.T, f *File) int64 {
	t.Helper()
	fits := func(size int64) bool {
		err := unix.Ftruncate(f.FD(), size)
		if err != nil && !errors.Is(err, syscall.EFBIG) && !errors.Is(err, syscall.EINVAL) {
			require.NoError(t, err)
		}
		return err == nil
	}
	size, tooLarge := int64(0), int64(math.MaxInt64)
	if fits(tooLarge) {
		size = tooLarge
	}
	for tooLarge-size > 1 {
		if middle := size + (tooLarge-size)/2; fits(middle) {
			size = middle
		} else {
			tooLarge = middle
		}
	}
	require.NoError(t, unix.Ftruncate(f.FD(), 0))
	return size
}

// mountExt4 mounts a small ext4 for the length of the test.
func mountExt4(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a loop device")
	}
	dir := testDir(t)
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	require.NoError(t, os.Mkdir(at, 0o700))
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, size))
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", image},
		{"mount", "-o", "loop", image, at},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() {
		out, err := exec.Command("umount", at).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return at
}

// libaio's harness, case 10: writes until the device is full. What was written
// before is there, and when there is room again, writes succeed again.
func TestHarnessNoSpaceLeft(t *testing.T) {
	at := mountExt4(t, 16<<20)
	for name, flags := range map[string]int{"direct": unix.O_DIRECT, "buffered": 0} {
		t.Run(name, func(t *testing.T) {
			name := filepath.Join(at, name)
			require.NoError(t, os.WriteFile(name, nil, 0o600))
			defer func() { require.NoError(t, os.Remove(name)) }()
			f := borrow(t, name, unix.O_RDWR|flags)
			both := newBoth(t)
			size, partial := fillUp(t, f)
			if flags == 0 {
				require.True(t, partial, "the write that does not fit is cut")
			}

			p, err := os.ReadFile(name)
			require.NoError(t, err)
			require.GreaterOrEqual(t, int64(len(p)), size)
			requirePattern(t, p[:size], 0, 1)
			b := newBuffer(t, block)
			q := newQueue(t, 1)
			_, err = q.Do(ctxOf(t), Pwrite(f, b, size+block))
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, name)
			n, err := q.Do(ctxOf(t), Pwrite(f, b, 0))
			require.NoError(t, err, "what has its place already")
			require.Equal(t, block, n)
			require.NoError(t, unix.Ftruncate(f.FD(), size/2&^(block-1)))
			both(t, f, true, b, size/2&^(block-1), block, nil)
		})
	}
}

// fillUp writes until not even one block fits, and says whether a write was
// cut before it was refused.
func fillUp(t *testing.T, f *File) (size int64, partial bool) {
	t.Helper()
	const chunk = 192 * block // the space left is no multiple of it
	c, cb, b := newContext(t, 1), newIOCB(t), newBuffer(t, chunk)
	refused := false
	for n := chunk; n >= block; {
		fill(b.Bytes(), size, 1)
		require.NoError(t, cb.PrepPwrite(f.FD(), view(t, b, 0, n), size))
		done, err := outcome(t, c, cb)
		if err != nil {
			require.Equal(t, syscall.ENOSPC, err)
			refused = true
			n = n / 2 &^ (block - 1) // with direct I/O, a smaller one may yet fit
			continue
		}
		require.Positive(t, done)
		partial = partial || done < n
		size += int64(done)
		require.Less(t, size, int64(16<<20))
	}
	require.True(t, refused)
	require.Greater(t, size, int64(8<<20))
	return size, partial
}

// libaio's harness, case 21: RWF_NOWAIT, with which an operation fails with
// EAGAIN where it would have to wait.
func TestHarnessNoWait(t *testing.T) {
	const size = 16 * block
	c, cb, q := newContext(t, 8), newIOCB(t), newQueue(t, 4)
	f, b, both := newFile(t, size), newBuffer(t, size), newBoth(t)
	cached := buffered(t, f)
	var fs unix.Statfs_t
	require.NoError(t, unix.Fstatfs(f.FD(), &fs))
	read := func(t *testing.T, f *File, b *Buffer) []error {
		t.Helper()
		require.NoError(t, cb.PrepPread(f.FD(), b, 0))
		require.NoError(t, cb.SetRWFlags(RWFNoWait))
		n, err := outcome(t, c, cb)
		m, err2 := q.Do(ctxOf(t), Pread(f, b, 0).WithFlags(RWFNoWait))
		for _, n := range []int{n, m} {
			require.Zero(t, n%block)
			requirePattern(t, b.Bytes()[:n], 0, 0)
		}
		if err == nil {
			require.Positive(t, n)
		}
		if err2 != nil {
			err2 = errnoIn(t, err2)
		}
		return []error{err, err2}
	}
	if slices.Contains(read(t, cached, b), error(syscall.EOPNOTSUPP)) {
		t.Skipf("the file system (type %#x) answers EOPNOTSUPP to RWF_NOWAIT", fs.Type)
	}

	t.Run("in the page cache", func(t *testing.T) {
		page := view(t, b, 0, block)
		require.NoError(t, cb.PrepPread(cached.FD(), page, 0))
		require.EqualValues(t, block, run(t, c, cb).Res)
		if !resident(t, f, 0) {
			t.Skip("the page that was just read is not in the page cache")
		}
		require.Equal(t, []error{nil, nil}, read(t, cached, page))
	})
	t.Run("not in the page cache", func(t *testing.T) {
		require.NoError(t, unix.Fsync(f.FD()))
		require.NoError(t, unix.Fadvise(cached.FD(), 0, 0, unix.FADV_DONTNEED))
		if resident(t, f, 0) {
			t.Skip("the file system keeps the page cache in spite of POSIX_FADV_DONTNEED")
		}
		// A device can be quicker than the look whether it is.
		for _, err := range read(t, cached, b) {
			require.Contains(t, []error{nil, syscall.EAGAIN}, err)
		}
	})
	t.Run("direct", func(t *testing.T) {
		for _, err := range read(t, f, b) {
			require.Contains(t, []error{nil, syscall.EAGAIN}, err)
		}
	})
	t.Run("direct write that extends the file", func(t *testing.T) {
		if fs.Type != unix.EXT4_SUPER_MAGIC {
			t.Skipf("the file system is no ext4 but of type %#x, which may be able to allocate without waiting", fs.Type)
		}
		require.NoError(t, cb.PrepPwrite(f.FD(), b, size))
		require.NoError(t, cb.SetRWFlags(RWFNoWait))
		_, err := outcome(t, c, cb)
		require.Equal(t, syscall.EAGAIN, err)
		_, err = q.Do(ctxOf(t), Pwrite(f, b, size).WithFlags(RWFNoWait))
		require.ErrorIs(t, err, syscall.EAGAIN)
		st, err := f.Stat()
		require.NoError(t, err)
		require.EqualValues(t, size, st.Size())
		both(t, f, true, b, size, size, nil) // without the flag
	})
}

// resident says whether a page of the file is in the page cache (mincore(2)).
func resident(t *testing.T, f *File, offset int64) bool {
	t.Helper()
	mem, err := unix.Mmap(f.FD(), offset, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(mem)) }()
	var in [1]byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&in[0])))
	require.Zero(t, errno)
	return in[0]&1 != 0
}
