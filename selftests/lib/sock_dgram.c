/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, valgrind */
/* Datagrams and records: whole, in order where there is one, with their source address. */
#include "sock_test.h"

static void push_to(int qd, const void *buf, uint32_t len, const struct sockaddr_storage *ss, socklen_t sslen)
{
	demi_sgarray_t sga = sga_of(buf, len);
	demi_qtoken_t qt;

	OK(demi_pushto(&qt, qd, &sga, (const struct sockaddr *)ss, sslen));
	wait_ok(qt, DEMI_OPC_PUSH);
}

static void check_from(const demi_sgarray_t *sga, const struct sockaddr_storage *want, socklen_t wantlen)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	CHECK(sga->sga_addr.sin_family == want->ss_family);
	if (want->ss_family == AF_INET)
		CHECK(!memcmp(&sga->sga_addr, want, sizeof(struct sockaddr_in)));
	if (want->ss_family == AF_INET6)
		CHECK(sga->sga_addr.sin_port == ((const struct sockaddr_in6 *)want)->sin6_port);
	OK(demi_sga_addr(sga, &ss, &len));
	CHECK(len == wantlen);
	CHECK(!memcmp(&ss, want, len));
}

static void test_addresses(int domain)
{
	struct sockaddr_storage sa, sb;
	socklen_t la, lb, len;
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	int a, b;

	a = bound(domain, SOCK_DGRAM, &sa, &la);
	b = bound(domain, SOCK_DGRAM, &sb, &lb);
	sga = sga_of("x", 1);
	CHECK_ERR(demi_push(&qt, a, &sga), EDESTADDRREQ);
	push_to(a, "hello", 5, &sb, lb);
	sga = pop(b);
	CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == 5);
	CHECK(!memcmp(sga.sga_segs[0].sgaseg_buf, "hello", 5));
	check_from(&sga, &sa, la);
	if (domain != AF_INET) { /* what the application may have destroyed is not believed */
		memset(sga.sga_buf, 0xff, 8);
		len = sizeof(sa);
		CHECK_ERR(demi_sga_addr(&sga, &sa, &len), ENOENT);
	}
	OK(demi_sgafree(&sga));
	OK(demi_close(a));
	OK(demi_close(b));
}

/* One push is one pop, whatever the sizes; none at all is legal too. */
static void test_sizes(int domain, uint32_t max)
{
	static const uint32_t sizes[] = { 0, 1, 1000, 0, 16383, 16384, 40000, 65507, 2 };
	static char out[70000];
	struct sockaddr_storage sb;
	socklen_t lb;
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	int a, b;

	b = bound(domain, SOCK_DGRAM, &sb, &lb);
	OK(demi_socket(&a, domain, SOCK_DGRAM, 0));
	for (uint32_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 13);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t len = sizes[i] < max ? sizes[i] : max;

		push_to(a, out, len, &sb, lb);
		pop_is(b, out, len);
	}
	/* in place: the push ends when the kernel has it */
	sga = demi_sgaalloc(60000);
	memset(sga.sga_segs[0].sgaseg_buf, 9, 60000);
	OK(demi_pushto(&qt, a, &sga, (struct sockaddr *)&sb, lb));
	wait_ok(qt, DEMI_OPC_PUSH);
	pop_is(b, sga.sga_segs[0].sgaseg_buf, 60000);
	OK(demi_sgafree(&sga));
	if (domain != AF_UNIX) {
		sga = sga_of(out, 65528);
		CHECK_ERR(demi_pushto(&qt, a, &sga, (struct sockaddr *)&sb, lb), EMSGSIZE);
	}
	/* a pop that is too small leaves the datagram where it is */
	push_to(a, "abcdef", 6, &sb, lb);
	OK(demi_pop_n(&qt, b, 5));
	wait_failed(qt, EMSGSIZE);
	OK(demi_pop_n(&qt, b, 6));
	sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 6 && !memcmp(sga.sga_segs[0].sgaseg_buf, "abcdef", 6));
	OK(demi_sgafree(&sga));
	OK(demi_close(a));
	OK(demi_close(b));
}

/* Many at once arrive, each as it was; between Unix sockets and on loopback also in order. */
static void test_burst(int domain, int type)
{
	struct sockaddr_storage sb;
	demi_qtoken_t qts[100];
	uint32_t msg[10];
	socklen_t lb;
	int a, b;

	if (type == SOCK_SEQPACKET) {
		make_pair(domain, type, &a, &b);
	} else {
		demi_qtoken_t qt;

		b = bound(domain, type, &sb, &lb);
		OK(demi_socket(&a, domain, type, 0));
		OK(demi_connect(&qt, a, (struct sockaddr *)&sb, lb));
		wait_ok(qt, DEMI_OPC_CONNECT);
	}
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 100; i++) {
			memset(msg, 0, sizeof(msg));
			msg[0] = i;
			qts[i] = push_start(a, msg, 4 + i % 36);
		}
		for (uint32_t i = 0; i < 100; i++)
			wait_ok(qts[i], DEMI_OPC_PUSH);
		for (uint32_t i = 0; i < 100; i++) {
			demi_sgarray_t sga = pop(b);
			uint32_t n;

			memcpy(&n, sga.sga_segs[0].sgaseg_buf, sizeof(n));
			CHECK(n == i || domain != AF_UNIX);
			CHECK(sga.sga_segs[0].sgaseg_len == 4 + n % 36);
			OK(demi_sgafree(&sga));
		}
	}
	if (type == SOCK_SEQPACKET) {
		OK(demi_close(a));
		pop_eof(b);
	} else {
		OK(demi_close(a));
	}
	OK(demi_close(b));
}

/* Nobody listens: the ICMP error comes as the result of a pop or push, and the socket lives on. */
static void test_refused(void)
{
	struct sockaddr_storage ss;
	socklen_t len;
	demi_qtoken_t qt;
	int a, b;

	b = bound(AF_INET, SOCK_DGRAM, &ss, &len);
	OK(demi_close(b));
	OK(demi_socket(&a, AF_INET, SOCK_DGRAM, 0));
	OK(demi_connect(&qt, a, (struct sockaddr *)&ss, len));
	wait_ok(qt, DEMI_OPC_CONNECT);
	qt = pop_start(a);
	push(a, "x", 1);
	wait_failed(qt, ECONNREFUSED);
	OK(demi_socket(&b, AF_INET, SOCK_DGRAM, 0));
	OK(demi_bind(b, (struct sockaddr *)&ss, len));
	push(a, "y", 1);
	pop_is(b, "y", 1);
	OK(demi_close(a));
	OK(demi_close(b));
}

/* A datagram that does not fit into a buffer is thrown away: never half of one as if it were whole. */
static void test_truncated(void)
{
	static char big[100000];
	struct sockaddr_storage ss;
	uint64_t dropped;
	demi_qtoken_t qt;
	socklen_t len;
	int qd, fd;

	qd = bound(AF_UNIX, SOCK_DGRAM, &ss, &len);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&ss, len));
	dropped = counter("dropped");
	qt = pop_start(qd);
	CHECK(send(fd, big, sizeof(big), 0) == sizeof(big));
	wait_none(qt);
	CHECK(counter("dropped") == dropped + 1);
	CHECK(send(fd, "whole", 5, 0) == 5);
	demi_sgarray_t sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 5 && !memcmp(sga.sga_segs[0].sgaseg_buf, "whole", 5));
	OK(demi_sgafree(&sga));
	close(fd);
	OK(demi_close(qd));
}

int main(void)
{
	test_init();
	test_addresses(AF_INET);
	test_addresses(AF_INET6);
	test_sizes(AF_INET, 65507);
	test_sizes(AF_INET6, 65487); /* the most that a packet without a jumbo payload can have behind its header */
	test_burst(AF_INET, SOCK_DGRAM);
	test_burst(AF_INET6, SOCK_DGRAM);
	test_refused();
	if (has_domain(AF_UNIX)) {
		test_truncated();
		test_addresses(AF_UNIX);
		test_sizes(AF_UNIX, 65507);
		test_burst(AF_UNIX, SOCK_DGRAM);
		test_burst(AF_UNIX, SOCK_SEQPACKET);
	}
	return 0;
}
