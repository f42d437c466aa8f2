/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_OBJECT_H
#define DEMI_HEAP_OBJECT_H

/* The paths of an allocation and a free that need neither a lock nor a locked instruction. */

#include "core/ctx.h"
#include "heap/span.h"

int demi_object_free_slow(const void *p, bool exact);

/* The owners of the object that @p is in, and where it begins; 0: none. */
unsigned int demi_object_owners(const void *p, uintptr_t *start);

/* Is @p the start of an object with one owner and no lend? */
bool demi_object_alone(const void *p);

static inline void *demi_object_alloc(size_t size)
{
	if (__builtin_expect(size <= 1024, 1)) {
		struct demi_cache *c = &demi_thread_heap->cache[demi_class_of_16[(size + 15) / 16]];
		uint32_t n = c->n;

		if (__builtin_expect(n && size, 1)) {
			const struct demi_slot *slot = &c->slots[--n];

			c->n = n;
			atomic_store_explicit(slot->ref, DEMI_OWNER_ONE, memory_order_relaxed);
			return slot->p;
		}
	}
	return demi_heap_alloc_slow(16, size, NULL);
}

/* @exact: @p must be where the object begins. */
static inline int demi_object_free(void *p, bool exact)
{
	uintptr_t off = (uintptr_t)p - demi_heap.base;
	struct demi_thread_heap *h = demi_thread_heap;
	const struct demi_span *s;
	struct demi_cache *c;
	uint64_t i;
	uintptr_t in, start;
	demi_ref_t *ref;
	uint32_t n;

	if (off >= atomic_load_explicit(&demi_heap.used, memory_order_relaxed))
		return demi_object_free_slow(p, exact);
	s = demi_span_of(off);
	if (s->owner != h)
		return demi_object_free_slow(p, exact);
	in = off & DEMI_SPAN_MASK;
	i = in * s->magic >> 32;
	start = i * s->size;
	ref = &s->refs[i];
	c = &h->cache[s->cls];
	n = c->n;
	/* A pointer behind the last object finds a word that is always 0. */
	if ((exact && in != start) || n == c->max || demi_exiting ||
	    atomic_load_explicit(ref, memory_order_acquire) != DEMI_OWNER_ONE)
		return demi_object_free_slow(p, exact);
	atomic_store_explicit(ref, 0, memory_order_relaxed);
	c->slots[n] = (struct demi_slot){ (void *)((uintptr_t)p - in + start), ref };
	c->n = n + 1;
	return 0;
}

#endif /* DEMI_HEAP_OBJECT_H */
