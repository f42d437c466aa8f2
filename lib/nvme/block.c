/* SPDX-License-Identifier: MIT */
/* Pushes and pops on a namespace. */
#include "nvme/block.h"

#include "core/config.h"

#include <demi/file.h>
#include <demi/sockopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POP_BYTES 65536
#define POP_MAX (1U << 30)

static struct demi_block *block_of(struct demi_queue *q)
{
	return (struct demi_block *)q;
}

static int errno_of(unsigned int status)
{
	switch (status) {
	case DEMI_NVME_S_LBA_RANGE:
		return EINVAL;
	case DEMI_NVME_S_CAPACITY:
		return ENOSPC;
	case DEMI_NVME_S_WRITE_PROTECTED:
	case DEMI_NVME_S_READ_ONLY:
		return EROFS;
	case DEMI_NVME_S_GONE:
		return ENODEV;
	default:
		return EIO;
	}
}

static void check_end(struct demi_block *b);

/* ---- input and output ---- */

static struct demi_block_io *io_alloc(struct demi_block *b, enum demi_block_what what)
{
	struct demi_nvme_backend *be = b->dev->backend;
	struct demi_block_io *io = be->free_ios;

	if (io)
		be->free_ios = io->next;
	else
		io = malloc(sizeof(*io));
	if (io)
		*io = (struct demi_block_io){ .block = b, .what = what };
	return io;
}

static void io_free(struct demi_block_io *io)
{
	struct demi_nvme_backend *be = io->block->dev->backend;

	io->next = be->free_ios;
	be->free_ios = io;
}

void demi_block_free_ios(struct demi_nvme_backend *be)
{
	struct demi_block_io *io;

	while ((io = be->free_ios)) {
		be->free_ios = io->next;
		free(io);
	}
}

static void push_done(struct demi_block_io *io, int err)
{
	struct demi_block *b = io->block;

	if (io->lent)
		demi_heap_unlend(io->buf);
	else
		demi_heap_free(io->buf);
	demi_ctx_uncharge(b->q.ctx, io->len);
	if (err)
		demi_op_fail(io->op, err);
	else
		demi_op_complete(io->op);
	io_free(io);
}

/* Those at the head that are finished complete. */
static void pushes_done(struct demi_block *b)
{
	struct demi_block_io *io;

	while ((io = b->push_head) && io->finished) {
		int err = b->failed ? ECANCELED : io->err;

		b->push_head = io->next;
		b->failed |= err != 0;
		push_done(io, err);
	}
}

static void pop_done(struct demi_block_io *io)
{
	struct demi_block *b = io->block;
	struct demi_op *op = io->op;

	if (op)
		demi_op_list_del(&b->pops, op);
	if (!op || io->err)
		demi_heap_free(io->buf);
	if (op && io->err)
		demi_op_fail(op, io->err);
	else if (op)
		demi_op_complete_buf(op, io->buf, (uint32_t)io->len);
	io_free(io);
}

static void io_done(struct demi_block_io *io)
{
	struct demi_block *b = io->block;

	b->ios--;
	io->finished = true;
	if (io->what == DEMI_BLOCK_WRITE)
		pushes_done(b);
	else if (io->what == DEMI_BLOCK_READ)
		pop_done(io);
	else
		io_free(io);
	check_end(b);
}

/* As soon as there are slots. */
static void wait_for_slots(struct demi_block_io *io)
{
	struct demi_nvme_dev *d = io->block->dev;

	io->waiting = true;
	io->next_waiting = NULL;
	if (d->wait_head)
		d->wait_tail->next_waiting = io;
	else
		d->wait_head = io;
	d->wait_tail = io;
}

static void command_done(void *arg, unsigned int status)
{
	struct demi_block_io *io = arg;

	io->commands--;
	if (status && !io->err)
		io->err = errno_of(status);
	if (io->commands || io->waiting)
		return;
	if (io->flush_next && !io->err) {
		io->flush_next = false;
		io->flushing = true;
		wait_for_slots(io); /* which who polls sends off */
	} else {
		io_done(io);
	}
}

/* The next command of @io; a slot is free. */
static void io_submit(struct demi_block_io *io)
{
	static const uint8_t opcodes[] = { DEMI_NVME_READ, DEMI_NVME_WRITE, DEMI_NVME_FLUSH };
	struct demi_block *b = io->block;
	struct demi_nvme_command c = { .opcode = io->flushing ? DEMI_NVME_FLUSH : opcodes[io->what],
				       .nsid = b->ns.nsid };
	size_t left = io->len - io->submitted, max = b->dev->pair.shared->transfer_max_bytes;
	uint64_t at = (io->offset + io->submitted) >> b->shift;
	char *data = io->buf + io->submitted;

	if (max > DEMI_NVME_DATA_MAX || max < b->ns.block_bytes)
		max = DEMI_NVME_DATA_MAX;
	max &= ~((size_t)b->ns.block_bytes - 1);
	if (left > max)
		left = max;
	if (left) {
		c.dword[0] = (uint32_t)at;
		c.dword[1] = (uint32_t)(at >> 32);
		c.dword[2] = (uint32_t)(left >> b->shift) - 1;
		if (io->what == DEMI_BLOCK_WRITE && b->durable)
			c.dword[2] |= DEMI_NVME_DW12_FUA;
	}
	io->submitted += left;
	io->commands++;
	demi_nvme_pair_submit(&b->dev->pair, &c, data, (uint32_t)left, command_done, io);
}

static void unqueue(struct demi_nvme_dev *d)
{
	struct demi_block_io *io = d->wait_head;

	d->wait_head = io->next_waiting;
	io->waiting = false;
	if (!io->commands)
		io_done(io);
}

void demi_block_issue(struct demi_nvme_dev *d)
{
	while (d->wait_head && d->pair.free_count) {
		struct demi_block_io *io = d->wait_head;

		/* what has failed already is not continued */
		if (!io->err)
			io_submit(io);
		if (io->err || io->submitted == io->len)
			unqueue(d);
	}
}

void demi_block_fail_waiting(struct demi_nvme_dev *d)
{
	while (d->wait_head) {
		if (!d->wait_head->err)
			d->wait_head->err = ENODEV;
		unqueue(d);
	}
}

static void io_start(struct demi_block_io *io)
{
	struct demi_nvme_dev *d = io->block->dev;

	io->block->ios++;
	wait_for_slots(io);
	demi_block_issue(d);
	demi_ctx_want_flush(d->backend->b.ctx);
}

/* ---- push ---- */

/* Where the controller finds the bytes: there, lent, or in a copy. */
static int take_bytes(struct demi_block_io *io, const demi_sgarray_t *sga)
{
	struct demi_nvme_backend *be = io->block->dev->backend;
	void *first = sga->sga_segs[0].sgaseg_buf;
	char *to;

	/* 4.3: data begins at a multiple of 4 */
	if (sga->sga_numsegs == 1 && demi_config.zerocopy && !((uintptr_t)first & 3) &&
	    !demi_heap_lend(first, io->len)) {
		if (demi_nvme_reach(be, first, io->len)) {
			io->buf = first;
			io->lent = true;
			return 0;
		}
		demi_heap_unlend(first);
	}
	io->buf = to = demi_heap_alloc(io->len);
	if (!to)
		return -ENOMEM;
	if (!demi_nvme_reach(be, to, io->len)) {
		demi_heap_free(to);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		memcpy(to, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
		to += sga->sga_segs[i].sgaseg_len;
	}
	io->block->q.ctx->count.copied_bytes += io->len;
	return 0;
}

static int check_push(const struct demi_block *b, const demi_sgarray_t *sga, size_t *total)
{
	*total = 0;
	if (!b->writable)
		return -EBADF;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (!sga->sga_segs[i].sgaseg_len)
			return -EINVAL;
		*total += sga->sga_segs[i].sgaseg_len;
	}
	if (*total & (b->ns.block_bytes - 1))
		return -EINVAL;
	if (b->dev->gone)
		return -ENODEV;
	return *total > b->bytes - b->write_offset ? -ENOSPC : 0;
}

static int block_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		      socklen_t tolen)
{
	struct demi_block *b = block_of(q);
	struct demi_block_io *io;
	size_t total;
	int err = check_push(b, sga, &total);

	if (err)
		return err;
	if (b->failed) {
		demi_op_fail(op, ECANCELED);
		return 0;
	}
	err = demi_ctx_charge(q->ctx, total);
	if (err)
		return err;
	io = io_alloc(b, DEMI_BLOCK_WRITE);
	err = -ENOMEM;
	if (!io)
		goto err_charge;
	io->op = op;
	io->len = total;
	io->offset = b->write_offset;
	io->flush_next = b->flush_writes;
	err = take_bytes(io, sga);
	if (err)
		goto err_io;
	b->write_offset += total;
	b->dirty |= !b->durable && b->dev->pair.shared->flags & DEMI_NVME_F_CACHE;
	if (b->push_head)
		b->push_tail->next = io;
	else
		b->push_head = io;
	b->push_tail = io;
	io_start(io);
	return 0;

err_io:
	io_free(io);
err_charge:
	demi_ctx_uncharge(q->ctx, total);
	return err;
}

/* ---- pop ---- */

static int block_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_block *b = block_of(q);
	size_t len = max_bytes == SIZE_MAX ? POP_BYTES : max_bytes < POP_MAX ? max_bytes : POP_MAX;
	struct demi_block_io *io;

	len &= ~((size_t)b->ns.block_bytes - 1);
	if (!b->readable)
		return -EBADF;
	if (!len)
		return -EINVAL;
	if (b->dev->gone)
		return -ENODEV;
	if (len > b->bytes - b->read_offset)
		len = b->bytes - b->read_offset;
	if (!len) {
		demi_op_complete_eof(op);
		return 0;
	}
	io = io_alloc(b, DEMI_BLOCK_READ);
	if (!io)
		return -ENOMEM;
	io->len = len;
	io->offset = b->read_offset;
	io->buf = demi_heap_alloc(len);
	if (!io->buf || !demi_nvme_reach(b->dev->backend, io->buf, len)) {
		if (io->buf)
			demi_heap_free(io->buf);
		io_free(io);
		return -ENOMEM;
	}
	io->op = op;
	op->priv.ptr[0] = io;
	b->read_offset += len;
	demi_op_list_add(&b->pops, op);
	io_start(io);
	return 0;
}

/* Only the last pop can be taken back, and the cursor with it: those behind have got what follows. */
static int block_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_block *b = block_of(q);
	struct demi_block_io *io = op->priv.ptr[0];

	if (op->opcode != DEMI_OPC_POP || op != b->pops.tail)
		return -EALREADY;
	b->read_offset = io->offset;
	io->op = NULL; /* what comes is dropped */
	demi_op_list_del(&b->pops, op);
	demi_op_fail(op, ECANCELED);
	return 0;
}

/* ---- control ---- */

static int block_lseek(struct demi_queue *q, off_t off, int whence, off_t *out)
{
	struct demi_block *b = block_of(q);
	off_t base;

	if (b->pops.head)
		return -EBUSY;
	if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)
		return -EINVAL;
	base = whence == SEEK_SET ? 0 : (off_t)(whence == SEEK_CUR ? b->read_offset : b->bytes);
	if (__builtin_add_overflow(base, off, &base) || base < 0 || (uint64_t)base > b->bytes ||
	    base & (b->ns.block_bytes - 1))
		return -EINVAL;
	b->read_offset = (uint64_t)base;
	*out = base;
	return 0;
}

/* A range as long as they come, told to the controller as one that nobody needs. 6.7 */
static int deallocate(struct demi_block *b, uint64_t first, uint64_t blocks)
{
	struct demi_nvme_command c = { .opcode = DEMI_NVME_DATASET,
				       .nsid = b->ns.nsid,
				       .dword = { 0, DEMI_NVME_DW11_DEALLOCATE } };
	struct demi_nvme_range *range = demi_heap_alloc(sizeof(*range));
	unsigned int status = 0;

	if (!range || !demi_nvme_reach(b->dev->backend, range, sizeof(*range))) {
		if (range)
			demi_heap_free(range);
		return -ENOMEM;
	}
	while (blocks && !status) {
		uint32_t n = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;

		*range = (struct demi_nvme_range){ .blocks = n, .first = first };
		status = demi_nvme_dev_run(b->dev, &c, range, sizeof(*range));
		first += n;
		blocks -= n;
	}
	demi_heap_free(range);
	return status ? -errno_of(status) : 0;
}

static int write_zeroes(struct demi_block *b, uint64_t first, uint64_t blocks)
{
	struct demi_nvme_command c = { .opcode = DEMI_NVME_WRITE_ZEROES, .nsid = b->ns.nsid };
	unsigned int status = 0;

	while (blocks && !status) {
		uint32_t n = blocks < 0x10000 ? (uint32_t)blocks : 0x10000;

		c.dword[0] = (uint32_t)first;
		c.dword[1] = (uint32_t)(first >> 32);
		c.dword[2] = (n - 1) | DEMI_NVME_DW12_DEALLOCATE | (b->durable ? DEMI_NVME_DW12_FUA : 0);
		status = demi_nvme_dev_run(b->dev, &c, NULL, 0);
		first += n;
		blocks -= n;
	}
	return status ? -errno_of(status) : 0;
}

static int flush(struct demi_block *b)
{
	struct demi_nvme_command c = { .opcode = DEMI_NVME_FLUSH, .nsid = b->ns.nsid };
	unsigned int status = demi_nvme_dev_run(b->dev, &c, NULL, 0);

	return status ? -errno_of(status) : 0;
}

static int empty_from(struct demi_block *b, uint64_t offset)
{
	uint64_t first = offset >> b->shift, blocks = b->ns.blocks - first;
	uint32_t flags = b->dev->pair.shared->flags;
	int err = 0;

	if (!(flags & (DEMI_NVME_F_DEALLOCATE | DEMI_NVME_F_ZEROES)))
		return -EOPNOTSUPP;
	if (flags & DEMI_NVME_F_DEALLOCATE)
		err = deallocate(b, first, blocks);
	if (!err && flags & DEMI_NVME_F_ZEROES)
		err = write_zeroes(b, first, blocks);
	if (!err && b->durable && flags & DEMI_NVME_F_CACHE)
		err = flush(b);
	return err;
}

static int block_truncate(struct demi_queue *q, off_t len)
{
	struct demi_block *b = block_of(q);
	int err;

	if (b->ios)
		return -EBUSY;
	if (!b->writable || len < 0 || (uint64_t)len > b->bytes || len & (b->ns.block_bytes - 1))
		return -EINVAL;
	if (b->dev->gone)
		return -ENODEV;
	err = empty_from(b, (uint64_t)len);
	if (err)
		return err;
	b->write_offset = (uint64_t)len;
	b->failed = false;
	return 0;
}

static int block_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	struct demi_block *b = block_of(q);
	uint64_t offset;

	if (level != DEMI_SOL || name != DEMI_SO_OFFSET)
		return -ENOPROTOOPT;
	if (len != sizeof(offset))
		return -EINVAL;
	memcpy(&offset, val, sizeof(offset));
	if (offset > b->bytes || offset & (b->ns.block_bytes - 1))
		return -EINVAL;
	if (b->push_head)
		return -EBUSY;
	b->write_offset = offset;
	b->failed = false;
	return 0;
}

static int block_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	if (level != DEMI_SOL || name != DEMI_SO_OFFSET)
		return -ENOPROTOOPT;
	if (*len < sizeof(uint64_t))
		return -EINVAL;
	memcpy(val, &block_of(q)->write_offset, sizeof(uint64_t));
	*len = sizeof(uint64_t);
	return 0;
}

/* ---- the end ---- */

static void block_release(struct demi_block *b)
{
	struct demi_block **at = &b->dev->blocks;

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	b->dev->backend->draining--;
	demi_queue_put(&b->q);
}

/* Closed, and nothing is under way: what is in a volatile cache goes on, and then it is over. */
static void check_end(struct demi_block *b)
{
	struct demi_block_io *io;

	if (!b->q.closed || b->ios)
		return;
	if (b->dirty && !b->dev->gone && !b->q.reset) {
		b->dirty = false;
		io = io_alloc(b, DEMI_BLOCK_FLUSH);
		if (io) {
			io_start(io);
			return;
		}
	}
	block_release(b);
}

static void block_close(struct demi_queue *q)
{
	struct demi_block *b = block_of(q);
	struct demi_nvme_backend *be = b->dev->backend;
	struct demi_op *op;

	be->draining++;
	for (op = b->pops.head; op; op = op->next)
		((struct demi_block_io *)op->priv.ptr[0])->op = NULL;
	demi_op_fail_list(&b->pops, ECANCELED);
	check_end(b);
	if (!be->ending)
		demi_nvme_reap(be);
}

static void block_destroy(struct demi_queue *q)
{
	free(block_of(q));
}

void demi_block_close_all(struct demi_nvme_dev *d)
{
	struct demi_block *b, *next;

	for (b = d->blocks; b; b = next) {
		next = b->next;
		b->q.reset = true;
		if (!b->q.closed)
			demi_queue_close(&b->q);
	}
}

static struct demi_queue_ops block_ops = {
	.name = "block",
	.push = block_push,
	.pop = block_pop,
	.cancel = block_cancel,
	.setsockopt = block_setsockopt,
	.getsockopt = block_getsockopt,
	.lseek = block_lseek,
	.truncate = block_truncate,
	.close = block_close,
	.destroy = block_destroy,
};

__attribute__((constructor)) static void block_ops_init(void)
{
	demi_queue_ops_fill(&block_ops);
}

/* ---- opening ---- */

/* @nsid 0: the first. */
static int find_namespace(const struct demi_nvme_dev *d, uint32_t nsid, struct demi_nvme_namespace *ns)
{
	uint32_t i, n = d->pair.shared->namespace_count;

	for (i = 0; i < n; i++) {
		*ns = d->namespaces[i];
		if (!nsid || ns->nsid == nsid)
			break;
	}
	if (i == n)
		return -ENXIO;
	if (ns->block_bytes < 512 || ns->block_bytes > DEMI_NVME_PAGE || ns->block_bytes & (ns->block_bytes - 1) ||
	    ns->blocks > (uint64_t)INT64_MAX / ns->block_bytes)
		return -EPROTO;
	/* data and metadata would have to be told apart */
	return ns->metadata_bytes ? -EOPNOTSUPP : 0;
}

/* QEMU's says that it has a write cache, and does not look at the bit. */
static bool ignores_fua(const struct demi_nvme_queue *shared)
{
	static const char qemu[] = "QEMU NVMe Ctrl ";

	return !memcmp(shared->model, qemu, sizeof(qemu) - 1);
}

static int parse(const char *name, char function[DEMI_NAME_MAX], uint32_t *nsid)
{
	const char *slash = strchrnul(name, '/');
	size_t n = (size_t)(slash - name);
	unsigned long id = 0;
	char *end;

	if (n >= DEMI_NAME_MAX)
		return -ENODEV;
	memcpy(function, name, n);
	function[n] = 0;
	if (*slash) {
		id = strtoul(slash + 1, &end, 10);
		if (*end || slash[1] < '1' || slash[1] > '9' || id > UINT32_MAX)
			return -EINVAL;
	}
	*nsid = (uint32_t)id;
	return 0;
}

static int block_create(struct demi_ctx *ctx, struct demi_nvme_dev *d, uint32_t nsid, int flags,
			struct demi_block **out)
{
	struct demi_block *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	err = find_namespace(d, nsid, &b->ns);
	if (err)
		goto err_free;
	b->dev = d;
	b->shift = (unsigned int)__builtin_ctz(b->ns.block_bytes);
	b->bytes = b->ns.blocks << b->shift;
	b->readable = (flags & O_ACCMODE) != O_WRONLY;
	b->writable = (flags & O_ACCMODE) != O_RDONLY;
	b->durable = flags & DEMI_O_DURABLE;
	b->flush_writes = b->durable && d->pair.shared->flags & DEMI_NVME_F_CACHE && ignores_fua(d->pair.shared);
	if (flags & O_TRUNC && b->writable) {
		err = empty_from(b, 0);
		if (err)
			goto err_free;
	}
	err = demi_queue_install(ctx, &b->q, &block_ops);
	if (err)
		goto err_free;
	b->next = d->blocks;
	d->blocks = b;
	*out = b;
	return 0;

err_free:
	free(b);
	return err;
}

int demi_nvme_open(struct demi_ctx *ctx, const char *name, int flags, struct demi_queue **q_out)
{
	const int known = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | DEMI_O_DURABLE;
	char function[DEMI_NAME_MAX];
	struct demi_nvme_dev *d;
	struct demi_block *b;
	uint32_t nsid;
	int err;

	if (flags & ~known || (flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	err = parse(name, function, &nsid);
	if (!err)
		err = demi_nvme_dev_get(ctx, function, &d);
	if (err)
		return err;
	err = block_create(ctx, d, nsid, flags, &b);
	if (err) {
		demi_nvme_reap(d->backend);
		return err;
	}
	*q_out = &b->q;
	return 0;
}
