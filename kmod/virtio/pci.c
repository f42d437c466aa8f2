// SPDX-License-Identifier: GPL-2.0
/*
 * Taking functions over and giving them back. There is no table of ids: a function comes here only
 * when its driver_override says so.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "../core/bar.h"
#include "net.h"

/* 5.1.4.1: without VIRTIO_NET_F_MTU there is none but Ethernet's own */
#define DEMI_VNET_MTU	1500

/* ---- doorbells ----------------------------------------------------------------------------- */

/* Does a page of the function's registers hold what a capability of virtio's names? 4.1.4 */
static bool demi_vnet_page_has_caps(struct pci_dev *pdev, resource_size_t page)
{
	u32 offset, length;
	u8 pos, type, bar;

	for (pos = pci_find_capability(pdev, PCI_CAP_ID_VNDR); pos;
	     pos = pci_find_next_capability(pdev, pos, PCI_CAP_ID_VNDR)) {
		pci_read_config_byte(pdev, pos + offsetof(struct virtio_pci_cap, cfg_type), &type);
		pci_read_config_byte(pdev, pos + offsetof(struct virtio_pci_cap, bar), &bar);
		pci_read_config_dword(pdev, pos + offsetof(struct virtio_pci_cap, offset), &offset);
		pci_read_config_dword(pdev, pos + offsetof(struct virtio_pci_cap, length), &length);
		if (type == VIRTIO_PCI_CAP_NOTIFY_CFG || type == VIRTIO_PCI_CAP_PCI_CFG ||
		    bar >= PCI_STD_NUM_BARS)
			continue;
		if (demi_bar_overlap(page, PAGE_SIZE, pci_resource_start(pdev, bar) + offset,
				     length))
			return true;
	}
	return false;
}

/* The doorbell's page will be the owner's: it must hold nothing else. */
static int demi_vnet_find_doorbell(struct demi_vnet *vn, u16 index)
{
	struct pci_dev *pdev = vn->pdev;
	resource_size_t page;
	void __iomem *mapped;

	mapped = vp_modern_map_vq_notify(&vn->mdev, index, &vn->doorbell[index]);
	if (!mapped)
		return -EIO;
	/* nobody here rings it */
	if (!vn->mdev.notify_base)
		pci_iounmap(pdev, mapped);
	page = vn->doorbell[index] & PAGE_MASK;
	if (!demi_bar_page_is_free(pdev, page) || demi_vnet_page_has_caps(pdev, page)) {
		dev_err(&pdev->dev, "doorbell %u shares its page with other registers\n", index);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* ---- what it offers ------------------------------------------------------------------------ */

/* 5.1.4: how many pairs it can have. */
static u32 demi_vnet_offered_pairs(struct demi_vnet *vn)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;

	return vp_ioread16((__le16 __iomem *)&config->max_virtqueue_pairs);
}

/* 5.1.4: can RSS be set up as ctl.c does it? */
static bool demi_vnet_rss_fits(struct demi_vnet *vn)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;

	return vn->mdev.device_len >= offsetofend(struct virtio_net_config, supported_hash_types) &&
	       vp_ioread8((u8 __iomem *)&config->rss_max_key_size) >= sizeof(vn->ctl.key) &&
	       vp_ioread16((__le16 __iomem *)&config->rss_max_indirection_table_length) >=
		       DEMI_VNET_RSS_ENTRIES;
}

/*
 * Of the control queue and what it is for, what can be used: several pairs only if one can be taken
 * back while others run.
 */
static u64 demi_vnet_usable(struct demi_vnet *vn, u64 f)
{
	if (!demi_vnet_has(f, VIRTIO_NET_F_CTRL_VQ))
		return f & ~DEMI_VNET_OWN;
	if (!demi_vnet_has(f, VIRTIO_F_RING_RESET) || !demi_vnet_has(f, VIRTIO_NET_F_MQ) ||
	    demi_vnet_offered_pairs(vn) < 2)
		f &= ~(BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_RSS) |
		       BIT_ULL(VIRTIO_F_RING_RESET));
	if (demi_vnet_has(f, VIRTIO_NET_F_RSS) && !demi_vnet_rss_fits(vn))
		f &= ~BIT_ULL(VIRTIO_NET_F_RSS);
	return f;
}

static int demi_vnet_find_features(struct demi_vnet *vn)
{
	u64 offered = vp_modern_get_features(&vn->mdev);

	if ((offered & DEMI_VNET_NEEDED) != DEMI_VNET_NEEDED) {
		dev_err(&vn->pdev->dev,
			"offers no VIRTIO_F_ACCESS_PLATFORM: it would go around the IOMMU\n");
		return -EOPNOTSUPP;
	}
	vn->features = demi_vnet_usable(vn, offered & (DEMI_VNET_NEEDED | DEMI_VNET_KNOWN |
						       DEMI_VNET_ASKED | DEMI_VNET_OWN));
	return 0;
}

static u32 demi_vnet_mtu(struct demi_vnet *vn)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;

	if (!(vn->features & BIT_ULL(VIRTIO_NET_F_MTU)))
		return DEMI_VNET_MTU;
	return vp_ioread16((const __le16 __iomem *)&config->mtu);
}

static int demi_vnet_find_ring(struct demi_vnet *vn, u16 index)
{
	u16 entries = vp_modern_get_queue_size(&vn->mdev, index);
	u16 *most = &vn->entries[index % DEMI_VNET_RINGS];

	if (entries < DEMI_RING_ENTRIES_MIN)
		return -EOPNOTSUPP;
	/* 2.6: of a split ring a power of two */
	entries = min_t(u32, rounddown_pow_of_two(entries), DEMI_RING_ENTRIES_MAX);
	if (!*most || entries < *most)
		*most = entries;
	return demi_vnet_find_doorbell(vn, index);
}

/* Of each pair, once the features say which there are: 5.1.2. As many as there are vectors for. */
static int demi_vnet_find_rings(struct demi_vnet *vn)
{
	int vectors = pci_msix_vec_count(vn->pdev);
	u32 pairs = 1, i;
	int err;

	if (vectors <= DEMI_VNET_VECTOR_PAIR(0))
		return -EOPNOTSUPP;
	if (demi_vnet_has(vn->features, VIRTIO_NET_F_MQ))
		pairs = demi_vnet_offered_pairs(vn);
	vn->ctl.index = pairs * DEMI_VNET_RINGS;
	vn->npairs = min3(pairs, (u32)vectors - DEMI_VNET_VECTOR_PAIR(0), DEMI_VNET_PAIRS_MAX);
	if (vp_modern_get_num_queues(&vn->mdev) < vn->npairs * DEMI_VNET_RINGS)
		return -EOPNOTSUPP;
	for (i = 0; i < vn->npairs * DEMI_VNET_RINGS; i++) {
		err = demi_vnet_find_ring(vn, i);
		if (err)
			return err;
	}
	for (i = 0; i < vn->npairs; i++)
		vn->pairs[i] = (struct demi_vnet_pair){ .vn = vn, .index = i };
	return 0;
}

static int demi_vnet_examine(struct demi_vnet *vn)
{
	int err;

	if (vn->mdev.id.device != VIRTIO_ID_NET || !vn->mdev.device ||
	    vn->mdev.device_len < offsetofend(struct virtio_net_config, mtu))
		return -ENODEV;
	err = demi_vnet_reset(vn);
	if (!err)
		err = demi_vnet_find_features(vn);
	if (!err)
		err = demi_vnet_negotiate(vn, vn->features);
	if (!err)
		err = demi_vnet_find_rings(vn);
	if (!err)
		err = demi_vnet_ctl_alloc(vn);
	if (demi_vnet_reset(vn) && !err) {
		demi_vnet_ctl_free(vn);
		err = -EIO;
	}
	return err;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void demi_vnet_destroy(struct demi_device *dev)
{
	struct demi_vnet *vn = container_of(dev, struct demi_vnet, dev);

	mutex_destroy(&vn->lock);
	kfree(vn);
}

static u64 demi_vnet_offloads(u64 features)
{
	static const struct {
		u64 feature, offload;
	} pairs[] = {
		{ BIT_ULL(VIRTIO_NET_F_CSUM), DEMI_OFFLOAD_TX_CSUM },
		{ BIT_ULL(VIRTIO_NET_F_HOST_TSO4), DEMI_OFFLOAD_TX_TSO4 },
		{ BIT_ULL(VIRTIO_NET_F_HOST_TSO6), DEMI_OFFLOAD_TX_TSO6 },
		{ BIT_ULL(VIRTIO_NET_F_GUEST_CSUM), DEMI_OFFLOAD_RX_CSUM },
		{ BIT_ULL(VIRTIO_NET_F_GUEST_TSO4), DEMI_OFFLOAD_RX_GRO },
	};
	u64 offloads = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		if (features & pairs[i].feature)
			offloads |= pairs[i].offload;
	return offloads;
}

static void demi_vnet_describe(struct demi_vnet *vn)
{
	vn->dev.ops = &demi_vnet_ops;
	vn->dev.owner = THIS_MODULE;
	vn->dev.kind = DEMI_DEVICE_VIRTIO_NET;
	vn->dev.flags = DEMI_DEVICE_F_DEDICATED | DEMI_DEVICE_F_IOMMU;
	vn->dev.queues_max = vn->npairs;
	vn->dev.mtu_bytes = demi_vnet_mtu(vn);
	vn->dev.offloads = demi_vnet_offloads(demi_vnet_choose(vn, U64_MAX));
	/* what it does not know it does not offer */
	vn->dev.features = U64_MAX;
	vn->dev.destroy = demi_vnet_destroy;
	strscpy(vn->dev.name, pci_name(vn->pdev), sizeof(vn->dev.name));
}

static int demi_vnet_setup(struct demi_vnet *vn)
{
	struct pci_dev *pdev = vn->pdev;
	int err, vectors;

	err = vp_modern_probe(&vn->mdev);
	if (err)
		return err;
	err = demi_vnet_examine(vn);
	if (err)
		goto err_modern;
	err = demi_iommu_claim(&vn->iommu, &pdev->dev);
	if (err)
		goto err_ctl;
	vectors = DEMI_VNET_VECTOR_PAIR(vn->npairs);
	err = pci_alloc_irq_vectors(pdev, vectors, vectors, PCI_IRQ_MSIX);
	if (err < 0)
		goto err_iommu;
	demi_vnet_describe(vn);
	err = demi_device_register(&vn->dev);
	if (err)
		goto err_vectors;
	return 0;

err_vectors:
	pci_free_irq_vectors(pdev);
err_iommu:
	demi_iommu_disclaim(&vn->iommu);
err_ctl:
	demi_vnet_ctl_free(vn);
err_modern:
	vp_modern_remove(&vn->mdev);
	return err;
}

static int demi_vnet_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct demi_vnet *vn;
	int err;

	if (pdev->vendor != PCI_VENDOR_ID_REDHAT_QUMRANET)
		return -ENODEV;
	vn = kzalloc(sizeof(*vn), GFP_KERNEL);
	if (!vn)
		return -ENOMEM;
	vn->pdev = pdev;
	vn->mdev.pci_dev = pdev;
	mutex_init(&vn->lock);
	err = pci_enable_device(pdev);
	if (err)
		goto err_free;
	err = demi_vnet_setup(vn);
	if (err)
		goto err_disable;
	pci_set_drvdata(pdev, vn);
	return 0;

err_disable:
	pci_disable_device(pdev);
err_free:
	mutex_destroy(&vn->lock);
	kfree(vn);
	return err;
}

static void demi_vnet_remove(struct pci_dev *pdev)
{
	struct demi_vnet *vn = pci_get_drvdata(pdev);

	demi_device_get(&vn->dev);
	demi_device_unregister(&vn->dev);
	/* for the next driver; the end of the last owner could not, under this device's lock */
	if (pci_device_is_present(pdev))
		pci_reset_function_locked(pdev);
	pci_free_irq_vectors(pdev);
	demi_iommu_disclaim(&vn->iommu);
	demi_vnet_ctl_free(vn);
	vp_modern_remove(&vn->mdev);
	pci_disable_device(pdev);
	demi_device_put(&vn->dev);
}

/* Nobody's by itself. */
static const struct pci_device_id demi_vnet_ids[] = {
	{ }
};

static struct pci_driver demi_vnet_driver = {
	.name = "demi_virtio",
	.id_table = demi_vnet_ids,
	.probe = demi_vnet_probe,
	.remove = demi_vnet_remove,
	.driver_managed_dma = true,
};
module_pci_driver(demi_vnet_driver);

MODULE_DESCRIPTION("virtio-net functions for demi");
MODULE_LICENSE("GPL");
