/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * Design, statement 9: backends get their turn, and what they have put off is submitted, while something else is always
 * ready, each as often as the others; late_entries. A backend of the test's own.
 */
#include "lib/check.h"

#include "core/ctx.h"

struct fake {
	struct demi_backend b;
	unsigned int polls, flushes;
};

static struct fake *fakes[2];
static void fake_poll(struct demi_backend *b)
{
	((struct fake *)b)->polls++;
}

static void fake_flush(struct demi_backend *b)
{
	((struct fake *)b)->flushes++;
}

static void fake_destroy(struct demi_backend *b)
{
	free(b);
}

static const struct demi_backend_ops ops[2] = {
	{ .name = "one", .poll = fake_poll, .flush = fake_flush, .destroy = fake_destroy },
	{ .name = "two", .poll = fake_poll, .destroy = fake_destroy },
};

/* A wait of each kind. */
static demi_qresult_t one_wait(int how, demi_qtoken_t qt)
{
	demi_qresult_t qr;
	int off, n, err;

	switch (how) {
	case 0:
		err = demi_wait(&qr, qt, NULL);
		break;
	case 1:
		err = demi_wait(&qr, qt, &check_second);
		break;
	case 2:
		err = demi_wait(&qr, qt, &check_now);
		break;
	case 3:
		err = demi_wait_any(&qr, &off, &qt, 1, NULL);
		break;
	case 4:
		err = demi_wait_some(&qr, &off, 1, &n, &qt, 1, NULL);
		break;
	case 5:
		err = demi_wait_all(&qr, &qt, 1, NULL);
		break;
	default:
		err = demi_wait_next_n(&qr, 1, &n, NULL);
	}
	OK(err);
	return qr;
}

static void test_turns(int q)
{
	int other = new_queue();

	push_start(other, "always ready", 12);
	for (int how = 0; how < 7; how++) {
		unsigned int p0 = fakes[0]->polls, p1 = fakes[1]->polls, f = fakes[0]->flushes;

		demi_ctx_want_flush(demi_ctx_self);
		for (int i = 0; i < 500; i++) { /* waits that find their result ready */
			demi_qtoken_t push = push_start(q, "x", 1), pop = pop_start(q);

			for (int k = 0; k < 2; k++) {
				demi_qresult_t qr = one_wait(how, k ? pop : push);

				if (qr.qr_opcode == DEMI_OPC_POP)
					OK(demi_sgafree(&qr.qr_value.sga));
			}
		}
		CHECK(fakes[0]->polls - p0 >= 10);
		CHECK_EQ(fakes[0]->polls - p0, fakes[1]->polls - p1);
		CHECK(fakes[0]->flushes > f);
		CHECK(!demi_ctx_flush_wanted(demi_ctx_self));
	}
	OK(demi_close(other));
}

/* Without connections nobody is late; with them, each absence counts once; a program that is served is not away. */
static void test_late(int q)
{
	demi_qtoken_t qt = pop_start(q);
	demi_qresult_t qr;

	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
	sleep_ms(40);
	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
	CHECK_EQ(counter("late_entries"), 0);
	demi_ctx_self->live_conns = 1;
	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
	for (unsigned int i = 1; i < 4; i++) {
		sleep_ms(40);
		CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
		CHECK_EQ(counter("late_entries"), i);
	}
	/* a long wait is no absence */
	CHECK_EQ(demi_wait(&qr, qt, &(struct timespec){ 0, 40000000 }), ETIMEDOUT);
	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
	demi_ctx_self->live_conns = 0;
	OK(demi_cancel(qt));
	wait_result(qt);
}

int main(void)
{
	int q;

	alarm(60);
	init_memq();
	for (int i = 0; i < 2; i++)
		OK(demi_ctx_backend(demi_ctx_self, &ops[i], sizeof(struct fake), (struct demi_backend **)&fakes[i]));
	q = new_queue();
	test_turns(q);
	test_late(q);
	return 0;
}
