/* SPDX-License-Identifier: MIT */
/* RFC 5681 3.1, bytes counted as in RFC 3465. */
#include "inet/cc_reno.h"

#define L 2 /* RFC 3465 2.2 */

void demi_reno_acked(struct demi_tcp *t, uint32_t bytes, uint32_t *rest)
{
	if (t->cwnd < t->ssthresh) {
		uint32_t add = bytes < L * (uint32_t)t->mss ? bytes : L * (uint32_t)t->mss;

		t->cwnd += add;
		return;
	}
	*rest += bytes;
	while (*rest >= t->cwnd) {
		*rest -= t->cwnd;
		t->cwnd += t->mss;
	}
}

static void reno_init(struct demi_tcp *t)
{
	t->cc_state[0] = 0;
}

static void reno_acked(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us)
{
	uint32_t rest = (uint32_t)t->cc_state[0];

	demi_reno_acked(t, bytes, &rest);
	t->cc_state[0] = rest;
}

/* (4) */
static uint32_t reno_ssthresh(struct demi_tcp *t)
{
	t->cc_state[0] = 0;
	return t->cwnd / 2;
}

const struct demi_cc_ops demi_cc_reno = {
	.name = "reno",
	.init = reno_init,
	.acked = reno_acked,
	.ssthresh = reno_ssthresh,
};
