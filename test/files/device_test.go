package files

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/golibaio/libaio"
)

// A block device is a file whose size stays: here one that does not end with a
// page.
func TestBlockDevice(t *testing.T) {
	const size = 2*mib + 1536
	name := loopDevice(t, sparse(t, t.TempDir(), size))
	f := open(t, name, os.O_RDWR)
	got, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, size, got)
	require.True(t, f.Alignment().Known())

	p := &pair{t: t, r: newRand(t), ours: f}
	want := make([]byte, size)
	check := func(n int, off int64) {
		t.Helper()
		p := make([]byte, n)
		got, err := f.ReadAt(p, off)
		there := min(n, max(0, size-int(off)))
		require.Equal(t, there, got)
		if there < n {
			require.Equal(t, io.EOF, err)
		} else {
			require.NoError(t, err)
		}
		requireSame(t, want[min(off, size):][:there], p[:there], "ReadAt of %d at %d", n, off)
	}
	for range steps(400) {
		n, off := p.length(), p.offset(size)
		if p.r.IntN(2) == 0 {
			check(n, off)
			continue
		}
		data := random(p.r, n)
		there := min(n, max(0, size-int(off)))
		n, err := f.WriteAt(data, off)
		if there == len(data) {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, unix.ENOSPC, "%d at %d", len(data), off)
		}
		require.LessOrEqual(t, n, there)
		if n == there {
			copy(want[min(off, size):], data[:n])
			continue
		}
		// Some of it may be there and some not: see which.
		now := make([]byte, there)
		_, err = f.ReadAt(now, off)
		require.NoError(t, err)
		requireSame(t, data[:n], now[:n], "what was said to be written")
		copy(want[off:], now)
	}
	check(size+100, 0)
	require.NoError(t, f.Sync())
	for _, n := range []int{1, 512, 8192} {
		got, err := f.WriteAt(make([]byte, n), size)
		require.Zero(t, got)
		require.ErrorIs(t, err, unix.ENOSPC)
	}
}

// What each file system says of itself, where the kernel can be asked.
func TestAlignmentOfFileSystems(t *testing.T) {
	onKinds(t, func(t *testing.T, k kind, dir string) {
		f := open(t, dir+"/x", os.O_RDWR|os.O_CREATE)
		a := f.Alignment()
		t.Logf("%+v, from %v", a, a.Source)
		require.True(t, f.Direct())
		require.Positive(t, a.Memory)
		require.Positive(t, a.Offset)
		// The demand is met by what it says, and refused below that.
		b, err := libaio.Alloc(a.Offset, max(a.Memory, 8))
		require.NoError(t, err)
		defer b.Free()
		n, err := f.WriteBuffer(t.Context(), b, int64(a.Offset))
		require.NoError(t, err)
		require.Equal(t, a.Offset, n)
		if a.Known() {
			fd := f.FD()
			_, err := unix.Pwrite(fd, b.Bytes(), int64(a.Offset)/2)
			require.ErrorIs(t, err, unix.EINVAL, "the kernel takes less than what it says")
		}
	})
}
