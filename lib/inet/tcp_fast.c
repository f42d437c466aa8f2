/* SPDX-License-Identifier: MIT */
/*
 * The expected segment in, and a small one out: what a connection that asks and answers does all the time. Everything
 * else is done elsewhere, with every check made again.
 */
#include "core/copy.h"
#include "inet/fast.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <netinet/ip.h>

#define IP_LEN ((uint32_t)sizeof(struct demi_ip4_hdr))
#define TCP_LEN ((uint32_t)sizeof(struct demi_tcp_hdr))
#define TS_WORD htonl(0x0101080a) /* the timestamps option as everybody sends it, behind two fillers */

/* ---- in ---- */

/*
 * Everything that was under way, one record and one chunk sent once, is acknowledged. False: it is not so, and nothing
 * was done. What demi_tcp_acked_fast() does then.
 */
static inline bool acked_all(struct demi_tcp *t, uint32_t ack)
{
	struct demi_inet *in = t->s.in;
	struct demi_tcp_rec *rec = t->rec_head;
	uint64_t rtt_ns;
	uint32_t rtt_us;

	if (demi_unlikely(ack != t->snd_end || !rec || rec->next || rec->flags || t->cwnd_limited || t->s.shut_wr ||
			  in->tcp->rec_cached >= DEMI_TCP_REC_CACHE || !demi_tcp_chunk_give_back(t)))
		return false;
	rtt_ns = in->now_ns - rec->sent_ns;
	rtt_us = (uint32_t)(rtt_ns / 1000);
	/* RFC 8985 6.2, steps 1 to 3, of the newest of all */
	if (rtt_us < t->min_rtt_us)
		t->min_rtt_us = rtt_us;
	t->rack_ns = rec->sent_ns;
	t->rack_end = t->rack_fack = rec->end;
	t->rack_rtt_us = rtt_us;
	t->rack_on = true;
	t->rec_head = t->rec_tail = t->sent_head = t->sent_tail = NULL;
	rec->next = in->tcp->rec_cache;
	in->tcp->rec_cache = rec;
	in->tcp->rec_cached++;
	demi_ctx_uncharge(in->ctx, ack - t->snd_una);
	t->snd_una = ack;
	t->backoff = t->retries = 0;
	t->soft_err = 0;
	t->stuck_ns = 0;
	t->xmit = DEMI_TCP_XMIT_NONE;
	demi_tcp_rtt_sample(t, rtt_ns + 1);
	return true;
}

/*
 * Assumes: the connection is established and nothing about it is unusual (t->fast: nothing is missing in either
 * direction, no probe is out, no ECN, no framing, nobody has closed). No flag but ACK and PSH; no option but
 * timestamps, exactly where they were negotiated; the next number; an acknowledgement of what is out; a timestamp that
 * is not old; payload inside the window that was advertised, and a pop that takes all of it. RFC 9293 3.10.7.4, 7323 5.
 */
bool demi_tcp_fast_input(struct demi_inet *in, const struct demi_pkt *p, uint32_t total, struct demi_tcp *t)
{
	uint8_t *d = p->data;
	uint32_t hlen = IP_LEN + TCP_LEN + (t->ts_ok ? DEMI_TCP_TS_LEN : 0), len = total - hlen;
	uint32_t seq = ntohl(demi_load32(d + 24)), ack = ntohl(demi_load32(d + 28)), tsval = 0, wnd;

	/* data offset and flags */
	if (demi_unlikely(((uint32_t)demi_load16(d + 32) & ~(DEMI_TH_PSH << 8)) !=
			  ((hlen - IP_LEN) << 2 | DEMI_TH_ACK << 8)))
		return false;
	if (demi_unlikely(!t->fast || seq != t->rcv_nxt || ack - t->snd_una > t->snd_nxt - t->snd_una))
		return false;
	if (demi_unlikely(total <= hlen || len > t->rcv_adv - seq))
		return false;
	if (t->ts_ok) {
		tsval = ntohl(demi_load32(d + 44));
		if (demi_unlikely(demi_load32(d + 40) != TS_WORD || seq_lt(tsval, t->ts_recent)))
			return false;
	}
	if (demi_unlikely(len > demi_fast_pop_max(in->ctx, &t->s.q, &t->ops) || t->rx_head || t->maxsegs != 1))
		return false;
	if (!(p->flags & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL))) {
		uint32_t tlen = total - IP_LEN;
		uint64_t sum =
			demi_cksum_wrap(demi_load64(d + 12), (uint64_t)htons((uint16_t)tlen) + htons(IPPROTO_TCP));

		if (demi_unlikely(!demi_cksum_wrapped_ok(demi_cksum_words(sum, d + IP_LEN, tlen))))
			return false;
	}

	demi_inet_read_clock(in);
	in->count.IpInReceives++;
	in->count.IpInDelivers++;
	in->count.TcpInSegs++;
	if (tsval != t->ts_recent && seq_leq(seq, t->rcv_acked)) { /* RFC 7323 4.3 (2) */
		t->ts_recent = tsval;
		t->ts_recent_ms = demi_tcp_ts_now(in);
	}
	wnd = (uint32_t)ntohs(demi_load16(d + 34)) << t->snd_wscale;
	t->snd_wnd = wnd;
	t->snd_wl1 = seq;
	if (demi_unlikely(wnd > t->snd_wnd_max))
		t->snd_wnd_max = wnd;
	t->rcv_ns = in->now_ns;
	if (ack != t->snd_una && demi_unlikely(!acked_all(t, ack)))
		demi_tcp_acked_fast(t, ack);

	t->rcv_nxt = seq + len;
	if (demi_unlikely(len > t->rcv_mss))
		t->rcv_mss = len;
	demi_fast_pop_done(in->ctx, &t->ops, d + hlen, len, 0);
	demi_tcp_ack_data(t);
	return true;
}

/* ---- out ---- */

/* A frame that is sent by no other way but this one: what all of them have in common stays in it. */
static __attribute__((noinline)) void prepare(struct demi_inet *in, struct demi_inet_tx *tx)
{
	tx->pkt[0] = (struct demi_pkt){ .data = tx->room + in->dev->tx_headroom_bytes, .cookie = (uintptr_t)tx };
	if (in->caps & DEMI_PKTDEV_C_TX_CSUM) {
		tx->pkt[0].flags = DEMI_PKT_F_CSUM_PARTIAL;
		tx->pkt[0].csum_start = IP_LEN;
		tx->pkt[0].csum_offset = offsetof(struct demi_tcp_hdr, check);
	}
	tx->op = NULL;
	tx->charge = 0;
	tx->lent = 0;
	tx->segs = 1;
	tx->tcp = true;
	tx->plain = true;
	tx->version = DEMI_INET_TX_TCP;
}

static inline void store64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/*
 * Headers in front of the @len bytes of payload that are there: all numbers are as they stand in memory, so that they
 * can be added up for the checksums (RFC 1071 2 B). DF, hence no identification (RFC 6864 4.1).
 */
static inline void put_headers(const struct demi_tcp *t, struct demi_pkt *p, uint32_t hlen, uint32_t len, uint32_t wnd)
{
	const struct demi_inet *in = t->s.in;
	const struct demi_demux_key *k = &t->s.key;
	uint32_t tlen = hlen - IP_LEN + len, ports = k->lport | (uint32_t)k->rport << 16;
	uint32_t src = k->local.w[3], dst = k->remote.w[3], seq = htonl(t->snd_nxt), ack = htonl(t->rcv_nxt);
	uint32_t offs = (hlen - IP_LEN) << 2 | (DEMI_TH_ACK | DEMI_TH_PSH) << 8 | (uint32_t)htons((uint16_t)wnd) << 16;
	uint32_t first = 0x45 | (uint32_t)t->s.tos << 8 | (uint32_t)htons((uint16_t)(hlen + len)) << 16;
	uint32_t ttl = t->s.ttl | IPPROTO_TCP << 8, df = (uint32_t)htons(DEMI_IP4_DF) << 16;
	uint64_t sum = t->s.peer.pseudo_sum + htons((uint16_t)tlen);
	uint8_t *d = p->data;

	if (demi_likely(!(in->caps & DEMI_PKTDEV_C_TX_IP_CSUM)))
		ttl |= (uint32_t)(uint16_t)~demi_cksum_fold_wrapped((uint64_t)first + df + ttl + src + dst) << 16;
	store64(d, first | (uint64_t)df << 32);
	store32(d + 8, ttl);
	store64(d + 12, src | (uint64_t)dst << 32);
	store32(d + 20, ports);
	store32(d + 24, seq);
	store32(d + 28, ack);
	store32(d + 32, offs);
	if (demi_unlikely(p->flags & DEMI_PKT_F_CSUM_PARTIAL)) {
		store32(d + 36, demi_cksum_fold(sum));
		sum = 0;
	} else {
		sum += (uint64_t)ports + seq + ack + offs;
		sum = demi_cksum_words(sum, d + hlen, len);
	}
	if (t->ts_ok) {
		uint32_t tsval = htonl(demi_tcp_ts_now(in) + t->ts_offset), tsecr = htonl(t->ts_recent);

		store32(d + 40, TS_WORD);
		store32(d + 44, tsval);
		store32(d + 48, tsecr);
		sum = demi_cksum_wrap(sum, (uint64_t)TS_WORD + tsval + tsecr);
	}
	if (demi_likely(!(p->flags & DEMI_PKT_F_CSUM_PARTIAL)))
		store32(d + 36, (uint16_t)~demi_cksum_fold_wrapped(sum));
}

/*
 * Assumes: established and usual (t->fast), over IPv4 and a route that is known; nothing is under way or waits, so that
 * neither Nagle nor the windows matter but for their sizes; one segment that fits one packet and is copied; all memory
 * is at hand. RFC 9293 3.10.4 (SEND).
 */
static inline bool can_send_now(struct demi_tcp *t, uint32_t len)
{
	const struct demi_inet *in = t->s.in;

	return t->fast && t->snd_una == t->snd_end && len - 1 < DEMI_TCP_COPY_MAX && len <= t->mss &&
	       len <= t->snd_wnd && len <= t->cwnd && len < in->zc_min_bytes && !t->s.shut_wr && !t->cork &&
	       !t->late_start && !t->df_off && t->s.pmtudisc4 != IP_PMTUDISC_DONT && demi_ip_is4(&t->s.peer.dst.ip) &&
	       demi_inet_path_ok(in, &t->s.peer) && !in->txq.head;
}

/* demi_tcp_rcv_window() where the right edge stays: room for less than a segment has become free. */
static inline uint32_t window(struct demi_tcp *t)
{
	uint32_t promised = t->rcv_adv - t->rcv_nxt, scale = (1U << t->rcv_wscale) - 1;
	uint32_t more = t->s.rcvbuf_bytes - promised;

	if (demi_unlikely(t->rx_bytes || more >= t->rcv_mss || more >= t->s.rcvbuf_bytes / 2 ||
			  promised > 65535U << t->rcv_wscale))
		return demi_tcp_rcv_window(t);
	return (promised + scale) & ~scale;
}

/* demi_tcp_xmit_arm() for one segment, the first: a probe would be sent after the timeout, if at all (RFC 8985 7.2). */
static inline void arm(struct demi_tcp *t, uint64_t now_ns)
{
	uint64_t ns = now_ns + (uint64_t)t->rto_us * 1000;

	if (demi_unlikely(t->srtt_us / 8 * 2 + DEMI_TCP_RTO_MIN_US < t->rto_us || t->backoff || t->user_timeout_ms)) {
		demi_tcp_xmit_arm(t);
		return;
	}
	t->xmit = DEMI_TCP_XMIT_RTO;
	t->xmit_ns = ns;
	if (demi_unlikely(!t->timer.index || ns < t->timer.deadline_ns))
		demi_tcp_timer_sync(t);
}

int demi_tcp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet *in = t->s.in;
	struct demi_ctx *ctx = in->ctx;
	struct demi_tcp_chunk *c = in->tcp->chunk_cache;
	struct demi_tcp_rec *rec = in->tcp->rec_cache;
	struct demi_inet_tx *tx = in->tx_cache;
	uint32_t len, hlen = IP_LEN + TCP_LEN + (t->ts_ok ? DEMI_TCP_TS_LEN : 0), wnd;
	uint64_t now_ns;
	uint8_t *to;

	if (demi_unlikely(!qt_out || !sga || sga->sga_numsegs != 1))
		goto other;
	len = sga->sga_segs[0].sgaseg_len;
	if (demi_unlikely(!can_send_now(t, len) || !sga->sga_segs[0].sgaseg_buf || !c || !rec || !tx ||
			  !demi_instant_possible(ctx)))
		goto other;
	now_ns = in->clock ? in->clock() : in->now_ns;
	if (demi_unlikely(now_ns - t->last_send_ns >= (uint64_t)t->rto_us * 1000 || demi_ctx_charge(ctx, len)))
		goto other;
	in->now_ns = now_ns;

	/* the bytes: kept, and in the frame */
	in->tcp->chunk_cache = c->next;
	in->tcp->chunk_cached--;
	demi_tcp_chunk_init_pooled(c, t->snd_end, len);
	in->tx_cache = tx->next;
	in->tx_cached--;
	if (demi_unlikely(tx->version != DEMI_INET_TX_TCP))
		prepare(in, tx);
	to = tx->pkt[0].data + hlen;
	if (demi_likely(len <= DEMI_COPY_SHORT)) {
		demi_copy_short(c->room, sga->sga_segs[0].sgaseg_buf, len);
		demi_copy_short(to, sga->sga_segs[0].sgaseg_buf, len);
	} else {
		memcpy(c->room, sga->sga_segs[0].sgaseg_buf, len);
		memcpy(to, c->room, len);
	}
	tx->pkt[0].len = hlen + len;
	tx->s = &t->s;

	wnd = window(t);
	put_headers(t, &tx->pkt[0], hlen, len, wnd >> t->rcv_wscale);
	t->rcv_adv = t->rcv_nxt + wnd;
	t->rcv_acked = t->rcv_nxt;
	t->ack_now = t->ack_later = false;

	/* what is under way: this alone */
	in->tcp->rec_cache = rec->next;
	in->tcp->rec_cached--;
	rec->seq = t->snd_nxt;
	rec->end = t->snd_nxt + len;
	rec->flags = 0;
	rec->sent_ns = now_ns;
	rec->next = rec->prev = rec->tnext = rec->tprev = NULL;
	t->rec_head = t->rec_tail = t->sent_head = t->sent_tail = rec;
	t->snd_head = t->snd_tail = t->snd_cur = c;
	t->snd_end = t->snd_nxt = rec->end;
	t->stuck_ns = t->last_send_ns = now_ns;
	arm(t, now_ns);

	t->s.inflight++;
	if (demi_likely(in->tx && in->tx(in->dev, tx->pkt, 1) == 1)) {
		tx->flying = true;
		in->flying++;
		in->kick = true;
		ctx->flush_wanted = true;
	} else {
		demi_inet_tx_queue(in, tx);
	}
	in->count.IpOutRequests++;
	in->count.TcpOutSegs++;
	ctx->count.copied_bytes += len;
	return demi_instant_pushed(ctx, qt_out, q);
other:
	return demi_push_op(qt_out, q, sga, NULL, 0);
}

/* Nothing is there for the pop: it waits. */
int demi_tcp_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_ctx *ctx = q->ctx;
	struct demi_op *op;

	if (demi_unlikely(!qt_out || !max_bytes || !t->fast || t->rx_head || t->s.err || !ctx->ops.free))
		return demi_pop_op(qt_out, q, max_bytes);
	if (demi_likely(t->s.in->awaits && demi_await_possible(ctx)))
		return demi_await_leave(ctx, qt_out, q, max_bytes);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_POP);
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&t->ops, op);
	*qt_out = op->token;
	return demi_leave_open(ctx);
}
