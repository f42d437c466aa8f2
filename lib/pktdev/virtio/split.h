/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_SPLIT_H
#define DEMI_PKTDEV_VIRTIO_SPLIT_H

/*
 * The driver's side of a split virtqueue (virtio 1.1, 2.6) that the device reads and writes itself. Which barrier pairs
 * with which, the device being the other side:
 *
 *	publish		store-release of avail->idx	its load of it, before it reads entries and descriptors
 *	look		load-acquire of used->idx	its store of it, after it wrote entries and buffers
 *	wants_kick	full barrier, load avail_event	its barrier between storing avail_event and reading avail->idx
 *	arm		store used_event, full barrier	its barrier between storing used->idx and reading used_event
 *
 * Everything in `used` may be wrong, if the device is, or if the mapping was revoked.
 */

#include "pktdev/virtio/vring.h"

static inline int demi_split_init(struct demi_vring *r, char *map, size_t map_bytes, const struct demi_virtio_ring *at)
{
	size_t n = at->entries;

	if (!n || n & (n - 1) || at->desc > map_bytes || map_bytes - at->desc < n * sizeof(struct vring_desc) ||
	    at->avail > map_bytes || map_bytes - at->avail < 6 + 2 * n || at->used > map_bytes ||
	    map_bytes - at->used < 6 + 8 * n)
		return -EPROTO;
	r->desc = (void *)(map + at->desc);
	r->avail = (void *)(map + at->avail);
	r->used = (void *)(map + at->used);
	r->mask = (uint16_t)(n - 1);
	r->used_event = &r->avail->ring[n];
	r->avail_event = (uint16_t *)&r->used->ring[n];
	return 0;
}

/* Descriptor @i: its VRING_DESC_F_*, and with F_NEXT the next of its chain. The device's when its chain was put. */
static inline void demi_split_describe(struct demi_vring *r, uint16_t i, uintptr_t addr, uint32_t len, uint16_t flags,
				       uint16_t next)
{
	r->desc[i] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* A chain of descriptors for the device, once it is published. */
static inline void demi_split_put(struct demi_vring *r, uint16_t head)
{
	r->avail->ring[r->next++ & r->mask] = head;
	r->added++;
}

/* What was put, if anything, is the device's. True: it has to be told, by demi_vring_kick(). */
static inline bool demi_split_publish(struct demi_vring *r)
{
	uint16_t old = (uint16_t)(r->next - r->added);

	if (!r->added)
		return false;
	r->added = 0;
	__atomic_store_n(&r->avail->idx, r->next, __ATOMIC_RELEASE);
	demi_full_barrier();
	if (!r->event_idx)
		return !(__atomic_load_n(&r->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(__atomic_load_n(r->avail_event, __ATOMIC_RELAXED), r->next, old);
}

/* Is there something for demi_split_peek()? -EPROTO: an index that cannot be. */
static inline int demi_split_look(struct demi_vring *r)
{
	uint16_t n;

	r->looked = __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE);
	n = (uint16_t)(r->looked - r->seen);
	return n <= r->entries ? n != 0 : -EPROTO;
}

/* Of what the last look saw the next, read once. False: that was all. */
static inline bool demi_split_peek(const struct demi_vring *r, struct vring_used_elem *out)
{
	const volatile struct vring_used_elem *e = &r->used->ring[r->seen & r->mask];

	if (r->seen == r->looked)
		return false;
	*out = (struct vring_used_elem){ .id = e->id, .len = e->len };
	return true;
}

/* It is taken. */
static inline void demi_split_pop(struct demi_vring *r)
{
	r->seen++;
}

/*
 * No interrupts: the entry half of all indices ahead is far from what the device uses now. An entry just taken would
 * not do: the device may be about to decide whether to tell of that one. To be renewed as the ring goes on, which is a
 * store once in a while.
 */
static inline void demi_split_quiet(struct demi_vring *r)
{
	uint16_t far = (uint16_t)(r->seen + 0x8000);

	if (r->quiet && (!r->event_idx || (uint16_t)(far - r->quiet_at) < 0x4000))
		return;
	r->quiet = true;
	r->quiet_at = far;
	if (r->event_idx)
		__atomic_store_n(r->used_event, far, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
}

/* An interrupt when the next entry is used. A full barrier and a last look follow. */
static inline void demi_split_arm(struct demi_vring *r)
{
	r->quiet = false;
	if (r->event_idx)
		__atomic_store_n(r->used_event, r->seen, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&r->avail->flags, 0, __ATOMIC_RELAXED);
}

#endif /* DEMI_PKTDEV_VIRTIO_SPLIT_H */
