// SPDX-License-Identifier: GPL-2.0
/* Owners and queues of a function. */
#include <linux/log2.h>
#include <linux/poll.h>
#include <linux/virtio_ring.h>

#include "net.h"

static struct demi_vnet *demi_vnet_of(struct demi_device *dev)
{
	return container_of(dev, struct demi_vnet, dev);
}

/* ---- owners -------------------------------------------------------------------------------- */

static int demi_vnet_bind(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_vnet *vn = demi_vnet_of(dev);
	int err;

	demi_vnet_reset_function(vn);
	mutex_lock(&vn->lock);
	err = demi_iommu_attach(&vn->iommu);
	mutex_unlock(&vn->lock);
	return err;
}

static void demi_vnet_release(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_vnet *vn = demi_vnet_of(dev);

	mutex_lock(&vn->lock);
	demi_iommu_detach(&vn->iommu);
	mutex_unlock(&vn->lock);
	demi_vnet_reset_function(vn);
}

static int demi_vnet_region_map(struct demi_device *dev, struct demi_ctx *ctx,
				struct demi_region *region)
{
	return demi_iommu_map_region(&demi_vnet_of(dev)->iommu, ctx, region);
}

static void demi_vnet_region_unmap(struct demi_device *dev, struct demi_region *region)
{
	demi_iommu_unmap_region(&demi_vnet_of(dev)->iommu, region);
}

/* ---- queues -------------------------------------------------------------------------------- */

u64 demi_vnet_choose(const struct demi_vnet *vn, u64 asked)
{
	u64 f = vn->features & (DEMI_VNET_NEEDED | DEMI_VNET_KNOWN | DEMI_VNET_OWN |
			      (DEMI_VNET_ASKED & asked));

	if (!(f & BIT_ULL(VIRTIO_NET_F_CSUM)))
		f &= ~DEMI_VNET_HOST_TSO;
	/* one whole packet of 64 KiB a buffer would be the other way */
	if (!(f & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)) || !(f & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF)))
		f &= ~DEMI_VNET_GUEST_TSO;
	if (!(f & (BIT_ULL(VIRTIO_NET_F_HOST_TSO4) | BIT_ULL(VIRTIO_NET_F_HOST_TSO6))))
		f &= ~BIT_ULL(VIRTIO_NET_F_HOST_ECN);
	if (!(f & (BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO6))))
		f &= ~BIT_ULL(VIRTIO_NET_F_GUEST_ECN);
	return f;
}

/*
 * 2.6, 2.7: descriptors of both kinds are 16 bytes each; split rings end with the other side's
 * event index, instead of which packed ones have a structure for events.
 */
static u32 demi_vnet_place(struct demi_virtio_ring *r, u16 entries, bool packed, u32 at)
{
	BUILD_BUG_ON(sizeof(struct vring_packed_desc) != sizeof(struct vring_desc));
	*r = (struct demi_virtio_ring){ .entries = entries };
	r->desc = at;
	at += PAGE_ALIGN(entries * sizeof(struct vring_desc));
	r->avail = at;
	if (packed) {
		r->used = at + PAGE_SIZE;
		return at + 2 * PAGE_SIZE;
	}
	at += PAGE_ALIGN(sizeof(struct vring_avail) + (entries + 1) * sizeof(__virtio16));
	r->used = at;
	return at + PAGE_ALIGN(sizeof(struct vring_used) +
			       entries * sizeof(struct vring_used_elem) + sizeof(__virtio16));
}

static void demi_vnet_lay_out(const struct demi_vnet *vn, const struct demi_queue_create *arg,
			      struct demi_vnet_layout *l)
{
	const u32 wish[DEMI_VNET_RINGS] = { arg->rx_entries, arg->tx_entries };
	bool packed;
	int i;

	BUILD_BUG_ON(sizeof(struct demi_virtio_queue) > PAGE_SIZE);
	l->features = demi_vnet_choose(vn, arg->features);
	packed = l->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	l->bytes = PAGE_SIZE;
	for (i = 0; i < DEMI_VNET_RINGS; i++)
		l->bytes = demi_vnet_place(&l->ring[i], min_t(u32, wish[i], vn->entries[i]), packed,
					   l->bytes);
}

/* The same for one of the pairs: which virtqueues, and where their doorbells are. */
static void demi_vnet_assign(const struct demi_vnet_pair *pair, struct demi_queue *q,
			     struct demi_vnet_layout *l)
{
	int i;

	for (i = 0; i < DEMI_VNET_RINGS; i++) {
		u16 index = pair->index * DEMI_VNET_RINGS + i;
		resource_size_t doorbell = pair->vn->doorbell[index];

		q->doors[i] = doorbell >> PAGE_SHIFT;
		l->ring[i].index = index;
		l->ring[i].doorbell = l->bytes + i * PAGE_SIZE + offset_in_page(doorbell);
	}
}

static int demi_vnet_queue_size(struct demi_device *dev, const struct demi_queue_create *arg,
				u32 *bytes, u32 *doors)
{
	struct demi_vnet_layout l;

	if (arg->kind != DEMI_QUEUE_DEVICE)
		return -EOPNOTSUPP;
	if (!arg->tx_entries || arg->rx_fill_entries != arg->rx_entries ||
	    arg->tx_done_entries != arg->tx_entries)
		return -EINVAL;
	demi_vnet_lay_out(demi_vnet_of(dev), arg, &l);
	*bytes = l.bytes;
	*doors = DEMI_VNET_RINGS;
	return 0;
}

/* It has no software ring: what its owner tells is that there are buffers. */
static int demi_vnet_kick(struct demi_queue *q, u32 *sent)
{
	struct demi_vnet_pair *pair = q->priv;
	int err = -ENODEV;

	mutex_lock(&pair->vn->lock);
	if (pair->q == q)
		err = demi_vnet_receive(pair);
	mutex_unlock(&pair->vn->lock);
	return err;
}

static void demi_vnet_quiesce(struct demi_queue *q)
{
	struct demi_vnet_pair *pair = q->priv;

	mutex_lock(&pair->vn->lock);
	if (pair->q == q)
		demi_vnet_stop_pair(pair);
	mutex_unlock(&pair->vn->lock);
}

static __poll_t demi_vnet_poll(const struct demi_queue *q)
{
	const struct demi_virtio_queue *shared = q->ring_mem;
	struct demi_vnet_pair *pair = q->priv;

	if (atomic_read(&pair->events) != READ_ONCE(shared->seen))
		return EPOLLIN | EPOLLRDNORM;
	return 0;
}

static const struct demi_queue_ops demi_vnet_queue_ops = {
	.kick = demi_vnet_kick,
	.quiesce = demi_vnet_quiesce,
	.poll = demi_vnet_poll,
};

/* A free one; -EBUSY: the end of the last ones may still be under way. */
static struct demi_vnet_pair *demi_vnet_free_pair(struct demi_vnet *vn)
{
	u32 i;

	for (i = 0; i < vn->npairs; i++)
		if (!vn->pairs[i].q)
			return &vn->pairs[i];
	return ERR_PTR(-EBUSY);
}

static int demi_vnet_create_locked(struct demi_vnet *vn, struct demi_queue *q,
				   struct demi_vnet_layout *l)
{
	struct demi_vnet_pair *pair = demi_vnet_free_pair(vn);

	if (IS_ERR(pair))
		return PTR_ERR(pair);
	if (vn->running && l->features != vn->running)
		return -EOPNOTSUPP;
	/* the number of pairs is the control queue's to set: net.h */
	if (vn->running && demi_vnet_has(vn->running, VIRTIO_F_RING_PACKED))
		return -EDQUOT;
	demi_vnet_assign(pair, q, l);
	return demi_vnet_start_pair(pair, q, l);
}

static int demi_vnet_queue_create(struct demi_device *dev, struct demi_queue *q,
				  const struct demi_queue_create *arg, struct demi_cmd *cmd)
{
	struct demi_vnet *vn = demi_vnet_of(dev);
	struct demi_vnet_layout l;
	int err;

	demi_vnet_lay_out(vn, arg, &l);
	mutex_lock(&vn->lock);
	err = demi_vnet_create_locked(vn, q, &l);
	mutex_unlock(&vn->lock);
	if (!err)
		q->ops = &demi_vnet_queue_ops;
	return err;
}

const struct demi_device_ops demi_vnet_ops = {
	.queue_size = demi_vnet_queue_size,
	.queue_create = demi_vnet_queue_create,
	.bind = demi_vnet_bind,
	.release = demi_vnet_release,
	.region_map = demi_vnet_region_map,
	.region_unmap = demi_vnet_region_unmap,
};
