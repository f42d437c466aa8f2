/* SPDX-License-Identifier: MIT */
/* The device's table: how it begins and ends, sleeps and counts. */
#include "pktdev/virtio/dev.h"

#include "core/log.h"
#include "ether/ether.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The wish for each ring; the function may have less. A received frame pins DEMI_VIRTIO_RX_BYTES. */
#define ENTRIES 256
#define SEGS_MAX 17
#define ZC_MIN 1024
/* From so many descriptors on a packet of 64 KiB can always be sent, also if all of it has to be copied. */
#define WIDE (SEGS_MAX + 65536 / DEMI_VIRTIO_SLOT_BYTES + 1)
#define GSO_SEGS 64
#define BIT(feature) (1ULL << (feature))

/* What the kernel may negotiate here. */
#define FEATURES                                                                                                       \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |                          \
	 BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |                    \
	 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_MRG_RXBUF) |                    \
	 BIT(VIRTIO_F_RING_PACKED))

int demi_virtio_gone(struct demi_virtio_dev *vd)
{
	if (!vd->gone)
		demi_warn("virtio: the device is gone: it was taken away, or is broken (see the kernel's log)");
	vd->gone = true;
	return -ENODEV;
}

int demi_virtio_check(struct demi_virtio_dev *vd)
{
	/* what a scratch page says there is what was last written to some ring: no features */
	if (__atomic_load_n(&vd->shared->features, __ATOMIC_RELAXED) == vd->features &&
	    !(__atomic_load_n(&vd->shared->status, __ATOMIC_RELAXED) & DEMI_VIRTIO_BROKEN))
		return 0;
	return demi_virtio_gone(vd);
}

/* ---- sleeping ---- */

static void acknowledge(struct demi_virtio_dev *vd)
{
	__atomic_store_n(&vd->shared->seen, __atomic_load_n(&vd->shared->events, __ATOMIC_ACQUIRE), __ATOMIC_RELAXED);
}

static int virtio_arm(struct demi_pktdev *d)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);

	if (vd->gone)
		return -ENODEV;
	acknowledge(vd);
	demi_vring_arm(&vd->rx);
	if (vd->free_count != vd->tx.entries)
		demi_vring_arm(&vd->tx);
	demi_full_barrier();
	return demi_virtio_check(vd);
}

static void virtio_disarm(struct demi_pktdev *d)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);

	demi_vring_quiet(&vd->rx);
	demi_vring_quiet(&vd->tx);
	acknowledge(vd);
}

static void virtio_stats(struct demi_pktdev *d, struct demi_pktdev_stats *s)
{
	*s = demi_virtio_dev(d)->stats;
}

/* ---- beginning and end ---- */

/* The context keeps the device: another thread's queue may be of the same one. Fails while there is one. */
static void release(struct demi_virtio_dev *vd)
{
	struct demi_device_bind bind = { .size = sizeof(bind),
					 .flags = DEMI_DEVICE_BIND_F_RELEASE,
					 .device_id = vd->device_id };

	(void)demi_kdev_call(vd->mem->fd, DEMI_DEVICE_BIND, &bind);
}

/* The buffers are there: from now on frames come to this pair, too. */
static int receive(struct demi_virtio_dev *vd)
{
	struct demi_queue_kick arg = { .size = sizeof(arg) };

	return demi_kdev_call(vd->fd, DEMI_QUEUE_KICK, &arg);
}

static void queue_close(struct demi_virtio_dev *vd)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };

	(void)demi_kdev_call(vd->fd, DEMI_QUEUE_SHUTDOWN, &arg);
	munmap(vd->map, vd->map_bytes);
	close(vd->fd);
	release(vd);
}

static void virtio_destroy(struct demi_pktdev *d)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);

	queue_close(vd);
	demi_virtio_share_leave(vd);
	demi_virtio_rx_destroy(vd);
	demi_virtio_tx_destroy(vd);
	demi_ring_mem_put(vd->mem);
	free(vd);
}

static struct demi_pktdev_ops virtio_ops = {
	.name = "virtio",
	.abi = DEMI_PKTDEV_ABI,
	.rx = demi_virtio_rx,
	.tx = demi_virtio_tx,
	.tx_done = demi_virtio_tx_done,
	.kick = demi_virtio_kick,
	.arm = virtio_arm,
	.disarm = virtio_disarm,
	.stats = virtio_stats,
	.destroy = virtio_destroy,
};

/* Of a function that has several pairs. */
static struct demi_pktdev_ops shared_ops;

static void fill_ops(void)
{
	demi_pktdev_ops_fill(&virtio_ops);
	shared_ops = virtio_ops;
	shared_ops.rx = demi_virtio_share_rx;
}

static int queue_map(struct demi_virtio_dev *vd, const struct demi_queue_create *c)
{
	bool event_idx, packed;
	int ret;

	if (c->mmap_bytes < 4096 || c->mmap_bytes > UINT32_MAX)
		return -EPROTO;
	vd->fd = c->fd;
	vd->map_bytes = c->mmap_bytes;
	vd->map = mmap(NULL, vd->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vd->fd, 0);
	if (vd->map == MAP_FAILED)
		return -errno;
	vd->shared = (struct demi_virtio_queue *)vd->map;
	vd->features = vd->shared->features;
	vd->merges = demi_virtio_has(vd, VIRTIO_NET_F_MRG_RXBUF);
	vd->rx_described = demi_virtio_has(vd, VIRTIO_NET_F_GUEST_CSUM);
	packed = demi_virtio_has(vd, VIRTIO_F_RING_PACKED);
	event_idx = demi_virtio_has(vd, VIRTIO_RING_F_EVENT_IDX);
	ret = demi_vring_init(&vd->rx, vd->map, vd->map_bytes, &vd->shared->rx, packed, event_idx);
	if (!ret)
		ret = demi_vring_init(&vd->tx, vd->map, vd->map_bytes, &vd->shared->tx, packed, event_idx);
	if (ret)
		munmap(vd->map, vd->map_bytes);
	return ret;
}

static int queue_open(struct demi_virtio_dev *vd, uint64_t features)
{
	struct demi_queue_create c = { .size = sizeof(c),
				       .device_id = vd->device_id,
				       .kind = DEMI_QUEUE_DEVICE,
				       .rx_fill_entries = ENTRIES,
				       .rx_entries = ENTRIES,
				       .tx_entries = ENTRIES,
				       .tx_done_entries = ENTRIES,
				       .features = features };
	struct demi_device_bind bind = { .size = sizeof(bind), .device_id = vd->device_id };
	int ret = demi_kdev_call(vd->mem->fd, DEMI_DEVICE_BIND, &bind);

	if (ret)
		return ret;
	ret = demi_kdev_call(vd->mem->fd, DEMI_QUEUE_CREATE, &c);
	if (!ret) {
		ret = queue_map(vd, &c);
		if (ret)
			close(c.fd);
	}
	if (ret)
		release(vd);
	return ret;
}

/* Packed rings are those of one pair: the kernel cannot change the number of pairs then. */
static int pair_open(struct demi_virtio_dev *vd, uint32_t pairs, struct demi_ctx *ctx)
{
	uint32_t wanted = demi_config.virtio_pairs;
	int err;

	if (pairs < 2)
		return queue_open(vd, FEATURES);
	err = demi_virtio_share_join(vd, ctx, wanted < pairs ? wanted : pairs);
	if (err)
		return err;
	err = queue_open(vd, wanted < 2 ? FEATURES : FEATURES & ~BIT(VIRTIO_F_RING_PACKED));
	if (err)
		demi_virtio_share_leave(vd);
	return err;
}

/* The first function that this process may have and that has a pair free. */
static int device_open(struct demi_virtio_dev *vd, struct demi_ctx *ctx)
{
	struct demi_device_info info;
	uint32_t *ids, n, i;
	int ret = demi_kdev_ids(vd->mem->fd, DEMI_DEVICE_LIST, &ids, &n), err = -ENODEV;

	if (ret)
		return ret;
	for (i = 0; i < n && err; i++) {
		if (demi_kdev_device_info(vd->mem->fd, ids[i], &info) || info.kind != DEMI_DEVICE_VIRTIO_NET)
			continue;
		vd->device_id = ids[i];
		err = pair_open(vd, info.queues_max, ctx);
		if (err)
			demi_log(DEMI_LOG_INFO, "virtio: %.*s: %s", DEMI_NAME_MAX, info.name, strerror(-err));
	}
	free(ids);
	if (err == -ENODEV)
		demi_warn("virtio: no function that this user may have: as root, demictl device bind FUNCTION --owner "
			  "USER");
	else if (err)
		demi_warn("virtio: no function that can be had: %s", strerror(-err));
	return err;
}

/* The longest packets each way, and what the device does for them. */
static void set_head(struct demi_virtio_dev *vd, struct demi_ctx *ctx)
{
	uint32_t mtu = vd->shared->mtu_bytes, most = DEMI_VIRTIO_RX_LEN - DEMI_VIRTIO_HDR_BYTES - DEMI_ETHER_HLEN;
	bool wide = vd->tx.entries >= WIDE;

	vd->tx_bytes_max = wide ? DEMI_VIRTIO_HDR_BYTES + DEMI_ETHER_HLEN + UINT16_MAX : DEMI_VIRTIO_SLOT_BYTES;
	if (vd->merges && wide)
		most = UINT16_MAX;
	vd->dev = (struct demi_pktdev){ .ops = vd->share ? &shared_ops : &virtio_ops,
					.ports = vd->dev.ports,
					.ports_me = vd->dev.ports_me,
					.ctx = ctx,
					.mtu_bytes = mtu < most ? mtu : most,
					.gso_max_segs = GSO_SEGS,
					.tx_segs_max = vd->tx.entries < SEGS_MAX ? vd->tx.entries : SEGS_MAX,
					.zc_min_bytes = ZC_MIN,
					.tx_headroom_bytes = DEMI_VIRTIO_HDR_BYTES,
					.rx_buf_bytes = DEMI_VIRTIO_RX_BYTES,
					.wake_fd = vd->fd };
	memcpy(vd->dev.mac, vd->shared->mac, sizeof(vd->dev.mac));
	if (demi_virtio_has(vd, VIRTIO_NET_F_CSUM))
		vd->dev.caps |= DEMI_PKTDEV_C_TX_CSUM;
	if (!wide || !demi_virtio_has(vd, VIRTIO_NET_F_HOST_ECN)) /* the stack marks some packets */
		return;
	if (demi_virtio_has(vd, VIRTIO_NET_F_HOST_TSO4))
		vd->dev.caps |= DEMI_PKTDEV_C_TX_TSO4;
	if (demi_virtio_has(vd, VIRTIO_NET_F_HOST_TSO6))
		vd->dev.caps |= DEMI_PKTDEV_C_TX_TSO6;
	if (vd->dev.caps & (DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6))
		vd->dev.gso_max_bytes = UINT16_MAX;
}

int demi_virtio_open(struct demi_ctx *ctx, struct demi_pktdev **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct demi_virtio_dev *vd = calloc(1, sizeof(*vd));
	int ret;

	if (!vd)
		return -ENOMEM;
	pthread_once(&once, fill_ops);
	ret = demi_ring_mem_get(&vd->mem);
	if (ret)
		goto err_free;
	ret = device_open(vd, ctx);
	if (ret)
		goto err_mem;
	set_head(vd, ctx);
	ret = demi_virtio_tx_init(vd);
	if (ret)
		goto err_queue;
	ret = demi_virtio_rx_init(vd);
	if (ret)
		goto err_tx;
	ret = vd->share ? receive(vd) : 0;
	if (ret)
		goto err_rx;
	*out = &vd->dev;
	return 0;

err_rx:
	queue_close(vd);
	demi_virtio_rx_destroy(vd);
	demi_virtio_tx_destroy(vd);
	goto err_share;
err_tx:
	queue_close(vd);
	demi_virtio_tx_destroy(vd);
	goto err_share;
err_queue:
	queue_close(vd);
err_share:
	demi_virtio_share_leave(vd);
err_mem:
	demi_ring_mem_put(vd->mem);
err_free:
	free(vd);
	return ret;
}
