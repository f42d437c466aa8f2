// SPDX-License-Identifier: MIT
/* Pushes on a pipe: into the ring or arena at once, or queued until there is room. */
#include "core/config.h"
#include "core/enter.h"
#include "heap/heap.h"
#include "memq/pipe_queue.h"

#include <demi/sga.h>

#include <errno.h>
#include <string.h>

static void copy_in(uint8_t *to, const demi_sgarray_t *sga, uint64_t skip, uint64_t len)
{
	for (uint32_t i = 0; len; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];
		uint64_t n = seg->sgaseg_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n -= skip;
		n = n < len ? n : len;
		memcpy(to, (const uint8_t *)seg->sgaseg_buf + skip, n);
		to += n;
		len -= n;
		skip = 0;
	}
}

static uint64_t sga_bytes(const demi_sgarray_t *sga)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++)
		bytes += sga->sga_segs[i].sgaseg_len;
	return bytes;
}

/* What a queued push is charged: its operation, too, so that empty ones are not free. */
static size_t push_charge(const demi_sgarray_t *sga)
{
	return sga_bytes(sga) + sizeof(struct demi_op);
}

/* Publish an element in one record: 1; 0: no room (for a large one in the ring or the arena); -EBADMSG. */
static inline int put_whole(struct demi_pipe *p, const demi_sgarray_t *sga, uint32_t len)
{
	bool large = len >= DEMI_PIPE_LARGE;
	struct demi_pipe_slot slot;
	uint32_t block = 0;
	uint8_t *to;
	int ret;

	ret = demi_pipe_tx_reserve(&p->tx, large ? sizeof(uint64_t) : len, &slot);
	if (ret <= 0)
		return ret;
	to = large ? demi_pipe_arena_alloc(&p->tx.arena, len, &block) : slot.payload;
	if (!to)
		return 0;
	copy_in(to, sga, 0, len);
	if (large)
		atomic_store_explicit((_Atomic uint64_t *)slot.payload, block, memory_order_relaxed);
	demi_pipe_tx_publish(&p->tx, &slot, large ? DEMI_PIPE_LARGE_AT : DEMI_PIPE_DATA, len,
			     large ? sizeof(uint64_t) : len);
	p->q.ctx->count.copied_bytes += len;
	demi_pipe_note(p, DEMI_PIPE_WANT_DATA);
	return 1;
}

/* Publish what fits of an element that the arena has no room for: 1: all of it is in the ring; 0; -EBADMSG. */
static int put_parts(struct demi_pipe *p, struct demi_op *op)
{
	const demi_sgarray_t *sga = &op->sga;
	uint64_t total = sga_bytes(sga), *done = &op->priv.u64[0];
	struct demi_pipe_slot slot;
	uint64_t n;
	int ret;

	while (!(op->flags & DEMI_PIPE_OP_STARTED) || *done < total) {
		n = total - *done < demi_pipe_part_max(&p->tx) ? total - *done : demi_pipe_part_max(&p->tx);
		if (!(op->flags & DEMI_PIPE_OP_STARTED))
			n = 0;
		ret = demi_pipe_tx_reserve(&p->tx, (uint32_t)n, &slot);
		if (ret <= 0)
			return ret;
		if (n) {
			copy_in(slot.payload, sga, *done, n);
			demi_pipe_tx_publish(&p->tx, &slot, DEMI_PIPE_PART, (uint32_t)n, (uint32_t)n);
		} else {
			demi_pipe_tx_publish(&p->tx, &slot, DEMI_PIPE_FIRST, (uint32_t)total, 0);
			op->flags |= DEMI_PIPE_OP_STARTED;
		}
		*done += n;
		p->q.ctx->count.copied_bytes += n;
		demi_pipe_note(p, DEMI_PIPE_WANT_DATA);
	}
	return 1;
}

/* Give back what a queued push keeps. */
static void push_drop(struct demi_pipe *p, struct demi_op *op)
{
	demi_sgarray_t *sga = &op->sga;

	demi_ctx_uncharge(p->q.ctx, push_charge(sga));
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (!sga->sga_segs[i].sgaseg_len)
			continue;
		if (op->flags & DEMI_PIPE_OP_LENT)
			demi_heap_unlend(sga->sga_segs[i].sgaseg_buf);
		else
			demi_heap_free(sga->sga_segs[i].sgaseg_buf);
	}
}

void demi_pipe_fail_push(struct demi_pipe *p, struct demi_op *op, int err)
{
	push_drop(p, op);
	demi_op_fail(op, err);
}

void demi_pipe_fail_pushes(struct demi_pipe *p, int err)
{
	struct demi_op *op;

	while ((op = demi_op_list_take(&p->pushes)))
		demi_pipe_fail_push(p, op, err);
}

static bool lend_all(const demi_sgarray_t *sga)
{
	if (!demi_config.zerocopy)
		return false;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		if (!seg->sgaseg_len || !demi_heap_lend(seg->sgaseg_buf, seg->sgaseg_len))
			continue;
		while (i-- > 0) {
			if (sga->sga_segs[i].sgaseg_len)
				demi_heap_unlend(sga->sga_segs[i].sgaseg_buf);
		}
		return false;
	}
	return true;
}

/* Keep @sga until there is room: where it is, if it lies in the heap, else a copy. */
static int push_keep(struct demi_op *op, const demi_sgarray_t *sga, uint64_t len)
{
	demi_sgarray_t *kept = &op->sga;

	op->flags = DEMI_PIPE_OP_LENT;
	op->priv.u64[0] = 0;
	memcpy(kept, sga, sizeof(*kept));
	if (lend_all(sga))
		return 0;
	op->flags = 0;
	memset(kept, 0, sizeof(*kept));
	kept->sga_numsegs = 1;
	kept->sga_segs[0].sgaseg_len = (uint32_t)len;
	if (!len)
		return 0;
	kept->sga_segs[0].sgaseg_buf = demi_heap_alloc(len);
	if (!kept->sga_segs[0].sgaseg_buf)
		return -ENOMEM;
	copy_in(kept->sga_segs[0].sgaseg_buf, sga, 0, len);
	return 0;
}

/* 1: all of it is in the ring; 0: not yet; -EBADMSG. */
static int put_queued(struct demi_pipe *p, struct demi_op *op)
{
	const demi_sgarray_t *sga = &op->sga;
	uint64_t len = sga_bytes(sga);
	int ret = 0;

	if (!(op->flags & DEMI_PIPE_OP_STARTED))
		ret = put_whole(p, sga, (uint32_t)len);
	if (ret == 0 && len >= DEMI_PIPE_LARGE)
		ret = put_parts(p, op);
	return ret;
}

int demi_pipe_drain(struct demi_pipe *p)
{
	struct demi_op *op;
	int ret;

	if (atomic_load_explicit(&p->peer->ended, memory_order_relaxed)) {
		p->push_err = EPIPE;
		demi_pipe_fail_pushes(p, EPIPE);
	}
	while ((op = p->pushes.head)) {
		ret = put_queued(p, op);
		if (ret <= 0)
			return ret;
		demi_op_list_del(&p->pushes, op);
		push_drop(p, op);
		demi_op_complete(op);
	}
	if (p->end_wanted) {
		demi_pipe_tx_end(&p->tx);
		demi_pipe_note(p, DEMI_PIPE_WANT_DATA);
		p->end_wanted = false;
	}
	return 0;
}

static int enqueue(struct demi_pipe *p, struct demi_op *op, const demi_sgarray_t *sga, uint64_t len)
{
	size_t charge = push_charge(sga);
	int err;

	err = demi_ctx_charge(p->q.ctx, charge);
	if (err)
		return err;
	err = push_keep(op, sga, len);
	if (err) {
		demi_ctx_uncharge(p->q.ctx, charge);
		return err;
	}
	demi_op_list_add(&p->pushes, op);
	demi_pipe_activate(p);
	return 0;
}

int demi_pipe_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		   socklen_t tolen)
{
	struct demi_pipe *p = (struct demi_pipe *)q;
	uint64_t len;
	int ret = 0;

	if (to)
		return -EOPNOTSUPP;
	if (p->push_err)
		return -p->push_err;
	len = sga_bytes(sga);
	if (len > DEMI_SGA_MAXBYTES)
		return -EMSGSIZE;
	if (!p->pushes.head)
		ret = put_whole(p, sga, (uint32_t)len);
	if (demi_likely(ret == 1)) {
		demi_op_complete(op);
		return 0;
	}
	ret = enqueue(p, op, sga, len);
	/* an element that the arena has no room for begins to go through the ring */
	if (!ret && p->pushes.head == op && demi_pipe_drain(p))
		demi_pipe_break(p);
	return ret;
}
