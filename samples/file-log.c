/* SPDX-License-Identifier: MIT */
/*
 * An append-only log in a file: "add" appends the lines of standard input and says when they are on stable
 * storage; "show" prints what is there.
 *
 *	file-log add FILE < lines
 *	file-log show FILE
 */
#include <demi/demi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 32 /* appends under way */

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "file-log: %s: %s\n", what, strerror(err));
	exit(1);
}

/* Wait until no more than @left appends are under way. */
static void wait_for_pushes(int *under_way, int left)
{
	demi_qresult_t qrs[WINDOW];
	int i, n;

	while (*under_way > left) {
		check(demi_wait_next_n(qrs, WINDOW, &n, NULL), "wait");
		for (i = 0; i < n; i++)
			check((int)qrs[i].qr_ret, "append");
		*under_way -= n;
	}
}

static void add(const char *path)
{
	int qd, under_way = 0, lines = 0;
	demi_sgarray_t sga;
	demi_qtoken_t qt;
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	/* DURABLE: a completed push will survive a power failure. */
	check(demi_open(&qd, path, O_WRONLY | O_CREAT | DEMI_O_DURABLE, 0666), path);
	while ((len = getline(&line, &room, stdin)) > 0) {
		sga = demi_sgaalloc((size_t)len);
		check(sga.sga_numsegs ? 0 : ENOMEM, "sgaalloc");
		memcpy(sga.sga_segs[0].sgaseg_buf, line, (size_t)len);
		/* Pushes are appended in the order in which they are issued; many may be under way. */
		check(demi_push(&qt, qd, &sga), "append");
		demi_sgafree(&sga);
		lines++;
		under_way++;
		wait_for_pushes(&under_way, WINDOW - 1);
	}
	wait_for_pushes(&under_way, 0);
	printf("%d lines are on stable storage\n", lines);
	free(line);
	demi_close(qd);
}

static void show(const char *path)
{
	demi_sgarray_t sga;
	size_t len;
	int qd;

	check(demi_open(&qd, path, O_RDONLY, 0), path);
	do {
		check(demi_blocking_pop(&sga, qd), "read");
		len = sga.sga_segs[0].sgaseg_len; /* 0 at the end of the file */
		fwrite(sga.sga_segs[0].sgaseg_buf, 1, len, stdout);
		demi_sgafree(&sga);
	} while (len);
	demi_close(qd);
}

int main(int argc, char **argv)
{
	if (argc != 3 || (strcmp(argv[1], "add") && strcmp(argv[1], "show"))) {
		fprintf(stderr, "usage: file-log add|show FILE\n");
		return 64;
	}
	check(demi_init(NULL), "init");
	if (!strcmp(argv[1], "add"))
		add(argv[2]);
	else
		show(argv[2]);
	return 0;
}
