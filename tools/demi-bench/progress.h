/* SPDX-License-Identifier: MIT */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

/* A line on standard error that says how far a run is: rewritten on a terminal, else every few seconds. */

#include <stdbool.h>

void progress_init(bool quiet);
void progress(const char *what, unsigned int done, unsigned int all) __attribute__((nonnull));
void progress_clear(void);

#endif /* BENCH_PROGRESS_H */
