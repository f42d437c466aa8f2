/* SPDX-License-Identifier: MIT */
/* file: appending to and reading from a file queue, beside write(2) and read(2). */
#include "cmds.h"
#include "demi-loop.h"
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (64 << 20) /* where a file is begun anew */

struct file_side {
	const struct opts *opts;
	char path[512];
	int fd; /* queue descriptor or file descriptor */
	uint64_t pos;
	demi_sgarray_t msg;
	char *buf;
};

static int file_make(const struct opts *o, const char *suffix, struct file_side **out)
{
	struct file_side *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->opts = o;
	s->fd = -1;
	snprintf(s->path, sizeof(s->path), "%s.%s", o->file ? o->file : "demi-bench.tmp", suffix);
	s->buf = malloc(FILE_BYTES > o->size ? o->size : FILE_BYTES);
	if (!s->buf) {
		free(s);
		return -ENOMEM;
	}
	memset(s->buf, 'f', o->size);
	*out = s;
	return 0;
}

/* Something to read. */
static int file_fill(struct file_side *s, int fd)
{
	uint64_t n;

	if (!s->opts->read)
		return 0;
	for (n = 0; n + s->opts->size <= FILE_BYTES; n += s->opts->size)
		if (write(fd, s->buf, s->opts->size) != (ssize_t)s->opts->size)
			return errno ? -errno : -EIO;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int plain_open(const struct opts *o, void **state)
{
	struct file_side *s;
	int ret = file_make(o, "sync", &s);

	if (ret)
		return ret;
	*state = s;
	s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | (o->durable ? O_DSYNC : 0), 0600);
	return s->fd < 0 ? -errno : file_fill(s, s->fd);
}

static int demi_open_side(const struct opts *o, void **state)
{
	struct file_side *s;
	int ret = file_make(o, "demi", &s), fd;

	if (ret)
		return ret;
	*state = s;
	fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = file_fill(s, fd);
	close(fd);
	if (ret)
		return ret;
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = demi_open(&s->fd, s->path, O_RDWR | (o->durable ? DEMI_O_DURABLE : 0), 0);
	if (ret)
		return -ret;
	s->msg = demi_sgaalloc(o->size);
	if (!s->msg.sga_numsegs)
		return -ENOMEM;
	memset(s->msg.sga_segs[0].sgaseg_buf, 'f', o->size);
	return 0;
}

static int plain_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct file_side *s = state;
	uint32_t i, w = s->opts->window;
	ssize_t n;

	if (s->pos + (uint64_t)w * s->opts->size > FILE_BYTES) {
		if (lseek(s->fd, 0, SEEK_SET) < 0 || (!s->opts->read && ftruncate(s->fd, 0)))
			return -errno;
		s->pos = 0;
	}
	for (i = 0; i < w; i++) {
		n = s->opts->read ? read(s->fd, s->buf, s->opts->size) : write(s->fd, s->buf, s->opts->size);
		if (n != (ssize_t)s->opts->size)
			return n < 0 ? -errno : -EIO;
		s->pos += s->opts->size;
	}
	*ops = w;
	return 0;
}

static int demi_one(struct file_side *s, demi_qtoken_t *qt)
{
	s->pos += s->opts->size;
	return s->opts->read ? demi_pop_n(qt, s->fd, s->opts->size) : demi_push(qt, s->fd, &s->msg);
}

static int demi_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct file_side *s = state;
	uint32_t i, w = s->opts->window;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret = 0, n;

	if (s->pos + (uint64_t)w * s->opts->size > FILE_BYTES) {
		ret = s->opts->read ? demi_lseek(NULL, s->fd, 0, SEEK_SET) : demi_truncate(s->fd, 0);
		s->pos = 0;
	}
	for (i = 0; i < w && !ret; i++)
		ret = demi_one(s, &qt);
	for (i = 0; i < w && !ret; i++) {
		ret = demi_wait_next_n(&qr, 1, &n, NULL);
		if (!ret && qr.qr_opcode == DEMI_OPC_FAILED)
			ret = (int)qr.qr_ret;
		if (!ret && qr.qr_opcode == DEMI_OPC_POP)
			ret = demi_sgafree(&qr.qr_value.sga);
	}
	*ops = w;
	return -ret;
}

static void plain_close(void *state)
{
	struct file_side *s = state;

	if (s->fd >= 0)
		close(s->fd);
	unlink(s->path);
	free(s->buf);
	free(s);
}

static void demi_close_side(void *state)
{
	struct file_side *s = state;

	if (s->fd >= 0)
		demi_close(s->fd);
	demi_sgafree(&s->msg);
	unlink(s->path);
	free(s->buf);
	free(s);
}

static int run_file(struct opts *o)
{
	struct local_side sides[2] = {
		{ .name = "demi", .open = demi_open_side, .batch = demi_batch, .close = demi_close_side },
		{ .name = "sync", .open = plain_open, .batch = plain_batch, .close = plain_close },
	};
	char title[160];

	if (!o->size)
		o->size = 16384;
	if (!o->window)
		o->window = 16;
	if ((uint64_t)o->size * o->window > FILE_BYTES) {
		fprintf(stderr, "demi-bench: --size times --window is at most 64 MiB\n");
		return 64;
	}
	snprintf(title, sizeof(title), "%s %u bytes%s, %u under way", o->read ? "read" : "append", o->size,
		 o->durable ? " to stable storage" : "", o->window);
	return local_pairs(o, sides, o->nsides > 1 ? 2 : 1, (double)o->size / 1048576, title);
}

const struct command cmd_file = {
	.name = "file",
	.doc = "appending to or reading a file queue, beside write(2) and read(2) (--vs sync)",
	.options = "swF",
	.kinds = "demi sync",
	.run = run_file,
};
