/* SPDX-License-Identifier: MIT */
/*
 * A small push straight to the device, and what it leaves to be done (t->solo); a pop that waits. The expected segment
 * in is in tcp_fast.h. Everything else is done elsewhere, with every check made again.
 */
#include "inet/fast.h"

#include <netinet/ip.h>

#define IP_LEN ((uint32_t)DEMI_TCP_FAST_IP)

_Static_assert(DEMI_INET_VERSIONS > DEMI_TCP_COPY_MAX, "a version and a length are one number");

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

/* Its timer for what left at @sent_ns: a probe would be sent after the timeout, if at all (RFC 8985 7.2). */
static void arm(struct demi_tcp *t, uint64_t sent_ns)
{
	if (t->srtt_us / 8 * 2 + DEMI_TCP_RTO_MIN_US < t->rto_us || t->backoff || t->user_timeout_ms)
		demi_tcp_xmit_arm_at(t, sent_ns);
	else
		demi_tcp_xmit_at(t, DEMI_TCP_XMIT_RTO, sent_ns + (uint64_t)t->rto_us * 1000);
}

void demi_tcp_solo_settle(struct demi_tcp *t)
{
	struct demi_tcp_small *s = small_of(t->solo);

	t->solo = NULL;
	s->rec.seq = s->chunk.seq = t->snd_una;
	s->rec.end = t->snd_nxt;
	s->rec.sent_ns = t->stuck_ns = t->last_send_ns;
	s->chunk.len = t->snd_nxt - t->snd_una;
	t->rec_head = t->rec_tail = t->sent_head = t->sent_tail = &s->rec;
	t->snd_head = t->snd_tail = t->snd_cur = &s->chunk;
	arm(t, t->last_send_ns);
}

/* ---- in ---- */

void demi_tcp_fast_acked(struct demi_tcp *t, uint32_t ack)
{
	demi_tcp_settle(t);
	if (ack != t->snd_una)
		demi_tcp_acked_fast(t, ack);
}

void demi_tcp_fast_window(struct demi_tcp *t, uint32_t word)
{
	t->wnd_word = word;
	t->snd_wnd = (uint32_t)ntohs((uint16_t)(word >> 16)) << t->snd_wscale;
	if (t->snd_wnd > t->snd_wnd_max)
		t->snd_wnd_max = t->snd_wnd;
}

bool demi_tcp_fast_plain(struct demi_inet *in, const struct demi_pkt *p, uint32_t total, struct demi_tcp *t)
{
	return demi_tcp_fast_segment(in, p, total, t, false);
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

/*
 * Whether small pushes of @t can go the short way at all until something changes, of which demi_tcp_forget() tells:
 * over IPv4 and a route that is known, as packets that must not be cut.
 */
static __attribute__((noinline)) bool learn(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;
	const struct demi_demux_key *k = &t->s.key;
	size_t room = DEMI_INET_TX_ROOM - sizeof(struct demi_tcp_small) - in->dev->tx_headroom_bytes;
	uint32_t max = DEMI_TCP_COPY_MAX;

	if (!t->fast || t->s.shut_wr || t->cork || t->late_start || t->df_off || t->s.pmtudisc4 == IP_PMTUDISC_DONT ||
	    !demi_ip_is4(&t->s.peer.dst.ip) || !demi_inet_path_ok(in, &t->s.peer) ||
	    room < DEMI_TCP_FAST_HDRS(t->ts_ok) + DEMI_TCP_COPY_MAX)
		return false;
	if (max > t->mss)
		max = t->mss;
	if (max >= in->zc_min_bytes)
		max = in->zc_min_bytes - 1;
	t->push = (struct demi_tcp_push){
		.route_gen = in->route_gen,
		.len_max = max,
		.version = in->versions += DEMI_INET_VERSIONS,
		.sum = t->s.peer.pseudo_sum,
	};
	if (!(in->caps & DEMI_PKTDEV_C_TX_CSUM))
		t->push.sum += (uint64_t)k->lport + k->rport + DEMI_TCP_FAST_FLAGS(t->ts_ok) +
			       (t->ts_ok ? DEMI_TCP_FAST_TS : 0);
	return true;
}

/*
 * See to it that the timer is not later than any that a push could need for some time from now on, for which it can
 * then be forgotten: a timeout is not shorter, and a probe (RFC 8985 7.2) waits for at least DEMI_TCP_RTO_MIN_US.
 * False: there is more to it, as after a pause (RFC 5681 4.1).
 */
static __attribute__((noinline)) bool look_ahead(struct demi_tcp *t, uint64_t now_ns)
{
	uint64_t us = t->rto_min_us < DEMI_TCP_RTO_MIN_US ? t->rto_min_us : DEMI_TCP_RTO_MIN_US;

	if (now_ns - t->last_send_ns >= (uint64_t)t->rto_us * 1000 || t->backoff || t->retries || t->soft_err ||
	    t->user_timeout_ms)
		return false;
	if (!t->timer.index || t->timer.deadline_ns > now_ns + us * 1000) {
		if (demi_tcp_timer_set(t->s.in, &t->timer, now_ns + us * 1000))
			return false;
	}
	t->push.until_ns = t->timer.deadline_ns;
	return true;
}

/* In @tx, all that small pushes of @t have in common; it stays there for the next time. */
static void put_headers(struct demi_tcp *t, struct demi_inet_tx *tx)
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
	s->rec = (struct demi_tcp_rec){ .flags = DEMI_TCP_REC_SMALL };
	s->chunk = (struct demi_tcp_chunk){ .base = d + DEMI_TCP_FAST_HDRS(t->ts_ok), .small = true };

	/* DF, hence no identification (RFC 6864 4.1); the length and the sum are prepare()'s */
	store64(d, 0x45 | (uint64_t)t->s.tos << 8 | (uint64_t)htons(DEMI_IP4_DF) << 48);
	store32(d + 8, t->s.ttl | IPPROTO_TCP << 8);
	store64(d + 12, k->local.w[3] | (uint64_t)k->remote.w[3] << 32);
	store32(d + 20, k->lport | (uint32_t)k->rport << 16);
	store32(d + 32, DEMI_TCP_FAST_FLAGS(t->ts_ok));
	store32(d + 36, 0);
	if (t->ts_ok)
		store32(d + 40, DEMI_TCP_FAST_TS);
}

/* The same for those of @len bytes. */
static __attribute__((noinline)) void prepare(struct demi_tcp *t, struct demi_inet_tx *tx, uint32_t len)
{
	struct demi_inet *in = t->s.in;
	uint32_t total = DEMI_TCP_FAST_HDRS(t->ts_ok) + len;
	uint8_t *d;

	if (tx->version - t->push.version >= DEMI_INET_VERSIONS)
		put_headers(t, tx);
	d = tx->pkt[0].data;
	tx->pkt[0].len = total;
	store16(d + 2, htons((uint16_t)total));
	store16(d + 10, 0);
	if (!(in->caps & DEMI_PKTDEV_C_TX_IP_CSUM))
		store16(d + 10, (uint16_t)~demi_cksum_fold(demi_cksum_ip4(d)));
	small_of(tx)->sum = t->push.sum + htons((uint16_t)(total - IP_LEN));
	/* a device that helps may write to the headers */
	tx->version = in->caps & (DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_IP_CSUM) ? 0 : t->push.version + len;
}

/* The right edge moves, perhaps; and for how long it stays where it is then. In units of the scale. */
static __attribute__((noinline)) uint32_t move_window(struct demi_tcp *t)
{
	uint32_t wnd = demi_tcp_rcv_window(t), buf = t->s.rcvbuf_bytes, max = 65535U << t->rcv_wscale;
	uint32_t step = t->rcv_mss < buf / 2 ? t->rcv_mss : buf / 2;

	/* demi_tcp_rcv_window() where less than a step has become free */
	t->push.wnd_low = buf - step + 1;
	t->push.wnd_span = 0;
	if (step && t->push.wnd_low <= max)
		t->push.wnd_span = (buf < max ? buf : max) - t->push.wnd_low + 1;
	return wnd >> t->rcv_wscale;
}

/*
 * The numbers of this segment into the headers. All are as they stand in memory, so that they can be added up for the
 * checksum (RFC 1071 2 B). @sum: of the payload.
 */
static inline void put_numbers(const struct demi_tcp *t, const struct demi_inet_tx *tx, uint64_t now_ns, uint32_t wnd,
			       uint64_t sum, const bool ts)
{
	uint64_t numbers = demi_load64(&t->snd_nxt), times = 0;
	uint8_t *d = tx->pkt[0].data;

	numbers = __builtin_bswap64(numbers << 32 | numbers >> 32);
	wnd = htons((uint16_t)wnd);
	store64(d + 24, numbers);
	store16(d + 34, wnd);
	if (ts) {
		times = (uint64_t)((uint32_t)(now_ns / DEMI_TCP_MS) + t->ts_offset) << 32 | t->ts_recent;
		times = __builtin_bswap64(times);
		store64(d + 44, times);
	}
	if (demi_unlikely(tx->pkt[0].flags)) { /* the pseudo header's, for a device that does the rest */
		store16(d + 36, demi_cksum_fold(small_of((struct demi_inet_tx *)tx)->sum));
		return;
	}
	sum = demi_cksum_wrap4(sum, numbers, times, (uint64_t)wnd << 16, small_of((struct demi_inet_tx *)tx)->sum);
	store16(d + 36, (uint16_t)~demi_cksum_fold_wrapped(sum));
}

/*
 * Assumes: established and usual (t->fast), and what learn() has found; nothing is under way or waits, so that neither
 * Nagle nor the windows matter but for the peer's size; one segment that fits one packet and is copied; a frame is at
 * hand. RFC 9293 3.10.4 (SEND).
 */
static inline __attribute__((always_inline)) int push_now(demi_qtoken_t *qt_out, struct demi_queue *q,
							  const demi_sgarray_t *sga, const bool ts)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet *in = t->s.in;
	struct demi_ctx *ctx = in->ctx;
	struct demi_inet_tx *tx = in->tx_cache;
	uint32_t len, promised, wnd;
	uint64_t now_ns;
	const void *from;

	if (demi_unlikely(!qt_out || !sga || sga->sga_numsegs != 1))
		goto other;
	from = sga->sga_segs[0].sgaseg_buf;
	len = sga->sga_segs[0].sgaseg_len;
	if (demi_unlikely(t->push.route_gen != in->route_gen) && !learn(t))
		goto other;
	if (demi_unlikely(!t->fast || t->snd_una != t->snd_end || len - 1 >= t->push.len_max || len > t->snd_wnd ||
			  in->txq.head || !from || !tx || !demi_instant_possible(ctx)))
		goto other;
	now_ns = demi_likely(in->clock) ? demi_clock_ns(in->clock) : in->now_ns;
	if (demi_unlikely(now_ns >= t->push.until_ns) && !look_ahead(t, now_ns))
		goto other;
	if (demi_unlikely(demi_ctx_charge(ctx, len)))
		goto other;
	if (demi_unlikely(tx->version != t->push.version + len))
		prepare(t, tx, len);

	promised = t->rcv_adv - t->rcv_nxt;
	if (demi_likely(promised - t->push.wnd_low < t->push.wnd_span && !t->rx_bytes))
		wnd = -(uint32_t)(-(int32_t)promised >> t->rcv_wscale); /* upwards */
	else
		wnd = move_window(t);
	t->rcv_adv = t->rcv_nxt + (wnd << t->rcv_wscale);
	t->rcv_acked = t->rcv_nxt;
	put_numbers(t, tx, now_ns, wnd, demi_fast_copy(tx->pkt[0].data + DEMI_TCP_FAST_HDRS(ts), from, len), ts);
	t->ack_now = t->ack_later = false;
	t->snd_end = t->snd_nxt += len;
	t->last_send_ns = in->now_ns = now_ns;
	t->solo = tx;

	in->tx_cache = tx->next;
	in->tx_cached--;
	t->s.inflight++;
	tx->flying = tx->out = tx->plain = true;
	tx->kept = DEMI_TCP_SMALL_REC | DEMI_TCP_SMALL_CHUNK;
	in->count.IpOutRequests++;
	in->count.TcpOutSegs++;
	ctx->count.copied_bytes += len;
	if (demi_likely(in->tx(in->dev, tx->pkt, 1) == 1)) {
		in->flying++;
		in->kick = true;
		demi_ctx_want_flush(ctx);
	} else {
		tx->flying = false;
		demi_inet_tx_queue(in, tx);
	}
	return demi_instant_pushed(ctx, qt_out, q);
other:
	return demi_push_op(qt_out, q, sga, NULL, 0);
}

static __attribute__((noinline)) int push_plain(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	return push_now(qt_out, q, sga, false);
}

int demi_tcp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	if (demi_unlikely(!DEMI_TCP(q)->ts_ok))
		return push_plain(qt_out, q, sga);
	return push_now(qt_out, q, sga, true);
}

/* Nothing is there for the pop: it waits. */
int demi_tcp_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_ctx *ctx = q->ctx;
	struct demi_op *op;

	if (demi_unlikely(!qt_out || !max_bytes || !t->fast || t->rx_head)) /* a usual connection has no error */
		return demi_pop_op(qt_out, q, max_bytes);
	if (demi_likely(demi_await_possible(ctx)))
		return demi_await_leave(ctx, qt_out, q, max_bytes);
	if (demi_unlikely(!ctx->ops.free))
		return demi_pop_op(qt_out, q, max_bytes);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_POP);
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&t->ops, op);
	*qt_out = op->token;
	return demi_leave_open(ctx);
}
