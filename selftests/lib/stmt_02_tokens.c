/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * Design, statement 2: a token names one operation of one context and is consumed by the wait that returns it.
 * Random operations beside a model; forged, stale and other threads' tokens are EINVAL, never somebody's result.
 */
#include "lib/check.h"

#include <pthread.h>

#define QUEUES 8
#define LIVE 500
#define STALE 4096

struct live {
	demi_qtoken_t qt;
	int q; /* index */
	uint32_t nr; /* order of issue among the pops of its queue */
	bool push;
};

static struct live live[LIVE];
static int nlive;
static demi_qtoken_t stale[STALE];
static unsigned int nstale;
static demi_qtoken_t foreign[100];

static int qds[QUEUES];
static uint32_t pushed[QUEUES]; /* elements, each is its number */

static void forget(demi_qtoken_t qt)
{
	stale[nstale++ % STALE] = qt;
}

static void check_bad(demi_qtoken_t qt)
{
	demi_qtoken_t pair[2];
	demi_qresult_t qr[2];
	int off, n;

	for (int i = 0; i < nlive; i++) {
		if (live[i].qt == qt)
			return; /* a forgery that is right is none */
	}
	CHECK_EQ(demi_wait(qr, qt, rnd_below(2) ? NULL : &check_now), EINVAL);
	CHECK_EQ(demi_wait_any(qr, &off, &qt, 1, NULL), EINVAL);
	CHECK_EQ(demi_wait_some(qr, &off, 1, &n, &qt, 1, NULL), EINVAL);
	CHECK_EQ(demi_cancel(qt), EINVAL);
	pair[0] = nlive ? live[rnd_below((uint32_t)nlive)].qt : qt;
	pair[1] = qt;
	CHECK_EQ(demi_wait_all(qr, pair, 2, NULL), EINVAL);
}

static demi_qtoken_t forge(void)
{
	switch (rnd_below(6)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL;
	case 2:
		return rnd();
	case 3:
		return nlive ? live[rnd_below((uint32_t)nlive)].qt + (1ULL << (20 + rnd_below(44))) : 1;
	case 4:
		return nlive ? live[rnd_below((uint32_t)nlive)].qt ^ (1ULL << rnd_below(20)) : 2;
	default:
		return foreign[rnd_below(100)];
	}
}

static void add(int q, bool push)
{
	struct live *l = &live[nlive];

	if (nlive == LIVE)
		return;
	l->q = q;
	l->push = push;
	if (push) {
		l->qt = push_start(qds[q], &pushed[q], sizeof(pushed[q]));
		pushed[q]++;
	} else {
		l->qt = pop_start(qds[q]);
	}
	for (int i = 0; i < nlive; i++)
		CHECK(live[i].qt != l->qt);
	for (unsigned int i = 0; i < (nstale < STALE ? nstale : STALE); i++)
		CHECK(stale[i] != l->qt);
	nlive++;
}

/* The result belongs to this token, its queue and its kind. Every element comes once. */
static void check_result(const struct live *l, demi_qresult_t *qr, uint8_t *seen)
{
	uint32_t nr;

	CHECK(qr->qr_qt == l->qt && qr->qr_qd == qds[l->q]);
	if (qr->qr_opcode == DEMI_OPC_FAILED) {
		CHECK(!l->push && qr->qr_ret == ECANCELED);
		return;
	}
	CHECK_EQ(qr->qr_opcode, l->push ? DEMI_OPC_PUSH : DEMI_OPC_POP);
	if (l->push)
		return;
	memcpy(&nr, qr->qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(nr));
	CHECK(nr < pushed[l->q]);
	CHECK(!seen[(unsigned int)l->q << 16 | nr]);
	seen[(unsigned int)l->q << 16 | nr] = 1;
	OK(demi_sgafree(&qr->qr_value.sga));
}

static void consumed(int i, demi_qresult_t *qr, uint8_t *seen)
{
	check_result(&live[i], qr, seen);
	forget(live[i].qt);
	check_bad(live[i].qt == qr->qr_qt ? forge() : 0);
	live[i] = live[--nlive];
}

static void test_model(void)
{
	static uint8_t seen[QUEUES << 16];
	int rounds = SLOW ? 20000 : 60000;
	demi_qtoken_t qts[LIVE];
	demi_qresult_t qr;
	int off, n, i;

	for (i = 0; i < QUEUES; i++)
		qds[i] = new_queue();
	while (rounds--) {
		i = nlive ? (int)rnd_below((uint32_t)nlive) : -1;
		switch (rnd_below(8)) {
		case 0:
		case 1:
			add((int)rnd_below(QUEUES), true);
			break;
		case 2:
		case 3:
			add((int)rnd_below(QUEUES), false);
			break;
		case 4:
			if (i >= 0 && !demi_wait(&qr, live[i].qt, &check_now))
				consumed(i, &qr, seen);
			break;
		case 5:
			for (n = 0; n < nlive; n++)
				qts[n] = live[n].qt;
			if (n && !demi_wait_any(&qr, &off, qts, n, &check_now))
				consumed(off, &qr, seen);
			break;
		case 6:
			n = demi_wait_next_n(&qr, 1, &off, &check_now);
			CHECK_EQ(n == ENOENT, nlive == 0);
			for (i = 0; !n && live[i].qt != qr.qr_qt; i++)
				CHECK(i < nlive);
			if (!n)
				consumed(i, &qr, seen);
			break;
		default:
			if (i >= 0) {
				n = demi_cancel(live[i].qt);
				CHECK(n == 0 || n == EALREADY);
				CHECK(n == EALREADY || !live[i].push);
				if (!n) {
					OK(demi_wait(&qr, live[i].qt, &check_now));
					check_failed(&qr, ECANCELED);
					consumed(i, &qr, seen);
				}
			}
			check_bad(forge());
			if (nstale)
				check_bad(stale[rnd_below(nstale < STALE ? nstale : STALE)]);
		}
	}
	/* what is left: every element that was pushed can still be had, once */
	while (nlive) {
		if (!demi_wait(&qr, live[nlive - 1].qt, &check_now) ||
		    (!demi_cancel(live[nlive - 1].qt) && !demi_wait(&qr, live[nlive - 1].qt, NULL)))
			consumed(nlive - 1, &qr, seen);
	}
	for (i = 0; i < QUEUES; i++) {
		OK(demi_shutdown(qds[i], SHUT_WR));
		for (;;) {
			uint32_t nr;

			qr = wait_result(pop_start(qds[i]));
			if (!qr.qr_value.sga.sga_segs[0].sgaseg_len)
				break;
			memcpy(&nr, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(nr));
			CHECK(!seen[(unsigned int)i << 16 | nr]++);
			OK(demi_sgafree(&qr.qr_value.sga));
		}
		for (uint32_t nr = 0; nr < pushed[i]; nr++)
			CHECK(seen[(unsigned int)i << 16 | nr]);
		OK(demi_close(qds[i]));
	}
}

static pthread_barrier_t barrier;

static void *other(void *arg)
{
	demi_qresult_t qr;
	int q;

	init_memq();
	q = new_queue();
	for (int i = 0; i < 100; i++)
		foreign[i] = pop_start(q);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 100; i++) /* nobody has touched them */
		CHECK_EQ(demi_wait(&qr, foreign[i], &check_now), ETIMEDOUT);
	return NULL;
}

/* The generation begins at random: no token is the same in two runs of one thread after the other. */
static void *first_token(void *arg)
{
	init_memq();
	*(demi_qtoken_t *)arg = pop_start(new_queue());
	return NULL;
}

int main(void)
{
	demi_qtoken_t first[8];
	pthread_t t;

	alarm(110);
	check_seed();
	for (int i = 0; i < 8; i++) {
		OK(pthread_create(&t, NULL, first_token, &first[i]));
		pthread_join(t, NULL);
		for (int k = 0; k < i; k++)
			CHECK(first[k] >> 20 != first[i] >> 20);
	}
	OK(pthread_barrier_init(&barrier, NULL, 2));
	OK(pthread_create(&t, NULL, other, NULL));
	init_memq();
	pthread_barrier_wait(&barrier);
	test_model();
	pthread_barrier_wait(&barrier);
	pthread_join(t, NULL);
	return 0;
}
