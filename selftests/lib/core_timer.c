/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* The timers' heap beside a plain array: set, move, cancel and run at random. */
#include "lib/check.h"

#include "core/timer.h"

#define TIMERS 300

static struct demi_timers ts;

static struct entry {
	struct demi_timer t;
	bool set;
	int runs;
	int again; /* times its function sets it anew */
} e[TIMERS];

static uint64_t now, last;

static void fire(struct demi_timer *t)
{
	struct entry *x = (struct entry *)t;

	CHECK(x->set && t->index == 0);
	CHECK(t->deadline_ns <= now && t->deadline_ns >= last); /* the earliest first */
	last = t->deadline_ns;
	x->set = false;
	x->runs++;
	if (x->again) {
		x->again--;
		x->set = true;
		OK(demi_timer_set(&ts, t, now + 1 + rnd_below(100)));
	}
	if (rnd_below(4) == 0) { /* it cancels another one, which may be due */
		struct entry *y = &e[rnd_below(TIMERS)];

		demi_timer_cancel(&ts, &y->t);
		y->set = false;
	}
}

static void check_heap(void)
{
	uint64_t first = UINT64_MAX;
	uint32_t n = 0;

	for (int i = 0; i < TIMERS; i++) {
		CHECK_EQ(e[i].t.index != 0, e[i].set);
		if (!e[i].set)
			continue;
		n++;
		if (e[i].t.deadline_ns < first)
			first = e[i].t.deadline_ns;
		CHECK(ts.heap[e[i].t.index - 1] == &e[i].t);
	}
	CHECK_EQ(ts.count, n);
	CHECK(demi_timers_next(&ts) == first);
}

int main(void)
{
	int runs = 0;

	alarm(60);
	check_seed();
	CHECK(demi_timers_next(&ts) == UINT64_MAX);
	demi_timers_run(&ts, UINT64_MAX);
	for (int i = 0; i < TIMERS; i++)
		e[i].t.fn = fire;
	for (int round = 0; round < 20000; round++) {
		struct entry *x = &e[rnd_below(TIMERS)];

		switch (rnd_below(4)) {
		case 0:
		case 1:
			x->set = true;
			x->again = (int)rnd_below(3);
			OK(demi_timer_set(&ts, &x->t, now + rnd_below(rnd_below(2) ? 10 : 1000)));
			break;
		case 2:
			demi_timer_cancel(&ts, &x->t);
			x->set = false;
			break;
		default:
			now += rnd_below(20);
			last = 0;
			demi_timers_run(&ts, now);
			CHECK(demi_timers_next(&ts) > now);
		}
		if (round % 16 == 0)
			check_heap();
	}
	now += 1000000;
	last = 0;
	for (int i = 0; i < TIMERS; i++) {
		e[i].again = 0;
		runs += e[i].runs;
	}
	demi_timers_run(&ts, now);
	check_heap();
	CHECK_EQ(ts.count, 0);
	CHECK(runs > 1000);
	demi_timers_destroy(&ts);
	return 0;
}
