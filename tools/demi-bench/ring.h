/* SPDX-License-Identifier: MIT */
#ifndef BENCH_RING_H
#define BENCH_RING_H

/*
 * The bare single-producer, single-consumer ring: slots of one size in shared memory, an index on a cache line
 * of its own for either side, and each side's remembered copy of the other's index, so that the other's
 * line is read only when the ring looks full or empty. Nothing can be faster between two processors; it never
 * sleeps, and trusts the other side.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define RING_SLOTS 256 /* a power of two */

struct ring {
	_Alignas(64) atomic_uint head; /* written by the producer */
	_Alignas(64) atomic_uint tail; /* written by the consumer */
	_Alignas(64) uint32_t tail_seen; /* the producer's own */
	_Alignas(64) uint32_t head_seen; /* the consumer's own */
	_Alignas(64) uint32_t stride;
	_Alignas(64) char slots[];
};

struct ring_slot {
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

static inline bool ring_put(struct ring *r, const void *data, uint32_t len)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	struct ring_slot *slot;

	if (head - r->tail_seen == RING_SLOTS) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head - r->tail_seen == RING_SLOTS)
			return false;
	}
	slot = (struct ring_slot *)(r->slots + (size_t)(head % RING_SLOTS) * r->stride);
	slot->len = len;
	memcpy(slot->data, data, len);
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return true;
}

/* The oldest element, which stays in its slot until ring_drop(); NULL when there is none. */
static inline struct ring_slot *ring_peek(struct ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	if (tail == r->head_seen) {
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail == r->head_seen)
			return NULL;
	}
	return (struct ring_slot *)(r->slots + (size_t)(tail % RING_SLOTS) * r->stride);
}

static inline void ring_drop(struct ring *r)
{
	atomic_store_explicit(&r->tail, atomic_load_explicit(&r->tail, memory_order_relaxed) + 1, memory_order_release);
}

#endif /* BENCH_RING_H */
