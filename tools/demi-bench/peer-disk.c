/* SPDX-License-Identifier: MIT */
/* Blocks of a disk by the kernel's own driver: io_uring with O_DIRECT, registered buffers and file. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALIGNED 4096

struct disk_side {
	const struct opts *opts;
	struct io_uring ring;
	bool ring_there;
	int fd;
	uint64_t pos, bytes;
	char *buf; /* one message's for each that is under way */
	size_t each;
};

static int ring_open(struct disk_side *s)
{
	struct iovec iov = { .iov_base = s->buf, .iov_len = s->each * s->opts->window };
	int ret = io_uring_queue_init(s->opts->window, &s->ring, 0);

	if (ret)
		return ret;
	s->ring_there = true;
	ret = io_uring_register_files(&s->ring, &s->fd, 1);
	if (ret)
		return ret;
	ret = io_uring_register_buffers(&s->ring, &iov, 1);
	if (ret)
		return ret;
	io_uring_register_ring_fd(&s->ring); /* older kernels do without */
	return 0;
}

int disk_open(const struct opts *o, void **state)
{
	struct disk_side *s = calloc(1, sizeof(*s));
	off_t end;

	if (!s)
		return -ENOMEM;
	*state = s;
	s->opts = o;
	s->fd = -1;
	s->each = (o->size + ALIGNED - 1) & ~(size_t)(ALIGNED - 1);
	s->fd = open(o->sides[1].on, (o->read ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC | (o->durable ? O_DSYNC : 0));
	if (s->fd < 0)
		return -errno;
	end = lseek(s->fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	s->bytes = (uint64_t)end < DISK_BYTES ? (uint64_t)end : DISK_BYTES;
	if (s->bytes < (uint64_t)o->size * o->window)
		return -ENOSPC;
	s->buf = aligned_alloc(ALIGNED, s->each * o->window);
	if (!s->buf)
		return -ENOMEM;
	memset(s->buf, 'f', s->each * o->window);
	return ring_open(s);
}

static void start(struct disk_side *s, uint32_t i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring); /* there is one for each that is under way */
	char *buf = s->buf + i * s->each;

	if (s->opts->read)
		io_uring_prep_read_fixed(sqe, 0, buf, s->opts->size, s->pos, 0);
	else
		io_uring_prep_write_fixed(sqe, 0, buf, s->opts->size, s->pos, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	s->pos += s->opts->size;
}

int disk_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	struct disk_side *s = state;
	uint32_t i, w = s->opts->window;
	struct io_uring_cqe *cqe;
	int ret;

	if (s->pos + (uint64_t)w * s->opts->size > s->bytes)
		s->pos = 0;
	for (i = 0; i < w; i++)
		start(s, i);
	ret = io_uring_submit_and_wait(&s->ring, w);
	if (ret >= 0 && ret != (int)w)
		ret = -EIO;
	for (i = 0; i < w && ret >= 0; i++) {
		ret = io_uring_wait_cqe(&s->ring, &cqe);
		if (ret)
			break;
		if (cqe->res != (int)s->opts->size)
			ret = cqe->res < 0 ? cqe->res : -EIO;
		io_uring_cqe_seen(&s->ring, cqe);
	}
	*ops = w;
	return ret < 0 ? ret : 0;
}

void disk_close(void *state)
{
	struct disk_side *s = state;

	if (s->ring_there)
		io_uring_queue_exit(&s->ring);
	if (s->fd >= 0)
		close(s->fd);
	free(s->buf);
	free(s);
}
