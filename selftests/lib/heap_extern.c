/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a threads */
/* Memory of somebody else in the heap's range: objects made one at a time, found, lent and released as all others. */

#include <demi/heap.h>
#include <demi/sga.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define LEN ((size_t)4 << 20)

static unsigned int nreleased;
static void *last_released;

static void release(void *arg, void *p)
{
	CHECK(arg == &nreleased);
	__atomic_fetch_add(&nreleased, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&last_released, p, __ATOMIC_RELAXED);
}

static int memory(size_t len)
{
	int fd = memfd_create("heap-extern", MFD_CLOEXEC);

	CHECK(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static void test_objects(void)
{
	struct demi_heap_extern *e;
	demi_sgarray_t sga = { .sga_numsegs = 1 };
	int fd = memory(LEN + 65536);
	char *base, *other;

	CHECK(demi_heap_extern_map(&e, (void **)&base, fd, 65536, LEN, release, &nreleased) == 0);
	CHECK(test_under_asan() ||
	      ((uintptr_t)base >= (uintptr_t)4 << 30 && (uintptr_t)base + LEN <= (uintptr_t)1 << 38));
	/* it is that memory, shared */
	other = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 65536);
	CHECK(other != MAP_FAILED);
	strcpy(base + 100000, "through one");
	CHECK(!strcmp(other + 100000, "through one"));

	/* no object, nothing there */
	CHECK(!demi_heap_contains(base, 1) && demi_heap_lend(base + 5, 1) == -EFAULT &&
	      demi_heap_free(base) == -EINVAL);

	CHECK(demi_heap_extern_object(e, base, 100) == 0);
	CHECK(demi_heap_extern_object(e, base + 128, 1000000) == 0);
	CHECK(demi_heap_extern_object(e, base + 128, 64) == -EEXIST);
	CHECK(demi_heap_extern_object(e, base + 32, 1) == -EINVAL);
	CHECK(demi_heap_extern_object(e, base + LEN, 1) == -EINVAL);
	CHECK(demi_heap_extern_object(e, base + LEN - 64, 65) == -EINVAL);
	CHECK(demi_heap_extern_object(e, base + LEN - 64, 64) == 0);

	CHECK(demi_heap_usable(base) == 100 && demi_heap_usable(base + 99) == 1 && demi_heap_usable(base + 100) == 0);
	CHECK(demi_heap_contains(base + 60, 40) && !demi_heap_contains(base + 60, 41));
	CHECK(demi_heap_usable(base + 128 + 999999) == 1 && demi_heap_usable(base + 128 + 1000000) == 0);
	CHECK(demi_heap_usable(base + LEN - 1) == 1);
	CHECK(demi_malloc_usable_size(base + 128) == 1000000);

	/* lent: released by the last user, with the start */
	CHECK(demi_heap_lend(base + 500000, 500128) == 0);
	CHECK(demi_heap_lend(base + 500000, 500129) == -EFAULT);
	sga.sga_segs[0].sgaseg_buf = base + 700000;
	sga.sga_segs[0].sgaseg_len = 10;
	CHECK(demi_sgafree(&sga) == 0 && nreleased == 0);
	demi_heap_unlend(base + 500001);
	CHECK(nreleased == 1 && last_released == base + 128 && !demi_heap_contains(base + 128, 1));
	CHECK(demi_heap_free(base + 128) == -EINVAL);

	/* the place can be used again */
	CHECK(demi_heap_extern_object(e, base + 192, 64) == 0);
	CHECK(demi_heap_own(base + 200) == 0);
	demi_free(base + 192);
	CHECK(nreleased == 1 && demi_heap_free(base + 192) == 0 && nreleased == 2 && last_released == base + 192);
	demi_free(base);
	CHECK(demi_heap_free(base + LEN - 1) == 0);
	CHECK(nreleased == 4);
	demi_heap_extern_unmap(e);
	CHECK(!demi_heap_contains(base, 1));
	munmap(other, LEN);
	close(fd);
}

static void test_rejected(void)
{
	struct demi_heap_extern *e;
	void *base;
	int fd = memory(LEN);

	CHECK(demi_heap_extern_map(&e, &base, fd, 0, 0, release, NULL) == -EINVAL);
	CHECK(demi_heap_extern_map(&e, &base, fd, 0, 4096, release, NULL) == -EINVAL);
	CHECK(demi_heap_extern_map(&e, &base, fd, 4096, 65536, release, NULL) == -EINVAL);
	CHECK(demi_heap_extern_map(&e, &base, fd, 0, (size_t)1 << 50, release, NULL) == -ENOMEM);
	CHECK(demi_heap_extern_map(&e, &base, -1, 0, 65536, release, NULL) == -EBADF);
	close(fd);
}

/* Mapped and unmapped for ever: neither addresses nor memory run out, and the heap lives beside it. */
static void test_many(void)
{
	struct demi_heap_extern *e[8] = { NULL };
	void *base[8], *keep[64];
	int fd = memory(LEN), i;

	for (i = 0; i < 2000; i++) {
		int k = i % 8;

		demi_heap_extern_unmap(e[k]);
		CHECK(demi_heap_extern_map(&e[k], &base[k], fd, 0, 65536 * (size_t)(1 + i % 64), release, NULL) == 0);
		if (i % 32 == 0) {
			keep[i / 32] = demi_malloc(2000000);
			CHECK(keep[i / 32]);
			memset(keep[i / 32], 0x33, 2000000);
		}
	}
	for (i = 0; i < 8; i++)
		demi_heap_extern_unmap(e[i]);
	for (i = 0; i < 2000 / 32; i++) {
		CHECK(((unsigned char *)keep[i])[1999999] == 0x33);
		demi_free(keep[i]);
	}
	close(fd);
}

static void *free_all(void *arg)
{
	char **p = arg;
	int i;

	for (i = 0; i < 1000; i++)
		demi_free(p[i]);
	return NULL;
}

static void test_other_thread(void)
{
	struct demi_heap_extern *e;
	char *base, *p[1000];
	int fd = memory(LEN), i;
	pthread_t t;

	nreleased = 0;
	CHECK(demi_heap_extern_map(&e, (void **)&base, fd, 0, LEN, release, &nreleased) == 0);
	for (i = 0; i < 1000; i++) {
		p[i] = base + 4096 * i;
		CHECK(demi_heap_extern_object(e, p[i], 4096) == 0);
		CHECK(demi_heap_lend(p[i] + 100, 1) == 0);
	}
	CHECK(!pthread_create(&t, NULL, free_all, p));
	for (i = 0; i < 1000; i++)
		demi_heap_unlend(p[i]);
	CHECK(!pthread_join(t, NULL) && nreleased == 1000);
	demi_heap_extern_unmap(e);
	close(fd);
}

int main(void)
{
	alarm(60);
	test_objects();
	test_rejected();
	test_many();
	test_other_thread();
	return 0;
}
