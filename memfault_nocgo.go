//go:build linux && aiodebug && (!cgo || nolibaio)

package libaio

// Without C nothing can stand before the signal handler of the Go runtime: a
// fault tells the address alone, and DescribeAddress what that is.

const faultsAreNamed = false

func faultName(int, uintptr, uintptr, string) int { return -1 }
func faultForget(int)                             {}
