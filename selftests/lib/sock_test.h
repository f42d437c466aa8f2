/* SPDX-License-Identifier: MIT */
#ifndef SOCK_TEST_H
#define SOCK_TEST_H

/* What the socket tests share: pairs of connected queues in one context, and short words for push, pop and wait. */

#include "heap_check.h"

#include <demi/demi.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#define WAIT_S 30

#define CHECK_ERR(call, want)                                                                                          \
	do {                                                                                                           \
		int check_err = (call);                                                                                \
		if (check_err != (want)) {                                                                             \
			fprintf(stderr, "%s:%d: %s gave %s, not %s\n", __FILE__, __LINE__, #call, strerror(check_err), \
				strerror(want));                                                                       \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)
#define OK(call) CHECK_ERR(call, 0)

static inline void test_init(void)
{
	setlinebuf(stdout);
	alarm(100);
	OK(demi_init(NULL));
}

static inline demi_qresult_t wait_qt(demi_qtoken_t qt)
{
	static const struct timespec limit = { .tv_sec = WAIT_S };
	demi_qresult_t qr;

	OK(demi_wait(&qr, qt, &limit));
	CHECK(qr.qr_qt == qt);
	return qr;
}

/* A result without an error, of the given kind. */
static inline demi_qresult_t wait_ok(demi_qtoken_t qt, demi_opcode_t opcode)
{
	demi_qresult_t qr = wait_qt(qt);

	if (qr.qr_opcode != opcode) {
		fprintf(stderr, "opcode %d (%s) instead of %d\n", qr.qr_opcode, strerror((int)qr.qr_ret), opcode);
		_exit(1);
	}
	CHECK(qr.qr_ret == 0);
	return qr;
}

static inline void wait_failed(demi_qtoken_t qt, int err)
{
	demi_qresult_t qr = wait_qt(qt);

	CHECK(qr.qr_opcode == DEMI_OPC_FAILED);
	CHECK_ERR((int)qr.qr_ret, err);
}

/* Not ready, also after the backends had a while to say otherwise. */
static inline void wait_none(demi_qtoken_t qt)
{
	static const struct timespec a_while = { .tv_nsec = 30000000 };
	demi_qresult_t qr;

	CHECK_ERR(demi_wait(&qr, qt, &a_while), ETIMEDOUT);
}

static inline demi_sgarray_t sga_of(const void *buf, uint32_t len)
{
	demi_sgarray_t sga;

	memset(&sga, 0, sizeof(sga));
	sga.sga_numsegs = 1;
	sga.sga_segs[0].sgaseg_buf = (void *)buf;
	sga.sga_segs[0].sgaseg_len = len;
	return sga;
}

static inline demi_qtoken_t push_start(int qd, const void *buf, uint32_t len)
{
	demi_sgarray_t sga = sga_of(buf, len);
	demi_qtoken_t qt;

	OK(demi_push(&qt, qd, &sga));
	return qt;
}

static inline void push(int qd, const void *buf, uint32_t len)
{
	wait_ok(push_start(qd, buf, len), DEMI_OPC_PUSH);
}

static inline demi_qtoken_t pop_start(int qd)
{
	demi_qtoken_t qt;

	OK(demi_pop(&qt, qd));
	return qt;
}

static inline demi_sgarray_t pop(int qd)
{
	return wait_ok(pop_start(qd), DEMI_OPC_POP).qr_value.sga;
}

/* Exactly @len bytes of a stream. */
static inline void pop_exact(int qd, void *buf, size_t len)
{
	demi_sgarray_t sga;
	demi_qtoken_t qt;

	while (len) {
		OK(demi_pop_n(&qt, qd, len));
		sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
		CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len > 0 && sga.sga_segs[0].sgaseg_len <= len);
		memcpy(buf, sga.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_len);
		buf = (char *)buf + sga.sga_segs[0].sgaseg_len;
		len -= sga.sga_segs[0].sgaseg_len;
		OK(demi_sgafree(&sga));
	}
}

/* One pop that must give exactly these bytes. */
static inline void pop_is(int qd, const void *buf, uint32_t len)
{
	demi_sgarray_t sga = pop(qd);

	CHECK(sga.sga_numsegs == 1);
	CHECK(sga.sga_segs[0].sgaseg_len == len);
	CHECK(!len || !memcmp(sga.sga_segs[0].sgaseg_buf, buf, len));
	OK(demi_sgafree(&sga));
}

static inline void pop_eof(int qd)
{
	demi_sgarray_t sga = pop(qd);

	CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == 0);
}

static inline uint64_t counter(const char *name)
{
	uint64_t v;

	OK(demi_counter(&v, name));
	return v;
}

/*
 * Are there sockets of this domain? The library's own network stack has none of Unix's, and no descriptors of the
 * kernel behind its queues.
 */
static inline bool has_domain(int domain)
{
	int qd, err = demi_socket(&qd, domain, SOCK_STREAM, 0);

	if (err == EAFNOSUPPORT)
		return false;
	OK(err);
	OK(demi_close(qd));
	return true;
}

/* ---- plain sockets, whose other end may be this thread: it answers inside of waits only ---- */

static inline int connect_start(const struct sockaddr_storage *ss, socklen_t len)
{
	int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0);
	CHECK(!connect(fd, (const struct sockaddr *)ss, len) || errno == EINPROGRESS);
	return fd;
}

/* It has been accepted. */
static inline void connect_finish(int fd)
{
	CHECK(!fcntl(fd, F_SETFL, 0));
}

/* A moment in which nothing completes. */
static inline void poll_once(void)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	demi_qresult_t qr;
	int n, err = demi_wait_next_n(&qr, 1, &n, &moment);

	CHECK(err == ENOENT || err == ETIMEDOUT);
}

static inline ssize_t recv_polling(int fd, void *buf, size_t len)
{
	ssize_t n;

	while ((n = recv(fd, buf, len, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		poll_once();
	return n;
}

/* ---- addresses and pairs ---- */

static inline socklen_t loopback(struct sockaddr_storage *ss, int domain)
{
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *sin = (struct sockaddr_in *)ss;
	struct sockaddr_un *sun = (struct sockaddr_un *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)domain;
	if (domain == AF_INET) {
		sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(*sin);
	}
	if (domain == AF_INET6) {
		sin6->sin6_addr = in6addr_loopback;
		return sizeof(*sin6);
	}
	return sizeof(sun->sun_family); /* Linux chooses an abstract name */
}

/* A bound socket and its address. */
static inline int bound(int domain, int type, struct sockaddr_storage *ss, socklen_t *len)
{
	int qd;

	OK(demi_socket(&qd, domain, type, 0));
	*len = loopback(ss, domain);
	OK(demi_bind(qd, (struct sockaddr *)ss, *len));
	*len = sizeof(*ss);
	OK(demi_getsockname(qd, (struct sockaddr *)ss, len));
	return qd;
}

static inline int listener(int domain, int type, struct sockaddr_storage *ss, socklen_t *len)
{
	int qd = bound(domain, type, ss, len);

	OK(demi_listen(qd, 64));
	return qd;
}

static inline void make_pair(int domain, int type, int *a, int *b)
{
	struct sockaddr_storage ss;
	demi_qtoken_t accept_qt, connect_qt;
	demi_qresult_t qr;
	socklen_t len;
	int l = listener(domain, type, &ss, &len);

	OK(demi_accept(&accept_qt, l));
	OK(demi_socket(a, domain, type, 0));
	OK(demi_connect(&connect_qt, *a, (struct sockaddr *)&ss, len));
	wait_ok(connect_qt, DEMI_OPC_CONNECT);
	qr = wait_ok(accept_qt, DEMI_OPC_ACCEPT);
	CHECK(qr.qr_value.ares.addr.sin_family == domain);
	*b = qr.qr_value.ares.qd;
	OK(demi_close(l));
}

#endif /* SOCK_TEST_H */
