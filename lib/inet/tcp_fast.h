/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_TCP_FAST_H
#define DEMI_INET_TCP_FAST_H

/* The expected segment in: what a connection that asks and answers gets all the time. Its way out is in tcp_fast.c. */

#include "core/instant.h"
#include "inet/cksum.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#define DEMI_TCP_FAST_IP sizeof(struct demi_ip4_hdr)
#define DEMI_TCP_FAST_TS htonl(0x0101080a) /* the timestamps option as everybody sends it, behind two fillers */

/* IP and TCP; @ts: with timestamps */
#define DEMI_TCP_FAST_HDRS(ts) (uint32_t)(DEMI_TCP_FAST_IP + sizeof(struct demi_tcp_hdr) + ((ts) ? DEMI_TCP_TS_LEN : 0))

/* Data offset and flags, with PSH, as they stand in memory. */
#define DEMI_TCP_FAST_FLAGS(ts)                                                                                        \
	((uint32_t)(DEMI_TCP_FAST_HDRS(ts) - DEMI_TCP_FAST_IP) << 2 | (DEMI_TH_ACK | DEMI_TH_PSH) << 8)

/*
 * t->solo, which is all that was under way, is acknowledged; it was sent once: what demi_tcp_acked_fast() does then.
 * RACK (RFC 8985 6.2) learns only the number: all that can be called lost later leaves later than t->solo did.
 */
static inline void demi_tcp_solo_acked(struct demi_inet *in, struct demi_tcp *t, struct demi_inet_tx *tx,
				       uint32_t rtt_us, uint32_t ack)
{
	t->solo = NULL;
	tx->kept = 0;
	if (demi_unlikely(!tx->out))
		demi_inet_tx_free(in, tx);
	demi_ctx_uncharge(in->ctx, ack - t->snd_una);
	t->snd_una = t->rack_fack = ack;
	if (rtt_us < t->min_rtt_us)
		t->min_rtt_us = rtt_us;
	demi_tcp_rtt_us(t, rtt_us + !rtt_us);
}

/* tcp_fast.c: anything else is acknowledged. */
void demi_tcp_fast_acked(struct demi_tcp *t, uint32_t ack);
/* tcp_fast.c: the window has changed. @word: the header's second half line, as it is remembered. */
void demi_tcp_fast_window(struct demi_tcp *t, uint32_t word);

static inline __attribute__((always_inline)) bool
demi_tcp_fast_segment(struct demi_inet *in, const struct demi_pkt *p, uint32_t total, struct demi_tcp *t, const bool ts)
{
	const uint32_t hlen = DEMI_TCP_FAST_HDRS(ts);
	struct demi_ctx *ctx = in->ctx;
	uint32_t len = total - hlen, word, seq, ack, nxt, tsval = 0;
	uint64_t expected = demi_load64(&t->snd_nxt), numbers, rtt_ns;
	struct demi_op *op = NULL; /* NULL: the pop is no operation */
	uint8_t *d = p->data;
	struct demi_inet_tx *solo;

	if (demi_unlikely((int32_t)len <= 0 || !t->fast))
		return false;
	word = demi_load32(d + 32) | DEMI_TH_PSH << 8;
	numbers = __builtin_bswap64(demi_load64(d + 24));
	seq = (uint32_t)(expected >> 32);
	nxt = (uint32_t)expected;
	ack = (uint32_t)numbers;
	/* all is acknowledged, or some of it */
	if (demi_unlikely(numbers != expected && (numbers >> 32 != seq || ack - t->snd_una > nxt - t->snd_una)))
		return false;
	/* flags that have been good before, with the same window, are good */
	if (demi_unlikely((word != t->wnd_word && (uint16_t)word != DEMI_TCP_FAST_FLAGS(ts)) || len > t->rcv_adv - seq))
		return false;
	if (ts) {
		tsval = ntohl(demi_load32(d + 44));
		if (demi_unlikely(demi_load32(d + 40) != DEMI_TCP_FAST_TS || seq_lt(tsval, t->ts_recent)))
			return false;
	}
	/* a pop that waits finds t->rx_head empty */
	if (demi_likely(ctx->await.now == &t->s.q)) {
		if (demi_unlikely(len > ctx->await.max_bytes))
			return false;
	} else {
		op = t->ops.head;
		if (!op || len > op->priv.u64[0])
			return false;
	}
	if (demi_likely(!(p->flags & (DEMI_PKT_F_CSUM_OK | DEMI_PKT_F_CSUM_PARTIAL)))) {
		/* from the addresses on everything is in one piece */
		uint64_t sum = htons((uint16_t)(total - DEMI_TCP_FAST_IP)) + htons(IPPROTO_TCP);

		sum = ts ? demi_cksum_words(demi_cksum_wrap40(sum, d + 12), d + hlen, len)
			 : demi_cksum_words(sum, d + 12, total - 12);
		if (demi_unlikely(!demi_cksum_wrapped_ok(sum)))
			return false;
	}

	demi_inet_read_clock(in);
	in->count.IpInReceives++;
	in->count.IpInDelivers++;
	in->count.TcpInSegs++;
	if (ts && tsval != t->ts_recent && seq_leq(seq, t->rcv_acked)) { /* RFC 7323 4.3 (2) */
		t->ts_recent = tsval;
		t->ts_recent_ms = demi_tcp_ts_now(in);
	}
	t->snd_wl1 = seq;
	if (demi_unlikely(word != t->wnd_word))
		demi_tcp_fast_window(t, word);
	t->rcv_ns = in->now_ns;
	solo = t->solo;
	if (solo) {
		rtt_ns = in->now_ns - t->last_send_ns;
		if (demi_likely(ack == nxt && rtt_ns <= UINT32_MAX))
			demi_tcp_solo_acked(in, t, solo, (uint32_t)rtt_ns / 1000, ack);
		else
			demi_tcp_fast_acked(t, ack);
	} else if (demi_unlikely(ack != t->snd_una)) {
		demi_tcp_fast_acked(t, ack);
	}
	t->rcv_nxt = seq + len;
	if (demi_unlikely(len > t->rcv_mss))
		t->rcv_mss = len;
	if (demi_likely(!op))
		demi_await_done(ctx, &t->s.q, d + hlen, len, 0);
	else
		demi_op_list_popped(ctx, &t->ops, op, d + hlen, len, 0);
	demi_tcp_ack_data(t);
	return true;
}

/* tcp_fast.c: the same without timestamps. */
bool demi_tcp_fast_plain(struct demi_inet *in, const struct demi_pkt *p, uint32_t total, struct demi_tcp *t);

/*
 * Assumes: the IPv4 header of the segment of @total bytes has been checked. The connection is established and nothing
 * about it is unusual (t->fast: nothing is missing in either direction, no probe is out, no ECN, no framing, nobody has
 * closed). No flag but ACK and PSH; no option but timestamps, exactly where they were negotiated; the next number; an
 * acknowledgement of what is out; a timestamp that is not old; payload inside the window that was advertised, and a pop
 * that takes all of it. RFC 9293 3.10.7.4, 7323 5.
 */
static inline __attribute__((always_inline)) bool demi_tcp_fast_input(struct demi_inet *in, const struct demi_pkt *p,
								      uint32_t total, struct demi_tcp *t)
{
	if (demi_likely(t->ts_ok))
		return demi_tcp_fast_segment(in, p, total, t, true);
	return demi_tcp_fast_plain(in, p, total, t);
}

#endif /* DEMI_INET_TCP_FAST_H */
