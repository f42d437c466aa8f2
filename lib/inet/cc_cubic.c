/* SPDX-License-Identifier: MIT */
/* CUBIC in integers, RFC 9438, with HyStart++, RFC 9406. */
#include "inet/tcp.h"

struct cubic {
	uint64_t epoch_ns; /* when congestion avoidance began; 0: not yet */
	uint32_t w_max, k_ms;
	uint32_t w_est, est_rest; /* 4.3; est_rest: what was not a byte yet */
	uint32_t cwnd_prior, rest;
	uint32_t round_end, last_min_us, cur_min_us, css_base_us;
	uint8_t samples, css_rounds;
	bool css, rounds_on;
	uint32_t undo_w_max;
};

_Static_assert(sizeof(struct cubic) <= sizeof(((struct demi_tcp *)0)->cc_state), "room in the connection");

#define CUBIC(t) ((struct cubic *)(t)->cc_state)

/* RFC 9406 4.3 */
#define MIN_RTT_THRESH_US 4000U
#define MAX_RTT_THRESH_US 16000U
#define MIN_RTT_DIVISOR 8
#define N_RTT_SAMPLE 8
#define CSS_GROWTH_DIVISOR 4
#define CSS_ROUNDS 5
#define L 8 /* segments that one acknowledgement adds at most, without pacing */

static void cubic_init(struct demi_tcp *t)
{
	*CUBIC(t) = (struct cubic){ .last_min_us = UINT32_MAX, .cur_min_us = UINT32_MAX };
}

/* ---- slow start ---- */

static void round_begin(struct demi_tcp *t, struct cubic *c)
{
	c->round_end = t->snd_nxt;
	c->last_min_us = c->cur_min_us;
	c->cur_min_us = UINT32_MAX;
	c->samples = 0;
	c->rounds_on = true;
}

/* RFC 9406 4.2 */
static void hystart(struct demi_tcp *t, struct cubic *c, uint32_t rtt_us)
{
	uint32_t thresh_us = c->last_min_us / MIN_RTT_DIVISOR;

	if (!c->rounds_on || seq_lt(c->round_end, t->snd_una)) {
		if (c->css && ++c->css_rounds >= CSS_ROUNDS) {
			t->ssthresh = t->cwnd;
			return;
		}
		round_begin(t, c);
	}
	if (!rtt_us)
		return;
	if (rtt_us < c->cur_min_us)
		c->cur_min_us = rtt_us;
	if (c->samples < N_RTT_SAMPLE)
		c->samples++;
	if (c->samples < N_RTT_SAMPLE || c->last_min_us == UINT32_MAX)
		return;
	if (thresh_us < MIN_RTT_THRESH_US)
		thresh_us = MIN_RTT_THRESH_US;
	if (thresh_us > MAX_RTT_THRESH_US)
		thresh_us = MAX_RTT_THRESH_US;
	if (c->css) {
		c->css = c->cur_min_us >= c->css_base_us;
	} else if (c->cur_min_us >= c->last_min_us + thresh_us) {
		c->css = true;
		c->css_base_us = c->cur_min_us;
		c->css_rounds = 0;
	}
}

/* What is left of @bytes for congestion avoidance. */
static uint32_t slow_start(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us)
{
	struct cubic *c = CUBIC(t);
	uint32_t add = bytes < L * (uint32_t)t->mss ? bytes : L * (uint32_t)t->mss;

	hystart(t, c, rtt_us);
	if (c->css)
		add /= CSS_GROWTH_DIVISOR;
	if (t->cwnd + add <= t->ssthresh) {
		t->cwnd += add;
		return 0;
	}
	add = t->ssthresh > t->cwnd ? t->ssthresh - t->cwnd : 0;
	t->cwnd += add;
	return bytes > add ? bytes - add : 0;
}

/* ---- congestion avoidance ---- */

static uint32_t cube_root(uint64_t v)
{
	uint32_t r = 0;

	for (uint32_t bit = 1U << 20; bit; bit >>= 1) {
		uint64_t x = r | bit;

		if (x * x * x <= v)
			r |= bit;
	}
	return r;
}

static void epoch_begin(struct demi_tcp *t, struct cubic *c)
{
	c->epoch_ns = t->s.in->now_ns ? t->s.in->now_ns : 1;
	if (t->cwnd < c->w_max) {
		/* (2): K = cbrt((W_max - cwnd) / C) in seconds and segments, C = 0.4 */
		c->k_ms = cube_root((uint64_t)(c->w_max - t->cwnd) * 2500000000U / t->mss);
	} else {
		c->w_max = t->cwnd;
		c->k_ms = 0;
	}
	c->w_est = t->cwnd;
	c->est_rest = c->rest = 0;
}

/* (1): W_cubic(t) = C * (t - K)^3 + W_max, in bytes; @ms since the epoch */
static uint32_t w_cubic(const struct demi_tcp *t, const struct cubic *c, uint64_t ms)
{
	int64_t d = (int64_t)ms - c->k_ms, w;

	if (d > 200000)
		d = 200000;
	if (d < -200000)
		d = -200000;
	w = d * d * d / 1000000 * 4 * t->mss / 10000 + c->w_max;
	if (w < 0)
		return 0;
	return w > INT32_MAX ? INT32_MAX : (uint32_t)w;
}

/* 4.3: what Reno would have; alpha = 3 * (1 - beta) / (1 + beta) until it is where the last reduction began */
static void reno_estimate(struct demi_tcp *t, struct cubic *c, uint32_t bytes)
{
	uint64_t alpha = c->w_est < c->cwnd_prior ? 529 : 1000;
	uint64_t add = (uint64_t)bytes * t->mss * alpha / 1000 + c->est_rest;

	c->w_est += (uint32_t)(add / t->cwnd);
	c->est_rest = (uint32_t)(add % t->cwnd);
}

static void cubic_acked(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us)
{
	struct cubic *c = CUBIC(t);
	uint32_t target, now;
	uint64_t ms, add;

	if (t->cwnd < t->ssthresh) {
		bytes = slow_start(t, bytes, rtt_us);
		if (!bytes)
			return;
	}
	if (!c->epoch_ns)
		epoch_begin(t, c);
	ms = (t->s.in->now_ns - c->epoch_ns) / DEMI_TCP_MS;
	reno_estimate(t, c, bytes);
	now = w_cubic(t, c, ms);
	if (now < c->w_est) { /* 4.3 */
		if (t->cwnd < c->w_est)
			t->cwnd = c->w_est;
		return;
	}
	/* 4.2: where it should be a round trip later */
	target = w_cubic(t, c, ms + t->srtt_us / 8000);
	if (target > t->cwnd + t->cwnd / 2)
		target = t->cwnd + t->cwnd / 2;
	if (target <= t->cwnd)
		return;
	add = (uint64_t)(target - t->cwnd) * bytes + c->rest;
	c->rest = (uint32_t)(add % t->cwnd);
	t->cwnd += (uint32_t)(add / t->cwnd);
}

/* 4.6, 4.7: beta = 0.7; fast convergence */
static uint32_t cubic_ssthresh(struct demi_tcp *t)
{
	struct cubic *c = CUBIC(t);

	c->undo_w_max = c->w_max;
	c->epoch_ns = 0;
	c->cwnd_prior = t->cwnd;
	c->w_max = t->cwnd < c->w_max ? (uint32_t)((uint64_t)t->cwnd * 17 / 20) : t->cwnd;
	c->css = false;
	c->rounds_on = false;
	return (uint32_t)((uint64_t)t->cwnd * 7 / 10);
}

static void cubic_undo(struct demi_tcp *t)
{
	CUBIC(t)->w_max = CUBIC(t)->undo_w_max;
	CUBIC(t)->epoch_ns = 0;
}

const struct demi_cc_ops demi_cc_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.acked = cubic_acked,
	.ssthresh = cubic_ssthresh,
	.undo = cubic_undo,
};
