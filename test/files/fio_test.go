package files

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file has fio judge: what we wrote it must find right, and a copy that we made
// of what it wrote.

const fioSize = 12 * mib

// fio runs a job of fio on a file.
func fio(t testing.TB, file string, args ...string) error {
	t.Helper()
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skipf("%v: scripts/deps.sh disks installs it", err)
	}
	args = append([]string{
		"--name=judge", "--filename=" + file, "--allow_file_create=0", "--ioengine=libaio", "--direct=1",
		"--iodepth=8", "--verify_fatal=1", "--verify_state_save=0", fmt.Sprint("--size=", fioSize), "--minimal",
	}, args...)
	cmd := exec.Command("fio", args...)
	cmd.Dir = filepath.Dir(file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fio %v: %w: %s", args, err, out)
	}
	return nil
}

// offsets is what fio has in each block of 4096 bytes with a pattern of %o: the
// offset of the block, over and over.
func offsets(p []byte, off int64) {
	for i := 0; i+8 <= len(p); i += 8 {
		at := (off + int64(i)) / block * block
		binary.LittleEndian.PutUint64(p[i:], uint64(at))
	}
}

// requirePatternByFio has fio look for it.
func requirePatternByFio(t *testing.T, file string) {
	t.Helper()
	judge := func() error {
		return fio(t, file, "--rw=read", "--bs=4k", "--verify=pattern", "--verify_pattern=%o", "--verify_interval=4096")
	}
	require.NoError(t, judge())
	flip(t, file)
	require.Error(t, judge(), "a judge that finds nothing wrong")
}

// flip changes one byte.
func flip(t testing.TB, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, fioSize/3)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, fioSize/3)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
}

// onSome is the file systems that are worth the time of fio.
func onSome(t *testing.T, test func(t *testing.T, dir string)) {
	for _, i := range []int{0, 2, 4} {
		t.Run(kinds[i].name, func(t *testing.T) { test(t, kinds[i].mount(t)) })
	}
}

func TestFioFindsWhatWeWrote(t *testing.T) {
	want := make([]byte, fioSize)
	offsets(want, 0)
	for name, write := range map[string]func(t *testing.T, f *libaio.File){
		"WriteAt of odd lengths": func(t *testing.T, f *libaio.File) {
			r := newRand(t)
			for at := 0; at < fioSize; {
				n := min(1+r.IntN(400_000), fioSize-at)
				_, err := f.WriteAt(want[at:at+n], int64(at))
				require.NoError(t, err)
				at += n
			}
		},
		"WriteAt by many": func(t *testing.T, f *libaio.File) {
			const part = 12_345 // no multiple of anything
			parts := make(chan int, fioSize/part+1)
			for at := 0; at < fioSize; at += part {
				parts <- at
			}
			close(parts)
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for at := range parts {
						_, err := f.WriteAt(want[at:min(at+part, fioSize)], int64(at))
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
		},
		"Writer": func(t *testing.T, f *libaio.File) {
			w, err := libaio.NewWriter(f, &libaio.WriterOptions{Depth: 8})
			require.NoError(t, err)
			r := newRand(t)
			for at := 0; at < fioSize; {
				n := min(1+r.IntN(100_000), fioSize-at)
				_, err := w.Write(want[at : at+n])
				require.NoError(t, err)
				at += n
			}
			require.NoError(t, w.Close())
		},
		"WriteVector": func(t *testing.T, f *libaio.File) {
			b, err := libaio.Alloc(mib, block)
			require.NoError(t, err)
			defer b.Free()
			var bufs []*libaio.Buffer
			for at := 0; at < mib; at += mib / 16 {
				v, err := b.Slice(at, mib/16)
				require.NoError(t, err)
				bufs = append(bufs, v)
			}
			for at := int64(0); at < fioSize; at += mib {
				copy(b.Bytes(), want[at:])
				_, err := f.WriteVector(t.Context(), bufs, at)
				require.NoError(t, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onSome(t, func(t *testing.T, dir string) {
				f := open(t, filepath.Join(dir, "ours"), os.O_RDWR|os.O_CREATE)
				write(t, f)
				require.NoError(t, f.Sync())
				requirePatternByFio(t, f.Name())
			})
		})
	}
}

func TestFioFindsItsOwnInOurCopy(t *testing.T) {
	onSome(t, func(t *testing.T, dir string) {
		from, to := filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")
		verify := []string{"--rw=randwrite", "--bs=4k", "--verify=crc32c", "--randseed=7", "--allow_file_create=1"}
		require.NoError(t, fio(t, from, append(verify, "--do_verify=0")...))
		for name, copied := range map[string]func(t *testing.T, to, from *libaio.File){
			"Reader to Writer": func(t *testing.T, to, from *libaio.File) {
				r, err := libaio.NewReader(from, nil)
				require.NoError(t, err)
				defer r.Close()
				w, err := libaio.NewWriter(to, nil)
				require.NoError(t, err)
				n, err := io.Copy(w, r)
				require.NoError(t, err)
				require.EqualValues(t, fioSize, n)
				require.NoError(t, w.Close())
			},
			"ReadAt to WriteAt in odd parts": func(t *testing.T, to, from *libaio.File) {
				const part = 99_991
				p := make([]byte, part)
				for at := int64(0); at < fioSize; at += part {
					n, err := from.ReadAt(p, at)
					if err != io.EOF {
						require.NoError(t, err)
					}
					_, err = to.WriteAt(p[:n], at)
					require.NoError(t, err)
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				os.Remove(to)
				f := open(t, to, os.O_RDWR|os.O_CREATE)
				copied(t, f, open(t, from, os.O_RDONLY))
				require.NoError(t, f.Sync())
				judge := func() error { return fio(t, to, append(verify, "--verify_only")...) }
				require.NoError(t, judge())
				flip(t, to)
				require.Error(t, judge(), "a judge that finds nothing wrong")
			})
		}
	})
}
