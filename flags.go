package libaio

import (
	"fmt"
	"strings"
)

// RWFlags are the per-operation flags of preadv2(2), passed in aio_rw_flags.
// A flag that the running kernel does not know, or that the file does not
// support, fails the operation with EOPNOTSUPP.
type RWFlags int32

// The flags, from the kernel's include/uapi/linux/fs.h.
const (
	RWFHiPri     RWFlags = 0x01 // RWF_HIPRI: poll for the completion, where the device can
	RWFDsync     RWFlags = 0x02 // RWF_DSYNC: this write as with O_DSYNC
	RWFSync      RWFlags = 0x04 // RWF_SYNC: this write as with O_SYNC
	RWFNoWait    RWFlags = 0x08 // RWF_NOWAIT: EAGAIN rather than block
	RWFAppend    RWFlags = 0x10 // RWF_APPEND: write at the end of the file, whatever the offset
	RWFNoAppend  RWFlags = 0x20 // RWF_NOAPPEND: write at the offset in spite of O_APPEND (Linux 6.9)
	RWFAtomic    RWFlags = 0x40 // RWF_ATOMIC: all or nothing across a power cut, where the device can (Linux 6.11)
	RWFDontCache RWFlags = 0x80 // RWF_DONTCACHE: buffered, and dropped from the cache afterwards (Linux 6.14)
)

var flagNames = [...]string{"HIPRI", "DSYNC", "SYNC", "NOWAIT", "APPEND", "NOAPPEND", "ATOMIC", "DONTCACHE"}

// String is the names of the flags as in C, such as "RWF_DSYNC|RWF_NOWAIT"; "0x0"
// for none.
func (f RWFlags) String() string {
	var names []string
	for i, name := range flagNames {
		if flag := RWFlags(1 << i); f&flag != 0 {
			names = append(names, "RWF_"+name)
			f &^= flag
		}
	}
	if f != 0 || names == nil {
		names = append(names, fmt.Sprintf("%#x", uint32(f)))
	}
	return strings.Join(names, "|")
}

// PollEvents is a set of events as in poll(2): POLLIN and so on of
// golang.org/x/sys/unix.
type PollEvents uint32

// What poll(2) tells also when it is not asked, from <poll.h>.
const (
	pollErr PollEvents = 0x08
	pollHup PollEvents = 0x10
)

// Priority is an I/O priority as in ioprio_set(2): the class in the upper
// three bits, the level, 0 (first) to 7, in the lower thirteen. 0 is no
// priority of its own: the thread's holds.
type Priority int16

// The priorities without a level, and the first level of those with one: add
// 1 to 7 for the later levels. PriorityRealTime needs CAP_SYS_ADMIN or
// CAP_SYS_NICE; EPERM without.
const (
	PriorityRealTime   Priority = 1 << 13 // IOPRIO_CLASS_RT
	PriorityBestEffort Priority = 2 << 13 // IOPRIO_CLASS_BE
	PriorityIdle       Priority = 3 << 13 // IOPRIO_CLASS_IDLE
)

// hasClass says whether it is none, or one of the classes that there are.
func (p Priority) hasClass() bool { return p == 0 || p >= PriorityRealTime }
