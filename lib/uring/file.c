/* SPDX-License-Identifier: MIT */
/*
 * Files. One read and one write are in flight at most: where a read ends says where the next begins,
 * and a write that failed must be the last one (no holes). What is pushed meanwhile goes out together
 * with the next write, which is also one flush to stable storage for all of it.
 */
#include "uring/file.h"

#include "core/log.h"
#include "heap/heap.h"
#include "uring/sock.h"

#include <demi/file.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POP_BYTES 65536
#define POP_MAX (1U << 30)

struct demi_file_push {
	struct demi_file_push *next;
	struct demi_op *op;
	size_t left; /* bytes that are not written yet */
	uint32_t nsegs;
	uint32_t lent; /* a bit for each segment that is */
	struct iovec iov[DEMI_SGARRAY_MAXSIZE]; /* what is left */
	const void *base[DEMI_SGARRAY_MAXSIZE]; /* where it began, if it is lent */
	char data[];
};

/* ---- the end ---- */

static void file_release(struct demi_file *f)
{
	struct demi_uring *u = demi_file_uring(f);

	close(f->fd);
	f->fd = -1;
	demi_link_del(&f->all);
	demi_link_del(&f->tx_link);
	u->draining--;
	demi_queue_put(&f->q);
}

static void file_check_end(struct demi_file *f)
{
	if (f->q.closed && f->fd >= 0 && !f->reading && !f->writing && !f->push_head)
		file_release(f);
}

/* ---- reading ---- */

static void read_ended(struct demi_file *f, ssize_t n)
{
	uint32_t room = (uint32_t)f->read_iov.iov_len;
	void *buf = f->read_iov.iov_base, *exact;
	struct demi_op *op = f->read_op;

	f->reading = false;
	f->read_iov.iov_base = NULL;
	if (op) {
		demi_op_list_del(&f->pops, op);
		f->read_op = NULL;
	}
	if (!op || n <= 0) {
		demi_heap_free(buf);
		if (op && n < 0)
			demi_op_fail(op, (int)-n);
		else if (op)
			demi_op_complete_eof(op);
		return;
	}
	f->read_off += n;
	exact = n < room / 4 ? demi_heap_alloc((size_t)n) : NULL;
	if (exact) {
		memcpy(exact, buf, (size_t)n);
		f->q.ctx->count.copied_bytes += (size_t)n;
		demi_heap_free(buf);
		buf = exact;
	}
	demi_op_complete_buf(op, buf, (uint32_t)n);
}

static void read_next(struct demi_file *f)
{
	const struct demi_engine_ops *e = demi_file_uring(f)->engine;
	ssize_t n;

	while (!f->reading && f->pops.head) {
		struct demi_op *op = f->pops.head;
		size_t len = op->priv.u64[0];

		f->read_iov.iov_len = len == SIZE_MAX ? POP_BYTES : len < POP_MAX ? len : POP_MAX;
		f->read_iov.iov_base = demi_heap_alloc(f->read_iov.iov_len);
		if (!f->read_iov.iov_base) {
			demi_op_list_del(&f->pops, op);
			demi_op_fail(op, ENOMEM);
			continue;
		}
		f->read_op = op;
		f->reading = true;
		n = e->readv(f, &f->read_req, &f->read_iov, 1, f->read_off);
		if (n != -EINPROGRESS)
			read_ended(f, n);
	}
}

static void read_done(struct demi_ureq *r, int res, uint32_t flags)
{
	struct demi_file *f = demi_container(r, struct demi_file, read_req);

	if (res == -EINTR || res == -EAGAIN) { /* as if it had not begun */
		f->reading = false;
		f->read_op = NULL;
		demi_heap_free(f->read_iov.iov_base);
	} else {
		read_ended(f, res);
	}
	read_next(f);
	file_check_end(f);
}

static int file_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_file *f = DEMI_FILE(q);

	if (!f->readable)
		return -EBADF;
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&f->pops, op);
	read_next(f);
	return 0;
}

/* ---- writing ---- */

static void push_done(struct demi_file *f, int err)
{
	struct demi_file_push *p = f->push_head;

	f->push_head = p->next;
	for (uint32_t i = 0; i < p->nsegs; i++) {
		if (p->lent & 1U << i)
			demi_heap_unlend(p->base[i]);
	}
	demi_ctx_uncharge(f->q.ctx, p->left);
	if (err)
		demi_op_fail(p->op, err);
	else
		demi_op_complete(p->op);
	free(p);
}

static void push_advance(struct demi_file *f, struct demi_file_push *p, size_t n)
{
	p->left -= n;
	demi_ctx_uncharge(f->q.ctx, n);
	for (uint32_t i = 0; n; i++) {
		size_t part = n < p->iov[i].iov_len ? n : p->iov[i].iov_len;

		p->iov[i].iov_base = (char *)p->iov[i].iov_base + part;
		p->iov[i].iov_len -= part;
		n -= part;
	}
}

/* The first push fails with @err, all behind it did not begin. */
static void write_failed(struct demi_file *f, int err)
{
	f->failed = true;
	for (; f->push_head; err = ECANCELED)
		push_done(f, err);
}

static void wrote(struct demi_file *f, ssize_t n)
{
	f->writing = false;
	if (n == -EINTR || n == -EAGAIN)
		return;
	if (n <= 0) {
		write_failed(f, n ? (int)-n : EIO);
		return;
	}
	f->write_off += n;
	while (n) {
		struct demi_file_push *p = f->push_head;
		size_t part = (size_t)n < p->left ? (size_t)n : p->left;

		push_advance(f, p, part);
		n -= (ssize_t)part;
		if (!p->left)
			push_done(f, 0);
	}
}

static int gather(struct demi_file *f)
{
	int n = 0;

	for (struct demi_file_push *p = f->push_head; p && n + DEMI_SGARRAY_MAXSIZE <= DEMI_FILE_IOV; p = p->next) {
		for (uint32_t i = 0; i < p->nsegs; i++) {
			if (p->iov[i].iov_len)
				f->write_iov[n++] = p->iov[i];
		}
	}
	return n;
}

void demi_file_flush(struct demi_file *f)
{
	const struct demi_engine_ops *e = demi_file_uring(f)->engine;
	ssize_t n;

	while (f->push_head && !f->writing) {
		f->writing = true;
		n = e->writev(f, &f->write_req, f->write_iov, gather(f), f->write_off);
		if (n == -EINPROGRESS)
			return;
		wrote(f, n);
	}
	file_check_end(f);
}

static void want_write(struct demi_file *f)
{
	struct demi_uring *u = demi_file_uring(f);

	if (!f->tx_link.next)
		demi_link_add(&u->file_tx, &f->tx_link);
	demi_uring_want_flush(u);
}

static void write_done(struct demi_ureq *r, int res, uint32_t flags)
{
	struct demi_file *f = demi_container(r, struct demi_file, write_req);

	wrote(f, res);
	if (f->push_head)
		want_write(f);
	file_check_end(f);
}

static struct demi_file_push *push_alloc(struct demi_file *f, const demi_sgarray_t *sga, uint32_t lent, size_t copied)
{
	struct demi_file_push *p = malloc(sizeof(*p) + copied);
	char *to;

	if (!p)
		return NULL;
	to = p->data;
	p->next = NULL;
	p->lent = lent;
	p->left = 0;
	p->nsegs = sga->sga_numsegs;
	for (uint32_t i = 0; i < p->nsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		p->base[i] = seg->sgaseg_buf;
		p->iov[i].iov_base = seg->sgaseg_buf;
		p->iov[i].iov_len = seg->sgaseg_len;
		p->left += seg->sgaseg_len;
		if (lent & 1U << i)
			continue;
		memcpy(to, seg->sgaseg_buf, seg->sgaseg_len);
		p->iov[i].iov_base = to;
		to += seg->sgaseg_len;
	}
	f->q.ctx->count.copied_bytes += copied;
	return p;
}

static int file_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		     socklen_t tolen)
{
	struct demi_file *f = DEMI_FILE(q);
	size_t total = 0, copied = 0;
	struct demi_file_push *p;
	uint32_t lent;
	int err;

	if (!f->writable)
		return -EBADF;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (!sga->sga_segs[i].sgaseg_len)
			return -EINVAL;
		total += sga->sga_segs[i].sgaseg_len;
	}
	if (f->failed) {
		demi_op_fail(op, ECANCELED);
		return 0;
	}
	err = demi_ctx_charge(q->ctx, total);
	if (err)
		return err;
	lent = demi_sock_lend_segs(sga, &copied);
	p = push_alloc(f, sga, lent, copied);
	if (!p) {
		for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
			if (lent & 1U << i)
				demi_heap_unlend(sga->sga_segs[i].sgaseg_buf);
		}
		demi_ctx_uncharge(q->ctx, total);
		return -ENOMEM;
	}
	p->op = op;
	if (f->push_head)
		f->push_tail->next = p;
	else
		f->push_head = p;
	f->push_tail = p;
	want_write(f);
	return 0;
}

/* ---- control ---- */

static int file_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_file *f = DEMI_FILE(q);

	if (op->opcode != DEMI_OPC_POP)
		return -EALREADY;
	if (op == f->read_op) /* what comes is dropped, and the cursor stays */
		f->read_op = NULL;
	demi_op_list_del(&f->pops, op);
	demi_op_fail(op, ECANCELED);
	return 0;
}

static int file_lseek(struct demi_queue *q, off_t off, int whence, off_t *out)
{
	struct demi_file *f = DEMI_FILE(q);
	struct stat st;
	off_t base;

	if (f->pops.head)
		return -EBUSY;
	switch (whence) {
	case SEEK_SET:
		base = 0;
		break;
	case SEEK_CUR:
		base = f->read_off;
		break;
	case SEEK_END:
		if (fstat(f->fd, &st))
			return -errno;
		base = st.st_size;
		break;
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, off, &base) || base < 0)
		return -EINVAL;
	f->read_off = base;
	*out = base;
	return 0;
}

static int file_truncate(struct demi_queue *q, off_t len)
{
	struct demi_file *f = DEMI_FILE(q);

	if (f->pops.head || f->reading || f->push_head)
		return -EBUSY;
	if (!f->writable)
		return -EINVAL;
	if (ftruncate(f->fd, len))
		return -errno;
	f->write_off = len;
	f->failed = false;
	return 0;
}

/* Without draining: what is in flight cannot be taken back, the rest is dropped. */
static void drop_pushes(struct demi_file *f)
{
	if (!f->writing && f->push_head)
		write_failed(f, ECANCELED);
}

static void file_close(struct demi_queue *q)
{
	struct demi_file *f = DEMI_FILE(q);

	demi_file_uring(f)->draining++;
	f->read_op = NULL;
	demi_op_fail_list(&f->pops, ECANCELED);
	if (q->reset)
		drop_pushes(f);
	file_check_end(f);
}

static void file_destroy(struct demi_queue *q)
{
	free(DEMI_FILE(q));
}

void demi_file_end(struct demi_file *f)
{
	if (!f->q.closed)
		demi_queue_close(&f->q);
	else
		drop_pushes(f);
}

void demi_file_abandon(struct demi_file *f)
{
	f->reading = f->writing = false;
	drop_pushes(f);
	file_check_end(f);
}

static struct demi_queue_ops file_ops = {
	.name = "file",
	.push = file_push,
	.pop = file_pop,
	.cancel = file_cancel,
	.lseek = file_lseek,
	.truncate = file_truncate,
	.close = file_close,
	.destroy = file_destroy,
};

__attribute__((constructor)) static void file_ops_init(void)
{
	demi_queue_ops_fill(&file_ops);
}

/* ---- opening ---- */

static int open_fd(const char *path, int flags, unsigned int mode, off_t *size)
{
	const int known = O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_APPEND | O_CLOEXEC;
	struct stat st;
	int fd;

	if (flags & ~known || (flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	/* not O_APPEND: pwrite() would go to the end whatever its offset says */
	fd = open(path, (flags & ~O_APPEND) | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st)) {
		int err = -errno;

		close(fd);
		return err;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		return -EISDIR;
	}
	*size = st.st_size;
	return fd;
}

int demi_file_open(struct demi_backend *b, const char *path, int flags, unsigned int mode, struct demi_queue **q_out)
{
	struct demi_uring *u = (struct demi_uring *)b;
	struct demi_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->fd = open_fd(path, flags & ~DEMI_O_DURABLE, mode, &f->write_off);
	if (f->fd < 0) {
		err = f->fd;
		goto err_free;
	}
	f->readable = (flags & O_ACCMODE) != O_WRONLY;
	f->writable = (flags & O_ACCMODE) != O_RDONLY;
	f->durable = flags & DEMI_O_DURABLE;
	f->read_req.done = read_done;
	f->write_req.done = write_done;
	err = demi_queue_install(b->ctx, &f->q, &file_ops);
	if (err)
		goto err_fd;
	demi_link_add(&u->files, &f->all);
	*q_out = &f->q;
	return 0;

err_fd:
	close(f->fd);
err_free:
	free(f);
	return err;
}
