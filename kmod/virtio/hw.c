// SPDX-License-Identifier: GPL-2.0
/* The function: reset, negotiation, virtqueues, interrupts. Everything it answers may be wrong. */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>

#include "net.h"

/* A reset takes as long as the device wants (3.1.1): so long is too long. */
#define DEMI_VNET_RESET_MS	5000

/* ---- reset --------------------------------------------------------------------------------- */

int demi_vnet_reset(struct demi_vnet *vn)
{
	int ms;

	vp_modern_set_status(&vn->mdev, 0);
	for (ms = 0; vp_modern_get_status(&vn->mdev); ms++) {
		if (ms == DEMI_VNET_RESET_MS || !pci_device_is_present(vn->pdev))
			return -EIO;
		usleep_range(1000, 2000);
	}
	return 0;
}

void demi_vnet_reset_function(struct demi_vnet *vn)
{
	/* who binds or unbinds the driver now resets it */
	pci_try_reset_function(vn->pdev);
	demi_vnet_reset(vn);
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void demi_vnet_wake(struct demi_vnet *vn, struct demi_queue *q)
{
	struct demi_virtio_queue *shared = q->ring_mem;

	WRITE_ONCE(shared->events, atomic_inc_return(&vn->events));
	wake_up_interruptible_poll(&q->wait, EPOLLIN | EPOLLRDNORM);
}

static irqreturn_t demi_vnet_queue_irq(int irq, void *data)
{
	struct demi_queue *q = data;

	demi_vnet_wake(q->priv, q);
	return IRQ_HANDLED;
}

static irqreturn_t demi_vnet_config_irq(int irq, void *data)
{
	struct demi_queue *q = data;
	struct demi_vnet *vn = q->priv;
	struct demi_virtio_queue *shared = q->ring_mem;

	if (!(vp_modern_get_status(&vn->mdev) & VIRTIO_CONFIG_S_NEEDS_RESET))
		return IRQ_HANDLED;
	dev_warn_ratelimited(&vn->pdev->dev, "queue %u: the device stopped\n", q->id);
	WRITE_ONCE(shared->status, DEMI_VIRTIO_BROKEN);
	demi_vnet_wake(vn, q);
	return IRQ_HANDLED;
}

static int demi_vnet_request_irqs(struct demi_vnet *vn, struct demi_queue *q)
{
	int config = pci_irq_vector(vn->pdev, DEMI_VNET_VECTOR_CONFIG);
	int err;

	err = request_irq(config, demi_vnet_config_irq, 0, vn->dev.name, q);
	if (err)
		return err;
	err = request_irq(pci_irq_vector(vn->pdev, DEMI_VNET_VECTOR_QUEUE), demi_vnet_queue_irq, 0,
			  vn->dev.name, q);
	if (err)
		free_irq(config, q);
	return err;
}

static void demi_vnet_free_irqs(struct demi_vnet *vn, struct demi_queue *q)
{
	free_irq(pci_irq_vector(vn->pdev, DEMI_VNET_VECTOR_QUEUE), q);
	free_irq(pci_irq_vector(vn->pdev, DEMI_VNET_VECTOR_CONFIG), q);
}

/* ---- start --------------------------------------------------------------------------------- */

static int demi_vnet_negotiate(struct demi_vnet *vn, u64 features)
{
	struct virtio_pci_modern_device *mdev = &vn->mdev;
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	vp_modern_set_status(mdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vp_modern_set_status(mdev, status);
	vp_modern_set_features(mdev, features);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	vp_modern_set_status(mdev, status);
	if (vp_modern_get_status(mdev) != status)
		return -EIO;
	if (vp_modern_config_vector(mdev, DEMI_VNET_VECTOR_CONFIG) != DEMI_VNET_VECTOR_CONFIG)
		return -EIO;
	return 0;
}

static int demi_vnet_set_ring(struct demi_vnet *vn, u16 index, const struct demi_virtio_ring *r)
{
	struct virtio_pci_modern_device *mdev = &vn->mdev;

	if (vp_modern_get_queue_enable(mdev, index))
		return -EIO;
	vp_modern_set_queue_size(mdev, index, r->entries);
	vp_modern_queue_address(mdev, index, DEMI_IOMMU_RINGS + r->desc,
				DEMI_IOMMU_RINGS + r->avail, DEMI_IOMMU_RINGS + r->used);
	if (vp_modern_queue_vector(mdev, index, DEMI_VNET_VECTOR_QUEUE) != DEMI_VNET_VECTOR_QUEUE)
		return -EIO;
	vp_modern_set_queue_enable(mdev, index, true);
	return 0;
}

/* 5.1.4 */
static void demi_vnet_read_config(struct demi_vnet *vn, struct demi_virtio_queue *shared)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;
	int i;

	if (!(vn->features & BIT_ULL(VIRTIO_NET_F_MAC)))
		return;
	for (i = 0; i < ETH_ALEN; i++)
		shared->mac[i] = ioread8(&config->mac[i]);
}

/* All that is mapped up to @end: there is no hole in it. */
static void demi_vnet_unmap_rings(struct demi_vnet *vn, u32 end)
{
	if (end > PAGE_SIZE)
		demi_iommu_unmap_rings(&vn->iommu, DEMI_IOMMU_RINGS + PAGE_SIZE, end - PAGE_SIZE);
}

/*
 * What the device only reads is mapped so: descriptors and available rings; of packed rings it
 * writes to the descriptors. The page before them is no business of its.
 */
static int demi_vnet_map_rings(struct demi_vnet *vn, struct demi_queue *q,
			       const struct demi_vnet_layout *l)
{
	const struct demi_virtio_ring *rx = &l->ring[DEMI_VNET_RX], *tx = &l->ring[DEMI_VNET_TX];
	const int desc = l->features & BIT_ULL(VIRTIO_F_RING_PACKED) ?
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

		err = demi_iommu_map_rings(&vn->iommu, DEMI_IOMMU_RINGS + at, q->ring_mem + at,
					   parts[i].end - at, parts[i].prot);
		if (err) {
			demi_vnet_unmap_rings(vn, at);
			return err;
		}
	}
	return 0;
}

int demi_vnet_start(struct demi_vnet *vn, struct demi_queue *q, const struct demi_vnet_layout *l)
{
	struct demi_virtio_queue *shared = q->ring_mem;
	int err, i;

	lockdep_assert_held(&vn->lock);
	atomic_set(&vn->events, 0);
	shared->features = l->features;
	shared->rx = l->ring[DEMI_VNET_RX];
	shared->tx = l->ring[DEMI_VNET_TX];
	shared->mtu_bytes = vn->dev.mtu_bytes;
	err = demi_vnet_map_rings(vn, q, l);
	if (err)
		return err;
	err = demi_vnet_request_irqs(vn, q);
	if (err)
		goto err_unmap;
	err = demi_vnet_reset(vn);
	if (err)
		goto err_irqs;
	pci_set_master(vn->pdev);
	err = demi_vnet_negotiate(vn, l->features);
	for (i = 0; i < DEMI_VNET_RINGS && !err; i++)
		err = demi_vnet_set_ring(vn, i, &l->ring[i]);
	if (err)
		goto err_reset;
	demi_vnet_read_config(vn, shared);
	vp_modern_set_status(&vn->mdev,
			     vp_modern_get_status(&vn->mdev) | VIRTIO_CONFIG_S_DRIVER_OK);
	vn->queue = q;
	return 0;

err_reset:
	demi_vnet_reset(vn);
	pci_clear_master(vn->pdev);
err_irqs:
	demi_vnet_free_irqs(vn, q);
err_unmap:
	demi_vnet_unmap_rings(vn, q->ring_bytes);
	return err;
}

void demi_vnet_stop(struct demi_vnet *vn)
{
	struct demi_queue *q = vn->queue;

	lockdep_assert_held(&vn->lock);
	if (!q)
		return;
	/* one that does not answer is kept from memory all the same */
	demi_vnet_reset(vn);
	pci_clear_master(vn->pdev);
	demi_vnet_free_irqs(vn, q);
	demi_vnet_unmap_rings(vn, q->ring_bytes);
	vn->queue = NULL;
}
