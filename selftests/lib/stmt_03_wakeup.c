/* SPDX-License-Identifier: MIT */
/* threads */
/*
 * Design, statement 3: signals do not end waits; demi_wakeup() does, from another thread and from a signal handler,
 * and is sticky. A call from a signal handler that interrupted the library is EDEADLK.
 */
#include "lib/check.h"

#include <pthread.h>

static volatile sig_atomic_t signals, deadlocks, wake_in_handler;
static demi_ctx_t *self;

static void on_signal(int sig)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd, n, off;

	signals++;
	if (wake_in_handler) {
		demi_wakeup(self);
		return;
	}
	/* the wait is under way: everything but demi_wakeup() and demi_self() has to stay out */
	if (demi_wait_next_n(&qr, 1, &n, &check_now) == EDEADLK && demi_queue(&qd) == EDEADLK &&
	    demi_pop(&qt, 1) == EDEADLK && demi_close(1) == EDEADLK && demi_wait(&qr, 5, NULL) == EDEADLK &&
	    demi_wait_any(&qr, &off, (demi_qtoken_t[]){ 5 }, 1, NULL) == EDEADLK && demi_cancel(5) == EDEADLK &&
	    demi_wait_arm() == EDEADLK && demi_wait_fd(&n) == EDEADLK && demi_init(NULL) == EEXIST)
		deadlocks++;
}

struct job {
	pthread_t target;
	int signals, wakeups;
	unsigned int pause_ms;
};

static void *disturb(void *arg)
{
	struct job *j = arg;

	for (int i = 0; i < j->signals; i++) {
		sleep_ms(j->pause_ms);
		pthread_kill(j->target, SIGUSR1);
	}
	for (int i = 0; i < j->wakeups; i++) {
		sleep_ms(j->pause_ms);
		demi_wakeup(self);
	}
	return NULL;
}

static void test_signals(int q)
{
	struct timespec timeout = { 0, 300000000 };
	struct job j = { pthread_self(), 10, 0, 10 };
	demi_qtoken_t qt = pop_start(q);
	uint64_t start = check_ns(CLOCK_MONOTONIC);
	demi_qresult_t qr;
	pthread_t t;

	signals = deadlocks = 0;
	OK(pthread_create(&t, NULL, disturb, &j));
	CHECK_EQ(demi_wait(&qr, qt, &timeout), ETIMEDOUT);
	CHECK(check_ns(CLOCK_MONOTONIC) - start >= 300000000);
	pthread_join(t, NULL);
	CHECK(signals > 0); /* fewer than were sent where this thread does not get to run in between */
	CHECK(deadlocks > 0);
	OK(demi_cancel(qt));
	qr = wait_result(qt);
	check_failed(&qr, ECANCELED);
}

static void test_wakeups(int q)
{
	demi_qtoken_t qts[20];
	demi_qresult_t qrs[20];
	demi_sgarray_t sga;
	int offs[20], n;
	struct job j = { pthread_self(), 0, 1, 20 };
	pthread_t t;

	for (int i = 0; i < 20; i++)
		qts[i] = pop_start(q);
	for (int i = 0; i < 6; i++) {
		OK(pthread_create(&t, NULL, disturb, &j));
		CHECK_EQ(i == 0	  ? demi_wait(qrs, qts[3], NULL)
			 : i == 1 ? demi_wait_any(qrs, offs, qts, 20, NULL)
			 : i == 2 ? demi_wait_all(qrs, qts, 20, NULL)
			 : i == 3 ? demi_wait_some(qrs, offs, 20, &n, qts, 20, NULL)
			 : i == 4 ? demi_wait_next_n(qrs, 20, &n, NULL)
				  : demi_wait(qrs, qts[0], &(struct timespec){ 30, 0 }),
			 EINTR);
		pthread_join(t, NULL);
	}
	/* sticky, and once: many calls are one */
	for (int i = 0; i < 5; i++)
		OK(demi_wakeup(self));
	CHECK_EQ(demi_wait(qrs, qts[0], NULL), EINTR);
	CHECK_EQ(demi_wait(qrs, qts[0], &check_now), ETIMEDOUT);
	/* a wait that need not wait leaves it for the next one */
	OK(demi_wakeup(self));
	push_bytes(q, "a", 1);
	OK(demi_wait(&qrs[0], qts[0], NULL));
	check_popped(&qrs[0], "a", 1);
	CHECK_EQ(demi_wait(qrs, qts[1], NULL), EINTR);
	/* from a handler in the same thread, during the wait */
	wake_in_handler = 1;
	j = (struct job){ pthread_self(), 1, 0, 20 };
	OK(pthread_create(&t, NULL, disturb, &j));
	CHECK_EQ(demi_wait(qrs, qts[1], NULL), EINTR);
	pthread_join(t, NULL);
	wake_in_handler = 0;
	OK(demi_close(q));
	OK(demi_wait_all(&qrs[1], &qts[1], 19, NULL));

	/* a blocking pop is cancelled and says so; no element is lost */
	OK(demi_queue(&q));
	j = (struct job){ pthread_self(), 0, 1, 20 };
	OK(pthread_create(&t, NULL, disturb, &j));
	CHECK_EQ(demi_blocking_pop(&sga, q), EINTR);
	pthread_join(t, NULL);
	push_bytes(q, "b", 1);
	pop_bytes(q, "b", 1);
	CHECK_EQ(demi_wait_next_n(qrs, 1, &n, NULL), ENOENT);
	OK(demi_close(q));
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART */
	demi_ctx_t *again;

	alarm(100);
	OK(sigaction(SIGUSR1, &sa, NULL));
	CHECK_EQ(demi_self(&self), ENOSYS);
	init_memq();
	OK(demi_self(&self));
	OK(demi_self(&again));
	CHECK(self == again && self);
	CHECK_EQ(demi_self(NULL), EINVAL);
	CHECK_EQ(demi_wakeup(NULL), EINVAL);
	test_signals(new_queue());
	test_wakeups(new_queue());
	return 0;
}
