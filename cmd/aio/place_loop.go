package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// loopTries is how often a free loop device is asked for: another process may
// take it in between.
const loopTries = 10

// makeLoop makes a loop device over a file in tmpfs: one that memfd_create
// makes, which has no name and so is gone with its last user. The device is set
// to go with its last user too, so that nothing is left behind a SIGKILL.
func makeLoop(o *benchOptions) (*place, error) {
	if err := mayMakeDevice(o); err != nil {
		return nil, err
	}
	backing, err := unix.MemfdCreate("aio-compare", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	defer unix.Close(backing) // the device keeps it
	if err := unix.Ftruncate(backing, int64(o.Size)); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, skipped(fmt.Sprintf("no loop devices here: %v", err))
	}
	defer control.Close()
	for range loopTries {
		device, err := attachLoop(control, backing)
		if errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			return nil, skipped(fmt.Sprintf("no loop device can be made: %v", err))
		}
		return devicePlace(device.Name(), device.Close), nil
	}
	return nil, skipped("others take every free loop device")
}

// attachLoop returns the open device.
func attachLoop(control *os.File, backing int) (*os.File, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
	}
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		device.Close()
		return nil, os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	return device, nil
}
