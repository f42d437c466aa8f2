/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/*
 * The log: silent unless DEMI_LOG asks, one line a message with its level, errno untouched, a message
 * that is too long is cut off.
 */
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char got[4096];

/* What @level prints for a message of @len letters under DEMI_LOG=@env; its length in bytes. */
static size_t logged(const char *env, enum demi_log_level level, int len)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz";
	int fds[2], old = dup(STDERR_FILENO);
	ssize_t n;

	if (env)
		setenv("DEMI_LOG", env, 1);
	else
		unsetenv("DEMI_LOG");
	demi_log_level = DEMI_LOG_OFF;
	demi_log_init();
	if (old < 0 || pipe(fds) || dup2(fds[1], STDERR_FILENO) < 0)
		exit(2);
	close(fds[1]);
	errno = E2BIG;
	demi_log(level, "%*s", len, text);
	if (errno != E2BIG)
		exit(3);
	dup2(old, STDERR_FILENO);
	close(old);
	n = read(fds[0], got, sizeof(got) - 1);
	close(fds[0]);
	if (n < 0)
		exit(2);
	got[n] = '\0';
	return (size_t)n;
}

#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			printf("%s:%d: %s; logged: \"%s\"\n", __FILE__, __LINE__, #x, got);                            \
			return 1;                                                                                      \
		}                                                                                                      \
	} while (0)

int main(void)
{
	CHECK(logged(NULL, DEMI_LOG_WARN, 1) == 0);
	CHECK(logged("off", DEMI_LOG_WARN, 1) == 0);
	CHECK(logged("nonsense", DEMI_LOG_WARN, 1) == 0);
	CHECK(logged("warn", DEMI_LOG_WARN, 1) > 0);
	CHECK(strstr(got, "] warn: abcdefghijklmnopqrstuvwxyz\n"));
	CHECK(logged("warn", DEMI_LOG_INFO, 1) == 0);
	CHECK(logged("INFO", DEMI_LOG_INFO, 1) > 0);
	CHECK(logged("info", DEMI_LOG_DEBUG, 1) == 0);
	CHECK(logged("debug", DEMI_LOG_DEBUG, 1) > 0);
	CHECK(strstr(got, "] debug: "));
	CHECK(logged("warn", DEMI_LOG_WARN, 100000) == 512);
	CHECK(got[511] == '\n');
	return 0;
}
