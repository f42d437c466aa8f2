/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, valgrind */
/* How queues end: close with operations pending, cancel, refused connects, resets, linger. */
#include "sock_test.h"

#include <poll.h>

/* A plain socket at the other end. */
static void raw_pair(int *qd, int *fd)
{
	struct sockaddr_storage ss;
	demi_qtoken_t qt;
	socklen_t len;
	int l = listener(AF_INET, SOCK_STREAM, &ss, &len);

	OK(demi_accept(&qt, l));
	*fd = connect_start(&ss, len);
	*qd = wait_ok(qt, DEMI_OPC_ACCEPT).qr_value.ares.qd;
	connect_finish(*fd);
	OK(demi_close(l));
}

/* What waits for a peer fails, stays waitable, and the number is not given out again before. */
static void test_pending(void)
{
	struct sockaddr_storage ss;
	demi_qtoken_t pops[3], accepts[2], qt;
	socklen_t len;
	int qd, fd, l, other;
	char c;

	raw_pair(&qd, &fd);
	l = listener(AF_INET, SOCK_STREAM, &ss, &len);
	for (int i = 0; i < 3; i++)
		pops[i] = pop_start(qd);
	OK(demi_accept(&accepts[0], l));
	OK(demi_accept(&accepts[1], l));
	wait_none(pops[0]);
	OK(demi_close(qd));
	OK(demi_close(l));
	CHECK_ERR(demi_pop(&qt, qd), EBADF);
	OK(demi_socket(&other, AF_INET, SOCK_STREAM, 0));
	CHECK(other != qd && other != l);
	for (int i = 0; i < 3; i++)
		wait_failed(pops[i], ECANCELED);
	wait_failed(accepts[0], ECANCELED);
	wait_failed(accepts[1], ECANCELED);
	/* the peer sees an end */
	CHECK(recv_polling(fd, &c, 1) == 0);
	close(fd);
	OK(demi_close(other));
}

static void test_cancel(void)
{
	demi_qtoken_t first, second, accept_qt;
	struct sockaddr_storage ss;
	socklen_t len;
	int qd, fd, l;

	raw_pair(&qd, &fd);
	first = pop_start(qd);
	second = pop_start(qd);
	wait_none(first);
	OK(demi_cancel(first));
	CHECK_ERR(demi_cancel(first), EALREADY);
	wait_failed(first, ECANCELED);
	CHECK_ERR(demi_cancel(first), EINVAL);
	/* what the cancelled pop would have had is the next one's */
	CHECK(write(fd, "data", 4) == 4);
	demi_sgarray_t sga = wait_ok(second, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 4 && !memcmp(sga.sga_segs[0].sgaseg_buf, "data", 4));
	OK(demi_sgafree(&sga));
	/* a result that is there is not taken away */
	first = pop_start(qd);
	CHECK(write(fd, "more", 4) == 4);
	second = push_start(qd, "x", 1);
	usleep(10000);
	wait_ok(second, DEMI_OPC_PUSH);
	while (demi_cancel(first) != EALREADY) { /* cancelled before it was seen: again */
		wait_failed(first, ECANCELED);
		poll_once();
		first = pop_start(qd);
	}
	sga = wait_ok(first, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 4 && !memcmp(sga.sga_segs[0].sgaseg_buf, "more", 4));
	OK(demi_sgafree(&sga));
	OK(demi_close(qd));
	close(fd);
	/* a cancelled accept takes no connection with it */
	l = listener(AF_INET, SOCK_STREAM, &ss, &len);
	OK(demi_accept(&accept_qt, l));
	wait_none(accept_qt);
	OK(demi_cancel(accept_qt));
	wait_failed(accept_qt, ECANCELED);
	fd = connect_start(&ss, len);
	OK(demi_accept(&accept_qt, l));
	qd = wait_ok(accept_qt, DEMI_OPC_ACCEPT).qr_value.ares.qd;
	push(qd, "hi", 2);
	char in[2];
	CHECK(recv_polling(fd, in, 2) == 2 && !memcmp(in, "hi", 2));
	close(fd);
	OK(demi_close(qd));
	OK(demi_close(l));
}

/* A pop that is cancelled and issued again at random moments never loses a byte. */
static void test_cancel_race(void)
{
	unsigned char next_in = 0, next_out = 0;
	uint64_t seed = test_seed();
	uint32_t got = 0, sent = 0;
	int qd, fd;

	raw_pair(&qd, &fd);
	while (got < 2000) {
		demi_qtoken_t qt = pop_start(qd);
		demi_qresult_t qr;

		for (uint64_t n = test_random(&seed) % 4; n && sent < 2000; n--, sent++, next_out++)
			CHECK(write(fd, &next_out, 1) == 1);
		if (test_random(&seed) % 2)
			demi_cancel(qt);
		else if (sent == got)
			OK(demi_cancel(qt));
		qr = wait_qt(qt);
		if (qr.qr_opcode == DEMI_OPC_FAILED) {
			CHECK(qr.qr_ret == ECANCELED);
			continue;
		}
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++, got++)
			CHECK(((unsigned char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf)[i] == next_in++);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	OK(demi_close(qd));
	close(fd);
}

static void test_connect(int domain)
{
	struct sockaddr_storage ss;
	demi_qtoken_t qt, again, accept_qt;
	socklen_t len;
	int s, l;

	l = bound(domain, SOCK_STREAM, &ss, &len); /* bound, does not listen */
	OK(demi_socket(&s, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, s, (struct sockaddr *)&ss, len));
	wait_failed(qt, ECONNREFUSED);
	/* the socket can try again */
	OK(demi_listen(l, 4));
	OK(demi_accept(&accept_qt, l));
	OK(demi_connect(&qt, s, (struct sockaddr *)&ss, len));
	wait_ok(qt, DEMI_OPC_CONNECT);
	CHECK_ERR(demi_connect(&again, s, (struct sockaddr *)&ss, len), EISCONN);
	OK(demi_close(wait_ok(accept_qt, DEMI_OPC_ACCEPT).qr_value.ares.qd));
	OK(demi_close(s));
	OK(demi_close(l));
}

/* Nobody answers: cancel gives the connect up, and close does. */
static void test_connect_unanswered(void)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	demi_qtoken_t qt, again;
	int lfd, filler[8], s;

	/* a full backlog drops what comes */
	lfd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	len = loopback(&ss, AF_INET);
	CHECK(!bind(lfd, (struct sockaddr *)&ss, len) && !listen(lfd, 0));
	len = sizeof(ss);
	CHECK(!getsockname(lfd, (struct sockaddr *)&ss, &len));
	for (int i = 0; i < 8; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		CHECK(filler[i] >= 0);
		if (connect(filler[i], (struct sockaddr *)&ss, len))
			CHECK(errno == EINPROGRESS);
	}
	usleep(10000);
	OK(demi_socket(&s, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, s, (struct sockaddr *)&ss, len));
	CHECK_ERR(demi_connect(&again, s, (struct sockaddr *)&ss, len), EALREADY);
	wait_none(qt);
	OK(demi_cancel(qt));
	wait_failed(qt, ECANCELED);
	OK(demi_close(s));
	OK(demi_socket(&s, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, s, (struct sockaddr *)&ss, len));
	wait_none(qt);
	OK(demi_close(s));
	wait_failed(qt, ECANCELED);
	for (int i = 0; i < 8; i++)
		close(filler[i]);
	close(lfd);
}

static void reset(int fd)
{
	struct linger now = { .l_onoff = 1 };

	CHECK(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
	close(fd);
}

/* The peer resets: the pop says so once; then the stream has ended and takes nothing. */
static void test_reset(void)
{
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;
	int qd, fd;

	raw_pair(&qd, &fd);
	qt = pop_start(qd);
	wait_none(qt);
	reset(fd);
	wait_failed(qt, ECONNRESET);
	pop_eof(qd);
	CHECK_ERR(demi_push(&qt, qd, &sga), EPIPE);
	OK(demi_close(qd));
	/* pushes that wait are told as well */
	raw_pair(&qd, &fd);
	sga = demi_sgaalloc(8 << 20);
	memset(sga.sga_segs[0].sgaseg_buf, 1, 8 << 20);
	OK(demi_push(&qt, qd, &sga));
	wait_none(qt);
	CHECK_ERR(demi_cancel(qt), EALREADY);
	reset(fd);
	CHECK(wait_qt(qt).qr_opcode == DEMI_OPC_FAILED);
	OK(demi_sgafree(&sga));
	OK(demi_close(qd));
}

/* Our side: SO_LINGER {1, 0} resets, {1, n} limits the time that queued bytes have. */
static void test_linger(void)
{
	struct linger l = { .l_onoff = 1 };
	static char big[4 << 20];
	demi_qtoken_t qt;
	struct pollfd p;
	int qd, fd;
	ssize_t n;

	raw_pair(&qd, &fd);
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	qt = push_start(qd, big, sizeof(big));
	wait_ok(qt, DEMI_OPC_PUSH);
	OK(demi_close(qd));
	while ((n = recv_polling(fd, big, sizeof(big))) > 0)
		;
	CHECK(n < 0 && errno == ECONNRESET);
	close(fd);

	raw_pair(&qd, &fd);
	l.l_linger = 1;
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	qt = push_start(qd, big, sizeof(big));
	wait_ok(qt, DEMI_OPC_PUSH);
	OK(demi_close(qd));
	p = (struct pollfd){ .fd = fd, .events = POLLRDHUP };
	for (int i = 0; poll(&p, 1, 10) == 0 || !(p.revents & POLLHUP); i++) {
		poll_once();
		CHECK(i < 2000);
	}
	close(fd);
}

/* Without linger queued bytes go out after the close, although nobody waits for them. */
static void test_drain(void)
{
	static unsigned char out[4 << 20], in[65536];
	size_t got = 0;
	int qd, fd;
	ssize_t n;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 7 >> 3);
	raw_pair(&qd, &fd);
	push(qd, out, sizeof(out));
	OK(demi_close(qd));
	for (;;) {
		n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			poll_once();
			continue;
		}
		if (n <= 0)
			break;
		CHECK(got + (size_t)n <= sizeof(out) && !memcmp(in, out + got, (size_t)n));
		got += (size_t)n;
	}
	CHECK(n == 0 && got == sizeof(out));
	close(fd);
}

int main(void)
{
	test_init();
	test_pending();
	test_cancel();
	test_cancel_race();
	test_connect(AF_INET);
	test_connect(AF_INET6);
	if (has_domain(AF_UNIX))
		test_connect(AF_UNIX);
	test_connect_unanswered();
	test_reset();
	test_linger();
	test_drain();
	return 0;
}
