/* SPDX-License-Identifier: MIT */
/*
 * Objects: allocated, freed, owned and lent.
 *
 * Whoever holds an owner and reads "one owner, no lend" is alone with the object and may write its
 * reference word without a locked instruction. In all other states other threads may change the
 * word at any time. The loads acquire and the read-modify-writes release, so that who makes the word 0
 * has seen the last use by everybody else.
 */

#include "core/enter.h"
#include "core/log.h"
#include "heap/debug.h"
#include "heap/object.h"

#include <errno.h>

bool demi_object_locate(const void *p, struct demi_object *o)
{
	size_t at = demi_span_index(p);
	struct demi_span *s;

	if (at >= DEMI_HEAP_SPANS)
		return false;
	s = &demi_heap.spans[at];
	if (s->kind == DEMI_SPAN_SMALL) {
		const struct demi_class *c = &demi_classes[s->cls];
		uint32_t i = (uint32_t)(((uintptr_t)p & DEMI_SPAN_MASK) * (uint64_t)c->magic >> 32);

		o->span = s;
		o->ref = &s->refs[i];
		o->size = c->size;
		o->start = demi_span_addr(s) + (uintptr_t)i * c->size;
		return i < s->count;
	}
	if (s->kind == DEMI_SPAN_INNER) {
		uint32_t head = demi_heap.heads[at];

		s = &demi_heap.spans[head];
		if ((s->kind != DEMI_SPAN_LARGE && s->kind != DEMI_SPAN_EXTERN) || head > at || at - head >= s->run)
			return false;
	}
	if (s->kind == DEMI_SPAN_EXTERN)
		return demi_extern_find(s, (uintptr_t)p, o);
	if (s->kind != DEMI_SPAN_LARGE)
		return false;
	o->span = s;
	o->ref = &s->large_ref;
	o->start = demi_span_addr(s);
	o->size = (size_t)s->run << DEMI_SPAN_SHIFT;
	return true;
}

bool demi_object_find(const void *p, struct demi_object *o)
{
	if (!demi_object_locate(p, o))
		return false;
	return !demi_heap.debug || o->span->kind == DEMI_SPAN_EXTERN || demi_debug_find(p, o);
}

static void *alloc_large(size_t align, size_t size, bool *zeroed)
{
	size_t n = (size + DEMI_SPAN_MASK) >> DEMI_SPAN_SHIFT, i;
	size_t align_spans = align > DEMI_SPAN_SIZE ? align >> DEMI_SPAN_SHIFT : 1;
	struct demi_span *s;
	uint32_t head;
	bool clean;

	s = demi_run_alloc(n, align_spans, DEMI_SPAN_LARGE, &clean);
	if (!s)
		return NULL;
	head = (uint32_t)(s - demi_heap.spans);
	for (i = 1; i < n; i++)
		demi_heap.heads[head + i] = head;
	s->refs = &s->large_ref;
	s->run = (uint32_t)n;
	atomic_store_explicit(&s->large_ref, DEMI_OWNER_ONE, memory_order_relaxed);
	*zeroed = clean;
	demi_unpoison((void *)demi_span_addr(s), n << DEMI_SPAN_SHIFT);
	return (void *)demi_span_addr(s);
}

/* The smallest class that holds @size and keeps @align: objects begin at multiples of their size. */
static unsigned int class_of_aligned(size_t align, size_t size)
{
	unsigned int cls = demi_class_of(size < align ? align : size);

	while (demi_classes[cls].size & (align - 1))
		cls++;
	return cls;
}

static void *alloc_small(size_t align, size_t size)
{
	struct demi_thread_heap *h = demi_thread_heap_get();
	struct demi_cache *c;
	struct demi_slot *slot;
	unsigned int cls;

	if (!h)
		return NULL;
	cls = align > 16 ? class_of_aligned(align, size) : demi_class_of(size);
	c = &h->cache[cls];
	if (c->top == c->begin && !demi_thread_refill(h, cls))
		return NULL;
	slot = --c->top;
	atomic_store_explicit(slot->ref, DEMI_OWNER_ONE, memory_order_relaxed);
	demi_unpoison(slot->p, demi_classes[cls].size);
	return slot->p;
}

void *demi_heap_alloc_raw(size_t align, size_t size, struct demi_object *o)
{
	bool zeroed;
	void *p = size > DEMI_CLASS_MAX || align > DEMI_CLASS_MAX ? alloc_large(align, size, &zeroed)
								  : alloc_small(align, size);

	return p && demi_object_locate(p, o) ? p : NULL;
}

static void *alloc_any(size_t align, size_t size, bool *zeroed)
{
	if (!size)
		size = 1;
	if (size > PTRDIFF_MAX - 2 * DEMI_HUGE_SIZE || align > DEMI_HUGE_SIZE || demi_heap_init())
		return NULL;
	if (demi_heap.debug)
		return demi_debug_alloc(align, size);
	if (size > DEMI_CLASS_MAX || align > DEMI_CLASS_MAX)
		return alloc_large(align, size, zeroed);
	return alloc_small(align, size);
}

void *demi_heap_alloc_any(size_t align, size_t size, bool *zeroed)
{
	struct demi_ctx *ctx = demi_ctx_self;
	int32_t gate = demi_gate_shut(ctx);
	void *p = alloc_any(align, size, zeroed);

	demi_gate_reopen(ctx, gate);
	if (!p)
		errno = ENOMEM;
	return p;
}

void *demi_heap_alloc_slow(size_t size)
{
	bool zeroed;

	return demi_heap_alloc_any(16, size, &zeroed);
}

void *demi_heap_alloc(size_t size)
{
	return demi_object_alloc(size);
}

void *demi_heap_alloc_aligned(size_t align, size_t size)
{
	bool zeroed;

	if (align <= 16)
		return demi_object_alloc(size);
	return demi_heap_alloc_any(align, size, &zeroed);
}

void demi_heap_release_raw(struct demi_object *o)
{
	struct demi_cache *c = o->span->cache;
	unsigned int cls = o->span->cls;

	demi_poison((void *)o->start, o->size);
	if (o->span->kind == DEMI_SPAN_LARGE) {
		demi_run_free(o->span, o->span->run, false);
		return;
	}
	if (c->top >= c->end)
		demi_thread_flush(o->span->owner, cls, demi_classes[cls].cache_max / 2);
	*c->top++ = (struct demi_slot){ (void *)o->start, o->ref };
}

static void release_here(struct demi_object *o)
{
	struct demi_ctx *ctx = demi_ctx_self;
	int32_t gate = demi_gate_shut(ctx);

	if (demi_heap.debug)
		demi_debug_release(o);
	else
		demi_heap_release_raw(o);
	demi_gate_reopen(ctx, gate);
}

/* The word is 0 and the object nobody's: it goes back to where it came from. */
static void release(struct demi_object *o)
{
	struct demi_thread_heap *owner = o->span->owner;
	void *p = (void *)o->start, *head;

	if (demi_exiting)
		return;
	if (o->span->kind == DEMI_SPAN_EXTERN) {
		demi_extern_release(o);
		return;
	}
	if (demi_heap.debug || o->span->kind == DEMI_SPAN_LARGE || owner == demi_thread_heap) {
		release_here(o);
		return;
	}
	demi_poison((char *)p + sizeof(head), o->size - sizeof(head));
	head = atomic_load_explicit(&owner->remote, memory_order_relaxed);
	do {
		*(void **)p = head;
	} while (!atomic_compare_exchange_weak_explicit(&owner->remote, &head, p, memory_order_release,
							memory_order_relaxed));
}

void demi_object_misuse(const void *p, const char *what)
{
	if (demi_span_index(p) >= DEMI_HEAP_SPANS)
		return;
	if (demi_heap.debug)
		demi_debug_misuse(p, what);
	demi_warn("heap: %s of %p, which is not a live object (DEMI_HEAP=debug tells more)", what, p);
}

int demi_object_free_slow(const void *p, bool exact)
{
	struct demi_object o;
	uint32_t w;

	if (demi_exiting)
		return 0;
	if (!demi_object_find(p, &o) || (exact && o.start != (uintptr_t)p))
		goto misuse;
	w = atomic_load_explicit(o.ref, memory_order_acquire);
	if (w == DEMI_OWNER_ONE) {
		atomic_store_explicit(o.ref, 0, memory_order_relaxed);
		release(&o);
		return 0;
	}
	do {
		if (!(w & DEMI_OWNER_MASK))
			goto misuse;
	} while (!atomic_compare_exchange_weak_explicit(o.ref, &w, w - DEMI_OWNER_ONE, memory_order_acq_rel,
							memory_order_acquire));
	if (w == DEMI_OWNER_ONE)
		release(&o);
	return 0;

misuse: /* nothing happens, but the author may want to know */
	demi_object_misuse(p, "free");
	return -EINVAL;
}

int demi_heap_free(void *p)
{
	return demi_object_free(p, false);
}

/* Add to a word that is not 0. */
static int ref_add(demi_ref_t *ref, uint32_t one, uint32_t mask)
{
	uint32_t w = atomic_load_explicit(ref, memory_order_acquire);

	do {
		if (!w)
			return -EINVAL;
		if ((w & mask) == mask)
			return -EOVERFLOW;
	} while (!atomic_compare_exchange_weak_explicit(ref, &w, w + one, memory_order_relaxed, memory_order_relaxed));
	return 0;
}

int demi_heap_own(const void *p)
{
	struct demi_object o;

	if (!demi_object_find(p, &o))
		return -EINVAL;
	if (atomic_load_explicit(o.ref, memory_order_relaxed) == DEMI_OWNER_ONE) {
		atomic_store_explicit(o.ref, 2 * DEMI_OWNER_ONE, memory_order_relaxed);
		return 0;
	}
	return ref_add(o.ref, DEMI_OWNER_ONE, DEMI_OWNER_MASK);
}

static __attribute__((noinline)) int lend_slow(const void *p, size_t len)
{
	struct demi_object o;
	int ret;

	if (!demi_object_find(p, &o) || len > o.size - ((uintptr_t)p - o.start))
		return -EFAULT;
	ret = ref_add(o.ref, DEMI_LEND_ONE, DEMI_LEND_MASK);
	if (ret != -EINVAL)
		return ret;
	if (demi_heap.debug)
		demi_debug_misuse(p, "use");
	return -EFAULT;
}

int demi_heap_lend(const void *p, size_t len)
{
	size_t in = (uintptr_t)p & DEMI_SPAN_MASK, at = demi_span_index(p);
	const struct demi_span *s;
	demi_ref_t *ref;
	uint64_t i;

	if (at >= DEMI_HEAP_SPANS)
		return -EFAULT;
	s = &demi_heap.spans[at];
	i = in * s->magic >> 32;
	/* Nothing but a small object has a size here. A length of 0 makes the left side wrap, or stays inside. */
	if (in + len - 1 >= (i + 1) * s->size || len > DEMI_SPAN_SIZE)
		return lend_slow(p, len);
	ref = &s->refs[i];
	if (atomic_load_explicit(ref, memory_order_relaxed) != DEMI_OWNER_ONE)
		return lend_slow(p, len);
	atomic_store_explicit(ref, DEMI_OWNER_ONE + DEMI_LEND_ONE, memory_order_relaxed);
	return 0;
}

static __attribute__((noinline)) void unlend_slow(const void *p)
{
	struct demi_object o;

	if (demi_object_find(p, &o) &&
	    atomic_fetch_sub_explicit(o.ref, DEMI_LEND_ONE, memory_order_acq_rel) == DEMI_LEND_ONE)
		release(&o);
}

/* The lend was the last use of the object: it is found again from its word. */
static __attribute__((noinline)) void unlent(struct demi_span *s, demi_ref_t *ref)
{
	struct demi_object o = { .span = s, .ref = ref, .size = s->size };

	o.start = demi_span_addr(s) + (uintptr_t)(ref - s->refs) * s->size;
	release(&o);
}

void demi_heap_unlend(const void *p)
{
	size_t at = demi_span_index(p);
	struct demi_span *s;
	demi_ref_t *ref;

	if (at >= DEMI_HEAP_SPANS)
		return;
	s = &demi_heap.spans[at];
	if (!s->magic) {
		unlend_slow(p);
		return;
	}
	ref = &s->refs[((uintptr_t)p & DEMI_SPAN_MASK) * (uint64_t)s->magic >> 32];
	if (atomic_fetch_sub_explicit(ref, DEMI_LEND_ONE, memory_order_acq_rel) == DEMI_LEND_ONE)
		unlent(s, ref);
}

bool demi_heap_contains(const void *p, size_t len)
{
	struct demi_object o;

	return demi_object_find(p, &o) && len <= o.size - ((uintptr_t)p - o.start) &&
	       atomic_load_explicit(o.ref, memory_order_relaxed);
}

size_t demi_heap_usable(const void *p)
{
	struct demi_object o;

	if (!demi_object_find(p, &o) || !atomic_load_explicit(o.ref, memory_order_relaxed))
		return 0;
	return o.size - ((uintptr_t)p - o.start);
}

unsigned int demi_object_owners(const void *p, uintptr_t *start)
{
	struct demi_object o;

	if (!demi_object_find(p, &o))
		return 0;
	*start = o.start;
	return atomic_load_explicit(o.ref, memory_order_relaxed) / DEMI_OWNER_ONE;
}

bool demi_object_alone(const void *p)
{
	struct demi_object o;

	return !demi_heap.debug && demi_object_find(p, &o) && o.start == (uintptr_t)p &&
	       atomic_load_explicit(o.ref, memory_order_acquire) == DEMI_OWNER_ONE;
}
