// Package libaio does asynchronous direct I/O on Linux: kernel AIO, through
// the system library libaio, with a Go channel for the completions.
//
// It is for storage engines and whoever else keeps many direct reads and
// writes in flight at once, without a goroutine and an OS thread for each. The
// parts, from the top:
//
//   - [Queue] is a bounded queue around one kernel AIO context. [Queue.Submit]
//     gives it operations, [Queue.Completions] is the channel on which they
//     come back, and [Queue.Do] runs one operation and waits for it.
//     A queue with [Options].Polled has [Queue.Reap] instead of the channel, and
//     [Sharded] is several queues behind one front.
//   - [Op] is an operation: [Pread], [Pwrite], [Preadv], [Pwritev], [Fsync],
//     [Fdsync], [Poll], [Noop].
//   - [File] is a file opened for direct I/O: an [io.ReaderAt] and
//     [io.WriterAt] for any offset, length and memory, and what an Op works on.
//     [Reader] and [Writer] go through one from front to back.
//   - [Buffer] is aligned memory outside the Go heap, from [Alloc], a [Pool] or a
//     [ClassPool].
//   - [Context] and [IOCB] are libaio as it is, for code ported from C.
//
// # Lifetimes
//
// A Buffer is not memory of the Go heap: the garbage collector does not free it.
// Free it, or put it back into its Pool, exactly once. Who shares it takes a
// reference with Retain, and gives it back with Release.
//
// From the moment that Submit, TrySubmit or Do is called until the completion
// is received, the Buffer belongs to the kernel. Do not read it during a read,
// do not change it at all, do not free it or put it back. The completion gives it
// back, after a success and after a failure alike. While the kernel does hold
// the memory, Free and Put refuse it with [ErrInFlight]. Once the kernel is done they
// take it, though the completion may be unread, and would then name memory that is
// somebody else's: receive it first.
//
// A File may be closed at any time: what was submitted before still runs on
// it. The methods of Files that were not given a Queue share the [DefaultQueue],
// which is made on first use and stays until it is closed. A descriptor given
// with [BorrowFD] must stay open until its operations have completed.
//
// A Queue must be closed, or its AIO context, its eventfd, its goroutines and
// its C memory stay. Close waits for what is in flight; the channel still has
// the completions afterwards.
//
// # Rules
//
// Of an operation that is given to a Queue the address of the memory, the offset in
// the file and the length must be multiples of what the device demands: see
// [File.Alignment]. The methods of a File take any.
//
// A Queue of depth d has at most d operations in flight. Those of Submit that are in
// flight or wait unread on the channel are at most d plus [Options].Unread: a goroutine that
// submits more before it reads, and whose channel nobody else reads, waits for ever.
//
// All Queues of all processes of a machine may hold /proc/sys/fs/aio-max-nr operations,
// 65536 unless raised. NewQueue says when that is used up.
//
// Errors are an [*Error], for which [errors.Is] holds with the errno and with the
// sentinel beside it.
//
// # Hazards
//
// A slice from [Buffer.Bytes] is not guarded: using it after Free, or while
// the kernel writes to it, is what it would be in C. The race detector does
// not see the kernel, nor C memory; go test -asan sees the blocks of C. Build with
// -tags aiodebug to have a late touch fault at once, and to find what was never
// freed: see [Leaks].
//
// A child that C code forks, without an exec, shares the memory of direct I/O in
// flight until one of the two writes to it, and then what is read may end up in the
// wrong copy (open(2)). os/exec is safe.
//
// io_submit can block. Within it the kernel does what a direct write that extends
// a file needs before the device sees it. The Submit or Do that brought the
// operation there then blocks as well, whatever its context says. Operations that
// happened to go into the same call wait with it, later ones are sent past it:
// write to space that was allocated before. The kernel also does buffered I/O
// within io_submit: a Queue has up to 16 threads for that, which reads of pipes
// that nobody writes to can use up. Direct I/O does not wait for those.
//
// A completion says that the data is where the operation was asked to bring
// it, and no more: a write is durable after an Fsync or Fdsync that was
// submitted after its completion, or with a [Durability] of its own. After a sync that
// failed do not sync again and go on: the next one may succeed though data was lost.
//
// Fewer bytes than asked are no error of an operation, of a read or of a write
// (a disk that is full, RLIMIT_FSIZE): look at N, or add [Op.WithResume], which
// ends in the whole or in an error, but for the end of the file on a read.
// [File.WriteBuffer] and [File.WriteAt] have an error then.
//
// Cancelling a context.Context ends a wait, not the I/O: the kernel has no way
// to take back a disk operation.
//
// # Build tags
//
// With cgo the package needs a C compiler and libaio's headers. CGO_ENABLED=0 or
// -tags nolibaio does without libaio, over the system calls; -tags aiostatic links
// libaio.a; -tags aiodebug finds misuse of memory.
//
// # Other systems
//
// On systems other than Linux the package compiles. There NewQueue, OpenFile, Alloc,
// Pool.Get and the like return an error for which errors.Is holds with
// [errors.ErrUnsupported].
//
// # When not to use it
//
// Not for buffered files, which io_submit reads and writes synchronously; not
// for sockets, where Go's own poller is better; not where io_uring is allowed
// and every last operation per core counts. It is right where many direct
// operations have to be in flight and io_uring is not to be had, as under the
// default seccomp profiles of Docker and containerd.
package libaio
