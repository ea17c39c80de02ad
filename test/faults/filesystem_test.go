package faults

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// This file is the file system, as the process that serves it sees it.

// filesystem is one folder of files. All mounts show the same.
type filesystem struct {
	fuse.RawFileSystem
	mu    sync.Mutex // guards what follows, and the files
	cond  sync.Cond  // something was requested
	files []*file    // node 2 is the first: 1 is the folder
	gates map[string]chan struct{}
}

type file struct {
	Spec
	requests []Request
}

const firstNode = fuse.FUSE_ROOT_ID + 1

func newFilesystem() *filesystem {
	fs := &filesystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), gates: make(map[string]chan struct{})}
	fs.cond.L = &fs.mu
	return fs
}

func (fs *filesystem) String() string { return "libaio-faults" }

// add makes a file.
func (fs *filesystem) add(s Spec) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.files = append(fs.files, &file{Spec: s})
}

// named is the file of this name, or nil. Held: mu.
func (fs *filesystem) named(name string) *file {
	for _, f := range fs.files {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// node is the file of this number. Held: mu.
func (fs *filesystem) node(id uint64) *file {
	if i := int(id) - firstNode; i >= 0 && i < len(fs.files) {
		return fs.files[i]
	}
	return nil
}

// gate is the gate of this name. Held: mu.
func (fs *filesystem) gate(name string) chan struct{} {
	g := fs.gates[name]
	if g == nil {
		g = make(chan struct{})
		fs.gates[name] = g
	}
	return g
}

// note writes a request down and returns its number.
func (fs *filesystem) note(f *file, kind string, offset uint64, length int) int {
	f.requests = append(f.requests, Request{Kind: kind, Offset: int64(offset), Length: length})
	fs.cond.Broadcast()
	return len(f.requests) - 1
}

// obey does what an answer says before anything moves, and returns how much is
// to move. Held: mu, but not behind the gate. That the kernel would like to
// have the request interrupted does not open the gate.
func (fs *filesystem) obey(a answer, length int) (int, fuse.Status) {
	if a.Gate != "" {
		g := fs.gate(a.Gate)
		fs.mu.Unlock()
		<-g
		fs.mu.Lock()
	}
	if a.Errno != 0 {
		return 0, fuse.Status(a.Errno)
	}
	if a.Short {
		length = min(length, a.Bytes)
	}
	return length, fuse.OK
}

// next is the answer to a read or write.
func (f *file) next(offset uint64) answer {
	if a, ok := f.At[int64(offset)]; ok {
		return a
	}
	if len(f.Script) > 0 {
		a := f.Script[0]
		f.Script = f.Script[1:]
		return a
	}
	return f.Else
}

func (fs *filesystem) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.node(in.NodeId)
	i := fs.note(f, "read", in.Offset, int(in.Size))
	n, status := fs.obey(f.next(in.Offset), int(in.Size))
	f.requests[i].Answered = true
	if !status.Ok() {
		return nil, status
	}
	from := min(int(in.Offset), len(f.Data))
	to := min(from+n, len(f.Data))
	return fuse.ReadResultData(append([]byte(nil), f.Data[from:to]...)), fuse.OK
}

func (fs *filesystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.node(in.NodeId)
	i := fs.note(f, "write", in.Offset, len(data))
	n, status := fs.obey(f.next(in.Offset), len(data))
	f.requests[i].Answered = true
	if !status.Ok() {
		return 0, status
	}
	if more := int(in.Offset) + n - len(f.Data); more > 0 {
		f.Data = append(f.Data, make([]byte, more)...)
	}
	copy(f.Data[in.Offset:], data[:n])
	return uint32(n), fuse.OK
}

// Writev hands everything to Write.
func (fs *filesystem) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

func (fs *filesystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	kind := "fsync"
	if in.FsyncFlags&1 != 0 { // FUSE_FSYNC_FDATASYNC
		kind = "fdatasync"
	}
	return fs.other(in.NodeId, kind, func(f *file) answer { return f.Spec.Fsync })
}

func (fs *filesystem) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return fs.other(in.NodeId, "flush", func(f *file) answer { return f.Spec.Flush })
}

func (fs *filesystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	fs.other(in.NodeId, "release", func(*file) answer { return answer{} })
}

// other is a request that moves nothing.
func (fs *filesystem) other(node uint64, kind string, of func(*file) answer) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.node(node)
	i := fs.note(f, kind, 0, 0)
	_, status := fs.obey(of(f), 0)
	f.requests[i].Answered = true
	return status
}

func (fs *filesystem) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.files {
		if f.Name == name {
			out.NodeId = uint64(i + firstNode)
			out.SetEntryTimeout(time.Hour)
			fs.attributes(out.NodeId, &out.Attr)
			return fuse.OK
		}
	}
	return fuse.ENOENT
}

func (fs *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// SetAttr lets everything be as it is: the kernel sends the new size behind a
// write that failed.
func (fs *filesystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.attributes(in.NodeId, &out.Attr)
	return fuse.OK
}

// attributes fills in what stat(2) says. Held: mu.
func (fs *filesystem) attributes(node uint64, a *fuse.Attr) {
	a.Ino = node
	a.Nlink = 1
	a.Blksize = block
	a.Mode = syscall.S_IFDIR | 0o700
	if f := fs.node(node); f != nil {
		a.Mode = syscall.S_IFREG | 0o600
		a.Size = uint64(len(f.Data))
	}
}

// Open has the kernel leave the page cache out of it, and write to several
// places of a file at a time.
func (fs *filesystem) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	return fuse.OK
}
