/* SPDX-License-Identifier: MIT */
/*
 * Two processes and a pipe: elements go through shared memory, both ways, without a system call while both are
 * awake. One push is one pop, whatever its size.
 *
 *	pipe server NAME        answers each line with its letters turned round, until the client goes
 *	pipe client NAME        sends the lines of standard input, prints the answers
 */
#include <demi/demi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "pipe: %s: %s\n", what, strerror(err));
	exit(1);
}

/* In a buffer of our own: what was popped is shared with the queue and only read. */
static void turn_round(char *s, size_t len)
{
	size_t i;
	char c;

	for (i = 0; i < len / 2; i++) {
		c = s[i];
		s[i] = s[len - 1 - i];
		s[len - 1 - i] = c;
	}
}

static void server(const char *name)
{
	demi_sgarray_t sga, out;
	size_t len;
	int qd;

	check(demi_create_pipe(&qd, name), name);
	puts("ready");
	fflush(stdout);
	for (;;) {
		check(demi_blocking_pop(&sga, qd), "pop");
		len = sga.sga_segs[0].sgaseg_len;
		if (!len)
			break; /* the other end was closed */
		out = demi_sgaalloc(len);
		check(out.sga_numsegs ? 0 : ENOMEM, "sgaalloc");
		memcpy(out.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_buf, len);
		demi_sgafree(&sga);
		turn_round(out.sga_segs[0].sgaseg_buf, len);
		check(demi_blocking_push(qd, &out), "push");
		demi_sgafree(&out);
	}
	demi_sgafree(&sga);
	demi_close(qd);
}

static void client(const char *name)
{
	demi_sgarray_t sga, answer;
	char *line = NULL;
	size_t room = 0;
	ssize_t len;
	int qd;

	check(demi_open_pipe(&qd, name), name);
	while ((len = getline(&line, &room, stdin)) > 0) {
		if (line[len - 1] == '\n')
			len--;
		if (!len)
			continue; /* an element of no bytes would look like the end */
		sga = demi_sgaalloc((size_t)len);
		check(sga.sga_numsegs ? 0 : ENOMEM, "sgaalloc");
		memcpy(sga.sga_segs[0].sgaseg_buf, line, (size_t)len);
		check(demi_blocking_push(qd, &sga), "push");
		demi_sgafree(&sga);
		check(demi_blocking_pop(&answer, qd), "pop");
		check(answer.sga_segs[0].sgaseg_len ? 0 : EPIPE, "pop");
		printf("%.*s\n", (int)answer.sga_segs[0].sgaseg_len, (char *)answer.sga_segs[0].sgaseg_buf);
		demi_sgafree(&answer);
	}
	free(line);
	demi_close(qd);
}

int main(int argc, char **argv)
{
	int serve = argc == 3 && !strcmp(argv[1], "server");

	if (!serve && !(argc == 3 && !strcmp(argv[1], "client"))) {
		fprintf(stderr, "usage: pipe server|client NAME\n");
		return 64;
	}
	check(demi_init(NULL), "init");
	if (serve)
		server(argv[2]);
	else
		client(argv[2]);
	return 0;
}
