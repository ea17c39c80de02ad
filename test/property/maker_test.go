package property

import (
	"bytes"
	"syscall"

	"github.com/golibaio/libaio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// maker makes random jobs.
type maker struct {
	pick   func(n int) int // 0 to n-1
	d      *disk
	lo, hi int // the blocks to work on
	pool   *libaio.Pool
	bad    *libaio.File // a descriptor that is not open
	polls  *pipe
	ready  bool // polls is readable
	// Each write to packets is one read; one job at a time.
	packets     *pipe
	packetsBusy bool
	tag         uint64
}

const (
	mostBlocks = 4                            // of one job
	poolSize   = (mostBlocks + 2) * blockSize // of the Buffers of the pool
)

func newMaker(t require.TestingT, d *disk, pick func(int) int, lo, hi int) *maker {
	k := &maker{pick: pick, d: d, lo: lo, hi: hi, bad: libaio.BorrowFD(1<<20, "bad")}
	k.polls = newPipe(t, unix.O_NONBLOCK, "polls")
	k.packets = newPipe(t, unix.O_NONBLOCK|unix.O_DIRECT, "packets")
	var err error
	k.pool, err = libaio.NewPool(poolSize, blockSize)
	require.NoError(t, err)
	return k
}

func (k *maker) close() {
	k.pool.Close()
	k.polls.close()
	k.packets.close()
}

// jobs makes up to most jobs for one batch; they may be none.
func (k *maker) jobs(t require.TestingT, most int) []*job {
	var js []*job
	for range k.pick(most + 1) {
		j := k.job(t)
		if j == nil {
			continue
		}
		js = append(js, j)
		if j.isWrite() && j.err == 0 && !j.refused && k.pick(3) == 0 {
			if twin := k.twin(j); twin != nil {
				js = append(js, twin)
			}
		}
	}
	return js
}

// job makes a job, or none if what it needs is in use.
func (k *maker) job(t require.TestingT) *job {
	switch n := k.pick(40); {
	case n < 12:
		return k.transfer(t, libaio.KindPread)
	case n < 24:
		return k.transfer(t, libaio.KindPwrite)
	case n < 26:
		return k.name(&job{kind: libaio.KindFsync, file: k.d.file, op: libaio.Fsync(k.d.file)})
	case n < 28:
		return k.name(&job{kind: libaio.KindFdsync, file: k.d.file, op: libaio.Fdsync(k.d.file)})
	case n < 30:
		return k.name(&job{kind: libaio.KindNoop, op: libaio.Noop()})
	case n < 33:
		return k.poll()
	case n < 36:
		return k.packet(t)
	case n < 39:
		return k.refusedByKernel(t)
	default:
		return k.refusedByLibrary(t)
	}
}

func (k *maker) name(j *job) *job {
	k.tag++
	j.tag = k.tag
	j.op = j.op.WithTag(j.tag)
	return j
}

func (k *maker) poll() *job {
	f := k.polls.file
	return k.name(&job{kind: libaio.KindPoll, file: f, op: libaio.Poll(f, unix.POLLIN), ready: k.ready})
}

// transfer makes a read or a write of blocks of the disk; a read may begin or
// end behind the end of the file.
func (k *maker) transfer(t require.TestingT, kind libaio.Kind) *job {
	j := &job{kind: kind, file: k.d.file, count: 1 + k.pick(mostBlocks)}
	j.from = k.lo + k.pick(k.hi-k.lo)
	write := kind == libaio.KindPwrite
	switch {
	case !write && k.hi == blocks && k.pick(5) == 0:
		j.from = blocks - k.pick(mostBlocks)
	case j.from+j.count > k.hi:
		j.count = k.hi - j.from
	}
	if !k.d.take(j.from, j.count, write) {
		return nil
	}
	j.offset = int64(j.from) * blockSize
	j.n = max(0, min(j.count, blocks-j.from)) * blockSize
	k.allocate(t, j, j.count*blockSize)
	if write {
		data := make([]byte, j.count*blockSize)
		for i := range j.count {
			seed := k.d.last.Add(1)
			j.seeds = append(j.seeds, seed)
			fillBlock(data[i*blockSize:][:blockSize], seed)
		}
		j.scatter(data)
		copy(j.mem.root.Bytes(), j.mem.image)
	}
	k.operation(j)
	return k.name(j)
}

// operation makes the operation of a job that moves data.
func (k *maker) operation(j *job) {
	write := j.kind == libaio.KindPwrite
	switch {
	case j.buf != nil && write:
		j.op = libaio.Pwrite(j.file, j.buf, j.offset)
	case j.buf != nil:
		j.op = libaio.Pread(j.file, j.buf, j.offset)
	case write:
		j.kind, j.op = libaio.KindPwritev, libaio.Pwritev(j.file, j.bufs, j.offset)
	default:
		j.kind, j.op = libaio.KindPreadv, libaio.Preadv(j.file, j.bufs, j.offset)
	}
	if write && k.pick(8) == 0 {
		j.op = j.op.WithDurability(libaio.Durability(k.pick(3)))
	}
	if k.pick(8) == 0 {
		j.op = j.op.WithPriority(libaio.PriorityBestEffort + libaio.Priority(k.pick(8)))
	}
	if k.pick(3) == 0 {
		j.op, j.resumes = j.op.WithResume(), true
	}
}

// allocate gives a job memory of n bytes: a Buffer, a view of one, or several
// views in any order.
func (k *maker) allocate(t require.TestingT, j *job, n int) {
	m := &memory{users: 1}
	var err error
	size, shift := n, 0
	switch k.pick(3) {
	case 0:
		m.root, err = libaio.Alloc(n, blockSize)
	case 1:
		size, shift = n+2*blockSize, k.pick(2*blockSize/k.d.unit+1)*k.d.unit
		m.root, err = libaio.Alloc(size, blockSize)
	default:
		size, shift = poolSize, k.pick(2*blockSize/k.d.unit+1)*k.d.unit
		m.pool = k.pool
		m.root, err = k.pool.Get()
	}
	require.NoError(t, err)
	m.image = bytes.Repeat([]byte{untouched}, size)
	copy(m.root.Bytes(), m.image)
	j.mem = m
	if k.pick(2) == 0 {
		k.cut(t, j, shift, n)
		return
	}
	j.at, j.size, j.buf = []int{shift}, []int{n}, m.root
	if n != size {
		j.buf = slice(t, m.root, shift, n)
	}
}

// cut makes views of the n bytes behind shift, in an order that is not that of
// the memory.
func (k *maker) cut(t require.TestingT, j *job, shift, n int) {
	var at, size []int
	for from := 0; from < n; {
		part := (1 + k.pick(2*blockSize/k.d.unit)) * k.d.unit
		if part > n-from {
			part = n - from
		}
		at, size = append(at, shift+from), append(size, part)
		from += part
	}
	for len(at) > 0 {
		i := k.pick(len(at))
		j.at, j.size = append(j.at, at[i]), append(j.size, size[i])
		j.bufs = append(j.bufs, slice(t, j.mem.root, at[i], size[i]))
		at, size = append(at[:i:i], at[i+1:]...), append(size[:i:i], size[i+1:]...)
	}
}

func slice(t require.TestingT, b *libaio.Buffer, off, n int) *libaio.Buffer {
	view, err := b.Slice(off, n)
	require.NoError(t, err)
	return view
}

// twin makes a job that writes the same memory to other blocks.
func (k *maker) twin(j *job) *job {
	from := k.lo + k.pick(k.hi-k.lo)
	if from+j.count > k.hi || !k.d.take(from, j.count, true) {
		return nil
	}
	twin := *j
	twin.from, twin.offset = from, int64(from)*blockSize
	twin.mem.users++
	if twin.buf != nil {
		twin.op = libaio.Pwrite(j.file, twin.buf, twin.offset)
	} else {
		twin.op = libaio.Pwritev(j.file, twin.bufs, twin.offset)
	}
	twin.resumes = false
	return k.name(&twin)
}

// packet makes a read of a pipe on which each write is one read: a resumed one
// moves several pieces, and ends with EAGAIN when there are no more.
func (k *maker) packet(t require.TestingT) *job {
	if k.packetsBusy {
		return nil
	}
	k.packetsBusy = true
	j := &job{kind: libaio.KindPread, file: k.packets.file}
	k.allocate(t, j, (1+k.pick(mostBlocks))*blockSize)
	k.operation(j)
	all := sum(j.size)
	const part = 512 // what resuming goes on behind where the alignment is not known
	for range 1 + k.pick(mostBlocks) {
		n := part * (1 + k.pick(blockSize/part))
		if n > all-len(j.input) {
			break
		}
		p := make([]byte, n)
		fillBlock(p, k.d.last.Add(1))
		k.packets.write(t, p)
		j.input = append(j.input, p...)
		if !j.resumes {
			break
		}
	}
	j.n = len(j.input)
	if j.resumes && j.n < all {
		j.err = syscall.EAGAIN
	}
	return k.name(j)
}

// refusedByKernel makes a job that io_submit does not take, or that fails.
func (k *maker) refusedByKernel(t require.TestingT) *job {
	j := &job{kind: libaio.KindPread + libaio.Kind(k.pick(2)), file: k.bad, err: syscall.EBADF}
	switch k.pick(3) {
	case 0:
		j.kind, j.op = libaio.KindFsync, libaio.Fsync(k.bad)
		return k.name(j)
	case 1:
		j.file, j.err = k.d.file, syscall.EOPNOTSUPP
	}
	k.allocate(t, j, blockSize)
	k.operation(j)
	if j.err == syscall.EOPNOTSUPP {
		j.op = j.op.WithFlags(1 << 30) // no kernel knows it
	}
	return k.name(j)
}

// refusedByLibrary makes a job that breaks a rule.
func (k *maker) refusedByLibrary(t require.TestingT) *job {
	j := &job{kind: libaio.KindPread, file: k.d.file, refused: true}
	switch k.pick(5) {
	case 0:
		j.op = libaio.Pread(k.d.file, nil, 0)
	case 1:
		j.op = libaio.Fsync(nil)
	case 2:
		j.op = libaio.Fdsync(k.d.file).WithDurability(libaio.DurabilityFull)
	case 3:
		j.op = libaio.Preadv(k.d.file, []*libaio.Buffer{nil}, 0)
	default:
		k.allocate(t, j, blockSize)
		j.offset = -blockSize
		k.operation(j)
	}
	return k.name(j)
}

// ended ends what a job uses. It returns the memory of which this was the last
// job, to be given back unless that was done in flight.
func (k *maker) ended(t require.TestingT, j *job) *memory {
	if j.count > 0 && j.file == k.d.file {
		k.d.give(j.from, j.count, j.isWrite())
	}
	if j.file == k.packets.file {
		k.packets.drain()
		k.packetsBusy = false
	}
	if j.mem == nil {
		return nil
	}
	if j.mem.users--; j.mem.users > 0 {
		return nil
	}
	switch mem := j.mem; {
	case !mem.released:
		require.False(t, mem.root.InFlight(), "%v has ended", &j.op)
	case mem.pool == nil: // that of a pool may have been handed out again
		require.False(t, mem.root.InFlight(), "%v has ended", &j.op)
		require.ErrorIs(t, mem.root.Release(), libaio.ErrFreed)
	}
	return j.mem
}

// giveBack gives idle memory back in one of the ways that there are.
func (k *maker) giveBack(t require.TestingT, mem *memory) {
	b := mem.root
	switch {
	case k.pick(3) == 0:
		require.NoError(t, b.Release())
	case mem.pool != nil:
		require.ErrorIs(t, b.Free(), libaio.ErrInvalid)
		require.NoError(t, mem.pool.Put(b))
	default:
		require.ErrorIs(t, k.pool.Put(b), libaio.ErrInvalid)
		require.NoError(t, b.Free())
		require.ErrorIs(t, b.Free(), libaio.ErrFreed)
	}
	require.Nil(t, b.Bytes())
}
