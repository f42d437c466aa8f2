/* SPDX-License-Identifier: MIT */
/* The device's table: how it begins and ends, sleeps and counts. */
#include "pktdev/ring/dev.h"

#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Descriptors of each ring; less where memory to lock is short. A received one pins DEMI_RING_RX_BYTES. */
#define ENTRIES 512
#define ENTRIES_SMALL 256

/* One packet; the least that a kernel without virtio's GSO types takes. */
#define GSO_BYTES (65535 - 40 - 60)
#define GSO_SEGS 64

int demi_ring_gone(struct demi_ring_dev *rd)
{
	if (!rd->gone)
		demi_warn("ring: queue %u is gone: it was shut down, or the module's rings are broken", rd->q.id);
	rd->gone = true;
	return -ENODEV;
}

static void kick_now(struct demi_ring_dev *rd)
{
	int ret;

	rd->blocked = false;
	if (!demi_kring_wants_wakeup(&rd->q.tx))
		return;
	rd->dev.ctx->count.syscalls++;
	ret = demi_kqueue_kick(&rd->q);
	if (ret == -ENODEV)
		demi_ring_gone(rd);
	/* It stops where the socket's send buffer is full. */
	else if (ret || __atomic_load_n(rd->q.tx.consumer, __ATOMIC_RELAXED) != rd->q.tx.own)
		rd->blocked = true;
}

int demi_ring_kick(struct demi_pktdev *d)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);

	if (rd->q.tx.own != rd->published && !rd->gone) {
		demi_kring_publish(&rd->q.tx);
		rd->published = rd->q.tx.own;
		kick_now(rd);
	}
	return rd->gone ? -ENODEV : 0;
}

void demi_ring_kick_again(struct demi_ring_dev *rd)
{
	if (rd->blocked)
		kick_now(rd);
}

static void want_out(struct demi_ring_dev *rd, bool want)
{
	struct epoll_event ev = { .events = EPOLLIN | (want ? EPOLLOUT : 0), .data.fd = rd->q.fd };

	if (rd->want_out == want)
		return;
	/* the stack has added it: core/backend.h */
	if (!epoll_ctl(rd->dev.ctx->epoll_fd, EPOLL_CTL_MOD, rd->q.fd, &ev))
		rd->want_out = want;
}

static int ring_arm(struct demi_pktdev *d)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);

	/* A scratch page does not know this index, which is never written but by demi_ring_rx(). */
	if (!rd->gone && __atomic_load_n(rd->q.rx_fill.producer, __ATOMIC_RELAXED) != rd->q.rx_fill.own)
		demi_ring_gone(rd);
	if (rd->gone)
		return -ENODEV;
	demi_kring_arm(&rd->q.rx);
	if (rd->inflight)
		demi_kring_arm(&rd->q.tx_done);
	demi_ring_kick_again(rd);
	want_out(rd, rd->blocked);
	return 0;
}

static void ring_disarm(struct demi_pktdev *d)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);

	demi_kring_disarm(&rd->q.rx);
	demi_kring_disarm(&rd->q.tx_done);
	rd->retry = UINT8_MAX; /* EPOLLOUT may be what it woke for: the next poll kicks */
}

static void ring_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_queue_info info;

	*s = rd->stats;
	if (demi_kdev_queue_info(rd->q.fd, 0, &info))
		return;
	s->rx_dropped += info.counters.rx_no_buffer;
	s->rx_errors += info.counters.rx_error;
}

static void ring_destroy(struct demi_pktdev *d)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);

	demi_kqueue_close(&rd->q);
	demi_ring_ports_destroy(rd);
	demi_ring_rx_destroy(rd);
	demi_ring_tx_destroy(rd);
	demi_ring_mem_put(rd->mem);
	free(rd);
}

static struct demi_pktdev_ops ring_ops = {
	.name = "ring",
	.abi = DEMI_PKTDEV_ABI,
	.rx = demi_ring_rx,
	.tx = demi_ring_tx,
	.tx_done = demi_ring_tx_done,
	.kick = demi_ring_kick,
	.last = demi_ring_last,
	.last_rx = demi_ring_last_rx,
	.arm = ring_arm,
	.disarm = ring_disarm,
	.port_reserve = demi_ring_port_reserve,
	.port_release = demi_ring_port_release,
	.flow_add = demi_ring_flow_add,
	.flow_del = demi_ring_flow_del,
	.group = demi_ring_group,
	.route = demi_ring_route,
	.stats = ring_stats,
	.destroy = ring_destroy,
};

static void fill_ops(void)
{
	demi_pktdev_ops_fill(&ring_ops);
}

static uint32_t caps_of(const struct demi_ring_mem *m)
{
	uint64_t o = m->host.offloads;
	uint32_t caps = DEMI_PKTDEV_C_L3 | DEMI_PKTDEV_C_TX_IP_CSUM | DEMI_PKTDEV_C_TX_FRAG | DEMI_PKTDEV_C_RX_IP_OK;

	if (o & DEMI_OFFLOAD_TX_CSUM)
		caps |= DEMI_PKTDEV_C_TX_CSUM;
	if (!(m->info.features & DEMI_FEATURE_GSO))
		return caps;
	if (o & DEMI_OFFLOAD_TX_TSO4)
		caps |= DEMI_PKTDEV_C_TX_TSO4;
	if (o & DEMI_OFFLOAD_TX_TSO6)
		caps |= DEMI_PKTDEV_C_TX_TSO6;
	if (o & DEMI_OFFLOAD_TX_USO)
		caps |= DEMI_PKTDEV_C_TX_USO;
	return caps;
}

static int queue_create(struct demi_ring_dev *rd)
{
	const struct demi_ring_mem *m = rd->mem;
	uint32_t n = m->area_budget_bytes == UINT64_MAX ? ENTRIES : ENTRIES_SMALL;
	struct demi_queue_create c = { .device_id = m->host.device_id, .kind = DEMI_QUEUE_FLOW };

	if (n > m->info.ring_entries_max)
		n = m->info.ring_entries_max;
	c.rx_fill_entries = c.rx_entries = c.tx_entries = c.tx_done_entries = n;
	return demi_kqueue_create(&rd->q, m->fd, &c);
}

int demi_ring_open(struct demi_ctx *ctx, struct demi_pktdev **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct demi_ring_dev *rd = calloc(1, sizeof(*rd));
	int ret;

	if (!rd)
		return -ENOMEM;
	pthread_once(&once, fill_ops);
	ret = demi_ring_mem_get(&rd->mem);
	if (ret)
		goto err_free;
	ret = queue_create(rd);
	if (ret)
		goto err_mem;
	ret = demi_ring_rx_init(rd);
	if (ret)
		goto err_queue;
	ret = demi_ring_tx_init(rd);
	if (ret)
		goto err_rx;
	rd->dev = (struct demi_pktdev){ .ops = &ring_ops,
					.ctx = ctx,
					.caps = caps_of(rd->mem),
					.mtu_bytes = rd->mem->host.mtu_bytes,
					.gso_max_segs = GSO_SEGS,
					.tx_segs_max = DEMI_RING_SEGS_MAX,
					.zc_min_bytes = DEMI_RING_REF_MIN,
					.rx_buf_bytes = DEMI_RING_RX_BYTES,
					.wake_fd = rd->q.fd };
	if (rd->dev.caps & (DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6 | DEMI_PKTDEV_C_TX_USO))
		rd->dev.gso_max_bytes = GSO_BYTES;
	*out = &rd->dev;
	return 0;

err_rx:
	demi_kqueue_close(&rd->q);
	demi_ring_rx_destroy(rd);
	goto err_mem;
err_queue:
	demi_kqueue_close(&rd->q);
err_mem:
	demi_ring_mem_put(rd->mem);
err_free:
	free(rd);
	return ret;
}
