package faults

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/rpc"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// This file is the process that serves the file system: the test binary, run
// again. It is one of its own so that a request that it holds stops no thread
// and no garbage collection of the tests, and so that it can be killed.

// serveEnv names the folder of the mounts to the server.
const serveEnv = "LIBAIO_FAULTS_SERVE"

// maxRequest is the longest read or write that the server gets: the kernel cuts
// the others.
const maxRequest = 128 << 10

// maxBackground is how many asynchronous requests the kernel has under way at
// once. One more would wait inside io_submit.
const maxBackground = 1024

// The mounts, by the names of their folders.
const (
	asyncMount = "async" // with FUSE_ASYNC_DIO
	syncMount  = "sync"  // without
)

// mountsOf is what /proc/mounts calls the mounts of a test process.
func mountsOf(pid int) string { return fmt.Sprintf("libaio-faults-%d", pid) }

// serve answers the tests on standard input and output until the input ends,
// which it also does when the tests are killed.
func serve(dir string) {
	log.SetOutput(io.Discard)
	// An answer that nobody reads must not end the server before it has unmounted.
	signal.Ignore(syscall.SIGPIPE)
	s := rpc.NewServer()
	c := &control{dir: dir, fs: newFilesystem()}
	if err := s.RegisterName("FS", c); err != nil {
		panic(err)
	}
	s.ServeConn(&stdio{c})
}

// stdio is the connection to the tests.
type stdio struct{ c *control }

func (s *stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }

func (s *stdio) Close() error { return nil }

// Read ends the process at the end of the input, and does not wait for calls
// that wait themselves.
func (s *stdio) Read(p []byte) (int, error) {
	n, err := os.Stdin.Read(p)
	if err == nil {
		return n, nil
	}
	s.c.mounting.Lock() // for good
	for _, m := range []string{asyncMount, syncMount} {
		// It may be mounted or not; there is nobody left to tell.
		_ = syscall.Unmount(filepath.Join(s.c.dir, m), syscall.MNT_DETACH)
	}
	os.Exit(0)
	return 0, err
}

// control is what the tests call.
type control struct {
	dir      string
	fs       *filesystem
	mounting sync.Mutex // no mount appears behind the last unmount
}

// Mount mounts the file system. It answers with the errno where the system
// does not let it.
func (c *control) Mount(_ bool, errno *syscall.Errno) error {
	c.mounting.Lock()
	defer c.mounting.Unlock()
	for _, m := range []string{asyncMount, syncMount} {
		err := c.mount(m)
		if errors.As(err, errno) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *control) mount(name string) error {
	dir := filepath.Join(c.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	opts := &fuse.MountOptions{
		DirectMountStrict: true, // mount(2), without a helper
		FsName:            mountsOf(os.Getppid()),
		Name:              name,
		MaxWrite:          maxRequest,
		MaxBackground:     maxBackground,
		DisableSplice:     true,
		Logger:            log.Default(),
	}
	if name == asyncMount {
		opts.ExtraCapabilities = fuse.CAP_ASYNC_DIO
	}
	s, err := fuse.NewServer(c.fs, dir, opts)
	if err != nil {
		return err
	}
	if name == asyncMount && s.KernelSettings().Flags64()&fuse.CAP_ASYNC_DIO == 0 {
		return errors.New("this kernel does not offer FUSE_ASYNC_DIO")
	}
	go s.Serve()
	return nil
}

// Add makes a file.
func (c *control) Add(s Spec, _ *bool) error {
	c.fs.add(s)
	return nil
}

// Open opens a gate for good.
func (c *control) Open(gate string, _ *bool) error {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	close(c.fs.gate(gate))
	return nil
}

// Await answers when a file has had that many requests.
func (c *control) Await(w Wanted, _ *bool) error {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	for count(c.fs.named(w.Name).requests, w.Kind) < w.Count {
		c.fs.cond.Wait()
	}
	return nil
}

// count is the number of requests of this kind, or of reads and writes for "".
func count(rs []Request, kind string) int {
	n := 0
	for _, r := range rs {
		if r.Kind == kind || kind == "" && r.moves() {
			n++
		}
	}
	return n
}

// moves says whether it is a read or a write.
func (r *Request) moves() bool { return r.Kind == "read" || r.Kind == "write" }

// Requests answers with all requests that a file has had.
func (c *control) Requests(name string, rs *[]Request) error {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	*rs = append(*rs, c.fs.named(name).requests...)
	return nil
}

// Data answers with the content of a file.
func (c *control) Data(name string, data *[]byte) error {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	*data = append(*data, c.fs.named(name).Data...)
	return nil
}
