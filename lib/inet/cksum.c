/* SPDX-License-Identifier: MIT */
#include "inet/cksum.h"

#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* 64-bit words, and their carries apart. */
uint64_t demi_cksum_add(uint64_t sum, const void *data, size_t len)
{
	uint64_t words = 0, carries = 0, v;
	const uint8_t *p = data;

#define ADD(word) (v = (word), words += v, carries += words < v)
	for (; len >= 32; p += 32, len -= 32) {
		ADD(load64(p));
		ADD(load64(p + 8));
		ADD(load64(p + 16));
		ADD(load64(p + 24));
	}
	for (; len >= 8; p += 8, len -= 8)
		ADD(load64(p));
	if (len) { /* as if zeros followed */
		uint64_t last = 0;

		memcpy(&last, p, len);
		ADD(last);
	}
#undef ADD
	/* about 2^33: what callers add up stays far from 2^64. A carry is worth 2^64, which is 1 modulo 2^16 - 1. */
	return sum + (words >> 32) + (uint32_t)words + carries;
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
