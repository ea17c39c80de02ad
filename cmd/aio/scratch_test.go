package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestExistingFileIsRefusedAndUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))

	o := runHere(t, "bench", "--file", path, "--size", "1MiB", "--duration", "20ms")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, path+" exists, and aio bench overwrites nothing")
	assert.Contains(t, o.err, "--file")

	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(content))
}

func TestSymbolicLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), path))

	o := runHere(t, "bench", "--file", path, "--size", "1MiB", "--duration", "20ms")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "exists")
	assert.Equal(t, []string{"link"}, names(t, dir))
}

func TestTooLittleSpaceIsSeenBeforehand(t *testing.T) {
	dir := t.TempDir()
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"), "--size", "1EiB")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "not enough space in "+dir+": --size is 1.0 EiB, free are ")
	assert.NotContains(t, o.err, "writing")
	assert.Empty(t, names(t, dir))
}

func TestMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "no", "such")
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"))
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "no directory "+dir+": make it, or")
}

func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	if os.Geteuid() == 0 {
		dir = "/sys" // where root may not make a file either
	}
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"), "--size", "1MiB", "--duration", "20ms")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "no permission to make "+filepath.Join(dir, "f")+": name a file with --file in a directory that you may write to")
}

func TestNoDirectIO(t *testing.T) {
	dir := mount(t, "ramfs", "")
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"), "--size", "1MiB", "--duration", "20ms")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "has no direct I/O: put --file on ext4, xfs or btrfs")
	assert.Empty(t, names(t, dir), "open(2) with O_DIRECT leaves the file that it made")
}

// ext4 with data=journal opens files with O_DIRECT and reads them through its
// cache.
func TestDirectIOThatIsIgnored(t *testing.T) {
	dir := mountJournalled(t)
	o := runHere(t, "bench", "--file", filepath.Join(dir, "f"), "--size", "1MiB", "--duration", "20ms")
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "has no direct I/O: put --file on ext4, xfs or btrfs")
	assert.Empty(t, o.out)
	assert.Equal(t, []string{"lost+found"}, names(t, dir))
}

func TestBenchTellsOfTmpfs(t *testing.T) {
	o := runHere(t, "bench", "--file", filepath.Join(mount(t, "tmpfs", "size=4m"), "f"), "--size=1MiB", "--depths=1", "--rounds=1", "--duration=20ms")
	require.Equal(t, 0, o.code, o.err)
	assert.Contains(t, o.err, "no direct I/O was measured: the file system of ")
}

// The space that was free at the check can be gone at the write.
func TestDiskFillsUp(t *testing.T) {
	dir := mount(t, "tmpfs", "size=4m")
	s, err := newScratch(filepath.Join(dir, "f"), minSize)
	require.NoError(t, err)
	f, err := s.open()
	require.NoError(t, err)
	defer f.Close()

	t.Run("when it is reserved", func(t *testing.T) {
		l := layout{file: f, size: 8 << 20, advance: func(int64) {}}
		err := l.run(t.Context())
		require.ErrorIs(t, err, unix.ENOSPC)
		assert.ErrorContains(t, err, "cannot reserve 8.0 MiB for "+f.Name()+": the file system is full: lower --size, or put --file on another")
	})
	t.Run("when it is written", func(t *testing.T) {
		b, err := libaio.Alloc(8<<20, blockSize)
		require.NoError(t, err)
		defer b.Free()
		q, err := libaio.NewQueue(1, nil)
		require.NoError(t, err)
		defer q.Close()
		for range 2 { // first a short write, then an error
			_, err = q.Submit(t.Context(), libaio.Pwrite(f, b, 0))
			require.NoError(t, err)
			err = checkWrite(f, <-q.Completions())
			require.ErrorIs(t, err, unix.ENOSPC)
			assert.ErrorContains(t, err, "the file system is full")
		}
	})
	require.NoError(t, s.remove())
	assert.Empty(t, names(t, dir))
}

// checkWrite must not take every failed write for a full disk.
func TestWriteErrorKeepsItsCause(t *testing.T) {
	err := checkWrite(nil, libaio.Completion{Err: unix.EIO})
	require.ErrorIs(t, err, unix.EIO)
	assert.NotErrorIs(t, err, unix.ENOSPC)
}

func TestRemoveSparesAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s, err := newScratch(path, minSize)
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+".moved")) // keeps the inode in use
	require.NoError(t, os.WriteFile(path, []byte("another"), 0o600))

	require.ErrorContains(t, s.remove(), "was replaced during the run and is left as it is")
	assert.FileExists(t, path)

	require.NoError(t, os.Remove(path))
	assert.NoError(t, s.remove(), "gone already")
}
