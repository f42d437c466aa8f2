/* SPDX-License-Identifier: GPL-2.0 */
/* Every difference between the kernels of Documentation/kernels.rst, and nothing else. */
#ifndef _DEMI_COMPAT_H
#define _DEMI_COMPAT_H

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

#endif
