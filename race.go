//go:build race

package libaio

import (
	"runtime"
	"unsafe"
)

// What happens before an io_submit happens before what is done with its
// completions. The kernel sees to that, between the two, and so the race
// detector has to be told. (A crossing into C tells it by itself, but completions
// are read without one.)

var raceKernel struct{ _ byte }

// raceSubmit goes before io_submit.
func raceSubmit() { runtime.RaceReleaseMerge(unsafe.Pointer(&raceKernel)) }

// raceReap goes after reading completions.
func raceReap() { runtime.RaceAcquire(unsafe.Pointer(&raceKernel)) }
