/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_OBJECT_H
#define DEMI_HEAP_OBJECT_H

/* The paths of an allocation and a free that need neither a lock nor a locked instruction. */

#include "heap/span.h"

/* In a build with AddressSanitizer free memory is poisoned: it finds the use after free. */
#if defined(__SANITIZE_ADDRESS__)
#define DEMI_HEAP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DEMI_HEAP_ASAN 1
#endif
#endif
#ifdef DEMI_HEAP_ASAN
#include <sanitizer/asan_interface.h>
#define demi_poison(p, len) __asan_poison_memory_region(p, len)
#define demi_unpoison(p, len) __asan_unpoison_memory_region(p, len)
#else
#define demi_poison(p, len) ((void)0)
#define demi_unpoison(p, len) ((void)0)
#endif

int demi_object_free_slow(const void *p, bool exact);

/* The owners of the object that @p is in, and where it begins; 0: none. */
unsigned int demi_object_owners(const void *p, uintptr_t *start);

/* The program does @what with a pointer that it must not: a warning, or, in debug mode, the end. */
void demi_object_misuse(const void *p, const char *what);

/* Is @p the start of an object with one owner and no lend, that may stay where it is? Never in debug mode. */
bool demi_object_alone(const void *p);

/* Of at most DEMI_FAST_MAX bytes: in slot->p, if one is at hand; else NULL. The slot is good until the heap is used. */
static inline struct demi_slot *demi_object_take_cached(size_t size)
{
	struct demi_cache *c = (void *)((char *)demi_thread_heap + demi_cache_of[size]);
	struct demi_slot *slot = c->top;

	if (__builtin_expect(slot == c->begin, 0))
		return NULL;
	c->top = --slot;
	atomic_store_explicit(slot->ref, DEMI_OWNER_ONE, memory_order_relaxed);
	demi_unpoison(slot->p, demi_classes[demi_class_of(size)].size);
	return slot;
}

static inline void *demi_object_alloc(size_t size)
{
	if (__builtin_expect(size <= DEMI_FAST_MAX, 1)) {
		struct demi_slot *slot = demi_object_take_cached(size);

		if (__builtin_expect(slot != NULL, 1))
			return slot->p;
	}
	return demi_heap_alloc_slow(size);
}

/* Into the thread's cache. False: it is not so easy, nothing happened. @exact: @p must be where the object begins. */
static inline bool demi_object_give_cached(void *p, bool exact)
{
	size_t at = demi_span_index(p);
	const struct demi_span *s;
	struct demi_slot *slot;
	struct demi_cache *c;
	demi_ref_t *ref;
	uint64_t i;

	if (at >= DEMI_HEAP_SPANS)
		return false;
	s = &demi_heap.spans[at];
	if (s->owner != demi_thread_heap)
		return false;
	/* The quotient is above, the remainder below: less than magic when there is none. */
	i = ((uintptr_t)p & DEMI_SPAN_MASK) * (uint64_t)s->magic;
	if ((uint32_t)i >= s->magic) {
		if (exact)
			return false;
		p = (void *)(((uintptr_t)p & ~DEMI_SPAN_MASK) + (i >> 32) * s->size);
	}
	/* A pointer behind the last object finds a word that is always 0. */
	ref = &s->refs[i >> 32];
	if (atomic_load_explicit(ref, memory_order_acquire) != DEMI_OWNER_ONE)
		return false;
	c = s->cache;
	slot = c->top;
	if (slot >= c->end)
		return false;
	atomic_store_explicit(ref, 0, memory_order_relaxed);
	demi_poison(p, s->size);
	slot->p = p;
	slot->ref = ref;
	c->top = slot + 1;
	return true;
}

static inline int demi_object_free(void *p, bool exact)
{
	return __builtin_expect(demi_object_give_cached(p, exact), 1) ? 0 : demi_object_free_slow(p, exact);
}

#endif /* DEMI_HEAP_OBJECT_H */
