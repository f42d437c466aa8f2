/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_TIMER_H
#define DEMI_CORE_TIMER_H

/* A context's timers: a binary heap by deadline. A timer is embedded in what it belongs to. */

#include <stddef.h>
#include <stdint.h>

struct demi_timer {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	uint32_t index; /* place in the heap + 1; 0: not set */
	void (*fn)(struct demi_timer *t);
};

struct demi_timers {
	struct demi_timer **heap;
	uint32_t count, size;
};

/* Set or move @t. 0 or -ENOMEM. */
int demi_timer_set(struct demi_timers *ts, struct demi_timer *t, uint64_t deadline_ns);
void demi_timer_cancel(struct demi_timers *ts, struct demi_timer *t);

/* Call the functions of all timers that are due at @now_ns. */
void demi_timers_run(struct demi_timers *ts, uint64_t now_ns);

static inline uint64_t demi_timers_next(const struct demi_timers *ts)
{
	return ts->count ? ts->heap[0]->deadline_ns : UINT64_MAX;
}

void demi_timers_destroy(struct demi_timers *ts);

#endif /* DEMI_CORE_TIMER_H */
