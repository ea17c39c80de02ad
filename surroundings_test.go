//go:build linux

package libaio

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// These tests take away what the package leans on, each in a process of its own.

// requireQueueWorks reads a block.
func requireQueueWorks(t *testing.T) {
	t.Helper()
	q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
	n, err := q.Do(ctxOf(t), Pread(f, b, 0))
	require.NoError(t, err)
	require.Equal(t, block, n)
	requirePattern(t, b.Bytes(), 0, 0)
}

func TestNoEventfd(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_EVENTFD2, syscall.ENOSYS)
		_, err := NewQueue(1, nil)
		require.ErrorIs(t, err, syscall.ENOSYS)
		require.ErrorContains(t, err, "eventfd")
		require.ErrorContains(t, err, "CONFIG_EVENTFD")
		require.Zero(t, leftover.Contexts())
	}
}

func TestNoDescriptorLeft(t *testing.T) {
	if !inChild(t) {
		return
	}
	name := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(name, make([]byte, block), 0o600))
	f := newFile(t, 8*block)
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}))
	_, queueErr := NewQueue(1, nil)
	_, openErr := Open(name)
	requireFileWorks(t, f)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	require.ErrorIs(t, queueErr, syscall.EMFILE)
	require.ErrorContains(t, queueErr, "RLIMIT_NOFILE 3: raise it (ulimit -n)")
	require.ErrorIs(t, openErr, syscall.EMFILE)
	require.ErrorContains(t, openErr, name)
	require.Zero(t, leftover.Contexts())
	requireQueueWorks(t)
}

// A limit on locked memory concerns what is to be locked, and not AIO.
func TestNoMemoryLockable(t *testing.T) {
	if !inChild(t) {
		return
	}
	runtime.LockOSThread() // for good: root has no limit, but for this thread from here on
	var none [2]unix.CapUserData
	require.NoError(t, unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]))
	for _, limit := range []uint64{0, 4 * block} {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: 4 * block}))
		before := Memory()
		b, err := AllocWith(MapThreshold, block, &AllocOptions{Lock: true})
		require.True(t, b == nil)
		require.ErrorIs(t, err, map[uint64]error{0: syscall.EPERM, 4 * block: syscall.ENOMEM}[limit])
		require.ErrorContains(t, err, fmt.Sprintf("RLIMIT_MEMLOCK allows %d in all: raise it (ulimit -l)", limit))
		require.Equal(t, before, Memory())
		requireQueueWorks(t)
	}
}

// Without /proc nothing but the numbers is missing.
func TestNoProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can hide /proc")
	}
	if !isChild(t) {
		cmd := childCommand(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Skip("the system allows no mount namespace: ", err)
		}
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name()+" ")
		return
	}
	require.NoError(t, unix.Mount("none", "/proc", "tmpfs", 0, ""))
	defer func() { require.NoError(t, unix.Unmount("/proc", 0)) }()
	_, err := Limits()
	require.ErrorContains(t, err, "/proc/sys/fs/aio-nr")
	require.Empty(t, Probe(nil).Libaio)
	require.NoError(t, Probe(nil).AIO)
	requireQueueWorks(t)
	_, err = NewQueue(maxDepth, nil)
	if err != nil { // it is refused where aio-max-nr is less
		require.ErrorIs(t, err, syscall.EAGAIN)
		require.ErrorContains(t, err, "/proc/sys/fs/aio-nr is unknown")
	}
}
