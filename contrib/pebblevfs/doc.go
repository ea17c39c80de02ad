// Package pebblevfs runs a Pebble database on direct I/O: a [vfs.FS] whose
// files are those of package libaio.
//
// Everything that Pebble keeps in files goes through the library: tables, blob
// files, write-ahead logs, manifests, options. Names, folders, links and locks
// are those of the operating system, as with [vfs.Default].
//
// The page cache is not used, so Pebble's own cache ([pebble.Options.Cache]) is
// the only one: give it the memory that the page cache had.
//
// What a handle has written is seen at once by all handles of the same [FS],
// as with any file system, and by others, such as other processes, after a
// Sync or Close. Like the page cache, the memory behind Write is lost with the
// machine; unlike it, also with the process. What was synced is on the device.
package pebblevfs
