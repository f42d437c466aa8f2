/* SPDX-License-Identifier: MIT */
#include "memdev.h"

#include "heap/object.h"

#include <stdlib.h>
#include <string.h>

#define MASK (MEMDEV_SLOTS - 1)

static struct memdev *memdev_of(struct demi_pktdev *d)
{
	return (struct memdev *)d;
}

/* The wire: a copy of one size, so that it is a few moves. The buffer is replaced by @fresh. */
static inline int hand_over(struct memdev *m, struct demi_pkt *pkt, void *fresh)
{
	uint32_t at = m->rx_own++ & MASK;
	uint8_t *obj = m->posted[at];

	m->posted[at] = fresh;
	memcpy(obj + DEMI_PKT_HEADROOM, m->packet, MEMDEV_PACKET);
	pkt->data = obj + DEMI_PKT_HEADROOM;
	pkt->len = m->packet_len;
	pkt->flags = 0;
	pkt->gso_size = 0;
	if (m->always) {
		m->rx_other++;
		if (m->next)
			m->next(m);
	}
	return 1;
}

static __attribute__((noinline)) int hand_over_slow(struct memdev *m, struct demi_pkt *pkt)
{
	void *fresh = demi_object_alloc(MEMDEV_BUF);

	return fresh ? hand_over(m, pkt, fresh) : 0;
}

/* One packet at a time: bursts would share what a round costs. */
static int mem_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct memdev *m = memdev_of(d);
	struct demi_slot *slot;

	if (m->rx_own == m->rx_other)
		return 0;
	slot = demi_object_take_cached(MEMDEV_BUF);
	return __builtin_expect(slot != NULL, 1) ? hand_over(m, pkts, slot->p) : hand_over_slow(m, pkts);
}

static int mem_rx_burst(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0;

	if (max > memdev_of(d)->burst)
		max = memdev_of(d)->burst;
	while (n < max && mem_rx(d, pkts + n, 1))
		n++;
	return (int)n;
}

static int mem_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct memdev *m = memdev_of(d);
	uint32_t own = m->tx_own, end = own + n;

	if (__builtin_expect(end - m->tx_done > MEMDEV_SLOTS, 0))
		end = m->tx_done + MEMDEV_SLOTS;
	n = end - own;
	for (; own != end; own++)
		m->tx[own & MASK] = *pkts++;
	m->tx_own = end;
	return (int)n;
}

static int mem_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	struct memdev *m = memdev_of(d);
	uint32_t n = m->doorbell - m->tx_done, i;

	if (n > max)
		n = max;
	for (i = 0; i < n; i++)
		done[i] = (struct demi_pkt_done){ .cookie = m->tx[m->tx_done++ & MASK].cookie };
	return (int)n;
}

static __attribute__((noinline)) int reach(struct memdev *m, uint32_t from)
{
	for (; from != m->tx_own; from++)
		m->reached(m, &m->tx[from & MASK]);
	return 0;
}

/* The peer answers at once. */
static int mem_kick(struct demi_pktdev *d)
{
	struct memdev *m = memdev_of(d);
	uint32_t from = m->doorbell;

	__atomic_store_n(&m->doorbell, m->tx_own, __ATOMIC_RELEASE);
	if (!m->reached)
		return 0;
	if (__builtin_expect(from + 1 != m->tx_own, 0))
		return reach(m, from);
	return m->reached(m, &m->tx[from & MASK]);
}

static int mem_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	p->handle = 1;
	return 0;
}

static void mem_release(struct demi_pktdev *d, uint32_t id)
{
}

static int mem_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow_out)
{
	*flow_out = 1;
	return 0;
}

/* This host has one address. */
static int mem_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	r->mtu_bytes = 1500;
	memset(&r->src, 0, sizeof(r->src));
	r->src.v4.s_addr = htonl(0x0a000001);
	return 0;
}

static void mem_destroy(struct demi_pktdev *d)
{
	struct memdev *m = memdev_of(d);

	for (uint32_t i = 0; i < MEMDEV_SLOTS; i++)
		demi_heap_free(m->posted[i]);
	free(m);
}

static struct demi_pktdev_ops ops = {
	.name = "memory",
	.abi = DEMI_PKTDEV_ABI,
	.rx = mem_rx,
	.tx = mem_tx,
	.tx_done = mem_tx_done,
	.kick = mem_kick,
	.port_reserve = mem_port_reserve,
	.port_release = mem_release,
	.flow_add = mem_flow_add,
	.flow_del = mem_release,
	.route = mem_route,
	.destroy = mem_destroy,
};

struct memdev *memdev_new(struct demi_ctx *ctx, uint32_t burst)
{
	struct memdev *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	if (burst > 1)
		ops.rx = mem_rx_burst;
	demi_pktdev_ops_fill(&ops);
	m->burst = burst;
	m->d.ops = &ops;
	m->d.ctx = ctx;
	m->d.caps = DEMI_PKTDEV_C_L3;
	m->d.mtu_bytes = 1500;
	m->d.tx_segs_max = 16;
	m->d.zc_min_bytes = 1024;
	m->d.rx_buf_bytes = MEMDEV_BUF;
	m->d.wake_fd = -1;
	for (uint32_t i = 0; i < MEMDEV_SLOTS; i++) {
		m->posted[i] = demi_heap_alloc(MEMDEV_BUF);
		if (!m->posted[i]) {
			mem_destroy(&m->d);
			return NULL;
		}
	}
	return m;
}
