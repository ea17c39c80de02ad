//go:build linux

package libaio

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/golibaio/libaio/internal/leftover"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// deny has the kernel answer errno to a system call from here on, in the whole
// process and for good: for children only.
func deny(t *testing.T, call uint32, errno syscall.Errno) {
	t.Helper()
	denyFrom(t, call, 0, errno)
}

// denyFrom is deny for calls whose first argument is at least so much.
func denyFrom(t *testing.T, call, least uint32, errno syscall.Errno) {
	t.Helper()
	first := uint32(16) // the lower half of the first argument
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		first += 4
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: first},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: least, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the second call needs what the first sets
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	require.Zero(t, failed, failed.Error())
}

// requireDenied wants every way to a context to end in an error that says why.
func requireDenied(t *testing.T, errno syscall.Errno, says string) {
	t.Helper()
	q, err := NewQueue(8, nil)
	require.True(t, q == nil)
	_, setupErr := Setup(8)
	for _, err := range []error{err, setupErr, Probe(nil).AIO} {
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, "io_setup")
		require.ErrorContains(t, err, says)
	}
}

func TestSetupDenied(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_IO_SETUP, syscall.EPERM)
		requireDenied(t, syscall.EPERM, "a seccomp profile denies io_setup; allow io_setup, io_submit, io_getevents, io_cancel and io_destroy in it")
	}
}

func TestSetupHidden(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_IO_SETUP, syscall.ENOSYS)
		requireDenied(t, syscall.ENOSYS, "this kernel has no AIO (CONFIG_AIO), or a seccomp profile hides it")
	}
}

// A profile that allows io_setup alone would have every operation hang.
func TestGetEventsDenied(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_IO_GETEVENTS, syscall.EPERM)
		deny(t, unix.SYS_IO_PGETEVENTS, syscall.EPERM) // which some builds of libaio make instead
		_, err := NewQueue(8, nil)
		require.ErrorIs(t, err, syscall.EPERM)
		require.ErrorContains(t, err, "io_getevents")
		require.ErrorContains(t, err, "a seccomp profile must allow it beside io_setup")
		assert.Zero(t, leftover.Contexts())
	}
}

// Profiles of podman and buildah deny io_pgetevents, which some builds of libaio
// make for io_getevents.
func TestPGetEventsDenied(t *testing.T) {
	if inChild(t) {
		deny(t, unix.SYS_IO_PGETEVENTS, syscall.EPERM)
		q, f, b := newQueue(t, 1), newFile(t, block), newBuffer(t, block)
		n, err := q.Do(ctxOf(t), Pread(f, b, 0))
		require.NoError(t, err)
		require.Equal(t, block, n)
		events := make([]Event, 1)
		n, err = newContext(t, 1).GetEvents(1, events, time.Millisecond)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = newContext(t, 1).PGetEvents(1, events, time.Millisecond, 0)
		require.ErrorIs(t, err, syscall.EPERM)
		require.ErrorIs(t, Probe(nil).PGetEvents, syscall.EPERM)
	}
}

// In a container whose profile is to deny io_setup, as scripts/test-container.sh
// makes one: that the profile is in force is part of what is to be shown.
func TestSetupDeniedByProfile(t *testing.T) {
	if os.Getenv("LIBAIO_TEST_DENIED") == "" {
		t.Skip("wants a container that denies io_setup, where LIBAIO_TEST_DENIED is set")
	}
	requireDenied(t, syscall.EPERM, "a seccomp profile denies io_setup")
}

// A filter that comes behind the queue makes it slower, and nothing else.
func TestGetEventsDeniedLater(t *testing.T) {
	if !inChild(t) {
		return
	}
	q, p, f, b := newQueue(t, 4), newPolledQueue(t, 4), newFile(t, block), newBuffer(t, block)
	op := Pread(f, b, 0)
	deny(t, unix.SYS_IO_GETEVENTS, syscall.EPERM)
	deny(t, unix.SYS_IO_PGETEVENTS, syscall.EPERM)
	for range 3 * loneTimes {
		n, err := q.Do(ctxOf(t), op)
		require.NoError(t, err)
		require.Equal(t, block, n)
	}
	_, err := q.Submit(ctxOf(t), op)
	require.NoError(t, err)
	require.NoError(t, receive(t, q, 1)[0].Err)
	_, err = p.Submit(ctxOf(t), op, op, op, op, op)
	require.NoError(t, err)
	n, err := p.Reap(ctxOf(t), make([]Completion, 5), 5)
	require.NoError(t, err)
	require.Equal(t, 5, n)
}
