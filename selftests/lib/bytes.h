/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_BYTES_H
#define DEMI_SELFTESTS_BYTES_H

/* Packets byte by byte and their sums (RFC 1071), with code that is not the library's. */

#include <stdint.h>

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static inline uint32_t sum16(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static inline uint16_t fold16(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Of the pseudo header of the packet at @p, whose transport part has @len bytes. */
static inline uint32_t pseudo_sum(const uint8_t *p, uint32_t proto, uint32_t len)
{
	return (p[0] >> 4 == 4 ? sum16(p + 12, 8) : sum16(p + 8, 32)) + proto + len;
}

/* The header checksum of an IPv4 packet. */
static inline void set_ip4_sum(uint8_t *p)
{
	put16(p + 10, 0);
	put16(p + 10, (uint16_t)~fold16(sum16(p, (p[0] & 15) * 4U)));
}

#endif /* DEMI_SELFTESTS_BYTES_H */
