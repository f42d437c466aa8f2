/* SPDX-License-Identifier: MIT */
/* In a build with AddressSanitizer a use after free of a heap object is found, whoever freed it. */

#include <demi/heap.h>

#include "heap_check.h"

#include <pthread.h>
#include <string.h>

static void *free_it(void *p)
{
	demi_free(p);
	return NULL;
}

static void use_after_free(size_t size, int other_thread)
{
	volatile char *p = demi_malloc(size);
	pthread_t t;

	CHECK(p);
	p[size - 1] = 1;
	if (other_thread)
		CHECK(!pthread_create(&t, NULL, free_it, (void *)p) && !pthread_join(t, NULL));
	else
		demi_free((void *)p);
	p[size > 8 ? 8 : 0] = 2;
}

/* What AddressSanitizer says, in a child. */
static int found(size_t size, int other_thread)
{
	char text[4096];
	size_t len = 0;
	ssize_t got;
	int fds[2];
	pid_t pid;

	CHECK(!pipe(fds));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		use_after_free(size, other_thread);
		_exit(0);
	}
	close(fds[1]);
	while (len < sizeof(text) - 1 && (got = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = 0;
	close(fds[0]);
	return test_wait(pid) != 0 && strstr(text, "use-after-poison");
}

int main(void)
{
	static const size_t sizes[] = { 16, 64, 1000, 1024, 5000, 32768, 40000, 1000000 };
	size_t i, k;

	if (!test_under_asan()) {
		puts("not a build with AddressSanitizer");
		return 77;
	}
	alarm(100);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK(found(sizes[i], 0));
		CHECK(found(sizes[i], 1));
	}
	/* memory that is used again is whole again */
	for (i = 0; i < 2000; i++) {
		char *p[10];

		for (k = 0; k < 10; k++) {
			p[k] = demi_malloc(1 + i * (k + 1) * 7);
			CHECK(p[k]);
			memset(p[k], 1, 1 + i * (k + 1) * 7);
		}
		for (k = 0; k < 10; k++)
			demi_free(p[k]);
	}
	return 0;
}
