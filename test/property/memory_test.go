package property

import (
	"math/bits"
	"testing"
	"unsafe"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Buffers and Pools against a model of what is alive.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &heap{before: libaio.Memory()}
		defer h.cleanup()
		t.Repeat(rapid.StateMachineActions(h))
	})
}

// heap is the model.
type heap struct {
	before libaio.MemoryStats
	live   []*block
	dead   []*block // given back; the Buffers of Pools may live again
	pools  []*arena
	serial byte
}

// block is a Buffer, and what the model knows of it.
type block struct {
	b     *libaio.Buffer
	size  int
	arena *arena // nil: from Alloc
	views []*libaio.Buffer
	mark  byte // that all its bytes have
}

// arena is a Pool.
type arena struct {
	p           *libaio.Pool
	size, align int
	idle        []*block
	closed      bool
}

// Check holds the memory against the model.
func (h *heap) Check(t *rapid.T) {
	var want libaio.MemoryStats
	count := func(bs []*block) {
		for _, b := range bs {
			want.Buffers++
			want.Bytes += int64(b.size)
		}
	}
	count(h.live)
	for _, a := range h.pools {
		count(a.idle)
	}
	now := libaio.Memory()
	now.Buffers -= h.before.Buffers
	now.Bytes -= h.before.Bytes
	require.Equal(t, want, now)
	for _, b := range h.live {
		p := b.b.Bytes()
		require.Len(t, p, b.size)
		require.Equal(t, b.size, b.b.Len())
		require.False(t, b.b.InFlight())
		for i := range p {
			if p[i] != b.mark {
				require.Failf(t, "overlap", "byte %d of %d is %#x, not %#x", i, b.size, p[i], b.mark)
			}
		}
	}
	for _, b := range h.dead {
		require.Nil(t, b.b.Bytes())
	}
}

// add marks a Buffer that was handed out, and checks where it lies.
func (h *heap) add(t *rapid.T, b *block, align int) {
	p := b.b.Bytes()
	require.Len(t, p, b.size)
	require.Zero(t, uintptr(unsafe.Pointer(&p[0]))%uintptr(max(1, align)), "alignment")
	for _, o := range h.live {
		q := o.b.Bytes()
		from, to := uintptr(unsafe.Pointer(&q[0])), uintptr(unsafe.Pointer(&q[0]))+uintptr(len(q))
		at := uintptr(unsafe.Pointer(&p[0]))
		require.False(t, at < to && from < at+uintptr(len(p)), "two live Buffers overlap")
	}
	h.serial++
	b.mark = h.serial
	for i := range p {
		p[i] = b.mark
	}
	h.live = append(h.live, b)
}

func size(t *rapid.T) int { return rapid.IntRange(-1, 3*blockSize).Draw(t, "size") }
func align(t *rapid.T) int {
	return rapid.SampledFrom([]int{-8, 0, 1, 4, 8, 24, 64, 512, 4096, 65536}).Draw(t, "align")
}

func allowed(size, align int) bool {
	return size >= 1 && align >= 0 && bits.OnesCount(uint(align)) <= 1
}

func (h *heap) Alloc(t *rapid.T) {
	n, a := size(t), align(t)
	b, err := libaio.Alloc(n, a)
	if !allowed(n, a) {
		require.ErrorIs(t, err, libaio.ErrInvalid)
		require.Nil(t, b)
		return
	}
	require.NoError(t, err)
	for _, c := range b.Bytes() {
		require.Zero(t, c, "not zeroed")
	}
	h.add(t, &block{b: b, size: n}, a)
}

func (h *heap) NewPool(t *rapid.T) {
	n, a := size(t), align(t)
	p, err := libaio.NewPool(n, a)
	if !allowed(n, a) {
		require.ErrorIs(t, err, libaio.ErrInvalid)
		return
	}
	require.NoError(t, err)
	h.pools = append(h.pools, &arena{p: p, size: n, align: a})
}

// arena is any of the Pools, or nil where there is none.
func (h *heap) arena(t *rapid.T) *arena {
	if len(h.pools) == 0 {
		return nil
	}
	return rapid.SampledFrom(h.pools).Draw(t, "pool")
}

func (h *heap) Get(t *rapid.T) {
	a := h.arena(t)
	if a == nil {
		return
	}
	b, err := a.p.Get()
	if a.closed {
		require.ErrorIs(t, err, libaio.ErrClosed)
		return
	}
	require.NoError(t, err)
	for i, old := range a.idle {
		if old.b == b {
			a.idle = remove(a.idle, i)
			for j, d := range h.dead {
				if d == old {
					h.dead = remove(h.dead, j)
					break
				}
			}
			h.add(t, old, a.align)
			return
		}
	}
	require.Empty(t, a.idle, "a new Buffer though there are idle ones")
	h.add(t, &block{b: b, size: a.size, arena: a}, a.align)
}

func (h *heap) ClosePool(t *rapid.T) {
	if a := h.arena(t); a != nil && rapid.IntRange(0, 4).Draw(t, "close") == 0 {
		require.NoError(t, a.p.Close())
		a.idle, a.closed = nil, true
	}
}

// some is any of the live Buffers and its index, or nil where there is none.
func (h *heap) some(t *rapid.T) (*block, int) {
	if len(h.live) == 0 {
		return nil, 0
	}
	i := rapid.IntRange(0, len(h.live)-1).Draw(t, "buffer")
	return h.live[i], i
}

func (h *heap) Slice(t *rapid.T) {
	b, _ := h.some(t)
	if b == nil {
		return
	}
	off, n := rapid.IntRange(-1, b.size+1).Draw(t, "off"), rapid.IntRange(-1, b.size+1).Draw(t, "n")
	from, base := b.b, 0
	if len(b.views) > 0 && rapid.Bool().Draw(t, "view of a view") {
		from = b.views[0]
		base = int(uintptr(unsafe.Pointer(&from.Bytes()[0])) - uintptr(unsafe.Pointer(&b.b.Bytes()[0])))
	}
	v, err := from.Slice(off, n)
	if off < 0 || n < 1 || off+n > from.Len() {
		require.ErrorIs(t, err, libaio.ErrInvalid)
		return
	}
	require.NoError(t, err)
	require.Len(t, v.Bytes(), n)
	require.True(t, &v.Bytes()[0] == &b.b.Bytes()[base+off], "a view of other memory")
	b.views = append(b.views, v)
}

// GiveBack gives a Buffer back, in the right way and in all wrong ones.
func (h *heap) GiveBack(t *rapid.T) {
	b, i := h.some(t)
	if b == nil {
		return
	}
	for _, v := range b.views {
		require.ErrorIs(t, v.Free(), libaio.ErrInvalid)
		require.ErrorIs(t, v.Release(), libaio.ErrInvalid)
	}
	for _, a := range h.pools {
		if a != b.arena {
			require.ErrorIs(t, a.p.Put(b.b), libaio.ErrInvalid)
		}
	}
	switch {
	case rapid.Bool().Draw(t, "release"):
		require.NoError(t, b.b.Release())
	case b.arena != nil:
		require.ErrorIs(t, b.b.Free(), libaio.ErrInvalid)
		require.NoError(t, b.arena.p.Put(b.b))
	default:
		require.NoError(t, b.b.Free())
	}
	h.live = remove(h.live, i)
	h.dead = append(h.dead, b)
	if b.arena != nil && !b.arena.closed {
		b.arena.idle = append(b.arena.idle, b)
	}
	for _, v := range b.views {
		require.Nil(t, v.Bytes())
		_, err := v.Slice(0, 1)
		require.ErrorIs(t, err, libaio.ErrFreed)
	}
	b.views = nil
}

// GiveBackAgain gives a Buffer back that was given back before.
func (h *heap) GiveBackAgain(t *rapid.T) {
	if len(h.dead) == 0 {
		return
	}
	b := rapid.SampledFrom(h.dead).Draw(t, "buffer")
	require.ErrorIs(t, b.b.Release(), libaio.ErrFreed)
	if b.arena != nil {
		require.ErrorIs(t, b.arena.p.Put(b.b), libaio.ErrFreed)
	} else {
		require.ErrorIs(t, b.b.Free(), libaio.ErrFreed)
	}
	_, err := b.b.Slice(0, 1)
	require.ErrorIs(t, err, libaio.ErrFreed)
}

func (h *heap) cleanup() {
	for _, b := range h.live {
		b.b.Release() //nolint:errcheck // after a failure anything may be
	}
	for _, a := range h.pools {
		a.p.Close()
	}
}

func remove[T any](s []T, i int) []T { return append(s[:i:i], s[i+1:]...) }
