/* SPDX-License-Identifier: MIT */
#include "inet/cksum.h"

#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Carries of 64-bit words add up in the upper half. */
uint64_t demi_cksum_add(uint64_t sum, const void *data, size_t len)
{
	unsigned __int128 acc = 0;
	const uint8_t *p = data;
	uint64_t last = 0, words;

	for (; len >= 32; p += 32, len -= 32) {
		acc += load64(p);
		acc += load64(p + 8);
		acc += load64(p + 16);
		acc += load64(p + 24);
	}
	for (; len >= 8; p += 8, len -= 8)
		acc += load64(p);
	if (len) { /* as if zeros followed */
		memcpy(&last, p, len);
		acc += last;
	}
	/* below 2^33 each: what is added up here and by callers stays far from 2^64 */
	words = (uint64_t)acc;
	return sum + (words >> 32) + (uint32_t)words + (uint64_t)(acc >> 64);
}

uint64_t demi_cksum_segs(uint64_t sum, const struct demi_pkt *p, uint32_t off, uint32_t len)
{
	bool odd = false;

	for (; len; p++) {
		uint32_t n;

		if (off >= p->len) {
			off -= p->len;
			continue;
		}
		n = p->len - off < len ? p->len - off : len;
		sum = odd ? demi_cksum_add_odd(sum, p->data + off, n) : demi_cksum_add(sum, p->data + off, n);
		odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return sum;
}
