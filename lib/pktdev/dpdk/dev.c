/* SPDX-License-Identifier: MIT */
/* The device's table: how it begins, ends and counts. */
#include "pktdev/dpdk/dev.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_lcore.h>

const struct demi_pktdev_host *demi_dpdk_host;

static void dpdk_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);
	struct rte_eth_stats port;

	*s = dd->stats;
	if (rte_eth_stats_get(dd->port, &port))
		return;
	s->rx_dropped += port.imissed + port.rx_nombuf;
	s->rx_errors += port.ierrors;
	s->tx_dropped += port.oerrors;
}

/* EAL gives each thread that it knows caches of its own in the pools. */
static void thread_begin(struct demi_dpdk_dev *dd)
{
	if (rte_lcore_id() == LCORE_ID_ANY)
		dd->registered = !rte_thread_register();
}

static void thread_end(struct demi_dpdk_dev *dd)
{
	if (dd->registered)
		rte_thread_unregister();
}

static void dpdk_destroy(struct demi_pktdev *d)
{
	struct demi_dpdk_dev *dd = demi_dpdk_dev(d);

	demi_dpdk_send(dd);
	demi_dpdk_wake_destroy(dd);
	demi_dpdk_port_stop(dd);
	demi_dpdk_rx_destroy(dd);
	demi_dpdk_tx_destroy(dd);
	demi_dpdk_mem_destroy(dd);
	thread_end(dd);
	demi_dpdk_port_release(dd->port);
	if (dd->refs_flying) /* a stopped port that keeps what it was given: it will call ref_freed() one day */
		return;
	free(dd->refs);
	free(dd);
}

struct demi_pktdev_ops demi_dpdk_ops = {
	.name = "dpdk",
	.abi = DEMI_PKTDEV_ABI,
	.rx = demi_dpdk_rx,
	.tx = demi_dpdk_tx,
	.tx_done = demi_dpdk_tx_done,
	.kick = demi_dpdk_kick,
	.arm = demi_dpdk_arm,
	.disarm = demi_dpdk_disarm,
	.stats = dpdk_stats,
	.destroy = dpdk_destroy,
};

static int dpdk_open(const struct demi_pktdev_host *host, const struct demi_pktdev_settings *s, struct demi_ctx *ctx,
		     struct demi_pktdev **out)
{
	struct demi_dpdk_dev *dd;
	int ret;

	demi_dpdk_host = host; /* the same for all */
	ret = demi_dpdk_eal_start(s->args);
	if (ret)
		return ret;
	dd = calloc(1, sizeof(*dd));
	if (!dd)
		return -ENOMEM;
	dd->dev.ops = &demi_dpdk_ops;
	dd->dev.ctx = ctx;
	dd->burst = DEMI_DPDK_BURST_MIN;
	dd->dev.wake_fd = dd->timer_fd = dd->rx_epoll_fd = -1;
	ret = demi_dpdk_port_choose(s->port, &dd->port);
	if (ret)
		goto err_free;
	thread_begin(dd);
	ret = demi_dpdk_port_start(dd, s);
	if (ret)
		goto err_port;
	ret = demi_dpdk_wake_init(dd);
	if (ret && ret != -ENOTSUP)
		goto err_port;
	*out = &dd->dev;
	return 0;

err_port:
	demi_dpdk_port_stop(dd);
	demi_dpdk_mem_destroy(dd);
	thread_end(dd);
	demi_dpdk_port_release(dd->port);
	free(dd->refs);
err_free:
	free(dd);
	return ret;
}

extern const struct demi_pktdev_module demi_pktdev_module;
const struct demi_pktdev_module __attribute__((visibility("default"))) demi_pktdev_module = {
	.abi = DEMI_PKTDEV_ABI,
	.ops = &demi_dpdk_ops,
	.open = dpdk_open,
};
