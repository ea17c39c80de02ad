//go:build linux

package libaio

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// newLoopDevice is a block device over a file of 320 MiB, the least for XFS.
func newLoopDevice(t *testing.T, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a loop device")
	}
	image := filepath.Join(testDir(t), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 320<<20))
	out, err := exec.Command("losetup", append(args, "--find", "--show", image)...).CombinedOutput()
	if err != nil {
		t.Skipf("losetup: %v: %s", err, out)
	}
	name := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "-d", name).Run()) })
	return name
}

func TestAlignmentOfABlockDevice(t *testing.T) {
	for _, sector := range []string{"512", "4096"} {
		f := openFile(t, newLoopDevice(t, "--sector-size", sector))
		a, ok := blockDeviceAlignment(f.fd)
		require.True(t, ok)
		n := atoi(t, sector)
		require.Equal(t, Alignment{Memory: n, Offset: n, Source: AlignmentBlockDevice}, a)
		require.Equal(t, n, f.Alignment().Offset, "another answer: %v", f.Alignment().Source)
		require.True(t, f.Alignment().Known())
		_, ok = xfsAlignment(f.fd)
		require.False(t, ok)
	}
}

func TestAlignmentOfXFS(t *testing.T) {
	device := newLoopDevice(t)
	at := filepath.Join(testDir(t), "mnt")
	require.NoError(t, os.Mkdir(at, 0o700))
	for _, argv := range [][]string{{"mkfs.xfs", "-q", "-f", device}, {"mount", device, at}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", argv, err, out)
		}
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", at).Run()) })
	f, err := Create(filepath.Join(at, "x"))
	require.NoError(t, err)
	defer f.Close()
	a, ok := xfsAlignment(f.fd)
	require.True(t, ok)
	require.Equal(t, AlignmentXFS, a.Source)
	require.Equal(t, f.Alignment().Offset, a.Offset, "another answer: %v", f.Alignment().Source)
	_, ok = blockDeviceAlignment(f.fd)
	require.False(t, ok)
}

// Who is asked must know: others do not answer for him.
func TestAlignmentOfAnOrdinaryFile(t *testing.T) {
	f := newFile(t, block)
	_, ok := blockDeviceAlignment(f.fd)
	require.False(t, ok)
	_, _, ok = statxAlignment(-1)
	require.False(t, ok)
	_, ok = xfsAlignment(-1)
	require.False(t, ok)
	a, direct := alignmentOf(-1)
	require.True(t, direct)
	require.Equal(t, Alignment{Memory: 4096, Offset: 4096, Source: AlignmentGuess}, a)
	require.False(t, a.Known(), "a guess is no knowledge")
}

// Where the demand is guessed the File keeps to it, and what is given to a Queue is
// for the kernel to judge.
func TestGuessedAlignment(t *testing.T) {
	f := newFile(t, 3*block)
	if f.align.Offset > 512 {
		t.Skipf("the file demands %d: a guess must be more than the demand here", f.align.Offset)
	}
	f.align = guess()
	q, b := newQueue(t, 1), newBuffer(t, 512)
	f.queue = q
	n, err := q.Do(ctxOf(t), Pread(f, b, 512))
	require.NoError(t, err)
	require.Equal(t, 512, n)
	requirePattern(t, b.Bytes(), 512, 0)
	n, err = f.ReadBuffer(ctxOf(t), b, 1024)
	require.NoError(t, err)
	require.Equal(t, 512, n)
	requirePattern(t, b.Bytes(), 1024, 0)
	before := q.Stats().Submitted
	_, err = f.WriteBuffer(ctxOf(t), b, 512)
	require.NoError(t, err)
	require.EqualValues(t, 2, q.Stats().Submitted-before, "read, changed and written back")
}

func TestAlignmentSourceString(t *testing.T) {
	require.Equal(t, "statx", AlignmentStatx.String())
	require.Equal(t, "a guess", AlignmentGuess.String())
	require.Equal(t, "AlignmentSource(9)", AlignmentSource(9).String())
}
