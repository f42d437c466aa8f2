/* SPDX-License-Identifier: MIT */
/* timeout: 180 */
/*
 * The stack on DPDK ports whose other side is this machine's kernel, in a network namespace of the test's own: on a TAP
 * device, which computes checksums and cuts segments, and by AF_PACKET on a veth pair. The kernel pings, sends
 * datagrams, connects and is connected to, over IPv4 and IPv6. The kernel has 10.9.0.1 and fd09::1, the stack
 * 10.9.0.2 and fd09::2.
 */
#include "dpdk_net.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>

#define PORT 7000
#define BULK 4000000

struct peer {
	pthread_t thread;
	int domain;
	bool active; /* the kernel connects */
	int ready;
};

static const int domains[2] = { AF_INET, AF_INET6 };

/* AF_PACKET as DPDK asks for it puts IPv4 fragments together, and drops what does not fit into its own frames then. */
static bool puts_together;

static uint8_t byte_at(uint32_t salt, uint64_t pos)
{
	uint64_t x = (pos / 8 + salt) * 0x9e3779b97f4a7c15;

	return (uint8_t)((x ^ x >> 31) >> (pos % 8 * 8));
}

static void fill(uint8_t *p, size_t len, uint32_t salt, uint64_t pos)
{
	for (size_t i = 0; i < len; i++)
		p[i] = byte_at(salt, pos + i);
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

/* ---- the kernel's side ---- */

static uint16_t sum(const void *p, size_t len)
{
	const uint16_t *w = p;
	uint32_t s = 0;

	for (; len > 1; len -= 2)
		s += *w++;
	s = (s & 0xffff) + (s >> 16);
	return (uint16_t) ~(s + (s >> 16));
}

/* Ten times 1,000 bytes there and back. The kernel checks the checksums of ICMPv6, this ICMP's. */
static void ping(int domain)
{
	struct sockaddr_storage to;
	socklen_t len = address(&to, domain, 2);
	int fd = socket(domain, SOCK_RAW, domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	uint8_t out[1008] = { domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST }, in[2048];

	CHECK(fd >= 0);
	if (domain == AF_INET6)
		((struct sockaddr_in6 *)&to)->sin6_port = 0;
	fill(out + 8, 1000, 3, 0);
	out[4] = 0x77;
	for (uint8_t seq = 1; seq <= 10; seq++) {
		size_t skip = domain == AF_INET ? 20 : 0;
		ssize_t n;

		out[7] = seq;
		out[2] = out[3] = 0;
		if (domain == AF_INET) {
			uint16_t s = sum(out, sizeof(out));

			memcpy(out + 2, &s, 2);
		}
		while (sendto(fd, out, sizeof(out), 0, (struct sockaddr *)&to, len) < 0) {
			CHECK(errno == EADDRNOTAVAIL || errno == ENETUNREACH); /* IPv6 takes a moment */
			sleep_ms(20);
		}
		do { /* others' messages come, too */
			n = recv(fd, in, sizeof(in), 0);
			CHECK(n > 0);
		} while (in[skip] != (domain == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY));
		CHECK_EQ(n, skip + sizeof(out));
		CHECK(!memcmp(in + skip + 4, out + 4, sizeof(out) - 4));
		if (domain == AF_INET)
			CHECK_EQ(sum(in + skip, sizeof(out)), 0);
	}
	close(fd);
}

/* Datagrams of one to many fragments come back; one byte ends it. */
static void datagrams(int domain)
{
	static const size_t sizes[] = { 1000, 2, 1452, 1473, 9000, 30000, 64, 1 };
	static uint8_t out[30000], in[65536];
	struct sockaddr_storage to;
	socklen_t len = address(&to, domain, 2);
	int fd = socket(domain, SOCK_DGRAM, 0);

	CHECK(fd >= 0);
	fill(out, sizeof(out), 4, 0);
	OK(connect(fd, (struct sockaddr *)&to, len));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (sizes[i] > 1473 && puts_together && domain == AF_INET)
			continue;
		CHECK_EQ(send(fd, out, sizes[i], 0), sizes[i]);
		CHECK_EQ(recv(fd, in, sizeof(in), 0), sizes[i]);
		CHECK(!memcmp(in, out, sizes[i]));
	}
	close(fd);
}

static void *ping_and_datagrams(void *arg)
{
	struct peer *p = arg;

	ping(p->domain);
	datagrams(p->domain);
	return NULL;
}

/* DPDK's TAP driver has a signal sent for every frame: the other thread shall have it. */
static void start(struct peer *p, void *(*fn)(void *))
{
	sigset_t all, before;

	sigfillset(&all);
	OK(pthread_sigmask(SIG_SETMASK, &all, &before));
	OK(pthread_create(&p->thread, NULL, fn, p));
	OK(pthread_sigmask(SIG_SETMASK, &before, NULL));
}

/* Send and receive BULK bytes at once, then end this direction and read the other one's end. */
static void kernel_talk(int fd)
{
	static uint8_t out[65536], in[65536], want[65536];
	uint64_t sent = 0, got = 0;
	bool end = false;

	while (sent < BULK || !end) {
		struct pollfd p = { fd, (short)((end ? 0 : POLLIN) | (sent < BULK ? POLLOUT : 0)), 0 };
		ssize_t n;

		CHECK(poll(&p, 1, 60000) > 0);
		if (p.revents & POLLOUT) {
			size_t m = BULK - sent < sizeof(out) ? BULK - sent : sizeof(out);

			fill(out, m, 1, sent);
			n = send(fd, out, m, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0)
				CHECK_EQ(errno, EAGAIN);
			else
				sent += (uint64_t)n;
			if (sent == BULK)
				OK(shutdown(fd, SHUT_WR));
		}
		if (p.revents & (POLLIN | POLLHUP)) {
			n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
			if (n < 0) {
				CHECK_EQ(errno, EAGAIN);
				continue;
			}
			fill(want, (size_t)n, 2, got);
			CHECK(!memcmp(in, want, (size_t)n));
			got += (uint64_t)n;
			end = n == 0;
		}
	}
	CHECK_EQ(got, BULK);
	close(fd);
}

static void *kernel_tcp(void *arg)
{
	struct peer *p = arg;
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, p->domain, p->active ? 2 : 1);
	int fd = socket(p->domain, SOCK_STREAM, 0), one = 1, conn;

	CHECK(fd >= 0);
	if (p->active) {
		OK(connect(fd, (struct sockaddr *)&ss, len));
		kernel_talk(fd);
		return NULL;
	}
	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	OK(bind(fd, (struct sockaddr *)&ss, len));
	OK(listen(fd, 8));
	__atomic_store_n(&p->ready, 1, __ATOMIC_RELEASE);
	conn = accept(fd, NULL, NULL);
	CHECK(conn >= 0);
	close(fd);
	kernel_talk(conn);
	return NULL;
}

/* ---- this side ---- */

static void test_datagrams(int domain)
{
	struct peer p = { .domain = domain };
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, 2);
	uint32_t bytes;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	start(&p, ping_and_datagrams);
	do {
		demi_qresult_t qr = wait_result(pop_start(qd));
		demi_qtoken_t qt;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		bytes = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		len = sizeof(ss);
		OK(demi_sga_addr(&qr.qr_value.sga, &ss, &len));
		OK(demi_pushto(&qt, qd, &qr.qr_value.sga, (struct sockaddr *)&ss, len));
		OK(demi_sgafree(&qr.qr_value.sga));
		CHECK_EQ(wait_result(qt).qr_opcode, DEMI_OPC_PUSH);
	} while (bytes != 1);
	OK(pthread_join(p.thread, NULL));
	OK(demi_close(qd));
}

static void demi_talk(int qd)
{
	uint64_t sent = 0, got = 0;
	demi_qtoken_t qts[2] = { pop_start(qd), 0 };
	bool end = false, pushing = false;
	uint8_t *out = demi_malloc(65536), *want = demi_malloc(65536);
	demi_qresult_t qr;
	uint32_t n;
	int at;

	CHECK(out && want);
	while (!end || sent < BULK || pushing) {
		if (!pushing && sent < BULK) {
			n = BULK - sent < 65536 ? (uint32_t)(BULK - sent) : 65536;
			fill(out, n, 2, sent);
			qts[1] = push_start(qd, out, n);
			sent += n;
			pushing = true;
			if (sent == BULK)
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
		n = qr.qr_value.sga.sga_segs[0].sgaseg_len;
		CHECK(n <= 65536);
		fill(want, n, 1, got);
		CHECK(!n || !memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, want, n));
		got += n;
		end = n == 0;
		OK(demi_sgafree(&qr.qr_value.sga));
		if (!end)
			qts[0] = pop_start(qd);
	}
	CHECK_EQ(got, BULK);
	demi_free(out);
	demi_free(want);
	OK(demi_close(qd));
}

static void test_tcp(int domain, bool active)
{
	struct peer p = { .domain = domain, .active = active };
	struct sockaddr_storage ss;
	int qd = -1, listener = -1;
	demi_qtoken_t qt = 0;
	demi_qresult_t qr;
	socklen_t len;

	if (active) {
		len = address(&ss, domain, 2);
		OK(demi_socket(&listener, domain, SOCK_STREAM, 0));
		OK(demi_bind(listener, (struct sockaddr *)&ss, len));
		OK(demi_listen(listener, 8));
		OK(demi_accept(&qt, listener));
	}
	start(&p, kernel_tcp);
	if (!active) {
		while (!__atomic_load_n(&p.ready, __ATOMIC_ACQUIRE))
			sleep_ms(1);
		len = address(&ss, domain, 1);
		OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
		OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	}
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, active ? DEMI_OPC_ACCEPT : DEMI_OPC_CONNECT);
	if (active) {
		qd = qr.qr_value.ares.qd;
		OK(demi_close(listener));
	}
	demi_talk(qd);
	OK(pthread_join(p.thread, NULL));
}

static void on_veth(void)
{
	veth();
	puts_together = true;
}

/* In a process of its own: EAL starts once. */
static void on(const char *name, void (*begin)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(80);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own_network();
		begin();
		for (int i = 0; i < 2; i++) {
			test_datagrams(domains[i]);
			test_tcp(domains[i], true);
			test_tcp(domains[i], false);
		}
		exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		printf("on %s\n", name);
		exit(1);
	}
}

int main(void)
{
	alarm(170);
	dpdk_or_skip();
	on("tap", tap);
	on("af_packet", on_veth);
	return 0;
}
