/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * Design, statement 4: no wake-up is lost. Two threads play ping-pong and never spin, so that each exchange
 * is two sleeps and two wake-ups; four threads share one queue.
 */
#include "lib/check.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS (SLOW ? 10000u : 100000u) /* two pairs of sleep and wake-up each */
#define ELEMENTS (SLOW ? 8000u : 60000u)
#define THREADS 4

static int fd_there, fd_back;

static int import(int fd)
{
	int qd = -1;

	OK(demi_queue_import(&qd, fd));
	return qd;
}

static void *echo(void *arg)
{
	int in, out;

	init_memq();
	in = import(fd_there);
	out = import(fd_back);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		demi_qresult_t qr = wait_result(pop_start(in));
		demi_sgarray_t sga = qr.qr_value.sga;
		demi_qtoken_t qt;

		OK(demi_push(&qt, out, &sga));
		OK(demi_sgafree(&sga));
		wait_result(qt);
	}
	*(uint64_t *)arg = counter("sleeps");
	return NULL;
}

static void test_ping_pong(void)
{
	int there = new_queue(), back = new_queue();
	uint64_t sleeps = counter("sleeps"), others = 0;
	pthread_t t;

	OK(demi_queue_export(&fd_there, there));
	OK(demi_queue_export(&fd_back, back));
	OK(pthread_create(&t, NULL, echo, &others));
	for (unsigned int i = 0; i < ROUNDS; i++) {
		push_bytes(there, &i, sizeof(i));
		/* so that the answer often comes just when this thread goes to sleep */
		for (volatile uint32_t k = rnd_below(1U << (i % 16)); k > 0; k--)
			;
		pop_bytes(back, &i, sizeof(i));
	}
	pthread_join(t, NULL);
	close(fd_there);
	close(fd_back);
	OK(demi_close(there));
	OK(demi_close(back));
	sleeps = counter("sleeps") - sleeps;
	printf("%u rounds, %llu and %llu sleeps\n", ROUNDS, (unsigned long long)sleeps, (unsigned long long)others);
	CHECK(sleeps > 0 && others > 0);
}

static atomic_uint seen[60000], total;

/* Several threads pop one queue; the next element is pushed as soon as one has been taken. */
static void *popper(void *arg)
{
	demi_qtoken_t qts[2];
	demi_qresult_t qr;
	int q, off;

	init_memq();
	q = import(fd_there);
	qts[0] = pop_start(q);
	qts[1] = pop_start(q);
	for (;;) {
		unsigned int i;

		OK(demi_wait_any(&qr, &off, qts, 2, NULL));
		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		if (!qr.qr_value.sga.sga_segs[0].sgaseg_len)
			return NULL;
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, sizeof(i));
		memcpy(&i, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(i));
		OK(demi_sgafree(&qr.qr_value.sga));
		CHECK(i < ELEMENTS);
		CHECK_EQ(atomic_fetch_add(&seen[i], 1), 0);
		qts[off] = pop_start(q);
		i = atomic_fetch_add(&total, 1) + 1;
		if (i < ELEMENTS)
			push_bytes(q, &i, sizeof(i));
		else
			OK(demi_shutdown(q, SHUT_WR));
	}
}

static void test_four(void)
{
	pthread_t t[THREADS];
	int q = new_queue();

	OK(demi_queue_export(&fd_there, q));
	for (int i = 0; i < THREADS; i++)
		OK(pthread_create(&t[i], NULL, popper, NULL));
	for (unsigned int i = 0; i < THREADS / 2; i++) /* so many are on their way at any time */
		atomic_fetch_add(&total, i > 0);
	for (unsigned int i = 0; i < THREADS / 2; i++)
		push_bytes(q, &i, sizeof(i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (unsigned int i = 0; i < ELEMENTS; i++)
		CHECK(atomic_load(&seen[i]) == 1);
	close(fd_there);
	OK(demi_close(q));
}

int main(void)
{
	alarm(110);
	setenv("DEMI_SPIN_US", "0", 1);
	init_memq();
	test_ping_pong();
	test_four();
	return 0;
}
