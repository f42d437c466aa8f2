/* SPDX-License-Identifier: MIT */
#include "stat.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double at(const double *sorted, size_t n, double q)
{
	double pos = q * (double)(n - 1);
	size_t i = (size_t)pos;

	if (i + 1 >= n)
		return sorted[n - 1];
	return sorted[i] + (pos - (double)i) * (sorted[i + 1] - sorted[i]);
}

struct quartiles stat_quartiles(const double *v, size_t n)
{
	double sorted[STAT_MAX];
	size_t i, m = 0;

	for (i = 0; i < n && i < STAT_MAX; i++)
		if (!isnan(v[i]))
			sorted[m++] = v[i];
	if (!m)
		return (struct quartiles){ NAN, NAN, NAN };
	qsort(sorted, m, sizeof(sorted[0]), ascending);
	return (struct quartiles){ at(sorted, m, 0.25), at(sorted, m, 0.5), at(sorted, m, 0.75) };
}

struct quartiles stat_ratio(const double *a, const double *b, size_t n)
{
	double r[STAT_MAX];
	size_t i;

	if (n > STAT_MAX)
		n = STAT_MAX;
	for (i = 0; i < n; i++)
		r[i] = b[i] == 0 ? NAN : a[i] / b[i];
	return stat_quartiles(r, n);
}
