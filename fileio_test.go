package libaio

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair is a file of ours and, as the model, one of os with the same content.
type pair struct {
	t     testing.TB
	f     *File
	model *os.File
}

// onFileSystems runs a test on the file system of testDir and on tmpfs.
func onFileSystems(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("disk", func(t *testing.T) { test(t, testDir(t)) })
	t.Run("tmpfs", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "libaio-test-")
		if err != nil {
			t.Skipf("no /dev/shm here: %v", err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		f, err := Create(filepath.Join(dir, "x"))
		if err != nil {
			require.ErrorIs(t, err, ErrNoDirectIO)
			t.Skipf("before Linux 6.6: %v", err)
		}
		require.NoError(t, f.Close())
		test(t, dir)
	})
}

func newPair(t testing.TB, dir string, flag int, opts *FileOptions) *pair {
	t.Helper()
	name := filepath.Join(dir, "ours")
	f, err := OpenFileOptions(name, flag|os.O_CREATE|os.O_TRUNC, 0o600, opts)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	model, err := os.Create(filepath.Join(dir, "model"))
	require.NoError(t, err)
	t.Cleanup(func() { model.Close() })
	return &pair{t: t, f: f, model: model}
}

// write does the same to both.
func (p *pair) write(data []byte, off int64) {
	p.t.Helper()
	n, err := p.f.WriteAt(data, off)
	require.NoError(p.t, err)
	require.Equal(p.t, len(data), n)
	_, err = p.model.WriteAt(data, off)
	require.NoError(p.t, err)
}

// read wants the same of both.
func (p *pair) read(n int, off int64) {
	p.t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	gn, gerr := p.f.ReadAt(got, off)
	wn, werr := p.model.ReadAt(want, off)
	require.Equal(p.t, wn, gn, "ReadAt(%d, %d)", n, off)
	require.Equal(p.t, werr, gerr, "ReadAt(%d, %d)", n, off)
	require.True(p.t, bytes.Equal(want, got), "ReadAt(%d, %d): other bytes", n, off)
}

// same wants the whole of both to be equal, as everybody else sees it.
func (p *pair) same() {
	p.t.Helper()
	ours, err := os.ReadFile(p.f.Name())
	require.NoError(p.t, err)
	model, err := os.ReadFile(p.model.Name())
	require.NoError(p.t, err)
	require.Equal(p.t, len(model), len(ours))
	require.True(p.t, bytes.Equal(model, ours), "other bytes")
	size, err := p.f.Size()
	require.NoError(p.t, err)
	require.EqualValues(p.t, len(model), size)
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// anyLength is small, or around a block, or some blocks, or many pieces.
func anyLength(r *rand.Rand) int {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1, 2:
		return r.IntN(600)
	case 3:
		return block + r.IntN(3) - 1
	case 4:
		return block * r.IntN(8)
	case 5:
		return r.IntN(3 * bounceSize)
	}
	return r.IntN(5 * block)
}

func anyOffset(r *rand.Rand, size int64) int64 {
	off := r.Int64N(size + 3*block)
	switch r.IntN(4) {
	case 0:
		return off / block * block
	case 1:
		return off / 512 * 512
	}
	return off
}

// Whatever is done to it, the File is as the file of os to which the same is
// done.
func TestFileIsAsOSFile(t *testing.T) {
	steps := 400
	if testing.Short() {
		steps = 100
	}
	onFileSystems(t, func(t *testing.T, dir string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		p := newPair(t, dir, os.O_RDWR, nil)
		for range steps {
			size, err := p.f.Size()
			require.NoError(t, err)
			switch r.IntN(12) {
			case 0:
				n := max(0, min(anyOffset(r, size), 4<<20))
				require.NoError(t, p.f.Truncate(n))
				require.NoError(t, p.model.Truncate(n))
			case 1:
				require.NoError(t, p.f.Sync())
			case 2:
				p.same()
			case 3, 4, 5, 6:
				p.write(random(r, anyLength(r)), min(anyOffset(r, size), 4<<20))
			default:
				p.read(anyLength(r), anyOffset(r, size))
			}
		}
		p.same()
	})
}

// Many writers to different bytes of the same blocks, beside writers of whole
// blocks and readers: no byte is lost, and the size is right at all times.
func TestConcurrentSubBlockWriters(t *testing.T) {
	const blocks, writers = 8, 8
	onFileSystems(t, func(t *testing.T, dir string) {
		for _, preset := range []int64{0, blocks * block, 3*block + 100} {
			p := newPair(t, dir, os.O_RDWR, nil)
			require.NoError(t, p.f.Truncate(preset))
			want := make([]byte, blocks*block-1000)
			var wg sync.WaitGroup
			for w := range writers {
				r := rand.New(rand.NewPCG(uint64(w), 1))
				wg.Go(func() { // every writers-th run of bytes
					for at := w * 37; at < len(want); at += writers * 37 {
						part := want[at:min(at+37, len(want))]
						for i := range part {
							part[i] = byte(r.Uint32())
						}
						n, err := p.f.WriteAt(part, int64(at))
						if !assert.NoError(t, err) || !assert.Equal(t, len(part), n) {
							return
						}
						got := make([]byte, len(part))
						_, err = p.f.ReadAt(got, int64(at))
						if !assert.NoError(t, err) || !assert.Equal(t, part, got) {
							return
						}
					}
				})
			}
			stop := make(chan struct{})
			var watcher sync.WaitGroup
			watcher.Go(func() {
				got := make([]byte, blocks*block+100)
				for {
					select {
					case <-stop:
						return
					default:
					}
					n, err := p.f.ReadAt(got, 0)
					if !assert.ErrorIs(t, err, io.EOF) || !assert.LessOrEqual(t, int64(n), max(preset, int64(len(want)))) {
						return
					}
				}
			})
			wg.Wait()
			close(stop)
			watcher.Wait()
			got, err := os.ReadFile(p.f.Name())
			require.NoError(t, err)
			require.Len(t, got, int(max(preset, int64(len(want)))))
			require.True(t, bytes.Equal(want, got[:len(want)]))
		}
	})
}
