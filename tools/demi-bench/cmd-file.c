/* SPDX-License-Identifier: MIT */
/*
 * file: appending to and reading from a file queue, beside write(2) and read(2); or writing to and reading from the
 * blocks of an NVMe controller of one's own, beside the kernel's driver of another.
 */
#include "cmds.h"
#include "demi-loop.h"
#include "device.h"
#include "disk.h"
#include "local.h"

#include <demi/sockopt.h>

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
	uint64_t pos, bytes; /* where it begins anew */
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
	s->bytes = FILE_BYTES;
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

/* The disk's blocks, as many as are used. */
static int nvme_open_side(const struct opts *o, void **state)
{
	struct file_side *s;
	int ret = file_make(o, "demi", &s);
	off_t end = 0;

	if (ret)
		return ret;
	*state = s;
	snprintf(s->path, sizeof(s->path), "nvme:%s", o->file ? o->file : "");
	ret = loop_init(o->spin_us);
	if (!ret)
		ret = demi_open(&s->fd, s->path, (o->read ? O_RDONLY : O_RDWR) | (o->durable ? DEMI_O_DURABLE : 0), 0);
	if (!ret)
		ret = demi_lseek(&end, s->fd, 0, SEEK_END);
	if (!ret)
		ret = demi_lseek(NULL, s->fd, 0, SEEK_SET);
	if (ret)
		return -ret;
	s->bytes = (uint64_t)end < DISK_BYTES ? (uint64_t)end : DISK_BYTES;
	if (s->bytes < (uint64_t)o->size * o->window)
		return -ENOSPC;
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

/* Back to where it began. */
static int demi_rewind(struct file_side *s)
{
	uint64_t offset = 0;

	s->pos = 0;
	if (s->opts->read)
		return demi_lseek(NULL, s->fd, 0, SEEK_SET);
	if (s->opts->device)
		return demi_setsockopt(s->fd, DEMI_SOL, DEMI_SO_OFFSET, &offset, sizeof(offset));
	return demi_truncate(s->fd, 0);
}

static int demi_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct file_side *s = state;
	uint32_t i, w = s->opts->window;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret = 0, n;

	if (s->pos + (uint64_t)w * s->opts->size > s->bytes)
		ret = demi_rewind(s);
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
	if (!s->opts->device)
		unlink(s->path);
	free(s->buf);
	free(s);
}

static int mistake(const char *what)
{
	fprintf(stderr, "demi-bench: %s\n", what);
	return 64;
}

/* Nobody's disk is written to unless it was named. */
static int check_disks(const struct opts *o)
{
	bool kernel = o->nsides > 1 && !strcmp(o->sides[1].kind, "kernel");

	if (kernel != (o->nsides > 1 && o->sides[1].on) || o->sides[0].on)
		return mistake("the disk of --vs kernel is named with it, as in --vs kernel@/dev/nvme1n1");
	if (!o->device)
		return kernel ? mistake("--vs kernel is the peer of --device nvme") : 0;
	if (o->nsides > 1 && !kernel)
		return mistake("the peer of --device nvme is --vs kernel");
	if (!o->read && !o->file)
		return mistake("what is on the disk would be lost: name it with --file, as 0000:01:00.0/1, or --read");
	return 0;
}

static int run_file(struct opts *o)
{
	static const struct local_side side_file = { "demi", demi_open_side, demi_batch, demi_close_side },
				       side_sync = { "sync", plain_open, plain_batch, plain_close },
				       side_nvme = { "demi:nvme", nvme_open_side, demi_batch, demi_close_side },
				       side_disk = { "kernel", disk_open, disk_batch, disk_close };
	struct local_side sides[2] = { o->device ? side_nvme : side_file, o->device ? side_disk : side_sync };
	char title[160];
	int bad = check_disks(o);

	if (bad)
		return bad;

	if (!o->size)
		o->size = o->device ? 4096 : 16384;
	if (!o->window)
		o->window = 16;
	if ((uint64_t)o->size * o->window > FILE_BYTES)
		return mistake("--size times --window is at most 64 MiB");
	snprintf(title, sizeof(title), "%s %u bytes%s, %u under way",
		 o->read     ? "read"
		 : o->device ? "write"
			     : "append",
		 o->size, o->durable ? " to stable storage" : "", o->window);
	return local_pairs(o, sides, o->nsides > 1 ? 2 : 1, (double)o->size / 1048576, title);
}

const struct command cmd_file = {
	.name = "file",
	.doc = "appending to or reading a file queue, beside write(2) and read(2) (--vs sync), or a disk",
	.options = "swFd",
	.kinds = "demi sync kernel",
	.run = run_file,
};
