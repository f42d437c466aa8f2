// SPDX-License-Identifier: MIT
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct demi_timers *ts, uint32_t i, struct demi_timer *t)
{
	ts->heap[i] = t;
	t->index = i + 1;
}

static void sift_up(struct demi_timers *ts, uint32_t i, struct demi_timer *t)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (ts->heap[parent]->deadline_ns <= t->deadline_ns)
			break;
		place(ts, i, ts->heap[parent]);
		i = parent;
	}
	place(ts, i, t);
}

static void sift_down(struct demi_timers *ts, uint32_t i, struct demi_timer *t)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= ts->count)
			break;
		if (child + 1 < ts->count && ts->heap[child + 1]->deadline_ns < ts->heap[child]->deadline_ns)
			child++;
		if (t->deadline_ns <= ts->heap[child]->deadline_ns)
			break;
		place(ts, i, ts->heap[child]);
		i = child;
	}
	place(ts, i, t);
}

int demi_timer_set(struct demi_timers *ts, struct demi_timer *t, uint64_t deadline_ns)
{
	demi_timer_cancel(ts, t);
	if (ts->count == ts->size) {
		uint32_t size = ts->size ? 2 * ts->size : 8;
		struct demi_timer **heap = realloc(ts->heap, size * sizeof(struct demi_timer *));

		if (!heap)
			return -ENOMEM;
		ts->heap = heap;
		ts->size = size;
	}
	t->deadline_ns = deadline_ns;
	sift_up(ts, ts->count++, t);
	return 0;
}

void demi_timer_cancel(struct demi_timers *ts, struct demi_timer *t)
{
	uint32_t i = t->index;
	struct demi_timer *last;

	if (!i--)
		return;
	t->index = 0;
	last = ts->heap[--ts->count];
	if (last == t)
		return;
	if (i > 0 && last->deadline_ns < ts->heap[(i - 1) / 2]->deadline_ns)
		sift_up(ts, i, last);
	else
		sift_down(ts, i, last);
}

void demi_timers_run(struct demi_timers *ts, uint64_t now_ns)
{
	while (ts->count && ts->heap[0]->deadline_ns <= now_ns) {
		struct demi_timer *t = ts->heap[0];

		demi_timer_cancel(ts, t);
		t->fn(t);
	}
}

void demi_timers_destroy(struct demi_timers *ts)
{
	free(ts->heap);
	ts->heap = NULL;
	ts->count = ts->size = 0;
}
