/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a dedicated device can reach: regions of the context that owns it, at their addresses in
 * the process, and memory of the kernel's below DEMI_IOMMU_REGIONS. For the modules of devices.
 *
 * The group is claimed for as long as the device has its demi driver, so that no other driver of
 * the kernel's or VFIO shares it; without an owner nothing is mapped.
 */
#ifndef _DEMI_IOMMU_H
#define _DEMI_IOMMU_H

#include <linux/bits.h>
#include <linux/iommu.h>
#include <linux/types.h>

#include "ctx.h"

struct device;
struct demi_region;

/* Regions lie above; the libraries' heaps do. Below is the kernel's: rings. */
#define DEMI_IOMMU_REGIONS	BIT_ULL(32)
#define DEMI_IOMMU_RINGS	BIT_ULL(24)

struct demi_iommu {
	struct device *dev;
	struct iommu_group *group;
	struct iommu_domain *domain;	/* while attached */
	struct list_head reserved;	/* struct iommu_resv_region: never mapped */
	u64 end;			/* what the device can address */
};

/*
 * Claim the group of @dev. Nothing is mapped from now on. -EOPNOTSUPP: no IOMMU, or it does not
 * isolate interrupts, or is not coherent with the caches; -EBUSY, -EPERM: another driver uses a
 * device of the group; -ENOMEM. Says why in the kernel's log.
 */
int demi_iommu_claim(struct demi_iommu *m, struct device *dev);
void demi_iommu_disclaim(struct demi_iommu *m);

/* A domain for an owner, empty; and away with it and all that is mapped. */
int demi_iommu_attach(struct demi_iommu *m);
void demi_iommu_detach(struct demi_iommu *m);

/*
 * -EADDRINUSE: overlaps another region of the context; -EOPNOTSUPP: at an address that the device
 * cannot have; -ENOMEM. The context's lock is held. On return of unmap the device cannot reach it.
 */
int demi_iommu_map_region(struct demi_iommu *m, struct demi_ctx *ctx, struct demi_region *region);
void demi_iommu_unmap_region(struct demi_iommu *m, struct demi_region *region);

/* Memory of the kernel's from vmalloc(), page aligned; below DEMI_IOMMU_REGIONS. */
int demi_iommu_map_rings(struct demi_iommu *m, u64 iova, const void *mem, size_t bytes, int prot);
void demi_iommu_unmap_rings(struct demi_iommu *m, u64 iova, size_t bytes);

#endif
