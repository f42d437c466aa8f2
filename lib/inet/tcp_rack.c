/* SPDX-License-Identifier: MIT */
/* RACK-TLP, RFC 8985: what was sent well before something that has arrived is lost. */
#include "inet/tcp_stack.h"

#define DUPTHRESH 3
#define REO_PERSIST 16 /* 6.2 (4) */
#define PTO_MIN_NS (2 * DEMI_TCP_MS) /* the clock of a busy peer, and ours */

static bool sent_after(uint64_t ns1, uint32_t end1, uint64_t ns2, uint32_t end2)
{
	return ns1 > ns2 || (ns1 == ns2 && seq_lt(end2, end1));
}

/* 6.2, steps 1 to 3 */
void demi_tcp_rack_delivered(struct demi_tcp *t, const struct demi_tcp_rec *rec)
{
	uint64_t rtt_ns = t->s.in->now_ns - rec->sent_ns;
	uint32_t rtt_us = rtt_ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(rtt_ns / 1000);

	/* the acknowledgement may be of the first transmission: faster than the path it cannot be */
	if (rec->flags & DEMI_TCP_REC_EVER) {
		if (rtt_us < t->min_rtt_us)
			return;
	} else if (rtt_us < t->min_rtt_us) {
		t->min_rtt_us = rtt_us;
	}
	if (!t->rack_on || sent_after(rec->sent_ns, rec->end, t->rack_ns, t->rack_end)) {
		t->rack_ns = rec->sent_ns;
		t->rack_end = rec->end;
		t->rack_rtt_us = rtt_us;
	}
	if (!t->rack_on || seq_lt(t->rack_fack, rec->end))
		t->rack_fack = rec->end;
	else if (seq_lt(rec->end, t->rack_fack) && !(rec->flags & DEMI_TCP_REC_EVER))
		t->reo_seen = true;
	t->rack_on = true;
}

/* 6.2 (4): the window grows with each round trip that shows a needless retransmission */
void demi_tcp_rack_dsack(struct demi_tcp *t)
{
	if (t->dsack_round_on && seq_lt(t->snd_una, t->dsack_round))
		return;
	t->dsack_round_on = true;
	t->dsack_round = t->snd_nxt;
	t->reo_seen = true;
	t->reo_persist = REO_PERSIST;
	if (t->reo_mult < 255)
		t->reo_mult++;
}

static uint32_t reo_wnd_us(const struct demi_tcp *t)
{
	uint32_t wnd, mult = t->reo_mult ? t->reo_mult : 1;

	if (!t->reo_seen && (t->recovery >= DEMI_TCP_RECOVERY || t->sacked_out >= DUPTHRESH * (uint32_t)t->mss))
		return 0;
	wnd = t->min_rtt_us == UINT32_MAX ? 0 : t->min_rtt_us / 4;
	if (wnd > UINT32_MAX / 256)
		wnd = UINT32_MAX / 256;
	wnd *= mult;
	return wnd < t->srtt_us / 8 ? wnd : t->srtt_us / 8;
}

/* 6.2 (5) */
bool demi_tcp_rack_detect(struct demi_tcp *t)
{
	uint64_t now_ns = t->s.in->now_ns, wait_ns = 0, limit_ns;
	struct demi_tcp_rec *rec;
	bool lost = false;

	if (!t->rack_on)
		return false;
	limit_ns = ((uint64_t)t->rack_rtt_us + reo_wnd_us(t)) * 1000;
	for (rec = t->sent_head; rec; rec = rec->tnext) {
		if (!sent_after(t->rack_ns, t->rack_end, rec->sent_ns, rec->end))
			break;
		if (rec->flags & DEMI_TCP_REC_SACKED ||
		    (rec->flags & (DEMI_TCP_REC_LOST | DEMI_TCP_REC_RETRANS)) == DEMI_TCP_REC_LOST)
			continue;
		if (rec->sent_ns + limit_ns <= now_ns) {
			demi_tcp_rec_lost(t, rec);
			lost = true;
		} else if (rec->sent_ns + limit_ns - now_ns > wait_ns) {
			wait_ns = rec->sent_ns + limit_ns - now_ns;
		}
	}
	if (wait_ns)
		demi_tcp_xmit_at(t, DEMI_TCP_XMIT_REO, now_ns + wait_ns);
	else if (t->xmit == DEMI_TCP_XMIT_REO)
		t->xmit = DEMI_TCP_XMIT_NONE;
	return lost;
}

/* 7.2 */
uint64_t demi_tcp_pto_ns(const struct demi_tcp *t)
{
	uint64_t pto_ns = DEMI_TCP_S;

	if (t->srtt_us) {
		pto_ns = (uint64_t)t->srtt_us / 8 * 2 * 1000;
		/* the peer may delay the acknowledgement of a single segment */
		if (t->snd_nxt - t->snd_una <= t->mss)
			pto_ns += (uint64_t)DEMI_TCP_RTO_MIN_US * 1000;
		else
			pto_ns += PTO_MIN_NS;
	}
	return pto_ns;
}
