/* SPDX-License-Identifier: MIT */
/* RFC 9293 3.10.7.3 (SYN-SENT) and 3.10.7.4 (all synchronized states), step by step. */
#include "inet/tcp_stack.h"

#define CHALLENGES_PER_S 1000 /* RFC 5961 10 */
#define PAWS_IDLE_MS (24U * 86400 * 1000) /* RFC 7323 5.5 */

void demi_tcp_challenge(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;
	struct demi_tcp_stack *ts = in->tcp;

	if (in->now_ns - ts->challenge_ns >= DEMI_TCP_S) {
		ts->challenge_ns = in->now_ns;
		ts->challenges = CHALLENGES_PER_S;
	}
	if (!ts->challenges)
		return;
	ts->challenges--;
	in->count.TcpExtTCPChallengeACK++;
	t->ack_now = true;
	demi_tcp_want_output(t);
}

static void ack_soon(struct demi_tcp *t)
{
	t->ack_now = true;
	demi_tcp_want_output(t);
}

/* ---- SYN-SENT: 3.10.7.3 ---- */

bool demi_tcp_syn_sent_input(struct demi_tcp *t, struct demi_tcp_in *i)
{
	struct demi_inet *in = t->s.in;

	/* first: ACK */
	if (i->flags & DEMI_TH_ACK && i->ack != t->iss + 1) {
		demi_tcp_send_reset_to(in, i);
		return false;
	}
	/* second: RST; only one that acknowledges the SYN counts (RFC 5961 3.2) */
	if (i->flags & DEMI_TH_RST) {
		if (i->flags & DEMI_TH_ACK)
			demi_tcp_end(t, ECONNREFUSED);
		return false;
	}
	/* fourth: SYN */
	if (!(i->flags & DEMI_TH_SYN))
		return false;
	t->irs = i->seq;
	demi_tcp_start(t, i->seq, i->wnd, &i->o);
	if (!(i->flags & DEMI_TH_ACK)) { /* simultaneous open: 3.5, figure 8 */
		t->state = DEMI_TCP_SYN_RCVD;
		t->ecn_ok = t->cc->ecn && (i->flags & (DEMI_TH_ECE | DEMI_TH_CWR)) == (DEMI_TH_ECE | DEMI_TH_CWR);
		t->retries = 0;
		demi_tcp_send_syn(t);
		return false;
	}
	t->ecn_ok = t->cc->ecn && (i->flags & (DEMI_TH_ECE | DEMI_TH_CWR)) == DEMI_TH_ECE;
	if (!t->retries)
		demi_tcp_rtt_sample(t, in->now_ns - t->last_send_ns);
	t->snd_una = i->ack;
	demi_tcp_established(t);
	t->ack_now = true;
	demi_tcp_want_output(t);
	if (i->len || i->flags & DEMI_TH_FIN) { /* seventh and eighth, as in the other states */
		i->seq++;
		i->flags &= (uint8_t)~DEMI_TH_SYN;
		return demi_tcp_state_input(t, i);
	}
	return false;
}

/* ---- the others: 3.10.7.4 ---- */

/* RFC 7323 5.3 R1: an old timestamp, unless it is so old that it says nothing (5.5) */
static bool paws_old(const struct demi_tcp *t, const struct demi_tcp_in *i)
{
	return t->ts_ok && i->o.ts && seq_lt(i->o.tsval, t->ts_recent) &&
	       demi_tcp_ts_now(t->s.in) - t->ts_recent_ms < PAWS_IDLE_MS;
}

/* first: does any of it lie inside the window? */
static bool acceptable(const struct demi_tcp *t, const struct demi_tcp_in *i)
{
	uint32_t wnd = seq_lt(t->rcv_nxt, t->rcv_adv) ? t->rcv_adv - t->rcv_nxt : 0;
	uint32_t len = i->len + !!(i->flags & DEMI_TH_FIN) + !!(i->flags & DEMI_TH_SYN);

	if (!len)
		/* one that was overtaken by data that is not acknowledged yet says something, too */
		return seq_leq(t->rcv_acked, i->seq) &&
		       (seq_leq(i->seq, t->rcv_nxt) || seq_lt(i->seq, t->rcv_nxt + wnd));
	/* what begins before the window is looked at for what it acknowledges, too */
	return seq_lt(i->seq, t->rcv_nxt + wnd) && seq_lt(t->rcv_nxt, i->seq + len);
}

static void not_acceptable(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	uint32_t end = i->seq + i->len;

	if (i->flags & DEMI_TH_RST)
		return;
	if (i->len && seq_leq(end, t->rcv_nxt)) /* RFC 2883 4 */
		demi_tcp_dsack(t, i->seq, end);
	if (i->len || i->flags & (DEMI_TH_FIN | DEMI_TH_SYN))
		ack_soon(t);
	else
		demi_tcp_challenge(t); /* keepalives and window probes, but also stray acknowledgements: no loops */
}

/* second: RFC 5961 3.2, a reset must have exactly the next number */
static void reset_input(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	bool match = i->seq == t->rcv_nxt;

	/* RFC 5961 3.2 leaves it open; a sender that has seen less of us than we have sent acknowledges less */
	if (!match) {
		demi_tcp_challenge(t);
		return;
	}
	t->s.in->count.TcpEstabResets++;
	t->reset_rcvd = true;
	switch (t->state) {
	case DEMI_TCP_SYN_RCVD:
		demi_tcp_end(t, ECONNREFUSED);
		break;
	case DEMI_TCP_CLOSING:
	case DEMI_TCP_LAST_ACK:
		demi_tcp_end(t, t->s.q.closed ? 0 : ECONNRESET);
		break;
	default:
		demi_tcp_end(t, ECONNRESET);
	}
}

/* RFC 7323 4.3 (2) */
static void timestamp_input(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	if (t->ts_ok && i->o.ts && !seq_lt(i->o.tsval, t->ts_recent) && seq_leq(i->seq, t->rcv_acked)) {
		t->ts_recent = i->o.tsval;
		t->ts_recent_ms = demi_tcp_ts_now(t->s.in);
	} else if (t->ts_ok && i->o.ts && demi_tcp_ts_now(t->s.in) - t->ts_recent_ms >= PAWS_IDLE_MS) {
		t->ts_recent = i->o.tsval;
		t->ts_recent_ms = demi_tcp_ts_now(t->s.in);
	}
}

/* fifth: ACK. False: nothing more is done with the segment. */
static bool ack_input(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	if (t->state == DEMI_TCP_SYN_RCVD) {
		if (i->ack != t->iss + 1) {
			demi_tcp_send_reset_to(t->s.in, i);
			return false;
		}
		t->snd_una = i->ack;
		t->snd_wnd = i->wnd << t->snd_wscale;
		t->wnd_word = 0;
		t->snd_wl1 = i->seq;
		if (!t->retries)
			demi_tcp_rtt_sample(t, t->s.in->now_ns - t->last_send_ns);
		demi_tcp_established(t);
		demi_tcp_want_output(t);
		return true;
	}
	/* RFC 5961 5.2: what was never sent, and what is older than the largest window */
	if (seq_lt(t->snd_nxt, i->ack) || seq_lt(i->ack, t->snd_una - t->snd_wnd_max)) {
		demi_tcp_challenge(t);
		return false;
	}
	demi_tcp_acked(t, i);
	return !t->dead;
}

/* RFC 3168 6.1.3: echo until the sender has reduced; RFC 8257 3.2: the state of the last segment. */
static void ecn_input(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	if (!t->ecn_ok)
		return;
	if (t->cc->ecn && t->cc->ecn_acked) {
		if (i->len && i->ce != t->dctcp_ce) {
			if (t->rcv_acked != t->rcv_nxt)
				demi_tcp_send_ack(t); /* for what came before the change */
			t->dctcp_ce = i->ce;
			t->ece_due = i->ce;
			ack_soon(t);
		}
		return;
	}
	if (i->flags & DEMI_TH_CWR)
		t->ece_due = false;
	if (i->ce && i->len) {
		t->ece_due = true;
		ack_soon(t);
	}
}

/* Cut off what lies outside the window; the payload is [i->seq, i->seq + i->len) then. */
static void trim(struct demi_tcp *t, struct demi_tcp_in *i)
{
	if (seq_lt(i->seq, t->rcv_nxt)) {
		uint32_t n = t->rcv_nxt - i->seq;

		if (n > i->len)
			n = i->len;
		if (n)
			demi_tcp_dsack(t, i->seq, i->seq + n);
		i->seq += n;
		i->off += n;
		i->len -= n;
		ack_soon(t);
	}
	if (seq_lt(t->rcv_adv, i->seq + i->len)) {
		i->len = seq_lt(i->seq, t->rcv_adv) ? t->rcv_adv - i->seq : 0;
		i->flags &= (uint8_t)~DEMI_TH_FIN; /* it comes again with what was cut off */
		ack_soon(t);
	}
}

/* seventh: the payload. True: its buffers were taken. */
static bool data_input(struct demi_tcp *t, struct demi_tcp_in *i)
{
	bool in_order, hole = t->ooo != NULL;

	if (t->state == DEMI_TCP_CLOSE_WAIT || t->state == DEMI_TCP_CLOSING || t->state == DEMI_TCP_LAST_ACK)
		return false;
	trim(t, i);
	if (!i->len)
		return false;
	demi_tcp_rcv_mss(t, i->r, i->len);
	in_order = i->seq == t->rcv_nxt;
	if (in_order) {
		t->rcv_nxt += i->len;
		demi_tcp_rx_take(t, i->r, i->off, i->len);
	} else {
		demi_tcp_ooo_add(t, i->r, i->off, i->len, i->seq);
	}
	if (in_order && hole)
		demi_tcp_ooo_merge(t);
	/* RFC 5681 4.2: at once when something is missing or a hole was filled */
	if (!in_order || hole || t->rcv_nxt - t->rcv_acked >= 2 * t->rcv_mss || t->quickack)
		ack_soon(t);
	else
		demi_tcp_ack_later(t);
	return true;
}

/* eighth: FIN, when everything before it is there */
static void fin_input(struct demi_tcp *t, const struct demi_tcp_in *i)
{
	uint32_t end = i->seq + i->len;

	if (t->fin_rcvd || !(i->flags & DEMI_TH_FIN || t->fin_seen))
		return;
	if (i->flags & DEMI_TH_FIN) {
		t->fin_seen = true;
		t->fin_seq = end;
	}
	if (t->rcv_nxt != t->fin_seq) {
		ack_soon(t);
		return;
	}
	t->rcv_nxt++;
	t->fin_rcvd = true;
	ack_soon(t);
	demi_tcp_fin_received(t);
}

/* Data for who has closed: RFC 1122 4.2.2.13, it will never be read. */
static bool nobody_reads(const struct demi_tcp *t, const struct demi_tcp_in *i)
{
	return t->s.q.closed && i->len && seq_lt(t->rcv_nxt, i->seq + i->len) && t->state >= DEMI_TCP_FIN_WAIT_1;
}

bool demi_tcp_state_input(struct demi_tcp *t, struct demi_tcp_in *i)
{
	bool taken = false;

	t->rcv_ns = t->s.in->now_ns;
	t->keep_sent = 0;
	/* RFC 7323 3.2: once negotiated, no segment is without; a reset may be */
	if (t->ts_ok && !i->o.ts && !(i->flags & DEMI_TH_RST))
		return false;
	if (paws_old(t, i) && !(i->flags & DEMI_TH_RST)) {
		t->s.in->count.TcpExtPAWSEstab++;
		if (i->len && seq_leq(i->seq + i->len, t->rcv_nxt))
			demi_tcp_dsack(t, i->seq, i->seq + i->len);
		ack_soon(t);
		return false;
	}
	/* 3.5, figure 8: the other half of a simultaneous open, whose SYN came already */
	if (t->state == DEMI_TCP_SYN_RCVD && i->flags & DEMI_TH_SYN && i->seq == t->irs) {
		i->flags &= (uint8_t)~DEMI_TH_SYN;
		i->seq++;
	}
	if (!acceptable(t, i)) {
		/* RFC 9293 3.10.7.4: with a window of zero acknowledgements count all the same */
		if (i->flags & DEMI_TH_ACK && !(i->flags & (DEMI_TH_RST | DEMI_TH_SYN)) &&
		    t->state != DEMI_TCP_SYN_RCVD && i->seq == t->rcv_nxt)
			ack_input(t, i);
		if (!t->dead)
			not_acceptable(t, i);
		goto out;
	}
	if (i->flags & DEMI_TH_RST) {
		reset_input(t, i);
		return false;
	}
	/* fourth: RFC 5961 4.2 */
	if (i->flags & DEMI_TH_SYN) {
		demi_tcp_challenge(t);
		goto out;
	}
	if (!(i->flags & DEMI_TH_ACK))
		return false;
	timestamp_input(t, i);
	ecn_input(t, i);
	if (!ack_input(t, i))
		goto out;
	if (nobody_reads(t, i)) {
		t->s.in->count.TcpExtTCPAbortOnData++;
		demi_tcp_abort(t, ECONNRESET);
		return false;
	}
	if (i->len)
		taken = data_input(t, i);
	fin_input(t, i);
	if (t->rx_failed && !t->dead)
		demi_tcp_abort(t, EBADMSG);
out:
	if (!t->dead)
		demi_tcp_fast_update(t);
	return taken;
}
