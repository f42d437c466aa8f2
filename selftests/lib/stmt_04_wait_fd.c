/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, threads */
/*
 * Design, statement 4: a foreign event loop that sleeps in poll(2) on demi_wait_fd() after demi_wait_arm()
 * misses nothing: what other threads post, what it starts itself while armed, demi_wakeup(), timers.
 */
#include "lib/check.h"

#include "core/ctx.h"

#include <poll.h>
#include <pthread.h>

#define ELEMENTS (SLOW ? 3000u : 30000u)

static int wait_fd, export_fd;

static int readable(int timeout_ms)
{
	struct pollfd p = { .fd = wait_fd, .events = POLLIN };
	int n = poll(&p, 1, timeout_ms);

	CHECK(n >= 0);
	return n;
}

static void drain(void)
{
	demi_qresult_t qr;
	int n, err;

	while (!(err = demi_wait_next_n(&qr, 1, &n, &check_now)))
		if (qr.qr_opcode == DEMI_OPC_POP)
			OK(demi_sgafree(&qr.qr_value.sga));
	CHECK(err == ETIMEDOUT || err == ENOENT);
}

/* Each of these completes something while the fd is armed. */
static void test_own_operations(void)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int q = new_queue();

	for (int i = 0; i < 6; i++) {
		qt = pop_start(q);
		OK(demi_wait_arm());
		CHECK_EQ(readable(0), 0);
		CHECK_EQ(demi_wait_arm(), 0); /* twice does no harm */
		counter("polls"); /* nor do calls that complete nothing */
		CHECK_EQ(demi_pop(&(demi_qtoken_t){ 0 }, 9999), EBADF);
		CHECK_EQ(readable(0), 0);
		switch (i) {
		case 0:
			push_start(q, "x", 1);
			break;
		case 1:
			OK(demi_cancel(qt));
			break;
		case 2:
			OK(demi_shutdown(q, SHUT_WR));
			break;
		case 3:
			OK(demi_close(q));
			break;
		case 4:
			push_start(q = new_queue(), "y", 1);
			pop_start(q);
			break;
		default: {
			demi_ctx_t *self;

			OK(demi_self(&self));
			OK(demi_wakeup(self));
			CHECK_EQ(readable(-1), 1);
			CHECK_EQ(demi_wait_arm(), EAGAIN);
			CHECK_EQ(demi_wait(&qr, qt, &check_now), EINTR);
			OK(demi_cancel(qt));
			drain();
			continue;
		}
		}
		CHECK_EQ(readable(-1), 1);
		CHECK_EQ(demi_wait_arm(), EAGAIN);
		drain();
		if (i == 2 || i == 3)
			q = new_queue();
	}
}

static void *pusher(void *arg)
{
	int q;

	init_memq();
	OK(demi_queue_import(&q, export_fd));
	for (unsigned int i = 0; i < ELEMENTS; i++) {
		push_bytes(q, &i, sizeof(i));
		if (i % 256 == 0)
			sleep_ms(1);
	}
	return NULL;
}

/* The loop that libdemi's samples use. */
static void test_other_thread(void)
{
	unsigned int want = 0, agains = 0, polls = 0;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	pthread_t t;
	int q = new_queue(), err;

	OK(demi_queue_export(&export_fd, q));
	OK(pthread_create(&t, NULL, pusher, NULL));
	qt = pop_start(q);
	while (want < ELEMENTS) {
		err = demi_wait_arm();
		if (err == EAGAIN) {
			agains++;
		} else {
			OK(err);
			polls++;
			CHECK_EQ(readable(-1), 1);
		}
		while (!(err = demi_wait(&qr, qt, &check_now))) {
			check_popped(&qr, &want, sizeof(want));
			if (++want == ELEMENTS)
				break;
			qt = pop_start(q);
		}
		CHECK(err == ETIMEDOUT || want == ELEMENTS);
	}
	pthread_join(t, NULL);
	close(export_fd);
	OK(demi_close(q));
	printf("%u elements, %u polls, %u EAGAIN\n", want, polls, agains);
}

static int fired;

static void fire(struct demi_timer *t)
{
	fired++;
}

/* A timer of a backend, set before the loop arms and, by a call of the loop's own, afterwards. */
static void test_timers(void)
{
	struct demi_timer a = { .fn = fire }, b = { .fn = fire };
	struct demi_timers *ts = &demi_ctx_self->timers;

	OK(demi_timer_set(ts, &a, demi_now_ns() + 20000000));
	pop_start(new_queue());
	OK(demi_wait_arm());
	CHECK_EQ(readable(0), 0);
	CHECK_EQ(readable(-1), 1);
	drain();
	CHECK_EQ(fired, 1);
	OK(demi_wait_arm());
	CHECK_EQ(readable(0), 0);
	OK(demi_timer_set(ts, &b, demi_now_ns() + 20000000));
	OK(demi_close(new_queue())); /* any call */
	CHECK_EQ(readable(-1), 1);
	drain();
	CHECK_EQ(fired, 2);
	OK(demi_wait_arm());
	CHECK_EQ(readable(0), 0);
}

int main(void)
{
	alarm(60);
	init_memq();
	CHECK_EQ(demi_wait_fd(NULL), EINVAL);
	OK(demi_wait_fd(&wait_fd));
	test_own_operations();
	test_other_thread();
	test_timers();
	return 0;
}
