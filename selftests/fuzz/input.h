/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_FUZZ_INPUT_H
#define DEMI_SELFTESTS_FUZZ_INPUT_H

/* An input as numbers and bytes, from its front. What is not there is 0. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *p;
	size_t n;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static inline uint8_t take8(struct input *i)
{
	if (!i->n)
		return 0;
	i->n--;
	return *i->p++;
}

static inline uint32_t take16(struct input *i)
{
	uint32_t hi = take8(i);

	return hi << 8 | take8(i);
}

static inline uint32_t take32(struct input *i)
{
	uint32_t hi = take16(i);

	return hi << 16 | take16(i);
}

/* At most @max bytes to @to; how many there were. */
static inline uint32_t take_bytes(struct input *i, uint8_t *to, uint32_t max)
{
	uint32_t n = i->n < max ? (uint32_t)i->n : max;

	if (n)
		memcpy(to, i->p, n);
	i->p += n;
	i->n -= n;
	return n;
}

#endif /* DEMI_SELFTESTS_FUZZ_INPUT_H */
