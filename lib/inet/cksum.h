/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_CKSUM_H
#define DEMI_INET_CKSUM_H

/*
 * The Internet checksum (RFC 1071). Sums are of 16-bit words in memory order, kept in 64 bits without the
 * carries folded, so that they need no byte swap and can simply be added.
 */

#include "inet/ip.h"
#include "inet/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A 64-bit sum with its carry brought round: 2^64 is 1 modulo 2^16 - 1. */
static inline uint64_t demi_cksum_wrap(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum + (sum < b);
}

/* To 16 bits, without a branch. */
static inline uint16_t demi_cksum_fold_wrapped(uint64_t sum)
{
	uint32_t s;

	sum += sum << 32 | sum >> 32; /* the sum of both halves is in the upper one, its carry included */
	s = (uint32_t)(sum >> 32);
	s += s << 16 | s >> 16;
	return (uint16_t)(s >> 16);
}

/*
 * Chains of carries, which compilers do not make by themselves: demi_cksum_wrap() for the 40 or 64 bytes at @p, for @n
 * times 64 bytes (@n > 0), for four numbers.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
static inline uint64_t demi_cksum_wrap40(uint64_t sum, const uint8_t *p)
{
	__asm__("addq (%1), %0\n\t"
		"adcq 8(%1), %0\n\t"
		"adcq 16(%1), %0\n\t"
		"adcq 24(%1), %0\n\t"
		"adcq 32(%1), %0\n\t"
		"adcq $0, %0"
		: "+r"(sum)
		: "r"(p), "m"(*(const uint8_t(*)[40])p)
		: "cc");
	return sum;
}

/* All but the first eight of 64 bytes, each with the carry of those before. */
#define DEMI_CKSUM_REST_OF_64                                                                                          \
	"adcq 8(%1), %0\n\t"                                                                                           \
	"adcq 16(%1), %0\n\t"                                                                                          \
	"adcq 24(%1), %0\n\t"                                                                                          \
	"adcq 32(%1), %0\n\t"                                                                                          \
	"adcq 40(%1), %0\n\t"                                                                                          \
	"adcq 48(%1), %0\n\t"                                                                                          \
	"adcq 56(%1), %0\n\t"

static inline uint64_t demi_cksum_wrap64(uint64_t sum, const uint8_t *p)
{
	__asm__("addq (%1), %0\n\t" DEMI_CKSUM_REST_OF_64 "adcq $0, %0"
		: "+r"(sum)
		: "r"(p), "m"(*(const uint8_t(*)[64])p)
		: "cc");
	return sum;
}

/* Neither lea nor dec touches the carry. The operand of memory stands for all that may be read. */
static inline uint64_t demi_cksum_wrap64s(uint64_t sum, const uint8_t *p, size_t n)
{
	__asm__("clc\n"
		"1:\tadcq (%1), %0\n\t" DEMI_CKSUM_REST_OF_64 "leaq 64(%1), %1\n\t"
		"decq %2\n\t"
		"jnz 1b\n\t"
		"adcq $0, %0"
		: "+r"(sum), "+r"(p), "+r"(n)
		: "m"(*(const uint8_t(*)[65536])p)
		: "cc");
	return sum;
}

static inline uint64_t demi_cksum_wrap4(uint64_t sum, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	__asm__("addq %1, %0\n\t"
		"adcq %2, %0\n\t"
		"adcq %3, %0\n\t"
		"adcq %4, %0\n\t"
		"adcq $0, %0"
		: "+r"(sum)
		: "r"(a), "r"(b), "rm"(c), "rm"(d)
		: "cc");
	return sum;
}
#else
static inline uint64_t demi_cksum_wrap40(uint64_t sum, const uint8_t *p)
{
	for (int i = 0; i < 40; i += 8)
		sum = demi_cksum_wrap(sum, demi_load64(p + i));
	return sum;
}

static inline uint64_t demi_cksum_wrap64s(uint64_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < 64 * n; i += 8)
		sum = demi_cksum_wrap(sum, demi_load64(p + i));
	return sum;
}

static inline uint64_t demi_cksum_wrap64(uint64_t sum, const uint8_t *p)
{
	return demi_cksum_wrap64s(sum, p, 1);
}

static inline uint64_t demi_cksum_wrap4(uint64_t sum, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return demi_cksum_wrap(demi_cksum_wrap(demi_cksum_wrap(demi_cksum_wrap(sum, a), b), c), d);
}
#endif

/* Of a 64-bit sum that is not 0: do its 16-bit words add up to all ones? 2^64 - 1 is a multiple of 2^16 - 1;
 * so multiples of that, and no others, become small when multiplied by its inverse modulo 2^64. */
static inline bool demi_cksum_wrapped_ok(uint64_t sum)
{
	return sum * 0xfffefffefffeffff <= 0x0001000100010001;
}

/* Of fewer than 64 bytes; what is behind them counts as 0. */
static inline uint64_t demi_cksum_rest(uint64_t sum, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8)
		sum = demi_cksum_wrap(sum, demi_load64(p));
	if (__builtin_expect(len != 0, 0)) {
		uint64_t last = 0;

		for (size_t i = 0; i < len; i++)
			last |= (uint64_t)p[i] << 8 * i;
		sum = demi_cksum_wrap(sum, last);
	}
	return sum;
}

/* 64-bit words with the carries brought round, of @len bytes; what is behind them counts as 0. */
static inline uint64_t demi_cksum_words(uint64_t sum, const uint8_t *p, size_t len)
{
	size_t n = len >> 6;

	if (__builtin_expect(n != 0, 1))
		sum = demi_cksum_wrap64s(sum, p, n);
	if (len & 63)
		sum = demi_cksum_rest(sum, p + (len & ~(size_t)63), len & 63);
	return sum;
}

/* To 16 bits. */
static inline uint16_t demi_cksum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	return (uint16_t)((sum >> 16) + (uint16_t)sum);
}

/* Of @len bytes that begin at an even offset of what is summed. Callers' sums stay far from 2^64. */
static inline uint64_t demi_cksum_add_inline(uint64_t sum, const void *p, size_t len)
{
	uint64_t words = demi_cksum_words(0, p, len);

	return sum + (words >> 32) + (uint32_t)words;
}

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
