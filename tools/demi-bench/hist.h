/* SPDX-License-Identifier: MIT */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

/*
 * A log-linear histogram in HdrHistogram's layout: values are counted in buckets whose width doubles,
 * each divided into sub-buckets, so that every value up to @highest keeps @figures significant
 * decimal figures. Recording is a few instructions and needs no memory; the whole lies in one
 * piece, so that it can be shared between processes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hist {
	uint64_t total; /* values recorded */
	uint64_t clipped; /* of those: larger than highest, counted as highest */
	uint64_t min, max; /* exact; min is UINT64_MAX while total is 0 */
	double sum;
	uint64_t highest;
	uint32_t half_bits; /* log2 of half the sub-buckets of a bucket */
	uint32_t len; /* of counts */
	uint64_t counts[];
};

/* Bytes for a histogram; 0 if @figures is not 1 to 5 or @highest is below 2 * 10^figures. */
size_t hist_bytes(uint64_t highest, unsigned int figures);

/* @h has hist_bytes() bytes with the same arguments. */
void hist_init(struct hist *h, uint64_t highest, unsigned int figures);
void hist_reset(struct hist *h);

/* @src has the layout of @dst. */
void hist_add(struct hist *dst, const struct hist *src);

/* The value at or below which the share @q (0 to 1) of all values lies; 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);
double hist_mean(const struct hist *h);

/* Walk the slots that are not empty: start with *@i = 0. The greatest value of the slot and its count. */
bool hist_next(const struct hist *h, uint32_t *i, uint64_t *value, uint64_t *count);

static inline uint32_t hist_slot(const struct hist *h, uint64_t v)
{
	uint32_t bucket = 64 - (uint32_t)__builtin_clzll(v | ((2ULL << h->half_bits) - 1)) - (h->half_bits + 1);

	return (bucket << h->half_bits) + (uint32_t)(v >> bucket);
}

static inline void hist_record(struct hist *h, uint64_t v)
{
	h->total++;
	h->sum += (double)v;
	if (v < h->min)
		h->min = v;
	if (v > h->max)
		h->max = v;
	if (__builtin_expect(v > h->highest, 0)) {
		h->clipped++;
		v = h->highest;
	}
	h->counts[hist_slot(h, v)]++;
}

#endif /* BENCH_HIST_H */
