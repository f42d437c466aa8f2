/* SPDX-License-Identifier: MIT */
#ifndef HEAP_CHECK_H
#define HEAP_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(c)                                                                                                       \
	do {                                                                                                           \
		if (!(c)) {                                                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #c);                                \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* The seed is printed; DEMI_TEST_SEED replays it. */
static inline uint64_t test_seed(void)
{
	const char *env = getenv("DEMI_TEST_SEED");
	struct timespec ts;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &ts);
	seed = env ? strtoull(env, NULL, 0) : ((uint64_t)ts.tv_nsec << 20 ^ (uint64_t)getpid());
	printf("seed %#llx\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" */
static inline uint64_t test_random(uint64_t *state)
{
	*state |= !*state;
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

/* Exit status of a child, or 128 + signal. */
static inline int test_wait(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int test_under_asan(void)
{
#if defined(__SANITIZE_ADDRESS__)
	return 1;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	return 1;
#endif
#endif
	return 0;
}

static inline int test_under_tsan(void)
{
#if defined(__SANITIZE_THREAD__)
	return 1;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
	return 1;
#endif
#endif
	return 0;
}

#endif /* HEAP_CHECK_H */
