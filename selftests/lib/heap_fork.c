/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* After fork the child reads, writes, frees and allocates its own copy, whatever other threads were doing. */

#include <demi/heap.h>

#include "heap/heap.h"
#include "heap_check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int stop;

static void *churn(void *arg)
{
	uint64_t rnd = (uintptr_t)arg;
	void *p[64] = { NULL };

	while (!atomic_load(&stop)) {
		size_t i = test_random(&rnd) % 64;

		demi_free(p[i]);
		p[i] = demi_malloc(1 + test_random(&rnd) % 200000);
	}
	for (size_t i = 0; i < 64; i++)
		demi_free(p[i]);
	return NULL;
}

static void child(unsigned char **p, unsigned char *big)
{
	unsigned int i, k;

	alarm(30);
	for (i = 0; i < 100; i++)
		for (k = 0; k < 1000; k++)
			CHECK(p[i][k] == (unsigned char)i);
	CHECK(big[0] == 1 && big[999999] == 2);
	for (i = 0; i < 100; i++) {
		memset(p[i], 0xcc, 1000);
		demi_free(p[i]);
		CHECK(!demi_malloc_usable_size(p[i]));
	}
	demi_free(big);
	for (i = 0; i < 2000; i++) {
		void *q = demi_malloc(1 + i * 97);

		CHECK(q);
		memset(q, 1, 1 + i * 97);
		if (i % 2)
			demi_free(q);
	}
	_exit(0);
}

int main(void)
{
	unsigned char *p[100], *big;
	pthread_t t[2];
	unsigned int i, k, round;

	alarm(100);
	for (i = 0; i < 100; i++) {
		p[i] = demi_malloc(1000);
		CHECK(p[i]);
		memset(p[i], (int)i, 1000);
	}
	big = demi_malloc(1000000);
	CHECK(big);
	big[0] = 1;
	big[999999] = 2;
	for (i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], NULL, churn, (void *)(uintptr_t)(i + 1)));
	for (round = 0; round < 50; round++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid)
			child(p, big);
		CHECK(test_wait(pid) == 0);
	}
	atomic_store(&stop, 1);
	for (i = 0; i < 2; i++)
		CHECK(!pthread_join(t[i], NULL));
	for (i = 0; i < 100; i++) {
		for (k = 0; k < 1000; k++)
			CHECK(p[i][k] == (unsigned char)i);
		demi_free(p[i]);
	}
	CHECK(big[0] == 1 && big[999999] == 2);
	demi_free(big);
	return 0;
}
