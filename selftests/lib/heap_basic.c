/* SPDX-License-Identifier: MIT */
/* valgrind: contents, alignment, place, limits of size, double free, zeroed memory */

#include <demi/heap.h>
#include <demi/sga.h>

#include "heap_check.h"

#include <errno.h>
#include <string.h>

static void test_place(void)
{
	size_t size;

	for (size = 1; size <= (size_t)64 << 20; size = size * 3 / 2 + 1) {
		uintptr_t p = (uintptr_t)demi_malloc(size);

		CHECK(p && p % 16 == 0);
		/* AddressSanitizer's shadow leaves no room there. */
		CHECK(test_under_asan() || (p >= (uintptr_t)4 << 30 && p + size <= (uintptr_t)1 << 38));
		CHECK(demi_malloc_usable_size((void *)p) >= size);
		memset((void *)p, 0x5a, size);
		demi_free((void *)p);
		CHECK(demi_malloc_usable_size((void *)p) == 0);
	}
}

static void test_alignment(void)
{
	size_t align, size;

	for (align = 1; align <= (size_t)2 << 20; align *= 2) {
		for (size = 1; size < (size_t)4 << 20; size = size * 7 + 1) {
			char *p = demi_aligned_alloc(align, size), *q = demi_aligned_alloc(align, size);

			CHECK(p && q && (uintptr_t)p % align == 0 && (uintptr_t)q % align == 0);
			CHECK(p + size <= q || q + size <= p);
			p[0] = p[size - 1] = 1;
			q[0] = q[size - 1] = 2;
			CHECK(p[0] == 1 && p[size - 1] == 1);
			demi_free(p);
			demi_free(q);
		}
	}
	errno = 0;
	CHECK(!demi_aligned_alloc(3, 16) && errno == EINVAL);
	errno = 0;
	CHECK(!demi_aligned_alloc(0, 16) && errno == EINVAL);
	errno = 0;
	CHECK(!demi_aligned_alloc((size_t)4 << 20, 16) && errno == EINVAL);
}

static void test_sga_sizes(void)
{
	demi_sgarray_t sga = demi_sgaalloc(0);

	CHECK(!sga.sga_buf && !sga.sga_numsegs && demi_sgafree(&sga) == EINVAL);
	sga = demi_sgaalloc(DEMI_SGA_MAXBYTES + 1);
	CHECK(!sga.sga_buf && !sga.sga_numsegs);
	sga = demi_sgaalloc(1);
	CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == 1);
	CHECK(demi_sgafree(&sga) == 0 && demi_sgafree(&sga) == EINVAL && demi_sgafree(NULL) == EINVAL);

	sga = demi_sgaalloc(DEMI_SGA_MAXBYTES);
	CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == DEMI_SGA_MAXBYTES);
	((char *)sga.sga_segs[0].sgaseg_buf)[0] = 1;
	((char *)sga.sga_segs[0].sgaseg_buf)[DEMI_SGA_MAXBYTES - 1] = 2;
	sga.sga_segs[0].sgaseg_buf = (char *)sga.sga_segs[0].sgaseg_buf + DEMI_SGA_MAXBYTES - 7;
	CHECK(demi_sgafree(&sga) == 0);
}

/* Nothing is freed if any segment cannot be. */
static void test_sga_invalid(void)
{
	demi_sgarray_t a = demi_sgaalloc(100), b = demi_sgaalloc(100), both = a;
	char stack[8];

	both.sga_numsegs = 2;
	both.sga_segs[1].sgaseg_buf = stack;
	both.sga_segs[1].sgaseg_len = sizeof(stack);
	CHECK(demi_sgafree(&both) == EINVAL);
	CHECK(demi_malloc_usable_size(a.sga_segs[0].sgaseg_buf) >= 100);
	/* one owner cannot be dropped twice */
	both.sga_segs[1].sgaseg_buf = (char *)a.sga_segs[0].sgaseg_buf + 50;
	CHECK(demi_sgafree(&both) == EINVAL);
	CHECK(demi_malloc_usable_size(a.sga_segs[0].sgaseg_buf) >= 100);
	both.sga_numsegs = 3;
	both.sga_segs[1].sgaseg_buf = NULL;
	both.sga_segs[1].sgaseg_len = 0;
	both.sga_segs[2] = b.sga_segs[0];
	CHECK(demi_sgafree(&both) == 0);
	CHECK(demi_malloc_usable_size(a.sga_segs[0].sgaseg_buf) == 0);
	CHECK(demi_malloc_usable_size(b.sga_segs[0].sgaseg_buf) == 0);
	CHECK(demi_sgafree(&a) == EINVAL && demi_sgafree(&b) == EINVAL);
}

static void test_invalid_free(void)
{
	char *p = demi_malloc(64), *q, *r;
	static char outside[64];

	strcpy(p, "still here");
	demi_free(NULL);
	demi_free(outside);
	demi_free(p + 16); /* not the object's start */
	demi_free((void *)-1);
	CHECK(!strcmp(p, "still here") && demi_malloc_usable_size(p) == 64);
	demi_free(p);
	demi_free(p);
	demi_free(p);
	q = demi_malloc(64);
	r = demi_malloc(64);
	CHECK(q && r && q != r);
	demi_free(q);
	demi_free(r);
	errno = 0;
	CHECK(!demi_realloc(p, 100) && errno == EINVAL);
}

static void test_calloc(void)
{
	size_t size, i;
	int round;

	for (size = 8; size <= (size_t)16 << 20; size *= 4) {
		for (round = 0; round < 3; round++) {
			unsigned char *p = demi_calloc(size / 8, 8);

			CHECK(p);
			for (i = 0; i < size; i++)
				CHECK(p[i] == 0);
			memset(p, 0xff, size);
			demi_free(p);
		}
	}
	errno = 0;
	CHECK(!demi_calloc(SIZE_MAX / 2, 3) && errno == ENOMEM);
	errno = 0;
	CHECK(!demi_malloc(SIZE_MAX) && errno == ENOMEM);
	errno = 0;
	CHECK(!demi_malloc((size_t)1 << 45) && errno == ENOMEM);
}

static void test_realloc(void)
{
	unsigned char *p = demi_realloc(NULL, 10);
	size_t next, i;

	memset(p, 7, 10);
	for (next = 11; next < 5000000; next = next * 2 + 3) {
		p = demi_realloc(p, next);
		CHECK(p);
		for (i = 0; i < 10; i++)
			CHECK(p[i] == 7);
		memset(p + 10, 9, next - 10);
	}
	p = demi_realloc(p, 12);
	CHECK(p && p[9] == 7 && p[10] == 9 && demi_malloc_usable_size(p) < 5000);
	CHECK(!demi_realloc(p, 0));
	CHECK(!demi_malloc_usable_size(p));
}

int main(void)
{
	test_place();
	test_alignment();
	test_sga_sizes();
	test_sga_invalid();
	test_invalid_free();
	test_calloc();
	test_realloc();
	return 0;
}
