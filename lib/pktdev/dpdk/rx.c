/* SPDX-License-Identifier: MIT */
/* Receiving: the mbufs' heap objects are handed up, others take their places. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <string.h>

#include <rte_prefetch.h>

/* Does its buffer belong to it alone, and is it a heap object? Nobody else's mbufs are taken apart. */
static inline bool can_swap(const struct demi_dpdk_dev *dd, const struct rte_mbuf *m)
{
	return m->pool == dd->swap_pool && RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1 &&
	       m->data_off >= DEMI_PKT_HEADROOM;
}

/* What @m holds in the object that it lies in; @m gets another one. NULL without memory: then @m is as it was. */
static inline uint8_t *swap(struct rte_mbuf *m)
{
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *), *fresh = demi_dpdk_host->heap_alloc(DEMI_DPDK_RX_ROOM);

	if (unlikely(!fresh))
		return NULL;
	m->buf_addr = fresh;
	rte_mbuf_iova_set(m, (uintptr_t)fresh);
	return data;
}

static uint8_t *copy_out(const struct rte_mbuf *m)
{
	uint8_t *obj = demi_dpdk_host->heap_alloc(DEMI_PKT_HEADROOM + (m->data_len ? m->data_len : 1));

	if (!obj)
		return NULL;
	memcpy(obj + DEMI_PKT_HEADROOM, rte_pktmbuf_mtod(m, void *), m->data_len);
	return obj + DEMI_PKT_HEADROOM;
}

static inline uint16_t flags_of(const struct rte_mbuf *m)
{
	return (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? DEMI_PKT_F_CSUM_OK : 0;
}

/* A chain of mbufs: all of it or nothing. Entries written. The mbufs are the caller's to free. */
static __attribute__((noinline)) uint32_t take_chain(struct demi_dpdk_dev *dd, struct rte_mbuf *head,
						     struct demi_pkt *pkts)
{
	uint32_t n = 0;

	if (head->nb_segs > DEMI_PKT_RX_SEGS_MAX || head->data_len < DEMI_PKT_RX_FIRST_MIN) {
		dd->stats.rx_errors++;
		return 0;
	}
	for (struct rte_mbuf *m = head; m; m = m->next) {
		uint8_t *data;

		if (!m->data_len)
			continue;
		data = can_swap(dd, m) ? swap(m) : copy_out(m);
		if (!data) {
			while (n)
				demi_dpdk_host->heap_free(pkts[--n].data);
			dd->stats.rx_dropped++;
			return 0;
		}
		if (n)
			pkts[n - 1].flags |= DEMI_PKT_F_MORE;
		pkts[n] = (struct demi_pkt){ .data = data, .len = m->data_len, .flags = n ? 0 : flags_of(head) };
		n++;
	}
	dd->stats.rx_packets++;
	dd->stats.rx_bytes += head->pkt_len;
	return n;
}

static inline uint32_t take_packet(struct demi_dpdk_dev *dd, struct rte_mbuf *m, struct demi_pkt *pkts)
{
	uint32_t n, len = m->data_len;
	uint8_t *data;

	if (unlikely(m->nb_segs != 1)) {
		n = take_chain(dd, m, pkts);
		rte_pktmbuf_free(m);
		return n;
	}
	pkts->flags = flags_of(m);
	if (likely(can_swap(dd, m))) {
		data = swap(m);
		rte_mempool_generic_put(dd->rx_pool, (void **)&m, 1, dd->rx_cache);
	} else {
		data = copy_out(m);
		rte_pktmbuf_free_seg(m);
	}
	if (unlikely(!data)) {
		dd->stats.rx_dropped++;
		return 0;
	}
	pkts->data = data;
	pkts->len = len;
	pkts->gso_size = 0;
	dd->stats.rx_packets++;
	dd->stats.rx_bytes += len;
	return 1;
}

/* As far as there is room; the rest is held. */
static uint32_t take_burst(struct demi_dpdk_dev *dd, struct rte_mbuf **mbufs, uint16_t n, struct demi_pkt *pkts,
			   uint32_t max)
{
	uint32_t out = 0;
	uint16_t i;

	for (i = 0; i < n; i++) {
		if (unlikely(out + mbufs[i]->nb_segs > max && mbufs[i]->nb_segs <= DEMI_PKT_RX_SEGS_MAX))
			break;
		if (i + 1 < n)
			rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + 1], void *));
		out += take_packet(dd, mbufs[i], pkts + out);
	}
	dd->held_n = (uint16_t)(n - i);
	dd->held_at = i;
	return out;
}

/* A full burst: there is more, so ask for more at a time. A small one: what comes is wanted soon. */
static inline void adapt(struct demi_dpdk_dev *dd, uint16_t got)
{
	if (got == dd->burst && got < DEMI_DPDK_BURST_MAX)
		dd->burst = (uint16_t)(2 * dd->burst);
	else if (got < dd->burst / 4 && dd->burst > DEMI_DPDK_BURST_MIN)
		dd->burst /= 2;
}

int demi_dpdk_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	uint16_t n;

	if (unlikely(dd->out_n))
		demi_dpdk_send(dd);
	if (unlikely(dd->held_n)) {
		struct rte_mbuf *again[DEMI_DPDK_BURST_MAX];

		n = dd->held_n;
		memcpy(again, dd->held + dd->held_at, n * sizeof(again[0]));
		memcpy(dd->held, again, n * sizeof(again[0]));
	} else {
		n = rte_eth_rx_burst(dd->port, 0, dd->held, dd->burst);
		if (likely(!n))
			return 0;
		adapt(dd, n);
	}
	return (int)take_burst(dd, dd->held, n, pkts, max);
}

void demi_dpdk_rx_destroy(struct demi_dpdk_dev *dd)
{
	rte_pktmbuf_free_bulk(dd->held + dd->held_at, dd->held_n);
	dd->held_n = 0;
}
