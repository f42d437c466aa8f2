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

/* One packet at a time: bursts would share what a round costs. */
static int mem_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct memdev *m = memdev_of(d);
	uint8_t *obj, *fresh;

	if (m->rx_own == m->rx_other)
		return 0;
	fresh = demi_object_alloc(MEMDEV_BUF);
	if (!fresh)
		return 0;
	obj = m->posted[m->rx_own & MASK];
	m->posted[m->rx_own++ & MASK] = fresh;
	memcpy(obj + DEMI_PKT_HEADROOM, m->packet,
	       MEMDEV_PACKET); /* the wire: of one size, so that it is a few moves */
	pkts[0].data = obj + DEMI_PKT_HEADROOM;
	pkts[0].len = m->packet_len;
	pkts[0].flags = 0;
	pkts[0].gso_size = 0;
	if (m->always) {
		m->rx_other++;
		if (m->next)
			m->next(m);
	}
	return 1;
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
	uint32_t room = MEMDEV_SLOTS - (m->tx_own - m->tx_done), i;

	if (n > room)
		n = room;
	for (i = 0; i < n; i++)
		m->tx[m->tx_own++ & MASK] = pkts[i];
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

/* The peer answers at once. */
static int mem_kick(struct demi_pktdev *d)
{
	struct memdev *m = memdev_of(d);

	uint32_t from = m->doorbell;

	__atomic_store_n(&m->doorbell, m->tx_own, __ATOMIC_RELEASE);
	if (!m->reached)
		return 0;
	for (; from != m->tx_own; from++)
		m->reached(m, &m->tx[from & MASK]);
	return 0;
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
