// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of the rings, and of a device's doorbells behind them. Pages are put in by faults, under
 * umap_lock; a revocation takes them all out, under the same lock, and what faults afterwards gets
 * the scratch page: a store never kills the process.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "../compat.h"
#include "queue.h"

/*
 * One page for all of a dead queue's mappings; it goes with the queue, which the mappings hold.
 * umap_lock is held.
 */
static struct page *demi_umap_scratch(struct demi_queue *q)
{
	struct page *page = READ_ONCE(q->scratch);
	struct page *other;

	if (page)
		return page;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return NULL;
	other = cmpxchg(&q->scratch, NULL, page);
	if (!other)
		return page;
	__free_page(page);
	return other;
}

/* Pages of the mapping: rings, then doorbells. */
static unsigned long demi_umap_pages(const struct demi_queue *q)
{
	return (q->ring_bytes >> PAGE_SHIFT) + q->ndoors;
}

static vm_fault_t demi_umap_insert(struct demi_queue *q, struct vm_fault *vmf)
{
	unsigned long ring_pages = q->ring_bytes >> PAGE_SHIFT;
	struct page *page;

	if (!READ_ONCE(q->dead) && vmf->pgoff >= ring_pages)
		return vmf_insert_pfn_prot(vmf->vma, vmf->address,
					   q->doors[vmf->pgoff - ring_pages],
					   pgprot_noncached(vmf->vma->vm_page_prot));
	if (READ_ONCE(q->dead))
		page = demi_umap_scratch(q);
	else
		page = vmalloc_to_page(q->ring_mem + (vmf->pgoff << PAGE_SHIFT));
	return page ? vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(page)) : VM_FAULT_OOM;
}

static vm_fault_t demi_umap_fault(struct vm_fault *vmf)
{
	struct demi_queue *q = vmf->vma->vm_file->private_data;
	vm_fault_t ret;

	if (vmf->pgoff >= demi_umap_pages(q))
		return VM_FAULT_SIGBUS;
	down_read(&q->umap_lock);
	ret = demi_umap_insert(q, vmf);
	up_read(&q->umap_lock);
	return ret;
}

static const struct vm_operations_struct demi_umap_ops = {
	.fault = demi_umap_fault,
};

int demi_queue_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct demi_queue *q = file->private_data;
	unsigned long pages = demi_umap_pages(q);

	if (READ_ONCE(q->dead))
		return -ENODEV;
	/* a private copy would show neither side what the other writes */
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (vma->vm_pgoff >= pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_mod(vma, VM_PFNMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	vma->vm_ops = &demi_umap_ops;
	return 0;
}

void demi_queue_revoke(struct demi_queue *q)
{
	down_write(&q->umap_lock);
	if (q->mapping)
		unmap_mapping_range(q->mapping, 0, 0, 1);
	up_write(&q->umap_lock);
}
