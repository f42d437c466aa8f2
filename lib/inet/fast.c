/* SPDX-License-Identifier: MIT */
/* Pushing the expected datagram, and waiting for one: see fast.h. */
#include "inet/fast.h"
#include "inet/tx.h"

#include <string.h>

#define HDRS DEMI_FAST_HDRS

/* ---- in ---- */

__attribute__((noinline)) bool demi_inet_fast_header(struct demi_inet_hint *h, const uint8_t *d)
{
	uint64_t first = demi_load64(d), sum;

	if ((first & DEMI_FAST_MASK) != DEMI_FAST_PLAIN || !h->s || h->s->proto != d[9])
		return false;
	sum = demi_cksum_wrap(demi_cksum_wrap(first, demi_load64(d + 8)), demi_load32(d + 16));
	if (!demi_cksum_wrapped_ok(sum))
		return false;
	h->first = first;
	h->second = demi_load32(d + 8);
	return true;
}

/* ---- out ---- */

/* Headers and metadata as @u pushed them last; they stay in @tx for the next time. */
static __attribute__((noinline)) void prepare(struct demi_inet_tx *tx, struct demi_udp *u)
{
	const struct demi_udp_last *l = &u->sent;

	tx->pkt[0] = (struct demi_pkt){ .data = tx->room + u->s.in->dev->tx_headroom_bytes,
					.len = l->total_bytes,
					.flags = l->flags,
					.csum_start = l->csum_start,
					.csum_offset = l->csum_offset,
					.cookie = (uintptr_t)tx };
	memcpy(tx->pkt[0].data, l->hdr, HDRS);
	tx->s = &u->s;
	tx->op = NULL;
	tx->charge = 0;
	tx->lent = 0;
	tx->segs = 1;
	tx->tcp = false;
	tx->plain = true;
	/* a device that helps may write to the headers */
	tx->version = l->flags || u->s.in->caps & DEMI_PKTDEV_C_TX_IP_CSUM ? 0 : l->version;
}

/* The device has no room for @tx, the first of the cache: it goes into the stack's queue, charged as others are. */
static __attribute__((noinline)) int push_queued(demi_qtoken_t *qt_out, struct demi_inet_tx *tx)
{
	struct demi_udp *u = DEMI_UDP(tx->s);
	struct demi_inet *in = u->s.in;
	uint32_t charge = (uint32_t)sizeof(*tx) + tx->pkt[0].len;
	int err = demi_ctx_charge(in->ctx, charge);

	tx->version = 0; /* what is charged must not stay in it */
	if (err) {
		in->count.UdpSndbufErrors++;
		return demi_leave(in->ctx, err);
	}
	in->tx_cache = tx->next;
	in->tx_cached--;
	tx->charge = charge;
	tx->plain = false;
	u->s.inflight++;
	in->count.IpOutRequests++;
	in->count.UdpOutDatagrams++;
	in->ctx->count.copied_bytes += tx->pkt[0].len - HDRS;
	demi_inet_tx_queue(in, tx);
	return demi_instant_pushed(in->ctx, qt_out, &u->s.q);
}

/* It is with the device, and u's next datagram may use another. */
static inline int pushed(demi_qtoken_t *qt_out, struct demi_inet_tx *tx)
{
	struct demi_udp *u = DEMI_UDP(tx->s);
	struct demi_inet *in = u->s.in;
	struct demi_ctx *ctx = in->ctx;

	in->tx_cache = tx->next;
	in->tx_cached--;
	tx->flying = true;
	in->flying++;
	u->s.inflight++;
	in->kick = true;
	demi_ctx_want_flush(ctx);
	in->count.IpOutRequests++;
	in->count.UdpOutDatagrams++;
	ctx->count.copied_bytes += tx->pkt[0].len - HDRS;
	return demi_instant_pushed(ctx, qt_out, &u->s.q);
}

static int push_prepared(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga,
			 const struct sockaddr *to, socklen_t tolen);

/*
 * Assumes: one segment of the length of the last push, to the same place over the same route, short enough to be
 * copied; nothing waits for the device to have room; a packet is at hand. @dest: see struct demi_udp_last. @prepared:
 * the headers have just been put into the packet; else they are there if it has the version, and then the device
 * does not help.
 */
static inline __attribute__((always_inline)) int push_now(demi_qtoken_t *qt_out, struct demi_queue *q,
							  const demi_sgarray_t *sga, const struct sockaddr *to,
							  socklen_t tolen, uint64_t dest, bool prepared)
{
	struct demi_udp *u = DEMI_UDP(q);
	struct demi_inet *in = u->s.in;
	const struct demi_udp_last *l = &u->sent;
	struct demi_inet_tx *tx = in->tx_cache;
	uint32_t len;
	uint64_t sum;
	uint8_t *d;

	if (demi_unlikely(!qt_out || !sga || sga->sga_numsegs != 1))
		goto other;
	len = sga->sga_segs[0].sgaseg_len;
	if (demi_unlikely(len + HDRS != l->total_bytes || dest != l->to || l->route_gen != in->route_gen ||
			  in->txq.head || !tx || !sga->sga_segs[0].sgaseg_buf || !demi_instant_possible(in->ctx)))
		goto other;
	if (!prepared && demi_unlikely(tx->version != l->version))
		return push_prepared(qt_out, q, sga, to, tolen);
	d = tx->pkt[0].data;
	sum = demi_fast_copy(d + HDRS, sga->sga_segs[0].sgaseg_buf, len);
	if (!prepared || !(l->flags & DEMI_PKT_F_CSUM_PARTIAL)) {
		uint16_t check = (uint16_t)~demi_cksum_fold_wrapped(demi_cksum_wrap(sum, l->sum));

		if (demi_unlikely(!check)) /* RFC 768: 0 says that there is none */
			check = 0xffff;
		memcpy(d + offsetof(struct demi_udp_hdr, check) + sizeof(struct demi_ip4_hdr), &check, sizeof(check));
	}
	if (demi_unlikely(in->tx(in->dev, tx->pkt, 1) != 1))
		return push_queued(qt_out, tx);
	return pushed(qt_out, tx);
other:
	return demi_push_op(qt_out, q, sga, to, tolen);
}

static __attribute__((noinline)) int push_prepared(demi_qtoken_t *qt_out, struct demi_queue *q,
						   const demi_sgarray_t *sga, const struct sockaddr *to,
						   socklen_t tolen)
{
	prepare(DEMI_UDP(q)->s.in->tx_cache, DEMI_UDP(q));
	return push_now(qt_out, q, sga, to, tolen, DEMI_UDP(q)->sent.to, true);
}

int demi_udp_push_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	return push_now(qt_out, q, sga, NULL, 0, 0, false);
}

int demi_udp_pushto_now(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga,
			const struct sockaddr *to, socklen_t tolen)
{
	if (demi_unlikely(tolen < sizeof(struct sockaddr_in)))
		return demi_push_op(qt_out, q, sga, to, tolen);
	return push_now(qt_out, q, sga, to, tolen, demi_load64(to), false);
}

/* Nothing is there for the pop: it waits. */
int demi_udp_pop_now(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	struct demi_udp *u = DEMI_UDP(q);
	struct demi_ctx *ctx = q->ctx;
	struct demi_op *op;

	if (demi_unlikely(!qt_out || !max_bytes || u->rx_head || u->s.err || u->s.shut_rd || u->s.in->dead))
		return demi_pop_op(qt_out, q, max_bytes);
	if (demi_likely(demi_await_possible(ctx)))
		return demi_await_leave(ctx, qt_out, q, max_bytes);
	if (demi_unlikely(!ctx->ops.free))
		return demi_pop_op(qt_out, q, max_bytes);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_POP);
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&u->ops, op);
	*qt_out = op->token;
	return demi_leave_open(ctx);
}
