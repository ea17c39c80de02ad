//go:build linux && aiodebug && cgo && !nolibaio

package libaio

/*
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANGES = 1 << 16 };

static struct {
	volatile uintptr_t from, to;
	const char *volatile text;
	char *before; // the text before that, which a handler may still be writing
} ranges[RANGES];

static struct sigaction next;

// on_fault names what was touched and leaves the rest to the Go runtime. It
// calls only what may be called in a signal handler.
static void on_fault(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;

	for (int i = 0; i < RANGES; i++) {
		const char *text = ranges[i].text;

		if (text && ranges[i].from <= addr && addr < ranges[i].to) {
			ssize_t written = write(2, text, strlen(text));

			(void)written;
			break;
		}
	}
	next.sa_sigaction(sig, info, context);
}

// watch_faults puts the handler before that of the Go runtime.
static int watch_faults(void)
{
	struct sigaction mine;

	if (sigaction(SIGSEGV, NULL, &next) || !(next.sa_flags & SA_SIGINFO))
		return -1;
	mine = next;
	mine.sa_sigaction = on_fault;
	return sigaction(SIGSEGV, &mine, NULL);
}

static void name_range(int i, uintptr_t from, uintptr_t to, char *text)
{
	free(ranges[i].before);
	ranges[i].before = (char *)ranges[i].text;
	ranges[i].from = from;
	ranges[i].to = to;
	ranges[i].text = text;
}
*/
import "C"

// This file has a fault in the memory of a Buffer say which one it was: the Go
// runtime tells but the address.

const faultsAreNamed = true

// Guarded by debugging.mu.
var faults struct {
	fresh C.int // ranges from this one on were never used
	free  []C.int
}

func init() { C.watch_faults() }

// faultName sets the text for faults in a range: a new one where i is -1. It
// returns its number, or -1 when there are too many. Held: debugging.mu.
func faultName(i int, from, to uintptr, text string) int {
	slot := C.int(i)
	if i < 0 {
		if n := len(faults.free); n > 0 {
			slot, faults.free = faults.free[n-1], faults.free[:n-1]
		} else if faults.fresh < C.RANGES {
			slot = faults.fresh
			faults.fresh++
		} else {
			return -1
		}
	}
	C.name_range(slot, C.uintptr_t(from), C.uintptr_t(to), C.CString(text))
	return int(slot)
}

// faultForget ends a range. Held: debugging.mu.
func faultForget(i int) {
	if i >= 0 {
		C.name_range(C.int(i), 0, 0, nil)
		faults.free = append(faults.free, C.int(i))
	}
}
