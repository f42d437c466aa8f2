/* SPDX-License-Identifier: MIT */
/* DCTCP, RFC 8257 3.3. */
#include "inet/cc_reno.h"

#define ALPHA_ONE 1024U
#define G_SHIFT 4 /* g = 1/16 */

struct dctcp {
	uint32_t alpha; /* the fraction of marked bytes, in 1/ALPHA_ONE */
	uint32_t acked, marked; /* bytes in this window */
	uint32_t window_end;
	uint32_t rest;
	bool on;
};

#define DCTCP(t) ((struct dctcp *)(t)->cc_state)

static void dctcp_init(struct demi_tcp *t)
{
	*DCTCP(t) = (struct dctcp){ .alpha = ALPHA_ONE };
}

static void dctcp_acked(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us)
{
	demi_reno_acked(t, bytes, &DCTCP(t)->rest);
}

/* (9): cwnd * (1 - alpha / 2) */
static uint32_t dctcp_ssthresh(struct demi_tcp *t)
{
	DCTCP(t)->rest = 0;
	return t->cwnd - (uint32_t)((uint64_t)t->cwnd * DCTCP(t)->alpha / (2 * ALPHA_ONE));
}

/* (4) to (8): once in a window of data */
static void dctcp_ecn_acked(struct demi_tcp *t, uint32_t bytes, bool marked)
{
	struct dctcp *d = DCTCP(t);
	uint32_t m;

	d->acked += bytes;
	if (marked)
		d->marked += bytes;
	if (d->on && seq_lt(t->snd_una, d->window_end))
		return;
	if (d->on && d->acked) {
		m = (uint32_t)((uint64_t)d->marked * ALPHA_ONE / d->acked);
		d->alpha = d->alpha - (d->alpha >> G_SHIFT) + (m >> G_SHIFT);
		if (d->alpha > ALPHA_ONE)
			d->alpha = ALPHA_ONE;
	}
	d->on = true;
	d->acked = d->marked = 0;
	d->window_end = t->snd_nxt;
}

const struct demi_cc_ops demi_cc_dctcp = {
	.name = "dctcp",
	.ecn = true,
	.init = dctcp_init,
	.acked = dctcp_acked,
	.ssthresh = dctcp_ssthresh,
	.ecn_acked = dctcp_ecn_acked,
};
