// Package bench holds the memory of the library against what it could be
// instead: C's own, the Go heap, sync.Pool. It is a module of its own as a test
// cannot use cgo by itself.
package bench
