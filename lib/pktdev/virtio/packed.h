/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_PACKED_H
#define DEMI_PKTDEV_VIRTIO_PACKED_H

/*
 * The driver's side of a packed virtqueue (virtio 1.1, 2.7): one ring, whose descriptors the driver makes available and
 * the device overwrites with used ones. Which are whose say two bits of their flags, with the wrap counters, which
 * change with each lap. Which barrier pairs with which, the device being the other side:
 *
 *	put		store-release of the first flags	its load of them, before it reads the rest
 *	look, peek	load-acquire of flags			its store of them, after it wrote id, length and buffers
 *	publish		full barrier, load its event struct	its barrier between storing that and reading flags
 *	arm		store ours, full barrier		its barrier between storing flags and reading ours
 *
 * A buffer's id is its head's index in the driver's own list of what is free (in a split ring: its descriptor), and no
 * position: chains may be used in any order.
 *
 * Everything in the ring may be wrong, if the device is, or if the mapping was revoked.
 */

#include "pktdev/virtio/vring.h"

#define DEMI_PACKED_AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define DEMI_PACKED_USED (1U << VRING_PACKED_DESC_F_USED)
#define DEMI_PACKED_WRAP (1U << VRING_PACKED_EVENT_F_WRAP_CTR)

static inline int demi_packed_init(struct demi_vring *r, char *map, size_t map_bytes, const struct demi_virtio_ring *at)
{
	size_t n = at->entries;

	/* positions and a wrap bit are one word */
	if (!n || n > DEMI_PACKED_WRAP || at->desc > map_bytes ||
	    map_bytes - at->desc < n * sizeof(struct vring_packed_desc) || at->avail > map_bytes - 4 ||
	    at->used > map_bytes - 4)
		return -EPROTO;
	r->pdesc = (void *)(map + at->desc);
	r->driver = (void *)(map + at->avail);
	r->device = (void *)(map + at->used);
	r->wrap = r->seen_wrap = true;
	return 0;
}

/* The next descriptor of the chain of buffer @id: the device's when the chain was put. */
static inline void demi_packed_describe(struct demi_vring *r, uint16_t id, uintptr_t addr, uint32_t len, uint16_t flags)
{
	struct vring_packed_desc *d = &r->pdesc[r->next];

	flags |= r->wrap ? DEMI_PACKED_AVAIL : DEMI_PACKED_USED;
	d->addr = addr;
	d->len = len;
	d->id = id;
	if (r->begun) {
		d->flags = flags;
	} else {
		r->begun = true;
		r->head = r->next;
		r->head_flags = flags;
	}
	r->added++;
	if (++r->next == r->entries) {
		r->next = 0;
		r->wrap = !r->wrap;
	}
}

static inline void demi_packed_put(struct demi_vring *r)
{
	r->begun = false;
	__atomic_store_n(&r->pdesc[r->head].flags, r->head_flags, __ATOMIC_RELEASE);
}

/* Does the device want to be told of what was put since the last time? */
static inline bool demi_packed_publish(struct demi_vring *r)
{
	uint16_t flags, event, added = r->added;

	if (!added)
		return false;
	r->added = 0;
	demi_full_barrier();
	flags = __atomic_load_n(&r->device->flags, __ATOMIC_ACQUIRE);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	event = __atomic_load_n(&r->device->off_wrap, __ATOMIC_RELAXED);
	/* as if positions ran on: one of the lap before is as far behind */
	if (!(event & DEMI_PACKED_WRAP) == r->wrap)
		event = (uint16_t)((event & ~DEMI_PACKED_WRAP) - r->entries);
	else
		event = (uint16_t)(event & ~DEMI_PACKED_WRAP);
	return vring_need_event(event, r->next, (uint16_t)(r->next - added));
}

/* Is the next one used? */
static inline bool demi_packed_look(const struct demi_vring *r)
{
	uint16_t flags = __atomic_load_n(&r->pdesc[r->seen].flags, __ATOMIC_ACQUIRE);

	return (flags & (DEMI_PACKED_AVAIL | DEMI_PACKED_USED)) ==
	       (r->seen_wrap ? DEMI_PACKED_AVAIL | DEMI_PACKED_USED : 0);
}

static inline bool demi_packed_peek(const struct demi_vring *r, struct vring_used_elem *out)
{
	const volatile struct vring_packed_desc *d = &r->pdesc[r->seen];

	if (!demi_packed_look(r))
		return false;
	*out = (struct vring_used_elem){ .id = d->id, .len = d->len };
	return true;
}

/* It had @ndesc descriptors, at most as many as the ring. */
static inline void demi_packed_pop(struct demi_vring *r, uint16_t ndesc)
{
	uint32_t seen = (uint32_t)r->seen + ndesc;

	if (seen >= r->entries) {
		seen -= r->entries;
		r->seen_wrap = !r->seen_wrap;
	}
	r->seen = (uint16_t)seen;
}

static inline void demi_packed_quiet(struct demi_vring *r)
{
	if (r->quiet)
		return;
	r->quiet = true;
	__atomic_store_n(&r->driver->flags, VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
}

static inline void demi_packed_arm(struct demi_vring *r)
{
	r->quiet = false;
	__atomic_store_n(&r->driver->off_wrap, (uint16_t)(r->seen | (r->seen_wrap ? DEMI_PACKED_WRAP : 0)),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&r->driver->flags,
			 r->event_idx ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE,
			 __ATOMIC_RELEASE);
}

#endif /* DEMI_PKTDEV_VIRTIO_PACKED_H */
