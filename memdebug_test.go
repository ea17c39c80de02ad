//go:build linux && aiodebug

package libaio

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// reports collects what the debug mode reports during the test.
func reports(t *testing.T) func() string {
	t.Helper()
	var mu sync.Mutex
	var text strings.Builder
	old := report
	report = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		text.WriteString(s)
	}
	t.Cleanup(func() { report = old })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
}

// fault is the address at which touch faults, 0 if it does not.
func fault(touch func()) (addr uintptr) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if e, ok := recover().(interface{ Addr() uintptr }); ok {
			addr = e.Addr()
		}
	}()
	touch()
	return 0
}

var touched byte

// The misuses, each of which ends the process with a message.
var misuses = map[string]struct {
	do   func()
	says []string
}{
	"read after free": {func() {
		b, _ := AllocWith(100, 8, &AllocOptions{Label: "pages"})
		p := b.Bytes()
		_ = b.Free()
		touched = p[99]
	}, []string{"a touch after the end of the life of Buffer #", "100 bytes", "(pages), freed", "allocated by:", "freed by:", "memdebug_test.go"}},
	"write after free": {func() {
		b, _ := Alloc(MapThreshold, block)
		p := b.Bytes()
		_ = b.Release()
		p[0] = 1
	}, []string{"after the end of the life", "131072 bytes", "freed by:", "Release"}},
	"write after put": {func() {
		p, _ := NewPool(block, block)
		b, _ := p.Get()
		mem := b.Bytes()
		_ = p.Put(b)
		mem[0] = 1
	}, []string{"after the end of the life", "put back into its Pool", "Get", "Put"}},
	"write behind the end": {func() {
		b, _ := Alloc(block, block)
		*(*byte)(outside(b, block)) = 1
	}, []string{"a touch outside the bytes of Buffer #", "4096 bytes", "in use", "allocated by:"}},
	"write before the beginning": {func() {
		b, _ := Alloc(block, block)
		*(*byte)(outside(b, -1)) = 1
	}, []string{"a touch outside the bytes of Buffer #", "in use"}},
}

// TestMisuse runs each misuse in a process of its own.
func TestMisuse(t *testing.T) {
	if name := os.Getenv("LIBAIO_TEST_MISUSE"); name != "" {
		misuses[name].do()
		fmt.Println("survived")
		os.Exit(0)
	}
	for name, m := range misuses {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMisuse$")
			cmd.Env = append(os.Environ(), "LIBAIO_TEST_MISUSE="+name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s", out)
			require.NotContains(t, string(out), "survived")
			require.Contains(t, string(out), "unexpected fault address", "the Go runtime has its say")
			if !faultsAreNamed {
				return
			}
			for _, says := range m.says {
				require.Contains(t, string(out), says)
			}
		})
	}
}

func TestFaultAfterFree(t *testing.T) {
	for _, size := range []int{1, 100, block, MapThreshold} {
		b, err := Alloc(size, 8)
		require.NoError(t, err)
		p := b.Bytes()
		require.Zero(t, fault(func() { p[size-1] = 1 }))
		require.NoError(t, b.Free())
		at := fault(func() { p[size-1] = 1 })
		require.Equal(t, b.address()+uintptr(size-1), at)
		require.Contains(t, DescribeAddress(at), fmt.Sprintf("of %d bytes", size))
		require.Contains(t, DescribeAddress(at), "TestFaultAfterFree")
		require.ErrorContains(t, b.Free(), "freed by:")
	}
	require.Empty(t, DescribeAddress(1))
}

// A Buffer of a Pool faults while it is idle, and has poison when it comes again.
func TestFaultWhileIdle(t *testing.T) {
	p := newPoolWith(t, block, nil)
	b := get(t, p, 1)[0]
	mem := b.Bytes()
	mem[0] = 1
	require.NoError(t, p.Put(b))
	require.NotZero(t, fault(func() { touched = mem[0] }))
	again := get(t, p, 1)[0]
	require.Same(t, b, again)
	require.Equal(t, bytes.Repeat([]byte{poison}, block), again.Bytes())
	require.NoError(t, p.Put(again))
	p.Trim()
	require.NotZero(t, fault(func() { touched = mem[0] }))
	require.ErrorContains(t, p.Put(b), "freed by:")
}

// What is written where no page faults is noticed in the end.
func TestOverrunWithinPage(t *testing.T) {
	said := reports(t)
	b, err := Alloc(100, block)
	require.NoError(t, err)
	*(*byte)(outside(b, 100)) = 1
	require.Empty(t, said())
	require.NoError(t, b.Free())
	require.Contains(t, said(), "wrote behind the bytes of Buffer #")
	require.Contains(t, said(), "TestOverrunWithinPage")
}

func leaksOf(label string) (ours []Leak) {
	for _, l := range Leaks() {
		if l.Label == label {
			ours = append(ours, l)
		}
	}
	return ours
}

func TestLeaks(t *testing.T) {
	const label = "TestLeaks"
	b, err := AllocWith(100, 8, &AllocOptions{Label: label})
	require.NoError(t, err)
	p := newPoolWith(t, block, &PoolOptions{Label: label})
	bs := get(t, p, 2)
	require.NoError(t, p.Put(bs[0]))
	ls := leaksOf(label)
	require.Len(t, ls, 2, "what is idle is no leak")
	require.Equal(t, 100, ls[0].Size)
	require.Equal(t, block, ls[1].Size)
	for _, l := range ls {
		require.Contains(t, l.Stack, "TestLeaks")
		require.False(t, l.Lost)
	}
	require.NoError(t, p.Put(bs[1]))
	require.NoError(t, b.Free())
	require.Empty(t, leaksOf(label))
}

// lose makes Buffers that nobody frees.
//
//go:noinline
func lose(t *testing.T, p *Pool, label string) {
	_, err := AllocWith(100, 8, &AllocOptions{Label: label})
	require.NoError(t, err)
	b := get(t, p, 1)[0]
	v, err := b.Slice(0, 1)
	require.NoError(t, err)
	require.NotNil(t, v)
}

// The collector finds what nobody can free any more, and reports it once; it
// does not free it.
func TestLostBuffers(t *testing.T) {
	const label = "TestLostBuffers"
	said := reports(t)
	before := Memory()
	p, err := NewPoolWith(block, block, &PoolOptions{Label: label})
	require.NoError(t, err)
	lose(t, p, label)
	require.Eventually(t, func() bool {
		runtime.GC()
		return strings.Count(said(), "unfreed") == 2
	}, time.Minute, time.Millisecond)
	require.Equal(t, 2, strings.Count(said(), "libaio.lose"), "the stack")
	ls := leaksOf(label)
	require.Len(t, ls, 2)
	require.True(t, ls[0].Lost && ls[1].Lost)
	for range 3 {
		runtime.GC()
	}
	require.Equal(t, 2, strings.Count(said(), "unfreed"), "once each")
	require.Equal(t, MemoryStats{before.Buffers + 2, before.Bytes + 100 + block}, Memory())

	// The memory is lost for good: take it out of the inventory of the test run.
	uncount(nil, 100)
	uncount(nil, block)
	require.NoError(t, p.Close())
}

// A Buffer in flight is not lost, though only the kernel and the queue have it.
func TestInFlightIsNotLost(t *testing.T) {
	said := reports(t)
	q, f := newQueue(t, 64), newFile(t, 64*block)
	for i := range 64 {
		b, err := Alloc(block, block)
		require.NoError(t, err)
		_, err = q.Submit(t.Context(), Pread(f, b, int64(i)*block))
		require.NoError(t, err)
	}
	runtime.GC()
	for _, c := range receive(t, q, 64) {
		require.NoError(t, c.Err)
		requirePattern(t, c.Buffer.Bytes(), c.Offset, 0)
		runtime.GC()
		require.NoError(t, c.Buffer.Free())
	}
	require.Empty(t, said())
}

// The quarantine has bounds: address space and names come back.
func TestQuarantine(t *testing.T) {
	for range 3 * quarantineBlocks {
		b, err := Alloc(1, 8)
		require.NoError(t, err)
		require.NoError(t, b.Free())
	}
	for range 4 {
		b, err := Alloc(quarantineBytes/2, block)
		require.NoError(t, err)
		require.NoError(t, b.Free())
	}
	debugging.mu.Lock()
	defer debugging.mu.Unlock()
	require.LessOrEqual(t, len(debugging.quarantine), quarantineBlocks)
	require.LessOrEqual(t, debugging.kept, quarantineBytes)
	require.Less(t, len(debugging.records), 2*quarantineBlocks)
}

// outside is a place relative to the Buffer, also outside of it.
func outside(b *Buffer, off int) unsafe.Pointer { return unsafe.Add(b.mem, off) }
