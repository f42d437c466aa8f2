/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, threads, timeout: 180 */
/*
 * The stack against the kernel's TCP, over a TUN device: both open, both send, both close, also at once; with and
 * without segmentation by the device, with jumbo frames, with loss.
 */
#include "tun.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>

#define PORT 7000

static size_t bulk = SLOW ? 2000000 : 20000000;

struct peer {
	pthread_t thread;
	int domain;
	bool active; /* the kernel connects */
	int ready; /* listening; set before the thread runs on */
};

static uint8_t byte_at(uint32_t salt, uint64_t pos)
{
	uint64_t x = (pos / 8 + salt) * 0x9e3779b97f4a7c15;

	return (uint8_t)((x ^ x >> 31) >> (pos % 8 * 8));
}

static socklen_t address(struct sockaddr_storage *ss, int domain, int host)
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
	inet_pton(AF_INET6, host == 1 ? "fd09::1" : "fd09::2", &a6->sin6_addr);
	return sizeof(*a6);
}

/* Send and receive `bulk` bytes at once, then end this direction and read the other one's end. */
static void kernel_talk(int fd)
{
	static uint8_t out[65536], in[65536];
	uint64_t sent = 0, got = 0;
	bool end = false;

	while (sent < bulk || !end) {
		struct pollfd p = { fd, (short)((end ? 0 : POLLIN) | (sent < bulk ? POLLOUT : 0)), 0 };
		ssize_t n;

		CHECK(poll(&p, 1, 60000) > 0);
		if (p.revents & POLLOUT) {
			size_t m = bulk - sent < sizeof(out) ? bulk - sent : sizeof(out);

			for (size_t i = 0; i < m; i++)
				out[i] = byte_at(1, sent + i);
			n = send(fd, out, m, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0)
				CHECK_EQ(errno, EAGAIN);
			else
				sent += (uint64_t)n;
			if (sent == bulk)
				OK(shutdown(fd, SHUT_WR));
		}
		if (p.revents & (POLLIN | POLLHUP)) {
			n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			if (n < 0) {
				CHECK_EQ(errno, EAGAIN);
				continue;
			}
			for (ssize_t i = 0; i < n; i++)
				CHECK_EQ(in[i], byte_at(2, got + (uint64_t)i));
			got += (uint64_t)n;
			end = n == 0;
		}
	}
	CHECK_EQ(got, bulk);
	close(fd);
}

static void *kernel_side(void *arg)
{
	struct peer *p = arg;
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, p->domain, p->active ? 2 : 1);
	int fd = socket(p->domain, SOCK_STREAM, 0), one = 1, conn;

	CHECK(fd >= 0);
	if (p->active) {
		for (int i = 0; connect(fd, (struct sockaddr *)&ss, len); i++) { /* it may not listen yet */
			CHECK(errno == ECONNREFUSED && i < 1000);
			sleep_ms(5);
		}
		kernel_talk(fd);
		return NULL;
	}
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	while (bind(fd, (struct sockaddr *)&ss, len)) { /* IPv6 addresses take a moment */
		CHECK_EQ(errno, EADDRNOTAVAIL);
		sleep_ms(50);
	}
	OK(listen(fd, 8));
	__atomic_store_n(&p->ready, 1, __ATOMIC_RELEASE);
	conn = accept(fd, NULL, NULL);
	CHECK(conn >= 0);
	close(fd);
	kernel_talk(conn);
	return NULL;
}

/* The same from this side. */
static void demi_talk(int qd)
{
	uint64_t sent = 0, got = 0;
	demi_qtoken_t qts[2] = { pop_start(qd), 0 };
	bool end = false, pushing = false;
	uint8_t *out = demi_malloc(65536);
	demi_qresult_t qr;
	int at;

	CHECK(out);
	while (!end || sent < bulk || pushing) {
		if (!pushing && sent < bulk) {
			uint32_t n = bulk - sent < 65536 ? (uint32_t)(bulk - sent) : 65536;

			for (uint32_t i = 0; i < n; i++)
				out[i] = byte_at(2, sent + i);
			qts[1] = push_start(qd, out, n);
			sent += n;
			pushing = true;
			if (sent == bulk)
				OK(demi_shutdown(qd, SHUT_WR));
		}
		if (!end && pushing) {
			OK(demi_wait_any(&qr, &at, qts, 2, NULL));
		} else {
			at = end;
			OK(demi_wait(&qr, qts[at], NULL));
		}
		if (at == 1) {
			CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
			pushing = false;
			continue;
		}
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++)
			CHECK_EQ(((uint8_t *)qr.qr_value.sga.sga_segs[0].sgaseg_buf)[i], byte_at(1, got + i));
		got += qr.qr_value.sga.sga_segs[0].sgaseg_len;
		end = qr.qr_value.sga.sga_segs[0].sgaseg_len == 0;
		OK(demi_sgafree(&qr.qr_value.sga));
		if (!end)
			qts[0] = pop_start(qd);
	}
	CHECK_EQ(got, bulk);
	demi_free(out);
	OK(demi_close(qd));
}

/* What the device lets through is made use of. */
static void check_mss(int qd)
{
	struct tcp_info i = { .tcpi_state = 0 };
	socklen_t len = sizeof(i);

	OK(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &i, &len));
	CHECK(i.tcpi_snd_mss >= (uint32_t)tun.mtu - 100 && i.tcpi_snd_mss < (uint32_t)tun.mtu);
}

static void one(int domain, bool active)
{
	struct peer p = { .domain = domain, .active = active };
	struct sockaddr_storage ss;
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;
	socklen_t len;
	int qd = -1, listener = -1;

	if (active) {
		len = address(&ss, domain, 2);
		OK(demi_socket(&listener, domain, SOCK_STREAM, 0));
		OK(demi_bind(listener, (struct sockaddr *)&ss, len));
		OK(demi_listen(listener, 8));
		OK(demi_accept(&qt, listener));
	}
	OK(pthread_create(&p.thread, NULL, kernel_side, &p));
	if (!active) {
		while (!__atomic_load_n(&p.ready, __ATOMIC_ACQUIRE))
			sleep_ms(1);
		len = address(&ss, domain, 1);
		OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
		OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	}
	qr = wait_result(qt);
	if (active) {
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
		qd = qr.qr_value.ares.qd;
		OK(demi_close(listener));
	} else {
		if (qr.qr_opcode == DEMI_OPC_FAILED)
			printf("connect: %s\n", strerror((int)qr.qr_ret));
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	}
	check_mss(qd);
	demi_talk(qd);
	OK(pthread_join(p.thread, NULL));
}

static void await_state(int fd, uint8_t state)
{
	struct tcp_info i = { .tcpi_state = 0 };
	socklen_t len = sizeof(i);

	for (;;) {
		demi_qresult_t qr;
		int n;

		OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
		if (i.tcpi_state == state)
			return;
		demi_wait_next_n(&qr, 1, &n, &check_now); /* the stack's turn */
	}
}

/* Both have sent their FIN before they see the other's: the kernel is in CLOSING, and gets out of it. */
static void simultaneous_close(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, 1);
	int fd = socket(domain, SOCK_STREAM, 0), one = 1, conn, qd = -1;
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;

	CHECK(fd >= 0);
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	OK(bind(fd, (struct sockaddr *)&ss, len));
	OK(listen(fd, 1));
	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	conn = accept(fd, NULL, NULL);
	CHECK(conn >= 0);
	close(fd);
	tun.deaf = true;
	OK(shutdown(conn, SHUT_WR));
	OK(demi_close(qd));
	await_state(conn, TCP_CLOSING);
	tun.deaf = false;
	await_state(conn, TCP_CLOSE); /* what is left is TIME-WAIT, and no socket's */
	close(conn);
}

static void refused(void)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, AF_INET, 1);
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;
	int qd = -1;

	OK(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

static void *context(void *arg)
{
	int mode = (int)(intptr_t)arg;

	tun.mtu = mode == 2 ? 9000 : 1500;
	tun_init(mode == 1);
	tun.drop_every = mode == 3 ? 97 : 0;
	if (mode == 3)
		bulk /= 10;
	refused();
	one(AF_INET, false);
	one(AF_INET, true);
	one(AF_INET6, false);
	one(AF_INET6, true);
	if (mode < 2) {
		simultaneous_close(AF_INET);
		simultaneous_close(AF_INET6);
	}
	printf("mode %d: retransmitted %llu, timeouts %llu, recoveries %llu, spurious %llu, probes %llu\n", mode,
	       (unsigned long long)counter("TcpRetransSegs"), (unsigned long long)counter("TcpExtTCPTimeouts"),
	       (unsigned long long)counter("TcpExtTCPFastRecovery"),
	       (unsigned long long)counter("TcpExtTCPSpuriousRTOs"),
	       (unsigned long long)counter("TcpExtTCPLossProbes"));
	return NULL;
}

int main(void)
{
	alarm(170);
	setbuf(stdout, NULL);
	tun_unshare();
	for (int mode = 0; mode < 4; mode++) { /* plain, offloads, jumbo frames, loss */
		pthread_t t;

		OK(pthread_create(&t, NULL, context, (void *)(intptr_t)mode));
		OK(pthread_join(t, NULL));
	}
	return 0;
}
