/* SPDX-License-Identifier: MIT */
#ifndef DEMI_KDEV_RING_H
#define DEMI_KDEV_RING_H

/*
 * The user's side of a queue's ring, one user at a time. The barriers are those that <linux/demi.h> asks for:
 *
 *	publish		store-release of the producer index	pairs with the kernel's load-acquire
 *	avail		load-acquire of the producer index	pairs with the kernel's store-release
 *	release		store-release of the consumer index	pairs with the kernel's load-acquire
 *	room		load-acquire of the consumer index	pairs with the kernel's store-release
 *	arm, wakeup	full barrier, then a load		pairs with the kernel's full barrier
 *
 * The user's own index lives in `own`; what is in shared memory is only ever written from it. The other side's
 * index is believed as far as it can be true: between them there are at most `entries` descriptors. A
 * revoked mapping (the queue was shut down) fails that test, or looks empty.
 */

#include "core/barrier.h"

#include <errno.h>
#include <linux/demi.h>
#include <stdbool.h>
#include <stdint.h>

struct demi_kring {
	uint32_t own; /* producer of rx_fill and tx, consumer of rx and tx_done */
	uint32_t other; /* the last that was seen of the other side's */
	uint32_t mask;
	uint32_t *producer, *consumer, *flags;
	struct demi_desc *desc;
};

/* ---- rx_fill, tx ---- */

/* How many descriptors can be put: at least @want, or all that there is room for. -EPROTO: an index that cannot be. */
static inline int demi_kring_room(struct demi_kring *r, uint32_t want)
{
	uint32_t room = r->mask + 1 - (r->own - r->other);

	if (room < want) {
		uint32_t other = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);

		if (r->own - other > r->mask + 1)
			return -EPROTO;
		r->other = other;
		room = r->mask + 1 - (r->own - other);
	}
	return (int)room;
}

/* Into room that demi_kring_room() has told of; nobody sees it before demi_kring_publish(). */
static inline void demi_kring_put(struct demi_kring *r, uint64_t offset, uint32_t len, uint32_t region, uint32_t flags)
{
	r->desc[r->own++ & r->mask] =
		(struct demi_desc){ .offset = offset, .len = len, .region = (__u16)region, .flags = (__u16)flags };
}

static inline void demi_kring_publish(const struct demi_kring *r)
{
	__atomic_store_n(r->producer, r->own, __ATOMIC_RELEASE);
}

/* After demi_kring_publish(): must the kernel be told? */
static inline bool demi_kring_wants_wakeup(const struct demi_kring *r)
{
	demi_full_barrier();
	return __atomic_load_n(r->flags, __ATOMIC_RELAXED) & DEMI_RING_NEED_WAKEUP;
}

/* ---- rx, tx_done ---- */

/* Descriptors that can be read. -EPROTO: an index that cannot be. */
static inline int demi_kring_avail(struct demi_kring *r)
{
	uint32_t n = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - r->own;

	return n <= r->mask + 1 ? (int)n : -EPROTO;
}

/* A copy of the @i-th of them, read once. */
static inline struct demi_desc demi_kring_peek(const struct demi_kring *r, uint32_t i)
{
	const volatile struct demi_desc *d = &r->desc[(r->own + i) & r->mask];

	return (struct demi_desc){ .offset = d->offset, .len = d->len, .region = d->region, .flags = d->flags };
}

/* Have done with the first @n. */
static inline void demi_kring_release(struct demi_kring *r, uint32_t n)
{
	r->own += n;
	__atomic_store_n(r->consumer, r->own, __ATOMIC_RELEASE);
}

/* Ask to be woken. True: there is something already, look again. */
static inline bool demi_kring_arm(struct demi_kring *r)
{
	__atomic_store_n(r->flags, DEMI_RING_NEED_WAKEUP, __ATOMIC_RELAXED);
	demi_full_barrier();
	return demi_kring_avail(r) != 0;
}

static inline void demi_kring_disarm(const struct demi_kring *r)
{
	__atomic_store_n(r->flags, 0, __ATOMIC_RELAXED);
}

#endif /* DEMI_KDEV_RING_H */
