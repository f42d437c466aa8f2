/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a threads */
/*
 * Objects freed by other threads than those that made them, lends that end in other threads, and heaps of
 * threads that ended: contents stay whole, memory is used again.
 */

#include <demi/heap.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define NTHREADS 4
#define RING 256
#define ROUNDS 100000

/* The first call of all, by several threads at once, while others look up pointers that are not the heap's. */
static void *first_call(void *arg)
{
	char outside[64];
	void *p;
	int i;

	for (i = 0; i < 100; i++) {
		CHECK(demi_heap_lend(outside, 10) == -EFAULT && demi_malloc_usable_size(outside) == 0);
		demi_free(outside);
	}
	p = demi_malloc(100);
	CHECK(p && demi_malloc_usable_size(p) >= 100);
	demi_free(p);
	return NULL;
}

static void test_first_call(void)
{
	pthread_t t[NTHREADS];
	int i;

	for (i = 0; i < NTHREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, first_call, NULL));
	for (i = 0; i < NTHREADS; i++)
		CHECK(!pthread_join(t[i], NULL));
}

/* One producer, one consumer; an element is a live object whose first word is its length. */
struct ring {
	_Atomic(size_t *) slot[RING];
};
static struct ring rings[NTHREADS];
static atomic_int failed;

#define FAIL_IF(c)                                                                                                     \
	do {                                                                                                           \
		if (c) {                                                                                               \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c);                                        \
			atomic_store(&failed, 1);                                                                      \
		}                                                                                                      \
	} while (0)

static void take(struct ring *in, unsigned int i)
{
	size_t *p = atomic_exchange(&in->slot[i % RING], NULL), len;

	if (!p)
		return;
	len = *p;
	FAIL_IF(len < 16 || ((unsigned char *)p)[len - 1] != (unsigned char)len);
	memset(p, 0xee, len);
	switch (len % 3) {
	case 0: /* freed while lent */
		FAIL_IF(demi_heap_lend(p, len));
		demi_free(p);
		demi_heap_unlend(p);
		break;
	case 1:
		FAIL_IF(demi_heap_own(p));
		demi_free(p);
		FAIL_IF(demi_heap_free(p));
		break;
	default:
		demi_free(p);
	}
}

static void *work(void *arg)
{
	size_t me = (size_t)arg;
	struct ring *out = &rings[(me + 1) % NTHREADS];
	uint64_t rnd = me + 77;
	unsigned int i, rounds = test_under_tsan() ? ROUNDS / 5 : ROUNDS;

	for (i = 0; i < rounds; i++) {
		size_t len = 16 + test_random(&rnd) % (i % 100 ? 600 : 100000), *none = NULL;
		unsigned char *p = demi_malloc(len);

		FAIL_IF(!p);
		if (!p)
			break;
		p[len - 1] = (unsigned char)len;
		*(size_t *)p = len;
		if (!atomic_compare_exchange_strong(&out->slot[i % RING], &none, (size_t *)p))
			demi_free(p);
		take(&rings[me], (unsigned int)test_random(&rnd));
	}
	return NULL;
}

static void test_ring(void)
{
	pthread_t t[NTHREADS];
	size_t i;
	unsigned int k;

	for (i = 0; i < NTHREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, work, (void *)i));
	for (i = 0; i < NTHREADS; i++)
		CHECK(!pthread_join(t[i], NULL));
	for (i = 0; i < NTHREADS; i++)
		for (k = 0; k < RING; k++)
			take(&rings[i], k);
	CHECK(!failed);
}

/* A lend and an owner dropped at the same time by two threads: the object dies exactly once. */
static pthread_barrier_t barrier;
static void *shared_obj;

static void *unlender(void *arg)
{
	int i;

	for (i = 0; i < 3000; i++) {
		pthread_barrier_wait(&barrier);
		demi_heap_unlend(shared_obj);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void test_last_reference(void)
{
	pthread_t t;
	int i;

	CHECK(!pthread_barrier_init(&barrier, NULL, 2));
	CHECK(!pthread_create(&t, NULL, unlender, NULL));
	for (i = 0; i < 3000; i++) {
		shared_obj = demi_malloc(i % 7 ? 200 : 70000);
		CHECK(shared_obj && demi_heap_lend(shared_obj, 100) == 0);
		pthread_barrier_wait(&barrier);
		demi_free(shared_obj);
		pthread_barrier_wait(&barrier);
		CHECK(!demi_heap_contains(shared_obj, 1));
		CHECK(demi_heap_free(shared_obj) == -EINVAL);
	}
	CHECK(!pthread_join(t, NULL));
	pthread_barrier_destroy(&barrier);
}

/*
 * What a thread that ended leaves: live objects stay, and what others free of them serves again. Without
 * that 200 threads that leave 640 KiB each would need 2,000 spans of 64 KiB.
 */
#define LEFT 1000
#define MAX_SPANS 300
static unsigned char *left[LEFT];
static uintptr_t spans[MAX_SPANS];
static unsigned int nspans;

static void *leave(void *arg)
{
	unsigned int i;

	for (i = 0; i < LEFT; i++) {
		left[i] = demi_malloc(640);
		if (!left[i])
			return "no memory";
		memset(left[i], (int)i, 640);
	}
	return NULL;
}

static void note_span(const void *p)
{
	unsigned int i;

	for (i = 0; i < nspans; i++)
		if (spans[i] == (uintptr_t)p >> 16)
			return;
	CHECK(nspans < MAX_SPANS);
	spans[nspans++] = (uintptr_t)p >> 16;
}

static void test_thread_exit(void)
{
	unsigned int round, i, k;

	for (round = 0; round < 200; round++) {
		pthread_t t;
		void *ret;

		CHECK(!pthread_create(&t, NULL, leave, NULL) && !pthread_join(t, &ret) && !ret);
		for (i = 0; i < LEFT; i++) {
			for (k = 0; k < 640; k++)
				CHECK(left[i][k] == (unsigned char)i);
			note_span(left[i]);
			demi_free(left[i]);
			CHECK(demi_malloc_usable_size(left[i]) == 0);
		}
	}
}

/* Threads come and go: the heap does not grow with their number. */
static void *short_life(void *arg)
{
	void *p[50];
	size_t i;

	for (i = 0; i < 50; i++) {
		p[i] = demi_malloc(100 + i * 100);
		if (!p[i])
			return "no memory";
		*(size_t *)p[i] = i;
	}
	for (i = 1; i < 50; i++)
		demi_free(p[i]);
	*(void **)arg = p[0]; /* freed by another thread */
	return NULL;
}

static size_t resident(void)
{
	unsigned long size, rss;
	FILE *f = fopen("/proc/self/statm", "r");

	CHECK(f && fscanf(f, "%lu %lu", &size, &rss) == 2);
	fclose(f);
	return rss * 4096;
}

static void test_many_threads(void)
{
	size_t before = 0;
	int i;

	for (i = 0; i < 500; i++) {
		pthread_t t;
		void *p = NULL, *ret;

		CHECK(!pthread_create(&t, NULL, short_life, &p) && !pthread_join(t, &ret) && !ret);
		demi_free(p);
		if (i == 100)
			before = resident();
	}
	if (!test_under_asan() && !test_under_tsan())
		CHECK(resident() < before + ((size_t)4 << 20));
}

int main(void)
{
	alarm(100);
	test_first_call();
	test_ring();
	test_last_reference();
	test_thread_exit();
	test_many_threads();
	return 0;
}
