/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_RING_H
#define DEMI_PKTDEV_VIRTIO_RING_H

/* A virtqueue of either kind, driven in the same way. What each call is for stands in split.h. */

#include "pktdev/virtio/packed.h"
#include "pktdev/virtio/split.h"

static inline int demi_vring_init(struct demi_vring *r, char *map, size_t map_bytes, const struct demi_virtio_ring *at,
				  bool packed, bool event_idx)
{
	if (at->doorbell > map_bytes - sizeof(*r->doorbell))
		return -EPROTO;
	*r = (struct demi_vring){ .doorbell = (void *)(map + at->doorbell),
				  .entries = at->entries,
				  .index = at->index,
				  .packed = packed,
				  .event_idx = event_idx };
	return packed ? demi_packed_init(r, map, map_bytes, at) : demi_split_init(r, map, map_bytes, at);
}

/* Descriptor @i of the chain that begins with @head: in the order of the chain. */
static inline void demi_vring_describe(struct demi_vring *r, uint16_t head, uint16_t i, uintptr_t addr, uint32_t len,
				       uint16_t flags, uint16_t next)
{
	if (r->packed)
		demi_packed_describe(r, head, addr, len, flags);
	else
		demi_split_describe(r, i, addr, len, flags, next);
}

static inline void demi_vring_put(struct demi_vring *r, uint16_t head)
{
	if (r->packed)
		demi_packed_put(r);
	else
		demi_split_put(r, head);
}

static inline bool demi_vring_publish(struct demi_vring *r)
{
	return r->packed ? demi_packed_publish(r) : demi_split_publish(r);
}

/* Right after publish: of what was there before it, up to where @next was, had the device less than @n left? */
static inline bool demi_vring_was_short(const struct demi_vring *r, uint16_t next, int16_t n)
{
	/* negative: it has used some of what was published since */
	return !r->packed && (int16_t)(next - __atomic_load_n(&r->used->idx, __ATOMIC_RELAXED)) < n;
}

static inline void demi_vring_kick(const struct demi_vring *r)
{
	__atomic_store_n(r->doorbell, r->index, __ATOMIC_RELEASE);
}

static inline int demi_vring_look(struct demi_vring *r)
{
	return r->packed ? demi_packed_look(r) : demi_split_look(r);
}

static inline bool demi_vring_peek(const struct demi_vring *r, struct vring_used_elem *out)
{
	return r->packed ? demi_packed_peek(r, out) : demi_split_peek(r, out);
}

static inline void demi_vring_pop(struct demi_vring *r, uint16_t ndesc)
{
	if (r->packed)
		demi_packed_pop(r, ndesc);
	else
		demi_split_pop(r);
}

static inline void demi_vring_quiet(struct demi_vring *r)
{
	if (r->packed)
		demi_packed_quiet(r);
	else
		demi_split_quiet(r);
}

static inline void demi_vring_arm(struct demi_vring *r)
{
	if (r->packed)
		demi_packed_arm(r);
	else
		demi_split_arm(r);
}

#endif /* DEMI_PKTDEV_VIRTIO_RING_H */
