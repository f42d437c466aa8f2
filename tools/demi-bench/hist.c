/* SPDX-License-Identifier: MIT */
#include "hist.h"

#include <math.h>
#include <string.h>

/* Half as many sub-buckets as a bucket needs for the resolution: 10^figures, rounded up to a power of 2. */
static uint32_t half_bits(unsigned int figures)
{
	uint64_t want = 1;
	uint32_t bits = 0;

	while (figures--)
		want *= 10;
	while ((1ULL << bits) < want)
		bits++;
	return bits;
}

/*
 * Bucket 0 covers [0, 2 * half) with steps of 1; bucket b > 0 covers [half << b, (2 * half) << b)
 * with steps of 1 << b, so only its upper half is stored.
 */
static uint32_t slots(uint64_t highest, uint32_t bits)
{
	uint32_t buckets = 1;

	while ((highest >> (buckets - 1)) >= (2ULL << bits))
		buckets++;
	return (buckets + 1) << bits;
}

size_t hist_bytes(uint64_t highest, unsigned int figures)
{
	uint32_t bits;

	if (figures < 1 || figures > 5)
		return 0;
	bits = half_bits(figures);
	if (highest < (2ULL << bits))
		return 0;
	return sizeof(struct hist) + slots(highest, bits) * sizeof(uint64_t);
}

void hist_init(struct hist *h, uint64_t highest, unsigned int figures)
{
	h->highest = highest;
	h->half_bits = half_bits(figures);
	h->len = slots(highest, h->half_bits);
	hist_reset(h);
}

void hist_reset(struct hist *h)
{
	h->total = 0;
	h->clipped = 0;
	h->min = UINT64_MAX;
	h->max = 0;
	h->sum = 0;
	memset(h->counts, 0, h->len * sizeof(h->counts[0]));
}

void hist_add(struct hist *dst, const struct hist *src)
{
	uint32_t i;

	for (i = 0; i < src->len; i++)
		dst->counts[i] += src->counts[i];
	dst->total += src->total;
	dst->clipped += src->clipped;
	dst->sum += src->sum;
	if (src->min < dst->min)
		dst->min = src->min;
	if (src->max > dst->max)
		dst->max = src->max;
}

/* The greatest value that is counted in slot @i. */
static uint64_t slot_top(const struct hist *h, uint32_t i)
{
	uint32_t bucket = i >> h->half_bits;
	uint64_t sub;

	if (bucket < 2)
		return i;
	bucket--;
	sub = (i & ((1U << h->half_bits) - 1)) + (1ULL << h->half_bits);
	return ((sub + 1) << bucket) - 1;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t want, seen = 0, top;
	uint32_t i;

	if (!h->total)
		return 0;
	want = (uint64_t)ceil(q * (double)h->total);
	if (want < 1)
		want = 1;
	for (i = 0; i < h->len; i++) {
		seen += h->counts[i];
		if (seen >= want)
			break;
	}
	if (i == h->len)
		return h->max;
	top = slot_top(h, i);
	if (seen == h->total || top > h->max)
		return top < h->max && !h->clipped ? top : h->max;
	return top < h->min ? h->min : top;
}

double hist_mean(const struct hist *h)
{
	return h->total ? h->sum / (double)h->total : 0;
}

bool hist_next(const struct hist *h, uint32_t *i, uint64_t *value, uint64_t *count)
{
	for (; *i < h->len; ++*i) {
		if (!h->counts[*i])
			continue;
		*value = slot_top(h, *i);
		*count = h->counts[(*i)++];
		return true;
	}
	return false;
}
