/* SPDX-License-Identifier: MIT */
/* valgrind */
/*
 * Results that are there when the call returns (lib/core/instant.h) are results like any other: whatever call comes
 * between them and the wait for them, none is lost, none comes twice, and they come in order.
 */
#include "lib/check.h"

static int q1, q2;
static demi_qresult_t qr, qrs[4];
static demi_qtoken_t qt, qts[4];

static void push(demi_qtoken_t *token, int q, char c)
{
	demi_sgarray_t sga = demi_sgaalloc(1);

	CHECK_EQ(sga.sga_numsegs, 1);
	*(char *)sga.sga_segs[0].sgaseg_buf = c;
	OK(demi_push(token, q, &sga));
	OK(demi_sgafree(&sga));
}

static void check_push(const demi_qresult_t *r, demi_qtoken_t token, int q)
{
	static const demi_sgarray_t zero;

	CHECK_EQ(r->qr_opcode, DEMI_OPC_PUSH);
	CHECK(r->qr_qt == token);
	CHECK_EQ(r->qr_qd, q);
	CHECK_EQ(r->qr_ret, 0);
	CHECK(!memcmp(&r->qr_value.sga, &zero, sizeof(zero)));
}

static void check_pop(demi_qresult_t *r, demi_qtoken_t token, int q, char c)
{
	demi_sgarray_t *sga = &r->qr_value.sga, want = { 0 };

	want.sga_buf = sga->sga_segs[0].sgaseg_buf;
	want.sga_numsegs = 1;
	want.sga_segs[0] = (demi_sgaseg_t){ want.sga_buf, 1 };
	CHECK_EQ(r->qr_opcode, DEMI_OPC_POP);
	CHECK(r->qr_qt == token);
	CHECK_EQ(r->qr_qd, q);
	CHECK_EQ(r->qr_ret, 0);
	CHECK(!memcmp(sga, &want, sizeof(want)));
	CHECK_EQ(*(char *)want.sga_buf, c);
	OK(demi_sgafree(sga));
}

/* What a wait gives is whole whatever was in the structure before; the token is used up. */
static void test_wait(void)
{
	memset(&qr, 0xee, sizeof(qr));
	push(&qt, q1, 'a');
	OK(demi_wait(&qr, qt, NULL));
	check_push(&qr, qt, q1);
	CHECK_EQ(demi_wait(&qr, qt, NULL), EINVAL);
	memset(&qr, 0xee, sizeof(qr));
	OK(demi_pop(&qt, q1));
	OK(demi_wait(&qr, qt, NULL));
	check_pop(&qr, qt, q1, 'a');
	CHECK_EQ(demi_wait(&qr, qt, NULL), EINVAL);
	CHECK_EQ(demi_wait(&qr, 0, NULL), EINVAL);
	CHECK_EQ(demi_wait(&qr, ~0ULL, NULL), EINVAL);
}

static void test_wrong_arguments(void)
{
	static const struct timespec bad = { -1, 0 };

	push(&qt, q1, 'a');
	CHECK_EQ(demi_wait(NULL, qt, NULL), EINVAL);
	CHECK_EQ(demi_wait(&qr, qt, &bad), EINVAL);
	CHECK_EQ(demi_wait(&qr, qt + 1, NULL), EINVAL);
	CHECK_EQ(demi_cancel(qt), EALREADY);
	OK(demi_wait(&qr, qt, &check_now));
	check_push(&qr, qt, q1);
	CHECK_EQ(demi_pop_n(&qt, q1, 0), EINVAL);
	CHECK_EQ(demi_pop(NULL, q1), EINVAL);
	CHECK_EQ(demi_push(NULL, q1, &qr.qr_value.sga), EINVAL);
	CHECK_EQ(demi_push(&qt, q1, NULL), EINVAL);
	CHECK_EQ(demi_push(&qt, q1, &qr.qr_value.sga), EINVAL);
	CHECK_EQ(demi_pop(&qt, 12345), EBADF);
	OK(demi_pop_n(&qt, q1, 1));
	OK(demi_wait(&qr, qt, NULL));
	check_pop(&qr, qt, q1, 'a');
}

/* Several of them, waited for in any order and by any call. */
static void test_several(void)
{
	int n, off;

	for (int i = 0; i < 4; i++)
		push(&qts[i], i % 2 ? q2 : q1, (char)('a' + i));
	for (int i = 3; i >= 0; i--) {
		OK(demi_wait(&qr, qts[i], NULL));
		check_push(&qr, qts[i], i % 2 ? q2 : q1);
	}
	for (int i = 0; i < 4; i++)
		OK(demi_pop(&qts[i], i % 2 ? q2 : q1));
	OK(demi_wait_all(qrs, qts, 4, NULL));
	for (int i = 0; i < 4; i++)
		check_pop(&qrs[i], qts[i], i % 2 ? q2 : q1, (char)('a' + i));

	push(&qts[0], q1, 'x');
	push(&qts[1], q1, 'y');
	OK(demi_wait_any(&qr, &off, qts, 2, NULL));
	CHECK_EQ(off, 0);
	check_push(&qr, qts[0], q1);
	OK(demi_pop(&qts[0], q1));
	OK(demi_wait_next_n(qrs, 4, &n, NULL));
	CHECK_EQ(n, 2); /* in the order in which they were done */
	check_push(&qrs[0], qts[1], q1);
	check_pop(&qrs[1], qts[0], q1, 'x');
	OK(demi_pop(&qts[0], q1));
	OK(demi_wait_some(qrs, &off, 4, &n, qts, 1, NULL));
	CHECK_EQ(n, 1);
	check_pop(&qrs[0], qts[0], q1, 'y');
	CHECK_EQ(demi_wait_next_n(qrs, 4, &n, NULL), ENOENT);
}

/* An event loop is told of it. */
static void test_arm(void)
{
	int fd;

	OK(demi_wait_fd(&fd));
	push(&qt, q1, 'a');
	CHECK_EQ(demi_wait_arm(), EAGAIN);
	OK(demi_wait(&qr, qt, NULL));
	OK(demi_wait_arm());
	push(&qt, q1, 'b'); /* while it is armed */
	OK(demi_wait(&qr, qt, NULL));
	check_push(&qr, qt, q1);
	for (char c = 'a'; c <= 'b'; c++) {
		OK(demi_pop(&qt, q1));
		OK(demi_wait(&qr, qt, NULL));
		check_pop(&qr, qt, q1, c);
	}
}

/* The descriptor is not used again while the result is there; the element that was popped is not lost. */
static void test_close(void)
{
	int q, other;

	OK(demi_queue(&q));
	push(&qt, q, 'a');
	OK(demi_wait(&qr, qt, NULL));
	OK(demi_pop(&qt, q));
	OK(demi_close(q));
	OK(demi_queue(&other));
	CHECK(other != q);
	OK(demi_wait(&qr, qt, NULL));
	check_pop(&qr, qt, q, 'a');
	OK(demi_close(other));
}

/* A signal handler may call the library while nobody is inside. */
static void handler(int sig)
{
	demi_qtoken_t mine;

	push(&mine, q2, 'h');
	OK(demi_wait(&qrs[0], mine, NULL));
	check_push(&qrs[0], mine, q2);
}

static void test_signal(void)
{
	signal(SIGUSR1, handler);
	push(&qt, q1, 'a');
	raise(SIGUSR1);
	OK(demi_wait(&qr, qt, NULL));
	check_push(&qr, qt, q1);
	OK(demi_pop(&qt, q1));
	raise(SIGUSR1);
	OK(demi_wait(&qr, qt, NULL));
	check_pop(&qr, qt, q1, 'a');
	for (int i = 0; i < 2; i++) {
		OK(demi_pop(&qt, q2));
		OK(demi_wait(&qr, qt, NULL));
		check_pop(&qr, qt, q2, 'h');
	}
}

int main(void)
{
	alarm(60);
	OK(demi_init(NULL));
	OK(demi_queue(&q1));
	OK(demi_queue(&q2));
	for (int i = 0; i < 100; i++) { /* so that every turn of other queues falls everywhere */
		test_wait();
		test_wrong_arguments();
		test_several();
		test_arm();
		test_close();
		test_signal();
	}
	/* what nobody waits for is dropped at the end */
	push(&qt, q1, 'z');
	OK(demi_wait(&qr, qt, NULL));
	OK(demi_pop(&qt, q1));
	return 0;
}
