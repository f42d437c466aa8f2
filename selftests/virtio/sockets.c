// SPDX-License-Identifier: MIT
/* uses: libdemi.a, timeout: 300 */
/*
 * libdemi on a function's rings, as an ordinary user: UDP and TCP with the kernel's stack at the other end, which finds
 * the library's address by ARP; sleeping; the device taken away.
 */
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>

#include "kselftest_harness.h"

#include "library_test.h"

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
