package files

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/golibaio/libaio"
)

// This file is what must not crash or hang: disks that fill up, shrink, change to
// read-only or die.

// patience is how long anything may take.
const patience = 2 * time.Minute

// within fails a test that hangs.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it hangs")
	}
}

// What was said to be written is there when the disk is full, and the error is
// ENOSPC.
func TestDiskFull(t *testing.T) {
	onKinds(t, func(t *testing.T, k kind, dir string) {
		r := newRand(t)
		filler := open(t, filepath.Join(dir, "filler"), os.O_RDWR|os.O_CREATE)
		fillUp(t, filler, dir)
		f := open(t, filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE)
		var want []byte
		var err error
		for err == nil {
			require.Less(t, len(want), int(k.size))
			data := random(r, 1+r.IntN(300_000))
			var n int
			n, err = f.WriteAt(data, int64(len(want)))
			want = append(want, data[:n]...)
		}
		require.ErrorIs(t, err, unix.ENOSPC)
		var e *libaio.Error
		require.ErrorAs(t, err, &e)
		got := make([]byte, len(want))
		_, err = f.ReadAt(got, 0)
		require.NoError(t, err)
		requireSame(t, want, got, "what was said to be written")

		g := open(t, filepath.Join(dir, "y"), os.O_RDWR|os.O_CREATE)
		w, err := libaio.NewWriter(g, nil)
		require.NoError(t, err)
		_, err = io.CopyN(w, zeros{}, k.size)
		if err == nil {
			err = w.Flush()
		}
		require.ErrorIs(t, err, unix.ENOSPC)
		require.ErrorIs(t, w.Close(), unix.ENOSPC)

		require.NoError(t, filler.Truncate(0))
		require.NoError(t, filler.Sync())
		_, err = f.WriteAt(want, 3)
		require.NoError(t, err)
		requireSame(t, want, read(t, f.Name())[3:][:len(want)], "written when there was room again")
	})
}

// fillUp leaves some MiB. A file system may keep more back than it says.
func fillUp(t testing.TB, filler *libaio.File, dir string) {
	t.Helper()
	for share := int64(1); share < 64; share *= 2 {
		var free unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &free))
		n := (int64(free.Bavail)*free.Bsize - 8*mib) / share
		size, err := filler.Size()
		require.NoError(t, err)
		if n > 0 && filler.Preallocate(size, n) == nil {
			require.NoError(t, filler.Truncate(size+n))
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func read(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	require.NoError(t, err)
	return p
}

func TestReadOnlyFileSystem(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			image := k.image(t, t.TempDir())
			t.Run("filled", func(t *testing.T) { // unmounts
				dir := k.mountImage(t, image, "")
				require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), make([]byte, 5000), 0o600))
			})
			dir := k.mountImage(t, image, "ro")
			_, err := libaio.OpenFile(filepath.Join(dir, "x"), os.O_RDWR, 0)
			require.ErrorIs(t, err, unix.EROFS)
			_, err = libaio.Create(filepath.Join(dir, "y"))
			require.ErrorIs(t, err, unix.EROFS)
			f := open(t, filepath.Join(dir, "x"), os.O_RDONLY)
			n, err := f.ReadAt(make([]byte, 6000), 1)
			require.Equal(t, io.EOF, err)
			require.Equal(t, 4999, n)
			for _, n := range []int{1, block, 9000} {
				_, err = f.WriteAt(make([]byte, n), 0)
				require.ErrorIs(t, err, unix.EBADF)
			}
		})
	}
}

// A file may be cut and lengthened by others at any moment: reads then end
// early, and nothing else comes of it.
func TestTruncatedUnder(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		ones := make([]byte, 40*block)
		for i := range ones {
			ones[i] = 1
		}
		var workers, cutter sync.WaitGroup
		stop := make(chan struct{})
		cutter.Go(func() {
			for n := int64(0); ; n = (n + 7777) % int64(len(ones)) {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, os.Truncate(p.ours.Name(), n))
				}
			}
		})
		for i := range 6 {
			q := pair{t: t, r: newRand(t), ours: p.ours}
			workers.Go(func() {
				for range steps(200) {
					n, off := min(q.length(), len(ones)), q.offset(20*block)
					if i < 3 {
						done, err := p.ours.WriteAt(ones[:n], off)
						assert.NoError(t, err)
						assert.Equal(t, n, done)
						continue
					}
					got := make([]byte, n)
					done, err := p.ours.ReadAt(got, off)
					if done < n {
						assert.Equal(t, io.EOF, err)
					} else {
						assert.NoError(t, err)
					}
					for _, c := range got[:done] {
						if c > 1 {
							assert.Fail(t, "a byte that nobody wrote")
							return
						}
					}
				}
			})
		}
		within(t, workers.Wait)
		close(stop)
		cutter.Wait()
		// Cutting a file goes through the page cache. When the kernel finds such a page
		// behind a direct write it has the next sync fail, once.
		_ = p.ours.Sync()
		// And then all is as it was.
		require.NoError(t, p.ours.Truncate(0))
		for range 20 {
			p.step()
		}
		p.same()
	})
}

// shutDown makes a file system fail from now on as if its disk were gone: the
// EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h.
func shutDown(t testing.TB, dir string) {
	t.Helper()
	const ioctl, noFlush = 0x8004587d, 2
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	if err := unix.IoctlSetPointerInt(int(d.Fd()), ioctl, noFlush); err != nil {
		t.Skipf("EXT4_IOC_SHUTDOWN: %v", err)
	}
}

// The disk dies under everything: a loop device whose image lies on a file system
// that is shut down. Each call then has an error or its bytes, and ends.
func TestDeviceGone(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			below := kind{name: "ext4", size: k.size + 64*mib, mkfs: kinds[0].mkfs}.mount(t)
			dir := k.mountImage(t, k.image(t, below), "")
			f := open(t, filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE)
			_, err := f.WriteAt(make([]byte, 4*mib), 0)
			require.NoError(t, err)
			require.NoError(t, f.Sync())

			var wg sync.WaitGroup
			failed := make([]bool, 6)
			for i := range failed {
				p := pair{t: t, r: newRand(t), ours: f}
				wg.Go(func() {
					for end := time.Now().Add(patience / 2); !failed[i] && time.Now().Before(end); {
						n, off := 1+p.length(), p.offset(4*mib)
						var done int
						var err error
						switch i {
						case 0, 1:
							done, err = f.WriteAt(make([]byte, n), off)
						case 2:
							n = 1 // so that there is something to bring there
							if done, err = f.WriteAt([]byte{1}, off); err == nil {
								err = f.Sync()
							}
						default:
							done, err = f.ReadAt(make([]byte, n), off)
						}
						assert.True(t, err != nil || done == n, "%d of %d bytes without an error", done, n)
						failed[i] = err != nil && err != io.EOF
						if failed[i] {
							var e *libaio.Error
							assert.ErrorAs(t, err, &e)
						}
					}
				})
			}
			time.Sleep(20 * time.Millisecond) // so that all are at work
			shutDown(t, below)
			within(t, wg.Wait)
			for i := range failed {
				assert.True(t, failed[i], "%d has not noticed", i)
			}
			r, err := libaio.NewReader(f, nil)
			require.NoError(t, err)
			within(t, func() { _, err = io.Copy(io.Discard, r) })
			require.Error(t, err)
			require.NoError(t, r.Close())
			w, err := libaio.NewWriter(f, nil)
			require.NoError(t, err)
			within(t, func() { _, err = io.CopyN(w, zeros{}, 4*mib+1) })
			require.Error(t, w.Close())
			require.NoError(t, f.Close())
		})
	}
}
