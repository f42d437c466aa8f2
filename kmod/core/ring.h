/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's side of one ring: a private index, and pointers into memory that the user writes at
 * any time. Arithmetic only, so that KUnit can test it. The barriers are those that
 * <uapi/linux/demi.h> promises.
 */
#ifndef _DEMI_RING_H
#define _DEMI_RING_H

#include <linux/compiler.h>
#include <linux/string.h>
#include <asm/barrier.h>

#include "../demi.h"

struct demi_ring {
	u32 next;		/* of the next entry that the kernel takes or fills; its truth */
	u32 mask;
	u32 *producer;		/* shared from here on */
	u32 *consumer;
	u32 *flags;
	struct demi_desc *desc;
};

static inline u32 demi_ring_entries(const struct demi_ring *r)
{
	return r->mask + 1;
}

/*
 * Entries the user has produced and the kernel has not taken. A user index that claims more than
 * the ring holds is nonsense and counts as none.
 */
static inline u32 demi_ring_filled(const struct demi_ring *r)
{
	/*
	 * acquire: pairs with the user's release of the producer index; descriptors are read after
	 * it
	 */
	u32 n = smp_load_acquire(r->producer) - r->next;

	return n <= r->mask + 1 ? n : 0;
}

/* Entries the kernel may fill. A user index outside of what was produced counts as a full ring. */
static inline u32 demi_ring_room(const struct demi_ring *r)
{
	/*
	 * acquire: pairs with the user's release of the consumer index; entries are overwritten
	 * after it
	 */
	u32 used = r->next - smp_load_acquire(r->consumer);

	return used <= r->mask + 1 ? r->mask + 1 - used : 0;
}

/* A copy of the entry @ahead of the next one: read once, the copy is what gets checked. */
static inline struct demi_desc demi_ring_peek(const struct demi_ring *r, u32 ahead)
{
	const struct demi_desc *d = &r->desc[(r->next + ahead) & r->mask];
	struct demi_desc copy;

	copy.offset = READ_ONCE(d->offset);
	copy.len = READ_ONCE(d->len);
	copy.region = READ_ONCE(d->region);
	copy.flags = READ_ONCE(d->flags);
	return copy;
}

/* Fill the entry @ahead of the next one; it is not published yet. */
static inline void demi_ring_put(struct demi_ring *r, u32 ahead, struct demi_desc desc)
{
	r->desc[(r->next + ahead) & r->mask] = desc;
}

/* The kernel is done with @n entries of a ring that it consumes. */
static inline void demi_ring_consume(struct demi_ring *r, u32 n)
{
	r->next += n;
	/* release: what was copied out is read before the user writes over it */
	smp_store_release(r->consumer, r->next);
}

/* @n entries that were filled become visible to the user. */
static inline void demi_ring_publish(struct demi_ring *r, u32 n)
{
	r->next += n;
	/* release: pairs with the user's acquire; the descriptors are there before the index */
	smp_store_release(r->producer, r->next);
}

/*
 * After demi_ring_publish(): does the user sleep? The barrier pairs with the one the user executes
 * between setting the flag and looking at the ring again.
 */
static inline bool demi_ring_wants_wakeup(const struct demi_ring *r)
{
	smp_mb(); /* see above */
	return READ_ONCE(*r->flags) & DEMI_RING_NEED_WAKEUP;
}

#endif
