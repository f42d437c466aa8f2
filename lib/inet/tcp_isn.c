/* SPDX-License-Identifier: MIT */
/* Numbers that only the two ends should know: RFC 6528 (sequence numbers), 7323 7.1 (timestamps), 4987 (cookies). */
#include "inet/siphash.h"
#include "inet/tcp_stack.h"

enum purpose {
	PURPOSE_ISN,
	PURPOSE_TS,
	PURPOSE_COOKIE,
	PURPOSE_COOKIE_DATA,
};

static uint64_t keyed(const struct demi_inet *in, const struct demi_demux_key *k, enum purpose what, uint32_t extra)
{
	uint64_t words[6] = { k->local.q[0],
			      k->local.q[1],
			      k->remote.q[0],
			      k->remote.q[1],
			      (uint64_t)k->lport << 16 | k->rport,
			      (uint64_t)what << 32 | extra };

	return demi_siphash(in->tcp->key, words, 6);
}

/* RFC 6528 3: F(addresses, ports, secret) plus a clock of 4 us */
uint32_t demi_tcp_isn(const struct demi_inet *in, const struct demi_demux_key *k)
{
	return (uint32_t)keyed(in, k, PURPOSE_ISN, 0) + (uint32_t)(in->now_ns / 4000);
}

uint32_t demi_tcp_ts_offset(const struct demi_inet *in, const struct demi_demux_key *k)
{
	return (uint32_t)keyed(in, k, PURPOSE_TS, 0);
}

/*
 * A cookie is a number that is at once a sequence number: the peer's, plus a keyed hash, plus the minute, plus a hash
 * of the minute into which 3 bits of data are hidden. Who sends it back has received it.
 */
#define COOKIE_PERIOD_NS (64 * DEMI_TCP_S)
#define COOKIE_PERIODS 2 /* that it is good for */

uint32_t demi_tcp_cookie(const struct demi_inet *in, const struct demi_demux_key *k, uint32_t irs, uint8_t data)
{
	uint32_t period = (uint32_t)(in->now_ns / COOKIE_PERIOD_NS) & 0xff;

	return (uint32_t)keyed(in, k, PURPOSE_COOKIE, 0) + irs + (period << 24) +
	       (((uint32_t)keyed(in, k, PURPOSE_COOKIE_DATA, period) + data) & 0xffffff);
}

int demi_tcp_cookie_check(const struct demi_inet *in, const struct demi_demux_key *k, uint32_t irs, uint32_t cookie)
{
	uint32_t now = (uint32_t)(in->now_ns / COOKIE_PERIOD_NS) & 0xff, period, data;

	cookie -= (uint32_t)keyed(in, k, PURPOSE_COOKIE, 0) + irs;
	period = cookie >> 24;
	if (((now - period) & 0xff) >= COOKIE_PERIODS)
		return -1;
	data = (cookie - (uint32_t)keyed(in, k, PURPOSE_COOKIE_DATA, period)) & 0xffffff;
	return data > 7 ? -1 : (int)data;
}
