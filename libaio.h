// The C side of the package: the system's <libaio.h> and the few functions
// that save crossings between Go and C. Everything is static inline, so the
// package links nothing of its own.
//
// Addresses cross as integers (uint64_t, uintptr_t). They are addresses of C
// memory only, so neither the garbage collector nor the cgo pointer checks
// have anything to follow.

#ifndef GOLIBAIO_H
#define GOLIBAIO_H

// This header has the same name as the system's, so the search has to go on
// behind the folder in which this one was found.
#if defined(__has_include_next)
#if !__has_include_next(<libaio.h>)
#error "libaio: the header of the system library is missing. Install libaio-dev (Debian, Ubuntu, Alpine), libaio-devel (Fedora, RHEL, openSUSE) or libaio (Arch), or build with -tags nolibaio."
#endif
#endif

// libaio tells its version nowhere. 0.3.111 brought io_pgetevents, besides
// aio_rw_flags: in its declaration the array below gets its length. Of no length
// it goes with any.
extern int golibaio_has_pgetevents[];
#define io_pgetevents golibaio_has_pgetevents[1], io_pgetevents
#include_next <libaio.h>
#undef io_pgetevents
_Static_assert(!__builtin_types_compatible_p(__typeof__(golibaio_has_pgetevents), int[2]),
	"libaio: the header of the system library is older than libaio 0.3.111, which this package needs. Install a newer libaio-dev, libaio-devel or libaio, or build with -tags nolibaio.");

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// The layout is the one that engine_syscall.go has, which does without this
// file: the same on all machines for which there is a Go compiler, but for
// the order of key and aio_rw_flags.
#define GOLIBAIO_AT(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field " is elsewhere than in engine_syscall.go")

GOLIBAIO_AT(iocb, data, 0);
GOLIBAIO_AT(iocb, aio_rw_flags, __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 8 : 12);
GOLIBAIO_AT(iocb, aio_lio_opcode, 16);
GOLIBAIO_AT(iocb, aio_reqprio, 18);
GOLIBAIO_AT(iocb, aio_fildes, 20);
GOLIBAIO_AT(iocb, u.c.buf, 24);
GOLIBAIO_AT(iocb, u.c.nbytes, 32);
GOLIBAIO_AT(iocb, u.c.offset, 40);
GOLIBAIO_AT(iocb, u.c.flags, 56);
GOLIBAIO_AT(iocb, u.c.resfd, 60);

// The flags of an iocb, from the kernel's <linux/aio_abi.h>, which libaio
// does not repeat.
#define GOLIBAIO_FLAG_RESFD (1 << 0)
#define GOLIBAIO_FLAG_IOPRIO (1 << 1)

// One operation as the facade describes it. It mirrors the Go type request.
struct golibaio_request {
	uint64_t buf;      // data, or the array of iovecs; 0 for fsync
	uint64_t nbytes;   // bytes, or the number of iovecs
	int64_t offset;    // in the file, in bytes
	int32_t fd;
	int32_t rw_flags;  // RWF_*; these belong in aio_rw_flags, not in flags
	uint32_t slot;     // which iocb to use; comes back as the event's data
	uint16_t opcode;   // IO_CMD_*
	int16_t reqprio;
	uint16_t has_prio; // the kernel ignores reqprio without IOCB_FLAG_IOPRIO
	uint16_t signals;  // its completion is signalled on the eventfd of the batch
	uint32_t events;   // poll mask
};

// What became of a batch.
struct golibaio_sent {
	int32_t n;       // accepted by the kernel, from the front
	int32_t calls;   // times io_submit was called
	int32_t partial; // times it took some but not all
	int32_t err;     // 0, or -errno of the operation behind the accepted ones
	int32_t within;  // see golibaio_count_within
};

// golibaio_prepare fills one iocb from one request.
static inline void golibaio_prepare(struct iocb *cb, const struct golibaio_request *r, int eventfd)
{
	void *buf = (void *)(uintptr_t)r->buf;

	switch (r->opcode) {
	case IO_CMD_PREAD:
		io_prep_pread(cb, r->fd, buf, r->nbytes, r->offset);
		break;
	case IO_CMD_PWRITE:
		io_prep_pwrite(cb, r->fd, buf, r->nbytes, r->offset);
		break;
	case IO_CMD_PREADV:
		io_prep_preadv(cb, r->fd, (const struct iovec *)buf, (int)r->nbytes, r->offset);
		break;
	case IO_CMD_PWRITEV:
		io_prep_pwritev(cb, r->fd, (const struct iovec *)buf, (int)r->nbytes, r->offset);
		break;
	case IO_CMD_POLL:
		io_prep_poll(cb, r->fd, (int)r->events);
		break;
	case IO_CMD_FDSYNC:
		io_prep_fdsync(cb, r->fd);
		break;
	default:
		io_prep_fsync(cb, r->fd);
		break;
	}
	cb->aio_rw_flags = r->rw_flags;
	if (r->has_prio) {
		cb->aio_reqprio = r->reqprio;
		cb->u.c.flags |= GOLIBAIO_FLAG_IOPRIO;
	}
	if (r->signals && eventfd >= 0)
		io_set_eventfd(cb, eventfd);
	cb->data = (void *)(uintptr_t)r->slot; // at most 32 bits: fits a pointer everywhere
}

// The ring of events that a context is: io_context_t is its address. The
// kernel has the same structure in fs/aio.c, and libaio in its src/aio_ring.h.
struct golibaio_ring {
	unsigned id;
	unsigned nr; // number of events that fit
	unsigned head;
	unsigned tail;
	unsigned magic;
	unsigned compat_features;
	unsigned incompat_features;
	unsigned header_length;
};

#define GOLIBAIO_RING_MAGIC 0xa10a10a1

// golibaio_tail is where the next event will go; 0 for a ring that is not to be
// read.
static inline unsigned golibaio_tail(const struct golibaio_ring *ring)
{
	return ring ? __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) : 0;
}

// golibaio_is_within says whether the last operation of a call of io_submit had
// completed when that returned: then its event is the newest in the ring, and came
// behind tail, which is from before the call.
static inline int golibaio_is_within(const struct golibaio_ring *ring, unsigned tail, const struct iocb *last)
{
	unsigned now = golibaio_tail(ring);
	const struct io_event *events;

	if (now == tail)
		return 0;
	events = (const struct io_event *)((uintptr_t)ring + ring->header_length);
	return events[(now ? now : ring->nr) - 1].obj == last;
}

// golibaio_count_within counts calls in a row of which that is so, up to
// GOLIBAIO_WITHIN: then the device does its work within io_submit, as zram and
// persistent memory do. Others are as quick now and then.
#define GOLIBAIO_WITHIN 32

static inline int golibaio_count_within(int within, int is_within)
{
	if (!is_within)
		return 0;
	return within < GOLIBAIO_WITHIN ? within + 1 : within;
}

// golibaio_portion is how many of left operations the next io_submit gets when
// so many have gone before. The kernel keeps a call of more than two from the
// device until all of it is prepared, and a device at rest waits for that long.
// So the first go at once, and those behind them in growing portions, prepared
// while the device works. A device that works within io_submit has no use for that,
// and gets them all at once.
static inline long golibaio_portion(long before, long left, int within)
{
	long n = before < 2 ? 2 : before;

	return n < left && within < GOLIBAIO_WITHIN ? n : left;
}

// golibaio_push calls io_submit until all of ptrs is accepted or the first of
// the rest is refused. io_submit may accept a part and name the reason only
// when it is asked again. ring is the context where its ring may be read, else 0;
// within is that of the last batch.
static inline struct golibaio_sent golibaio_push(uintptr_t ctx, uintptr_t ring, uintptr_t ptrs, long n, int within)
{
	const struct golibaio_ring *events = (const struct golibaio_ring *)ring;
	struct golibaio_sent s = {0, 0, 0, 0, within};
	struct iocb **p = (struct iocb **)ptrs;

	while (s.n < n) {
		long portion = golibaio_portion(s.n, n - s.n, s.within);
		unsigned tail = golibaio_tail(events);
		int rc = io_submit((io_context_t)ctx, portion, p + s.n);

		s.calls++;
		if (rc > 0) {
			s.n += rc;
			s.partial += rc < portion;
			s.within = golibaio_count_within(s.within, golibaio_is_within(events, tail, p[s.n - 1]));
		} else if (rc != -EINTR) {
			s.err = rc ? rc : -EAGAIN;
			break;
		}
	}
	return s;
}

// golibaio_submit prepares n requests in the iocbs of their slots and submits
// them: one crossing from Go whatever n is.
static inline struct golibaio_sent golibaio_submit(uintptr_t ctx, uintptr_t ring, uintptr_t iocbs, uintptr_t ptrs,
	const struct golibaio_request *r, long n, int eventfd, int within)
{
	struct iocb **p = (struct iocb **)ptrs;

	for (long i = 0; i < n; i++) {
		p[i] = (struct iocb *)iocbs + r[i].slot;
		golibaio_prepare(p[i], &r[i], eventfd);
	}
	return golibaio_push(ctx, ring, ptrs, n, within);
}

// The rest of the thin binding. An iocb is passed by its address.

static inline void golibaio_prepare_one(uintptr_t iocb, const struct golibaio_request *r)
{
	golibaio_prepare((struct iocb *)iocb, r, -1);
}

static inline void golibaio_set_data(uintptr_t iocb, uint64_t data)
{
	((struct iocb *)iocb)->data = (void *)(uintptr_t)data;
}

static inline void golibaio_set_eventfd(uintptr_t iocb, int fd)
{
	io_set_eventfd((struct iocb *)iocb, fd);
}

static inline void golibaio_set_rw_flags(uintptr_t iocb, int flags)
{
	((struct iocb *)iocb)->aio_rw_flags = flags;
}

static inline void golibaio_set_priority(uintptr_t iocb, int prio)
{
	((struct iocb *)iocb)->aio_reqprio = (short)prio;
	((struct iocb *)iocb)->u.c.flags |= GOLIBAIO_FLAG_IOPRIO;
}

// golibaio_submit_iocbs is io_submit of iocbs that the caller prepared; the
// addresses come in Go memory and are put where io_submit wants them.
static inline int golibaio_submit_iocbs(uintptr_t ctx, long n, const uint64_t *addrs, uintptr_t ptrs)
{
	struct iocb **p = (struct iocb **)ptrs;

	for (long i = 0; i < n; i++)
		p[i] = (struct iocb *)(uintptr_t)addrs[i];
	return io_submit((io_context_t)ctx, n, p);
}

// golibaio_dontfork keeps the ring out of children: it is a shared mapping, so
// a child that is forked without an exec and reads completions would take them
// from its parent.
static inline void golibaio_dontfork(io_context_t ctx)
{
	struct golibaio_ring *ring = (struct golibaio_ring *)ctx;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size;

	if (ring->magic != GOLIBAIO_RING_MAGIC)
		return;
	size = ring->header_length + ring->nr * sizeof(struct io_event);
	madvise(ring, (size + page - 1) / page * page, MADV_DONTFORK);
}

// golibaio_setup is io_setup; it returns the context through the result, as
// a Go pointer to receive it would have to live on the heap.
struct golibaio_context {
	uintptr_t ctx;
	int32_t err;
};

static inline struct golibaio_context golibaio_setup(int depth)
{
	io_context_t ctx = 0;
	int err = io_setup(depth, &ctx);
	struct golibaio_context c = {(uintptr_t)ctx, err};

	if (!err)
		golibaio_dontfork(ctx);
	return c;
}

static inline int golibaio_destroy(uintptr_t ctx)
{
	return io_destroy((io_context_t)ctx);
}

// golibaio_getevents is io_getevents; a negative ns waits without limit.
//
// The libaio of Debian 13 and Ubuntu 24.04 makes the system call io_pgetevents
// instead and falls back at ENOSYS alone, while seccomp profiles of podman and
// buildah answer EPERM to it and allow io_getevents. The layout of a timespec
// is only certain where a long has 64 bits.
static inline int golibaio_getevents(uintptr_t ctx, long min, long n, struct io_event *events, int64_t ns)
{
	struct timespec ts = {ns / 1000000000, ns % 1000000000};
	struct timespec *timeout = ns < 0 ? NULL : &ts;
	int got = io_getevents((io_context_t)ctx, min, n, events, timeout);

#if defined(SYS_io_getevents) && __SIZEOF_LONG__ == 8
	if (got == -EPERM) {
		got = (int)syscall(SYS_io_getevents, ctx, min, n, events, timeout);
		if (got < 0)
			got = -errno;
	}
#endif
	return got;
}

// golibaio_pgetevents is io_pgetevents: the calling thread has the signals of
// mask blocked (bit n-1 is signal n) while it waits.
static inline int golibaio_pgetevents(uintptr_t ctx, long min, long n, struct io_event *events, int64_t ns, uint64_t mask)
{
	struct timespec ts = {ns / 1000000000, ns % 1000000000};
	sigset_t set;

	sigemptyset(&set);
	for (int sig = 1; sig <= 64; sig++)
		if (mask >> (sig - 1) & 1)
			sigaddset(&set, sig);
	return io_pgetevents((io_context_t)ctx, min, n, events, ns < 0 ? NULL : &ts, &set);
}

static inline int golibaio_cancel(uintptr_t ctx, uintptr_t iocb, struct io_event *event)
{
	return io_cancel((io_context_t)ctx, (struct iocb *)iocb, event);
}

// golibaio_aligned is posix_memalign with the error in the result.
struct golibaio_memory {
	void *p;
	int32_t err;
};

static inline struct golibaio_memory golibaio_aligned(size_t align, size_t size)
{
	struct golibaio_memory m = {NULL, 0};

	m.err = posix_memalign(&m.p, align, size);
	return m;
}

static inline void golibaio_free(uintptr_t p)
{
	free((void *)p);
}

#endif
