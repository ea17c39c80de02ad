package libaio

import "os"

// pageSize is that of the system, in bytes.
var pageSize = os.Getpagesize()

type integer interface{ ~int | ~int64 | ~uintptr }

// roundDown and roundUp make multiples of a unit; roundUp may wrap to 0.
func roundDown[T integer](n, unit T) T { return n - n%unit }
func roundUp[T integer](n, unit T) T   { return roundDown(n+unit-1, unit) }
