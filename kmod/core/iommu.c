// SPDX-License-Identifier: GPL-2.0
/* Domains of dedicated devices: one for each device that has an owner. */
#include <linux/device.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "../compat.h"
#include "iommu.h"
#include "region.h"

/* ---- the group ----------------------------------------------------------------------------- */

static void demi_iommu_free_reserved(struct demi_iommu *m)
{
	struct iommu_resv_region *resv, *next;

	list_for_each_entry_safe(resv, next, &m->reserved, list) {
		list_del(&resv->list);
		kfree(resv);
	}
}

static bool demi_iommu_is_reserved(const struct demi_iommu *m, u64 start, u64 bytes)
{
	const struct iommu_resv_region *resv;

	list_for_each_entry(resv, &m->reserved, list) {
		if (resv->type != IOMMU_RESV_DIRECT_RELAXABLE &&
		    start < resv->start + resv->length && resv->start < start + bytes)
			return true;
	}
	return false;
}

/* What userspace could do to this host by a device that is not behind such an IOMMU. */
static int demi_iommu_check(struct demi_iommu *m)
{
	if (!demi_iommu_isolates_msi(m->group, m->dev)) {
		dev_err(m->dev, "no interrupt remapping: the owner could forge interrupts\n");
		return -EOPNOTSUPP;
	}
	if (!device_iommu_capable(m->dev, IOMMU_CAP_CACHE_COHERENCY)) {
		dev_err(m->dev, "the IOMMU is not coherent with the caches\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

/*
 * Domains tell what their page tables could hold, not always what the IOMMU walks: one page at the
 * end of each size there is answers that.
 */
static int demi_iommu_probe_end(struct demi_iommu *m)
{
	static const u8 widths[] = { 57, 48, 39 };
	struct page *page;
	int i, err;

	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return -ENOMEM;
	err = demi_iommu_attach(m);
	if (err)
		goto out;
	m->end = 0;
	for (i = 0; i < ARRAY_SIZE(widths) && !m->end; i++) {
		u64 end = BIT_ULL(widths[i]), iova = end - PAGE_SIZE;

		if (iova > m->domain->geometry.aperture_end ||
		    demi_iommu_is_reserved(m, iova, PAGE_SIZE))
			continue;
		if (demi_iommu_map(m->domain, iova, page_to_phys(page), PAGE_SIZE, IOMMU_READ))
			continue;
		iommu_unmap(m->domain, iova, PAGE_SIZE);
		m->end = end;
	}
	demi_iommu_detach(m);
	if (!m->end) {
		dev_err(m->dev, "the IOMMU maps no 39 bits\n");
		err = -EOPNOTSUPP;
	}
out:
	__free_page(page);
	return err;
}

int demi_iommu_claim(struct demi_iommu *m, struct device *dev)
{
	int err;

	*m = (struct demi_iommu){ .dev = dev };
	INIT_LIST_HEAD(&m->reserved);
	m->group = iommu_group_get(dev);
	if (!m->group) {
		dev_err(dev, "not behind an IOMMU: the owner could reach all memory\n");
		return -EOPNOTSUPP;
	}
	err = demi_iommu_check(m);
	if (err)
		goto err_group;
	err = iommu_group_claim_dma_owner(m->group, m);
	if (err) {
		dev_err(dev, "another driver uses a device of its IOMMU group\n");
		goto err_group;
	}
	err = iommu_get_group_resv_regions(m->group, &m->reserved);
	if (err)
		goto err_owner;
	err = demi_iommu_probe_end(m);
	if (err)
		goto err_reserved;
	return 0;

err_reserved:
	demi_iommu_free_reserved(m);
err_owner:
	iommu_group_release_dma_owner(m->group);
err_group:
	iommu_group_put(m->group);
	return err;
}
EXPORT_SYMBOL_GPL(demi_iommu_claim);

void demi_iommu_disclaim(struct demi_iommu *m)
{
	demi_iommu_free_reserved(m);
	iommu_group_release_dma_owner(m->group);
	iommu_group_put(m->group);
}
EXPORT_SYMBOL_GPL(demi_iommu_disclaim);

/* ---- the domain ---------------------------------------------------------------------------- */

int demi_iommu_attach(struct demi_iommu *m)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(m->dev);
	int err;

	if (IS_ERR(domain))
		return PTR_ERR(domain);
	err = iommu_attach_group(domain, m->group);
	if (err) {
		iommu_domain_free(domain);
		return err;
	}
	m->domain = domain;
	return 0;
}
EXPORT_SYMBOL_GPL(demi_iommu_attach);

void demi_iommu_detach(struct demi_iommu *m)
{
	iommu_detach_group(m->domain, m->group);
	iommu_domain_free(m->domain);
	m->domain = NULL;
}
EXPORT_SYMBOL_GPL(demi_iommu_detach);

/* The domain's own idea of overlaps is a warning in the kernel's log. ctx->lock is held. */
static bool demi_iommu_overlaps(struct demi_ctx *ctx, const struct demi_region *region)
{
	struct demi_region *other;
	unsigned long id;

	xa_for_each(&ctx->regions, id, other) {
		if (other != region && region->iova < other->iova + other->bytes &&
		    other->iova < region->iova + region->bytes)
			return true;
	}
	return false;
}

/* How many pages from the @i-th on follow each other in memory. */
static unsigned long demi_region_run(const struct demi_region *region, unsigned long i)
{
	unsigned long n = 1;

	while (i + n < region->npages &&
	       page_to_pfn(region->pages[i + n]) == page_to_pfn(region->pages[i]) + n)
		n++;
	return n;
}

int demi_iommu_map_region(struct demi_iommu *m, struct demi_ctx *ctx, struct demi_region *region)
{
	unsigned long i = 0, n;
	int err;

	lockdep_assert_held(&ctx->lock);
	if (region->iova < DEMI_IOMMU_REGIONS || region->iova >= m->end ||
	    region->bytes > m->end - region->iova ||
	    demi_iommu_is_reserved(m, region->iova, region->bytes))
		return -EOPNOTSUPP;
	if (demi_iommu_overlaps(ctx, region))
		return -EADDRINUSE;
	for (; i < region->npages; i += n) {
		n = demi_region_run(region, i);
		err = demi_iommu_map(m->domain, region->iova + (i << PAGE_SHIFT),
				     page_to_phys(region->pages[i]), n << PAGE_SHIFT,
				     IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE);
		if (err)
			goto err_unmap;
		cond_resched();
	}
	return 0;

err_unmap:
	if (i)
		iommu_unmap(m->domain, region->iova, i << PAGE_SHIFT);
	return err;
}
EXPORT_SYMBOL_GPL(demi_iommu_map_region);

void demi_iommu_unmap_region(struct demi_iommu *m, struct demi_region *region)
{
	iommu_unmap(m->domain, region->iova, region->bytes);
}
EXPORT_SYMBOL_GPL(demi_iommu_unmap_region);

int demi_iommu_map_rings(struct demi_iommu *m, u64 iova, const void *mem, size_t bytes, int prot)
{
	size_t at;
	int err;

	if (iova >= DEMI_IOMMU_REGIONS || bytes > DEMI_IOMMU_REGIONS - iova ||
	    demi_iommu_is_reserved(m, iova, bytes))
		return -EOPNOTSUPP;
	for (at = 0; at < bytes; at += PAGE_SIZE) {
		err = demi_iommu_map(m->domain, iova + at, page_to_phys(vmalloc_to_page(mem + at)),
				     PAGE_SIZE, prot | IOMMU_CACHE);
		if (err) {
			if (at)
				iommu_unmap(m->domain, iova, at);
			return err;
		}
	}
	return 0;
}
EXPORT_SYMBOL_GPL(demi_iommu_map_rings);

void demi_iommu_unmap_rings(struct demi_iommu *m, u64 iova, size_t bytes)
{
	iommu_unmap(m->domain, iova, bytes);
}
EXPORT_SYMBOL_GPL(demi_iommu_unmap_rings);
