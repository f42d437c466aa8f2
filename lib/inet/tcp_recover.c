/* SPDX-License-Identifier: MIT */
/*
 * Loss recovery and the window while it lasts: RFC 5681 3.2, 6582 (without SACK), 6675 5, 6937 (PRR), 5682 (F-RTO),
 * 3042, 8985 7.4 (what a probe has shown), 3168 6.1.2.
 */
#include "inet/tcp_stack.h"

#define DUPTHRESH 3

static void cwnd_at_least(struct demi_tcp *t, uint32_t bytes)
{
	if (t->cwnd < bytes)
		t->cwnd = bytes;
}

uint32_t demi_tcp_initial_window(const struct demi_tcp *t)
{
	uint32_t two = 2U * t->mss, max = two > 14600 ? two : 14600; /* RFC 6928 2 */

	return 10U * t->mss < max ? 10U * t->mss : max;
}

/* RFC 7661, RFC 9293: only a window that was used up may grow */
void demi_tcp_cwnd_grow(struct demi_tcp *t, uint32_t bytes, uint32_t rtt_us)
{
	uint32_t limit = 2 * (t->snd_nxt - t->snd_una + bytes) + t->mss;

	t->cc->acked(t, bytes, rtt_us);
	if (t->cwnd > limit && t->cwnd > demi_tcp_initial_window(t))
		t->cwnd = limit > demi_tcp_initial_window(t) ? limit : demi_tcp_initial_window(t);
	if (t->snd_nxt - t->snd_una < t->cwnd / 2)
		t->cwnd_limited = false;
}

/* ---- beginning ---- */

static void reduce(struct demi_tcp *t)
{
	t->prior_cwnd = t->cwnd;
	t->prior_ssthresh = t->ssthresh;
	t->ssthresh = t->cc->ssthresh(t);
	if (t->ssthresh < 2U * t->mss)
		t->ssthresh = 2U * t->mss;
	t->prr_delivered = t->prr_out = 0;
	t->prr_flight = t->snd_nxt - t->snd_una;
	t->recover = t->snd_nxt;
	t->cwr_due = true;
}

static void enter_recovery(struct demi_tcp *t)
{
	if (t->recovery != DEMI_TCP_CWR)
		reduce(t);
	t->recover = t->snd_nxt;
	t->prr_delivered = t->prr_out = 0;
	t->prr_flight = t->snd_nxt - t->snd_una;
	t->undo_ok = true;
	t->undo_marker = t->snd_una;
	t->undo_bytes = 0;
	t->undo_sent = false;
	t->recovery = DEMI_TCP_RECOVERY;
	t->s.in->count.TcpExtTCPFastRecovery++;
}

void demi_tcp_enter_cwr(struct demi_tcp *t)
{
	if (t->recovery != DEMI_TCP_OPEN)
		return;
	reduce(t);
	t->undo_ok = false;
	t->recovery = DEMI_TCP_CWR;
}

/* The receiver may forget what it has selectively acknowledged (RFC 2018 8): then the first record is such a one. */
static void forget_sacks(struct demi_tcp *t)
{
	for (struct demi_tcp_rec *rec = t->rec_head; rec; rec = rec->next) {
		if (rec->flags & DEMI_TCP_REC_SACKED) {
			rec->flags &= ~(uint32_t)DEMI_TCP_REC_SACKED;
			t->sacked_out -= demi_tcp_rec_len(rec);
		}
	}
}

/* RFC 5681 3.1 (5), RFC 6298 (5.4), RFC 5682 3.1 (1) */
void demi_tcp_enter_loss(struct demi_tcp *t)
{
	bool first = t->recovery != DEMI_TCP_LOSS || seq_leq(t->recover, t->snd_una);

	t->frto = (t->recovery < DEMI_TCP_RECOVERY || (t->recovery == DEMI_TCP_LOSS && t->retries > 1)) &&
		  t->rec_head && t->snd_nxt != t->snd_una;
	t->frto_new = false;
	if (first) {
		if (t->recovery < DEMI_TCP_RECOVERY)
			reduce(t);
		t->undo_ok = true;
		t->undo_marker = t->snd_una;
		t->undo_bytes = 0;
		t->undo_sent = false;
	}
	if (t->mtu_probe)
		demi_tcp_mtu_probe_failed(t);
	if (t->rec_head && t->rec_head->flags & DEMI_TCP_REC_SACKED)
		forget_sacks(t);
	for (struct demi_tcp_rec *rec = t->rec_head; rec; rec = rec->next)
		demi_tcp_rec_lost(t, rec);
	t->reno_sacked = 0;
	t->dupacks = 0;
	t->tlp_out = false;
	t->cwnd = t->mss;
	t->cwnd_limited = true;
	t->recover = t->snd_nxt;
	t->recovery = DEMI_TCP_LOSS;
	t->s.in->count.TcpExtTCPTimeouts++;
}

/* ---- taking it back ---- */

static void undo(struct demi_tcp *t)
{
	for (struct demi_tcp_rec *rec = t->rec_head; rec; rec = rec->next) {
		if (rec->flags & DEMI_TCP_REC_LOST) {
			rec->flags &= ~(uint32_t)DEMI_TCP_REC_LOST;
			t->lost_out -= demi_tcp_rec_len(rec);
		}
	}
	cwnd_at_least(t, t->prior_cwnd);
	if (t->ssthresh < t->prior_ssthresh)
		t->ssthresh = t->prior_ssthresh;
	if (t->cc->undo)
		t->cc->undo(t);
	t->undo_ok = t->frto = t->frto_new = false;
	t->recovery = DEMI_TCP_OPEN;
	t->dupacks = 0;
}

/* RFC 2883, RFC 3708: every byte that was sent again came twice. */
static bool all_needless(const struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	return t->undo_ok && d->dsack && t->undo_sent && !t->undo_bytes;
}

/*
 * RFC 3522, RFC 4015: the holes were filled by what had been on its way, not by what was sent again: reordering, or
 * a delay. What is still under way for the second time may have been lost in truth.
 */
static bool only_late(const struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	return d->late && t->undo_ok && !t->retrans_out;
}

/* RFC 5682 3.1, with SACK 3.2: was the timeout too early? */
static void frto_input(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	if (!t->frto)
		return;
	/* (3.b): data arrived that was not sent again: it was only late */
	if (d->orig || (d->sacked && t->sack_orig && !t->frto_new)) {
		t->s.in->count.TcpExtTCPSpuriousRTOs++;
		undo(t);
		return;
	}
	if (t->frto_new || !d->acked || seq_leq(t->recover, t->snd_una)) { /* (2.a), (3.a): it was not */
		if (d->acked || d->dup || d->sacked) {
			if (t->frto_new) /* the two new segments are counted, and what was lost goes on at once */
				t->cwnd = 3U * t->mss;
			t->frto = t->frto_new = false;
		}
		return;
	}
	/* (2.b): two new segments will tell */
	if (!t->fin_sent && t->snd_end != t->snd_nxt && t->snd_nxt - t->snd_una < t->snd_wnd) {
		t->frto_new = true;
		t->cwnd = demi_tcp_pipe(t) + 2U * t->mss;
	} else {
		t->frto = false;
	}
}

/* ---- duplicates without SACK: RFC 5681 3.2, RFC 6582 3.2, RFC 3042 ---- */

static void lose_head(struct demi_tcp *t)
{
	struct demi_tcp_rec *rec = t->rec_head;

	if (!rec)
		return;
	if (demi_tcp_rec_len(rec) > t->mss)
		demi_tcp_rec_split(t, rec, rec->seq + t->mss);
	demi_tcp_rec_lost(t, rec);
}

static void reno_input(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	uint32_t out = t->snd_nxt - t->snd_una;

	if (d->acked) {
		t->dupacks = 0;
		/* each duplicate stood for a segment; the acknowledgement covers them and the one that was lost */
		if (t->recovery == DEMI_TCP_RECOVERY && d->acked > t->mss)
			t->reno_sacked -= d->acked - t->mss < t->reno_sacked ? d->acked - t->mss : t->reno_sacked;
		else if (t->recovery != DEMI_TCP_RECOVERY)
			t->reno_sacked = 0;
		/* RFC 6582 3.2 (3), a partial acknowledgement: the next one is missing, too */
		if (t->recovery == DEMI_TCP_RECOVERY && seq_lt(t->snd_una, t->recover))
			lose_head(t);
	} else if (d->dup && t->recovery != DEMI_TCP_LOSS) {
		if (t->dupacks < 255)
			t->dupacks++;
		t->reno_sacked += t->mss;
		if (t->reno_sacked + t->mss > out)
			t->reno_sacked = out > t->mss ? out - t->mss : 0;
		/* RFC 6582 3.2 (1): not again for what the last recovery has sent */
		if (t->dupacks >= DUPTHRESH && t->recovery < DEMI_TCP_RECOVERY && !t->lost_out)
			lose_head(t);
	}
}

/* ---- RFC 6937 ---- */

static void prr(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	uint32_t delivered = d->acked - d->sacked_before + d->sacked, pipe = demi_tcp_pipe(t), n;

	if (!t->sack_ok && d->dup)
		delivered = t->mss;
	if (!t->prr_flight || (!delivered && t->prr_out))
		return;
	t->prr_delivered += delivered;
	if (pipe > t->ssthresh) {
		uint64_t due = ((uint64_t)t->prr_delivered * t->ssthresh + t->prr_flight - 1) / t->prr_flight;

		n = due > t->prr_out ? (uint32_t)due - t->prr_out : 0;
	} else {
		uint32_t limit = t->prr_delivered > t->prr_out ? t->prr_delivered - t->prr_out : 0;

		if (limit < delivered)
			limit = delivered;
		if (d->acked) /* slow start, as long as it makes progress */
			limit += t->mss;
		n = t->ssthresh - pipe < limit ? t->ssthresh - pipe : limit;
	}
	if (!t->prr_out && n < t->mss) /* the fast retransmission itself */
		n = t->mss;
	t->cwnd = pipe + n;
	cwnd_at_least(t, t->mss);
}

/* ---- RFC 8985 7.4 ---- */

static void tlp_input(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	if (!t->tlp_out || seq_lt(t->snd_una, t->tlp_high))
		return;
	if (t->tlp_new || d->dsack) {
		t->tlp_out = false;
	} else if (seq_lt(t->tlp_high, t->snd_una)) { /* the probe has repaired a loss: congestion all the same */
		t->tlp_out = false;
		demi_tcp_enter_cwr(t);
		t->s.in->count.TcpExtTCPLossProbeRecovery++;
	} else if (d->dup && !d->sacked) {
		t->tlp_out = false;
	}
}

/* ---- all of it ---- */

static void leave(struct demi_tcp *t)
{
	if (t->recovery != DEMI_TCP_LOSS && t->cwnd > t->ssthresh)
		t->cwnd = t->ssthresh;
	if (t->recovery == DEMI_TCP_RECOVERY || t->recovery == DEMI_TCP_CWR)
		t->cwnd = t->ssthresh; /* RFC 6937 3 */
	t->recovery = DEMI_TCP_OPEN;
	t->frto = t->frto_new = false;
	t->dupacks = 0;
	t->reno_sacked = 0;
	if (t->reo_persist && --t->reo_persist == 0) /* RFC 8985 6.2 (4) */
		t->reo_mult = 1;
}

static void ece_input(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	if (t->cc->ecn_acked)
		t->cc->ecn_acked(t, d->acked, d->ece);
	if (!d->ece || !seq_lt(t->cwr_end, t->snd_una) || t->recovery != DEMI_TCP_OPEN)
		return;
	demi_tcp_enter_cwr(t);
	t->cwr_end = t->snd_nxt;
}

void demi_tcp_recover(struct demi_tcp *t, const struct demi_tcp_delivery *d)
{
	bool left = false;

	if (t->tlp_out)
		tlp_input(t, d);
	if ((all_needless(t, d) || only_late(t, d)) && t->recovery >= DEMI_TCP_RECOVERY)
		undo(t);
	if (t->recovery == DEMI_TCP_LOSS)
		frto_input(t, d);
	if (t->recovery != DEMI_TCP_OPEN && seq_leq(t->recover, t->snd_una) && d->acked) {
		leave(t);
		left = true;
	}
	if (t->sack_ok)
		demi_tcp_rack_detect(t);
	else
		reno_input(t, d);
	if (t->mtu_probe)
		demi_tcp_mtu_probe_input(t);
	if (t->lost_out && t->recovery < DEMI_TCP_RECOVERY)
		enter_recovery(t);
	if (t->ecn_ok)
		ece_input(t, d);
	if (t->recovery == DEMI_TCP_RECOVERY || t->recovery == DEMI_TCP_CWR)
		prr(t, d);
	else if (d->acked && t->cwnd_limited && !t->frto_new && !left) /* RFC 6582 3.2 (3): the end only sets it */
		demi_tcp_cwnd_grow(t, d->acked, d->rtt_us);
}
