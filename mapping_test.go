//go:build linux

package libaio

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Random sizes, alignments and options: each block is aligned, zeroed, and its
// own.
func TestAllocRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type live struct {
		b    *Buffer
		mark byte
	}
	var all []live
	before := Memory()
	check := func(l live) {
		p := l.b.Bytes()
		if len(p) != l.b.Len() || bytes.Count(p, []byte{l.mark}) != len(p) {
			t.Fatalf("the bytes of a block of %d were changed by another", l.b.Len())
		}
		require.NoError(t, l.b.Free())
	}
	for i := range 1000 {
		if len(all) > 50 {
			n := rng.IntN(len(all))
			check(all[n])
			all[n] = all[len(all)-1]
			all = all[:len(all)-1]
		}
		size := 1 + rng.IntN(1<<(1+rng.IntN(19)))
		align := int(ptrSize) << rng.IntN(19)
		o := AllocOptions{HugePages: HugePages(rng.IntN(2)), Uninitialized: rng.IntN(2) == 0}
		b, err := AllocWith(size, align, &o)
		require.NoError(t, err)
		require.Zero(t, b.address()%uintptr(align), "%d bytes aligned to %d", size, align)
		require.Equal(t, size, b.Cap())
		if !o.Uninitialized || size >= MapThreshold {
			require.Equal(t, size, bytes.Count(b.Bytes(), []byte{0}), "not zeroed")
		}
		l := live{b, byte(i%255 + 1)}
		copy(b.Bytes(), bytes.Repeat([]byte{l.mark}, size))
		all = append(all, l)
	}
	for i := range all {
		at, end := all[i].b.address(), all[i].b.address()+uintptr(all[i].b.Len())
		for _, o := range all[:i] {
			require.False(t, at < o.b.address()+uintptr(o.b.Len()) && o.b.address() < end, "two blocks overlap")
		}
	}
	for _, l := range all {
		check(l)
	}
	require.Equal(t, before, Memory())
}

// isMapped says whether the page at this address is there.
func isMapped(addr uintptr) bool {
	_, _, errno := unix.Syscall(unix.SYS_MSYNC, addr&^uintptr(pageSize-1), uintptr(pageSize), unix.MS_ASYNC)
	return errno != unix.ENOMEM
}

// A large block goes back to the system with Free, all of it.
func TestAllocLarge(t *testing.T) {
	if debugMemory {
		t.Skip("built with aiodebug, which keeps freed pages so that they fault")
	}
	for _, align := range []int{8, pageSize, 4 * pageSize, 1 << 21} {
		b, err := Alloc(MapThreshold+1, align)
		require.NoError(t, err)
		from, to := b.address(), b.address()+MapThreshold
		require.True(t, isMapped(from))
		require.True(t, isMapped(to))
		b.Bytes()[MapThreshold] = 1
		require.NoError(t, b.Free())
		require.False(t, isMapped(from))
		require.False(t, isMapped(to))
	}
}

// What is reserved for the sake of the alignment goes back as well.
func TestAllocAlignedMapping(t *testing.T) {
	if debugMemory {
		t.Skip("built with aiodebug, which keeps freed pages so that they fault")
	}
	size := func() int {
		var pages int
		statm, err := os.ReadFile("/proc/self/statm")
		require.NoError(t, err)
		_, err = fmt.Sscan(string(statm), &pages)
		require.NoError(t, err)
		return pages * pageSize
	}
	before := size()
	for range 100 {
		b, err := Alloc(MapThreshold, 64<<20)
		require.NoError(t, err)
		require.NoError(t, b.Free())
	}
	require.Less(t, size()-before, 100*(64<<20)/10, "address space of the alignment is kept")
}

// smaps returns a field of the mapping at this address.
func smaps(t *testing.T, addr uintptr, field string) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer f.Close()
	in := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			in = from <= addr && addr < to
		} else if rest, ok := strings.CutPrefix(lines.Text(), field+":"); ok && in {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no mapping at %#x", addr)
	return ""
}

func TestHugePagesTransparent(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil {
		t.Skip("the kernel has no transparent huge pages:", err)
	}
	size := 2 * hugePageSize()
	b, err := AllocWith(size, block, &AllocOptions{HugePages: HugePagesTransparent})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Free()) }()
	if !debugMemory { // which puts the block before the guard page instead
		require.Zero(t, b.address()%uintptr(hugePageSize()))
	}
	require.Contains(t, strings.Fields(smaps(t, b.address(), "VmFlags")), "hg")

	p, err := NewPoolWith(block, block, &PoolOptions{HugePages: HugePagesTransparent})
	require.NoError(t, err)
	defer p.Close()
	pooled, err := p.Get()
	require.NoError(t, err)
	require.Contains(t, strings.Fields(smaps(t, pooled.address(), "VmFlags")), "hg")
	require.NoError(t, p.Put(pooled))
}

// Reserved huge pages are there, or the error says what to do.
func TestHugePagesReserved(t *testing.T) {
	o := &AllocOptions{HugePages: HugePagesReserved}
	b, err := AllocWith(block, block, o)
	if err != nil {
		require.ErrorIs(t, err, syscall.ENOMEM)
		if hugePageSize() == 0 {
			require.ErrorContains(t, err, "this system has none")
		} else {
			require.ErrorContains(t, err, "vm.nr_hugepages")
		}
		return
	}
	require.Equal(t, fmt.Sprintf("%d kB", hugePageSize()>>10), smaps(t, b.address(), "KernelPageSize"))
	b.Bytes()[0] = 1
	require.NoError(t, b.Free())

	p, err := NewPoolWith(block, block, &PoolOptions{HugePages: HugePagesReserved})
	require.NoError(t, err)
	defer p.Close()
	var bs []*Buffer
	for range 3 {
		b, err := p.Get()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d kB", hugePageSize()>>10), smaps(t, b.address(), "KernelPageSize"))
		b.Bytes()[0] = 1
		bs = append(bs, b)
	}
	require.NoError(t, p.Put(bs[0]))
	require.EqualValues(t, block, p.Trim())
	require.NoError(t, p.Put(bs[1]))
	require.NoError(t, p.Put(bs[2]))
}

// locked is how much of this process is locked in RAM.
func locked(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "VmLck:")
	require.True(t, found)
	var kib int
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	require.NoError(t, err)
	return kib << 10
}

func TestLock(t *testing.T) {
	before := locked(t)
	b, err := AllocWith(block, block, &AllocOptions{Lock: true})
	require.NoError(t, err)
	require.Equal(t, before+pageSize, locked(t))
	require.NoError(t, b.Free())
	require.Equal(t, before, locked(t))

	p, err := NewPoolWith(4*pageSize, pageSize, &PoolOptions{Lock: true})
	require.NoError(t, err)
	var bs []*Buffer
	for i := range 3 {
		b, err := p.Get()
		require.NoError(t, err)
		bs = append(bs, b)
		require.Equal(t, before+(i+1)*4*pageSize, locked(t), "no more than is used")
	}
	require.NoError(t, p.Put(bs[1]))
	require.EqualValues(t, 4*pageSize, p.Trim())
	require.Equal(t, before+2*4*pageSize, locked(t))
	require.NoError(t, p.Put(bs[0]))
	require.NoError(t, p.Put(bs[2]))
	require.NoError(t, p.Close())
	require.Equal(t, before, locked(t))
}

// More than RLIMIT_MEMLOCK is refused, and leaves nothing behind.
func TestLockBeyondLimit(t *testing.T) {
	var own unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &own))
	limit := unix.Rlimit{Cur: min(own.Cur, 1<<20), Max: own.Max} // it may be all there is
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &own)) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread is not to be used again
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData // of this thread alone: CAP_IPC_LOCK has no limit
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			t.Errorf("capset: %v", err)
			return
		}
		before := Memory()
		size := int(limit.Cur) + pageSize
		b, err := AllocWith(size, block, &AllocOptions{Lock: true})
		if b != nil || err == nil || !strings.Contains(err.Error(), "RLIMIT_MEMLOCK") {
			t.Errorf("%v", err)
		}
		p, err := NewPoolWith(size, block, &PoolOptions{Lock: true, Limit: int64(4 * size)})
		if err != nil {
			t.Error(err)
			return
		}
		if b, err := p.Get(); b != nil || err == nil || !strings.Contains(err.Error(), "RLIMIT_MEMLOCK") {
			t.Errorf("%v", err)
		}
		if s := p.Stats(); s.Bytes != 0 || s.Buffers != 0 || Memory() != before {
			t.Errorf("%+v", s)
		}
		_ = p.Close()
	}()
	<-done
}
