//go:build !linux || !aiodebug

package libaio

// Without the build tag aiodebug nothing of the debug mode is compiled in: the
// calls stand behind a constant that is false.
const (
	debugMemory = false
	guardSize   = 0
)

//lint:ignore U1000 the debug mode uses it
type memoryRecord struct{}

func debugAlloc(*Buffer)                  {}
func debugFree(*Buffer)                   {}
func debugIdle(*Buffer)                   {}
func debugTake(*Buffer)                   {}
func debugKeep(*mapping) bool             { return false }
func debugDescribe(*Buffer) string        { return "" }
func debugDescribeAddress(uintptr) string { return "" }
func debugLeaks() []Leak                  { return nil }
