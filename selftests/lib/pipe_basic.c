// SPDX-License-Identifier: MIT
// valgrind timeout: 60
/* A pipe whose ends are in one context: contents and order, segments, sizes, ends, cancel, back-pressure. */
#include "pipe_test.h"

#define MIB (1UL << 20)

static int a, b; /* the maker's end and the opener's */

static void open_both(void)
{
	CHECK_EQ(demi_create_pipe(&a, "basic"), 0);
	CHECK_EQ(demi_open_pipe(&b, "basic"), 0);
}

static void close_both(void)
{
	CHECK_EQ(demi_close(a), 0);
	CHECK_EQ(demi_close(b), 0);
}

static void test_sizes(void)
{
	static const size_t sizes[] = { 1, 7, 8, 9, 64, 4095, 4096, 4097, 65536, MIB, 0, 3 * MIB };

	open_both();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		pipe_test_push(a, sizes[i], i);
		pipe_test_push(b, sizes[i], i + 100);
		pipe_test_pop(b, sizes[i], i);
		pipe_test_pop(a, sizes[i], i + 100);
	}
	close_both();
}

/* Elements that neither ring nor arena has room for are streamed while both sides go on. */
static void test_beyond_the_ring(void)
{
	size_t len = 20 * MIB + 5;
	demi_sgarray_t sga = demi_sgaalloc(len);
	demi_qtoken_t push[2], pop[2];
	demi_qresult_t qr;

	open_both();
	CHECK(sga.sga_numsegs == 1);
	pipe_test_fill(sga.sga_segs[0].sgaseg_buf, len, 5);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(demi_push(&push[i], a, &sga), 0);
	CHECK_EQ(demi_sgafree(&sga), 0); /* free protection */
	CHECK_EQ(demi_pop(&pop[0], b), 0);
	CHECK_EQ(demi_cancel(push[0]), EALREADY);
	CHECK_EQ(demi_cancel(push[1]), 0);
	CHECK_EQ(pipe_test_wait(push[1]).qr_ret, ECANCELED);
	qr = pipe_test_wait(pop[0]);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	pipe_test_element(&qr.qr_value.sga, len, 5);
	CHECK_EQ(pipe_test_wait(push[0]).qr_opcode, DEMI_OPC_PUSH);
	close_both();
}

static void test_segments(void)
{
	static char one[] = "one", two[] = "twotwo", big[9000];
	demi_sgarray_t sga = pipe_test_sga(one, 3), got;
	int v = 3;
	socklen_t n = sizeof(v);

	open_both();
	CHECK_EQ(demi_setsockopt(b, DEMI_SOL, DEMI_SO_MAXSEGS, &v, n), 0);
	v = 0;
	CHECK_EQ(demi_getsockopt(b, DEMI_SOL, DEMI_SO_MAXSEGS, &v, &n), 0);
	CHECK_EQ(v, 3);
	CHECK_EQ(demi_getsockopt(b, SOL_SOCKET, DEMI_SO_MAXSEGS, &v, &n), ENOPROTOOPT);
	memset(big, 'x', sizeof(big));
	sga.sga_numsegs = 4;
	sga.sga_segs[1].sgaseg_buf = NULL;
	sga.sga_segs[1].sgaseg_len = 0;
	sga.sga_segs[2].sgaseg_buf = two;
	sga.sga_segs[2].sgaseg_len = 6;
	sga.sga_segs[3].sgaseg_buf = one;
	sga.sga_segs[3].sgaseg_len = 3;
	CHECK_EQ(demi_blocking_push(a, &sga), 0);
	CHECK_EQ(demi_blocking_pop(&got, b), 0);
	CHECK_EQ(got.sga_numsegs, 1);
	CHECK_EQ(got.sga_segs[0].sgaseg_len, 12);
	CHECK(!memcmp(got.sga_segs[0].sgaseg_buf, "onetwotwoone", 12));
	CHECK_EQ(demi_sgafree(&got), 0);
	sga.sga_segs[3].sgaseg_buf = big;
	sga.sga_segs[3].sgaseg_len = sizeof(big);
	CHECK_EQ(demi_blocking_push(a, &sga), 0);
	CHECK_EQ(demi_blocking_pop(&got, b), 0);
	CHECK_EQ(got.sga_segs[0].sgaseg_len, 9 + sizeof(big));
	CHECK(!memcmp(got.sga_segs[0].sgaseg_buf, "onetwotwoxx", 11));
	CHECK(((char *)got.sga_segs[0].sgaseg_buf)[9 + sizeof(big) - 1] == 'x');
	CHECK_EQ(demi_sgafree(&got), 0);
	close_both();
}

/* Large elements are handed out in place, stay when the pipe is closed, and holding them stalls nothing. */
static void test_held(void)
{
	enum { HELD = 200, LEN = 30000 };
	static demi_sgarray_t held[HELD];
	uint64_t copied;

	open_both();
	pipe_test_push(a, LEN, 0);
	copied = pipe_test_counter("copied_bytes");
	CHECK_EQ(demi_blocking_pop(&held[0], b), 0);
	CHECK_EQ(pipe_test_counter("copied_bytes"), copied); /* one copy per element: the push's */
	for (unsigned int i = 1; i < HELD; i++) { /* more than the arena has */
		pipe_test_push(a, LEN, i);
		CHECK_EQ(demi_blocking_pop(&held[i], b), 0);
	}
	CHECK(pipe_test_counter("copied_bytes") - copied > (HELD - 1) * LEN); /* the last ones copied out */
	for (unsigned int i = 1; i < HELD; i += 2)
		pipe_test_element(&held[i], LEN, i);
	for (unsigned int i = 0; i < HELD; i++) { /* what was freed is used again */
		pipe_test_push(a, LEN, i);
		pipe_test_pop(b, LEN, i);
	}
	/* an element in place is heap memory like any other: it can be pushed again */
	CHECK_EQ(demi_blocking_push(b, &held[0]), 0);
	pipe_test_pop(a, LEN, 0);
	close_both();
	for (unsigned int i = 0; i < HELD; i += 2)
		pipe_test_element(&held[i], LEN, i);
}

static void test_pop_n(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	open_both();
	pipe_test_push(a, 100, 1);
	pipe_test_push(a, 10000, 2);
	CHECK_EQ(demi_pop_n(&qt, b, 99), 0);
	CHECK_EQ(pipe_test_wait(qt).qr_ret, EMSGSIZE);
	pipe_test_pop(b, 100, 1);
	CHECK_EQ(demi_pop_n(&qt, b, 9999), 0);
	CHECK_EQ(pipe_test_wait(qt).qr_ret, EMSGSIZE);
	CHECK_EQ(demi_pop_n(&qt, b, 10000), 0);
	qr = pipe_test_wait(qt);
	pipe_test_element(&qr.qr_value.sga, 10000, 2);
	close_both();
}

static void test_cancel_and_order(void)
{
	demi_qtoken_t pop[3];
	demi_qresult_t qr;

	open_both();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(demi_pop(&pop[i], b), 0);
	CHECK_EQ(demi_cancel(pop[1]), 0);
	CHECK_EQ(pipe_test_wait(pop[1]).qr_ret, ECANCELED);
	pipe_test_push(a, 5, 1);
	pipe_test_push(a, 6, 2);
	qr = pipe_test_wait(pop[0]);
	pipe_test_element(&qr.qr_value.sga, 5, 1);
	qr = pipe_test_wait(pop[2]);
	pipe_test_element(&qr.qr_value.sga, 6, 2);
	close_both();
}

static void test_close(void)
{
	demi_qtoken_t pop;

	open_both();
	CHECK_EQ(demi_pop(&pop, a), 0);
	pipe_test_push(a, 50, 1);
	pipe_test_push(a, 50000, 2);
	CHECK_EQ(demi_close(a), 0);
	CHECK_EQ(pipe_test_wait(pop).qr_ret, ECANCELED);
	pipe_test_pop(b, 50, 1); /* what was pushed is there, then the end, as often as it is asked for */
	pipe_test_pop(b, 50000, 2);
	pipe_test_pop_ends(b, 0);
	pipe_test_pop_ends(b, 0);
	CHECK_EQ(demi_close(b), 0);
}

static void test_shutdown(void)
{
	demi_sgarray_t sga = pipe_test_sga("x", 1);
	demi_qtoken_t qt;
	int err;

	open_both();
	pipe_test_push(a, 9, 1);
	CHECK_EQ(demi_shutdown(a, SHUT_WR), 0);
	CHECK_EQ(demi_push(&qt, a, &sga), EPIPE);
	pipe_test_pop(b, 9, 1);
	pipe_test_pop_ends(b, 0);
	pipe_test_pop_ends(b, 0);
	pipe_test_push(b, 11, 2); /* the other direction goes on */
	pipe_test_pop(a, 11, 2);
	CHECK_EQ(demi_shutdown(a, SHUT_RD), 0);
	pipe_test_pop_ends(a, 0);
	while (!(err = demi_push(&qt, b, &sga))) /* it learns of it with the first bytes that it flushes */
		pipe_test_wait(qt);
	CHECK_EQ(err, EPIPE);
	close_both();
}

static void test_peer_closes(void)
{
	demi_sgarray_t sga = pipe_test_sga("x", 1);
	demi_qtoken_t qt, waiting;
	demi_qresult_t qr;

	open_both();
	CHECK_EQ(demi_pop(&waiting, b), 0);
	CHECK_EQ(demi_close(a), 0);
	qr = pipe_test_wait(waiting);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
	while (!demi_push(&qt, b, &sga))
		pipe_test_wait(qt);
	CHECK_EQ(demi_push(&qt, b, &sga), EPIPE);
	CHECK_EQ(demi_close(b), 0);
}

/* Pushes that nobody pops wait, up to the limit; then ENOBUFS. When the popper comes they are all there. */
static void test_back_pressure(void)
{
	enum { LEN = 1000 };
	static char buf[LEN];
	demi_sgarray_t sga = pipe_test_sga(buf, LEN), got;
	demi_qtoken_t *qts = calloc(1 << 17, sizeof(*qts));
	int n = 0, err;

	CHECK(qts);
	open_both();
	for (;; n++) {
		memcpy(buf, &n, sizeof(n));
		err = demi_push(&qts[n], a, &sga);
		if (err)
			break;
	}
	CHECK_EQ(err, ENOBUFS);
	CHECK(n > 50000);
	for (int i = 0; i < n; i++) {
		int number;

		CHECK_EQ(demi_blocking_pop(&got, b), 0);
		memcpy(&number, got.sga_segs[0].sgaseg_buf, sizeof(number));
		CHECK_EQ(number, i);
		CHECK_EQ(demi_sgafree(&got), 0);
	}
	for (int i = 0; i < n; i++)
		CHECK_EQ(pipe_test_wait(qts[i]).qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(demi_push(&qts[0], a, &sga), 0);
	CHECK_EQ(pipe_test_wait(qts[0]).qr_opcode, DEMI_OPC_PUSH);
	free(qts);
	close_both();
}

/* A closed pipe's queued pushes drain while the peer pops. */
static void test_drain(void)
{
	enum { LEN = 3000, N = 2000 };
	static demi_qtoken_t qts[N];

	open_both();
	for (unsigned int i = 0; i < N; i++) {
		demi_sgarray_t sga = demi_sgaalloc(LEN);

		pipe_test_fill(sga.sga_segs[0].sgaseg_buf, LEN, i);
		CHECK_EQ(demi_push(&qts[i], a, &sga), 0);
		CHECK_EQ(demi_sgafree(&sga), 0);
	}
	CHECK_EQ(demi_close(a), 0);
	for (unsigned int i = 0; i < N; i++)
		pipe_test_pop(b, LEN, i);
	pipe_test_pop_ends(b, 0);
	for (unsigned int i = 0; i < N; i++)
		CHECK_EQ(pipe_test_wait(qts[i]).qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(demi_close(b), 0);
}

int main(void)
{
	pipe_test_setup(100);
	CHECK_EQ(demi_init(NULL), 0);
	test_sizes();
	test_segments();
	test_beyond_the_ring();
	test_held();
	test_pop_n();
	test_cancel_and_order();
	test_close();
	test_shutdown();
	test_peer_closes();
	test_back_pressure();
	test_drain();
	pipe_test_cleanup();
	return 0;
}
