// SPDX-License-Identifier: GPL-2.0
/* The function: reset, negotiation, virtqueues. Everything it answers may be wrong. */
#include <linux/delay.h>
#include <linux/pci.h>
#include <linux/virtio_config.h>
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

/* vp_modern_set_queue_reset() would wait for a device that is gone. */
int demi_vnet_reset_ring(struct demi_vnet *vn, u16 index)
{
	struct virtio_pci_common_cfg __iomem *common = vn->mdev.common;
	/* queue_notify_data and queue_reset, which not every kernel's header has */
	__le16 __iomem *reset = (__le16 __iomem *)(common + 1) + 1;
	int ms;

	vp_iowrite16(index, &common->queue_select);
	vp_iowrite16(1, reset);
	for (ms = 0; vp_ioread16(reset) || vp_ioread16(&common->queue_enable); ms++) {
		if (ms == DEMI_VNET_RESET_MS || !pci_device_is_present(vn->pdev))
			return -EIO;
		usleep_range(1000, 2000);
	}
	return 0;
}

/* ---- start --------------------------------------------------------------------------------- */

int demi_vnet_negotiate(struct demi_vnet *vn, u64 features)
{
	struct virtio_pci_modern_device *mdev = &vn->mdev;
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	vp_modern_set_status(mdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vp_modern_set_status(mdev, status);
	vp_modern_set_features(mdev, features);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	vp_modern_set_status(mdev, status);
	return vp_modern_get_status(mdev) == status ? 0 : -EIO;
}

int demi_vnet_set_ring(struct demi_vnet *vn, const struct demi_virtio_ring *r, u64 iova,
		       u16 vector)
{
	struct virtio_pci_modern_device *mdev = &vn->mdev;
	u16 index = r->index;

	if (vp_modern_get_queue_enable(mdev, index))
		return -EIO;
	vp_modern_set_queue_size(mdev, index, r->entries);
	vp_modern_queue_address(mdev, index, iova + r->desc, iova + r->avail, iova + r->used);
	if (vp_modern_queue_vector(mdev, index, vector) != vector)
		return -EIO;
	vp_modern_set_queue_enable(mdev, index, true);
	return 0;
}
