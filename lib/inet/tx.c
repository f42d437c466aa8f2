/* SPDX-License-Identifier: MIT */
#include "inet/tx.h"

#include "heap/heap.h"
#include "inet/sock.h"
#include "inet/tcp.h"
#include "inet/udp.h"

#include <string.h>

#define CACHE_MAX 64

static void all_add(struct demi_inet *in, struct demi_inet_tx *tx)
{
	tx->flying = tx->out = false;
	tx->all_prev = NULL;
	tx->all_next = in->tx_all;
	if (tx->all_next)
		tx->all_next->all_prev = tx;
	in->tx_all = tx;
}

static void all_del(struct demi_inet *in, struct demi_inet_tx *tx)
{
	if (tx->all_next)
		tx->all_next->all_prev = tx->all_prev;
	if (tx->all_prev)
		tx->all_prev->all_next = tx->all_next;
	else
		in->tx_all = tx->all_next;
}

static struct demi_inet_tx *queue_take(struct demi_inet *in)
{
	struct demi_inet_tx *tx = in->txq.head;

	in->txq.head = tx->next;
	if (!tx->next)
		in->txq.tail = NULL;
	return tx;
}

struct demi_inet_tx *demi_inet_tx_alloc(struct demi_inet *in, uint32_t hdr, uint32_t copied)
{
	uint32_t head = in->dev->tx_headroom_bytes, room = head + hdr + copied;
	struct demi_inet_tx *tx;

	if (room <= DEMI_INET_TX_ROOM && in->tx_cache) {
		tx = in->tx_cache;
		in->tx_cache = tx->next;
		in->tx_cached--;
	} else {
		bool usual = room <= DEMI_INET_TX_ROOM;

		tx = in->dev->ops->buf_alloc(in->dev, usual ? DEMI_INET_TX_SIZE : (uint32_t)sizeof(*tx) + room);
		if (!tx)
			return NULL;
		tx->usual = usual;
		all_add(in, tx);
	}
	tx->op = NULL;
	tx->version = 0;
	tx->plain = false;
	tx->kept = 0;
	tx->lent = 0;
	tx->tcp = false;
	tx->segs = 1;
	tx->pkt[0] = (struct demi_pkt){ .data = tx->room + head, .len = hdr, .cookie = (uintptr_t)tx };
	return tx;
}

static inline void tx_free(struct demi_inet *in, struct demi_inet_tx *tx)
{
	if (__builtin_expect(!tx->usual || in->tx_cached >= CACHE_MAX, 0)) {
		all_del(in, tx);
		demi_heap_free(tx);
		return;
	}
	tx->next = in->tx_cache;
	in->tx_cache = tx;
	in->tx_cached++;
}

void demi_inet_tx_free(struct demi_inet *in, struct demi_inet_tx *tx)
{
	tx_free(in, tx);
}

void demi_inet_tx_free_all(struct demi_inet *in)
{
	struct demi_inet_tx *tx;

	while ((tx = in->tx_all)) {
		all_del(in, tx);
		demi_heap_free(tx);
	}
	in->txq.head = in->txq.tail = NULL;
	in->tx_cache = NULL;
	in->tx_cached = 0;
}

uint32_t demi_inet_tx_lend(const struct demi_inet *in, const demi_sgarray_t *sga, uint32_t *copied)
{
	uint32_t lent = 0;

	*copied = 0;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		if (seg->sgaseg_len >= in->zc_min_bytes && !demi_heap_lend(seg->sgaseg_buf, seg->sgaseg_len))
			lent |= 1U << i;
		else
			*copied += seg->sgaseg_len;
	}
	return lent;
}

void demi_inet_tx_unlend(const demi_sgarray_t *sga, uint32_t lent)
{
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (lent & 1U << i)
			demi_heap_unlend(sga->sga_segs[i].sgaseg_buf);
	}
}

static struct demi_pkt *entry_add(struct demi_inet_tx *tx, void *data, uint16_t flags)
{
	tx->pkt[tx->segs - 1].flags |= DEMI_PKT_F_MORE;
	tx->pkt[tx->segs] = (struct demi_pkt){ .data = data, .flags = flags };
	return &tx->pkt[tx->segs++];
}

uint32_t demi_inet_tx_fill(struct demi_inet *in, struct demi_inet_tx *tx, uint32_t hdr, const demi_sgarray_t *sga,
			   uint32_t lend)
{
	uint8_t *first = tx->pkt[0].data + hdr, *to = first;
	struct demi_pkt *e = &tx->pkt[0];

	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		if (lend & 1U << i) {
			tx->lent |= (uint16_t)(1U << tx->segs);
			e = entry_add(tx, seg->sgaseg_buf, DEMI_PKT_F_ZEROCOPY);
			e->len = seg->sgaseg_len;
		} else if (seg->sgaseg_len) {
			/* what was copied before lies right in front of it, unless something was lent in between */
			if (e->data + e->len != to)
				e = entry_add(tx, to, 0);
			memcpy(to, seg->sgaseg_buf, seg->sgaseg_len);
			to += seg->sgaseg_len;
			e->len += seg->sgaseg_len;
		}
	}
	return (uint32_t)(to - first);
}

void demi_inet_tx_queue(struct demi_inet *in, struct demi_inet_tx *tx)
{
	tx->next = NULL;
	if (in->txq.head)
		in->txq.tail->next = tx;
	else
		in->txq.head = tx;
	in->txq.tail = tx;
	demi_ctx_want_flush(in->ctx);
}

/* A queued or landed packet of which nothing is under way. */
void demi_inet_tx_end(struct demi_inet *in, struct demi_inet_tx *tx, int err)
{
	struct demi_inet_sock *s = tx->s;

	if (tx->tcp) {
		demi_tcp_frame_done(in, tx, err);
		return;
	}
	for (uint32_t i = 1; tx->lent >> i; i++) {
		if (tx->lent & 1U << i)
			demi_heap_unlend(tx->pkt[i].data);
	}
	if (tx->op && err)
		demi_op_fail(tx->op, err);
	else if (tx->op)
		demi_op_complete(tx->op);
	else if (err && !s->q.closed) {
		demi_udp_set_err(DEMI_UDP(s), err);
		demi_udp_deliver(DEMI_UDP(s)); /* a pop that waits already is the next one */
	}
	demi_ctx_uncharge(in->ctx, tx->charge);
	demi_inet_tx_free(in, tx);
	demi_inet_sock_put_tx(s);
}

uint32_t demi_inet_output(const struct demi_inet *in, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0;

	for (const struct demi_inet_tx *tx = in->txq.head; tx && n + tx->segs <= max; tx = tx->next) {
		for (uint32_t i = 0; i < tx->segs; i++)
			pkts[n++] = tx->pkt[i];
	}
	return n;
}

void demi_inet_taken(struct demi_inet *in, uint32_t entries)
{
	struct demi_inet_tx *tx;

	while (entries && in->txq.head) {
		tx = queue_take(in);
		entries -= tx->segs < entries ? tx->segs : entries;
		tx->flying = true;
		in->flying++;
		in->awaited += demi_inet_tx_awaited(tx);
	}
}

static void land(struct demi_inet *in, struct demi_inet_tx *tx, int err)
{
	tx->flying = false;
	in->flying--;
	in->awaited -= demi_inet_tx_awaited(tx);
	demi_inet_tx_end(in, tx, err);
}

/* What ends may take others with it: after each one the list is looked at anew. */
static struct demi_inet_tx *first_flying(const struct demi_inet *in)
{
	struct demi_inet_tx *tx = in->tx_all;

	while (tx && !tx->flying)
		tx = tx->all_next;
	return tx;
}

void demi_inet_tx_end_all(struct demi_inet *in, int err)
{
	struct demi_inet_tx *tx;

	while (in->txq.head)
		demi_inet_tx_end(in, queue_take(in), err);
	while ((tx = first_flying(in)))
		land(in, tx, err);
}

/* Was it something that another question about the route could answer? */
static bool about_route(int err)
{
	return err != ENOBUFS && err != ENOMEM && err != EAGAIN;
}

/* The last one of @s that was under way has left: is there anybody who waits for that? */
static __attribute__((noinline)) void all_left(struct demi_inet_sock *s)
{
	if (s->proto != IPPROTO_TCP) {
		s->inflight++;
		demi_inet_sock_put_tx(s);
	} else if (DEMI_TCP(s)->dead) {
		demi_tcp_put(DEMI_TCP(s));
	} else if (DEMI_TCP(s)->draining) {
		demi_tcp_drained(DEMI_TCP(s));
	}
}

void demi_inet_done(struct demi_inet *in, const struct demi_pkt_done *done, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct demi_inet_tx *tx = (struct demi_inet_tx *)(uintptr_t)done[i].cookie;

		if (__builtin_expect(tx->plain && !done[i].err, 1)) {
			struct demi_inet_sock *s = tx->s;

			tx->flying = tx->out = false;
			in->flying--;
			if (!tx->kept)
				tx_free(in, tx);
			if (__builtin_expect(--s->inflight == 0, 0))
				all_left(s);
			continue;
		}
		if (done[i].err) {
			in->count.IpOutDiscards++;
			if (about_route(done[i].err))
				demi_inet_routes_changed(in);
		}
		land(in, tx, done[i].err);
	}
}
