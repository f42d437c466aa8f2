/* SPDX-License-Identifier: MIT */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

/*
 * Time for single operations. A tick is whatever the processor counts cheaply (the time-stamp counter
 * costs 12 ns, clock_gettime() 30); ticks_calibrate() measures its length once, before any fork.
 */

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000ULL

extern double ns_per_tick;

void ticks_calibrate(void);

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return now_ns();
#endif
}

static inline uint64_t ticks_ns(uint64_t t)
{
	return (uint64_t)((double)t * ns_per_tick);
}

static inline uint64_t ns_ticks(uint64_t ns)
{
	return (uint64_t)((double)ns / ns_per_tick);
}

#endif /* BENCH_CLOCK_H */
