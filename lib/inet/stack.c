/* SPDX-License-Identifier: MIT */
/* Making and ending a stack; received bursts. */
#include "inet/stack.h"

#include "core/config.h"
#include "heap/heap.h"
#include "inet/fast.h"
#include "inet/sock.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <string.h>

static uint32_t zc_min(const struct demi_pktdev *dev)
{
	uint32_t min = demi_config.zc_min_bytes ? demi_config.zc_min_bytes : dev->zc_min_bytes;

	if (!demi_config.zerocopy || dev->zc_min_bytes == UINT32_MAX)
		return UINT32_MAX;
	return min ? min : 1;
}

static int no_tx(struct demi_pktdev *dev, const struct demi_pkt *pkts, uint32_t n)
{
	return 0;
}

int demi_inet_init(struct demi_inet *in, struct demi_ctx *ctx, struct demi_pktdev *dev,
		   const struct demi_inet_secrets *secrets)
{
	int err;

	/* without ARP, neighbour discovery and ports of its own the stack needs a device that has all that */
	if (!(dev->caps & DEMI_PKTDEV_C_L3) || dev->tx_segs_max < DEMI_INET_TX_SEGS)
		return -EOPNOTSUPP;
	memset(in, 0, sizeof(*in));
	in->ctx = ctx;
	in->dev = dev;
	in->caps = dev->caps;
	in->tx = no_tx;
	in->zc_min_bytes = zc_min(dev);
	in->route_gen = 1;
	in->last_hint = in->hints;
	memcpy(in->id_key, secrets->id_key, sizeof(in->id_key));
	memcpy(in->ids, secrets->ids, sizeof(in->ids));
	demi_inet_link_init(&in->socks);
	err = demi_demux_init(&in->udp, secrets->demux);
	if (err)
		return err;
	err = demi_tcp_init(in, secrets);
	if (err)
		demi_demux_destroy(&in->udp);
	return err;
}

bool demi_inet_wants_run(const struct demi_inet *in)
{
	return demi_tcp_wants_run(in);
}

void demi_inet_run(struct demi_inet *in)
{
	demi_tcp_run(in);
}

uint64_t demi_inet_deadline(const struct demi_inet *in)
{
	return demi_tcp_deadline(in);
}

uint16_t demi_inet_next_id(struct demi_inet *in, const struct demi_ip *src, const struct demi_ip *dst)
{
	uint64_t h = (dst->q[1] + in->id_key[0]) * (src->q[1] + in->id_key[1]);

	return in->ids[h >> 56]++;
}

void demi_inet_exit(struct demi_inet *in)
{
	struct demi_inet_link *l;

	demi_inet_tx_end_all(in, ECANCELED);
	while ((l = in->socks.next) != &in->socks) {
		struct demi_inet_sock *s = (struct demi_inet_sock *)((char *)l - offsetof(struct demi_inet_sock, all));

		demi_queue_close(&s->q); /* nothing of it is under way: it takes itself off the list */
	}
	demi_tcp_exit(in);
	demi_inet_tx_free_all(in);
	demi_demux_destroy(&in->udp);
}

void demi_inet_device_gone(struct demi_inet *in, int err)
{
	in->dead = err;
	demi_inet_routes_changed(in); /* nothing that was learned holds any more */
	demi_inet_tx_end_all(in, err);
	for (struct demi_inet_link *l = in->socks.next; l != &in->socks; l = l->next)
		demi_udp_fail_ops((struct demi_inet_sock *)((char *)l - offsetof(struct demi_inet_sock, all)), err);
	demi_tcp_device_gone(in, err);
}

void demi_inet_hints_forget(struct demi_inet *in)
{
	memset(in->hints, 0, sizeof(in->hints));
}

void demi_inet_drop(struct demi_inet *in, const struct demi_pkt *p, uint32_t segs)
{
	for (uint32_t i = 0; i < segs; i++)
		in->recycle[in->nrecycle++] = p[i].data;
}

void demi_inet_input(struct demi_inet *in, struct demi_pkt *pkts, uint32_t n)
{
	in->nrecycle = 0;
	in->timed |= !in->clock;
	for (uint32_t i = 0, segs; i < n; i += segs) {
		struct demi_pkt *p = &pkts[i];
		uint32_t len = p->len;

		segs = 1;
		if (__builtin_expect(demi_inet_fast_input(in, p), 1))
			continue;
		for (; __builtin_expect(p[segs - 1].flags & DEMI_PKT_F_MORE, 0) && i + segs < n; segs++)
			len += p[segs].len;
		if (__builtin_expect(p->len && p->data[0] >> 4 == 4, 1))
			demi_ip4_input(in, p, segs, len);
		else
			demi_ip6_input(in, p, segs, len);
	}
}
