/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_BULK_H
#define DEMI_SELFTESTS_INET_BULK_H

/*
 * A TCP connection between the stack, which has 10.9.0.2 and fd09::2, and this machine's kernel, 10.9.0.1 and fd09::1:
 * both send at once, end, and read the other's end.
 */

#include "../lib/check.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#define PORT 7000
#define BULK_PIECE 65536U

enum bulk_from { FROM_KERNEL, FROM_STACK };

struct bulk {
	uint64_t bytes; /* each way */
	/* The @len bytes that @from sends at @pos, a multiple of BULK_PIECE: once for each piece, in their order. */
	void (*make)(enum bulk_from from, uint64_t pos, uint8_t *to, uint32_t len);
	/* @len bytes of @from's have come, which were sent at @pos. */
	void (*came)(enum bulk_from from, uint64_t pos, const uint8_t *p, uint32_t len);
};

static inline uint32_t bulk_piece(const struct bulk *b, enum bulk_from from, uint64_t pos, uint8_t *to)
{
	uint32_t len = b->bytes - pos < BULK_PIECE ? (uint32_t)(b->bytes - pos) : BULK_PIECE;

	b->make(from, pos, to, len);
	return len;
}

/* The kernel's side, which ends with its socket closed. */
static inline void bulk_kernel(const struct bulk *b, int fd)
{
	static uint8_t out[BULK_PIECE], in[BULK_PIECE];
	uint64_t sent = 0, got = 0;
	uint32_t have = 0, at = 0;
	bool end = false;

	while (sent < b->bytes || !end) {
		struct pollfd p = { fd, (short)((end ? 0 : POLLIN) | (sent < b->bytes ? POLLOUT : 0)), 0 };
		ssize_t n;

		CHECK(poll(&p, 1, 100000) > 0);
		if (at == have && sent < b->bytes) {
			have = bulk_piece(b, FROM_KERNEL, sent, out);
			at = 0;
		}
		if (p.revents & POLLOUT && at < have) {
			n = send(fd, out + at, have - at, MSG_DONTWAIT | MSG_NOSIGNAL);
			CHECK(n >= 0 || errno == EAGAIN);
			at += n > 0 ? (uint32_t)n : 0;
			sent += n > 0 ? (uint64_t)n : 0;
			if (sent == b->bytes)
				OK(shutdown(fd, SHUT_WR));
		}
		if (p.revents & (POLLIN | POLLHUP)) {
			n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			CHECK(n >= 0 || errno == EAGAIN);
			if (n > 0)
				b->came(FROM_STACK, got, in, (uint32_t)n);
			got += n > 0 ? (uint64_t)n : 0;
			end = n == 0;
		}
	}
	CHECK_EQ(got, b->bytes);
	close(fd);
}

/* The stack's, likewise. */
static inline void bulk_stack(const struct bulk *b, int qd)
{
	uint8_t *out = demi_malloc(BULK_PIECE);
	demi_qtoken_t qts[2] = { pop_start(qd), 0 };
	uint64_t sent = 0, got = 0;
	bool end = false, pushing = false;
	demi_qresult_t qr;
	uint32_t n;
	int at;

	CHECK(out);
	while (!end || sent < b->bytes || pushing) {
		if (!pushing && sent < b->bytes) {
			n = bulk_piece(b, FROM_STACK, sent, out);
			qts[1] = push_start(qd, out, n);
			sent += n;
			pushing = true;
			if (sent == b->bytes)
				OK(demi_shutdown(qd, SHUT_WR));
		}
		at = end;
		if (!end && pushing)
			OK(demi_wait_any(&qr, &at, qts, 2, NULL));
		else
			OK(demi_wait(&qr, qts[at], NULL));
		CHECK_EQ(qr.qr_opcode, at ? DEMI_OPC_PUSH : DEMI_OPC_POP);
		if (at) {
			pushing = false;
			continue;
		}
		n = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		if (n)
			b->came(FROM_KERNEL, got, qr.qr_value.sga.sga_segs[0].sgaseg_buf, n);
		got += n;
		end = n == 0;
		OK(demi_sgafree(&qr.qr_value.sga));
		if (!end)
			qts[0] = pop_start(qd);
	}
	CHECK_EQ(got, b->bytes);
	demi_free(out);
	OK(demi_close(qd));
}

/* ---- bytes that tell their place ---- */

static inline uint8_t bulk_byte(enum bulk_from from, uint64_t pos)
{
	uint64_t x = (pos / 8 + from + 1) * 0x9e3779b97f4a7c15;

	return (uint8_t)((x ^ x >> 31) >> (pos % 8 * 8));
}

static inline void bulk_make(enum bulk_from from, uint64_t pos, uint8_t *to, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = bulk_byte(from, pos + i);
}

static inline void bulk_came(enum bulk_from from, uint64_t pos, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		CHECK_EQ(p[i], bulk_byte(from, pos + i));
}

/* ---- the connection ---- */

static inline socklen_t bulk_address(struct sockaddr_storage *ss, int domain, int host)
{
	struct sockaddr_in *a4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)domain;
	if (domain == AF_INET) {
		a4->sin_port = htons(PORT);
		a4->sin_addr.s_addr = htonl(0x0a090000U + (uint32_t)host);
		return sizeof(*a4);
	}
	a6->sin6_port = htons(PORT);
	a6->sin6_addr = (struct in6_addr){ .s6_addr = { 0xfd, 0x09, [15] = (uint8_t)host } };
	return sizeof(*a6);
}

/* A socket of the kernel's that listens. */
static inline int bulk_listen(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, domain, 1);
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	CHECK(fd >= 0);
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	while (bind(fd, (struct sockaddr *)&ss, len)) { /* IPv6 addresses take a moment */
		CHECK_EQ(errno, EADDRNOTAVAIL);
		sleep_ms(20);
	}
	OK(listen(fd, 8));
	return fd;
}

/* The stack connects to the kernel's socket that listens, which the kernel answers without a thread of ours. */
static inline int bulk_connect(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, domain, 1);
	demi_qtoken_t qt;
	demi_qresult_t qr;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	if (qr.qr_opcode == DEMI_OPC_FAILED)
		printf("connect: %s\n", strerror((int)qr.qr_ret));
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	return qd;
}

/* That connection's socket of the kernel's; nobody listens any more. */
static inline int bulk_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	CHECK(fd >= 0);
	close(listener);
	return fd;
}

struct bulk_peer {
	pthread_t thread;
	const struct bulk *bulk;
	int domain;
	int listener; /* or -1: the kernel connects */
};

static inline void *bulk_peer_run(void *arg)
{
	struct bulk_peer *p = arg;
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, p->domain, 2);
	int fd;

	if (p->listener >= 0) {
		fd = bulk_accept(p->listener);
	} else {
		fd = socket(p->domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fd >= 0);
		for (int i = 0; connect(fd, (struct sockaddr *)&ss, len); i++) { /* it may not listen yet */
			CHECK(errno == ECONNREFUSED && i < 1000);
			sleep_ms(5);
		}
	}
	bulk_kernel(p->bulk, fd);
	return NULL;
}

/* A driver may have signals sent for what it does: a thread of the kernel's side does not take them. */
static inline void bulk_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, before;

	sigfillset(&all);
	OK(pthread_sigmask(SIG_SETMASK, &all, &before));
	OK(pthread_create(thread, NULL, fn, arg));
	OK(pthread_sigmask(SIG_SETMASK, &before, NULL));
}

/* All of it. @active: the kernel connects. @look, if there is one, looks at the connection before it is used. */
static inline void bulk_run(const struct bulk *b, int domain, bool active, void (*look)(int qd))
{
	struct bulk_peer p = { .bulk = b, .domain = domain, .listener = active ? -1 : bulk_listen(domain) };
	struct sockaddr_storage ss;
	socklen_t len = bulk_address(&ss, domain, 2);
	int qd = -1, listener = -1;
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;

	if (active) {
		OK(demi_socket(&listener, domain, SOCK_STREAM, 0));
		OK(demi_bind(listener, (struct sockaddr *)&ss, len));
		OK(demi_listen(listener, 8));
		OK(demi_accept(&qt, listener));
	}
	bulk_start(&p.thread, bulk_peer_run, &p);
	if (active) {
		qr = wait_result(qt);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
		qd = qr.qr_value.ares.qd;
		OK(demi_close(listener));
	} else {
		qd = bulk_connect(domain);
	}
	if (look)
		look(qd);
	bulk_stack(b, qd);
	OK(pthread_join(p.thread, NULL));
}

#endif /* DEMI_SELFTESTS_INET_BULK_H */
