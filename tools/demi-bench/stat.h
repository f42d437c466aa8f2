/* SPDX-License-Identifier: MIT */
#ifndef BENCH_STAT_H
#define BENCH_STAT_H

/* What is said about a handful of repeated measurements: the quartiles. */

#include <stddef.h>

#define STAT_MAX 1024 /* measurements */

struct quartiles {
	double q1, median, q3;
};

/* Of @n values, 1 to STAT_MAX, interpolated between neighbours; NaNs (no measurement) are left out. */
struct quartiles stat_quartiles(const double *v, size_t n);

/* Of a[i] / b[i], where b[i] is not 0. */
struct quartiles stat_ratio(const double *a, const double *b, size_t n);

#endif /* BENCH_STAT_H */
