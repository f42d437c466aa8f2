/* SPDX-License-Identifier: MIT */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

/* file --device nvme: its first blocks, one message behind the other, again and again; what is there is lost. */

#include "opts.h"

#define DISK_BYTES (64u << 20) /* at most so many */

/* The disk of --vs kernel@DISK by io_uring: a side for local_pairs(). */
int disk_open(const struct opts *o, void **state);
int disk_batch(void *state, uint64_t *ops, uint64_t *ns);
void disk_close(void *state);

#endif /* BENCH_DISK_H */
