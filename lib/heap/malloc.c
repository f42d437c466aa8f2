/* SPDX-License-Identifier: MIT */
/* The public allocator: include/demi/heap.h. */

#include <demi/heap.h>

#include "core/enter.h"
#include "heap/object.h"

#include <errno.h>
#include <string.h>

DEMI_PUBLIC void *demi_malloc(size_t size)
{
	return demi_object_alloc(size);
}

DEMI_PUBLIC void *demi_calloc(size_t n, size_t size)
{
	bool zeroed = false;
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	p = bytes > DEMI_CLASS_MAX ? demi_heap_alloc_any(16, bytes, &zeroed) : demi_object_alloc(bytes);
	if (p && !zeroed)
		memset(p, 0, bytes);
	return p;
}

/* Worth moving: the object would be less than half used. */
static bool much_smaller(size_t have, size_t size)
{
	return have > 256 && size < have / 2;
}

DEMI_PUBLIC void *demi_realloc(void *ptr, size_t size)
{
	size_t have;
	void *p;

	if (!ptr)
		return demi_malloc(size);
	if (!size) {
		demi_free(ptr);
		return NULL;
	}
	have = demi_malloc_usable_size(ptr);
	if (!have) {
		demi_object_misuse(ptr, "realloc");
		errno = EINVAL;
		return NULL;
	}
	/* What is lent must keep its bytes until the queue is done with them: it is never changed in place. */
	if (size <= have && !much_smaller(have, size) && demi_object_alone(ptr))
		return ptr;
	p = demi_malloc(size);
	if (!p)
		return NULL;
	memcpy(p, ptr, size < have ? size : have);
	demi_free(ptr);
	return p;
}

DEMI_PUBLIC void *demi_aligned_alloc(size_t alignment, size_t size)
{
	if (!alignment || alignment & (alignment - 1) || alignment > DEMI_HUGE_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	return demi_heap_alloc_aligned(alignment, size);
}

DEMI_PUBLIC void demi_free(void *ptr)
{
	(void)demi_object_free(ptr, true);
}

DEMI_PUBLIC size_t demi_malloc_usable_size(void *ptr)
{
	uintptr_t start;

	if (!demi_object_owners(ptr, &start) || start != (uintptr_t)ptr)
		return 0;
	return demi_heap_usable(ptr);
}
