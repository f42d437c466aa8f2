/* SPDX-License-Identifier: MIT */
/* no-asan: AddressSanitizer cannot live in so little memory */
/* The kernel refuses memory: ENOMEM, nothing crashes, what is there stays whole, and later it works again. */

#include <demi/heap.h>
#include <demi/sga.h>

#include "heap_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

static void limit(int what, size_t to)
{
	struct rlimit r;

	CHECK(!getrlimit(what, &r));
	r.rlim_cur = to < r.rlim_max ? to : r.rlim_max;
	CHECK(!setrlimit(what, &r));
}

static size_t mapped(void)
{
	unsigned long pages;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return pages * 4096;
}

/* No room for the reservation at all, then for a small one, then for any. */
static void no_reservation(void)
{
	size_t start = mapped(), room;
	bool refused = false;

	for (room = 0; room < (size_t)1 << 40; room = room * 2 + (1 << 20)) {
		demi_sgarray_t sga;
		char *p;

		limit(RLIMIT_AS, start + room);
		errno = 0;
		p = demi_malloc(100);
		if (p) {
			memset(p, 1, 100);
			demi_free(p);
			break;
		}
		CHECK(errno == ENOMEM && !demi_calloc(1, 100000) && !demi_aligned_alloc(4096, 4096));
		CHECK(!demi_realloc(NULL, 5));
		sga = demi_sgaalloc(1000);
		CHECK(!sga.sga_buf && !sga.sga_numsegs);
		refused = true;
	}
	CHECK(refused && room < (size_t)1 << 40);
}

/* Memory runs out while the heap grows, at every size of object. */
static void no_growth(size_t size)
{
	void **p, *list = NULL;
	size_t n = 0;

	p = demi_malloc(size);
	CHECK(p);
	demi_free(p);
	limit(RLIMIT_DATA, 4096); /* 0 means something else: mm/mmap.c, "Workaround for Valgrind" */
	/* it may use up what it has */
	for (;;) {
		errno = 0;
		p = demi_malloc(size);
		if (!p)
			break;
		CHECK(n++ < (size_t)1 << 24);
		*p = list;
		list = p;
	}
	CHECK(errno == ENOMEM);
	p = list;
	if (p) {
		errno = 0;
		CHECK(!demi_realloc(p, (size_t)64 << 20) && errno == ENOMEM);
		CHECK(p == list && demi_malloc_usable_size(p) >= size);
	}
	limit(RLIMIT_DATA, RLIM_INFINITY);
	p = demi_malloc(size);
	CHECK(p);
	demi_free(p);
	while (list) {
		p = list;
		list = *p;
		demi_free(p);
		n--;
	}
	CHECK(n == 0);
}

static int in_child(void (*f)(size_t), size_t size)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		f(size);
		_exit(0);
	}
	return test_wait(pid);
}

static void reservation(size_t size)
{
	no_reservation();
}

int main(void)
{
	static const size_t sizes[] = { 16, 100, 1000, 10000, 32768, 40000, 1000000, 20000000 };
	size_t i;

	if (test_under_tsan()) {
		puts("ThreadSanitizer needs more memory than the limits of this test");
		return 77;
	}
	alarm(100);
	CHECK(in_child(reservation, 0) == 0);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		CHECK(in_child(no_growth, sizes[i]) == 0);
	return 0;
}
