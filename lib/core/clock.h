/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_CLOCK_H
#define DEMI_CORE_CLOCK_H

/*
 * CLOCK_MONOTONIC for who asks often: the processor's time stamp counter, set right by the clock every few
 * milliseconds; in between it is off by no more than some parts in a million, and never goes back. On a processor whose
 * counter does not run evenly, and on all but x86, it is the clock itself. One per thread: a context has it.
 */

#include <stdbool.h>
#include <stdint.h>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

struct demi_clock {
	uint64_t tsc, ns; /* when it was set right */
	uint64_t limit; /* ticks from there on that may be believed */
	uint64_t mult; /* ns per tick, times 2^32 */
	uint64_t base_tsc, base_ns; /* where the measurement of mult began */
	bool even; /* the counter can be used */
};

void demi_clock_init(struct demi_clock *c);
/* Ask the clock. */
uint64_t demi_clock_set(struct demi_clock *c);

static inline uint64_t demi_clock_ns(struct demi_clock *c)
{
#ifdef __x86_64__
	uint64_t d = __rdtsc() - c->tsc;

	if (__builtin_expect(d < c->limit, 1))
		return c->ns + (d * c->mult >> 32);
#endif
	return demi_clock_set(c);
}

#endif /* DEMI_CORE_CLOCK_H */
