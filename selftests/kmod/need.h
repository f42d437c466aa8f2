/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_KMOD_NEED_H
#define DEMI_SELFTESTS_KMOD_NEED_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * What must be true in threads and children, where the harness' own checks do not end the test: the function returns
 * the line that failed, or 0 at its end.
 */
#define NEED(c)                                                                                                        \
	do {                                                                                                           \
		if (!(c)) {                                                                                            \
			fprintf(stderr, "# %s:%d: %s: %s\n", __FILE__, __LINE__, #c, strerror(errno));                 \
			return __LINE__;                                                                               \
		}                                                                                                      \
	} while (0)

#endif /* DEMI_SELFTESTS_KMOD_NEED_H */
