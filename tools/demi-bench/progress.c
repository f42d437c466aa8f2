/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include "clock.h"

#include <stdio.h>
#include <unistd.h>

#define TTY_INTERVAL_NS (NSEC_PER_SEC / 10)
#define LOG_INTERVAL_NS (5 * NSEC_PER_SEC)

static bool silent, tty, shown;
static uint64_t last;

void progress_init(bool quiet)
{
	silent = quiet;
	tty = isatty(STDERR_FILENO);
	last = tty ? 0 : now_ns();
}

void progress(const char *what, unsigned int done, unsigned int all)
{
	uint64_t t;

	if (silent)
		return;
	t = now_ns();
	if (t - last < (tty ? TTY_INTERVAL_NS : LOG_INTERVAL_NS))
		return;
	last = t;
	fprintf(stderr, tty ? "\r\033[K%s: %u of %u" : "%s: %u of %u\n", what, done, all);
	shown = tty;
}

void progress_clear(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
}
