/* SPDX-License-Identifier: MIT */
#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

enum demi_log_level demi_log_level;

static const char *const level_names[] = {
	[DEMI_LOG_OFF] = "off",
	[DEMI_LOG_WARN] = "warn",
	[DEMI_LOG_INFO] = "info",
	[DEMI_LOG_DEBUG] = "debug",
};

#define NLEVELS (sizeof(level_names) / sizeof(level_names[0]))

/* At load time, too: the heap may be asked for memory before demi_init(). */
__attribute__((constructor)) void demi_log_init(void)
{
	const char *s = getenv("DEMI_LOG");
	size_t i;

	for (i = 0; s && i < NLEVELS; i++)
		if (!strcasecmp(s, level_names[i]))
			demi_log_level = (enum demi_log_level)i;
}

/*
 * One write(2) a line, from a buffer on the stack: lines of threads and processes do not mix, and the
 * allocator, which logs, is not entered.
 */
void demi_log_write(enum demi_log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[512];
	va_list ap;
	int n, len;

	n = snprintf(line, sizeof(line), "demi[%d] %s: ", (int)getpid(), level_names[level]);
	va_start(ap, fmt);
	len = vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	if (len < 0)
		len = 0;
	n += len;
	if (n > (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 1;
	line[n++] = '\n'; /* in the place of the terminator */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = saved; /* nobody is left to be told */
	errno = saved;
}
