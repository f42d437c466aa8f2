/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, valgrind */
/* Byte streams: echo, limits of pops, ends, over TCP (IPv4, IPv6) and Unix sockets. */
#include "sock_test.h"

static void test_echo(int domain)
{
	char buf[300];
	int a, b;

	make_pair(domain, SOCK_STREAM, &a, &b);
	for (int i = 0; i < 1000; i++) {
		uint32_t len = 1 + (uint32_t)(i * 7) % sizeof(buf);
		demi_qtoken_t qt = pop_start(b);

		memset(buf, i, sizeof(buf));
		push(a, buf, len);
		demi_sgarray_t sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
		CHECK(sga.sga_segs[0].sgaseg_len == len);
		CHECK(!memcmp(sga.sga_segs[0].sgaseg_buf, buf, len));
		push(b, sga.sga_segs[0].sgaseg_buf, len);
		OK(demi_sgafree(&sga));
		pop_is(a, buf, len);
	}
	OK(demi_close(a));
	pop_eof(b);
	pop_eof(b);
	OK(demi_close(b));
}

/* Bytes beyond what a pop wants stay for the next. */
static void test_pop_n(int domain)
{
	char out[9000], in[9000];
	demi_qtoken_t qt, qts[3];
	demi_sgarray_t sga;
	int a, b;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31);
	make_pair(domain, SOCK_STREAM, &a, &b);
	push(a, out, 10);
	OK(demi_pop_n(&qt, b, 3));
	sga = wait_ok(qt, DEMI_OPC_POP).qr_value.sga;
	CHECK(sga.sga_segs[0].sgaseg_len == 3 && !memcmp(sga.sga_segs[0].sgaseg_buf, out, 3));
	OK(demi_sgafree(&sga));
	pop_is(b, out + 3, 7);
	/* pops complete in the order in which they were issued */
	for (int i = 0; i < 3; i++)
		OK(demi_pop_n(&qts[i], b, 2));
	push(a, out, 6);
	for (int i = 0; i < 3; i++) {
		sga = wait_ok(qts[i], DEMI_OPC_POP).qr_value.sga;
		CHECK(sga.sga_segs[0].sgaseg_len == 2 && !memcmp(sga.sga_segs[0].sgaseg_buf, out + 2 * i, 2));
		OK(demi_sgafree(&sga));
	}
	/* a large part shares the object with what stays: both can be freed, in any order */
	push(a, out, sizeof(out));
	pop_exact(b, in, 5000);
	pop_exact(b, in + 5000, 4000);
	CHECK(!memcmp(in, out, sizeof(in)));
	OK(demi_close(a));
	OK(demi_close(b));
}

/* Several segments are one push; a pop gives them as bytes. */
static void test_segments(int domain)
{
	demi_sgarray_t sga = sga_of("abc", 3);
	demi_qtoken_t qt;
	char in[8];
	int a, b;

	make_pair(domain, SOCK_STREAM, &a, &b);
	sga.sga_numsegs = 3;
	sga.sga_segs[1].sgaseg_buf = "de";
	sga.sga_segs[1].sgaseg_len = 2;
	sga.sga_segs[2].sgaseg_buf = "fgh";
	sga.sga_segs[2].sgaseg_len = 3;
	OK(demi_push(&qt, a, &sga));
	wait_ok(qt, DEMI_OPC_PUSH);
	pop_exact(b, in, 8);
	CHECK(!memcmp(in, "abcdefgh", 8));
	sga.sga_segs[1].sgaseg_len = 0;
	CHECK_ERR(demi_push(&qt, a, &sga), EINVAL);
	OK(demi_close(a));
	OK(demi_close(b));
}

/* One direction ends, the other goes on; what was pushed before arrives before the end. */
static void test_half_close(int domain)
{
	static char big[300000], in[300000];
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt, lent;
	int a, b;

	memset(big, 7, sizeof(big));
	make_pair(domain, SOCK_STREAM, &a, &b);
	lent = push_start(a, big, sizeof(big));
	OK(demi_shutdown(a, SHUT_WR));
	CHECK_ERR(demi_push(&qt, a, &sga), EPIPE);
	pop_exact(b, in, sizeof(in));
	CHECK(!memcmp(in, big, sizeof(in)));
	wait_ok(lent, DEMI_OPC_PUSH);
	pop_eof(b);
	push(b, "still", 5);
	pop_is(a, "still", 5);
	OK(demi_shutdown(a, SHUT_RD));
	pop_eof(a);
	OK(demi_close(a));
	OK(demi_close(b));
}

static void test_states(int domain)
{
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;
	int a, b, s;

	OK(demi_socket(&s, domain, SOCK_STREAM, 0));
	CHECK_ERR(demi_push(&qt, s, &sga), ENOTCONN);
	CHECK_ERR(demi_pop(&qt, s), ENOTCONN);
	CHECK_ERR(demi_accept(&qt, s), EINVAL);
	CHECK_ERR(demi_shutdown(s, SHUT_WR), ENOTCONN);
	OK(demi_close(s));
	make_pair(domain, SOCK_STREAM, &a, &b);
	struct sockaddr_storage ss;
	socklen_t len = loopback(&ss, domain);
	CHECK_ERR(demi_connect(&qt, a, (struct sockaddr *)&ss, len), EISCONN);
	OK(demi_close(a));
	OK(demi_close(b));
}

int main(void)
{
	static const int domains[] = { AF_INET, AF_INET6, AF_UNIX };

	test_init();
	for (int i = 0; i < (has_domain(AF_UNIX) ? 3 : 2); i++) {
		test_echo(domains[i]);
		test_pop_n(domains[i]);
		test_segments(domains[i]);
		test_half_close(domains[i]);
		test_states(domains[i]);
		printf("domain %d\n", domains[i]);
	}
	return 0;
}
