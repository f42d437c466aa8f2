/* SPDX-License-Identifier: MIT */
#include "inet/cksum.h"

#include <string.h>

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t demi_cksum_add(uint64_t sum, const void *data, size_t len)
{
	uint64_t a = 0, b = 0, c = 0, d = 0;
	const uint8_t *p = data;
	uint16_t half;

	for (; len >= 16; p += 16, len -= 16) {
		a += load32(p);
		b += load32(p + 4);
		c += load32(p + 8);
		d += load32(p + 12);
	}
	for (; len >= 4; p += 4, len -= 4)
		a += load32(p);
	if (len & 2) {
		memcpy(&half, p, sizeof(half));
		a += half;
		p += 2;
	}
	if (len & 1) { /* as if a zero byte followed */
		uint8_t last[2] = { *p, 0 };

		memcpy(&half, last, sizeof(half));
		a += half;
	}
	/* each below 2^60: what is added up here cannot overflow */
	return sum + a + b + c + d;
}

uint64_t demi_cksum_pkt(uint64_t sum, const struct demi_pkt *p, uint32_t off, uint32_t len)
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
