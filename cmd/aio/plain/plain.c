/*
 * A plain C program over libaio: what the Go package is compared with. One
 * thread keeps a number of requests in flight. It sends in one io_submit what
 * one io_getevents brought back, and reads the clock once for each batch. Every
 * slot has one iocb and one buffer for the whole run.
 *
 *   aio-plain FILE SIZE BLOCK DEPTH read|write random|seq WARMUP SECONDS SEED [userreap] [two]
 *
 * The file holds the pattern of the seed. After a run of reads some buffers are
 * compared with it. Writes write the pattern of other blocks, and some of the blocks
 * that were written last are read back. The result is one line of JSON.
 *
 * userreap takes completions from the ring that the kernel shares, and calls
 * io_getevents only to wait. two has two such threads, with a context and DEPTH each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PATTERN_BLOCK 4096
#define WORDS (PATTERN_BLOCK / 8)
#define SAMPLE 32 /* blocks to check after a run */

static void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("aio-plain: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* ---- the pattern, as pattern.go has it ---- */

static uint64_t seed;

static uint64_t first_word(int64_t block) {
	uint64_t z = seed + (uint64_t)block * 0xd1342543de82ef95u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void fill(uint64_t *words, int64_t block, size_t bytes) {
	for (size_t n = 0; n < bytes / PATTERN_BLOCK; n++) {
		uint64_t word = first_word(block + (int64_t)n);
		for (int i = 0; i < WORDS; i++, word += 0x9e3779b97f4a7c15u)
			*words++ = word;
	}
}

static int matches(const uint64_t *words, int64_t block, size_t bytes) {
	for (size_t n = 0; n < bytes / PATTERN_BLOCK; n++) {
		uint64_t word = first_word(block + (int64_t)n);
		for (int i = 0; i < WORDS; i++, word += 0x9e3779b97f4a7c15u)
			if (*words++ != word)
				return 0;
	}
	return 1;
}

/* ---- latencies: buckets that are 1/64 of a power of two wide ---- */

#define SUB_BITS 6
#define SUB (1 << SUB_BITS)

struct latencies {
	uint64_t buckets[64 * SUB], operations;
};

static void record(struct latencies *l, uint64_t ns) {
	if (ns < SUB) {
		l->buckets[ns]++;
	} else {
		int shift = 63 - __builtin_clzll(ns) - SUB_BITS;
		l->buckets[(shift + 1) * SUB + (int)(ns >> shift) - SUB]++;
	}
	l->operations++;
}

static void add(struct latencies *to, const struct latencies *l) {
	for (int i = 0; i < 64 * SUB; i++)
		to->buckets[i] += l->buckets[i];
	to->operations += l->operations;
}

static double percentile_us(const struct latencies *l, double percent) {
	uint64_t want = (uint64_t)(percent / 100 * (double)l->operations + 0.5), seen = 0;
	if (want < 1)
		want = 1;
	for (int i = 0; i < 64 * SUB; i++) {
		seen += l->buckets[i];
		if (seen >= want) {
			if (i < SUB)
				return i / 1e3;
			return (double)((uint64_t)(i % SUB + SUB) << (i / SUB - 1)) / 1e3;
		}
	}
	return 0;
}

/* ---- clock, processor, threads ---- */

static uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t cpu_ns(const struct rusage *r) {
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000000000ll +
	       (r->ru_utime.tv_usec + r->ru_stime.tv_usec) * 1000ll;
}

static int threads(void) {
	char line[256];
	int n = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		sscanf(line, "Threads: %d", &n);
	if (f)
		fclose(f);
	return n;
}

/* ---- the ring that the kernel shares ---- */

struct ring {
	unsigned id, nr, head, tail, magic, compat, incompat, header_length;
	struct io_event events[];
};

static int reap_ring(io_context_t ctx, struct io_event *events, int most) {
	struct ring *r = (struct ring *)ctx;
	unsigned head = r->head, tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	int n = 0;
	while (n < most && head != tail) {
		events[n++] = r->events[head];
		head = head + 1 == r->nr ? 0 : head + 1;
	}
	__atomic_store_n(&r->head, head, __ATOMIC_RELEASE);
	return n;
}

static int user_reap;

/*
 * Some builds of libaio make io_pgetevents here, to which seccomp profiles of podman
 * and buildah answer EPERM, where io_getevents is allowed.
 */
static int wait_events(io_context_t ctx, struct io_event *events, int most) {
	int n = io_getevents(ctx, 1, most, events, NULL);
#ifdef SYS_io_getevents
	if (n == -EPERM && (n = (int)syscall(SYS_io_getevents, ctx, 1L, (long)most, events, NULL)) < 0)
		n = -errno;
#endif
	return n;
}

static int reap(io_context_t ctx, struct io_event *events, int most) {
	int n = 0;
	if (user_reap && (n = reap_ring(ctx, events, most)) > 0)
		return n;
	while ((n = wait_events(ctx, events, most)) == -EINTR)
		;
	if (n < 0)
		die("io_getevents: %s", strerror(-n));
	return n;
}

/* ---- the run ---- */

static const char *path;
static size_t block;
static int depth, is_write, is_random;
static int64_t blocks;
static uint64_t warm_up, measured; /* ns */

/* One thread with its context, and what came of it. */
struct loop {
	pthread_t thread;
	int64_t cursor;
	uint64_t state;
	struct latencies latencies;
	uint64_t elapsed_ns;
	int64_t cpu_ns, switches;
	int threads;

	/* for verify */
	int fd;
	uint64_t **buffers;
	int64_t *last;
};

static int64_t next_block(struct loop *l) {
	if (!is_random) {
		int64_t b = l->cursor++;
		if (l->cursor == blocks)
			l->cursor = 0;
		return b;
	}
	l->state ^= l->state << 13;
	l->state ^= l->state >> 7;
	l->state ^= l->state << 17;
	return (int64_t)((unsigned __int128)l->state * (uint64_t)blocks >> 64);
}

static void submit(io_context_t ctx, int n, struct iocb **list) {
	while (n > 0) {
		int done = io_submit(ctx, n, list);
		if (done == -EAGAIN || done == -EINTR)
			continue;
		if (done < 0)
			die("io_submit: %s", strerror(-done));
		n -= done;
		list += done;
	}
}

/* Other slots may have written to the same place, at the same time too. */
static int matches_any(const uint64_t *words, int64_t per, int64_t i) {
	for (int s = 0; s < depth; s++)
		if (*words == first_word(s * per + i))
			return matches(words, s * per + i, PATTERN_BLOCK);
	return 0;
}

/* verify checks what the last operations of some slots have moved, and returns of how many. */
static int verify(const struct loop *l) {
	int64_t per = (int64_t)block / PATTERN_BLOCK;
	int checked = 0;
	for (int s = 0; s < depth; s += 1 + depth / SAMPLE, checked++) {
		if (!is_write) {
			if (!matches(l->buffers[s], l->last[s] * per, block))
				die("wrong content at offset %lld", (long long)l->last[s] * (long long)block);
			continue;
		}
		if (pread(l->fd, l->buffers[0], block, l->last[s] * (off_t)block) != (ssize_t)block)
			die("reading back: %s", strerror(errno));
		for (int64_t i = 0; i < per; i++)
			if (!matches_any(l->buffers[0] + i * WORDS, per, i))
				die("wrong content at offset %lld", (long long)l->last[s] * (long long)block + i * PATTERN_BLOCK);
	}
	return checked;
}

static void *allocate(size_t align, size_t size) {
	void *p;
	if (posix_memalign(&p, align, size) != 0)
		die("no memory for %zu bytes", size);
	return memset(p, 0, size);
}

static void *run(void *arg) {
	struct loop *l = arg;
	int fd = open(path, (is_write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	io_context_t ctx = 0;
	int err = io_setup(depth, &ctx);
	if (err < 0)
		die("io_setup of %d: %s", depth, strerror(-err));
	if (user_reap && (((struct ring *)ctx)->magic != 0xa10a10a1 || ((struct ring *)ctx)->incompat))
		die("the ring of this kernel is not one that can be read");

	struct iocb *iocbs = allocate(64, (size_t)depth * sizeof *iocbs);
	struct iocb **list = allocate(64, (size_t)depth * sizeof *list);
	struct io_event *events = allocate(64, (size_t)depth * sizeof *events);
	uint64_t *sent = allocate(64, (size_t)depth * sizeof *sent);
	uint64_t **buffers = allocate(64, (size_t)depth * sizeof *buffers);
	int64_t *last = allocate(64, (size_t)depth * sizeof *last);
	for (int s = 0; s < depth; s++) {
		buffers[s] = allocate(PATTERN_BLOCK, block);
		if (is_write)
			fill(buffers[s], s * (int64_t)(block / PATTERN_BLOCK), block);
	}

	struct rusage before, after;
	uint64_t start = now_ns(), begin = 0, end = 0;
	int batch = 0, flying = 0, warm = 0;
	for (; batch < depth; batch++)
		list[batch] = &iocbs[batch];
	while (batch > 0 || flying > 0) {
		uint64_t now = now_ns();
		for (int i = 0; i < batch; i++) {
			int s = (int)(list[i] - iocbs);
			last[s] = next_block(l);
			sent[s] = now;
			if (is_write)
				io_prep_pwrite(list[i], fd, buffers[s], block, last[s] * (long long)block);
			else
				io_prep_pread(list[i], fd, buffers[s], block, last[s] * (long long)block);
		}
		submit(ctx, batch, list);
		flying += batch;
		batch = 0;

		int n = reap(ctx, events, depth);
		flying -= n;
		now = now_ns();
		for (int i = 0; i < n; i++) {
			if (events[i].res != block)
				die("a request ended with %ld instead of %zu", (long)events[i].res, block);
			warm += !begin;
			if (begin && !end)
				record(&l->latencies, now - sent[events[i].obj - iocbs]);
			if (!end)
				list[batch++] = events[i].obj;
		}
		if (!begin && now - start >= warm_up && warm >= depth) {
			getrusage(RUSAGE_THREAD, &before);
			begin = now_ns();
		} else if (begin && !end && now - begin >= measured && l->latencies.operations >= (uint64_t)depth) {
			getrusage(RUSAGE_THREAD, &after);
			end = now_ns();
			batch = 0;
		}
	}
	l->elapsed_ns = end - begin;
	l->cpu_ns = cpu_ns(&after) - cpu_ns(&before);
	l->switches = after.ru_nvcsw - before.ru_nvcsw;
	l->threads = threads();
	l->fd = fd;
	l->buffers = buffers;
	l->last = last;
	return NULL;
}

int main(int argc, char **argv) {
	if (argc < 10)
		die("usage: aio-plain FILE SIZE BLOCK DEPTH read|write random|seq WARMUP SECONDS SEED [userreap] [two]");
	path = argv[1];
	block = strtoull(argv[3], NULL, 10);
	depth = atoi(argv[4]);
	is_write = !strcmp(argv[5], "write");
	is_random = !strcmp(argv[6], "random");
	warm_up = (uint64_t)(atof(argv[7]) * 1e9);
	measured = (uint64_t)(atof(argv[8]) * 1e9);
	seed = strtoull(argv[9], NULL, 10);
	if (block < PATTERN_BLOCK || depth < 1)
		die("BLOCK must be at least %d, DEPTH at least 1", PATTERN_BLOCK);
	blocks = strtoll(argv[2], NULL, 10) / (int64_t)block;
	static struct loop loops[2];
	int n = 1;
	for (int i = 10; i < argc; i++) {
		user_reap |= !strcmp(argv[i], "userreap");
		if (!strcmp(argv[i], "two"))
			n = 2;
	}

	for (int i = 0; i < n; i++) {
		loops[i].state = (now_ns() + (uint64_t)i) | 1;
		loops[i].cursor = blocks / n * i;
		if (i > 0 && pthread_create(&loops[i].thread, NULL, run, &loops[i]) != 0)
			die("no thread");
	}
	run(&loops[0]);
	if (n == 2)
		pthread_join(loops[1].thread, NULL);

	struct loop *sum = &loops[0];
	int verified = verify(sum); /* when nobody writes any more */
	for (int i = 1; i < n; i++) {
		struct loop *l = &loops[i];
		verified += verify(l);
		add(&sum->latencies, &l->latencies);
		if (l->elapsed_ns > sum->elapsed_ns)
			sum->elapsed_ns = l->elapsed_ns;
		if (l->threads > sum->threads)
			sum->threads = l->threads;
		sum->cpu_ns += l->cpu_ns;
		sum->switches += l->switches;
	}
	printf("{\"ops\":%llu,\"elapsed_ns\":%llu,\"cpu_ns\":%lld,\"allocs\":0,\"vol_ctx_switches\":%lld,\"threads\":%d,"
	       "\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"verified\":%d}\n",
	       (unsigned long long)sum->latencies.operations, (unsigned long long)sum->elapsed_ns, (long long)sum->cpu_ns,
	       (long long)sum->switches, sum->threads, percentile_us(&sum->latencies, 50), percentile_us(&sum->latencies, 99),
	       percentile_us(&sum->latencies, 99.9), verified);
	return 0;
}
