// SPDX-License-Identifier: GPL-2.0
/* The device "host": queues on the network that the host shares with everybody. */
#include <linux/module.h>

#include "../core/device.h"
#include "net.h"

static int demi_host_queue_create(struct demi_device *dev, struct demi_queue *q,
				  const struct demi_queue_create *arg, struct demi_cmd *cmd)
{
	switch (arg->kind) {
	case DEMI_QUEUE_FLOW:
		return demi_flow_queue_create(q);
	case DEMI_QUEUE_RAW:
		return demi_raw_create(q, arg->ifindex, cmd);
	case DEMI_QUEUE_CAPTURE:
		q->ops = &demi_capture_queue_ops;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static const struct demi_device_ops demi_host_ops = {
	.queue_create = demi_host_queue_create,
};

/* Not allocated: nothing to free. */
static void demi_host_destroy(struct demi_device *dev)
{
}

static struct demi_device demi_host = {
	.ops = &demi_host_ops,
	.kind = DEMI_DEVICE_HOST,
	.mtu_bytes = 65535,
	.offloads = DEMI_OFFLOAD_TX_CSUM | DEMI_OFFLOAD_TX_TSO4 | DEMI_OFFLOAD_TX_TSO6 |
		    DEMI_OFFLOAD_TX_USO | DEMI_OFFLOAD_RX_CSUM | DEMI_OFFLOAD_RX_GRO,
	.name = "host",
	.destroy = demi_host_destroy,
};

int demi_host_init(void)
{
	int err;

	err = demi_raw_init();
	if (err)
		return err;
	err = demi_device_register(&demi_host);
	if (err)
		demi_raw_exit();
	return err;
}

void demi_host_exit(void)
{
	demi_device_unregister(&demi_host);
	demi_raw_exit();
}
