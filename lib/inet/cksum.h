/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_CKSUM_H
#define DEMI_INET_CKSUM_H

/*
 * The Internet checksum (RFC 1071). Sums are of 16-bit words in memory order, kept in 64 bits without the
 * carries folded, so that they need no byte swap and can simply be added.
 */

#include "inet/ip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* To 16 bits. */
static inline uint16_t demi_cksum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	return (uint16_t)((sum >> 16) + (uint16_t)sum);
}

/* Of @len bytes that begin at an even offset of what is summed. At most 4 GiB in all. */
uint64_t demi_cksum_add(uint64_t sum, const void *p, size_t len);

/* The same at an odd offset. */
static inline uint64_t demi_cksum_add_odd(uint64_t sum, const void *p, size_t len)
{
	return sum + __builtin_bswap16(demi_cksum_fold(demi_cksum_add(0, p, len)));
}

/* Of a packet from @off on, @len bytes of it; the caller has made sure that it has them. */
uint64_t demi_cksum_segs(uint64_t sum, const struct demi_pkt *p, uint32_t off, uint32_t len);

static inline uint64_t demi_cksum_pkt(uint64_t sum, const struct demi_pkt *p, uint32_t off, uint32_t len)
{
	if (__builtin_expect(off + len <= p->len, 1))
		return demi_cksum_add(sum, p->data + off, len);
	return demi_cksum_segs(sum, p, off, len);
}

/* The pseudo header's part that does not depend on the length (RFC 768, RFC 8200 8.1). */
static inline uint64_t demi_cksum_pseudo(const struct demi_ip *src, const struct demi_ip *dst, uint8_t proto)
{
	uint64_t sum = (uint64_t)src->w[3] + dst->w[3] + htons(proto);

	if (demi_ip_is4(src))
		return sum;
	return sum + src->w[0] + src->w[1] + src->w[2] + dst->w[0] + dst->w[1] + dst->w[2];
}

/* The pseudo header's length word; the upper half of IPv6's is 0 for all that fits a packet without jumbo option. */
static inline uint64_t demi_cksum_len(uint32_t len)
{
	return htons((uint16_t)len);
}

/* The sum of an IPv4 header without options. */
static inline uint64_t demi_cksum_ip4(const void *hdr)
{
	uint32_t w[5];

	__builtin_memcpy(w, hdr, sizeof(w));
	return (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
}

#endif /* DEMI_INET_CKSUM_H */
