/* SPDX-License-Identifier: MIT */
/*
 * The expected segment in, and a small one out: what a connection that asks and answers does all the time. Everything
 * else is done elsewhere, with every check made again.
 */
#include "inet/fast.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <netinet/ip.h>

#define IP_LEN ((uint32_t)sizeof(struct demi_ip4_hdr))
#define TCP_LEN ((uint32_t)sizeof(struct demi_tcp_hdr))
#define TS_WORD htonl(0x0101080a) /* the timestamps option as everybody sends it, behind two fillers */

/* IP and TCP */
static inline uint32_t headers(const struct demi_tcp *t)
{
	return IP_LEN + TCP_LEN + (t->ts_ok ? DEMI_TCP_TS_LEN : 0);
}

/* ---- in ---- */

static inline struct demi_tcp_small *small_of(struct demi_inet_tx *tx)
{
	return (struct demi_tcp_small *)((char *)tx + DEMI_INET_TX_SIZE) - 1;
}

static inline struct demi_inet_tx *frame_of(struct demi_tcp_small *s)
{
	return (struct demi_inet_tx *)((char *)(s + 1) - DEMI_INET_TX_SIZE);
}

void demi_tcp_small_put(struct demi_inet *in, struct demi_tcp_small *s, uint8_t part)
{
	struct demi_inet_tx *tx = frame_of(s);

	tx->version = 0; /* whoever has had it may have changed it */
	tx->kept &= (uint8_t)~part;
	if (!tx->kept && !tx->out)
		demi_inet_tx_free(in, tx);
}

/*
 * Everything that was under way, a small push that was sent once, is acknowledged. False: it is not so, and nothing was
 * done. What demi_tcp_acked_fast() does then. That the record is the only one and ends where the pushed bytes do means
 * that its chunk is the only one, too, and that no other frame has ever referred to that.
 */
static inline bool acked_all(struct demi_tcp *t, uint32_t ack)
{
	struct demi_inet *in = t->s.in;
	struct demi_tcp_rec *rec = t->rec_head;
	struct demi_inet_tx *tx;
	uint64_t rtt_ns;
	uint32_t rtt_us;

	if (demi_unlikely(!rec || rec->flags != DEMI_TCP_REC_SMALL || rec->next || rec->end != ack ||
			  ack != t->snd_end || t->cwnd_limited || t->s.shut_wr))
		return false;
	rtt_ns = in->now_ns - rec->sent_ns;
	rtt_us = rtt_ns < DEMI_TCP_RTO_MAX_US * 1000ULL ? (uint32_t)(rtt_ns / 1000) : DEMI_TCP_RTO_MAX_US;
	/* RFC 8985 6.2, steps 1 to 3, of the newest of all */
	if (rtt_us < t->min_rtt_us)
		t->min_rtt_us = rtt_us;
	t->rack_ns = rec->sent_ns;
	t->rack_end = t->rack_fack = ack;
	t->rack_rtt_us = rtt_us;
	t->rack_on = true;
	t->rec_head = t->rec_tail = t->sent_head = t->sent_tail = NULL;
	t->snd_head = t->snd_tail = t->snd_cur = NULL;
	tx = frame_of((struct demi_tcp_small *)rec);
	tx->kept = 0;
	if (!tx->out)
		demi_inet_tx_free(in, tx);
	demi_ctx_uncharge(in->ctx, ack - t->snd_una);
	t->snd_una = ack;
	t->backoff = t->retries = 0;
	t->soft_err = 0;
	t->stuck_ns = 0;
	t->xmit = DEMI_TCP_XMIT_NONE;
	demi_tcp_rtt_us(t, rtt_us + !rtt_us);
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
	uint32_t hlen = headers(t), len = total - hlen;
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

static inline void store64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void store16(uint8_t *p, uint32_t v)
{
	uint16_t low = (uint16_t)v;

	memcpy(p, &low, sizeof(low));
}

/* Data offset and flags of all that is sent here, as they stand in memory. */
static inline uint32_t offset_flags(uint32_t hlen)
{
	return (hlen - IP_LEN) << 2 | (DEMI_TH_ACK | DEMI_TH_PSH) << 8;
}

/*
 * Whether small pushes of @t can go the short way at all until something changes, of which demi_tcp_forget() tells:
 * over IPv4 and a route that is known, as packets that must not be cut.
 */
static __attribute__((noinline)) bool learn(struct demi_tcp *t, uint32_t hlen)
{
	struct demi_inet *in = t->s.in;
	const struct demi_demux_key *k = &t->s.key;
	size_t room = DEMI_INET_TX_ROOM - sizeof(struct demi_tcp_small) - in->dev->tx_headroom_bytes;
	uint32_t max = DEMI_TCP_COPY_MAX;

	if (!t->fast || t->s.shut_wr || t->cork || t->late_start || t->df_off || t->s.pmtudisc4 == IP_PMTUDISC_DONT ||
	    !demi_ip_is4(&t->s.peer.dst.ip) || !demi_inet_path_ok(in, &t->s.peer) || room < hlen + DEMI_TCP_COPY_MAX)
		return false;
	if (max > t->mss)
		max = t->mss;
	if (max >= in->zc_min_bytes)
		max = in->zc_min_bytes - 1;
	t->push.len_max = max;
	t->push.version = ++in->versions;
	t->push.sum = t->s.peer.pseudo_sum;
	if (!(in->caps & DEMI_PKTDEV_C_TX_CSUM))
		t->push.sum += (uint64_t)k->lport + k->rport + offset_flags(hlen) + (t->ts_ok ? TS_WORD : 0);
	t->push.route_gen = in->route_gen;
	return true;
}

/* In @tx, all that small pushes of @t have in common; it stays there for the next time. */
static __attribute__((noinline)) void prepare(struct demi_tcp *t, struct demi_inet_tx *tx, uint32_t hlen)
{
	struct demi_inet *in = t->s.in;
	const struct demi_demux_key *k = &t->s.key;
	struct demi_tcp_small *s = small_of(tx);
	uint8_t *d = tx->room + in->dev->tx_headroom_bytes;

	tx->pkt[0] = (struct demi_pkt){ .data = d, .cookie = (uintptr_t)tx };
	if (in->caps & DEMI_PKTDEV_C_TX_CSUM) {
		tx->pkt[0].flags = DEMI_PKT_F_CSUM_PARTIAL;
		tx->pkt[0].csum_start = IP_LEN;
		tx->pkt[0].csum_offset = offsetof(struct demi_tcp_hdr, check);
	}
	tx->s = &t->s;
	tx->op = NULL;
	tx->charge = 0;
	tx->lent = 0;
	tx->segs = 1;
	tx->tcp = true;
	tx->plain = true;
	/* a device that helps may write to the headers */
	tx->version = in->caps & (DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_IP_CSUM) ? 0 : t->push.version;
	s->rec = (struct demi_tcp_rec){ .flags = DEMI_TCP_REC_SMALL };
	s->chunk = (struct demi_tcp_chunk){ .base = d + hlen, .small = true };

	/* DF, hence no identification (RFC 6864 4.1); the length and the sum are set_length()'s */
	store64(d, 0x45 | (uint64_t)t->s.tos << 8 | (uint64_t)htons(DEMI_IP4_DF) << 48);
	store32(d + 8, t->s.ttl | IPPROTO_TCP << 8);
	store64(d + 12, k->local.w[3] | (uint64_t)k->remote.w[3] << 32);
	store32(d + 20, k->lport | (uint32_t)k->rport << 16);
	store32(d + 32, offset_flags(hlen));
	store32(d + 36, 0);
	if (t->ts_ok)
		store32(d + 40, TS_WORD);
}

static void set_length(const struct demi_inet *in, struct demi_pkt *p, uint32_t total)
{
	uint8_t *d = p->data;

	p->len = total;
	store16(d + 2, htons((uint16_t)total));
	store16(d + 10, 0);
	if (!(in->caps & DEMI_PKTDEV_C_TX_IP_CSUM))
		store16(d + 10, (uint16_t)~demi_cksum_fold(demi_cksum_ip4(d)));
}

/*
 * The numbers of this segment into the headers. All are as they stand in memory, so that they can be added up for the
 * checksum (RFC 1071 2 B). @sum: of the payload.
 */
static inline void put_numbers(const struct demi_tcp *t, uint8_t *d, uint32_t tlen, uint32_t wnd, uint64_t sum)
{
	const struct demi_inet *in = t->s.in;
	uint32_t seq = htonl(t->snd_nxt), ack = htonl(t->rcv_nxt);
	uint64_t rest = t->push.sum + htons((uint16_t)tlen);

	wnd = htons((uint16_t)wnd);
	store32(d + 24, seq);
	store32(d + 28, ack);
	store16(d + 34, wnd);
	if (t->ts_ok) {
		uint32_t tsval = htonl(demi_tcp_ts_now(in) + t->ts_offset), tsecr = htonl(t->ts_recent);

		store32(d + 44, tsval);
		store32(d + 48, tsecr);
		sum = demi_cksum_wrap(sum, (uint64_t)tsval + tsecr);
	}
	if (demi_unlikely(in->caps & DEMI_PKTDEV_C_TX_CSUM)) {
		store16(d + 36, demi_cksum_fold(rest));
		return;
	}
	sum = demi_cksum_wrap(sum, rest + seq + ack + ((uint64_t)wnd << 16));
	store16(d + 36, (uint16_t)~demi_cksum_fold_wrapped(sum));
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

/* What is under way: this alone. */
static inline void account(struct demi_tcp *t, struct demi_inet_tx *tx, uint32_t len, uint64_t now_ns)
{
	struct demi_tcp_small *s = small_of(tx);
	uint32_t seq = t->snd_nxt;

	tx->kept = DEMI_TCP_SMALL_REC | DEMI_TCP_SMALL_CHUNK;
	s->rec.seq = s->chunk.seq = seq;
	s->rec.end = seq + len;
	s->rec.sent_ns = now_ns;
	s->chunk.len = len;
	t->rec_head = t->rec_tail = t->sent_head = t->sent_tail = &s->rec;
	t->snd_head = t->snd_tail = t->snd_cur = &s->chunk;
	t->snd_end = t->snd_nxt = seq + len;
	t->stuck_ns = t->last_send_ns = now_ns;
}

/*
 * Assumes: established and usual (t->fast), and what learn() has found; nothing is under way or waits, so that neither
 * Nagle nor the windows matter but for their sizes; one segment that fits one packet and is copied; a frame is at hand.
 * RFC 9293 3.10.4 (SEND).
 */
int demi_tcp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet *in = t->s.in;
	struct demi_ctx *ctx = in->ctx;
	struct demi_inet_tx *tx = in->tx_cache;
	uint32_t len, hlen = headers(t), wnd;
	uint64_t now_ns;
	uint8_t *d;

	if (demi_unlikely(!qt_out || !sga || sga->sga_numsegs != 1))
		goto other;
	len = sga->sga_segs[0].sgaseg_len;
	if (demi_unlikely(t->push.route_gen != in->route_gen) && !learn(t, hlen))
		goto other;
	if (demi_unlikely(!t->fast || t->snd_una != t->snd_end || len - 1 >= t->push.len_max || len > t->snd_wnd ||
			  len > t->cwnd || in->txq.head || !sga->sga_segs[0].sgaseg_buf || !tx ||
			  !demi_instant_possible(ctx)))
		goto other;
	now_ns = in->clock ? demi_clock_ns(in->clock) : in->now_ns;
	if (demi_unlikely(now_ns - t->last_send_ns >= (uint64_t)t->rto_us * 1000 || demi_ctx_charge(ctx, len)))
		goto other;
	in->now_ns = now_ns;

	if (demi_unlikely(tx->version != t->push.version))
		prepare(t, tx, hlen);
	if (demi_unlikely(tx->pkt[0].len != hlen + len))
		set_length(in, &tx->pkt[0], hlen + len);
	d = tx->pkt[0].data;
	wnd = window(t);
	put_numbers(t, d, hlen + len - IP_LEN, wnd >> t->rcv_wscale,
		    demi_fast_copy(d + hlen, sga->sga_segs[0].sgaseg_buf, len));
	t->rcv_adv = t->rcv_nxt + wnd;
	t->rcv_acked = t->rcv_nxt;
	t->ack_now = t->ack_later = false;
	in->tx_cache = tx->next;
	in->tx_cached--;
	account(t, tx, len, now_ns);
	arm(t, now_ns);

	t->s.inflight++;
	tx->out = true;
	if (demi_likely(in->tx && in->tx(in->dev, tx->pkt, 1) == 1)) {
		tx->flying = true;
		in->flying++;
		in->kick = true;
		demi_ctx_want_flush(ctx);
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
