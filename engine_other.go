//go:build !linux

package libaio

import (
	"errors"
	"syscall"
	"time"
	"unsafe"
)

// This file stands for the engines where there is none: whatever makes something
// fails with the error of supported, so that the rest is not called.

const engine = ""

func supported(op string) error {
	return &Error{Op: op, Err: errors.ErrUnsupported, Detail: "kernel AIO is there on Linux only"}
}

func makeEventfd() (int, error) { return -1, supported("eventfd") }

func kernelRelease() string { return "" }

func loadedLibaio() string { return "" }

func (c *Capabilities) probe(*Context, *File) error { return supported("probe") }

func sysSetup(int) (uintptr, syscall.Errno) { return 0, syscall.ENOSYS }

func sysDestroy(uintptr) syscall.Errno { return syscall.ENOSYS }

func sysSubmit(_, _, _, _ uintptr, _ []request, _, _ int) sent { return sent{errno: syscall.ENOSYS} }

func sysResubmit(_, _, _ uintptr, _, _, _ int) sent { return sent{errno: syscall.ENOSYS} }

func sysSubmitIOCBs(uintptr, []uint64, uintptr) (int, syscall.Errno) { return 0, syscall.ENOSYS }

func sysGetEvents(uintptr, int, []event, time.Duration) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func sysPGetEvents(uintptr, int, []event, time.Duration, uint64) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}

func sysCancel(_, _ uintptr, _ *event) syscall.Errno { return syscall.ENOSYS }

func sysPrepare(uintptr, *request) {}

func sysSetData(uintptr, uint64) {}

func sysSetEventfd(uintptr, int) {}

func sysSetRWFlags(uintptr, RWFlags) {}

func sysSetPriority(uintptr, Priority) {}

func sysAlloc(int, int) (unsafe.Pointer, syscall.Errno) { return nil, syscall.ENOSYS }

func sysFree(unsafe.Pointer) {}
