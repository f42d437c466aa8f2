/* SPDX-License-Identifier: MIT */
/*
 * Design, statement 3: demi_wait_any() and demi_wait_some() with 65,536 tokens whose array changes at random,
 * beside a model that looks at every token every time.
 */
#include "lib/check.h"

#define TOKENS 65536
#define LOOSE 64 /* operations that are not in the array */

static demi_qtoken_t qts[TOKENS + LOOSE];
static int qds[TOKENS + LOOSE];
static uint64_t done[TOKENS + LOOSE]; /* order of completion, 0: pending */
static demi_qtoken_t array[TOKENS], array2[TOKENS];
static int of_array[TOKENS]; /* which of qts stands there, -1: none */
static int where[TOKENS + LOOSE]; /* the other way round, -1: loose */
static int ready[TOKENS + LOOSE], nready; /* those that are done, in order */
static uint64_t clock_;

static void complete(int i)
{
	if (done[i])
		return;
	push_bytes(qds[i], &i, sizeof(i));
	done[i] = ++clock_;
	ready[nready++] = i;
}

static int first_ready(int n)
{
	for (int k = 0; k < nready; k++) {
		if (where[ready[k]] >= 0 && where[ready[k]] < n)
			return ready[k];
	}
	return -1;
}

static void swap(int i, int k)
{
	int a = where[i], b = where[k];

	where[i] = b;
	where[k] = a;
	if (b >= 0) {
		of_array[b] = i;
		array[b] = qts[i];
	}
	if (a >= 0) {
		of_array[a] = k;
		array[a] = qts[k];
	}
}

static void again(int i)
{
	int k;

	for (k = 0; ready[k] != i; k++)
		;
	memmove(&ready[k], &ready[k + 1], (size_t)(--nready - k) * sizeof(ready[0]));
	done[i] = 0;
	qts[i] = pop_start(qds[i]);
	if (where[i] >= 0)
		array[where[i]] = qts[i];
}

/*
 * @edits: whether tokens that are ready already move into the array at any place. Then the order is not promised
 * among them and the others, but nothing that is ready is ever missed.
 */
static void run(int rounds, int n, bool edits, bool some)
{
	demi_qresult_t qrs[8];
	int offs[8], num;

	for (int r = 0; r < rounds; r++) {
		demi_qtoken_t *a = array;

		for (uint32_t k = rnd_below(4); k > 0; k--)
			complete((int)rnd_below((uint32_t)n));
		if (rnd_below(4) == 0)
			complete(TOKENS + (int)rnd_below(LOOSE));
		if (edits && rnd_below(3) == 0)
			swap((int)rnd_below((uint32_t)n), TOKENS + (int)rnd_below(LOOSE));
		if (edits && rnd_below(50) == 0 && !some) { /* another array altogether */
			memcpy(array2, array, (size_t)n * sizeof(array[0]));
			a = array2;
		}
		int first = first_ready(n);
		int err = some ? demi_wait_some(qrs, offs, 8, &num, a, n, &check_now)
			       : demi_wait_any(qrs, offs, a, n, &check_now);

		if (first < 0) {
			CHECK_EQ(err, ETIMEDOUT);
			continue;
		}
		OK(err);
		if (!some)
			num = 1;
		CHECK(num >= 1 && num <= 8);
		for (int k = 0; k < num; k++) {
			int i = of_array[offs[k]];

			CHECK(qrs[k].qr_qt == qts[i] && array[offs[k]] == qts[i]);
			CHECK(done[i]);
			if (!edits)
				CHECK_EQ(i, first);
			check_popped(&qrs[k], &i, sizeof(i));
			again(i);
			first = first_ready(n);
		}
		if (some && num < 8 && !edits)
			CHECK_EQ(first, -1);
	}
}

static int take_one(int n)
{
	demi_qresult_t qr;
	int off, i;

	OK(demi_wait_any(&qr, &off, array, n, NULL));
	i = of_array[off];
	CHECK(done[i]);
	check_popped(&qr, &i, sizeof(i));
	again(i);
	return i;
}

static void take_all(int n)
{
	while (first_ready(n) >= 0)
		take_one(n);
}

/* What was ready before it came into the array is found although nothing else ever happens. */
static void test_planted(int n)
{
	for (int r = 0; r < 200; r++) {
		int loose = TOKENS + (int)rnd_below(LOOSE);

		if (where[loose] >= 0)
			continue;
		complete(loose);
		complete(of_array[rnd_below((uint32_t)n)]); /* the array is searched, and the loose one is not there */
		take_all(n);
		swap(of_array[rnd_below((uint32_t)n)], loose);
		CHECK_EQ(take_one(n), loose);
	}
}

int main(void)
{
	int sizes[] = { 1, 2, 8, 9, 10, 100, TOKENS };

	alarm(110);
	check_seed();
	init_memq();
	for (int i = 0; i < TOKENS + LOOSE; i++) {
		qds[i] = new_queue();
		qts[i] = pop_start(qds[i]);
		where[i] = i < TOKENS ? i : -1;
		if (i < TOKENS) {
			array[i] = qts[i];
			of_array[i] = i;
		}
	}
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		int n = sizes[s], rounds = n == TOKENS ? (SLOW ? 100 : 500) : 2000;

		take_all(n);
		run(rounds, n, false, false);
		run(rounds, n, false, true);
		run(rounds, n, true, false);
		run(rounds, n, true, true);
		if (n < TOKENS)
			test_planted(n);
	}
	return 0;
}
