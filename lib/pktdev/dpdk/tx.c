/* SPDX-License-Identifier: MIT */
/* Transmitting: packets become chains of mbufs. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ip.h>
#include <rte_tcp.h>

#define DONE_MASK (4 * DEMI_DPDK_BURST_MAX - 1)

/* ---- what is done ---- */

static inline void done_put(struct demi_dpdk_dev *dd, uint64_t cookie, int err, bool copied)
{
	dd->done[(dd->done_at + dd->done_n++) & DONE_MASK] =
		(struct demi_pkt_done){ .cookie = cookie, .err = err, .copied = copied };
}

static void ref_put(struct demi_dpdk_ref *r)
{
	r->next = r->dd->ref_free;
	r->dd->ref_free = r;
}

/* The last mbuf of a packet that reads others' memory was freed. By this thread: the queue is its own. */
static void ref_freed(void *addr, void *opaque)
{
	struct demi_dpdk_ref *r = opaque;

	r->dd->refs_flying--;
	if (r->dropped) {
		ref_put(r);
		return;
	}
	r->next = NULL;
	*r->dd->ref_done_end = r;
	r->dd->ref_done_end = &r->next;
}

static struct demi_dpdk_ref *ref_get(struct demi_dpdk_dev *dd)
{
	struct demi_dpdk_ref *r = dd->ref_free;

	if (!r)
		return NULL;
	dd->ref_free = r->next;
	r->dropped = false;
	r->copied = false;
	return r;
}

/* ---- a packet's chain ---- */

struct chain {
	struct rte_mbuf *head, *tail;
	struct demi_dpdk_ref *ref;
	uint16_t nrefs;
	bool copied; /* a piece that was not to be */
};

static struct rte_mbuf *chain_add(struct demi_dpdk_dev *dd, struct chain *c)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(dd->tx_pool);

	if (!m)
		return NULL;
	if (c->head) {
		c->tail->next = m;
		c->head->nb_segs++;
	} else {
		c->head = m;
	}
	c->tail = m;
	return m;
}

static bool chain_copy(struct demi_dpdk_dev *dd, struct chain *c, const uint8_t *p, uint32_t len)
{
	while (len) {
		struct rte_mbuf *m = c->tail;
		uint32_t room = m && RTE_MBUF_DIRECT(m) ? rte_pktmbuf_tailroom(m) : 0, n;

		if (!room) {
			m = chain_add(dd, c);
			if (!m)
				return false;
			room = rte_pktmbuf_tailroom(m);
		}
		n = len < room ? len : room;
		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), p, n);
		m->data_len = (uint16_t)(m->data_len + n);
		c->head->pkt_len += n;
		p += n;
		len -= n;
	}
	return true;
}

static bool chain_attach(struct demi_dpdk_dev *dd, struct chain *c, const uint8_t *p, uint32_t len)
{
	struct rte_mbuf *m;

	if (!c->ref)
		c->ref = ref_get(dd);
	if (!c->ref)
		return false;
	m = chain_add(dd, c);
	if (!m)
		return false;
	rte_pktmbuf_attach_extbuf(m, (void *)(uintptr_t)p, (uintptr_t)p, (uint16_t)len, &c->ref->shared);
	m->data_len = (uint16_t)len;
	c->head->pkt_len += len;
	c->nrefs++;
	return true;
}

/* Of what is not to be copied the shortest rest is attached, too. */
static bool reaches(const struct demi_dpdk_dev *dd, const uint8_t *p, uint32_t len, uint16_t flags)
{
	if (dd->dev.zc_min_bytes == UINT32_MAX || len > UINT16_MAX)
		return false;
	if (len < DEMI_DPDK_REF_MIN && !(flags & DEMI_PKT_F_ZEROCOPY))
		return false;
	return dd->reach == DEMI_DPDK_COPIES || demi_dpdk_host->heap_contains(p, len);
}

static bool chain_piece(struct demi_dpdk_dev *dd, struct chain *c, const uint8_t *p, uint32_t len, uint16_t flags,
			bool copy)
{
	if (!copy && reaches(dd, p, len, flags))
		return chain_attach(dd, c, p, len);
	c->copied |= flags & DEMI_PKT_F_ZEROCOPY;
	return chain_copy(dd, c, p, len);
}

/* Free what there is of it; nobody is told. */
static void chain_drop(struct demi_dpdk_dev *dd, struct chain *c)
{
	if (c->nrefs) {
		dd->refs_flying++;
		c->ref->dropped = true;
		rte_mbuf_ext_refcnt_set(&c->ref->shared, c->nrefs);
	} else if (c->ref) {
		ref_put(c->ref);
	}
	rte_pktmbuf_free(c->head);
}

/*
 * Checksum and segmentation in DPDK's words. The stack has stored the sum of the pseudo header; for segmentation DPDK
 * wants it without the length. The headers are this chain's own copy.
 */
static void describe(struct rte_mbuf *m, const struct demi_pkt *p)
{
	uint8_t *eth = rte_pktmbuf_mtod(m, uint8_t *), *ip = eth + RTE_ETHER_HDR_LEN;
	bool v6 = ip[0] >> 4 == 6, tcp = p->csum_offset == offsetof(struct rte_tcp_hdr, cksum);
	uint16_t sum;

	m->l2_len = RTE_ETHER_HDR_LEN;
	m->l3_len = (uint64_t)(p->csum_start - RTE_ETHER_HDR_LEN) & 0x1ff;
	m->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	if (!(p->flags & (DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_GSO_TCP6)))
		return;
	m->l4_len = (uint8_t)(p->hdr_len - p->csum_start);
	m->tso_segsz = p->gso_size;
	m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
	if (v6) {
		sum = rte_ipv6_phdr_cksum((struct rte_ipv6_hdr *)ip, m->ol_flags);
	} else {
		m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
		((struct rte_ipv4_hdr *)ip)->hdr_checksum = 0;
		sum = rte_ipv4_phdr_cksum((struct rte_ipv4_hdr *)ip, m->ol_flags);
	}
	memcpy(eth + p->csum_start + p->csum_offset, &sum, sizeof(sum));
}

/* The packet of @n entries as a chain; NULL without memory. Attached as far as @copy and the port allow. */
static struct rte_mbuf *chain_make(struct demi_dpdk_dev *dd, struct chain *c, const struct demi_pkt *pkts, uint32_t n,
				   bool copy)
{
	uint32_t first = 0, i;

	*c = (struct chain){ 0 };
	if (pkts[0].flags & DEMI_PKT_F_CSUM_PARTIAL) {
		first = pkts[0].len < DEMI_DPDK_HDRS_MAX ? pkts[0].len : DEMI_DPDK_HDRS_MAX;
		if (!chain_copy(dd, c, pkts[0].data, first))
			goto drop;
	}
	for (i = 0; i < n; i++, first = 0)
		if (pkts[i].len > first &&
		    !chain_piece(dd, c, pkts[i].data + first, pkts[i].len - first, pkts[i].flags, copy))
			goto drop;
	if (pkts[0].flags & DEMI_PKT_F_CSUM_PARTIAL)
		describe(c->head, &pkts[0]);
	return c->head;
drop:
	chain_drop(dd, c);
	return NULL;
}

/* False: no room now. A packet that the port cannot take in any form is done with an error. */
static __attribute__((noinline)) bool put_chain(struct demi_dpdk_dev *dd, const struct demi_pkt *pkts, uint32_t n)
{
	uint16_t max = pkts[0].flags & DEMI_PKT_F_GSO ? dd->hw_gso_segs_max : dd->hw_segs_max;
	struct chain c;
	struct rte_mbuf *m = chain_make(dd, &c, pkts, n, max < 2);

	if (m && m->nb_segs > max && c.nrefs) {
		chain_drop(dd, &c);
		m = chain_make(dd, &c, pkts, n, true);
	}
	if (!m)
		return false;
	if (m->nb_segs > max) {
		chain_drop(dd, &c);
		dd->stats.tx_dropped++;
		done_put(dd, pkts[0].cookie, EMSGSIZE, false);
		return true;
	}
	dd->stats.tx_copied += c.copied;
	if (c.ref) {
		c.ref->cookie = pkts[0].cookie;
		c.ref->copied = c.copied;
		rte_mbuf_ext_refcnt_set(&c.ref->shared, c.nrefs);
		dd->refs_flying++;
	} else {
		done_put(dd, pkts[0].cookie, 0, c.copied);
	}
	dd->out[dd->out_n++] = m;
	dd->stats.tx_bytes += m->pkt_len;
	return true;
}

/* ---- the port ---- */

/* The first packet is one that the driver does not take: it goes nowhere. */
static void drop_first(struct demi_dpdk_dev *dd)
{
	rte_pktmbuf_free(dd->out[dd->out_at]);
	dd->out_at++;
	dd->out_n--;
	dd->stats.tx_dropped++;
}

void demi_dpdk_send(struct demi_dpdk_dev *dd)
{
	while (dd->out_n) {
		uint16_t n = dd->out_n, sent;

		if (dd->prepare) {
			n = rte_eth_tx_prepare(dd->port, 0, dd->out + dd->out_at, n);
			if (!n) {
				drop_first(dd);
				continue;
			}
		}
		sent = rte_eth_tx_burst(dd->port, 0, dd->out + dd->out_at, n);
		dd->out_at += sent;
		dd->out_n -= sent;
		dd->stats.tx_packets += sent;
		if (sent < n)
			break;
	}
	if (unlikely(dd->out_n))
		memmove(dd->out, dd->out + dd->out_at, dd->out_n * sizeof(dd->out[0]));
	dd->out_at = 0;
	if (unlikely(dd->armed && (dd->out_n || dd->refs_flying)))
		demi_dpdk_wake_soon(dd);
}

/* Room for one packet more, made if need be. */
static inline bool has_room(struct demi_dpdk_dev *dd)
{
	if (likely(dd->out_n < DEMI_DPDK_BURST_MAX && dd->done_n <= DONE_MASK))
		return true;
	demi_dpdk_send(dd);
	return dd->out_n < DEMI_DPDK_BURST_MAX && dd->done_n <= DONE_MASK;
}

/* One short piece without anything for the port to do: what an echo is made of. */
static inline bool put_short(struct demi_dpdk_dev *dd, const struct demi_pkt *p)
{
	struct rte_mbuf *m;

	if (unlikely(rte_mempool_generic_get(dd->tx_pool, (void **)&m, 1, dd->tx_cache)))
		return false;
	rte_pktmbuf_reset(m);
	memcpy(rte_pktmbuf_mtod(m, void *), p->data, p->len);
	m->data_len = (uint16_t)p->len;
	m->pkt_len = p->len;
	dd->out[dd->out_n++] = m;
	dd->stats.tx_bytes += p->len;
	done_put(dd, p->cookie, 0, false);
	return true;
}

int demi_dpdk_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	uint32_t at = 0, segs;

	while (at < n && has_room(dd)) {
		const struct demi_pkt *p = &pkts[at];

		if (likely(p->len < DEMI_DPDK_REF_MIN && !(p->flags & (DEMI_PKT_F_MORE | DEMI_PKT_F_CSUM_PARTIAL)))) {
			if (!put_short(dd, p))
				break;
			at++;
			continue;
		}
		for (segs = 1; p[segs - 1].flags & DEMI_PKT_F_MORE && at + segs < n; segs++)
			;
		if (!put_chain(dd, p, segs))
			break;
		at += segs;
	}
	if (unlikely(at < n)) /* what the port has sent may lie in it still */
		demi_dpdk_send(dd);
	if (unlikely(at < n && dd->cleanup))
		rte_eth_tx_done_cleanup(dd->port, 0, 0);
	return (int)at;
}

int demi_dpdk_kick(struct demi_pktdev *d)
{
	demi_dpdk_send(demi_dpdk_dev(d));
	return 0;
}

static uint32_t report_refs(struct demi_dpdk_dev *dd, struct demi_pkt_done *done, uint32_t max)
{
	struct demi_dpdk_ref *r;
	uint32_t n = 0;

	while (n < max && (r = dd->ref_done)) {
		dd->ref_done = r->next;
		if (!dd->ref_done)
			dd->ref_done_end = &dd->ref_done;
		done[n++] = (struct demi_pkt_done){ .cookie = r->cookie, .copied = r->copied };
		ref_put(r);
	}
	return n;
}

int demi_dpdk_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	uint32_t n = 0;

	for (; n < max && dd->done_n; n++) {
		done[n] = dd->done[dd->done_at];
		dd->done_at = (dd->done_at + 1) & DONE_MASK;
		dd->done_n--;
	}
	if (dd->refs_flying && !dd->ref_done && dd->cleanup)
		rte_eth_tx_done_cleanup(dd->port, 0, 0);
	return (int)(n + report_refs(dd, done + n, max - n));
}

/* ---- beginning and end ---- */

int demi_dpdk_tx_init(struct demi_dpdk_dev *dd, uint16_t entries)
{
	dd->ref_count = entries + 2u * DEMI_DPDK_BURST_MAX;
	dd->refs = calloc(dd->ref_count, sizeof(*dd->refs));
	if (!dd->refs)
		return -ENOMEM;
	dd->ref_done_end = &dd->ref_done;
	for (uint32_t i = 0; i < dd->ref_count; i++) {
		dd->refs[i].dd = dd;
		dd->refs[i].shared.free_cb = ref_freed;
		dd->refs[i].shared.fcb_opaque = &dd->refs[i];
		ref_put(&dd->refs[i]);
	}
	return 0;
}

void demi_dpdk_tx_destroy(struct demi_dpdk_dev *dd)
{
	rte_pktmbuf_free_bulk(dd->out + dd->out_at, dd->out_n);
	dd->out_n = 0;
}
