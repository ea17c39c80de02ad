package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const zramControl = "/sys/class/zram-control"

// makeZram adds a zram device of its own. It loads the module where that is not
// in the kernel.
func makeZram(o *benchOptions) (*place, error) {
	if err := mayMakeDevice(o); err != nil {
		return nil, err
	}
	if _, err := os.Stat(zramControl); err != nil {
		said, err := exec.Command("modprobe", "zram").CombinedOutput()
		if err != nil {
			return nil, skipped(fmt.Sprintf("this kernel has no zram: modprobe zram: %v %s", err, firstLine(said)))
		}
	}
	number, err := os.ReadFile(zramControl + "/hot_add") // to read it makes a device
	if err != nil {
		return nil, skipped(fmt.Sprintf("no zram device can be added: %v", err))
	}
	n := strings.TrimSpace(string(number))
	path := "/dev/zram" + n
	remove := func() error { return removeZram(n) }
	err = os.WriteFile("/sys/block/zram"+n+"/disksize", []byte(strconv.FormatInt(int64(o.Size), 10)), 0)
	if err == nil {
		err = awaitNode(path)
	}
	if err != nil {
		return nil, alongside(skipped(fmt.Sprintf("the zram device cannot be used: %v", err)), remove())
	}
	return devicePlace(path, remove), nil
}

// removeZram waits for others, such as udev, who look at each new device for a
// moment.
func removeZram(n string) error {
	var err error
	for range 50 {
		if err = os.WriteFile("/sys/block/zram"+n+"/reset", []byte("1"), 0); err == nil {
			err = os.WriteFile(zramControl+"/hot_remove", []byte(n), 0)
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("remove /dev/zram%s by hand (echo %s > %s/hot_remove): %w", n, n, zramControl, err)
	}
	return nil
}

// awaitNode waits for the node in /dev, which udev may make.
func awaitNode(path string) error {
	var err error
	for range 50 {
		if _, err = os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
