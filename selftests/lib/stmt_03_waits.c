/* SPDX-License-Identifier: MIT */
/* valgrind */
/*
 * Design, statement 3: waits return the data, in the order of completion, whatever the timeout; bad tokens are
 * found before a wait sleeps; wait_all, wait_some and wait_next_n.
 */
#include "lib/check.h"

#define MANY 1000

static demi_qtoken_t dead_token(int qd)
{
	demi_qtoken_t qt = push_start(qd, "x", 1);

	wait_result(qt);
	pop_bytes(qd, "x", 1);
	return qt;
}

static void test_timeouts(void)
{
	static const struct timespec bad[] = { { -1, 0 }, { 0, -1 }, { 0, 1000000000 }, { 1, 2000000000 } };
	int q = new_queue(), off, n;
	demi_qtoken_t qt = pop_start(q);
	demi_qresult_t qr, was;

	memset(&was, 0x5a, sizeof(was));
	qr = was;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(demi_wait(&qr, qt, &bad[i]), EINVAL);
		CHECK_EQ(demi_wait_any(&qr, &off, &qt, 1, &bad[i]), EINVAL);
		CHECK_EQ(demi_wait_all(&qr, &qt, 1, &bad[i]), EINVAL);
		CHECK_EQ(demi_wait_some(&qr, &off, 1, &n, &qt, 1, &bad[i]), EINVAL);
		CHECK_EQ(demi_wait_next_n(&qr, 1, &n, &bad[i]), EINVAL);
	}
	for (int i = 0; i < 2; i++) {
		struct timespec t = { 0, i * 2000000 };
		uint64_t start = check_ns(CLOCK_MONOTONIC);

		CHECK_EQ(demi_wait(&qr, qt, &t), ETIMEDOUT);
		CHECK_EQ(demi_wait_any(&qr, &off, &qt, 1, &t), ETIMEDOUT);
		CHECK_EQ(demi_wait_all(&qr, &qt, 1, &t), ETIMEDOUT);
		CHECK_EQ(demi_wait_some(&qr, &off, 1, &n, &qt, 1, &t), ETIMEDOUT);
		CHECK_EQ(demi_wait_next_n(&qr, 1, &n, &t), ETIMEDOUT);
		CHECK(check_ns(CLOCK_MONOTONIC) - start >= 5 * (uint64_t)t.tv_nsec); /* never early */
	}
	/* unchanged on error, and the token was not consumed */
	CHECK(!memcmp(&qr, &was, sizeof(qr)));
	push_bytes(q, "data", 4);
	OK(demi_wait(&qr, qt, &check_now));
	check_popped(&qr, "data", 4);
	OK(demi_close(q));
}

/* What is ready is returned with any timeout, by every wait. */
static void test_ready_whatever(void)
{
	static const struct timespec year = { 31536000, 0 }, endless = { INT64_MAX, 999999999 }, tiny = { 0, 1 };
	const struct timespec *timeouts[] = { NULL, &check_now, &tiny, &year, &endless };
	int q = new_queue(), off, n;
	demi_qresult_t qr;
	demi_qtoken_t qt;

	for (size_t i = 0; i < 5 * 5; i++) {
		const struct timespec *t = timeouts[i / 5];

		push_bytes(q, &i, sizeof(i));
		qt = pop_start(q);
		off = n = -1;
		switch (i % 5) {
		case 0:
			OK(demi_wait(&qr, qt, t));
			break;
		case 1:
			OK(demi_wait_any(&qr, &off, &qt, 1, t));
			CHECK_EQ(off, 0);
			break;
		case 2:
			OK(demi_wait_all(&qr, &qt, 1, t));
			break;
		case 3:
			OK(demi_wait_some(&qr, &off, 1, &n, &qt, 1, t));
			CHECK(off == 0 && n == 1);
			break;
		default:
			OK(demi_wait_next_n(&qr, 1, &n, t));
			CHECK_EQ(n, 1);
		}
		CHECK(qr.qr_qt == qt && qr.qr_qd == q);
		check_popped(&qr, &i, sizeof(i));
	}
	OK(demi_close(q));
}

/* Every token in turn is the first to complete, and comes back first: no index is preferred. */
static void test_completion_order(void)
{
	static demi_qtoken_t qts[MANY];
	static int qds[MANY], order[MANY], offs[MANY], got[MANY];
	static demi_qresult_t qrs[MANY];
	int off, n;

	for (int how = 0; how < 3; how++) {
		for (int i = 0; i < MANY; i++) {
			qds[i] = new_queue();
			qts[i] = pop_start(qds[i]);
			order[i] = i;
		}
		for (uint32_t i = MANY - 1; i > 0; i--) {
			uint32_t k = rnd_below(i + 1);
			int t = order[i];

			order[i] = order[k];
			order[k] = t;
		}
		for (int i = 0; i < MANY; i++)
			push_bytes(qds[order[i]], &order[i], sizeof(int));
		if (how == 0) {
			for (int i = 0; i < MANY; i++) {
				OK(demi_wait_any(&qrs[i], &off, qts, MANY, NULL));
				got[i] = off;
				qts[off] = pop_start(qds[off]); /* the array is never left with a consumed token */
			}
		} else if (how == 1) {
			for (int i = 0; i < MANY; i += n) {
				OK(demi_wait_some(&qrs[i], &offs[i], 77, &n, qts, MANY, NULL));
				CHECK(n >= 1 && n <= 77);
				for (int k = i; k < i + n; k++) {
					got[k] = offs[k];
					qts[offs[k]] = pop_start(qds[offs[k]]);
				}
			}
		} else {
			for (int i = 0; i < MANY; i += n) {
				OK(demi_wait_next_n(&qrs[i], 77, &n, NULL));
				CHECK(n >= 1 && n <= 77);
				for (int k = i; k < i + n; k++)
					got[k] = (int)(qrs[k].qr_qd - qds[0]);
			}
		}
		for (int i = 0; i < MANY; i++) {
			CHECK_EQ(qrs[i].qr_qd, qds[order[i]]);
			if (how != 2)
				CHECK_EQ(got[i], order[i]);
			check_popped(&qrs[i], &order[i], sizeof(int));
		}
		for (int i = 0; i < MANY; i++)
			OK(demi_close(qds[i]));
		/* what is left are the pops that were issued anew: all cancelled */
		while (!(off = demi_wait_next_n(qrs, MANY, &n, &check_now))) {
			for (int i = 0; i < n; i++)
				check_failed(&qrs[i], ECANCELED);
		}
		CHECK_EQ(off, ENOENT);
	}
}

/* A bad token anywhere in a large array: EINVAL and no sleep; but a result that is there comes first. */
static void test_bad_tokens(void)
{
	enum { N = 5000 };
	static demi_qtoken_t qts[N];
	static demi_qresult_t qrs[N];
	static int offs[N];
	int q = new_queue(), p = new_queue(), off, n;
	demi_qtoken_t stale = dead_token(q), bad[] = { 0, ~0ULL, stale, stale + (1 << 20), 12345, 1ULL << 63 };
	uint64_t sleeps = counter("sleeps");

	for (int i = 0; i < N; i++)
		qts[i] = pop_start(q);
	for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
		CHECK_EQ(demi_wait(qrs, bad[b], NULL), EINVAL);
		for (int size = 1; size <= N; size = size < N ? (size * 7 < N ? size * 7 : N) : N + 1) {
			int at = (int)rnd_below((uint32_t)size);
			demi_qtoken_t was = qts[at];

			qts[at] = bad[b];
			CHECK_EQ(demi_wait_any(qrs, &off, qts, size, NULL), EINVAL);
			CHECK_EQ(demi_wait_any(qrs, &off, qts, size, &check_now), EINVAL);
			CHECK_EQ(demi_wait_some(qrs, offs, size, &n, qts, size, NULL), EINVAL);
			CHECK_EQ(demi_wait_all(qrs, qts, size, NULL), EINVAL);
			CHECK_EQ(demi_wait_all(qrs, qts, size, &check_now), EINVAL);
			if (size > 1) { /* one is ready, elsewhere */
				int k = (at + 1 + (int)rnd_below((uint32_t)size - 1)) % size;
				demi_qtoken_t other = qts[k];

				push_bytes(p, "!", 1);
				qts[k] = pop_start(p);
				OK(demi_wait_any(qrs, &off, qts, size, NULL));
				CHECK_EQ(off, k);
				check_popped(qrs, "!", 1);
				qts[k] = other;
			}
			qts[at] = was;
		}
	}
	CHECK_EQ(counter("sleeps"), sleeps);
	OK(demi_close(p));
	OK(demi_close(q));
	OK(demi_wait_all(qrs, qts, N, NULL));
	for (int i = 0; i < N; i++)
		check_failed(&qrs[i], ECANCELED);
}

static void test_wait_all(void)
{
	enum { N = 100 };
	demi_qtoken_t qts[N];
	demi_qresult_t qrs[N];
	int q[N];

	for (int i = 0; i < N; i++) {
		q[i] = new_queue();
		qts[i] = pop_start(q[i]);
	}
	/* one is missing: nothing is consumed */
	for (int i = N - 1; i > 0; i--)
		push_bytes(q[i], &i, sizeof(i));
	CHECK_EQ(demi_wait_all(qrs, qts, N, &check_now), ETIMEDOUT);
	OK(demi_wait_all(&qrs[N - 2], &qts[N - 2], 2, NULL));
	push_bytes(q[0], &(int){ 0 }, sizeof(int));
	OK(demi_wait_all(qrs, qts, N - 2, NULL));
	for (int i = 0; i < N; i++) {
		CHECK(qrs[i].qr_qt == qts[i]);
		check_popped(&qrs[i], &i, sizeof(i));
		CHECK_EQ(demi_wait(&qrs[i], qts[i], &check_now), EINVAL);
	}
	/* named twice: one result, not two owners of it */
	push_bytes(q[0], "a", 1);
	push_bytes(q[1], "b", 1);
	qts[0] = pop_start(q[0]);
	qts[1] = pop_start(q[1]);
	qts[2] = qts[0];
	OK(demi_wait_all(qrs, qts, 3, NULL));
	check_popped(&qrs[0], "a", 1);
	check_popped(&qrs[1], "b", 1);
	check_failed(&qrs[2], EINVAL);
	CHECK(qrs[2].qr_qt == qts[2]);
	for (int i = 0; i < N; i++)
		OK(demi_close(q[i]));
}

static void test_wait_some(void)
{
	enum { N = 20 };
	demi_qtoken_t qts[N];
	demi_qresult_t qrs[N];
	int q[N], offs[N], n = -1;

	for (int size = 5; size <= N; size += 15) { /* below and above the direct look */
		for (int i = 0; i < size; i++) {
			q[i] = new_queue();
			qts[i] = pop_start(q[i]);
		}
		push_bytes(q[3], "3", 1);
		push_bytes(q[1], "1", 1);
		push_bytes(q[4], "4", 1);
		/* room for two: the first two, the third stays */
		OK(demi_wait_some(qrs, offs, 2, &n, qts, size, NULL));
		CHECK(n == 2 && offs[0] == 3 && offs[1] == 1);
		check_popped(&qrs[0], "3", 1);
		check_popped(&qrs[1], "1", 1);
		OK(demi_wait_some(qrs, offs, N, &n, qts, size, NULL));
		CHECK(n == 1 && offs[0] == 4);
		check_popped(&qrs[0], "4", 1);
		qts[3] = qts[1] = qts[4] = qts[0];
		for (int i = 0; i < size; i++)
			OK(demi_close(q[i]));
		while (!demi_wait_next_n(qrs, N, &n, &check_now))
			;
	}
}

static void test_wait_next_n(void)
{
	demi_qresult_t qrs[4];
	int q, n = -1;

	CHECK_EQ(demi_wait_next_n(qrs, 4, &n, NULL), ENOENT);
	CHECK_EQ(demi_wait_next_n(qrs, 4, &n, &check_second), ENOENT);
	CHECK_EQ(n, -1);
	q = new_queue();
	pop_start(q);
	CHECK_EQ(demi_wait_next_n(qrs, 4, &n, &check_now), ETIMEDOUT);
	push_start(q, "1", 1); /* pop, push */
	push_start(q, "2", 1);
	OK(demi_wait_next_n(qrs, 2, &n, NULL));
	CHECK_EQ(n, 2);
	check_popped(&qrs[0], "1", 1);
	CHECK_EQ(qrs[1].qr_opcode, DEMI_OPC_PUSH);
	OK(demi_wait_next_n(qrs, 4, &n, NULL));
	CHECK_EQ(n, 1);
	CHECK_EQ(qrs[0].qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(demi_wait_next_n(qrs, 4, &n, NULL), ENOENT);
	pop_bytes(q, "2", 1);
	OK(demi_close(q));
}

/* Results of other operations stay where they are. */
static void test_blocking(void)
{
	int q = new_queue(), p = new_queue();
	demi_sgarray_t sga = sga_of("one", 3), got;
	demi_qtoken_t other = pop_start(p);

	push_bytes(p, "other", 5);
	OK(demi_blocking_push(q, &sga));
	OK(demi_blocking_pop(&got, q));
	CHECK(got.sga_numsegs == 1 && got.sga_segs[0].sgaseg_len == 3 && !memcmp(got.sga_segs[0].sgaseg_buf, "one", 3));
	OK(demi_sgafree(&got));
	demi_qresult_t qr = wait_result(other);
	check_popped(&qr, "other", 5);
	OK(demi_close(q));
	OK(demi_close(p));
	CHECK_EQ(demi_blocking_push(q, &sga), EBADF);
	CHECK_EQ(demi_blocking_pop(&got, q), EBADF);
}

int main(void)
{
	alarm(100);
	check_seed();
	init_memq();
	test_timeouts();
	test_ready_whatever();
	test_completion_order();
	test_bad_tokens();
	test_wait_all();
	test_wait_some();
	test_wait_next_n();
	test_blocking();
	return 0;
}
