package property

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	blockSize = 4096
	blocks    = 64 // of the file
)

// disk is a file open for direct I/O, and the model of its content. A block is
// in use by any number of reads or by one write; goroutines may share a disk
// when they keep to blocks of their own.
type disk struct {
	file *libaio.File
	seed [blocks]uint64 // what the block was filled with
	use  [blocks]int    // reads in flight, or -1 for a write
	last atomic.Uint64  // seed that was given out
	unit int            // offsets, lengths and addresses are multiples of it
}

func newDisk(t testing.TB) *disk {
	t.Helper()
	dir := os.Getenv("LIBAIO_TEST_DIR")
	if dir == "" {
		dir = t.TempDir()
	} else {
		var err error
		dir, err = os.MkdirTemp(dir, "libaio-property-")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	d := &disk{unit: blockSize}
	name := filepath.Join(dir, "data")
	require.NoError(t, os.WriteFile(name, make([]byte, blocks*blockSize), 0o600))
	f, err := libaio.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		fd := f.FD()
		require.NoError(t, f.Close())
		// Nothing is in flight, so nothing may keep the descriptor.
		open, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		require.NotEqual(t, name, open, "the file was closed, its descriptor not")
	})
	d.file = f
	if a := f.Alignment(); a.Known() {
		d.unit = max(a.Memory, a.Offset)
	}
	return d
}

// reset gives the file a content of its own for a new run, whatever an earlier
// one has left.
func (d *disk) reset(t require.TestingT) {
	p := make([]byte, blocks*blockSize)
	for i := range d.seed {
		d.seed[i], d.use[i] = d.last.Add(1), 0
		fillBlock(p[i*blockSize:][:blockSize], d.seed[i])
	}
	f, err := os.OpenFile(d.file.Name(), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(p)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// verify holds the whole file, as everybody else sees it, against the model.
func (d *disk) verify(t require.TestingT) {
	f, err := os.Open(d.file.Name())
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Sync())
	p := make([]byte, (blocks+1)*blockSize)
	n, _ := f.ReadAt(p, 0)
	require.Equal(t, blocks*blockSize, n, "size of the file")
	for i, seed := range d.seed {
		require.Zero(t, d.use[i], "users of block %d", i)
		require.True(t, isBlock(p[i*blockSize:][:blockSize], seed), "content of block %d in the file", i)
	}
}

// take begins the use of blocks, if they are free for it.
func (d *disk) take(first, n int, write bool) bool {
	for i := first; i < min(first+n, blocks); i++ {
		if d.use[i] < 0 || write && d.use[i] > 0 {
			return false
		}
	}
	for i := first; i < min(first+n, blocks); i++ {
		if write {
			d.use[i] = -1
		} else {
			d.use[i]++
		}
	}
	return true
}

// give ends the use of blocks.
func (d *disk) give(first, n int, write bool) {
	for i := first; i < min(first+n, blocks); i++ {
		if write {
			d.use[i] = 0
		} else {
			d.use[i]--
		}
	}
}

func fillBlock(p []byte, seed uint64) {
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], seed*0x9E3779B97F4A7C15+uint64(i))
	}
}

func isBlock(p []byte, seed uint64) bool {
	for i := 0; i < len(p); i += 8 {
		if binary.LittleEndian.Uint64(p[i:]) != seed*0x9E3779B97F4A7C15+uint64(i) {
			return false
		}
	}
	return true
}

// pipe is a pipe of which the library reads, and the test writes.
type pipe struct {
	file *libaio.File
	r, w int
}

func newPipe(t require.TestingT, flags int, name string) *pipe {
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|flags))
	return &pipe{file: libaio.BorrowFD(p[0], name), r: p[0], w: p[1]}
}

func (p *pipe) write(t require.TestingT, b []byte) {
	n, err := unix.Write(p.w, b)
	require.NoError(t, err)
	require.Equal(t, len(b), n)
}

// drain empties a pipe that does not block.
func (p *pipe) drain() {
	var b [blockSize]byte
	for {
		if n, err := unix.Read(p.r, b[:]); err == unix.EINTR || n > 0 {
			continue
		}
		return
	}
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}
