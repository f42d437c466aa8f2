/* SPDX-License-Identifier: MIT */
#ifndef BENCH_LOCAL_H
#define BENCH_LOCAL_H

/* Runs inside this process: each side is a function that does a batch of operations. */

#include "opts.h"

struct local_side {
	char name[32];
	int (*open)(const struct opts *o, void **state); /* 0 or -errno */
	/*
	 * Do a batch; *@ops: how many operations that were. Returns 0 or -errno. *@ns: left alone, or what
	 * they took if only a part of the batch counts.
	 */
	int (*batch)(void *state, uint64_t *ops, uint64_t *ns);
	void (*close)(void *state);
};

/*
 * Slices of the @n sides in turn; reports ns per operation and operations per second, or with @mib_per_op
 * not 0 MiB per second. The program's exit status.
 */
int local_pairs(const struct opts *o, const struct local_side *sides, unsigned int n, double mib_per_op,
		const char *title);

#endif /* BENCH_LOCAL_H */
