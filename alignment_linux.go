package libaio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file asks the kernel what direct I/O demands. It is never learnt from an
// EINVAL: the kernel lets some requests pass that break the rule.

// alignmentOf asks everybody in turn; direct is false where the answer is that
// there is no direct I/O.
func alignmentOf(fd int) (a Alignment, direct bool) {
	if a, direct, ok := statxAlignment(fd); ok {
		return a, direct
	}
	if a, ok := blockDeviceAlignment(fd); ok {
		return a, true
	}
	if a, ok := xfsAlignment(fd); ok {
		return a, true
	}
	if isPipe(fd) {
		return Alignment{}, false
	}
	return guess(), true
}

// isPipe says whether the file is a pipe or a FIFO, of which O_DIRECT means something
// else: that each write is a packet (pipe(2)).
func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// inMemory says whether the file is one of tmpfs. It takes O_DIRECT, since Linux 6.6,
// and has no device: the page cache is the file.
func inMemory(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// statxAlignment is the file system's own word. Zeros mean that there is no
// direct I/O, though open(2) takes O_DIRECT.
func statxAlignment(fd int) (a Alignment, direct, ok bool) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return Alignment{}, false, false
	}
	if st.Dio_mem_align == 0 || st.Dio_offset_align == 0 {
		return Alignment{}, false, true
	}
	return Alignment{Memory: int(st.Dio_mem_align), Offset: int(st.Dio_offset_align), Source: AlignmentStatx}, true, true
}

// blockDeviceAlignment is the logical block size: what kernels before 6.0 demand
// of memory too.
func blockDeviceAlignment(fd int) (Alignment, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Alignment{}, false
	}
	// A C int, whatever the word size.
	n, err := unix.IoctlGetUint32(fd, unix.BLKSSZGET)
	if err != nil || int32(n) <= 0 {
		return Alignment{}, false
	}
	return Alignment{Memory: int(n), Offset: int(n), Source: AlignmentBlockDevice}, true
}

// xfsDioattr is struct dioattr of the kernel's fs/xfs/libxfs/xfs_fs.h.
type xfsDioattr struct{ mem, minIO, maxIO uint32 }

// xfsIocDioinfo is XFS_IOC_DIOINFO: _IOR('X', 30, struct dioattr), where reading is
// 2 in the upper two bits, but on some architectures in the upper three.
const xfsIocDioinfo = uintptr(unix.BLKGETSIZE64)&^0x1fffffff | 12<<16 | 'X'<<8 | 30

func xfsAlignment(fd int) (Alignment, bool) {
	// Another file system may give the number another meaning.
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.XFS_SUPER_MAGIC {
		return Alignment{}, false
	}
	var d xfsDioattr
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), xfsIocDioinfo, uintptr(unsafe.Pointer(&d)))
	if errno != 0 || d.mem == 0 || d.minIO == 0 {
		return Alignment{}, false
	}
	return Alignment{Memory: int(d.mem), Offset: int(d.minIO), Source: AlignmentXFS}, true
}
