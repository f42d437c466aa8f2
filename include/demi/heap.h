/* SPDX-License-Identifier: MIT */
#ifndef DEMI_HEAP_H
#define DEMI_HEAP_H

/**
 * DOC: the DMA heap
 *
 * Memory that devices can reach. Areas are aligned, lie between 4 GiB and 2^38 (so that an
 * IO virtual address can equal the address and fit 39 bits) and consist of huge pages where they
 * can be had. Opening a device registers every area with it, so that no operation ever has to.
 *
 * Free protection: memory that is lent to a queue may be freed at once; the last user releases it.
 * There is no write protection: do not write to lent memory (SOSP '21, sections 4.2 and 5.3).
 *
 * All calls may be made by any thread, with or without a context, and objects may be freed in
 * any thread; areas outlive the thread that made them. After fork(2) the child has a private copy
 * of the heap that it may read, write and free. None of them is async-signal-safe.
 *
 * DEMI_HEAP=debug surrounds objects with red zones and poison and names the culprit of an
 * overrun, a double free or a use after free. DEMI_HEAP=hugetlb takes areas out of the kernel's pool of
 * reserved huge pages as long as that has some; otherwise transparent huge pages are asked for, which
 * also a child of fork(2) can always copy.
 */

#include <demi/cc.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** demi_malloc - @size bytes, aligned to 16; NULL (errno ENOMEM) when there is none; @size 0 as 1 */
extern void *demi_malloc(size_t size);

/** demi_calloc - as demi_malloc(), zeroed; NULL also when @n * @size overflows */
extern void *demi_calloc(size_t n, size_t size);

/**
 * demi_realloc - change an object's size; moves it when it has to, and always when it is lent
 * @ptr:  a heap object or NULL
 * @size: 0 frees @ptr and returns NULL
 *
 * Returns the object's new place, or NULL (errno ENOMEM; EINVAL: not a live heap object) with @ptr
 * as it was.
 */
extern void *demi_realloc(void *ptr, size_t size);

/**
 * demi_aligned_alloc - as demi_malloc(), with more alignment
 * @alignment: a power of two up to 2 MiB; else NULL with errno EINVAL
 * @size:      bytes
 */
extern void *demi_aligned_alloc(size_t alignment, size_t size);

/** demi_free - give back an object; NULL and pointers that are not live heap objects are passed over */
extern void demi_free(void *ptr);

/** demi_malloc_usable_size - bytes that may be used at @ptr; 0 for what is not a live heap object */
extern size_t demi_malloc_usable_size(void *ptr);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_HEAP_H */
