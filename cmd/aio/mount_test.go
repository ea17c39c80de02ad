package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mount mounts a file system of this type for the test and returns its
// directory.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("none", dir, kind, 0, options)
	if errors.Is(err, unix.EPERM) && !mayMount() {
		t.Skipf("mounting %s needs CAP_SYS_ADMIN, which this process does not have: %v", kind, err)
	}
	require.NoError(t, os.NewSyscallError("mount "+kind, err))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s, is a file still open? %v", dir, err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// mountJournalled mounts an ext4 image with data=journal. It needs what root
// has: CAP_SYS_ADMIN, a loop device and mkfs.ext4.
func mountJournalled(t *testing.T) string {
	t.Helper()
	if !mayMount() {
		t.Skip("mounting an image needs CAP_SYS_ADMIN, which this process does not have")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skipf("making an image needs mkfs.ext4: %v", err)
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("mounting an image needs loop devices: %v", err)
	}
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 32<<20))
	command(t, "mkfs.ext4", "-q", image)
	command(t, "mount", "-o", "loop,data=journal", image, dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	return dir
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	said, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, said)
}

// mayMount says whether this process has CAP_SYS_ADMIN in effect.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
