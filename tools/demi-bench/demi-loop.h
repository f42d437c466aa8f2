/* SPDX-License-Identifier: MIT */
#ifndef BENCH_DEMI_LOOP_H
#define BENCH_DEMI_LOOP_H

/* Small loops over libdemi that several commands measure. All return 0 or a positive errno. */

#include <demi/demi.h>
#include <stdbool.h>
#include <stdint.h>

/* demi_init() unless the thread has a context. */
int loop_init(int64_t spin_us);

/* @n times: push 64 bytes (or what @msg is) to a memory queue, wait, pop, wait, free what was popped. */
int loop_memq(int qd, const demi_sgarray_t *msg, uint64_t n);

/* @n times: demi_malloc() and demi_free(). */
int loop_heap(size_t size, uint64_t n);

/*
 * Waits among many: @outstanding pops that are pending on as many memory queues. @active of them, spread evenly
 * over the array, are completed in turn; the others stay blocked.
 */
struct waiters {
	uint32_t n, active, next;
	int *qds; /* of the active ones */
	uint32_t *index; /* of the active ones in qts */
	int *by_qd; /* queue descriptor → number of an active one */
	demi_qtoken_t *qts;
	demi_sgarray_t msg;
	bool any; /* demi_wait_any(), else demi_wait_next_n() */
};

int waiters_init(struct waiters *w, uint32_t outstanding, uint32_t active, bool any);
void waiters_free(struct waiters *w);

/* Complete one pop: push to the next active queue and consume the push. */
int waiters_fire(struct waiters *w);

/* Take the completed pop, free its element and pop again. */
int waiters_take(struct waiters *w);

#endif /* BENCH_DEMI_LOOP_H */
