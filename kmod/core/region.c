// SPDX-License-Identifier: GPL-2.0
/*
 * Registered memory. A region is reached by readers under RCU through its context's table; the
 * table's reference goes after a grace period, so a reader that found a region can take another.
 * The charge lives exactly as long as the pins: a packet in flight keeps both.
 */
#include <linux/bits.h>
#include <linux/highmem.h>
#include <linux/hugetlb_inline.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "../compat.h"
#include "cmd.h"
#include "device.h"
#include "limits.h"
#include "region.h"

#define DEMI_REGION_BYTES_MAX	BIT_ULL(32)

/* mmap_lock is let go, signals are looked at and the CPU is offered to others this often */
#define DEMI_PIN_CHUNK		1024UL

static atomic_t demi_regions = ATOMIC_INIT(0);

/* ---- pinning ------------------------------------------------------------------------------- */

/* tmpfs, memfd, System V and anonymous shared memory: all are regular files of one file system. */
static bool demi_vma_is_shmem(const struct vm_area_struct *vma)
{
	const struct inode *inode;

	if (!vma->vm_file)
		return false;
	inode = vma->vm_file->f_mapping->host;
	return S_ISREG(inode->i_mode) && inode->i_sb->s_magic == TMPFS_MAGIC;
}

/*
 * Pages of a file could be written after their file system cleaned them, and pages of a device are
 * not ours to keep: only memory that has no other owner. mmap_lock is held.
 */
static int demi_vmas_check(unsigned long start, unsigned long end)
{
	while (start < end) {
		struct vm_area_struct *vma = find_vma(current->mm, start);

		if (!vma || vma->vm_start > start)
			return -EFAULT;
		if (vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
			return -EOPNOTSUPP;
		if (!vma_is_anonymous(vma) && !demi_vma_is_shmem(vma) && !is_vm_hugetlb_page(vma))
			return -EOPNOTSUPP;
		if ((vma->vm_flags & (VM_READ | VM_WRITE)) != (VM_READ | VM_WRITE))
			return -EFAULT;
		start = vma->vm_end;
	}
	return 0;
}

static void demi_pages_unpin(struct page **pages, unsigned long npages)
{
	while (npages) {
		unsigned long n = min(npages, DEMI_PIN_CHUNK);

		unpin_user_pages_dirty_lock(pages, n, true);
		pages += n;
		npages -= n;
		cond_resched();
	}
}

/* How many of @n pages at @start were pinned, at least one, or an error. */
static long demi_pages_pin_some(unsigned long start, unsigned long n, struct page **pages)
{
	struct mm_struct *mm = current->mm;
	long got;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	got = demi_vmas_check(start, start + n * PAGE_SIZE);
	if (!got)
		got = demi_pin_user_pages(start, n, FOLL_WRITE | FOLL_LONGTERM, pages);
	mmap_read_unlock(mm);
	return got ? got : -EFAULT;
}

/* All or nothing. After a short pin the next one tells why. */
static int demi_pages_pin(unsigned long start, unsigned long npages, struct page **pages)
{
	unsigned long done = 0;
	long got;

	while (done < npages) {
		if (fatal_signal_pending(current))
			got = -EINTR;
		else
			got = demi_pages_pin_some(start + done * PAGE_SIZE,
						  min(npages - done, DEMI_PIN_CHUNK), pages + done);
		if (got < 0) {
			demi_pages_unpin(pages, done);
			return got;
		}
		done += got;
		cond_resched();
	}
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------- */

/* As AF_XDP, io_uring and perf count what a user has locked. Sets r->user. */
static int demi_region_charge(struct demi_region *r, const struct demi_cmd *cmd)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = current_user();
	long old;

	if (demi_cmd_capable_init(cmd, CAP_IPC_LOCK))
		return 0;
	old = atomic_long_read(&user->locked_vm);
	do {
		if (old + r->npages > limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &old, old + r->npages));
	r->user = get_uid(user);
	return 0;
}

static void demi_region_uncharge(struct demi_region *r)
{
	if (!r->user)
		return;
	atomic_long_sub(r->npages, &r->user->locked_vm);
	free_uid(r->user);
}

/* What remains when the pages are unpinned. */
static void demi_region_discard(struct demi_region *r)
{
	demi_region_uncharge(r);
	demi_limit_uncharge(r->limit, DEMI_LIMIT_REGIONS);
	demi_user_put(r->limit);
	kvfree(r->pages);
	kfree(r);
	if (atomic_dec_and_test(&demi_regions))
		wake_up_var(&demi_regions);
}

static void demi_region_free(struct demi_region *r)
{
	demi_pages_unpin(r->pages, r->npages);
	demi_region_discard(r);
}

static void demi_region_free_work(struct work_struct *work)
{
	demi_region_free(container_of(work, struct demi_region, free_work));
}

static struct demi_region *demi_region_alloc(const struct demi_ctx *ctx)
{
	struct demi_region *r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	int err = -ENOMEM;

	if (!r)
		return ERR_PTR(err);
	r->limit = demi_user_get(ctx->cred->uid);
	if (!r->limit)
		goto err_free;
	err = demi_limit_charge(r->limit, DEMI_LIMIT_REGIONS);
	if (err)
		goto err_put;
	kref_init(&r->ref);
	INIT_WORK(&r->free_work, demi_region_free_work);
	atomic_inc(&demi_regions);
	return r;

err_put:
	demi_user_put(r->limit);
err_free:
	kfree(r);
	return ERR_PTR(err);
}

/* Pinned and charged, with one reference. */
static struct demi_region *demi_region_create(const struct demi_cmd *cmd, u64 addr, u64 bytes)
{
	struct demi_region *r = demi_region_alloc(cmd->ctx);
	int err;

	if (IS_ERR(r))
		return r;
	r->addr = addr;
	r->bytes = bytes;
	r->iova = addr;
	r->npages = bytes >> PAGE_SHIFT;
	err = demi_region_charge(r, cmd);
	if (err)
		goto err_discard;
	r->pages = kvmalloc_array(r->npages, sizeof(*r->pages), GFP_KERNEL_ACCOUNT);
	if (!r->pages) {
		err = -ENOMEM;
		goto err_discard;
	}
	err = demi_pages_pin(addr, r->npages, r->pages);
	if (err)
		goto err_discard;
	return r;

err_discard:
	demi_region_discard(r);
	return ERR_PTR(err);
}

void demi_region_get(struct demi_region *r)
{
	kref_get(&r->ref);
}

static void demi_region_release_late(struct kref *ref)
{
	queue_work(demi_wq, &container_of(ref, struct demi_region, ref)->free_work);
}

void demi_region_put(struct demi_region *r)
{
	kref_put(&r->ref, demi_region_release_late);
}

static void demi_region_release_now(struct kref *ref)
{
	demi_region_free(container_of(ref, struct demi_region, ref));
}

/* Where sleeping is allowed: the charge is gone on return if nothing in flight holds the region. */
static void demi_region_put_now(struct demi_region *r)
{
	kref_put(&r->ref, demi_region_release_now);
}

void demi_region_drain(void)
{
	wait_var_event(&demi_regions, !atomic_read(&demi_regions));
}

/* ---- the context's table ------------------------------------------------------------------- */

/* Reached by readers when it returns. */
static int demi_region_publish(struct demi_ctx *ctx, struct demi_region *r)
{
	int err;

	mutex_lock(&ctx->lock);
	err = xa_alloc(&ctx->regions, &r->id, NULL, XA_LIMIT(1, U16_MAX), GFP_KERNEL_ACCOUNT);
	if (err) {
		err = err == -EBUSY ? -EDQUOT : err;
		goto out;
	}
	err = demi_device_map_region(ctx, r);
	if (err) {
		xa_erase(&ctx->regions, r->id);
		goto out;
	}
	demi_region_get(r);
	xa_store(&ctx->regions, r->id, r, GFP_KERNEL);	/* the entry is there: cannot fail */
out:
	mutex_unlock(&ctx->lock);
	return err;
}

/* Take it out of the table, if @r (or, NULL, any region) is there. No reader uses it on return. */
static int demi_region_forget(struct demi_ctx *ctx, u32 id, struct demi_region *r)
{
	struct demi_region *found;

	mutex_lock(&ctx->lock);
	found = xa_load(&ctx->regions, id);
	if (!found || (r && found != r)) {
		mutex_unlock(&ctx->lock);
		return -ENOENT;
	}
	xa_erase(&ctx->regions, id);
	demi_device_unmap_region(ctx, found);
	mutex_unlock(&ctx->lock);
	synchronize_rcu();
	demi_region_put_now(found);
	return 0;
}

void demi_region_release_all(struct demi_ctx *ctx)
{
	struct demi_region *r;
	unsigned long id;

	/* Every queue has ended, and each end waited for the receivers: no reader is left. */
	mutex_lock(&ctx->lock);
	xa_for_each(&ctx->regions, id, r) {
		xa_erase(&ctx->regions, id);
		demi_device_unmap_region(ctx, r);
		demi_region_put_now(r);
	}
	mutex_unlock(&ctx->lock);
}

/* ---- commands ------------------------------------------------------------------------------ */

static int demi_region_check(const struct demi_region_register *arg)
{
	u64 end;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	if (!IS_ALIGNED(arg->addr, PAGE_SIZE) || !IS_ALIGNED(arg->length_bytes, PAGE_SIZE))
		return -EINVAL;
	if (!arg->length_bytes || arg->length_bytes > DEMI_REGION_BYTES_MAX)
		return -EINVAL;
	if (check_add_overflow(arg->addr, arg->length_bytes, &end) || end > ULONG_MAX)
		return -EINVAL;
	return 0;
}

int demi_cmd_region_register(struct demi_cmd *cmd)
{
	struct demi_region_register *arg = cmd->arg;
	struct demi_region *r;
	int err = demi_region_check(arg);

	if (err)
		return err;
	r = demi_region_create(cmd, arg->addr, arg->length_bytes);
	if (IS_ERR(r))
		return PTR_ERR(r);
	err = demi_region_publish(cmd->ctx, r);
	if (err)
		goto out;
	arg->region_id = r->id;
	arg->iova = r->iova;
	err = demi_cmd_respond(cmd);
	if (err)
		demi_region_forget(cmd->ctx, r->id, r);
out:
	demi_region_put_now(r);
	return err;
}

int demi_cmd_region_unregister(struct demi_cmd *cmd)
{
	const struct demi_region_unregister *arg = cmd->arg;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	return demi_region_forget(cmd->ctx, arg->region_id, NULL);
}

/* ---- use ----------------------------------------------------------------------------------- */

int demi_slice_init(struct demi_slice *s, struct demi_ctx *ctx, const struct demi_desc *desc)
{
	struct demi_region *r = xa_load(&ctx->regions, desc->region);

	if (!r || !desc->len || desc->offset >= r->bytes || desc->len > r->bytes - desc->offset)
		return -EINVAL;
	s->region = r;
	s->offset = desc->offset;
	s->len = desc->len;
	return 0;
}

/* The page of byte @at of the slice; *@n is cut to what lies in it. */
static struct page *demi_slice_page(const struct demi_slice *s, u32 at, size_t *in_page, u32 *n)
{
	const struct demi_region *r = s->region;
	u64 offset = s->offset + at;
	unsigned long index = offset >> PAGE_SHIFT;

	*in_page = offset_in_page(offset);
	*n = min_t(size_t, *n, PAGE_SIZE - *in_page);
	return r->pages[array_index_nospec(index, r->npages)];
}

void demi_slice_write(const struct demi_slice *s, u32 at, const void *from, u32 n)
{
	while (n) {
		size_t in_page;
		u32 some = n;
		struct page *page = demi_slice_page(s, at, &in_page, &some);

		memcpy_to_page(page, in_page, from, some);
		from += some;
		at += some;
		n -= some;
	}
}

void demi_slice_read(const struct demi_slice *s, u32 at, void *to, u32 n)
{
	while (n) {
		size_t in_page;
		u32 some = n;
		struct page *page = demi_slice_page(s, at, &in_page, &some);

		memcpy_from_page(to, page, in_page, some);
		to += some;
		at += some;
		n -= some;
	}
}

int demi_slice_write_skb(const struct demi_slice *s, u32 at, const struct sk_buff *skb, u32 offset,
			 u32 n)
{
	while (n) {
		size_t in_page;
		u32 some = n;
		struct page *page = demi_slice_page(s, at, &in_page, &some);
		void *to = kmap_local_page(page);
		int err = skb_copy_bits(skb, offset, to + in_page, some);

		flush_dcache_page(page);
		kunmap_local(to);
		if (err)
			return err;
		offset += some;
		at += some;
		n -= some;
	}
	return 0;
}
