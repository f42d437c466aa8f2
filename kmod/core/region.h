/* SPDX-License-Identifier: GPL-2.0 */
/* Registered memory: pinned pages that descriptors name. */
#ifndef _DEMI_REGION_H
#define _DEMI_REGION_H

#include <linux/kref.h>
#include <linux/mm_types.h>

#include "ctx.h"
#include "queue.h"

struct demi_region {
	struct kref ref;		/* the context's table, packets in flight */
	u32 id;
	u64 addr;			/* where it was when it was registered: for the IOVA */
	u64 bytes;
	u64 iova;
	unsigned long npages;
	struct page **pages;
	struct user_struct *user;	/* charged: npages of locked_vm; NULL: exempt */
	struct demi_user *limit;
	struct work_struct free_work;
};

/* A checked piece of a region. Valid under rcu_read_lock(), or while the region is held. */
struct demi_slice {
	struct demi_region *region;
	u64 offset;
	u32 len;
};

/*
 * Check a copied descriptor: region known, length not 0, range inside. RCU read side. -EINVAL.
 * Constant time, no reference taken: demi_region_get() what must outlive the read side.
 */
int demi_slice_init(struct demi_slice *s, struct demi_ctx *ctx, const struct demi_desc *desc);

/* @n bytes at @at within the slice; the caller has checked that they lie inside. */
void demi_slice_write(const struct demi_slice *s, u32 at, const void *from, u32 n);
void demi_slice_read(const struct demi_slice *s, u32 at, void *to, u32 n);
/* As skb_copy_bits(), which it calls page by page. */
int demi_slice_write_skb(const struct demi_slice *s, u32 at, const struct sk_buff *skb, u32 offset,
			 u32 n);

void demi_region_get(struct demi_region *r);
void demi_region_put(struct demi_region *r);	/* any context */

/* The context goes: forget all its regions. */
void demi_region_release_all(struct demi_ctx *ctx);

/* Before the module goes: wait until every region has been freed. */
void demi_region_drain(void);

#endif
