// SPDX-License-Identifier: GPL-2.0
/*
 * Taking controllers over and giving them back. There is no table of ids: a function comes here
 * only when its driver_override says so.
 */
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "../core/bar.h"
#include "nvme.h"

/* ---- doorbells ----------------------------------------------------------------------------- */

/*
 * Does the page meet the controller's memory buffer? 3.1.11, 3.1.12: while that is off there is
 * no place, and it stays off.
 */
static bool demi_nvme_page_has_cmb(struct demi_nvme *nv, phys_addr_t page)
{
	u32 size = readl(nv->regs + NVME_REG_CMBSZ), at = readl(nv->regs + NVME_REG_CMBLOC);
	u64 unit = 1ULL << (12 + 4 * (size >> 8 & 0xf));
	int bar = at & 0x7;

	if (!size || bar >= PCI_STD_NUM_BARS)
		return false;
	return demi_bar_overlap(page, PAGE_SIZE, pci_resource_start(nv->pdev, bar) +
				(at >> 12) * unit, (size >> 12) * unit);
}

/* They will be the owner's: their pages must hold nothing else. */
static int demi_nvme_check_doorbells(struct demi_nvme *nv)
{
	resource_size_t base = pci_resource_start(nv->pdev, 0);
	u32 at, end = NVME_REG_DBS + 2 * (nv->npairs + 1) * (4 << NVME_CAP_STRIDE(nv->cap));

	BUILD_BUG_ON(NVME_REG_DBS % SZ_4K);
	for (at = NVME_REG_DBS; at < end; at += PAGE_SIZE) {
		if (demi_bar_page_is_free(nv->pdev, base + at) && PAGE_ALIGNED(base + at) &&
		    !demi_nvme_page_has_cmb(nv, base + at))
			continue;
		dev_err(&nv->pdev->dev, "doorbells share their page with other registers\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* ---- what it offers ------------------------------------------------------------------------ */

static int demi_nvme_check_registers(struct demi_nvme *nv)
{
	nv->cap = lo_hi_readq(nv->regs + NVME_REG_CAP);
	if (nv->cap == U64_MAX)
		return -ENODEV;
	/* 2 KiB of the specification's are 4 KiB of ours at least, and two entries of each queue */
	if (!(NVME_CAP_CSS(nv->cap) & NVME_CAP_CSS_NVM) || NVME_CAP_MPSMIN(nv->cap) ||
	    NVME_CAP_MQES(nv->cap) < 1 || PAGE_SIZE != SZ_4K) {
		dev_err(&nv->pdev->dev, "no controller of the NVM command set with 4 KiB pages\n");
		return -EOPNOTSUPP;
	}
	return demi_nvme_disable(nv);
}

/* Have it tell what it is, in a domain of nobody's. */
static int demi_nvme_examine(struct demi_nvme *nv)
{
	int err;

	mutex_lock(&nv->lock);
	err = demi_iommu_attach(&nv->iommu);
	if (err)
		goto out;
	err = demi_nvme_start(nv);
	demi_nvme_stop(nv);
	demi_iommu_detach(&nv->iommu);
out:
	mutex_unlock(&nv->lock);
	return err;
}

static int demi_nvme_alloc_vectors(struct demi_nvme *nv)
{
	int n = pci_alloc_irq_vectors(nv->pdev, 2, nv->npairs + 1, PCI_IRQ_MSIX);

	if (n < 0)
		return n;
	nv->npairs = n - 1;
	return 0;
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void demi_nvme_free(struct demi_nvme *nv)
{
	demi_nvme_admin_free(nv);
	kvfree(nv->namespaces);
	mutex_destroy(&nv->lock);
	kfree(nv);
}

static struct demi_nvme *demi_nvme_alloc(struct pci_dev *pdev)
{
	struct demi_nvme *nv = kzalloc(sizeof(*nv), GFP_KERNEL);
	int i;

	if (!nv)
		return NULL;
	nv->pdev = pdev;
	mutex_init(&nv->lock);
	demi_nvme_watch_init(nv);
	for (i = 0; i <= DEMI_NVME_PAIRS_MAX; i++) {
		nv->pairs[i].nv = nv;
		nv->pairs[i].qid = i;
	}
	nv->namespaces = kvcalloc(DEMI_NVME_NAMESPACES_MAX, sizeof(*nv->namespaces), GFP_KERNEL);
	if (nv->namespaces && !demi_nvme_admin_alloc(nv))
		return nv;
	demi_nvme_free(nv);
	return NULL;
}

static void demi_nvme_destroy(struct demi_device *dev)
{
	demi_nvme_free(container_of(dev, struct demi_nvme, dev));
}

static int demi_nvme_register(struct demi_nvme *nv)
{
	nv->namespaces_told = nv->describe.namespace_count;
	nv->dev.ops = &demi_nvme_ops;
	nv->dev.owner = THIS_MODULE;
	nv->dev.kind = DEMI_DEVICE_NVME;
	nv->dev.flags = DEMI_DEVICE_F_DEDICATED | DEMI_DEVICE_F_IOMMU;
	nv->dev.queues_max = nv->npairs;
	nv->dev.mtu_bytes = nv->describe.transfer_max_bytes;
	nv->dev.destroy = demi_nvme_destroy;
	strscpy(nv->dev.name, pci_name(nv->pdev), sizeof(nv->dev.name));
	return demi_device_register(&nv->dev);
}

static int demi_nvme_setup(struct demi_nvme *nv)
{
	struct pci_dev *pdev = nv->pdev;
	int err;

	err = demi_nvme_check_registers(nv);
	if (err)
		return err;
	err = demi_iommu_claim(&nv->iommu, &pdev->dev);
	if (err)
		return err;
	err = demi_nvme_examine(nv);
	if (err)
		goto err_iommu;
	err = demi_nvme_alloc_vectors(nv);
	if (err)
		goto err_iommu;
	err = demi_nvme_check_doorbells(nv);
	if (err)
		goto err_vectors;
	err = demi_nvme_register(nv);
	if (err)
		goto err_vectors;
	return 0;

err_vectors:
	pci_free_irq_vectors(pdev);
err_iommu:
	demi_iommu_disclaim(&nv->iommu);
	return err;
}

static int demi_nvme_map_registers(struct demi_nvme *nv)
{
	struct pci_dev *pdev = nv->pdev;

	/* the first doorbells are behind the registers */
	if (!(pci_resource_flags(pdev, 0) & IORESOURCE_MEM) ||
	    pci_resource_len(pdev, 0) < NVME_REG_DBS + SZ_4K)
		return -ENODEV;
	nv->regs = pci_iomap(pdev, 0, NVME_REG_DBS + SZ_4K);
	return nv->regs ? 0 : -ENOMEM;
}

static int demi_nvme_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct demi_nvme *nv;
	int err;

	if (pdev->class != PCI_CLASS_STORAGE_EXPRESS)
		return -ENODEV;
	nv = demi_nvme_alloc(pdev);
	if (!nv)
		return -ENOMEM;
	err = pci_enable_device_mem(pdev);
	if (err)
		goto err_free;
	err = pci_request_mem_regions(pdev, "demi_nvme");
	if (err)
		goto err_disable;
	err = demi_nvme_map_registers(nv);
	if (err)
		goto err_regions;
	err = demi_nvme_setup(nv);
	if (err)
		goto err_unmap;
	pci_set_drvdata(pdev, nv);
	return 0;

err_unmap:
	cancel_delayed_work_sync(&nv->watch);
	pci_iounmap(pdev, nv->regs);
err_regions:
	pci_release_mem_regions(pdev);
err_disable:
	pci_disable_device(pdev);
err_free:
	demi_nvme_free(nv);
	return err;
}

static void demi_nvme_remove(struct pci_dev *pdev)
{
	struct demi_nvme *nv = pci_get_drvdata(pdev);

	demi_device_get(&nv->dev);
	demi_device_unregister(&nv->dev);
	cancel_delayed_work_sync(&nv->watch);
	/* for the next driver; the end of the last owner could not, under this device's lock */
	if (pci_device_is_present(pdev))
		pci_reset_function_locked(pdev);
	pci_free_irq_vectors(pdev);
	demi_iommu_disclaim(&nv->iommu);
	pci_iounmap(pdev, nv->regs);
	pci_release_mem_regions(pdev);
	pci_disable_device(pdev);
	demi_device_put(&nv->dev);
}

/* Nobody's by itself. */
static const struct pci_device_id demi_nvme_ids[] = {
	{ }
};

static struct pci_driver demi_nvme_driver = {
	.name = "demi_nvme",
	.id_table = demi_nvme_ids,
	.probe = demi_nvme_probe,
	.remove = demi_nvme_remove,
	.driver_managed_dma = true,
};
module_pci_driver(demi_nvme_driver);

MODULE_DESCRIPTION("NVMe controllers for demi");
MODULE_LICENSE("GPL");
