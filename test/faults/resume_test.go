package faults

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/golibaio/libaio"
)

// This file is about transfers that come in pieces, and end well.

// transfer is an operation that the server answers in pieces.
type transfer struct {
	name   string
	mount  string
	write  bool
	plain  bool  // opened without O_DIRECT: no alignment is demanded
	vector []int // lengths of the Buffers; nil: one Buffer
	pieces []int
	do     bool // through Do, not the channel
}

func (tr *transfer) size() int { return sum(tr.pieces) }

func sum(lengths []int) int {
	n := 0
	for _, l := range lengths {
		n += l
	}
	return n
}

// start is where in the file a transfer begins: not at 0, so that a piece which
// begins at a wrong place finds something there.
const start = 3 * block

// equal is n pieces of one size.
func equal(n, size int) []int {
	pieces := make([]int, n)
	for i := range pieces {
		pieces[i] = size
	}
	return pieces
}

// growing is pieces of odd sizes, no two alike.
func growing(n int) []int {
	pieces := make([]int, n)
	for i := range pieces {
		pieces[i] = 37 + 14*i
	}
	return pieces
}

func TestResume(t *testing.T) {
	sizes := []struct {
		name   string
		plain  bool
		pieces []int
	}{
		{"3 blocks", false, equal(3, block)},
		{"4 uneven", false, []int{2 * block, 512, 5*block - 512, block}},
		{"32 small", false, equal(32, 512)},
		{"3 odd", true, []int{1, 4999, 3192}},
		{"4 odd", true, []int{4095, 2, 8191, 1}},
		{"40 odd", true, growing(40)},
	}
	for _, s := range sizes {
		for i, tr := range []transfer{
			{name: "pread", mount: asyncMount},
			{name: "pread", mount: syncMount},
			{name: "pwrite", mount: syncMount, write: true},
		} {
			tr.plain, tr.pieces, tr.do = s.plain, s.pieces, i%2 == 1
			t.Run(fmt.Sprintf("%s/%s/%s", s.name, tr.name, tr.mount), func(t *testing.T) { tr.run(t) })
		}
	}
}

func TestResumeVector(t *testing.T) {
	sizes := []struct {
		name           string
		plain          bool
		vector, pieces []int
	}{
		{"at the borders", false, []int{block, 2 * block, block}, []int{block, 2 * block, block}},
		{"within", false, []int{2 * block, 3 * block, 2 * block}, []int{block, 2 * block, 512, 2*block + 512, 2*block - 1024}},
		{"within one three times", false, []int{block, 4 * block, block}, equal(6, block)},
		{"several elements in one piece", false, []int{block, block, block, 2 * block, block}, []int{3*block + 512, 3*block - 512}},
		{"odd elements at the borders", true, []int{1, 999, 4097, 3}, []int{1, 999, 4097, 3}},
		{"odd elements within", true, []int{7, 100, 5000, 1, 300}, []int{6, 2, 99, 4999, 2, 150, 150}},
		{"odd elements byte by byte", true, []int{3, 1, 4, 1, 5}, equal(14, 1)},
	}
	for _, s := range sizes {
		for i, tr := range []transfer{
			{name: "preadv", mount: asyncMount},
			{name: "preadv", mount: syncMount},
			{name: "pwritev", mount: syncMount, write: true},
		} {
			tr.plain, tr.vector, tr.pieces, tr.do = s.plain, s.vector, s.pieces, i%2 == 0
			t.Run(fmt.Sprintf("%s/%s/%s", s.name, tr.name, tr.mount), func(t *testing.T) { tr.run(t) })
		}
	}
}

// run has the transfer done, and looks at every byte, those around it too.
func (tr *transfer) run(t *testing.T) {
	r := newRig(t, 1)
	size := tr.size()
	s := Spec{Name: "f", Data: pattern(start+size+start, 0, 0)}
	for _, p := range tr.pieces {
		s.Script = append(s.Script, short(p))
	}
	open := r.file
	if tr.plain {
		open = r.plain
	}
	f := open(tr.mount, s)

	// The version of the pattern tells old from new.
	bufs, guards := r.guarded(tr.lengths(), 1)
	require.Equal(t, size, sum(tr.lengths()), "the pieces are the whole")
	op := tr.op(f, bufs).WithResume().WithTag(5)
	n, err := tr.await(r, op)
	require.NoError(t, err)
	require.Equal(t, size, n)

	version := byte(0) // read
	if tr.write {
		version = 1
	}
	offset := int64(start)
	for _, b := range bufs {
		requirePattern(t, b.Bytes(), offset, version)
		offset += int64(b.Len())
	}
	requireGuards(t, guards)
	data := r.data("f")
	require.Len(t, data, start+size+start)
	requirePattern(t, data[:start], 0, 0)
	requirePattern(t, data[start:start+size], start, version)
	requirePattern(t, data[start+size:], int64(start+size), 0)

	tr.requireLog(t, r.moves("f"))
	require.Equal(t, len(tr.pieces)-1, int(r.q.Stats().Resumed))
}

// requireLog wants each piece to be asked for where the one before it ended,
// up to the end of the whole.
func (tr *transfer) requireLog(t *testing.T, log []Request) {
	t.Helper()
	kind := "read"
	if tr.write {
		kind = "write"
	}
	var want []Request
	offset, left := int64(start), tr.size()
	for _, p := range tr.pieces {
		want = append(want, Request{Kind: kind, Offset: offset, Length: left, Answered: true})
		offset, left = offset+int64(p), left-p
	}
	require.Equal(t, want, log)
}

func (tr *transfer) lengths() []int {
	if tr.vector != nil {
		return tr.vector
	}
	return []int{tr.size()}
}

func (tr *transfer) op(f *libaio.File, bufs []*libaio.Buffer) libaio.Op {
	switch {
	case tr.write && tr.vector != nil:
		return libaio.Pwritev(f, bufs, start)
	case tr.write:
		return libaio.Pwrite(f, bufs[0], start)
	case tr.vector != nil:
		return libaio.Preadv(f, bufs, start)
	}
	return libaio.Pread(f, bufs[0], start)
}

// await runs an operation through Do or the channel.
func (tr *transfer) await(r *rig, op libaio.Op) (int, error) {
	r.t.Helper()
	if tr.do {
		return r.do(op)
	}
	r.submit(op)
	c := r.receive()
	require.Equal(r.t, op.Tag(), c.Tag)
	require.Equal(r.t, op.Kind(), c.Kind)
	require.Equal(r.t, int64(start), c.Offset)
	return c.N, c.Err
}

// guard is what lies around the memory that an operation may write to.
const guard = 0xA5

// guarded makes Buffers with a block of guards before and behind each. They
// hold the pattern of a transfer in this version.
func (r *rig) guarded(lengths []int, version byte) (bufs []*libaio.Buffer, guards [][]byte) {
	r.t.Helper()
	offset := int64(start)
	for _, n := range lengths {
		whole := r.buffer(block+n+block, 0, 0)
		for i := range whole.Bytes() {
			whole.Bytes()[i] = guard
		}
		b, err := whole.Slice(block, n)
		require.NoError(r.t, err)
		copy(b.Bytes(), pattern(n, offset, version))
		offset += int64(n)
		bufs = append(bufs, b)
		guards = append(guards, whole.Bytes()[:block], whole.Bytes()[block+n:])
	}
	return bufs, guards
}

func requireGuards(t *testing.T, guards [][]byte) {
	t.Helper()
	for _, g := range guards {
		for i, v := range g {
			if v != guard {
				t.Fatalf("byte %d beside a Buffer was changed to %#x", i, v)
			}
		}
	}
}

// Without WithResume the short count is the result.
func TestShortWithoutResume(t *testing.T) {
	for i, tr := range []transfer{
		{name: "pread", mount: asyncMount},
		{name: "pread", mount: syncMount},
		{name: "preadv", mount: asyncMount, vector: []int{block, 2 * block}},
		{name: "pwrite", mount: syncMount, write: true},
		{name: "pwritev", mount: syncMount, write: true, vector: []int{block, 2 * block}},
	} {
		tr.do, tr.pieces = i%2 == 0, []int{3 * block}
		t.Run(tr.name+"/"+tr.mount, func(t *testing.T) {
			const moved = block + 77
			r := newRig(t, 1)
			f := r.file(tr.mount, Spec{Name: "f", Data: pattern(start+3*block, 0, 0), Script: []answer{short(moved)}})
			bufs, guards := r.guarded(tr.lengths(), 1)
			n, err := tr.await(r, tr.op(f, bufs))
			require.NoError(t, err)
			require.Equal(t, moved, n)
			require.Len(t, r.moves("f"), 1)
			requireGuards(t, guards)
			require.Zero(t, r.q.Stats().Resumed)
		})
	}
}

// The remainders of several vectors are sent in one batch, whose iovecs lie in
// one piece of memory: each must find its own.
func TestResumeVectorsInOneBatch(t *testing.T) {
	const n = 5
	r := newRig(t, senders+n)
	var all [n][]*libaio.Buffer
	var files [n]*libaio.File
	for i := range files {
		files[i] = r.file(asyncMount, Spec{
			Name: fmt.Sprint("f", i), Data: pattern(start+6*block, 0, byte(i)),
			Script: []answer{short((i + 1) * block).behind("first")},
		})
		all[i], _ = r.guarded([]int{block, 2 * block, 3 * block}, 99)
		r.submit(libaio.Preadv(files[i], all[i], start).WithResume().WithTag(uint64(i)))
	}
	for i := range files {
		r.await(fmt.Sprint("f", i), 1)
	}
	let := r.holdSenders()
	r.open("first")
	r.awaitStats("all remainders pending", func(s libaio.Stats) bool { return s.Resumed == n })
	batches := r.q.Stats().Batches
	let()
	for range n {
		c := r.receive()
		require.NoError(t, c.Err)
		require.Equal(t, 6*block, c.N)
	}
	for i, bufs := range all {
		offset := int64(start)
		for _, b := range bufs {
			requirePattern(t, b.Bytes(), offset, byte(i))
			offset += int64(b.Len())
		}
	}
	// Those that held the senders count when io_submit returns.
	r.awaitStats("one batch", func(s libaio.Stats) bool { return s.Batches == batches+senders+1 })
}
