package main

import (
	"path/filepath"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInfoOfADirectoryAndAFile(t *testing.T) {
	y := newTarget(t, minSize)
	for _, path := range []string{filepath.Dir(y.file.Name()), y.file.Name()} {
		o := runHere(t, "info", path)
		require.Equal(t, 0, o.code, o.err)
		assert.Regexp(t, `kernel +\d+\.\d+`, o.out)
		assert.Regexp(t, `engine +(libaio\nlibaio +(/.*/libaio\.so|linked into)|system calls\n)`, o.out)
		assert.Regexp(t, `aio-nr +\d+\n`, o.out)
		assert.Regexp(t, `aio-max-nr +\d+\n`, o.out)
		assert.Regexp(t, `AIO +works\n`, o.out)
		assert.Regexp(t, `poll +works\n`, o.out)
		assert.Regexp(t, `flags on .*RWF_DSYNC`, o.out)
		assert.Contains(t, o.out, "direct I/O on "+path)
		assert.Contains(t, o.out, describe(y.file.Direct(), y.file.Alignment()))
	}
	assert.Equal(t, []string{"f"}, names(t, filepath.Dir(y.file.Name())), "it removes what it made")
}

func TestInfoTellsTheRestWhenThePathIsWrong(t *testing.T) {
	o := runHere(t, "info", filepath.Join(t.TempDir(), "missing"))
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "missing: no such file or directory")
	assert.Regexp(t, `kernel +\d+\.\d+`, o.out)
}

func TestInfoWithoutDirectIO(t *testing.T) {
	dir := mount(t, "ramfs", "")
	o := runHere(t, "info", dir)
	assert.Equal(t, exitFailure, o.code)
	assert.Contains(t, o.err, "has no direct I/O")
	assert.Empty(t, names(t, dir))
}

func TestInfoOfTmpfs(t *testing.T) {
	o := runHere(t, "info", mount(t, "tmpfs", "size=1m"))
	if o.code != 0 {
		require.Contains(t, o.err, "has no direct I/O")
		t.Skipf("before Linux 6.6: %s", o.err)
	}
	assert.Contains(t, o.out, "none: O_DIRECT is taken, but the files are in memory")
}

func TestAlignmentInWords(t *testing.T) {
	assert.Equal(t, "memory aligned to 4 bytes, offset and length to 512", describe(true, libaio.Alignment{Memory: 4, Offset: 512}))
	assert.Contains(t, describe(true, libaio.Alignment{}), "does not tell")
}
