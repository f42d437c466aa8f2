/* SPDX-License-Identifier: MIT */
/*
 * A text in the first block of a disk, or of a file: "write" says when it is on stable storage, "read" prints it.
 * What was in that block is lost.
 *
 *	block write nvme:0000:01:00.0/1 some words
 *	block read nvme:0000:01:00.0/1
 */
#include <demi/demi.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 4096 /* no disk has larger ones */

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "block: %s: %s\n", what, strerror(err));
	exit(1);
}

static void write_text(const char *path, char **words)
{
	demi_sgarray_t sga = demi_sgaalloc(BLOCK);
	char *text = sga.sga_numsegs ? sga.sga_segs[0].sgaseg_buf : NULL;
	size_t len = 0;
	int qd;

	check(text ? 0 : ENOMEM, "sgaalloc");
	memset(text, 0, BLOCK);
	for (; *words; words++) {
		check(len + strlen(*words) + 2 <= BLOCK ? 0 : EFBIG, *words);
		len += (size_t)sprintf(text + len, "%s%s", len ? " " : "", *words);
	}
	/* DURABLE: a completed push will survive a power failure. */
	check(demi_open(&qd, path, O_WRONLY | O_CREAT | DEMI_O_DURABLE, 0666), path);
	/* The device takes the bytes from where they are. */
	check(demi_blocking_push(qd, &sga), "write");
	printf("%zu bytes are on stable storage\n", len);
	demi_sgafree(&sga);
	demi_close(qd);
}

static void read_text(const char *path)
{
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int qd;

	check(demi_open(&qd, path, O_RDONLY, 0), path);
	check(demi_pop_n(&qt, qd, BLOCK), "pop");
	check(demi_wait(&qr, qt, NULL), "wait");
	check((int)qr.qr_ret, "read");
	printf("%.*s\n", (int)qr.qr_value.sga.sga_segs[0].sgaseg_len, (char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf);
	demi_sgafree(&qr.qr_value.sga);
	demi_close(qd);
}

int main(int argc, char **argv)
{
	int writes = argc > 3 && !strcmp(argv[1], "write");

	if (!writes && !(argc == 3 && !strcmp(argv[1], "read"))) {
		fprintf(stderr, "usage: block write PATH WORD... | block read PATH\n");
		return 64;
	}
	check(demi_init(NULL), "init");
	if (writes)
		write_text(argv[2], argv + 3);
	else
		read_text(argv[2]);
	return 0;
}
