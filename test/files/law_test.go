package files

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is the laws of io.ReaderAt and io.WriterAt, with os.File as the model.

// most is how long the files become.
const most = 3 * mib

// pair is a file of ours and the model.
type pair struct {
	t     testing.TB
	r     *rand.Rand
	ours  *libaio.File
	model *os.File
}

func newPair(t testing.TB, dir string) *pair {
	t.Helper()
	model, err := os.Create(filepath.Join(dir, "model"))
	require.NoError(t, err)
	t.Cleanup(func() { model.Close() })
	return &pair{
		t: t, r: newRand(t), model: model,
		ours: open(t, filepath.Join(dir, "ours"), os.O_RDWR|os.O_CREATE),
	}
}

// length is none, a few bytes, about a block, some blocks, or many pieces.
func (p *pair) length() int {
	switch p.r.IntN(10) {
	case 0:
		return 0
	case 1, 2, 3:
		return p.r.IntN(700)
	case 4:
		return block + p.r.IntN(3) - 1
	case 5:
		return 512 * p.r.IntN(20)
	case 6:
		return p.r.IntN(mib)
	}
	return p.r.IntN(6 * block)
}

// offset is anywhere in the file or a bit behind, often on a boundary.
func (p *pair) offset(size int64) int64 {
	off := p.r.Int64N(size + 3*block)
	switch p.r.IntN(5) {
	case 0:
		off = off / block * block
	case 1:
		off = off / 512 * 512
	case 2:
		off = size
	}
	return min(off, most)
}

func (p *pair) step() {
	size, err := p.ours.Size()
	require.NoError(p.t, err)
	switch n, off := p.length(), p.offset(size); p.r.IntN(16) {
	case 0:
		require.NoError(p.t, p.ours.Truncate(off))
		require.NoError(p.t, p.model.Truncate(off))
	case 1:
		require.NoError(p.t, p.ours.Datasync())
	case 2:
		require.NoError(p.t, p.ours.Preallocate(off, int64(n+1)))
	case 3:
		p.same()
	case 4, 5, 6, 7, 8:
		p.write(random(p.r, n), off)
	default:
		p.read(n, off)
	}
	p.negative()
}

func (p *pair) write(data []byte, off int64) {
	p.t.Helper()
	n, err := p.ours.WriteAt(data, off)
	require.NoError(p.t, err)
	require.Equal(p.t, len(data), n)
	_, err = p.model.WriteAt(data, off)
	require.NoError(p.t, err)
}

// read wants the same bytes, the same number and the same error.
func (p *pair) read(n int, off int64) {
	p.t.Helper()
	got, want := make([]byte, n+8), make([]byte, n+8)
	wn, werr := p.model.ReadAt(want[:n], off)
	gn, gerr := p.ours.ReadAt(got[:n], off)
	require.Equal(p.t, wn, gn, "ReadAt of %d at %d", n, off)
	require.Equal(p.t, werr, gerr, "ReadAt of %d at %d", n, off)
	requireSame(p.t, want[:wn], got[:wn], "ReadAt of %d at %d", n, off)
	requireSame(p.t, make([]byte, 8), got[n:], "behind the memory of ReadAt")
}

func (p *pair) negative() {
	n, err := p.ours.ReadAt(make([]byte, 1), -1)
	require.Zero(p.t, n)
	require.ErrorIs(p.t, err, libaio.ErrInvalid)
	n, err = p.ours.WriteAt(make([]byte, 1), -1)
	require.Zero(p.t, n)
	require.ErrorIs(p.t, err, libaio.ErrInvalid)
}

// same compares the whole files, as everybody else sees them, to the byte and to
// the size.
func (p *pair) same() {
	p.t.Helper()
	ours, err := os.ReadFile(p.ours.Name())
	require.NoError(p.t, err)
	model, err := os.ReadFile(p.model.Name())
	require.NoError(p.t, err)
	requireSame(p.t, model, ours, "the file")
	size, err := p.ours.Size()
	require.NoError(p.t, err)
	require.EqualValues(p.t, len(model), size)
}

func steps(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

func TestOneAtATime(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		for range steps(400) {
			p.step()
		}
		p.same()
	})
}

// Sequences that once failed: on XFS a read past the end had EIO where space was
// reserved behind it.
func TestOneAtATimeAgain(t *testing.T) {
	onKinds(t, func(t *testing.T, k kind, dir string) {
		p := newPair(t, dir)
		p.r = rand.New(rand.NewPCG(15175524626575783384, 0))
		for range 100 {
			p.step()
		}
		p.same()
	})
}

// readVector is read of whole blocks into two Buffers, without a copy.
func (p *pair) readVector(n int, off int64) {
	p.t.Helper()
	n, off = max(1, n/block)*block, off/block*block
	b, err := libaio.Alloc(2*n, block)
	require.NoError(p.t, err)
	defer b.Free()
	front, err := b.Slice(0, n)
	require.NoError(p.t, err)
	back, err := b.Slice(n, n)
	require.NoError(p.t, err)
	want := make([]byte, 2*n)
	wn, werr := p.model.ReadAt(want, off)
	gn, gerr := p.ours.ReadVector(p.t.Context(), []*libaio.Buffer{front, back}, off)
	require.Equal(p.t, werr, gerr, "ReadVector of %d at %d", 2*n, off)
	require.Equal(p.t, wn, gn, "ReadVector of %d at %d", 2*n, off)
	requireSame(p.t, want[:wn], b.Bytes()[:wn], "ReadVector of %d at %d", 2*n, off)
}

// Vectors go over the end of the file too, and meet what is reserved behind it.
func TestVectorsOverTheEnd(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		for range steps(400) {
			size, err := p.ours.Size()
			require.NoError(t, err)
			n, off := 1+p.length()/4, p.offset(size)
			switch p.r.IntN(8) {
			case 0:
				require.NoError(t, p.ours.Truncate(off))
				require.NoError(t, p.model.Truncate(off))
			case 1:
				require.NoError(t, p.ours.Preallocate(size, int64(n)))
			case 2, 3:
				p.write(random(p.r, n), size)
			case 4:
				p.write(random(p.r, n), off)
			default:
				p.readVector(n, max(0, size-int64(p.r.IntN(2*n))))
			}
		}
	})
}

func TestReaders(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		for _, size := range []int{0, 1, 511, block, 3*block + 77} {
			require.NoError(t, p.ours.Truncate(0))
			content := random(p.r, size)
			_, err := p.ours.WriteAt(content, 0)
			require.NoError(t, err)
			r, err := libaio.NewReader(p.ours, &libaio.ReaderOptions{BlockSize: block, Depth: 2})
			require.NoError(t, err)
			require.NoError(t, iotest.TestReader(r, content))
			require.NoError(t, r.Close())
			last := max(0, size-100) // each byte is a read of its own
			require.NoError(t, iotest.TestReader(io.NewSectionReader(p.ours, int64(last), int64(size-last)), content[last:]))
		}
	})
}

// owner is one of several who write to a file at the same time, each to bytes of
// its own, which are pieces of the same blocks.
type owner struct {
	r    *rand.Rand
	f    *libaio.File
	from int64
	want []byte // what is there
}

func (o *owner) step(t testing.TB) bool {
	a := o.r.IntN(len(o.want))
	b := a + o.r.IntN(len(o.want)-a) + 1
	if o.r.IntN(3) > 0 {
		b = min(b, a+1+o.r.IntN(200))
	}
	part, off := o.want[a:b], o.from+int64(a)
	if o.r.IntN(2) == 0 {
		copy(part, random(o.r, len(part)))
		n, err := o.f.WriteAt(part, off)
		return assert.NoError(t, err) && assert.Equal(t, len(part), n)
	}
	got := make([]byte, len(part))
	n, err := o.f.ReadAt(got, off)
	return assert.NoError(t, err) && assert.Equal(t, len(part), n) && assert.Equal(t, part, got, "at %d", off)
}

// owners divides the bytes of a file, whose content is given, at random. Some
// get whole blocks, which they write with direct I/O in one piece.
func owners(t testing.TB, r *rand.Rand, fs []*libaio.File, content []byte, n int) []*owner {
	t.Helper()
	var all []*owner
	for from := 0; from < len(content); {
		size := 1 + r.IntN(2*len(content)/n+1)
		if r.IntN(3) == 0 {
			size = (from+size+block)/block*block - from // up to a boundary
		}
		size = min(size, len(content)-from)
		all = append(all, &owner{
			r: rand.New(rand.NewPCG(r.Uint64(), 0)), f: fs[len(all)%len(fs)],
			from: int64(from), want: content[from : from+size : from+size],
		})
		from += size
	}
	return all
}

// Writers to different bytes of the same blocks do not undo each other's work,
// through one File or two; and what each reads is what it wrote.
func TestManyAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		fs := []*libaio.File{p.ours, open(t, p.ours.Name(), os.O_RDWR)}
		for range steps(8) {
			content := random(p.r, 1+p.r.IntN(20*block))
			require.NoError(t, p.ours.Truncate(0))
			_, err := p.ours.WriteAt(content, 0)
			require.NoError(t, err)
			var wg sync.WaitGroup
			for _, o := range owners(t, p.r, fs, content, 12) {
				wg.Go(func() {
					for range 30 {
						if !o.step(t) {
							return
						}
					}
				})
			}
			wg.Wait()
			got, err := os.ReadFile(p.ours.Name())
			require.NoError(t, err)
			requireSame(t, content, got, "the file")
			if t.Failed() {
				return
			}
		}
	})
}

// A writer of whole blocks, beside writers of parts of them, finds all that it wrote
// where nobody else writes.
func TestWholeBlocksBesideParts(t *testing.T) {
	const blocks = 3
	parts := []struct{ from, to int }{
		{0, 70},                             // the front of the first block
		{block - 70, block + 70},            // the end of one and the front of the next
		{2*block + 1000, 2*block + 1070},    // the middle
		{blocks*block - 70, blocks * block}, // the end of the last
	}
	foreign := func(i int) bool {
		for _, p := range parts {
			if p.from <= i && i < p.to {
				return true
			}
		}
		return false
	}
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		other := open(t, p.ours.Name(), os.O_RDWR|os.O_CREATE)
		require.NoError(t, p.ours.Truncate((blocks+1)*block))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for _, part := range parts {
			wg.Go(func() {
				data := make([]byte, part.to-part.from)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					for j := range data {
						data[j] = byte(i)
					}
					_, err := other.WriteAt(data, int64(part.from))
					assert.NoError(t, err)
					got := make([]byte, len(data))
					_, err = other.ReadAt(got, int64(part.from))
					assert.NoError(t, err)
				}
			})
		}
		whole, got := make([]byte, blocks*block), make([]byte, blocks*block)
		for i := range steps(300) {
			for j := range whole {
				whole[j] = byte(i)
			}
			_, err := p.ours.WriteAt(whole, 0)
			require.NoError(t, err)
			_, err = p.ours.ReadAt(got, 0)
			require.NoError(t, err)
			for j, c := range got {
				if c != byte(i) && !foreign(j) {
					assert.Fail(t, "a lost byte", "round %d, offset %d: %d", i, j, c)
					break
				}
			}
			if t.Failed() {
				break
			}
		}
		close(stop)
		wg.Wait()
	})
}

// While writers make the file longer, nobody ever sees bytes that none of them
// has written, nor a size that none of them has made.
func TestGrowingBesideReaders(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 2 {
			wg.Go(func() {
				got := make([]byte, 40*block)
				for {
					select {
					case <-stop:
						return
					default:
					}
					n, err := p.ours.ReadAt(got, 0)
					if !assert.ErrorIs(t, err, io.EOF) {
						return
					}
					for i, c := range got[:n] {
						if c != byte(i%251)+1 {
							assert.Fail(t, "a byte that nobody wrote", "%#x at %d of %d", c, i, n)
							return
						}
					}
				}
			})
		}
		want := make([]byte, 30*block)
		for i := range want {
			want[i] = byte(i%251) + 1
		}
		for at := 0; at < len(want); {
			n := min(1+p.r.IntN(900), len(want)-at)
			if p.r.IntN(8) == 0 {
				n = min(n*10, len(want)-at)
			}
			_, err := p.ours.WriteAt(want[at:at+n], int64(at))
			require.NoError(t, err)
			at += n
			size, err := p.ours.Size()
			require.NoError(t, err)
			require.EqualValues(t, at, size)
		}
		close(stop)
		wg.Wait()
		got, err := os.ReadFile(p.ours.Name())
		require.NoError(t, err)
		requireSame(t, want, got, "the file")
	})
}

// Reads that go past the end get all there is, whatever the file system has in
// store behind it.
func TestReadPastTheEndBesideAppends(t *testing.T) {
	onAll(t, func(t *testing.T, dir string) {
		p := newPair(t, dir)
		const start = 256 << 10
		_, err := p.ours.WriteAt(make([]byte, start), 0)
		require.NoError(t, err)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, p.ours.Datasync())
				}
			}
		})
		b, err := libaio.Alloc(start, block)
		require.NoError(t, err)
		defer b.Free()
		var halves []*libaio.Buffer
		for at := 0; at < start; at += start / 2 {
			half, err := b.Slice(at, start/2)
			require.NoError(t, err)
			halves = append(halves, half)
		}
		size := int64(start)
		for i := range steps(400) {
			data := make([]byte, 1+p.r.IntN(9000))
			_, err := p.ours.WriteAt(data, size)
			require.NoError(t, err)
			size += int64(len(data))
			from := size/block*block - 8*block
			var n int
			switch i % 3 {
			case 0:
				n, err = p.ours.ReadAt(make([]byte, start), from)
			case 1:
				n, err = p.ours.ReadBuffer(t.Context(), b, from)
			default:
				n, err = p.ours.ReadVector(t.Context(), halves, from)
			}
			require.Equal(t, io.EOF, err)
			require.EqualValues(t, size-from, n)
		}
		close(stop)
		wg.Wait()
	})
}
