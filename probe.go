package libaio

import "strconv"

// SystemLimits are the limits on AIO of the whole machine: all processes and
// containers share them.
type SystemLimits struct {
	InUse int // /proc/sys/fs/aio-nr: operations that all contexts may hold
	Max   int // /proc/sys/fs/aio-max-nr: what InUse cannot exceed
}

// Limits reads the limits. The kernel counts a context as what io_setup was
// asked for, which is the depth of a Queue.
func Limits() (SystemLimits, error) {
	if err := supported("limits"); err != nil {
		return SystemLimits{}, err
	}
	inUse, err := strconv.Atoi(readProc("aio-nr"))
	if err != nil {
		return SystemLimits{}, &Error{Op: "limits", File: "/proc/sys/fs/aio-nr", Err: ErrInvalid, Detail: err.Error()}
	}
	most, err := strconv.Atoi(readProc("aio-max-nr"))
	if err != nil {
		return SystemLimits{}, &Error{Op: "limits", File: "/proc/sys/fs/aio-max-nr", Err: ErrInvalid, Detail: err.Error()}
	}
	return SystemLimits{InUse: inUse, Max: most}, nil
}

// Capabilities are what this kernel, seccomp profile and libaio offer. A nil
// error means that it works; the others are what the attempt gave.
type Capabilities struct {
	Kernel string // release, as of uname(2)
	Engine string // what the package is built on: "libaio" or "system calls"
	Libaio string // file name of the loaded library; "" where there is none, or it is linked statically

	AIO        error // io_setup, io_submit, io_getevents
	PGetEvents error // io_pgetevents: Linux 4.18; denied by some seccomp profiles
	Cancel     error // io_cancel: not in gVisor
	Fsync      error // Fsync and Fdsync: Linux 4.18
	Poll       error // Poll: Linux 4.19

	// Flags are those that the kernel accepts for a read or write of the file
	// that Probe was given; without a file, of one in memory.
	Flags RWFlags
}

// Probe tries what the system offers: it makes a context and runs operations
// that change nothing. f is the file or block device whose flags are of interest,
// open for writing where those of writes are; without one (nil, or closed) they
// are those of a file in memory, and of anything else there are none.
func Probe(f *File) Capabilities {
	c := Capabilities{Kernel: kernelRelease(), Engine: engine, Libaio: loadedLibaio()}
	ctx, err := Setup(8)
	if err == nil {
		defer ctx.Destroy()
		err = c.probe(ctx, f)
	}
	if err != nil {
		c.AIO, c.PGetEvents, c.Cancel, c.Fsync, c.Poll = err, err, err, err, err
	}
	return c
}
