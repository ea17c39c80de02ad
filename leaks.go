package libaio

// Leak is a Buffer that is in use, as Leaks lists it.
type Leak struct {
	Buffer uint64 // its number, as messages name it
	Size   int    // in bytes
	Label  string
	Stack  string // where Alloc or Get was called
	// Lost says that the collector has found that nobody can free it any more.
	Lost bool
}

// Leaks lists the Buffers that are in use, oldest first, each with the stack of
// its Alloc or of its last Get. It needs the debug mode, that is, a build with
// the tag aiodebug, and returns nil without. Safe for any number of goroutines.
//
// In the debug mode each Buffer has a mapping of its own between two pages that
// fault, and lies against the second. What is freed, or idle in a Pool, is
// filled with 0xDB and faults when it is touched; with cgo, a message on standard
// error then names the Buffer and where it was allocated and freed. What was
// written between the Buffer and its first page is reported when it is freed. The
// error of using a Buffer after Free tells where that was. A Buffer that the
// collector finds unfreed is reported once on standard error; it is not freed,
// and one in flight is not found, as the Queue holds it.
func Leaks() []Leak { return debugLeaks() }

// DescribeAddress says in debug mode which Buffer this address is in, beside,
// or was in before it was freed, and where that was allocated and freed; "" if
// that is not known. It is for the address of a fault: with
// [runtime/debug.SetPanicOnFault] the panic has it.
func DescribeAddress(addr uintptr) string { return debugDescribeAddress(addr) }
