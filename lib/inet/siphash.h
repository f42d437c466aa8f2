/* SPDX-License-Identifier: MIT */
#ifndef DEMI_INET_SIPHASH_H
#define DEMI_INET_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-2-4 (Aumasson, Bernstein 2012) of @n 64-bit words: nobody without the key can guess it. */
uint64_t demi_siphash(const uint64_t key[2], const uint64_t *words, size_t n);

#endif /* DEMI_INET_SIPHASH_H */
