// SPDX-License-Identifier: GPL-2.0
/*
 * Pairs of virtqueues. The first that gets a queue starts the function, the last one's end stops
 * it; those between come and go while it runs, as VIRTIO_F_RING_RESET allows.
 */
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "net.h"

u32 demi_vnet_pairs_used(const struct demi_vnet *vn)
{
	u32 i, n = 0;

	for (i = 0; i < vn->npairs; i++)
		n += !!vn->pairs[i].q;
	return n;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void demi_vnet_wake(struct demi_vnet_pair *pair, struct demi_queue *q)
{
	struct demi_virtio_queue *shared = q->ring_mem;

	WRITE_ONCE(shared->events, atomic_inc_return(&pair->events));
	wake_up_interruptible_poll(&q->wait, EPOLLIN | EPOLLRDNORM);
}

static irqreturn_t demi_vnet_pair_irq(int irq, void *data)
{
	struct demi_queue *q = data;

	demi_vnet_wake(q->priv, q);
	return IRQ_HANDLED;
}

/* Lock held, or in the configuration's interrupt, for which stop_pair waits. */
static void demi_vnet_tell_broken(struct demi_vnet *vn)
{
	u32 i;

	for (i = 0; i < vn->npairs; i++) {
		struct demi_queue *q = READ_ONCE(vn->pairs[i].q);
		struct demi_virtio_queue *shared;

		if (!q)
			continue;
		shared = q->ring_mem;
		WRITE_ONCE(shared->status, DEMI_VIRTIO_BROKEN);
		demi_vnet_wake(&vn->pairs[i], q);
	}
}

static bool demi_vnet_needs_reset(struct demi_vnet *vn)
{
	return vp_modern_get_status(&vn->mdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static irqreturn_t demi_vnet_config_irq(int irq, void *data)
{
	struct demi_vnet *vn = data;

	if (!demi_vnet_needs_reset(vn))
		return IRQ_HANDLED;
	dev_warn_ratelimited(&vn->pdev->dev, "the device stopped\n");
	demi_vnet_tell_broken(vn);
	return IRQ_HANDLED;
}

static int demi_vnet_irq_of_config(const struct demi_vnet *vn)
{
	return pci_irq_vector(vn->pdev, DEMI_VNET_VECTOR_CONFIG);
}

static int demi_vnet_irq_of_pair(const struct demi_vnet_pair *pair)
{
	return pci_irq_vector(pair->vn->pdev, DEMI_VNET_VECTOR_PAIR(pair->index));
}

/* ---- memory -------------------------------------------------------------------------------- */

/* All that is mapped up to @end: there is no hole in it. */
static void demi_vnet_unmap_rings(struct demi_vnet_pair *pair, u32 end)
{
	if (end > PAGE_SIZE)
		demi_iommu_unmap_rings(&pair->vn->iommu,
				       DEMI_VNET_IOVA_PAIR(pair->index) + PAGE_SIZE,
				       end - PAGE_SIZE);
}

/*
 * What the device only reads is mapped so: descriptors and available rings; of packed rings it
 * writes to the descriptors. The page before them is no business of its.
 */
static int demi_vnet_map_rings(struct demi_vnet_pair *pair, struct demi_queue *q,
			       const struct demi_vnet_layout *l)
{
	const struct demi_virtio_ring *rx = &l->ring[DEMI_VNET_RX], *tx = &l->ring[DEMI_VNET_TX];
	const int desc = demi_vnet_has(l->features, VIRTIO_F_RING_PACKED) ?
			 IOMMU_READ | IOMMU_WRITE : IOMMU_READ;
	const struct {
		u32 at, end;
		int prot;
	} parts[] = {
		{ rx->desc, rx->avail, desc },
		{ rx->avail, rx->used, IOMMU_READ },
		{ rx->used, tx->desc, IOMMU_READ | IOMMU_WRITE },
		{ tx->desc, tx->avail, desc },
		{ tx->avail, tx->used, IOMMU_READ },
		{ tx->used, l->bytes, IOMMU_READ | IOMMU_WRITE },
	};
	int err, i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		u32 at = parts[i].at;

		err = demi_iommu_map_rings(&pair->vn->iommu, DEMI_VNET_IOVA_PAIR(pair->index) + at,
					   q->ring_mem + at, parts[i].end - at, parts[i].prot);
		if (err) {
			demi_vnet_unmap_rings(pair, at);
			return err;
		}
	}
	return 0;
}

/* ---- start --------------------------------------------------------------------------------- */

/* 5.1.4 */
static void demi_vnet_describe(struct demi_vnet *vn, struct demi_virtio_queue *shared,
			       const struct demi_vnet_layout *l)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;
	int i;

	shared->features = l->features & ~DEMI_VNET_OWN;
	shared->rx = l->ring[DEMI_VNET_RX];
	shared->tx = l->ring[DEMI_VNET_TX];
	shared->mtu_bytes = vn->dev.mtu_bytes;
	if (!demi_vnet_has(vn->features, VIRTIO_NET_F_MAC))
		return;
	for (i = 0; i < ETH_ALEN; i++)
		shared->mac[i] = ioread8(&config->mac[i]);
}

static int demi_vnet_set_rings(struct demi_vnet_pair *pair, const struct demi_vnet_layout *l)
{
	int i, err = 0;

	for (i = 0; i < DEMI_VNET_RINGS && !err; i++)
		err = demi_vnet_set_ring(pair->vn, &l->ring[i], DEMI_VNET_IOVA_PAIR(pair->index),
					 DEMI_VNET_VECTOR_PAIR(pair->index));
	return err;
}

/* Commands before the owner has a ring that runs: his first one is empty yet. */
static int demi_vnet_set_up(struct demi_vnet *vn)
{
	int err = demi_vnet_ctl_filter(vn);

	if (demi_vnet_has(vn->running, VIRTIO_F_RING_PACKED))
		demi_vnet_ctl_unmap(vn);
	return err;
}

static void demi_vnet_power_off(struct demi_vnet *vn)
{
	/* one that does not answer is kept from memory all the same */
	demi_vnet_reset(vn);
	pci_clear_master(vn->pdev);
	free_irq(demi_vnet_irq_of_config(vn), vn);
	demi_vnet_ctl_unmap(vn);
	vn->running = 0;
	vn->broken = false;
}

static int demi_vnet_run(struct demi_vnet_pair *pair, const struct demi_vnet_layout *l)
{
	struct demi_vnet *vn = pair->vn;
	struct virtio_pci_modern_device *mdev = &vn->mdev;
	int err;

	err = demi_vnet_reset(vn);
	if (err)
		return err;
	pci_set_master(vn->pdev);
	err = demi_vnet_negotiate(vn, l->features);
	if (err)
		return err;
	if (vp_modern_config_vector(mdev, DEMI_VNET_VECTOR_CONFIG) != DEMI_VNET_VECTOR_CONFIG)
		return -EIO;
	err = demi_vnet_set_rings(pair, l);
	if (!err)
		err = demi_vnet_ctl_start(vn);
	if (err)
		return err;
	vp_modern_set_status(mdev, vp_modern_get_status(mdev) | VIRTIO_CONFIG_S_DRIVER_OK);
	return demi_vnet_set_up(vn);
}

static int demi_vnet_power_on(struct demi_vnet_pair *pair, const struct demi_vnet_layout *l)
{
	struct demi_vnet *vn = pair->vn;
	int err;

	err = request_irq(demi_vnet_irq_of_config(vn), demi_vnet_config_irq, 0, vn->dev.name, vn);
	if (err)
		return err;
	vn->running = l->features;
	err = demi_vnet_run(pair, l);
	if (err)
		demi_vnet_power_off(vn);
	return err;
}

/* Neither reads nor writes memory on return: the others' queues are told. */
static void demi_vnet_break(struct demi_vnet *vn)
{
	dev_warn_ratelimited(&vn->pdev->dev, "a virtqueue does not stop\n");
	demi_vnet_reset(vn);
	pci_clear_master(vn->pdev);
	vn->broken = true;
	demi_vnet_tell_broken(vn);
}

static void demi_vnet_reset_rings(struct demi_vnet_pair *pair)
{
	u16 first = pair->index * DEMI_VNET_RINGS;

	if (!pair->vn->broken && (demi_vnet_reset_ring(pair->vn, first + DEMI_VNET_RX) ||
				  demi_vnet_reset_ring(pair->vn, first + DEMI_VNET_TX)))
		demi_vnet_break(pair->vn);
}

/* One more for a function that runs. */
static int demi_vnet_add(struct demi_vnet_pair *pair, const struct demi_vnet_layout *l)
{
	struct demi_vnet *vn = pair->vn;
	int err = -EIO;

	if (!vn->broken && !demi_vnet_needs_reset(vn))
		err = demi_vnet_set_rings(pair, l);
	if (err)
		demi_vnet_reset_rings(pair);
	return err;
}

int demi_vnet_start_pair(struct demi_vnet_pair *pair, struct demi_queue *q,
			 const struct demi_vnet_layout *l)
{
	struct demi_vnet *vn = pair->vn;
	int err;

	lockdep_assert_held(&vn->lock);
	atomic_set(&pair->events, 0);
	demi_vnet_describe(vn, q->ring_mem, l);
	err = demi_vnet_map_rings(pair, q, l);
	if (err)
		return err;
	q->priv = pair;
	err = request_irq(demi_vnet_irq_of_pair(pair), demi_vnet_pair_irq, 0, vn->dev.name, q);
	if (err)
		goto err_unmap;
	WRITE_ONCE(pair->q, q);
	err = vn->running ? demi_vnet_add(pair, l) : demi_vnet_power_on(pair, l);
	if (err)
		goto err_irq;
	return 0;

err_irq:
	WRITE_ONCE(pair->q, NULL);
	if (vn->running)
		synchronize_irq(demi_vnet_irq_of_config(vn));
	free_irq(demi_vnet_irq_of_pair(pair), q);
err_unmap:
	demi_vnet_unmap_rings(pair, l->bytes);
	return err;
}

/*
 * Not before there are buffers. QEMU's RSS (7.2) over a tap keeps a frame for a pair that has none,
 * and all that is behind it in the tap's queue, until the owner of *another* pair, the one of that
 * queue's number, rings its doorbell; whose ring is full, so he does not.
 */
int demi_vnet_receive(struct demi_vnet_pair *pair)
{
	struct demi_vnet *vn = pair->vn;
	int err;

	lockdep_assert_held(&vn->lock);
	if (pair->receives || !demi_vnet_has(vn->running, VIRTIO_NET_F_MQ) ||
	    demi_vnet_has(vn->running, VIRTIO_F_RING_PACKED))
		return 0;
	if (vn->broken || demi_vnet_needs_reset(vn))
		return -EIO;
	pair->receives = true;
	err = demi_vnet_ctl_spread(vn);
	if (err)
		pair->receives = false;
	return err;
}

/* ---- end ----------------------------------------------------------------------------------- */

/* Without @pair: somebody has to receive, though he has not said that he can. */
static void demi_vnet_spread_without(struct demi_vnet_pair *pair)
{
	struct demi_vnet *vn = pair->vn;
	struct demi_vnet_pair *heir = NULL;
	u32 i;

	if (!pair->receives)
		return;
	pair->receives = false;
	for (i = 0; i < vn->npairs; i++) {
		if (vn->pairs[i].receives)
			break;
		if (vn->pairs[i].q && !heir)
			heir = &vn->pairs[i];
	}
	if (i == vn->npairs)
		heir->receives = true;
	/* whatever it answers: what is still meant for this pair is lost */
	if (!vn->broken)
		demi_vnet_ctl_spread(vn);
}

void demi_vnet_stop_pair(struct demi_vnet_pair *pair)
{
	struct demi_vnet *vn = pair->vn;
	struct demi_queue *q = pair->q;

	lockdep_assert_held(&vn->lock);
	WRITE_ONCE(pair->q, NULL);
	if (!demi_vnet_pairs_used(vn)) {
		demi_vnet_power_off(vn);
		pair->receives = false;
	} else {
		demi_vnet_spread_without(pair);
		demi_vnet_reset_rings(pair);
		synchronize_irq(demi_vnet_irq_of_config(vn));
	}
	free_irq(demi_vnet_irq_of_pair(pair), q);
	demi_vnet_unmap_rings(pair, q->ring_bytes);
}
