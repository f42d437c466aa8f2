/* SPDX-License-Identifier: MIT */
/* engines: both, devices: ring, valgrind */
/* DEMI_SO_FRAMED: one push on a stream is one pop, and a peer that does not keep to it is cut off. */
#include "sock_test.h"

static void set(int qd, int name, int v)
{
	int got = 0;
	socklen_t len = sizeof(got);

	OK(demi_setsockopt(qd, DEMI_SOL, name, &v, sizeof(v)));
	OK(demi_getsockopt(qd, DEMI_SOL, name, &got, &len));
	CHECK(got == v);
}

static void framed_pair(int domain, int *a, int *b)
{
	make_pair(domain, SOCK_STREAM, a, b);
	set(*a, DEMI_SO_FRAMED, 1);
	set(*b, DEMI_SO_FRAMED, 1);
}

static void test_messages(int domain)
{
	static char big[3000000];
	demi_qtoken_t qts[50], qt;
	demi_sgarray_t sga;
	int a, b;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i >> 4);
	framed_pair(domain, &a, &b);
	for (int i = 0; i < 50; i++)
		qts[i] = push_start(a, big + i, 1 + (uint32_t)i * 100);
	for (int i = 0; i < 50; i++) {
		wait_ok(qts[i], DEMI_OPC_PUSH);
		pop_is(b, big + i, 1 + (uint32_t)i * 100);
	}
	/* longer than what is read ahead */
	qt = push_start(a, big, sizeof(big));
	pop_is(b, big, sizeof(big));
	wait_ok(qt, DEMI_OPC_PUSH);
	/* a pop that is too small leaves the message */
	push(a, "12345", 5);
	OK(demi_pop_n(&qt, b, 4));
	wait_failed(qt, EMSGSIZE);
	pop_is(b, "12345", 5);
	/* one segment, unless the queue opted in to more */
	sga = sga_of("abc", 3);
	sga.sga_numsegs = 2;
	sga.sga_segs[1].sgaseg_buf = "de";
	sga.sga_segs[1].sgaseg_len = 2;
	OK(demi_push(&qt, a, &sga));
	wait_ok(qt, DEMI_OPC_PUSH);
	pop_is(b, "abcde", 5);
	set(b, DEMI_SO_MAXSEGS, 2);
	OK(demi_push(&qt, a, &sga));
	wait_ok(qt, DEMI_OPC_PUSH);
	sga = pop(b);
	CHECK(sga.sga_numsegs == 2);
	CHECK(sga.sga_segs[0].sgaseg_len == 3 && !memcmp(sga.sga_segs[0].sgaseg_buf, "abc", 3));
	CHECK(sga.sga_segs[1].sgaseg_len == 2 && !memcmp(sga.sga_segs[1].sgaseg_buf, "de", 2));
	OK(demi_sgafree(&sga));
	OK(demi_close(a));
	pop_eof(b);
	OK(demi_close(b));
}

static void test_limits(void)
{
	static char big[2000];
	demi_sgarray_t sga = sga_of(big, 1001);
	demi_qtoken_t qt;
	int a, b, one = 1;

	framed_pair(AF_INET, &a, &b);
	set(a, DEMI_SO_MAXMSG, 1000);
	CHECK_ERR(demi_push(&qt, a, &sga), EMSGSIZE);
	set(a, DEMI_SO_MAXMSG, 2000);
	set(b, DEMI_SO_MAXMSG, 1000);
	push(a, big, 1000);
	pop_is(b, big, 1000);
	push(a, big, 1001);
	wait_failed(pop_start(b), EBADMSG);
	pop_eof(b);
	CHECK_ERR(demi_setsockopt(b, DEMI_SOL, DEMI_SO_FRAMED, &one, sizeof(one)), EBUSY);
	OK(demi_close(a));
	OK(demi_close(b));
}

/* What is whole is delivered, then the pop fails and the connection has ended. */
static void test_hostile(const void *bytes, uint32_t len)
{
	demi_sgarray_t sga;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int a, b;

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	set(b, DEMI_SO_FRAMED, 1);
	push(a, "\xd3\xf1\x01\x01\0\0\0\x02\0\0\0\x02ok", 14);
	push(a, bytes, len);
	pop_is(b, "ok", 2);
	wait_failed(pop_start(b), EBADMSG);
	sga = sga_of("x", 1);
	CHECK_ERR(demi_push(&qt, b, &sga), EPIPE);
	/* the peer is told: an end, or a reset where the stack is the library's own */
	qr = wait_qt(pop_start(a));
	if (qr.qr_opcode == DEMI_OPC_POP)
		CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_len == 0);
	else
		CHECK(qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ECONNRESET);
	OK(demi_close(b));
	OK(demi_close(a));
}

/* The end in the middle of a message is an end; no half message is given out. */
static void test_cut_off(void)
{
	int a, b;

	make_pair(AF_INET, SOCK_STREAM, &a, &b);
	set(b, DEMI_SO_FRAMED, 1);
	push(a, "\xd3\xf1\x01\x01\0\0\0\x09\0\0\0\x09half", 16);
	OK(demi_close(a));
	wait_failed(pop_start(b), EBADMSG);
	pop_eof(b);
	OK(demi_close(b));
}

int main(void)
{
	test_init();
	test_messages(AF_INET);
	if (has_domain(AF_UNIX))
		test_messages(AF_UNIX);
	test_limits();
	test_hostile("GET / HTTP/1.0\r\n\r\n", 18);
	test_hostile("\xd3\xf1\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	test_hostile("\xd3\xf1\x01\x01\0\0\0\x05\0\0\0\x04", 12);
	test_cut_off();
	return 0;
}
