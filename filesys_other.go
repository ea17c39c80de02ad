//go:build !linux

package libaio

// There are no Files where there is no engine: nothing calls these.

const oDirect = 0

func alignmentOf(int) (Alignment, bool) { return Alignment{}, false }

func inMemory(int) bool { return false }

func duplicate(uintptr) (int, error) { return -1, supported("dup") }

func statusFlags(int) (int, error) { return 0, supported("fcntl") }

func inodeOf(int) (inode, error) { return inode{}, supported("fstat") }

func sizeOf(int) (int64, error) { return 0, supported("fstat") }

func preadFD(int, []byte, int64) (int, error) { return 0, supported("pread") }

func pwriteFD(int, []byte, int64) (int, error) { return 0, supported("pwrite") }

func readFD(int, []byte, int64) (int, error) { return 0, supported("pread") }

func writeFD(int, []byte, int64) (int, error) { return 0, supported("pwrite") }

func truncateFD(int, int64) error { return supported("ftruncate") }

func syncFD(int, bool) error { return supported("fsync") }

func preallocateFD(int, int64, int64) error { return supported("fallocate") }

func setDirect(int, bool) {}

func openBuffered(int, int) (int, error) { return -1, supported("open") }
