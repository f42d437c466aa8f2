/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Start "gnuplot -" and give a stream to its standard input. -errno. */
static int gnuplot_start(pid_t *pid, FILE **in)
{
	char *argv[] = { (char *)"gnuplot", (char *)"-", NULL };
	posix_spawn_file_actions_t fa;
	int fds[2], ret;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	*in = fdopen(fds[1], "w");
	if (!*in) {
		ret = -errno;
		close(fds[0]);
		close(fds[1]);
		return ret;
	}
	ret = posix_spawn_file_actions_init(&fa);
	if (!ret) {
		ret = posix_spawn_file_actions_adddup2(&fa, fds[0], STDIN_FILENO);
		if (!ret)
			ret = posix_spawnp(pid, argv[0], &fa, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&fa);
	}
	close(fds[0]);
	if (ret)
		fclose(*in);
	return -ret;
}

/* The cumulative distribution as gnuplot's inline data: microseconds, share of the operations in per cent. */
static void put_cdf(FILE *f, unsigned int side, const struct hist *h)
{
	uint64_t value, count, seen = 0;
	uint32_t i = 0;

	fprintf(f, "$side%u << EOD\n", side);
	while (hist_next(h, &i, &value, &count)) {
		seen += count;
		fprintf(f, "%g %g\n", (double)value / 1000, 100 * (double)seen / (double)h->total);
	}
	fputs("EOD\n", f);
}

/* A single-quoted string of gnuplot; a quote inside is doubled. */
static void put_quoted(FILE *f, const char *s)
{
	fputc('\'', f);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', f);
		fputc(*s == '\n' ? ' ' : *s, f);
	}
	fputc('\'', f);
}

static void put_plot(FILE *f, const struct report *r, const char *path)
{
	const char *sep = "plot ";
	unsigned int s;

	for (s = 0; s < r->sides; s++)
		if (r->hist[s] && r->hist[s]->total)
			put_cdf(f, s, r->hist[s]);
	fputs("set terminal svg size 900,540 dynamic enhanced font 'sans,13' background 'white'\nset output ", f);
	put_quoted(f, path);
	fputs("\nset title ", f);
	put_quoted(f, r->title);
	fputs(" noenhanced\nset xlabel 'latency, µs'\nset ylabel 'operations at or below it, %'\n"
	      "set logscale x\nset grid\nset key bottom right noenhanced\nset yrange [0:100]\n",
	      f);
	for (s = 0; s < r->sides; s++) {
		if (!r->hist[s] || !r->hist[s]->total)
			continue;
		fprintf(f, "%s$side%u using 1:2 with steps linewidth 2 title ", sep, s);
		put_quoted(f, r->side[s]);
		sep = ", ";
	}
	fputc('\n', f);
}

int report_plot(const struct report *r, const char *path)
{
	int status, ret, bad;
	unsigned int s;
	pid_t pid = 0;
	FILE *f = NULL;

	for (s = 0; s < r->sides; s++)
		if (r->hist[s] && r->hist[s]->total)
			break;
	if (s == r->sides) {
		warnx("--plot: this run has no latencies to draw");
		return -ENODATA;
	}
	ret = gnuplot_start(&pid, &f);
	if (ret) {
		warnx("--plot needs gnuplot (%s): apt install gnuplot-nox", strerror(-ret));
		return ret;
	}
	put_plot(f, r, path);
	bad = ferror(f);
	if (fclose(f))
		bad = 1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (bad || !WIFEXITED(status) || WEXITSTATUS(status)) {
		warnx("gnuplot could not draw %s", path);
		return -EIO;
	}
	return 0;
}
