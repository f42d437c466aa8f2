/* SPDX-License-Identifier: MIT */
/* no-asan: it looks at the heap's own mappings */
/*
 * What the heap costs: little until a program needs more than 2 MiB, huge pages after that where the kernel
 * has them, and what is not needed any more goes back.
 */

#include <demi/heap.h>

#include "heap_check.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

static size_t resident(void)
{
	unsigned long size, rss;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%lu %lu", &size, &rss) == 2);
	fclose(f);
	return rss * 4096;
}

/* Does the mapping that @p is in have this flag (proc(5), VmFlags)? */
static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false, found = false;
	char line[1024];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag);
	}
	fclose(f);
	return found;
}

static void test_small_process(void)
{
	size_t before = resident(), i;
	char *first = demi_malloc(64), *p;

	CHECK(first);
	/* 200 KiB in objects of six sizes */
	for (i = 0; i < 300; i++) {
		p = demi_malloc((size_t)64 << i % 6);
		CHECK(p);
		memset(p, 1, (size_t)64 << i % 6);
	}
	CHECK(resident() - before < (size_t)512 << 10);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0)
		CHECK(!has_flag(first, " hg"));
}

static void test_huge_pages(void)
{
	size_t len = (size_t)32 << 20;
	char *p = demi_malloc(len);

	CHECK(p);
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0)
		CHECK(has_flag(p + len / 2, " hg"));
	demi_free(p);
}

static void test_given_back(void)
{
	size_t before = resident(), len = (size_t)256 << 20, i;
	char *p = demi_malloc(len), *q;

	CHECK(p);
	for (i = 0; i < len; i += 4096)
		p[i] = 1;
	CHECK(resident() > before + len / 2);
	demi_free(p);
	CHECK(resident() < before + ((size_t)40 << 20));
	/* and it is zeroed memory that comes back */
	q = demi_calloc(1, len);
	CHECK(q);
	for (i = 0; i < len; i += 4096)
		CHECK(q[i] == 0);
	demi_free(q);
}

/* The same addresses serve again and again: the range does not run out. */
static void test_reuse(void)
{
	uintptr_t low = UINTPTR_MAX, high = 0;
	uint64_t rnd = test_seed();
	char *p[40] = { NULL };
	int i;

	for (i = 0; i < 20000; i++) {
		size_t k = test_random(&rnd) % 40;

		demi_free(p[k]);
		p[k] = demi_malloc(1 + test_random(&rnd) % ((size_t)3 << 20));
		CHECK(p[k]);
		p[k][0] = 1;
		low = (uintptr_t)p[k] < low ? (uintptr_t)p[k] : low;
		high = (uintptr_t)p[k] > high ? (uintptr_t)p[k] : high;
	}
	for (i = 0; i < 40; i++)
		demi_free(p[i]);
	CHECK(high - low < (size_t)1 << 30);
}

/* Pages of the kernel's reserved pool, if there are any: the heap works, with them and without. */
static void test_hugetlb(void)
{
	pid_t pid = fork();
	char *p;

	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!setenv("DEMI_HEAP", "hugetlb", 1));
		p = demi_malloc((size_t)5 << 20);
		CHECK(p);
		memset(p, 1, (size_t)5 << 20);
		demi_free(p);
		_exit(0);
	}
	CHECK(test_wait(pid) == 0);
}

int main(void)
{
	alarm(60);
	test_hugetlb(); /* before this process has a heap */
	test_small_process();
	test_huge_pages();
	test_given_back();
	test_reuse();
	return 0;
}
