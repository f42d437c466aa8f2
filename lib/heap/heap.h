/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_HEAP_H
#define DEMI_HEAP_HEAP_H

/*
 * The DMA heap as the rest of the library sees it.
 *
 * An object has owners (whoever may free it: the application, or a queue that received into it and will
 * hand it over) and lends (queues that still need its bytes). It is released when both are 0.
 * Pointers may point anywhere into the object. All functions may be called by any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One owner. @align is a power of two. NULL without memory. */
void *demi_heap_alloc(size_t size);
void *demi_heap_alloc_aligned(size_t align, size_t size);

/* Drop an owner. 0, or -EINVAL: not a live heap object with an owner (nothing happens). */
int demi_heap_free(void *p);

/* Add an owner, e.g. to an element of a memory queue that is shared. 0 or -EINVAL, -EOVERFLOW. */
int demi_heap_own(const void *p);

/*
 * Lend @len bytes at @p. 0; or -EFAULT: not inside one live heap object (copy it then);
 * -EOVERFLOW: lent too often (copy it then).
 */
int demi_heap_lend(const void *p, size_t len);
void demi_heap_unlend(const void *p);

/* Is [p, p + len) inside one live heap object? */
bool demi_heap_contains(const void *p, size_t len);

/* Bytes from @p to the end of its object, 0 if it is none. */
size_t demi_heap_usable(const void *p);

/* The calling thread ends the process: with demi_exiting set, its frees do nothing from now on. */
void demi_heap_stop(void);

/*
 * Areas, for devices. @add is called for every area that exists and for each new one, before any
 * object of it is given out; it may fail, and then the area is not used (new one) or demi_heap_hook_add()
 * fails. @del is called for each when the hook is removed. Not under any lock that @add could need.
 */
struct demi_heap_hook {
	int (*add)(struct demi_heap_hook *h, void *base, size_t len);
	void (*del)(struct demi_heap_hook *h, void *base, size_t len);
	struct demi_heap_hook *next;
};
int demi_heap_hook_add(struct demi_heap_hook *h);
void demi_heap_hook_del(struct demi_heap_hook *h);

/*
 * Memory of somebody else inside the heap's address range, so that its pointers are found as all others
 * are: map @fd (@off, @len: multiples of 64 KiB) read-write and shared. Objects in it are
 * made one at a time with demi_heap_extern_object(): [p, p + len) becomes one object with one owner; its
 * release calls @release (any thread) with @arg and the object's start. Objects must not overlap,
 * start at multiples of 64 bytes. demi_heap_extern_unmap() only when there are no objects in it.
 */
struct demi_heap_extern;
int demi_heap_extern_map(struct demi_heap_extern **out, void **base, int fd, off_t off, size_t len,
			 void (*release)(void *arg, void *p), void *arg);
int demi_heap_extern_object(struct demi_heap_extern *e, void *p, size_t len);
void demi_heap_extern_unmap(struct demi_heap_extern *e);

#endif /* DEMI_HEAP_HEAP_H */
