package faults

import (
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio/internal/leftover"
)

// This file starts, asks and ends the server of the file system.

// patience is how long a test waits for what must come: long enough for any
// machine, and short enough that the test which hangs is the one that fails.
const patience = 20 * time.Second

// server is the process that serves the file system, as a test sees it.
type server struct {
	t      testing.TB
	dir    string
	cmd    *exec.Cmd
	client *rpc.Client
	once   sync.Once // for kill
}

// startServer mounts a file system for one test, or skips the test where the
// system does not let us.
func startServer(t testing.TB) *server {
	t.Helper()
	requireDevice(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	// A signal to all of the tests, from a terminal or a runner, leaves the
	// server, so that it can unmount behind them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s := &server{t: t, dir: dir, cmd: cmd, client: rpc.NewClient(pipes{out, in})}
	t.Cleanup(s.stop)
	// Without its server no request stays in the kernel, so that even a test
	// which is held there ends.
	watchdog := time.AfterFunc(2*patience, func() {
		t.Errorf("the test takes too long: its server was killed")
		s.kill()
	})
	t.Cleanup(func() { watchdog.Stop() })

	var errno syscall.Errno
	s.call("Mount", false, &errno)
	switch errno {
	case 0:
	case syscall.EPERM, syscall.EACCES, syscall.ENODEV:
		t.Skipf("mount(2) of a FUSE file system: %v", errno)
	default:
		t.Fatalf("mount(2) of a FUSE file system: %v", errno)
	}
	return s
}

// requireDevice skips the test where FUSE cannot be used, as a failed open of
// its device proves.
func requireDevice(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no FUSE: ", err)
	}
	f.Close()
}

// pipes are the two ways to the server as one connection.
type pipes struct {
	io.ReadCloser
	w io.WriteCloser
}

func (p pipes) Write(b []byte) (int, error) { return p.w.Write(b) }

func (p pipes) Close() error {
	p.w.Close()
	return p.ReadCloser.Close()
}

// kill ends the server as kill -9 does: the kernel closes its connection, and
// with that ends every request with an error.
func (s *server) kill() {
	s.once.Do(func() {
		s.cmd.Process.Kill()
		s.client.Close()
		s.cmd.Wait()
	})
}

// abort unmounts, whoever still uses the file system, and ends its connections
// as writing to "abort" in /sys/fs/fuse/connections does (which may not be
// mounted): requests end with an error while the server lives.
func (s *server) abort() {
	s.t.Helper()
	for _, m := range []string{asyncMount, syncMount} {
		dir := filepath.Join(s.dir, m)
		err := syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		// There is none where the test was skipped, or has done this itself.
		if err != nil && leftover.Lines("/proc/self/mounts", dir+" ") > 0 {
			s.t.Errorf("unmount: %v", err)
		}
	}
}

// stop unmounts and ends the server, in this order: until the end there is
// somebody to unmount if the tests are killed.
func (s *server) stop() {
	s.abort()
	s.kill()
}

// call asks the server, for a bounded time.
func (s *server) call(method string, args, reply any) {
	s.t.Helper()
	select {
	case c := <-s.client.Go("FS."+method, args, reply, make(chan *rpc.Call, 1)).Done:
		require.NoError(s.t, c.Error, "FS.%s", method)
	case <-time.After(patience):
		s.t.Fatalf("FS.%s(%+v) has not come", method, args)
	}
}

// open opens gates.
func (s *server) open(gates ...string) {
	s.t.Helper()
	for _, g := range gates {
		s.call("Open", g, new(bool))
	}
}

// await waits until the file has had this many reads and writes.
func (s *server) await(name string, n int) {
	s.t.Helper()
	s.call("Await", Wanted{Name: name, Count: n}, new(bool))
}

// awaitKind waits until the file has had this many requests of a kind.
func (s *server) awaitKind(name, kind string, n int) {
	s.t.Helper()
	s.call("Await", Wanted{Name: name, Kind: kind, Count: n}, new(bool))
}

// requests is all that the file has been asked.
func (s *server) requests(name string) []Request {
	s.t.Helper()
	var rs []Request
	s.call("Requests", name, &rs)
	return rs
}

// moves is the reads and writes that the file has had.
func (s *server) moves(name string) []Request {
	s.t.Helper()
	return slices.DeleteFunc(s.requests(name), func(r Request) bool { return !r.moves() })
}

// count is the number of requests of this kind that the file has had.
func (s *server) count(name, kind string) int {
	s.t.Helper()
	return count(s.requests(name), kind)
}

// data is the content of the file.
func (s *server) data(name string) []byte {
	s.t.Helper()
	var data []byte
	s.call("Data", name, &data)
	return data
}

// path is where a mount shows a file.
func (s *server) path(mount, name string) string { return filepath.Join(s.dir, mount, name) }
