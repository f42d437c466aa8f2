/* SPDX-License-Identifier: MIT */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

/*
 * The processes of a run. The program forks a server and a client for each side before anything of the
 * library is initialised; each child makes its own context. The children end with the program, however
 * that ends.
 */

#include "side.h"

#include <signal.h>

struct run {
	const struct opts *opts;
	enum mode mode;
	unsigned int nsides;
	struct side *sides[MAX_SIDES];
	struct child {
		pid_t pid;
		int fd; /* control socket; -1 */
		clockid_t cpu;
	} server[MAX_SIDES], client[MAX_SIDES];
	char dir[88]; /* for Unix sockets and pipes; removed at the end */
};

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t interrupted;
void catch_interrupts(void);

/* Start all processes of all sides. 0 or -errno; says what went wrong. run_end() in any case. */
int run_start(struct run *r, const struct opts *o, enum mode mode);

/* One slice of side @i; the results are in the side. 0 or -errno. */
int run_slice(struct run *r, unsigned int i, uint64_t max_ns, uint64_t max_ops);

/* Let servers and clients end in good order; afterwards the counts of system calls are final. */
void run_end(struct run *r);
void run_free(struct run *r);

const struct side_kind *side_kind_find(const char *name);

/* Pin the calling thread. 0 or -errno; -1 for "anywhere" does nothing. */
int pin_cpu(int cpu);

#endif /* BENCH_PROC_H */
