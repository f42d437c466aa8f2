/* SPDX-License-Identifier: GPL-2.0 */
/* Every difference between the kernels of Documentation/kernels.rst, and nothing else. */
#ifndef _DEMI_COMPAT_H
#define _DEMI_COMPAT_H

#include <linux/err.h>
#include <linux/iommu.h>
#include <linux/irqdomain.h>
#include <linux/mm.h>
#include <linux/version.h>
#include <uapi/linux/virtio_net.h>

/* 6.5 dropped the array of VMAs, which nobody here asks for. */
static inline long demi_pin_user_pages(unsigned long start, unsigned long npages,
				       unsigned int gup_flags, struct page **pages)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return pin_user_pages(start, npages, gup_flags, pages, NULL);
#else
	return pin_user_pages(start, npages, gup_flags, pages);
#endif
}

/* Since 6.3 the flags of a VMA are changed by functions; a driver's mmap may do it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/* Since 6.2: a merged UDP packet. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4	5
#endif

/* 6.3 gave iommu_map() flags for the page tables' memory. */
static inline int demi_iommu_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t pa,
				 size_t bytes, int prot)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	return iommu_map(domain, iova, pa, bytes, prot);
#else
	return iommu_map(domain, iova, pa, bytes, prot, GFP_KERNEL_ACCOUNT);
#endif
}

/* Since 6.11 a domain is made for a device, not for a bus. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
static inline struct iommu_domain *iommu_paging_domain_alloc(struct device *dev)
{
	return iommu_domain_alloc(dev->bus) ?: ERR_PTR(-ENOMEM);
}
#endif

/*
 * Does an interrupt of the group's devices reach only who it was set up for? Since 6.4 the group
 * knows.
 */
static inline bool demi_iommu_isolates_msi(struct iommu_group *group, struct device *dev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	return irq_domain_check_msi_remap() || device_iommu_capable(dev, IOMMU_CAP_INTR_REMAP);
#else
	return iommu_group_has_isolated_msi(group);
#endif
}

#endif
