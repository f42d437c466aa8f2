// SPDX-License-Identifier: MIT
// timeout: 100
/*
 * A peer that does not keep to the protocol: wrong fds, sizes, seals and versions in the handshake, garbage
 * in every word of the shared memory, before and while it is used. Its own pipe fails; another pipe of the
 * same context works on, and nothing is read or written outside the memory (the sanitizers see to that).
 */
#include "memq/pipe_ring.h"
#include "pipe_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RING (64UL << 10)
#define ARENA (256UL << 10)
#define TOTAL (DEMI_PIPE_RINGS_OFF + 2 * (RING + ARENA))
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct hello {
	char magic[8];
	uint32_t version, error;
	uint64_t ring_bytes, arena_bytes;
};

static const struct hello good_hello = { "demipipe", 2, 0, RING, ARENA };

static int good_a, good_b; /* a pipe that nobody harms */

static void check_good(void)
{
	static uint64_t n;

	pipe_test_push(good_a, 100, n);
	pipe_test_push(good_b, 5000, n);
	pipe_test_pop(good_b, 100, n);
	pipe_test_pop(good_a, 5000, n++);
}

static unsigned int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int make_memfd(size_t size, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0);
	CHECK(!ftruncate(fd, (off_t)size));
	CHECK(!fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static void send_hello(int sock, const void *hello, size_t len, const int *fds, unsigned int n)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(32 * sizeof(int))];
	} c = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)hello, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_RIGHTS;
		c.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&c.align), fds, n * sizeof(int));
	}
	CHECK_EQ(sendmsg(sock, &m, 0), (long)len);
}

/* Import what @hello and @fds say; the fds stay the caller's. */
static int import(int *qd, const void *hello, size_t len, const int *fds, unsigned int n)
{
	int pair[2], err;

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	send_hello(pair[0], hello, len, fds, n);
	err = demi_queue_import(qd, pair[1]);
	close(pair[0]);
	close(pair[1]);
	return err;
}

static void refused(int err, struct hello hello, size_t len, const int *fds, unsigned int n)
{
	unsigned int before = open_fds();
	int qd = -7;

	CHECK_EQ(import(&qd, &hello, len, fds, n), err);
	CHECK_EQ(qd, -7);
	while (open_fds() > before) /* the thread that answers openers closes some, too; a leak is for ever */
		usleep(1000);
}

static void refuse_memfd(int memfd, int control)
{
	refused(EPROTO, good_hello, sizeof(good_hello), (int[]){ memfd, control }, 2);
	close(memfd);
}

static void refuse_control(int memfd, int control)
{
	refused(EPROTO, good_hello, sizeof(good_hello), (int[]){ memfd, control }, 2);
	close(control);
}

static void test_handshake(void)
{
	static const uint64_t rings[] = { 0, 1, RING - 1, RING / 2, RING * 3, 1UL << 31, 1UL << 63, UINT64_MAX };
	static const uint64_t arenas[] = { 0, 4096, ARENA + 4096, 128UL << 20, UINT64_MAX, UINT64_MAX << 16 };
	struct hello h = good_hello;
	int fds[20], pair[2], mem, control, fd, qd;
	char path[64], big[sizeof(h) + 8] = { 0 };

	mem = make_memfd(TOTAL, SEALS);
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	control = pair[0];
	for (unsigned int i = 0; i < 20; i++)
		fds[i] = i % 2 ? control : mem;

	h.magic[7]++;
	refused(EINVAL, h, sizeof(h), fds, 2);
	h = good_hello;
	h.version++;
	refused(EPROTO, h, sizeof(h), fds, 2);
	h = good_hello;
	h.error = EBUSY;
	refused(EBUSY, h, sizeof(h), fds, 0);
	h.error = 12345;
	refused(EPROTO, h, sizeof(h), fds, 2);
	for (size_t len = 8; len < sizeof(h); len += 4)
		refused(EPROTO, good_hello, len, fds, 2);
	memcpy(big, &good_hello, sizeof(h));
	CHECK_EQ(import(&qd, big, sizeof(big), fds, 2), EPROTO);
	h = good_hello;
	for (unsigned int i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		h.ring_bytes = rings[i];
		refused(EPROTO, h, sizeof(h), fds, 2);
	}
	h = good_hello;
	for (unsigned int i = 0; i < sizeof(arenas) / sizeof(arenas[0]); i++) {
		h.arena_bytes = arenas[i];
		refused(EPROTO, h, sizeof(h), fds, 2);
	}
	for (unsigned int n = 0; n <= 20; n++) {
		if (n != 2)
			refused(EPROTO, good_hello, sizeof(good_hello), fds, n);
	}
	refused(EPROTO, good_hello, sizeof(good_hello), (int[]){ control, mem }, 2);
	refuse_memfd(make_memfd(TOTAL, SEALS & ~F_SEAL_SHRINK), control);
	refuse_memfd(make_memfd(TOTAL, SEALS & ~F_SEAL_GROW), control);
	refuse_memfd(make_memfd(TOTAL, SEALS & ~F_SEAL_SEAL), control);
	refuse_memfd(make_memfd(TOTAL, SEALS | F_SEAL_WRITE), control);
	refuse_memfd(make_memfd(TOTAL, SEALS | F_SEAL_FUTURE_WRITE), control);
	refuse_memfd(make_memfd(TOTAL - 65536, SEALS), control);
	refuse_memfd(make_memfd(TOTAL + 65536, SEALS), control);
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	if (fd >= 0) /* its size cannot be right, but its pages may be missing */
		refuse_memfd(fd, control);
	snprintf(path, sizeof(path), "%s/plain", pipe_test_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)TOTAL) && !unlink(path));
	refuse_memfd(fd, control);
	refuse_memfd(open("/dev/zero", O_RDWR | O_CLOEXEC), control);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	refuse_memfd(open(path, O_RDONLY | O_CLOEXEC), control);
	refuse_control(mem, open("/dev/null", O_RDWR | O_CLOEXEC));
	refuse_control(mem, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	refuse_control(mem, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(!bind(fd, &(struct sockaddr){ .sa_family = AF_UNIX }, sizeof(sa_family_t)) && !listen(fd, 1));
	refuse_control(mem, fd);

	/* an unconnected control socket is a peer that is gone */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK_EQ(import(&qd, &good_hello, sizeof(good_hello), (int[]){ mem, fd }, 2), 0);
	close(fd);
	pipe_test_pop_ends(qd, ECONNRESET);
	CHECK_EQ(demi_close(qd), 0);
	/* and this is how it is right */
	CHECK_EQ(import(&qd, &good_hello, sizeof(good_hello), (int[]){ mem, control }, 2), 0);
	CHECK_EQ(demi_close(qd), 0);
	close(mem);
	close(pair[0]);
	close(pair[1]);
	check_good();
}

/* ---- the shared memory ---- */

/* The hostile side: the maker's (side 0), so that ring 0 is what the library consumes. */
static struct {
	int qd; /* the library's end */
	int control;
	uint8_t *base;
} evil;

static struct demi_pipe_side *side(unsigned int s)
{
	return (struct demi_pipe_side *)evil.base + s;
}

static uint8_t *ring(unsigned int s)
{
	return evil.base + DEMI_PIPE_RINGS_OFF + s * RING;
}

static void put(size_t off, uint64_t word)
{
	atomic_store((_Atomic uint64_t *)(ring(0) + off), word);
}

static void evil_open(void)
{
	int pair[2], mem = make_memfd(TOTAL, SEALS);

	evil.base = mmap(NULL, TOTAL, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	CHECK(evil.base != MAP_FAILED);
	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	CHECK_EQ(import(&evil.qd, &good_hello, sizeof(good_hello), (int[]){ mem, pair[1] }, 2), 0);
	evil.control = pair[0];
	close(pair[1]);
	close(mem);
}

static void evil_close(void)
{
	CHECK_EQ(demi_close(evil.qd), 0);
	close(evil.control);
	CHECK(!munmap(evil.base, TOTAL));
}

/* The pop fails with EBADMSG, pushes with EPIPE, and the hostile side is hung up on. */
static void is_broken(void)
{
	demi_sgarray_t sga = pipe_test_sga("x", 1);
	demi_qtoken_t qt;
	char c;

	pipe_test_pop_ends(evil.qd, EBADMSG);
	pipe_test_pop_ends(evil.qd, EBADMSG);
	CHECK_EQ(demi_push(&qt, evil.qd, &sga), EPIPE);
	while (recv(evil.control, &c, 1, 0) > 0)
		;
	check_good();
	evil_close();
}

static void bad_word(uint64_t word)
{
	evil_open();
	put(0, word);
	is_broken();
}

static void bad_second_word(uint64_t first, size_t off, uint64_t second)
{
	evil_open();
	put(0, first);
	put(off, second);
	is_broken();
}

static void test_words(void)
{
	demi_sgarray_t sga;

	bad_word(1);
	bad_word(UINT64_MAX);
	bad_word(0x1234567812345678);
	bad_word(demi_pipe_word(0, 0));
	bad_word(demi_pipe_word(7, 8));
	bad_word(demi_pipe_word(255, 8));
	bad_word(demi_pipe_word(DEMI_PIPE_DATA, RING));
	bad_word(demi_pipe_word(DEMI_PIPE_DATA, UINT32_MAX));
	bad_word(demi_pipe_word(DEMI_PIPE_PART, 10)); /* of nothing */
	bad_word(demi_pipe_word(DEMI_PIPE_FIRST, UINT32_MAX)); /* 4 GiB */
	bad_word(demi_pipe_word(DEMI_PIPE_FIRST, 0));
	bad_word(demi_pipe_word(DEMI_PIPE_PAD, RING));
	bad_word(demi_pipe_word(DEMI_PIPE_PAD, 0));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_PART, 101));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_PART, 0));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_DATA, 8));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_FIRST, 100));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_END, 0));
	bad_second_word(demi_pipe_word(DEMI_PIPE_FIRST, 100), 8, demi_pipe_word(DEMI_PIPE_PAD, 16));
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, 5000), 8, ARENA / 4096);
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, 5000), 8, ARENA / 4096 - 1);
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, 5000), 8, UINT64_MAX);
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, 5000), 8, 1UL << 32);
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, UINT32_MAX), 8, 0);
	bad_second_word(demi_pipe_word(DEMI_PIPE_LARGE_AT, 0), 8, 0);

	/* the same blocks twice: the first element stays whole, also after the end of the pipe */
	evil_open();
	put(0, demi_pipe_word(DEMI_PIPE_LARGE_AT, 3 * 4096));
	put(8, 2);
	put(16, demi_pipe_word(DEMI_PIPE_LARGE_AT, 4096));
	put(24, 4);
	pipe_test_fill(evil.base + DEMI_PIPE_RINGS_OFF + 2 * RING + 2 * 4096, 3 * 4096, 9);
	CHECK_EQ(demi_blocking_pop(&sga, evil.qd), 0);
	is_broken();
	pipe_test_element(&sga, 3 * 4096, 9);
}

/* A `head` that moves back, too far, or to an odd place. */
static void bad_head(uint64_t first, uint64_t second)
{
	static char buf[4000];
	demi_sgarray_t sga = pipe_test_sga(buf, sizeof(buf));
	demi_qtoken_t qts[40];
	int n = 0, failed = 0, err = 0;

	evil_open();
	for (; n < 20; n++) { /* more than the ring has */
		if (n == 10)
			atomic_store(&side(0)->head, first);
		err = demi_push(&qts[n], evil.qd, &sga);
		if (err)
			break;
	}
	CHECK(!err || (err == EPIPE && n >= 10));
	atomic_store(&side(0)->head, second);
	for (int i = 0; i < n; i++)
		failed += pipe_test_wait(qts[i]).qr_ret == EPIPE;
	CHECK(failed > 0 || err);
	is_broken();
}

static void test_heads(void)
{
	bad_head(0, 1UL << 40);
	bad_head(0, UINT64_MAX);
	bad_head(0, 1);
	bad_head(0, 4012);
	bad_head(4008, 8);
	bad_head(UINT64_MAX - 7, 0);
}

static void take_results(void)
{
	static const struct timespec now;
	demi_qresult_t qr[16];
	int n;

	while (!demi_wait_next_n(qr, 16, &n, &now)) {
		for (int i = 0; i < n; i++) {
			if (qr[i].qr_opcode != DEMI_OPC_POP)
				continue;
			CHECK(qr[i].qr_value.sga.sga_segs[0].sgaseg_len <= 64U << 20);
			CHECK_EQ(demi_sgafree(&qr[i].qr_value.sga), 0);
		}
	}
}

/* Use the pipe as an application would, whatever comes of it, and never wait. */
static void use(uint64_t *state)
{
	static char buf[20000];
	demi_qtoken_t qt;

	for (unsigned int i = 0; i < 4; i++) {
		demi_sgarray_t sga = pipe_test_sga(buf, pipe_test_random(state) % sizeof(buf));
		int err = demi_push(&qt, evil.qd, &sga);

		CHECK(!err || err == EPIPE || err == ENOBUFS);
		CHECK_EQ(demi_pop(&qt, evil.qd), 0);
	}
	take_results();
}

static uint64_t garbage(uint64_t *state)
{
	uint64_t r = pipe_test_random(state);

	switch (r % 8) {
	case 0:
		return 0;
	case 1:
		return r;
	case 2:
		return r >> (r % 61);
	default: /* plausible */
		return demi_pipe_word((enum demi_pipe_record)(r >> 8 & 7), (uint32_t)(r >> 16) >> (r >> 48 & 31));
	}
}

/* One word: mostly where the library looks. */
static void scribble(uint64_t *state)
{
	uint64_t r = pipe_test_random(state);
	_Atomic uint64_t *word;

	switch (r % 16) {
	case 0:
		word = (_Atomic uint64_t *)evil.base + (r >> 8) % (TOTAL / 8);
		break;
	case 1:
		word = (_Atomic uint64_t *)side(r >> 8 & 1) + (r >> 9 & 1);
		break;
	case 2:
		word = (_Atomic uint64_t *)(evil.base + DEMI_PIPE_INUSE_OFF) + (r >> 8) % 8;
		break;
	case 3:
		word = (_Atomic uint64_t *)ring(1) + (r >> 8) % (RING / 8);
		break;
	default:
		word = (_Atomic uint64_t *)ring(0) + (r >> 8) % 64;
	}
	atomic_store_explicit(word, garbage(state), memory_order_relaxed);
}

static void test_scribbles(uint64_t seed, unsigned int rounds)
{
	uint64_t state = seed | 1;

	for (unsigned int i = 0; i < rounds; i++) {
		evil_open();
		for (unsigned int j = 0; j < 8; j++) {
			for (unsigned int k = 0; k < 64; k++)
				scribble(&state);
			use(&state);
		}
		check_good();
		evil_close();
		take_results();
	}
}

static atomic_int stop;

static void *scribbler(void *arg)
{
	uint64_t state = *(uint64_t *)arg | 1;

	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		scribble(&state);
	return NULL;
}

/* The same while the library looks. */
static void test_concurrent(uint64_t seed, unsigned int rounds)
{
	uint64_t state = seed | 1;
	pthread_t t;

	for (unsigned int i = 0; i < rounds; i++) {
		evil_open();
		atomic_store(&stop, 0);
		CHECK(!pthread_create(&t, NULL, scribbler, &state));
		for (unsigned int j = 0; j < 50; j++)
			use(&(uint64_t){ j + 1 });
		check_good();
		atomic_store(&stop, 1);
		CHECK(!pthread_join(t, NULL));
		pipe_test_random(&state);
		evil_close();
		take_results();
	}
}

/* Bells without end and a flag that is always set cost the victim something, but nothing hangs. */
static void test_bells(void)
{
	evil_open();
	while (send(evil.control, "xxxxxxxxx", 9, MSG_DONTWAIT) > 0)
		;
	for (unsigned int i = 0; i < 2000; i++) {
		atomic_store(&side(0)->sleeping, UINT32_MAX);
		pipe_test_push(evil.qd, 8, i);
		atomic_store(&side(0)->head, 16UL * (i + 1));
	}
	check_good();
	evil_close();
}

int main(void)
{
	uint64_t seed = (uint64_t)getpid() << 20;

	if (getenv("SEED"))
		seed = strtoull(getenv("SEED"), NULL, 0);
	fprintf(stderr, "SEED=%#llx\n", (unsigned long long)seed);
	pipe_test_setup(95);
	CHECK_EQ(demi_init(NULL), 0);
	CHECK_EQ(demi_create_pipe(&good_a, "good"), 0);
	CHECK_EQ(demi_open_pipe(&good_b, "good"), 0);
	test_handshake();
	test_words();
	test_heads();
	test_bells();
	test_scribbles(seed, 1500);
	test_concurrent(seed, 100);
	CHECK_EQ(demi_close(good_a), 0);
	CHECK_EQ(demi_close(good_b), 0);
	pipe_test_cleanup();
	return 0;
}
