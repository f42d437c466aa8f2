/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_RING_MEM_H
#define DEMI_PKTDEV_RING_MEM_H

/*
 * One context of demi.ko for all contexts of this process that are in the same network namespace, and the heap
 * registered with it, so that memory is pinned and charged once.
 *
 * Who may lock memory freely has whole areas of the heap registered. Who has a limit (RLIMIT_MEMLOCK, which counts all
 * processes of the user) registers single spans of 64 KiB, those that hold receive buffers, as they are needed
 * and as far as the limit goes; what lies elsewhere is copied.
 *
 * Any thread may make the heap grow, and so call the hook; the table is written before objects of the memory are
 * given out, and who has an object reads it without a lock.
 */

#include "heap/heap.h"
#include "heap/span.h"
#include "kdev/kdev.h"

#include <stdatomic.h>
#include <sys/types.h>

struct demi_ring_mem {
	struct demi_heap_hook hook; /* first */
	struct demi_ring_mem *next;
	unsigned int users;
	dev_t ns_dev; /* which network namespace */
	ino_t ns_ino;
	int fd;
	struct demi_get_info info;
	struct demi_device_info host;
	uint64_t area_budget_bytes; /* what areas may still take; under the heap's lock of areas */
	bool ending; /* closing the file unregisters all at once */
	bool said_small; /* under that lock, too */
	atomic_bool full; /* registering has failed: do not try again */
	/* By span of the heap, 0: not registered; and where each region begins. */
	_Atomic(uint16_t) *region_of;
	_Atomic(uintptr_t) *base_of;
};

/* Get this thread's one, made if need be. -errno of demi_kdev_open(). */
int demi_ring_mem_get(struct demi_ring_mem **out);
void demi_ring_mem_put(struct demi_ring_mem *m);

/* Have [p, p + len) registered, whose spans are registered one by one if they are not. 0 or -ENOMEM. */
int demi_ring_mem_register(struct demi_ring_mem *m, const void *p, size_t len);

/* The region of a heap object's bytes, 0 if the kernel cannot reach them. */
static inline uint32_t demi_ring_mem_find(const struct demi_ring_mem *m, const void *p, size_t len, uint64_t *offset)
{
	size_t first = demi_span_index(p), last = demi_span_index((const char *)p + len - 1);
	uint32_t region;

	if (first >= DEMI_HEAP_SPANS || last >= DEMI_HEAP_SPANS)
		return 0;
	region = atomic_load_explicit(&m->region_of[first], memory_order_relaxed);
	if (!region || region != atomic_load_explicit(&m->region_of[last], memory_order_relaxed))
		return 0;
	*offset = (uintptr_t)p - atomic_load_explicit(&m->base_of[region], memory_order_relaxed);
	return region;
}

#endif /* DEMI_PKTDEV_RING_MEM_H */
