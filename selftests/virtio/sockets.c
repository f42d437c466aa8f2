// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 300 */
/*
 * libdemi on a function's rings, as an ordinary user: UDP and TCP with the kernel's stack at the other end, which finds
 * the library's address by ARP; sleeping; the device taken away.
 */
#include <demi/demi.h>

#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>

#include "kselftest_harness.h"

#include "virtio_test.h"

#define MINE "10.9.0.3"

static const struct timespec limit = { 60, 0 };

/* Returns 0 or the line that failed, so that threads can tell. */
#define NEED(c)                                                                                                        \
	do {                                                                                                           \
		if (!(c)) {                                                                                            \
			fprintf(stderr, "# %s:%d: %s: %s\n", __FILE__, __LINE__, #c, strerror(errno));                 \
			return __LINE__;                                                                               \
		}                                                                                                      \
	} while (0)

static struct sockaddr_in address(const char *ip, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(ip), .sin_port = htons(port) };
}

static void pattern(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed) >> 11);
}

static bool is_pattern(const uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != (uint8_t)((i * 2654435761u + seed) >> 11))
			return false;
	return true;
}

static int kernel_socket(int type, uint16_t port)
{
	struct sockaddr_in me = address(VT_THERE, port);
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, (void *)&me, sizeof(me)) || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		return -1;
	return fd;
}

static int demi_bound(int type, uint16_t port)
{
	struct sockaddr_in me = address(MINE, port);
	int qd;

	errno = demi_socket(&qd, AF_INET, type, 0);
	if (!errno)
		errno = demi_bind(qd, (void *)&me, sizeof(me));
	return errno ? -1 : qd;
}

static int push(int qd, const void *data, size_t len, const struct sockaddr_in *to)
{
	demi_sgarray_t sga = demi_sgaalloc(len ? len : 1);
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(sga.sga_numsegs == 1);
	sga.sga_segs[0].sgaseg_len = (uint32_t)len;
	memcpy(sga.sga_segs[0].sgaseg_buf, data, len);
	errno = to ? demi_pushto(&qt, qd, &sga, (const void *)to, sizeof(*to)) : demi_push(&qt, qd, &sga);
	NEED(!errno);
	demi_sgafree(&sga);
	NEED(!(errno = demi_wait(&r, qt, &limit)));
	errno = (int)r.qr_ret;
	NEED(r.qr_opcode == DEMI_OPC_PUSH && !r.qr_ret);
	return 0;
}

FIXTURE(sockets)
{
	int unused;
};

FIXTURE_SETUP(sockets)
{
	struct rlimit memlock = { 8 << 20, 8 << 20 };

	setenv("DEMI_LIBOS", "virtio", 1);
	setenv("DEMI_LOG", "warn", 1);
	setenv("DEMI_INET_ADDR", MINE "/24", 1);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &memlock));
	ASSERT_EQ(0, vt_become_owner());
}

FIXTURE_TEARDOWN(sockets)
{
}

static const size_t sizes[] = { 0, 1, 64, 1000, 1400, 1472, 1473, 8000, 30000 };

#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

/* The kernel's end gets something: meanwhile the library runs, which may have to ask for the neighbour first. */
static ssize_t receive(int fd, void *buf, size_t room, demi_qtoken_t pop)
{
	static const struct timespec slice = { 0, 10000000 };
	demi_qresult_t r;
	ssize_t n;

	for (int waited = 0; waited < VT_PATIENCE_MS; waited += 10) {
		n = recv(fd, buf, room, MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN)
			return n;
		if (demi_wait(&r, pop, &slice) != ETIMEDOUT)
			break;
	}
	return -1;
}

static int udp_echo(int rounds)
{
	static uint8_t buf[65536];
	struct sockaddr_in there = address(VT_THERE, 5000), here = address(MINE, 5001);
	int fd = kernel_socket(SOCK_DGRAM, 5000), qd = demi_bound(SOCK_DGRAM, 5001), err;
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(fd >= 0 && qd > 0);
	NEED(!(errno = demi_pop(&qt, qd)));
	for (int i = 0; i < rounds; i++) {
		size_t n = sizes[i % NSIZES];
		const demi_sgaseg_t *seg = &r.qr_value.sga.sga_segs[0];

		pattern(buf, n, i);
		NEED(sendto(fd, buf, n, 0, (void *)&here, sizeof(here)) == (ssize_t)n);
		NEED(!(errno = demi_wait(&r, qt, &limit)));
		NEED(r.qr_opcode == DEMI_OPC_POP && !r.qr_ret);
		NEED(seg->sgaseg_len == n && is_pattern(seg->sgaseg_buf, n, i));
		NEED(!(errno = demi_pop(&qt, qd)));
		err = push(qd, seg->sgaseg_buf, n, &there);
		demi_sgafree(&r.qr_value.sga);
		if (err)
			return err;
		memset(buf, 0, sizeof(buf));
		NEED(receive(fd, buf, sizeof(buf), qt) == (ssize_t)n);
		NEED(is_pattern(buf, n, i));
	}
	NEED(!demi_close(qd) && !close(fd));
	return 0;
}

TEST_F(sockets, udp)
{
	ASSERT_EQ(0, demi_init(NULL));
	EXPECT_EQ(0, udp_echo(4 * NSIZES));
}

/* Every wait sleeps: what ends it is an interrupt. */
TEST_F(sockets, udp_sleeping)
{
	setenv("DEMI_SPIN_US", "0", 1);
	ASSERT_EQ(0, demi_init(NULL));
	EXPECT_EQ(0, udp_echo(2 * NSIZES));
}

/* One function, one pair of rings: a second thread's context has none. */
static void *second(void *arg)
{
	*(int *)arg = demi_init(NULL);
	return NULL;
}

TEST_F(sockets, one_function_one_context)
{
	pthread_t thread;
	int err = 0;

	ASSERT_EQ(0, demi_init(NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, second, &err));
	pthread_join(thread, NULL);
	EXPECT_NE(0, err);
	EXPECT_EQ(0, udp_echo(3));
}

/* ---- TCP ---- */

#define STREAM_BYTES (256 << 10)

struct client {
	int line;
};

/* The kernel's end: connects, sends while it receives, and compares. */
static void *client_run(void *arg)
{
	struct client *c = arg;
	struct sockaddr_in there = address(MINE, 7000);
	static uint8_t out[STREAM_BYTES], back[STREAM_BYTES];
	size_t sent = 0, got = 0;
	int fd = kernel_socket(SOCK_STREAM, 0);

	c->line = __LINE__;
	pattern(out, sizeof(out), 3);
	if (fd < 0 || connect(fd, (void *)&there, sizeof(there)))
		return NULL;
	while (got < sizeof(back)) {
		size_t more = sizeof(out) - sent < 16384 ? sizeof(out) - sent : 16384;
		ssize_t n;

		c->line = __LINE__;
		if (more && send(fd, out + sent, more, 0) != (ssize_t)more)
			return NULL;
		sent += more;
		c->line = __LINE__;
		n = recv(fd, back + got, sent - got, 0);
		if (n <= 0)
			return NULL;
		got += (size_t)n;
	}
	c->line = memcmp(out, back, sizeof(out)) ? __LINE__ : 0;
	close(fd);
	return NULL;
}

static int tcp_echo(void)
{
	int ld = demi_bound(SOCK_STREAM, 7000), qd, err;
	struct client c;
	pthread_t thread;
	demi_qtoken_t qt;
	demi_qresult_t r;

	NEED(ld > 0 && !(errno = demi_listen(ld, 4)));
	NEED(!(errno = demi_accept(&qt, ld)));
	NEED(!pthread_create(&thread, NULL, client_run, &c));
	NEED(!(errno = demi_wait(&r, qt, &limit)));
	NEED(r.qr_opcode == DEMI_OPC_ACCEPT);
	qd = (int)r.qr_value.ares.qd;
	for (;;) {
		const demi_sgaseg_t *seg = &r.qr_value.sga.sga_segs[0];

		NEED(!(errno = demi_pop(&qt, qd)));
		NEED(!(errno = demi_wait(&r, qt, &limit)));
		NEED(r.qr_opcode == DEMI_OPC_POP);
		if (!seg->sgaseg_len)
			break;
		err = push(qd, seg->sgaseg_buf, seg->sgaseg_len, NULL);
		demi_sgafree(&r.qr_value.sga);
		if (err)
			return err;
	}
	demi_sgafree(&r.qr_value.sga);
	pthread_join(thread, NULL);
	NEED(!c.line);
	NEED(!demi_close(qd) && !demi_close(ld));
	return 0;
}

TEST_F(sockets, tcp)
{
	ASSERT_EQ(0, demi_init(NULL));
	EXPECT_EQ(0, tcp_echo());
}

TEST_HARNESS_MAIN
