// Package faults tests libaio against a file system that does what a test
// says: it answers short, with an error, late, or not at all any more. It is a
// real one to the kernel, served through FUSE by a process of its own, so that
// the operations take the whole way: io_submit, the kernel's AIO, a request,
// its answer, the completion. What is in flight is not hoped for here: the
// server holds it behind a gate.
//
// The file system is mounted twice, because the kernel treats two kinds of it
// differently:
//
//   - async, with FUSE_ASYNC_DIO: io_submit returns when the server has the
//     request, and the operation is in flight until the server answers. A read
//     that is answered short ends short. A write that is answered short ends
//     with EIO: the kernel knows no short asynchronous write here.
//   - sync, without: io_submit returns when the server has answered, so that
//     a gate holds whoever called it. Reads and writes end short.
//
// Either way the files are opened with FOPEN_DIRECT_IO: the page cache is not
// used, with or without O_DIRECT, and a short answer to a read is a short
// read and not the end of the file. A read past the end that the kernel knows
// is cut there before the server sees it.
//
// The kernel cuts what is longer than max_read or max_write (both are maxRequest
// here) into requests. In the async mount it sends all at once, and the result
// is what lies before the first gap; in the sync mount one after the other, and
// no more behind a short one.
package faults
