package pebblevfs

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
)

// TestFilesAreThoseOfTheDefaultFS makes the same random calls here and on
// vfs.Default, and wants the same answers.
func TestFilesAreThoseOfTheDefaultFS(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	q := newQueue(t)
	for seed := range rounds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			p := &pair{t: t, rng: rand.New(rand.NewPCG(5, uint64(seed)))}
			p.sides[0] = side{fs: vfs.Default, dir: t.TempDir()}
			p.sides[1] = side{fs: New(&Options{Queue: q}), dir: t.TempDir()}
			for range 200 {
				p.step()
			}
			p.closeAll()
			for _, name := range names {
				p.both("contents of "+name, func(s *side) (any, error) { return os.ReadFile(s.path(name)) })
			}
		})
	}
}

// side is one of the two file systems, with the handles open on it.
type side struct {
	fs      vfs.FS
	dir     string
	handles []vfs.File
}

func (s *side) path(name string) string { return filepath.Join(s.dir, name) }

// pair has the same done on both sides.
type pair struct {
	t     *testing.T
	rng   *rand.Rand
	sides [2]side
	// writable says of each handle if it may be written to.
	writable []bool
}

var names = []string{"a", "b", "c"}

// both wants the same answer, or the same kind of error, from both sides.
func (p *pair) both(what string, do func(*side) (any, error)) {
	p.t.Helper()
	want, wantErr := do(&p.sides[0])
	got, err := do(&p.sides[1])
	require.Equal(p.t, want, got, what)
	require.Equal(p.t, kind(wantErr), kind(err), "%s: %v, not %v", what, err, wantErr)
}

func kind(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, io.EOF):
		return "EOF"
	case oserror.IsNotExist(err):
		return "not exist"
	case oserror.IsExist(err):
		return "exist"
	case errors.Is(err, os.ErrClosed):
		return "closed"
	}
	return err.Error()
}

func (p *pair) step() {
	if n := len(p.writable); n == 0 || n < 6 && p.rng.IntN(10) == 0 {
		p.open()
		return
	}
	i := p.rng.IntN(len(p.writable))
	switch p.rng.IntN(12) {
	case 0:
		p.close(i)
	case 1:
		p.handle(i, "sync", func(f vfs.File) (any, error) { return nil, f.Sync() })
	case 2:
		p.handle(i, "sync data", func(f vfs.File) (any, error) { return nil, f.SyncData() })
	case 3:
		p.stat(i)
	case 4:
		p.names()
	case 5, 6:
		p.read(i)
	case 7:
		p.readAt(i)
	default:
		p.write(i)
	}
}

func (p *pair) open() {
	name := names[p.rng.IntN(len(names))]
	how := p.rng.IntN(5)
	opened := false
	p.both(fmt.Sprintf("open %s in way %d", name, how), func(s *side) (any, error) {
		f, err := openAs(s.fs, s.path(name), how)
		if err == nil {
			s.handles = append(s.handles, f)
			opened = true
		}
		return err == nil, err
	})
	if opened {
		p.writable = append(p.writable, how < 2)
	}
}

func openAs(fs vfs.FS, path string, how int) (vfs.File, error) {
	switch how {
	case 0:
		return fs.Create(path, vfs.WriteCategoryUnspecified)
	case 1:
		return fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	case 2:
		return fs.Open(path, vfs.SequentialReadsOption)
	case 3:
		return fs.Open(path, vfs.RandomReadsOption)
	}
	return fs.Open(path)
}

func (p *pair) handle(i int, what string, do func(vfs.File) (any, error)) {
	p.t.Helper()
	p.both(what, func(s *side) (any, error) { return do(s.handles[i]) })
}

func (p *pair) close(i int) {
	p.handle(i, "close", func(f vfs.File) (any, error) { return nil, f.Close() })
	for j := range p.sides {
		s := &p.sides[j]
		s.handles = append(s.handles[:i], s.handles[i+1:]...)
	}
	p.writable = append(p.writable[:i], p.writable[i+1:]...)
}

func (p *pair) closeAll() {
	for len(p.writable) > 0 {
		p.close(0)
	}
}

func (p *pair) stat(i int) {
	size := func(info vfs.FileInfo, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return fmt.Sprint(info.Size(), info.Mode(), info.IsDir(), info.DeviceID()), nil
	}
	p.handle(i, "stat of a handle", func(f vfs.File) (any, error) { return size(f.Stat()) })
	name := names[p.rng.IntN(len(names))]
	p.both("stat of a name", func(s *side) (any, error) { return size(s.fs.Stat(s.path(name))) })
}

// names changes what the files are called.
func (p *pair) names() {
	from, to := names[p.rng.IntN(len(names))], names[p.rng.IntN(len(names))]
	switch p.rng.IntN(3) {
	case 0:
		p.both("rename", func(s *side) (any, error) { return nil, oserrorOnly(s.fs.Rename(s.path(from), s.path(to))) })
	case 1:
		p.both("link", func(s *side) (any, error) { return nil, oserrorOnly(s.fs.Link(s.path(from), s.path(to))) })
	case 2:
		p.both("remove", func(s *side) (any, error) { return nil, oserrorOnly(s.fs.Remove(s.path(from))) })
	}
	p.both("list", func(s *side) (any, error) {
		list, err := s.fs.List(s.dir)
		return len(list), err
	})
}

// oserrorOnly takes the names out of the error, which differ.
func oserrorOnly(err error) error {
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

func (p *pair) write(i int) {
	if !p.writable[i] {
		return
	}
	b := make([]byte, p.length())
	for j := range b {
		b[j] = byte(p.rng.Uint32())
	}
	if p.rng.IntN(4) == 0 {
		off := int64(p.length())
		p.handle(i, "write at", func(f vfs.File) (any, error) { return result(f.WriteAt(b, off)) })
		return
	}
	p.handle(i, "write", func(f vfs.File) (any, error) { return result(f.Write(b)) })
}

func (p *pair) read(i int) {
	n := p.length()
	p.handle(i, "read", func(f vfs.File) (any, error) {
		b := make([]byte, n)
		k, err := f.Read(b)
		return b[:k], err
	})
}

func (p *pair) readAt(i int) {
	n, off := p.length(), int64(p.length())
	p.handle(i, "read at", func(f vfs.File) (any, error) {
		b := make([]byte, n)
		k, err := f.ReadAt(b, off)
		return b[:k], err
	})
}

func result(n int, err error) (any, error) { return n, err }

// length is small mostly, at times several blocks of a stream, at times a
// multiple of a block.
func (p *pair) length() int {
	switch p.rng.IntN(8) {
	case 0:
		return p.rng.IntN(1 << 20)
	case 1:
		return 4096 * p.rng.IntN(20)
	case 2:
		return 0
	}
	return p.rng.IntN(6000)
}

func TestReuseForWriteKeepsWhatIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	fs := New(&Options{Queue: newQueue(t)})
	old, reused := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	require.NoError(t, os.WriteFile(old, make([]byte, 10000), 0o666))

	f, err := fs.ReuseForWrite(old, reused, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("over"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())

	want := make([]byte, 10000)
	copy(want, "over")
	got, err := os.ReadFile(reused)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoFileExists(t, old)
}

func TestOpenTakesFolders(t *testing.T) {
	dir := t.TempDir()
	f, err := New(&Options{Queue: newQueue(t)}).Open(dir)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.True(t, info.IsDir())
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func TestClosedHandle(t *testing.T) {
	fs := New(&Options{Queue: newQueue(t)})
	f, err := fs.Create(filepath.Join(t.TempDir(), "f"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.ErrorIs(t, f.Close(), os.ErrClosed)
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = f.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, f.Sync(), os.ErrClosed)
	require.ErrorIs(t, f.SyncData(), os.ErrClosed)
	_, err = f.Stat()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestNoDirectIO(t *testing.T) {
	_, err := New(nil).Open("/proc/self/status")
	require.ErrorIs(t, err, libaio.ErrNoDirectIO)
	require.ErrorIs(t, err, errors.ErrUnsupported)

	f, err := New(&Options{Buffered: true}).Open("/proc/self/status")
	require.NoError(t, err)
	b := make([]byte, 5)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, "Name:", string(b))
	require.NoError(t, f.Close())
}
