/* SPDX-License-Identifier: MIT */
/* What a thread has of the heap: caches of free objects, the spans they come from. */

#include "heap/object.h"

#include <errno.h>

/* Has empty caches for ever: the fast paths need no test for a thread that has no heap yet. */
static struct demi_thread_heap nobody;

__thread struct demi_thread_heap *demi_thread_heap __attribute__((tls_model("initial-exec"))) = &nobody;

static struct demi_thread_heap *idle; /* of threads that ended; demi_heap_lock */
static void *free_meta[DEMI_NCLASS]; /* of spans given back: all words 0, all bits 1; demi_heap_lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;

static void avail_add(struct demi_thread_heap *h, struct demi_span *s)
{
	s->prev = NULL;
	s->next = h->avail[s->cls];
	if (s->next)
		s->next->prev = s;
	h->avail[s->cls] = s;
}

static void avail_del(struct demi_thread_heap *h, struct demi_span *s)
{
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		h->avail[s->cls] = s->next;
}

/* demi_heap_lock is held. The first word of unused meta data links it: it is a reference word else. */
static void *meta_take(unsigned int cls)
{
	void **m = free_meta[cls];

	if (m) {
		free_meta[cls] = *m;
		*m = NULL;
	}
	return m;
}

static uint64_t *bits_of(void *meta, unsigned int cls)
{
	return (uint64_t *)((char *)meta + demi_classes[cls].refs_bytes);
}

static void *meta_new(unsigned int cls)
{
	const struct demi_class *c = &demi_classes[cls];
	size_t records = demi_heap.debug ? c->count * sizeof(struct demi_debug_record *) : 0;
	void *meta = demi_meta_alloc(c->meta_bytes + records);
	unsigned int i;

	if (!meta)
		return NULL;
	for (i = 0; i < c->count; i++)
		bits_of(meta, cls)[i / 64] |= (uint64_t)1 << i % 64;
	return meta;
}

static struct demi_span *span_new(struct demi_thread_heap *h, unsigned int cls)
{
	const struct demi_class *c = &demi_classes[cls];
	struct demi_span *s;
	bool clean;
	void *meta;

	pthread_mutex_lock(&demi_heap_lock);
	meta = meta_take(cls);
	pthread_mutex_unlock(&demi_heap_lock);
	if (!meta)
		meta = meta_new(cls);
	if (!meta)
		return NULL;
	s = demi_run_alloc(1, 1, DEMI_SPAN_SMALL, &clean);
	if (!s) {
		pthread_mutex_lock(&demi_heap_lock);
		*(void **)meta = free_meta[cls];
		free_meta[cls] = meta;
		pthread_mutex_unlock(&demi_heap_lock);
		return NULL;
	}
	s->refs = meta;
	s->free_bits = bits_of(meta, cls);
	s->cls = (uint8_t)cls;
	s->count = s->nfree = c->count;
	s->size = demi_heap.debug ? 0 : (uint16_t)c->size;
	s->magic = demi_heap.debug ? 0 : c->magic;
	s->cache = &h->cache[cls];
	s->owner = h;
	avail_add(h, s);
	return s;
}

/* All its objects are free. demi_heap_lock is held. */
static void span_give(struct demi_thread_heap *h, struct demi_span *s)
{
	void *meta = (void *)s->refs;

	avail_del(h, s);
	*(void **)meta = free_meta[s->cls];
	free_meta[s->cls] = meta;
	demi_run_give(s, 1, false);
}

/* @locked: demi_heap_lock is held. */
static void object_give(struct demi_thread_heap *h, struct demi_span *s, demi_ref_t *ref, bool locked)
{
	unsigned int i = (unsigned int)(ref - s->refs);

	s->free_bits[i / 64] |= (uint64_t)1 << i % 64;
	if (s->nfree++ == 0)
		avail_add(h, s);
	/* The last span of a class stays, so that one object made and freed does not move it about. */
	if (s->nfree < s->count || (!s->next && !s->prev))
		return;
	if (!locked)
		pthread_mutex_lock(&demi_heap_lock);
	span_give(h, s);
	if (!locked)
		pthread_mutex_unlock(&demi_heap_lock);
}

void demi_thread_flush(struct demi_thread_heap *h, unsigned int cls, size_t keep)
{
	struct demi_cache *c = &h->cache[cls];

	while (c->top > c->begin + keep) {
		struct demi_slot *slot = --c->top;

		object_give(h, demi_span_at((uintptr_t)slot->p), slot->ref, false);
	}
}

/*
 * Take back what other threads freed. The list runs through free memory, into which a faulty program
 * may have written: only what can be an object of this heap is believed.
 */
static void take_remote(struct demi_thread_heap *h, bool locked)
{
	void *p = atomic_exchange_explicit(&h->remote, NULL, memory_order_acquire);

	while (p) {
		struct demi_object o;
		void *next;

		if (!demi_object_find(p, &o) || o.start != (uintptr_t)p || o.span->owner != h ||
		    atomic_load_explicit(o.ref, memory_order_relaxed))
			break;
		next = *(void **)p;
		demi_poison(p, sizeof(next));
		object_give(h, o.span, o.ref, locked);
		p = next;
	}
}

/* From the lowest address up, so that the lowest is handed out first and little memory is touched. */
static uint32_t fill_from(struct demi_thread_heap *h, struct demi_span *s, uint32_t want)
{
	struct demi_cache *c = &h->cache[s->cls];
	uintptr_t addr = demi_span_addr(s);
	uint32_t n = s->nfree < want ? s->nfree : want, left = n;
	unsigned int w;

	s->nfree -= (uint16_t)n;
	if (!s->nfree)
		avail_del(h, s);
	c->top += n;
	for (w = 0; left; w++) {
		while (s->free_bits[w] && left) {
			unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(s->free_bits[w]);

			s->free_bits[w] &= s->free_bits[w] - 1;
			left--;
			c->top[(ptrdiff_t)left - n] =
				(struct demi_slot){ (void *)(addr + i * demi_classes[s->cls].size), &s->refs[i] };
		}
	}
	return n;
}

bool demi_thread_refill(struct demi_thread_heap *h, unsigned int cls)
{
	struct demi_cache *c = &h->cache[cls];
	uint32_t want = demi_classes[cls].cache_max / 2;

	if (atomic_load_explicit(&h->remote, memory_order_relaxed))
		take_remote(h, false);
	while (want) {
		struct demi_span *s = h->avail[cls];

		if (!s && c->top != c->begin)
			break;
		if (!s)
			s = span_new(h, cls);
		if (!s)
			break;
		want -= fill_from(h, s, want);
	}
	return c->top != c->begin;
}

/* demi_heap_lock is held. */
static bool give_empty(struct demi_thread_heap *h)
{
	bool any = false;
	unsigned int cls;

	for (cls = 0; cls < DEMI_NCLASS; cls++) {
		struct demi_span *s, *next;

		for (s = h->avail[cls]; s; s = next) {
			next = s->next;
			if (s->nfree < s->count)
				continue;
			span_give(h, s);
			any = true;
		}
	}
	return any;
}

/* Take back what was freed of the objects of threads that ended. The lock makes their heaps the caller's. */
bool demi_thread_scavenge(void)
{
	struct demi_thread_heap *h;
	bool any = false;

	for (h = idle; h; h = h->next_idle) {
		take_remote(h, true);
		any |= give_empty(h);
	}
	return any;
}

static void thread_end(void *arg)
{
	struct demi_thread_heap *h = arg;
	unsigned int cls;

	demi_thread_heap = &nobody;
	for (cls = 0; cls < DEMI_NCLASS; cls++)
		demi_thread_flush(h, cls, 0);
	take_remote(h, false);
	pthread_mutex_lock(&demi_heap_lock);
	give_empty(h);
	h->next_idle = idle;
	idle = h;
	pthread_mutex_unlock(&demi_heap_lock);
}

static void make_key(void)
{
	have_key = !pthread_key_create(&key, thread_end);
}

static struct demi_thread_heap *thread_heap_new(void)
{
	struct demi_thread_heap *h;
	struct demi_slot *slots;
	unsigned int cls, n = 0;

	for (cls = 0; cls < DEMI_NCLASS; cls++)
		n += demi_classes[cls].cache_max;
	h = demi_meta_alloc(sizeof(*h) + n * sizeof(*slots));
	if (!h)
		return NULL;
	slots = (struct demi_slot *)(h + 1);
	for (cls = 0; cls < DEMI_NCLASS; cls++) {
		struct demi_cache *c = &h->cache[cls];

		c->begin = c->top = slots;
		slots += demi_classes[cls].cache_max;
		c->end = slots;
	}
	return h;
}

void demi_heap_stop(void)
{
	struct demi_thread_heap *h = demi_thread_heap;
	unsigned int cls;

	if (h == &nobody)
		return;
	for (cls = 0; cls < DEMI_NCLASS; cls++)
		h->cache[cls].end = NULL;
}

struct demi_thread_heap *demi_thread_heap_get(void)
{
	static struct demi_thread_heap *shared;
	struct demi_thread_heap *h = demi_thread_heap;

	if (h != &nobody)
		return h;
	if (demi_heap_init())
		return NULL;
	if (demi_heap.debug) {
		if (!shared)
			shared = thread_heap_new();
		return shared;
	}
	pthread_mutex_lock(&demi_heap_lock);
	h = idle;
	if (h)
		idle = h->next_idle;
	pthread_mutex_unlock(&demi_heap_lock);
	if (!h)
		h = thread_heap_new();
	if (!h)
		return NULL;
	demi_thread_heap = h; /* first: pthread_setspecific() may allocate */
	pthread_once(&once, make_key);
	/* If either fails, this heap is lost to others when the thread ends. */
	if (have_key)
		(void)pthread_setspecific(key, h);
	return h;
}
