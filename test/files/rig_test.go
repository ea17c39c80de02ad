package files

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/golibaio/libaio"
)

// This file makes the file systems.

const block = 4096

// kind is a file system to test on.
type kind struct {
	name string
	size int64    // of the image
	mkfs []string // less the image
	opts string   // of mount
}

const mib = 1 << 20

// The sizes are about the least that each takes.
var kinds = []kind{
	{name: "ext4", size: 64 * mib, mkfs: []string{"mkfs.ext4", "-q", "-E", "lazy_itable_init=1"}},
	{name: "ext4 with blocks of 1 KiB", size: 64 * mib, mkfs: []string{"mkfs.ext4", "-q", "-b", "1024"}},
	{name: "xfs", size: 320 * mib, mkfs: []string{"mkfs.xfs", "-q"}},
	{name: "xfs with sectors of 4 KiB", size: 320 * mib, mkfs: []string{"mkfs.xfs", "-q", "-s", "size=4096"}},
	{name: "btrfs", size: 256 * mib, mkfs: []string{"mkfs.btrfs", "-q"}},
	{name: "btrfs without checksums", size: 256 * mib, mkfs: []string{"mkfs.btrfs", "-q"}, opts: "nodatasum"},
}

// needsRoot skips a test that mounts loop devices where that is not allowed, as in
// most containers.
func needsRoot(t testing.TB) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, caps, _ := strings.Cut(string(status), "CapEff:")
	effective, err := strconv.ParseUint(strings.Fields(caps)[0], 16, 64)
	require.NoError(t, err)
	if effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Skip("needs CAP_SYS_ADMIN to mount loop devices")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
}

// onAll runs a test on each file system.
func onAll(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("tmpfs", func(t *testing.T) { test(t, tmpfs(t)) })
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, k.mount(t)) })
	}
	t.Run("overlayfs", func(t *testing.T) { test(t, overlay(t, kinds[0].mount(t))) })
}

// onKinds is onAll for those that have a device of their own.
func onKinds(t *testing.T, test func(t *testing.T, k kind, dir string)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, k, k.mount(t)) })
	}
}

// tmpfs is a folder in one, if it has O_DIRECT.
func tmpfs(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "libaio-files-")
	if err != nil {
		t.Skipf("no /dev/shm here: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f, err := libaio.Create(filepath.Join(dir, "probe"))
	if err != nil {
		require.ErrorIs(t, err, libaio.ErrNoDirectIO)
		t.Skipf("tmpfs has no O_DIRECT before Linux 6.6: %v", err)
	}
	require.NoError(t, f.Close())
	return dir
}

// mount makes the file system in an image and mounts it.
func (k kind) mount(t testing.TB) string {
	t.Helper()
	return k.mountImage(t, k.image(t, t.TempDir()), "")
}

// image makes an image with the file system in a folder.
func (k kind) image(t testing.TB, dir string) string {
	t.Helper()
	needsRoot(t)
	if _, err := exec.LookPath(k.mkfs[0]); err != nil {
		t.Skipf("%v: scripts/deps.sh disks installs it", err)
	}
	image := sparse(t, dir, k.size)
	run(t, append(append([]string{}, k.mkfs...), image)...)
	return image
}

func (k kind) mountImage(t testing.TB, image, opts string) string {
	t.Helper()
	opts = strings.Trim("loop,"+k.opts+","+opts, ",")
	at := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(at, 0o700))
	if out, err := exec.Command("mount", "-o", strings.ReplaceAll(opts, ",,", ","), image, at).CombinedOutput(); err != nil {
		if k.known(t) {
			t.Fatalf("mount: %v: %s", err, out)
		}
		t.Skipf("this kernel has no %s: %s", k.name, out)
	}
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

// known says whether the kernel has the file system.
func (k kind) known(t testing.TB) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/filesystems")
	require.NoError(t, err)
	return strings.Contains(string(text), "\t"+strings.Fields(k.name)[0]+"\n")
}

// overlay is one whose files lie in dir.
func overlay(t testing.TB, dir string) string {
	t.Helper()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	at := filepath.Join(dir, "merged")
	opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
	if out, err := exec.Command("mount", "-t", "overlay", "-o", opts, "overlay", at).CombinedOutput(); err != nil {
		t.Skipf("no overlayfs here: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

// sparse makes a file of this size.
func sparse(t testing.TB, dir string, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "image-")
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	return f.Name()
}

// loopDevice is a block device of this size.
func loopDevice(t testing.TB, image string) string {
	t.Helper()
	needsRoot(t)
	name := strings.TrimSpace(run(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { run(t, "losetup", "-d", name) })
	return name
}

func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", argv, out)
	return string(out)
}

// open opens a file on a queue of the test.
func open(t testing.TB, name string, flag int) *libaio.File {
	t.Helper()
	q, err := libaio.NewQueue(32, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	f, err := libaio.OpenFileWith(name, flag, 0o600, &libaio.FileOptions{Queue: q})
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// newRand is a source that can be had again.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("FILES_SEED"); s != "" {
		_, err := fmt.Sscan(s, &seed)
		require.NoError(t, err)
	}
	t.Logf("FILES_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// requireSame compares without printing both.
func requireSame(t testing.TB, want, got []byte, what string, args ...any) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	what = fmt.Sprintf(what, args...)
	require.Len(t, got, len(want), what)
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("%s: wrong byte at %d: %#x, want %#x", what, i, got[i], want[i])
		}
	}
}
