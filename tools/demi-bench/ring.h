/* SPDX-License-Identifier: MIT */
#ifndef BENCH_RING_H
#define BENCH_RING_H

/*
 * The bare single-producer, single-consumer ring: slots of one size in shared memory. A slot's own number says
 * that it is full, so the consumer looks only at the slot it waits for; the producer looks at the consumer's
 * index only when the ring seems full. One element moves one slot's cache lines from processor to processor and
 * nothing else. It never sleeps, and trusts the other side: the limit for what does more.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RING_SLOTS 256 /* a power of two */

struct ring {
	_Alignas(64) atomic_uint tail; /* written by the consumer */
	_Alignas(64) uint32_t head, tail_seen; /* the producer's own */
	_Alignas(64) uint32_t next; /* the consumer's own: the tail */
	_Alignas(64) uint32_t stride; /* never changes */
	_Alignas(64) char slots[];
};

struct ring_slot {
	atomic_uint full; /* the number of the element + 1 when it is there */
	uint32_t len;
	char data[];
};

static inline uint32_t ring_stride(uint32_t size)
{
	return (uint32_t)((sizeof(struct ring_slot) + size + 63) & ~63U);
}

static inline size_t ring_bytes(uint32_t size)
{
	return sizeof(struct ring) + (size_t)RING_SLOTS * ring_stride(size);
}

static inline struct ring_slot *ring_slot(struct ring *r, uint32_t n)
{
	return (struct ring_slot *)(r->slots + (size_t)(n % RING_SLOTS) * r->stride);
}

static inline bool ring_put(struct ring *r, const void *data, uint32_t len)
{
	struct ring_slot *slot = ring_slot(r, r->head);

	if (r->head - r->tail_seen == RING_SLOTS) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (r->head - r->tail_seen == RING_SLOTS)
			return false;
	}
	slot->len = len;
	memcpy(slot->data, data, len);
	atomic_store_explicit(&slot->full, ++r->head, memory_order_release);
	return true;
}

/* The oldest element, which stays in its slot until ring_drop(); NULL when there is none. */
static inline struct ring_slot *ring_peek(struct ring *r)
{
	struct ring_slot *slot = ring_slot(r, r->next);

	return atomic_load_explicit(&slot->full, memory_order_acquire) == r->next + 1 ? slot : NULL;
}

static inline void ring_drop(struct ring *r)
{
	atomic_store_explicit(&r->tail, ++r->next, memory_order_release);
}

#endif /* BENCH_RING_H */
