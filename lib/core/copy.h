/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_COPY_H
#define DEMI_CORE_COPY_H

#include <stdint.h>
#include <string.h>

/* What is copied most: messages that are shorter than the call of memcpy() is worth. */
#define DEMI_COPY_SHORT 64

/* @len bytes, 1 to DEMI_COPY_SHORT, from one place to another: the first ones and the last ones, which may overlap. */
static inline void demi_copy_short(void *to, const void *from, uint32_t len)
{
	struct half {
		uint64_t w[2];
	} a, b, c, d;
	const char *f = from;
	char *t = to;

	if (__builtin_expect(len >= 32, 1)) {
		memcpy(&a, f, 16);
		memcpy(&b, f + 16, 16);
		memcpy(&c, f + len - 32, 16);
		memcpy(&d, f + len - 16, 16);
		memcpy(t, &a, 16);
		memcpy(t + 16, &b, 16);
		memcpy(t + len - 32, &c, 16);
		memcpy(t + len - 16, &d, 16);
	} else if (len >= 16) {
		memcpy(&a, f, 16);
		memcpy(&b, f + len - 16, 16);
		memcpy(t, &a, 16);
		memcpy(t + len - 16, &b, 16);
	} else if (len >= 8) {
		memcpy(&a, f, 8);
		memcpy(&b, f + len - 8, 8);
		memcpy(t, &a, 8);
		memcpy(t + len - 8, &b, 8);
	} else {
		do
			*t++ = *f++;
		while (--len);
	}
}

#endif /* DEMI_CORE_COPY_H */
