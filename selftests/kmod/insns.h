/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_KMOD_INSNS_H
#define DEMI_SELFTESTS_KMOD_INSNS_H

/*
 * Instructions counted by the time stamp counter, which under `selftests/vm/run --icount` is one a tick, and elsewhere
 * means nothing.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

/* Is the counter one of instructions? An interrupt may come between. */
static inline bool insns_are_counted(void)
{
	for (int i = 0; i < 8; i++) {
		uint64_t start = __rdtsc(), n = 1000;

		__asm__ volatile("1: dec %0; jnz 1b" : "+r"(n) : : "cc");
		start = __rdtsc() - start;
		if (start >= 2000 && start < 2020)
			return true;
	}
	return false;
}

static inline int insns_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts @v. */
static inline double insns_median(uint64_t *v, size_t n)
{
	qsort(v, n, sizeof(*v), insns_compare);
	return (double)v[n / 2];
}

/* In a process of its own, which @run fills @result in; what waitpid() says of it. */
static inline int insns_forked(int (*run)(void *arg, void *result), void *arg, void *result, size_t bytes)
{
	void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	if (shared == MAP_FAILED)
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run(arg, shared) != 0);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	memcpy(result, shared, bytes);
	munmap(shared, bytes);
	return status;
}

/* demictl device, with these words, in which the shell fills in the environment. */
static inline int insns_device(const char *words)
{
	char line[512];

	snprintf(line, sizeof(line), "\"$BUILD/tools/demictl\" device %s", words);
	return system(line);
}

#endif /* DEMI_SELFTESTS_KMOD_INSNS_H */
