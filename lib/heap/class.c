/* SPDX-License-Identifier: MIT */
/* Size classes: steps of 16 up to 128, four per doubling up to 8 KiB, then what divides a span well. */

#include "heap/span.h"

/* Above 1 KiB all are multiples of 128, so that demi_class_of_128 is exact. */
static const uint16_t sizes[DEMI_NCLASS] = {
	16,   32,   48,	  64,	80,   96,   112,  128,	 160,	192,   224,   256,   320,
	384,  448,  512,  640,	768,  896,  1024, 1280,	 1536,	1792,  2048,  2560,  3072,
	3584, 4096, 5120, 6144, 7168, 8192, 9344, 10880, 13056, 16384, 21760, 32768,
};

struct demi_class demi_classes[DEMI_NCLASS];
uint16_t demi_cache_of[DEMI_FAST_MAX + 1];
uint8_t demi_class_of_128[DEMI_CLASS_MAX / 128 + 1];

/* A thread keeps up to 32 KiB of a class at hand, between 4 and 64 objects. */
static uint32_t cache_max(uint32_t size)
{
	uint32_t n = 32768 / size;

	return n < 4 ? 4 : n > 64 ? 64 : n;
}

void demi_classes_init(void)
{
	unsigned int cls, i;

	if (demi_classes[0].size)
		return;
	for (cls = 0; cls < DEMI_NCLASS; cls++) {
		struct demi_class *c = &demi_classes[cls];

		c->size = sizes[cls];
		c->magic = (uint32_t)((((uint64_t)1 << 32) + c->size - 1) / c->size);
		c->count = (uint16_t)(DEMI_SPAN_SIZE / c->size);
		c->cache_max = (uint16_t)cache_max(c->size);
		c->refs_bytes = ((c->count + 1) * 4u + 7) & ~7u;
		c->meta_bytes = c->refs_bytes + (c->count + 63u) / 64 * 8;
	}
	for (i = 0, cls = 0; i <= DEMI_FAST_MAX; i++) {
		while (sizes[cls] < i)
			cls++;
		demi_cache_of[i] = (uint16_t)(cls * sizeof(struct demi_cache));
	}
	for (i = 0, cls = 0; i <= DEMI_CLASS_MAX / 128; i++) {
		while (sizes[cls] < i * 128)
			cls++;
		demi_class_of_128[i] = (uint8_t)cls;
	}
}
