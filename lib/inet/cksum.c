/* SPDX-License-Identifier: MIT */
#include "inet/cksum.h"

uint64_t demi_cksum_add(uint64_t sum, const void *data, size_t len)
{
	return demi_cksum_add_inline(sum, data, len);
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
