/* SPDX-License-Identifier: MIT */
/* Acknowledgements: what they free, the time they took, the window they bring. */
#include "inet/tcp_stack.h"

/* The peer has everything before @ack. */
static void advance(struct demi_tcp *t, uint32_t ack)
{
	uint32_t bytes = ack - t->snd_una;

	if (t->fin_sent && ack == t->snd_nxt)
		bytes--;
	t->snd_una = ack;
	demi_tcp_chunks_acked(t, ack);
	demi_ctx_uncharge(t->s.in->ctx, bytes);
	t->backoff = t->retries = 0;
	t->soft_err = 0;
	t->stuck_ns = ack == t->snd_nxt ? 0 : t->s.in->now_ns;
}

static inline bool more_to_send(const struct demi_tcp *t)
{
	return !t->fin_sent && (t->snd_end != t->snd_nxt || t->s.shut_wr);
}

static inline void rearm(struct demi_tcp *t)
{
	t->xmit = DEMI_TCP_XMIT_NONE;
	if (t->snd_nxt != t->snd_una || more_to_send(t))
		demi_tcp_xmit_arm(t);
}

/* Nothing is lost, nothing was sent again lately: the records go from the front. */
void demi_tcp_acked_fast(struct demi_tcp *t, uint32_t ack)
{
	uint32_t bytes = ack - t->snd_una, rtt_us = 0;
	struct demi_tcp_rec *rec;
	uint64_t rtt_ns = 0;

	while ((rec = t->rec_head) && seq_leq(rec->end, ack)) {
		if (!(rec->flags & DEMI_TCP_REC_EVER)) /* RFC 6298 3: Karn's rule */
			rtt_ns = t->s.in->now_ns - rec->sent_ns + 1;
		demi_tcp_rack_delivered(t, rec);
		demi_tcp_rec_del(t, rec);
	}
	if (rec && seq_lt(rec->seq, ack)) {
		if (rec->flags & DEMI_TCP_REC_RETRANS) /* before an undo */
			t->retrans_out -= ack - rec->seq;
		rec->seq = ack;
	}
	advance(t, ack);
	if (rtt_ns) {
		demi_tcp_rtt_sample(t, rtt_ns);
		rtt_us = (uint32_t)(rtt_ns / 1000);
	}
	if (t->cwnd_limited)
		demi_tcp_cwnd_grow(t, bytes, rtt_us);
	rearm(t);
	if (more_to_send(t))
		demi_tcp_want_output(t);
}

/*
 * RFC 7323 4.1, RFC 3522: what was sent again can be timed, too, if the timestamp that comes back shows that it was the
 * last transmission that arrived. An older one says nothing: its acknowledgement may have been lost.
 */
static bool echoes(const struct demi_tcp *t, const struct demi_tcp_in *i, uint64_t sent_ns)
{
	uint32_t sent = (uint32_t)(sent_ns / DEMI_TCP_MS) + t->ts_offset;

	return t->ts_ok && i->o.ts && seq_leq(sent, i->o.tsecr);
}

/* Records that are acknowledged, whole or in part. The time that the newest of them took, or 0. */
static uint64_t clean(struct demi_tcp *t, const struct demi_tcp_in *i, struct demi_tcp_delivery *d)
{
	uint32_t ack = i->ack;
	struct demi_tcp_rec *rec;
	uint64_t rtt_ns = 0;

	while ((rec = t->rec_head) && seq_lt(rec->seq, ack)) {
		uint32_t n = (seq_leq(rec->end, ack) ? rec->end : ack) - rec->seq;

		if (rec->flags & DEMI_TCP_REC_SACKED)
			d->sacked_before += n;
		else
			demi_tcp_rack_delivered(t, rec);
		if (!(rec->flags & (DEMI_TCP_REC_EVER | DEMI_TCP_REC_SACKED)))
			d->orig = true;
		if (!(rec->flags & DEMI_TCP_REC_SACKED) &&
		    (!(rec->flags & DEMI_TCP_REC_EVER) || echoes(t, i, rec->sent_ns)))
			rtt_ns = t->s.in->now_ns - rec->sent_ns + 1;
		if (rec->end != rec->seq + n) {
			if (rec->flags & DEMI_TCP_REC_SACKED)
				t->sacked_out -= n;
			if (rec->flags & DEMI_TCP_REC_LOST)
				t->lost_out -= n;
			if (rec->flags & DEMI_TCP_REC_RETRANS)
				t->retrans_out -= n;
			rec->seq = ack;
			break;
		}
		demi_tcp_rec_del(t, rec);
	}
	return rtt_ns;
}

/* RFC 9293 3.10.7.4: only a newer segment says what the window is, or one that enlarges it. True: it changed. */
static bool window_input(struct demi_tcp *t, const struct demi_tcp_in *i, bool advanced)
{
	uint32_t wnd = i->wnd << t->snd_wscale;
	bool changed = wnd != t->snd_wnd;

	if (!advanced && !seq_lt(t->snd_wl1, i->seq) && !(t->snd_wl1 == i->seq && wnd > t->snd_wnd))
		return changed;
	t->snd_wl1 = i->seq;
	t->snd_wnd = wnd;
	t->wnd_word = 0;
	if (wnd > t->snd_wnd_max)
		t->snd_wnd_max = wnd;
	return changed;
}

void demi_tcp_acked(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	struct demi_tcp_delivery d = { .ece = t->ecn_ok && i->flags & DEMI_TH_ECE };
	bool advanced = seq_lt(t->snd_una, i->ack), changed;
	uint64_t rtt_ns = 0;

	if (seq_lt(i->ack, t->snd_una)) /* old: nothing new but that it came */
		return;
	if (t->sack_ok && i->o.nsacks)
		d.sacked = demi_tcp_sack_input(t, i, &d.dsack);
	if (advanced) {
		d.acked = i->ack - t->snd_una;
		d.late = t->undo_sent && t->ts_ok && i->o.ts && seq_lt(i->o.tsecr, t->undo_ts);
		rtt_ns = clean(t, i, &d);
		advance(t, i->ack);
	}
	changed = window_input(t, i, advanced);
	/* RFC 5681 2: a duplicate */
	d.dup = !advanced && !i->len && !changed && !(i->flags & DEMI_TH_FIN) && t->snd_una != t->snd_nxt;
	if (rtt_ns) {
		demi_tcp_rtt_sample(t, rtt_ns);
		d.rtt_us = (uint32_t)(rtt_ns / 1000);
	}
	if (!t->snd_wnd) /* RFC 9293 3.8.6.1: the peer is alive as long as it answers probes */
		t->retries = 0;
	demi_tcp_recover(t, &d);
	/* a reordering timer that recovery has just set stays */
	if ((advanced || changed || d.sacked) && t->xmit != DEMI_TCP_XMIT_REO)
		rearm(t);
	demi_tcp_want_output(t);
	if (t->fin_sent && t->snd_una == t->snd_nxt)
		demi_tcp_fin_acked(t);
}
