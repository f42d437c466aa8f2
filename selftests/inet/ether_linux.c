/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, threads, timeout: 120 */
/*
 * lib/ether against the kernel, over a TAP device: pings, datagrams of any size and streams both ways, IPv4 and IPv6;
 * an address that is taken; a router; a neighbour that is not there; groups.
 */
#include "tap.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>

#define PORT 7000

static size_t bulk = SLOW ? 300000 : 3000000;

static int idle = -1; /* a socket of ours that nothing comes to: waiting on it drives the stack */
static demi_qtoken_t idle_qt;

/* ---- the kernel's side runs in a thread ---- */

static void (*job)(void);
static int job_done;

static void *job_thread(void *arg)
{
	job();
	__atomic_store_n(&job_done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static pthread_t start(void (*fn)(void))
{
	pthread_t t;

	job = fn;
	job_done = 0;
	OK(pthread_create(&t, NULL, job_thread, NULL));
	return t;
}

/* Let the stack run until the kernel's side has done its part. */
static void serve(pthread_t t)
{
	struct timespec ms = { 0, 1000000 };
	demi_qresult_t qr;

	while (!__atomic_load_n(&job_done, __ATOMIC_ACQUIRE))
		CHECK_EQ(demi_wait(&qr, idle_qt, &ms), ETIMEDOUT);
	OK(pthread_join(t, NULL));
}

static void run_for(uint32_t ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };
	demi_qresult_t qr;

	CHECK_EQ(demi_wait(&qr, idle_qt, &ts), ETIMEDOUT);
}

static socklen_t address(struct sockaddr_storage *ss, int domain, const char *ip)
{
	struct sockaddr_in *a4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)domain;
	if (domain == AF_INET) {
		a4->sin_port = htons(PORT);
		CHECK_EQ(inet_pton(AF_INET, ip, &a4->sin_addr), 1);
		return sizeof(*a4);
	}
	a6->sin6_port = htons(PORT);
	CHECK_EQ(inet_pton(AF_INET6, ip, &a6->sin6_addr), 1);
	return sizeof(*a6);
}

static const char *kernel_ip(int domain)
{
	return domain == AF_INET ? "10.9.0.1" : "fd09::1";
}

static const char *own_ip(int domain)
{
	return domain == AF_INET ? "10.9.0.2" : "fd09::2";
}

static int kernel_socket(int domain, int type, int protocol)
{
	struct timeval tv = { 20, 0 };
	int fd = socket(domain, type, protocol);

	CHECK(fd >= 0);
	OK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	return fd;
}

static void fill(uint8_t *p, size_t len, uint32_t salt)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i + salt) * 0x9e3779b1U >> 13);
}

/* ---- pings ---- */

static void ping(int domain, size_t len)
{
	int fd = kernel_socket(domain, SOCK_RAW, domain == AF_INET ? IPPROTO_ICMP : (int)IPPROTO_ICMPV6);
	static uint8_t out[65536], in[65536];
	size_t skip = domain == AF_INET ? 20 : 0;
	struct sockaddr_storage ss;
	socklen_t sslen = address(&ss, domain, own_ip(domain));
	uint32_t sum = 0;
	ssize_t n;

	((struct sockaddr_in6 *)&ss)->sin6_port = 0;
	memset(out, 0, 8);
	out[0] = domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	out[4] = 0x77;
	fill(out + 8, len, 5);
	if (domain == AF_INET) {
		for (size_t i = 0; i < 8 + len; i++)
			sum += i % 2 ? out[i] : (uint32_t)out[i] << 8;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		out[2] = (uint8_t)(~sum >> 8);
		out[3] = (uint8_t)~sum;
	}
	while ((n = sendto(fd, out, 8 + len, 0, (struct sockaddr *)&ss, sslen)) < 0) {
		CHECK(errno == EADDRNOTAVAIL || errno == ENETUNREACH); /* IPv6 addresses take a moment */
		sleep_ms(20);
	}
	CHECK_EQ(n, (ssize_t)(8 + len));
	do {
		n = recv(fd, in, sizeof(in), 0);
		CHECK(n > 0);
	} while (in[skip] != (domain == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY));
	CHECK_EQ(n, (ssize_t)(skip + 8 + len));
	CHECK(!memcmp(in + skip + 4, out + 4, 4 + len));
	close(fd);
}

static void pings(void)
{
	static const size_t lens[] = { 0, 56, 1400, 3000, 30000, 64000 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		ping(AF_INET, lens[i]);
		ping(AF_INET6, lens[i]);
	}
}

/* ---- datagrams ---- */

static const size_t dgram_lens[] = { 1, 1000, 1452, 1472, 1473, 9000, 30000, 65000 };
#define DGRAM_LENS (sizeof(dgram_lens) / sizeof(dgram_lens[0]))

static int domain_now;

/* To the stack and back. */
static void kernel_dgrams(void)
{
	int fd = kernel_socket(domain_now, SOCK_DGRAM, 0);
	static uint8_t out[65536], in[65536];
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain_now, own_ip(domain_now));

	OK(connect(fd, (struct sockaddr *)&ss, len));
	for (size_t i = 0; i < DGRAM_LENS; i++) {
		fill(out, dgram_lens[i], (uint32_t)i);
		CHECK_EQ(send(fd, out, dgram_lens[i], 0), (ssize_t)dgram_lens[i]);
		CHECK_EQ(recv(fd, in, sizeof(in), 0), (ssize_t)dgram_lens[i]);
		CHECK(!memcmp(in, out, dgram_lens[i]));
	}
	close(fd);
}

static void echo_dgrams(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, own_ip(domain));
	demi_qresult_t qr;
	pthread_t t;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	domain_now = domain;
	t = start(kernel_dgrams);
	for (size_t i = 0; i < DGRAM_LENS; i++) {
		struct sockaddr_storage from;
		socklen_t fromlen = sizeof(from);
		demi_qtoken_t qt;

		qr = wait_result(pop_start(qd));
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, dgram_lens[i]);
		OK(demi_sga_addr(&qr.qr_value.sga, &from, &fromlen));
		OK(demi_pushto(&qt, qd, &qr.qr_value.sga, (struct sockaddr *)&from, fromlen));
		OK(demi_sgafree(&qr.qr_value.sga));
		qr = wait_result(qt);
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	}
	serve(t);
	OK(demi_close(qd));
}

/* A port that nobody has: the kernel's socket is told, and so is ours. */
static void kernel_refused(void)
{
	int fd = kernel_socket(domain_now, SOCK_DGRAM, 0);
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain_now, own_ip(domain_now));
	char c;

	OK(connect(fd, (struct sockaddr *)&ss, len));
	CHECK_EQ(send(fd, "x", 1, 0), 1);
	CHECK_EQ(recv(fd, &c, 1, 0), -1);
	CHECK_EQ(errno, ECONNREFUSED);
	close(fd);
	fd = kernel_socket(domain_now, SOCK_STREAM, 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&ss, len), -1);
	CHECK_EQ(errno, ECONNREFUSED);
	close(fd);
}

static void refused(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, kernel_ip(domain));
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd = -1;

	domain_now = domain;
	serve(start(kernel_refused));
	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	wait_result(qt);
	push_bytes(qd, "x", 1);
	qr = wait_result(pop_start(qd));
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

/* ---- streams ---- */

static void kernel_echo(int fd)
{
	static uint8_t buf[65536];
	ssize_t n, m;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t at = 0; at < n; at += m) {
			m = send(fd, buf + at, (size_t)(n - at), MSG_NOSIGNAL);
			CHECK(m > 0);
		}
	}
	CHECK_EQ(n, 0);
	close(fd);
}

static int listening;

static void kernel_server(void)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain_now, kernel_ip(domain_now));
	int fd = kernel_socket(domain_now, SOCK_STREAM, 0), one = 1, conn;

	OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	OK(bind(fd, (struct sockaddr *)&ss, len));
	OK(listen(fd, 1));
	__atomic_store_n(&listening, 1, __ATOMIC_RELEASE);
	conn = accept(fd, NULL, NULL);
	CHECK(conn >= 0);
	close(fd);
	kernel_echo(conn);
}

static void kernel_client(void)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain_now, own_ip(domain_now));
	int fd = kernel_socket(domain_now, SOCK_STREAM, 0);

	OK(connect(fd, (struct sockaddr *)&ss, len));
	kernel_echo(fd);
}

/* Push and pop `bulk` bytes, which come back. */
static void stream(int qd)
{
	static uint8_t out[32768];
	size_t sent = 0, got = 0;

	fill(out, sizeof(out), 1);
	while (got < bulk) {
		demi_qresult_t qr;
		size_t n = sizeof(out);

		push_bytes(qd, out, n);
		for (sent += n; got < sent;) {
			qr = wait_result(pop_start(qd));
			CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
			n = qr.qr_value.sga.sga_segs[0].sgaseg_len;
			CHECK(n > 0);
			for (size_t i = 0; i < n; i++)
				CHECK_EQ(((uint8_t *)qr.qr_value.sga.sga_segs[0].sgaseg_buf)[i],
					 out[(got + i) % sizeof(out)]);
			got += n;
			OK(demi_sgafree(&qr.qr_value.sga));
		}
	}
	OK(demi_close(qd));
}

static void connect_stream(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, kernel_ip(domain));
	demi_qresult_t qr;
	demi_qtoken_t qt;
	pthread_t t;
	int qd = -1;

	domain_now = domain;
	listening = 0;
	t = start(kernel_server);
	while (!__atomic_load_n(&listening, __ATOMIC_ACQUIRE))
		run_for(1);
	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	stream(qd);
	serve(t);
}

static void accept_stream(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, own_ip(domain));
	demi_qresult_t qr;
	demi_qtoken_t qt;
	pthread_t t;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	OK(demi_listen(qd, 4));
	OK(demi_accept(&qt, qd));
	domain_now = domain;
	t = start(kernel_client);
	qr = wait_result(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	OK(demi_close(qd));
	stream(qr.qr_value.ares.qd);
	serve(t);
}

/* This host with itself. */
static void own_dgrams(int domain)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, own_ip(domain));
	static uint8_t out[20000];
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int a = -1, b = -1;

	fill(out, sizeof(out), 9);
	OK(demi_socket(&a, domain, SOCK_DGRAM, 0));
	OK(demi_socket(&b, domain, SOCK_DGRAM, 0));
	OK(demi_bind(a, (struct sockaddr *)&ss, len));
	CHECK_EQ(demi_bind(b, (struct sockaddr *)&ss, len), EADDRINUSE);
	OK(demi_connect(&qt, b, (struct sockaddr *)&ss, len));
	wait_result(qt);
	push_bytes(b, out, sizeof(out));
	qr = wait_result(pop_start(a));
	check_popped(&qr, out, sizeof(out));
	OK(demi_close(a));
	OK(demi_close(b));
}

/* ---- nobody there ---- */

static void neighbour_gone(int domain, const char *ip)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, ip);
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	wait_result(qt);
	push_bytes(qd, "x", 1);
	qr = wait_result(pop_start(qd));
	check_failed(&qr, EHOSTUNREACH);
	OK(demi_close(qd));
	OK(demi_socket(&qd, domain, SOCK_STREAM, 0));
	OK(demi_connect(&qt, qd, (struct sockaddr *)&ss, len));
	qr = wait_result(qt);
	check_failed(&qr, EHOSTUNREACH);
	OK(demi_close(qd));
}

/* ---- groups ---- */

static int capture(void)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = tap.ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));

	CHECK(fd >= 0);
	OK(bind(fd, (struct sockaddr *)&ll, sizeof(ll)));
	return fd;
}

/* Until a frame comes that has these bytes there. */
static void await_frame(int fd, uint32_t off, const void *bytes, size_t len)
{
	uint8_t f[2048];
	ssize_t n;

	for (;;) {
		n = recv(fd, f, sizeof(f), 0);
		if (n >= (ssize_t)(off + len) && !memcmp(f + 6, tap_mac, 6) && !memcmp(f + off, bytes, len))
			return;
		if (n < 0)
			run_for(1);
	}
}

static void groups(void)
{
	struct ip_mreqn m4 = { .imr_multiaddr.s_addr = htonl(0xe1020304) };
	struct ipv6_mreq m6 = { .ipv6mr_interface = 0 };
	static const uint8_t report4[] = { 0x22, 0 }, record4[] = { 4, 0, 0, 0, 225, 2, 3, 4 };
	static const uint8_t left4[] = { 3, 0, 0, 0, 225, 2, 3, 4 };
	uint8_t record6[20] = { 4 };
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, AF_INET6, "::");
	int fd = capture(), qd = -1, out;
	demi_qresult_t qr;

	inet_pton(AF_INET6, "ff05::1234", &m6.ipv6mr_multiaddr);
	memcpy(record6 + 4, &m6.ipv6mr_multiaddr, 16);
	OK(demi_socket(&qd, AF_INET6, SOCK_DGRAM, 0));
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	OK(demi_setsockopt(qd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m4, sizeof(m4)));
	await_frame(fd, 14 + 24 + 8, record4, sizeof(record4));
	await_frame(fd, 14 + 24, report4, 2); /* once more */
	OK(demi_setsockopt(qd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m6, sizeof(m6)));
	await_frame(fd, 14 + 48 + 8, record6, sizeof(record6));
	/* what the kernel sends to the group comes */
	out = kernel_socket(AF_INET6, SOCK_DGRAM, 0);
	len = address(&ss, AF_INET6, "ff05::1234");
	OK(setsockopt(out, IPPROTO_IPV6, IPV6_MULTICAST_IF, &tap.ifindex, sizeof(tap.ifindex)));
	CHECK_EQ(sendto(out, "group", 5, 0, (struct sockaddr *)&ss, len), 5);
	qr = wait_result(pop_start(qd));
	check_popped(&qr, "group", 5);
	close(out);
	OK(demi_setsockopt(qd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m4, sizeof(m4)));
	await_frame(fd, 14 + 24 + 8, left4, sizeof(left4));
	OK(demi_close(qd));
	close(fd);
}

/* ---- contexts ---- */

static void open_idle(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(9) };

	OK(demi_socket(&idle, AF_INET, SOCK_DGRAM, 0));
	OK(demi_bind(idle, (struct sockaddr *)&sin, sizeof(sin)));
	idle_qt = pop_start(idle);
}

static void *everything(void *arg)
{
	tap_init("10.9.0.2/24,fd09::2/64", "10.9.0.1,fd09::1", DEMI_INET_DAD_OPTIMISTIC);
	open_idle();
	serve(start(pings));
	echo_dgrams(AF_INET);
	echo_dgrams(AF_INET6);
	refused(AF_INET);
	refused(AF_INET6);
	connect_stream(AF_INET);
	accept_stream(AF_INET);
	connect_stream(AF_INET6);
	accept_stream(AF_INET6);
	own_dgrams(AF_INET);
	own_dgrams(AF_INET6);
	neighbour_gone(AF_INET, "10.9.0.77");
	neighbour_gone(AF_INET6, "fd09::77");
	groups();
	return NULL;
}

/* Is one of these addresses not ours? */
static bool unusable(int domain, const char *ip)
{
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, domain, ip);
	int qd = -1, err;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	err = demi_bind(qd, (struct sockaddr *)&ss, len);
	OK(demi_close(qd));
	CHECK(!err || err == EADDRNOTAVAIL);
	return err;
}

/* The kernel has two of these addresses, and says so. */
static void *taken(void *arg)
{
	tap_init("10.9.0.1/24,fd09::1/64,10.9.0.2/24,fd09::2/64", "10.9.0.1,fd09::1", DEMI_INET_DAD_OPTIMISTIC);
	open_idle();
	CHECK(!unusable(AF_INET, "10.9.0.1") && !unusable(AF_INET6, "fd09::1"));
	while (!unusable(AF_INET, "10.9.0.1") || !unusable(AF_INET6, "fd09::1"))
		run_for(50);
	CHECK(!unusable(AF_INET, "10.9.0.2") && !unusable(AF_INET6, "fd09::2"));
	serve(start(pings));
	return NULL;
}

/* ---- a router ---- */

/* An advertisement from the kernel's side: fd0a::/64, on the link, for addresses. */
static void advertise(int fd)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_IPV6),
				  .sll_ifindex = tap.ifindex };
	static const uint8_t dst[] = { 0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xaa, 0x86, 0xdd };
	uint8_t f[14 + 40 + 16 + 32] = { 0 }, *ip = f + 14, *m = ip + 40;
	uint32_t sum = 58 + 48;

	memcpy(f, dst, sizeof(dst));
	ip[0] = 0x60;
	ip[5] = 48;
	ip[6] = 58;
	ip[7] = 255;
	inet_pton(AF_INET6, "fe80::aa", ip + 8);
	inet_pton(AF_INET6, "ff02::1", ip + 24);
	m[0] = ND_ROUTER_ADVERT;
	m[6] = 7; /* 1,800 s or so */
	m[16] = ND_OPT_PREFIX_INFORMATION;
	m[17] = 4;
	m[18] = 64;
	m[19] = ND_OPT_PI_FLAG_ONLINK | ND_OPT_PI_FLAG_AUTO;
	m[22] = m[26] = 7;
	inet_pton(AF_INET6, "fd0a::", m + 32);
	for (size_t i = 8; i < 40 + 48; i++)
		sum += i % 2 ? ip[i] : (uint32_t)ip[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	m[2] = (uint8_t)(~sum >> 8);
	m[3] = (uint8_t)~sum;
	CHECK_EQ(sendto(fd, f, sizeof(f), 0, (struct sockaddr *)&ll, sizeof(ll)), (ssize_t)sizeof(f));
}

static void *routed(void *arg)
{
	static const uint8_t solicit[] = { ND_ROUTER_SOLICIT };
	static const char own[] = "fd0a::ff:fe00:9"; /* of 02:00:00:00:00:09 */
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, out, qd = -1;
	demi_qresult_t qr;

	tap_init("auto", NULL, DEMI_INET_DAD_OPTIMISTIC);
	fd = capture();
	OK(demi_socket(&qd, AF_INET6, SOCK_DGRAM, 0));
	idle = qd;
	len = address(&ss, AF_INET6, "::");
	((struct sockaddr_in6 *)&ss)->sin6_port = htons(9);
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	idle_qt = pop_start(idle);
	CHECK(unusable(AF_INET6, own));
	await_frame(fd, 14 + 40, solicit, sizeof(solicit));
	advertise(fd);
	while (unusable(AF_INET6, own))
		run_for(10);
	tap_address6("fd0a::1");
	OK(demi_socket(&qd, AF_INET6, SOCK_DGRAM, 0));
	len = address(&ss, AF_INET6, own);
	OK(demi_bind(qd, (struct sockaddr *)&ss, len));
	out = kernel_socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK_EQ(sendto(out, "hello", 5, 0, (struct sockaddr *)&ss, len), 5);
	qr = wait_result(pop_start(qd));
	check_popped(&qr, "hello", 5);
	close(out);
	close(fd);
	OK(demi_close(qd));
	return NULL;
}

static void in_context(void *(*fn)(void *))
{
	pthread_t t;

	OK(pthread_create(&t, NULL, fn, NULL));
	OK(pthread_join(t, NULL));
}

int main(void)
{
	alarm(110);
	setbuf(stdout, NULL);
	tap_unshare();
	in_context(everything);
	in_context(taken);
	in_context(routed);
	return 0;
}
