/* SPDX-License-Identifier: MIT */
/* The histogram against exact values: layout, resolution, quantiles, sums, clipping. */
#include "hist.h"

#include <stdio.h>
#include <stdlib.h>

#define HIGHEST 60000000000ULL

static int failures;

#define CHECK(cond, ...)                                                                                               \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			failures++;                                                                                    \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                                     \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			fputc('\n', stderr);                                                                           \
		}                                                                                                      \
	} while (0)

static struct hist *make(unsigned int figures)
{
	size_t bytes = hist_bytes(HIGHEST, figures);
	struct hist *h = bytes ? malloc(bytes) : NULL;

	if (!h)
		exit(1);
	hist_init(h, HIGHEST, figures);
	return h;
}

/* Slots are contiguous and in order, and every value lies within the promised error of its slot's top. */
static void test_layout(unsigned int figures)
{
	struct hist *h = make(figures);
	double err = 1;
	uint64_t v, top, n;
	uint32_t last = 0, i;
	unsigned int f;

	for (f = 0; f < figures; f++)
		err /= 10;
	for (v = 0; v <= HIGHEST; v += 1 + v / 5000) {
		uint32_t slot = hist_slot(h, v);

		CHECK(slot < h->len, "value %llu slot %u of %u", (unsigned long long)v, slot, h->len);
		CHECK(slot >= last, "slot %u after %u", slot, last);
		CHECK(v >= 5000 || slot <= last + 1, "slot %u after %u", slot, last);
		last = slot;
		hist_record(h, v);
		i = slot;
		CHECK(hist_next(h, &i, &top, &n) && n == 1, "slot of %llu", (unsigned long long)v);
		CHECK(top >= v && (double)(top - v) <= (double)v * err, "value %llu top %llu", (unsigned long long)v,
		      (unsigned long long)top);
		h->counts[slot] = 0;
	}
	CHECK(hist_slot(h, HIGHEST) < h->len, "last slot");
	free(h);
}

static void test_quantiles(void)
{
	struct hist *h = make(3), *sum = make(3);
	uint64_t v;

	CHECK(hist_quantile(h, 0.5) == 0 && hist_mean(h) == 0, "empty");
	for (v = 1; v <= 1000000; v++)
		hist_record(h, v);
	CHECK(h->total == 1000000 && h->min == 1 && h->max == 1000000, "total %llu", (unsigned long long)h->total);
	CHECK(hist_mean(h) > 500000.4 && hist_mean(h) < 500000.6, "mean %f", hist_mean(h));
	for (v = 1; v <= 999; v++) {
		uint64_t q = hist_quantile(h, (double)v / 1000), exact = v * 1000;

		CHECK(q >= exact && q <= exact + exact / 1000 + 1, "quantile %llu: %llu", (unsigned long long)v,
		      (unsigned long long)q);
	}
	CHECK(hist_quantile(h, 1) == 1000000, "maximum %llu", (unsigned long long)hist_quantile(h, 1));
	CHECK(hist_quantile(h, 0) == 1, "minimum %llu", (unsigned long long)hist_quantile(h, 0));

	hist_add(sum, h);
	hist_add(sum, h);
	CHECK(sum->total == 2 * h->total && hist_quantile(sum, 0.5) == hist_quantile(h, 0.5), "sum of two");
	free(h);
	free(sum);
}

static void test_clipping(void)
{
	struct hist *h = make(3);

	hist_record(h, HIGHEST * 100);
	CHECK(h->clipped == 1 && h->max == HIGHEST * 100, "clipped %llu", (unsigned long long)h->clipped);
	CHECK(hist_bytes(10, 3) == 0 && hist_bytes(HIGHEST, 0) == 0 && hist_bytes(HIGHEST, 6) == 0, "bad arguments");
	free(h);
}

int main(void)
{
	unsigned int figures;

	for (figures = 1; figures <= 4; figures++)
		test_layout(figures);
	test_quantiles();
	test_clipping();
	if (failures)
		fprintf(stderr, "%d checks failed\n", failures);
	return failures != 0;
}
