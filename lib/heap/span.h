/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_SPAN_H
#define DEMI_HEAP_SPAN_H

/*
 * The inside of the heap.
 *
 *   base                                                  base + used           base + reserved
 *   |-- area (n x 2 MiB) --|-- area --|-- extern area --| ... |---- PROT_NONE ----|
 *   |span|span|span|...                                         64 KiB each
 *
 * A span belongs to one size class of one thread heap, or is part of a run: a large object, a free
 * run, or memory of somebody else. The table of spans is indexed by (address - base) >> 16.
 * Neither objects nor free memory hold anything of the heap's, with one exception: an object
 * freed by a thread that does not own its span is linked through its first word until the
 * owner takes it back.
 *
 * Locks, in this order: demi_heap_grow_lock (areas, hooks), demi_heap_lock (runs, idle thread heaps).
 * What a span says about itself changes only while no object of it is alive, under demi_heap_lock
 * or in the thread that owns it. Whoever holds a live object may therefore read it without a lock.
 */

#include "heap/heap.h"

#include <pthread.h>
#include <stdatomic.h>

#define DEMI_SPAN_SHIFT 16
#define DEMI_SPAN_SIZE ((size_t)1 << DEMI_SPAN_SHIFT)
#define DEMI_SPAN_MASK (DEMI_SPAN_SIZE - 1)
#define DEMI_HUGE_SIZE ((size_t)2 << 20)
#define DEMI_HUGE_SPANS (DEMI_HUGE_SIZE >> DEMI_SPAN_SHIFT)
#define DEMI_NCLASS 38
#define DEMI_CLASS_MAX 32768 /* larger objects are runs of spans */

/* The reference word of an object. 0: not allocated. */
#define DEMI_LEND_ONE 1u
#define DEMI_LEND_MASK 0xffffu
#define DEMI_OWNER_ONE 0x10000u
#define DEMI_OWNER_MASK 0xffff0000u

typedef _Atomic(uint32_t) demi_ref_t;

enum demi_span_kind {
	DEMI_SPAN_INNER, /* not the first of its run: see heads[] */
	DEMI_SPAN_FREE, /* the first or the last of a free run */
	DEMI_SPAN_SMALL, /* objects of one class */
	DEMI_SPAN_LARGE, /* the first of one large object */
	DEMI_SPAN_EXTERN, /* the first of a mapping of somebody else's */
};

struct demi_heap_extern;
struct demi_thread_heap;
struct demi_debug_record;

struct demi_span {
	/* Small ones outside debug mode: who may use the fast path, and where it puts free objects. Else NULL. */
	struct demi_thread_heap *owner;
	struct demi_cache *cache;
	demi_ref_t *refs; /* one word per object */
	/* ceil(2^32 / size): (offset * magic) >> 32 is offset / size. Both 0 keep off the fast paths. */
	uint32_t magic;
	uint16_t size;
	uint8_t kind;
	uint8_t cls;
	union {
		uint32_t run; /* spans of the run, in its first (free: and last) span; not of small ones */
		struct {
			uint16_t count; /* objects */
			uint16_t nfree; /* of them in free_bits */
		};
	};
	bool fence; /* no free run may grow over this span's start: an area begins */
	bool clean; /* free run: all bytes are 0 */
	union {
		struct {
			struct demi_span *prev, *next; /* owner's list of its class, or a list of free runs */
		};
		demi_ref_t large_ref;
	};
	union {
		uint64_t *free_bits; /* small: objects that are neither allocated nor in a cache */
		struct demi_heap_extern *ext;
		struct demi_debug_record *large_record; /* debug mode */
	};
};
_Static_assert(sizeof(struct demi_span) == 64, "one cache line");

#define DEMI_HEAP_SPANS ((size_t)1 << 20)
#define DEMI_HEAP_MAX (DEMI_HEAP_SPANS << DEMI_SPAN_SHIFT)

#pragma GCC visibility push(hidden)

struct demi_heap {
	/* Before the first allocation far from any pointer; written last: who reads it may read all else. */
	_Atomic(uintptr_t) base;
	/* Both tables have DEMI_HEAP_SPANS elements, of which those behind `used` can only be read. */
	struct demi_span *spans;
	uint32_t *heads; /* of spans of kind INNER: where their run began. May be stale: check */
	size_t used; /* bytes from base that areas have taken; both locks are held by who changes it */
	size_t reserved;
	bool ready;
	bool debug; /* DEMI_HEAP=debug */
	bool hugetlb; /* DEMI_HEAP=hugetlb: take from the pool of reserved huge pages */
};
extern struct demi_heap demi_heap;
extern pthread_mutex_t demi_heap_grow_lock, demi_heap_lock;

/* Free objects that a thread has at hand. */
struct demi_slot {
	void *p;
	demi_ref_t *ref;
};

struct demi_cache {
	struct demi_slot *top; /* first unused; NULL <= begin <= top <= begin + max */
	struct demi_slot *end; /* where it is full; 0 once the process ends */
	struct demi_slot *begin;
};

/*
 * A thread's part of the heap. When the thread ends, another one takes it over as a whole,
 * so that spans never change their owner and the memory of this structure is never given back.
 */
struct demi_thread_heap {
	struct demi_cache cache[DEMI_NCLASS]; /* first: see demi_cache_of */
	struct demi_span *avail[DEMI_NCLASS]; /* spans with nfree > 0 */
	struct demi_thread_heap *next_idle; /* demi_heap_lock */
	_Atomic(void *) remote __attribute__((aligned(64))); /* objects that other threads freed */
};
extern __thread struct demi_thread_heap *demi_thread_heap __attribute__((tls_model("initial-exec")));

/* class.c */
struct demi_class {
	uint32_t size, magic;
	uint16_t count, cache_max;
	uint32_t refs_bytes; /* one word more than objects: 0, for pointers behind the last one */
	uint32_t meta_bytes; /* reference words and free_bits of a span; in debug mode its records follow */
};
extern struct demi_class demi_classes[DEMI_NCLASS];
/* By size, for the sizes that the fast path knows: where in struct demi_thread_heap the cache is. */
#define DEMI_FAST_MAX 2560
extern uint16_t demi_cache_of[DEMI_FAST_MAX + 1];
extern uint8_t demi_class_of_128[DEMI_CLASS_MAX / 128 + 1];
void demi_classes_init(void); /* at load, or at an allocation before that */

static inline unsigned int demi_class_of(size_t size)
{
	return size <= DEMI_FAST_MAX ? demi_cache_of[size] / sizeof(struct demi_cache)
				     : demi_class_of_128[(size + 127) / 128];
}

/* area.c: the reservation, growth, the memory of the heap's own structures */
int demi_heap_init(void); /* 0 or -ENOMEM: try again later */
/* 0: look again. @used is what demi_heap.used was when there was no run: others may have grown it since. */
int demi_heap_grow(size_t nspans, size_t used);
void *demi_meta_alloc(size_t size); /* zeroed, aligned to 64, never given back; takes no heap lock */
int demi_range_take(size_t len, uintptr_t *out); /* for mappings of somebody else; multiples of 64 KiB */
void demi_range_give(uintptr_t addr, size_t len);
extern bool demi_heap_hooked; /* somebody has areas registered: their pages must stay */

/* run.c: runs of spans; demi_heap_lock is held */
void demi_run_give(struct demi_span *s, size_t n, bool clean);
/* Without the lock; grows the heap. The caller fills in the rest of what @kind has. */
struct demi_span *demi_run_alloc(size_t n, size_t align_spans, enum demi_span_kind kind, bool *clean);
void demi_run_free(struct demi_span *s, size_t n, bool clean);

/* thread.c */
/* The caller's, made if need be; NULL without memory. In debug mode the one of all threads. */
struct demi_thread_heap *demi_thread_heap_get(void);
bool demi_thread_refill(struct demi_thread_heap *h, unsigned int cls); /* at least one in the cache */
void demi_thread_flush(struct demi_thread_heap *h, unsigned int cls, size_t keep);
bool demi_thread_scavenge(void); /* what threads that ended left; demi_heap_lock is held */

/* One object, found by any pointer into it. */
struct demi_object {
	struct demi_span *span;
	demi_ref_t *ref;
	uintptr_t start;
	size_t size;
};
bool demi_object_find(const void *p, struct demi_object *o);
/* The same without regard to debug mode: the memory that the object is in. */
bool demi_object_locate(const void *p, struct demi_object *o);

/* extern.c */
bool demi_extern_find(struct demi_span *s, uintptr_t p, struct demi_object *o);
void demi_extern_release(struct demi_object *o);

/* The allocator proper, behind the fast paths. NULL with errno ENOMEM. */
void *demi_heap_alloc_slow(size_t size);
/* Memory out of the caller's thread heap without debug mode's red zones, and back. */
void *demi_heap_alloc_raw(size_t align, size_t size, struct demi_object *o);
void demi_heap_release_raw(struct demi_object *o);
/* @zeroed: set if the memory is known to be all 0. */
void *demi_heap_alloc_any(size_t align, size_t size, bool *zeroed);

/* Of any pointer: it is not the heap's if this is not less than DEMI_HEAP_SPANS. */
static inline size_t demi_span_index(const void *p)
{
	return ((uintptr_t)p - atomic_load_explicit(&demi_heap.base, memory_order_acquire)) >> DEMI_SPAN_SHIFT;
}

/* Of an address in the heap. */
static inline struct demi_span *demi_span_at(uintptr_t addr)
{
	return &demi_heap.spans[demi_span_index((void *)addr)];
}

static inline uintptr_t demi_span_addr(const struct demi_span *s)
{
	return atomic_load_explicit(&demi_heap.base, memory_order_relaxed) +
	       ((uintptr_t)(s - demi_heap.spans) << DEMI_SPAN_SHIFT);
}

#pragma GCC visibility pop

#endif /* DEMI_HEAP_SPAN_H */
