/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/*
 * A device that registers itself hears of every area, the old ones and the new ones, before an object of it
 * is given out; an area that it refuses is not used; registered pages are not given back to the kernel.
 */

#include <demi/heap.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define MAX 256

struct device {
	struct demi_heap_hook hook; /* first */
	struct {
		char *base;
		size_t len;
	} area[MAX];
	unsigned int n, refuse_at, deleted;
	bool allocates;
};

static int add(struct demi_heap_hook *h, void *base, size_t len)
{
	struct device *d = (struct device *)h;

	if (d->n + 1 == d->refuse_at)
		return -ENOSPC;
	CHECK(d->n < MAX && len && (uintptr_t)base % (2 << 20) == 0 && len % (2 << 20) == 0);
	d->area[d->n].base = base;
	d->area[d->n++].len = len;
	if (d->allocates) {
		void *p = demi_malloc(50000);

		CHECK(p);
		demi_free(p);
	}
	return 0;
}

static void del(struct demi_heap_hook *h, void *base, size_t len)
{
	struct device *d = (struct device *)h;
	unsigned int i;

	for (i = 0; i < d->n; i++)
		if (d->area[i].base == base && d->area[i].len == len)
			break;
	CHECK(i < d->n);
	d->area[i] = d->area[--d->n];
	d->deleted++;
}

static bool knows(const struct device *d, const char *p, size_t len)
{
	unsigned int i;

	for (i = 0; i < d->n; i++)
		if (p >= d->area[i].base && p + len <= d->area[i].base + d->area[i].len)
			return true;
	return false;
}

static struct device a = { .hook = { .add = add, .del = del } }, b = { .hook = { .add = add, .del = del } };

static void test_all_areas(void)
{
	char *before[20], *after[20];
	unsigned int i, n;

	for (i = 0; i < 20; i++)
		before[i] = demi_malloc(3000000);
	CHECK(demi_heap_hook_add(&a.hook) == 0);
	for (i = 0; i < 20; i++)
		CHECK(before[i] && knows(&a, before[i], 3000000));
	n = a.n;
	for (i = 0; i < 20; i++) {
		after[i] = demi_malloc(9000000);
		CHECK(after[i] && knows(&a, after[i], 9000000));
	}
	CHECK(a.n > n);
	b.allocates = true;
	CHECK(demi_heap_hook_add(&b.hook) == 0);
	CHECK(a.n == b.n);
	for (i = 0; i < 20; i++) {
		CHECK(knows(&b, before[i], 3000000) && knows(&b, after[i], 9000000));
		demi_free(before[i]);
		demi_free(after[i]);
	}
}

static void test_refused(void)
{
	struct device c = { .hook = { .add = add, .del = del } };
	unsigned int n = a.n;
	size_t size;
	char *p;

	/* The third area cannot be registered: neither are the others. */
	c.refuse_at = 3;
	CHECK(demi_heap_hook_add(&c.hook) == -ENOSPC);
	CHECK(c.n == 0 && c.deleted == 2);
	/* A new area that one of two devices refuses is not used, and the other one forgets it. */
	a.refuse_at = n + 1;
	b.deleted = 0;
	size = (size_t)700 << 20;
	errno = 0;
	CHECK(!demi_malloc(size) && errno == ENOMEM);
	CHECK(a.n == n && b.n == n && b.deleted >= 1);
	a.refuse_at = 0;
	p = demi_malloc(size);
	CHECK(p && knows(&a, p, size) && knows(&b, p, size));
	demi_free(p);
}

/* What is resident of @p stays if it is registered: the device has its own view of those pages. */
static size_t resident(char *p, size_t len)
{
	static unsigned char vec[(64 << 20) / 4096];
	size_t i, n = 0;

	CHECK(!mincore(p, len, vec));
	for (i = 0; i < len / 4096; i++)
		n += vec[i] & 1;
	return n * 4096;
}

static void test_pages(void)
{
	size_t len = (size_t)64 << 20;
	char *p = demi_malloc(len);

	CHECK(p);
	memset(p, 1, len);
	demi_free(p);
	CHECK(resident(p, len) == len);
	demi_heap_hook_del(&a.hook);
	CHECK(a.n == 0);
	demi_heap_hook_del(&b.hook);
	CHECK(b.n == 0);
	p = demi_malloc(len);
	CHECK(p);
	memset(p, 1, len);
	demi_free(p);
	CHECK(resident(p, len) < len / 8);
}

int main(void)
{
	alarm(100);
	test_all_areas();
	test_refused();
	test_pages();
	return 0;
}
