/* SPDX-License-Identifier: MIT */
#include "core/clock.h"

#include "core/ctx.h"

#include <string.h>

#define FIRST_NS 5000000 /* the rate is measured for so long before it is used, */
#define LAST_NS 4000000000 /* and for so long before the measurement begins anew */
#define BELIEVE_TICKS (1U << 24) /* a few milliseconds; times mult it is below 2^64 */
#define MULT_MAX (1ULL << 36) /* 62 MHz */
#define AHEAD_NS 1000000 /* what has been told too early by less than this is told again, not taken back */

#ifdef __x86_64__
#include <cpuid.h>

/* Intel SDM 17.17.1, AMD APM 3 E.4.7: invariant TSC */
static bool runs_evenly(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1U << 8;
}

static uint64_t ticks(void)
{
	return __rdtsc();
}
#else
static bool runs_evenly(void)
{
	return false;
}

static uint64_t ticks(void)
{
	return 0;
}
#endif

void demi_clock_init(struct demi_clock *c)
{
	memset(c, 0, sizeof(*c));
	c->even = runs_evenly();
}

uint64_t demi_clock_set(struct demi_clock *c)
{
	uint64_t ns = demi_now_ns(), tsc, told_ns, mult;

	if (!c->even)
		return ns;
	tsc = ticks();
	told_ns = c->limit && tsc - c->tsc < 2 * c->limit ? c->ns + ((tsc - c->tsc) * c->mult >> 32) : 0;
	if (told_ns > ns && told_ns - ns < AHEAD_NS)
		ns = told_ns;
	if (!c->base_ns || ns - c->base_ns > LAST_NS || tsc <= c->base_tsc) {
		c->base_ns = ns;
		c->base_tsc = tsc;
	} else if (ns - c->base_ns >= FIRST_NS) {
		mult = ((ns - c->base_ns) << 32) / (tsc - c->base_tsc);
		c->mult = mult;
		c->limit = mult && mult < MULT_MAX ? BELIEVE_TICKS : 0;
	}
	c->tsc = tsc;
	c->ns = ns;
	return ns;
}
