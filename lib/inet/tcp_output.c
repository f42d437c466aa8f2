/* SPDX-License-Identifier: MIT */
/* What a connection may send, and when: RFC 9293 3.8.6.2.1 (silly window), 3.7.4 (Nagle), 6675 5 (what first). */
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <netinet/ip.h>
#include <string.h>

#define ECT0 2 /* RFC 3168 5 */

/* ---- windows and sizes ---- */

/*
 * RFC 9293 3.8.6.2.2: the right edge moves when a segment's worth, or half the buffer, has become free; it never
 * moves back (3.8.6). Memory counts, not payload.
 */
uint32_t demi_tcp_rcv_window(struct demi_tcp *t)
{
	uint32_t max = 65535U << t->rcv_wscale, promised = t->rcv_adv - t->rcv_nxt, room = 0;

	if (seq_lt(t->rcv_adv, t->rcv_nxt))
		promised = 0;
	if (t->rx_bytes < t->s.rcvbuf_bytes)
		room = t->s.rcvbuf_bytes - t->rx_bytes;
	if (room > max)
		room = max;
	if (room < promised || (room - promised < t->rcv_mss && room - promised < t->s.rcvbuf_bytes / 2))
		room = promised;
	/* upwards: what was promised stays so in units of the scale */
	room = (room + (1U << t->rcv_wscale) - 1) >> t->rcv_wscale;
	return (room > 65535 ? 65535 : room) << t->rcv_wscale;
}

/* ---- segments of a connection ---- */

static void out_init(struct demi_tcp *t, struct demi_tcp_out *o, uint32_t seq, uint8_t flags)
{
	struct demi_inet_path *p = &t->s.peer;
	bool v4 = demi_ip_is4(&p->dst.ip);

	o->src = &p->src;
	o->dst = &p->dst.ip;
	o->pseudo_sum = p->pseudo_sum;
	o->sport = t->s.local.port;
	o->dport = p->dst.port;
	o->seq = seq;
	o->ack = t->rcv_nxt;
	o->flags = flags;
	o->tos = v4 ? t->s.tos : t->s.tclass;
	o->ttl = v4 ? t->s.ttl : t->s.hops;
	o->df = (v4 ? t->s.pmtudisc4 : t->s.pmtudisc6) != IP_PMTUDISC_DONT && !t->df_off;
	o->gso_size = 0;
	o->olen = 0;
}

static void out_ts(const struct demi_tcp *t, struct demi_tcp_out *o)
{
	if (t->ts_ok)
		o->olen = demi_tcp_put_ts(o->opts, o->olen, demi_tcp_ts_now(t->s.in) + t->ts_offset, t->ts_recent);
}

/* RFC 2018 4, RFC 2883 4: a duplicate first, then what came last. */
static void out_sacks(struct demi_tcp *t, struct demi_tcp_out *o)
{
	uint32_t ranges[DEMI_TCP_SACKS + 1][2];
	unsigned int n = 0;

	if (!t->sack_ok)
		return;
	if (t->dsack) {
		ranges[n][0] = t->dsack_range.start;
		ranges[n++][1] = t->dsack_range.end;
		t->dsack = false;
	}
	for (unsigned int i = 0; i < t->nsacks; i++) {
		ranges[n][0] = t->sacks[i].start;
		ranges[n++][1] = t->sacks[i].end;
	}
	o->olen = demi_tcp_put_sacks(o->opts, o->olen, ranges, n);
}

/* Acknowledgement and window go with every segment: none is due any more. */
static void out_ack(struct demi_tcp *t, struct demi_tcp_out *o)
{
	uint32_t wnd = demi_tcp_rcv_window(t);

	o->wnd = (uint16_t)(wnd >> t->rcv_wscale);
	t->rcv_adv = t->rcv_nxt + wnd;
	t->rcv_acked = t->rcv_nxt;
	t->ack_now = t->ack_later = false;
	if (t->ece_due)
		o->flags |= DEMI_TH_ECE;
}

void demi_tcp_send_ack(struct demi_tcp *t)
{
	struct demi_tcp_out o;

	out_init(t, &o, t->snd_nxt, DEMI_TH_ACK);
	out_ts(t, &o);
	if (t->nsacks || t->dsack)
		out_sacks(t, &o);
	out_ack(t, &o);
	demi_tcp_send_bare(t->s.in, t, &o);
}

/* RFC 9293 3.8.6.1, 3.8.4: seq is outside of the peer's window, so that it has to answer; no byte is spent on it. */
void demi_tcp_send_probe(struct demi_tcp *t)
{
	struct demi_tcp_out o;

	out_init(t, &o, t->snd_una - 1, DEMI_TH_ACK);
	out_ts(t, &o);
	out_ack(t, &o);
	demi_tcp_send_bare(t->s.in, t, &o);
}

void demi_tcp_send_reset(struct demi_tcp *t)
{
	struct demi_tcp_out o;

	out_init(t, &o, t->snd_nxt, DEMI_TH_RST | DEMI_TH_ACK);
	o.wnd = 0;
	demi_tcp_send_bare(t->s.in, t, &o);
	t->s.in->count.TcpOutRsts++;
}

/* SYN, and in SYN-RCVD (simultaneous open) SYN and ACK. */
void demi_tcp_send_syn(struct demi_tcp *t)
{
	bool answer = t->state == DEMI_TCP_SYN_RCVD;
	uint32_t wnd = t->s.rcvbuf_bytes < 65535 ? t->s.rcvbuf_bytes : 65535;
	struct demi_tcp_out o;

	out_init(t, &o, t->iss, answer ? DEMI_TH_SYN | DEMI_TH_ACK : DEMI_TH_SYN);
	if (!answer)
		o.ack = 0;
	o.tos = 0;
	o.wnd = (uint16_t)wnd;
	o.olen = demi_tcp_put_mss(o.opts, 0, demi_tcp_syn_mss(t));
	if (!answer || t->sack_ok)
		o.olen = demi_tcp_put_sack_ok(o.opts, o.olen);
	if (!answer || t->ts_ok)
		o.olen = demi_tcp_put_ts(o.opts, o.olen, demi_tcp_ts_now(t->s.in) + t->ts_offset, t->ts_recent);
	if (!answer || t->ws_ok)
		o.olen = demi_tcp_put_wscale(o.opts, o.olen, t->rcv_wscale);
	/* RFC 3168 6.1.1: asked for at first, not when that may be why there is no answer */
	if (t->cc->ecn && !t->retries)
		o.flags |= answer ? (t->ecn_ok ? DEMI_TH_ECE : 0) : DEMI_TH_ECE | DEMI_TH_CWR;
	if (answer)
		t->rcv_adv = t->rcv_nxt + wnd;
	t->last_send_ns = t->s.in->now_ns;
	demi_tcp_send_bare(t->s.in, t, &o);
}

/* ---- sending again ---- */

bool demi_tcp_resend(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	uint32_t len = demi_tcp_rec_len(rec);
	struct demi_tcp_out o;

	if (len > t->mss && !(len == t->mss + 1U && rec->flags & DEMI_TCP_REC_FIN)) {
		if (!demi_tcp_rec_split(t, rec, rec->seq + t->mss))
			return false;
		len = t->mss;
	}
	out_init(t, &o, rec->seq, DEMI_TH_ACK | DEMI_TH_PSH);
	out_ts(t, &o);
	out_ack(t, &o);
	if (rec->flags & DEMI_TCP_REC_FIN) {
		o.flags |= DEMI_TH_FIN;
		len--;
	}
	if (t->cc->ecn && t->ecn_ok) /* RFC 3168 6.1.5 says no, RFC 8257 sets it everywhere */
		o.tos |= ECT0;
	if (!len)
		demi_tcp_send_bare(t->s.in, t, &o);
	else if (!demi_tcp_send_data(t, &o, len))
		return false;
	demi_tcp_rec_resent(t, rec);
	t->total_retrans++;
	if (t->undo_ok) {
		if (!t->undo_sent)
			t->undo_ts = demi_tcp_ts_now(t->s.in) + t->ts_offset;
		t->undo_bytes += demi_tcp_rec_len(rec);
		t->undo_sent = true;
	}
	t->s.in->count.TcpRetransSegs++;
	t->last_send_ns = t->s.in->now_ns;
	return true;
}

/*
 * RFC 6675 5 (4), NextSeg (1): what is lost and has not been sent again, as far as the window goes. A record that was
 * sent again and is still called lost counts in both, lost_out and retrans_out. False: no new data yet.
 */
static bool resend_lost(struct demi_tcp *t)
{
	struct demi_tcp_rec *rec, *next;

	if (!t->lost_out || t->frto_new)
		return true;
	for (rec = t->rec_head; rec; rec = next) {
		if ((rec->flags & (DEMI_TCP_REC_LOST | DEMI_TCP_REC_RETRANS)) != DEMI_TCP_REC_LOST) {
			next = rec->next;
			continue;
		}
		/* the first one may always go: RFC 5681 3.2 (3), RFC 6298 (5.4) */
		if (demi_tcp_pipe(t) + t->mss > t->cwnd && demi_tcp_pipe(t))
			return false;
		if (!demi_tcp_resend(t, rec))
			return false;
		t->prr_out += demi_tcp_rec_len(rec);
		next = rec->next;
	}
	return true;
}

/* ---- new data ---- */

/* What one packet may carry of @n bytes that may go. */
static uint32_t packet_bytes(const struct demi_tcp *t, uint32_t n)
{
	const struct demi_inet *in = t->s.in;
	bool v4 = demi_ip_is4(&t->s.peer.dst.ip);
	uint32_t max;

	if (n <= t->mss || !(in->caps & (v4 ? DEMI_PKTDEV_C_TX_TSO4 : DEMI_PKTDEV_C_TX_TSO6)))
		return n < t->mss ? n : t->mss;
	max = in->dev->gso_max_bytes < 65535 - 100U ? in->dev->gso_max_bytes : 65535 - 100U;
	if (max / t->mss > in->dev->gso_max_segs)
		max = in->dev->gso_max_segs * t->mss;
	if (n > max)
		n = max;
	return n < t->mss ? t->mss : n;
}

/* How many of the bytes that wait may go at once, by window, congestion, Nagle and the silly window's rule. */
static uint32_t allowed(struct demi_tcp *t, uint32_t unsent)
{
	uint32_t out = t->snd_nxt - t->snd_una, pipe = demi_tcp_pipe(t), n = unsent;
	uint32_t wnd = t->snd_wnd > out ? t->snd_wnd - out : 0;
	uint32_t cwnd = t->cwnd > pipe ? t->cwnd - pipe : 0;

	if (n > wnd)
		n = wnd;
	if (n > cwnd) {
		n = cwnd;
		t->cwnd_limited = true;
	}
	if (!n)
		return 0;
	if (n >= t->mss) {
		n = packet_bytes(t, n);
		return n < unsent ? n - n % t->mss : n;
	}
	if (n == unsent) {
		/* RFC 9293 3.7.4; the end of the stream is not waited for */
		if ((t->nodelay || !out || t->s.shut_wr) && !t->cork)
			return n;
		return 0;
	}
	/* 3.8.6.2.1 (3): a good part of the largest window ever offered; congestion never makes small ones */
	return n == wnd && n >= t->snd_wnd_max / 2 && !out ? n : 0;
}

/* RFC 5681 4.1, RFC 7661: what the window was says nothing about the path after a pause. */
static void restart_after_idle(struct demi_tcp *t)
{
	uint64_t idle_ns = t->s.in->now_ns - t->last_send_ns;
	uint32_t iw;

	if (t->snd_nxt != t->snd_una || !t->last_send_ns || idle_ns < (uint64_t)t->rto_us * 1000)
		return;
	iw = demi_tcp_initial_window(t);
	if (t->cwnd <= iw)
		return;
	t->ssthresh = t->ssthresh > t->cwnd - t->cwnd / 4 ? t->ssthresh : t->cwnd - t->cwnd / 4;
	for (; idle_ns > (uint64_t)t->rto_us * 1000 && t->cwnd > iw; idle_ns -= (uint64_t)t->rto_us * 1000)
		t->cwnd /= 2;
	if (t->cwnd < iw)
		t->cwnd = iw;
}

/* Sending the options of SACK leaves less room for data. */
static uint32_t less_sacks(const struct demi_tcp *t, uint32_t n)
{
	uint32_t olen = (t->ts_ok ? DEMI_TCP_TS_LEN : 0U) + 4 + 8U * (t->nsacks + t->dsack);

	if (olen > DEMI_TCP_OPTS_MAX)
		olen = DEMI_TCP_OPTS_MAX;
	olen -= t->ts_ok ? DEMI_TCP_TS_LEN : 0U;
	return n + olen > t->mss ? t->mss - olen : n;
}

/* [snd_nxt, + @n) for the first time, or less if options need the room; @fin: with the end of the stream behind it. */
static bool send_new(struct demi_tcp *t, uint32_t n, bool fin)
{
	struct demi_tcp_rec *rec;
	struct demi_tcp_out o;

	if (__builtin_expect(t->nsacks, 0)) {
		uint32_t fits = less_sacks(t, n);

		fin = fin && fits == n;
		n = fits;
	}
	rec = demi_tcp_rec_add(t, t->snd_nxt, t->snd_nxt + n + fin, fin ? DEMI_TCP_REC_FIN : 0);
	if (!rec)
		return false;
	out_init(t, &o, t->snd_nxt, DEMI_TH_ACK);
	out_ts(t, &o);
	if (t->nsacks)
		out_sacks(t, &o);
	out_ack(t, &o);
	if (fin)
		o.flags |= DEMI_TH_FIN;
	if (t->snd_nxt + n == t->snd_end)
		o.flags |= DEMI_TH_PSH;
	if (n > t->mss)
		o.gso_size = t->mss;
	if (t->ecn_ok && n) {
		o.tos |= ECT0;
		if (t->cwr_due)
			o.flags |= DEMI_TH_CWR;
		t->cwr_due = false;
	}
	if (!n) {
		demi_tcp_send_bare(t->s.in, t, &o);
	} else if (!demi_tcp_send_data(t, &o, n)) {
		demi_tcp_rec_del(t, rec);
		return false;
	}
	if (t->snd_nxt == t->snd_una) /* RFC 5482, RFC 9293 3.8.3: from here on it can be stuck */
		t->stuck_ns = t->s.in->now_ns;
	t->snd_nxt += n + fin;
	t->fin_sent = fin;
	t->last_send_ns = t->s.in->now_ns;
	if (t->recovery != DEMI_TCP_OPEN)
		t->prr_out += n;
	return true;
}

/* Is the FIN's turn once @n more bytes have gone? */
static bool fin_due(const struct demi_tcp *t, uint32_t n)
{
	return t->s.shut_wr && !t->fin_sent && t->snd_nxt + n == t->snd_end;
}

/* One larger segment, to find out whether the path takes it; less only if it refers to too many pieces. */
static void probe_mtu(struct demi_tcp *t)
{
	uint32_t n = demi_tcp_mtu_probe_bytes(t, t->snd_end - t->snd_nxt);
	uint16_t mss = t->mss;

	if (!n || demi_tcp_chunks_fit(t, t->snd_nxt, n) < n)
		return;
	t->mss = (uint16_t)n; /* it is one segment */
	if (send_new(t, n, false))
		demi_tcp_mtu_probe_sent(t, n);
	t->mss = mss;
}

static void send_all_new(struct demi_tcp *t)
{
	uint32_t unsent, n;

	if (__builtin_expect(t->pmtu_bytes, 0) && !t->fin_sent)
		probe_mtu(t);
	while (!t->fin_sent && (unsent = t->snd_end - t->snd_nxt)) {
		n = allowed(t, unsent);
		if (n)
			n = demi_tcp_chunks_fit(t, t->snd_nxt, n);
		if (n > t->mss && n < unsent)
			n -= n % t->mss;
		if (!n || !send_new(t, n, n <= t->mss && fin_due(t, n)))
			return;
	}
	/* RFC 9293 3.8.6: a FIN needs no window but its own number; a window of zero is probed with it */
	if (fin_due(t, 0))
		send_new(t, 0, true);
}

bool demi_tcp_send_tail(struct demi_tcp *t)
{
	uint32_t unsent = t->fin_sent ? 0 : t->snd_end - t->snd_nxt, out = t->snd_nxt - t->snd_una, n;

	if (unsent && t->snd_wnd > out) {
		n = unsent < t->mss ? unsent : t->mss;
		if (n > t->snd_wnd - out)
			n = t->snd_wnd - out;
		n = demi_tcp_chunks_fit(t, t->snd_nxt, n);
		t->tlp_new = true;
		return send_new(t, n, false);
	}
	if (!t->rec_tail || t->rec_tail->flags & DEMI_TCP_REC_SACKED)
		return false;
	t->tlp_new = false;
	if (demi_tcp_rec_len(t->rec_tail) > t->mss && !demi_tcp_rec_split(t, t->rec_tail, t->rec_tail->end - t->mss))
		return false;
	return demi_tcp_resend(t, t->rec_tail);
}

/* RFC 9293 3.8.6.2.1 (4): the window has been too small for long enough. */
void demi_tcp_send_small(struct demi_tcp *t)
{
	uint32_t n = t->snd_end - t->snd_nxt;

	if (n > t->snd_wnd)
		n = t->snd_wnd;
	if (n > t->mss)
		n = t->mss;
	if (n && demi_tcp_chunks_fit(t, t->snd_nxt, n))
		send_new(t, demi_tcp_chunks_fit(t, t->snd_nxt, n), false);
	demi_tcp_xmit_arm(t);
}

/* The route may have changed since the last packet. */
static void path_sync(struct demi_tcp *t)
{
	struct demi_inet_path again;

	if (demi_inet_path_find(&t->s, &again, &t->s.peer.dst)) {
		t->s.peer.gen = t->s.in->route_gen; /* packets fail, or do not; then it is asked again */
		return;
	}
	if (t->s.peer.mtu_bytes != again.mtu_bytes)
		demi_tcp_mtu_new_path(t);
	t->s.peer.mtu_bytes = again.mtu_bytes;
	t->s.peer.gen = again.gen;
	demi_tcp_mss_sync(t);
}

void demi_tcp_output(struct demi_tcp *t)
{
	uint32_t before = t->snd_nxt;

	if (t->dead || t->s.in->dead)
		return;
	demi_tcp_settle(t);
	if (__builtin_expect(t->state < DEMI_TCP_ESTABLISHED, 0)) {
		if (t->state == DEMI_TCP_SYN_SENT && t->xmit == DEMI_TCP_XMIT_NONE) {
			demi_tcp_send_syn(t);
			t->stuck_ns = t->s.in->now_ns;
			demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, t->s.in->now_ns + (uint64_t)t->rto_us * 1000);
		}
		if (t->state == DEMI_TCP_SYN_RCVD && t->ack_now) /* a challenge: RFC 5961 3.2, 4.2 */
			demi_tcp_send_ack(t);
		return;
	}
	if (__builtin_expect(t->late_start, 0))
		demi_tcp_late_start(t);
	if (__builtin_expect(!demi_inet_path_ok(t->s.in, &t->s.peer), 0))
		path_sync(t);
	if (t->snd_end != t->snd_nxt)
		restart_after_idle(t);
	if (__builtin_expect(!t->lost_out, 1) || resend_lost(t))
		send_all_new(t);
	if (t->ack_now)
		demi_tcp_send_ack(t);
	if (t->snd_nxt != before || t->xmit == DEMI_TCP_XMIT_NONE)
		demi_tcp_xmit_arm(t);
}

void demi_tcp_want_output(struct demi_tcp *t)
{
	if (t->out.next)
		return;
	demi_inet_link_add(&t->s.in->tcp->out, &t->out);
	demi_ctx_want_flush(t->s.in->ctx);
}
