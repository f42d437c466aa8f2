/* SPDX-License-Identifier: MIT */
/*
 * LD_PRELOAD=libdemi-malloc.so puts a whole program's allocations into the DMA heap, so that all of its memory
 * can be sent in place (SOSP '21, section 5.3: the allocator is replaced). The functions behave as
 * malloc(3), posix_memalign(3) and malloc_usable_size(3) say. Pointers that are not the heap's come from before it was
 * there: free() passes over them, realloc() leaves them to the allocator that it hides.
 */

#include <demi/heap.h>

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

PUBLIC void *malloc(size_t size)
{
	return demi_malloc(size);
}

PUBLIC void free(void *ptr)
{
	demi_free(ptr);
}

PUBLIC void *calloc(size_t n, size_t size)
{
	return demi_calloc(n, size);
}

static void *realloc_foreign(void *ptr, size_t size)
{
	static void *(*next)(void *, size_t);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "realloc");
	if (next)
		return next(ptr, size);
	errno = ENOMEM;
	return NULL;
}

PUBLIC void *realloc(void *ptr, size_t size)
{
	if (ptr && !demi_malloc_usable_size(ptr))
		return realloc_foreign(ptr, size);
	return demi_realloc(ptr, size);
}

PUBLIC void *reallocarray(void *ptr, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(ptr, bytes);
}

PUBLIC int posix_memalign(void **out, size_t align, size_t size)
{
	int saved = errno;
	void *p;

	if (align < sizeof(void *) || align & (align - 1))
		return EINVAL;
	p = demi_aligned_alloc(align, size);
	errno = saved;
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

/* As glibc's: an alignment that is no power of two is rounded up to one. */
PUBLIC void *memalign(size_t align, size_t size)
{
	void *p;

	if (align > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (align & (align - 1))
		align += align & -align;
	p = demi_aligned_alloc(align ? align : 1, size);
	if (!p)
		errno = ENOMEM;
	return p;
}

PUBLIC void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}

PUBLIC void *valloc(size_t size)
{
	return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

PUBLIC void *pvalloc(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size > SIZE_MAX - page) {
		errno = ENOMEM;
		return NULL;
	}
	return memalign(page, (size + page - 1) & ~(page - 1));
}

PUBLIC size_t malloc_usable_size(void *ptr)
{
	return demi_malloc_usable_size(ptr);
}
