// SPDX-License-Identifier: MIT
#include "core/op.h"
#include "core/instant.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define TABLE_BYTES (DEMI_OP_SLOTS * sizeof(struct demi_op))
#define GROW_BYTES 12288 /* 64 operations; then as many as there are */

int demi_op_table_init(struct demi_op_table *t)
{
	void *ops;

	memset(t, 0, sizeof(*t));
	ops = mmap(NULL, TABLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ops == MAP_FAILED)
		return -ENOMEM;
	t->ops = ops;
	if (demi_op_table_grow(t))
		return 0;
	demi_op_table_destroy(t);
	return -ENOMEM;
}

void demi_op_table_destroy(struct demi_op_table *t)
{
	munmap(t->ops, TABLE_BYTES);
	memset(t, 0, sizeof(*t));
}

/*
 * A token is the slot and, above it, a generation that counts how often the slot was used. It starts at
 * random below half of its range, so that neither 0 nor ~0 is ever reached.
 */
static uint64_t first_token(uint32_t slot)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = demi_now_ns() * 0x9e3779b97f4a7c15;
	return ((r >> 1 | DEMI_OP_SLOTS) & ~(uint64_t)(DEMI_OP_SLOTS - 1)) | slot;
}

struct demi_op *demi_op_table_grow(struct demi_op_table *t)
{
	size_t have = t->count * sizeof(struct demi_op);
	size_t want = have ? 2 * have : GROW_BYTES;
	uint64_t token;
	uint32_t count;

	if (want > TABLE_BYTES)
		want = TABLE_BYTES;
	if (want == have || mprotect((char *)t->ops + have, want - have, PROT_READ | PROT_WRITE))
		return NULL;
	count = (uint32_t)(want / sizeof(struct demi_op));
	token = first_token(t->count);
	for (uint32_t i = count; i-- > t->count;) {
		t->ops[i].token = token + (i - t->count);
		t->ops[i].next = t->free;
		t->free = &t->ops[i];
	}
	t->count = count;
	return t->free;
}

struct demi_op *demi_op_alloc(struct demi_ctx *ctx, struct demi_queue *q, demi_opcode_t opcode)
{
	return demi_op_alloc_inline(ctx, q, opcode);
}

void demi_op_release(struct demi_ctx *ctx, struct demi_op *op)
{
	demi_op_release_inline(ctx, op);
}

void demi_instant_spill(struct demi_ctx *ctx)
{
	const struct demi_instant *i = &ctx->instant;
	struct demi_op *op = demi_op_alloc_inline(ctx, i->q, (demi_opcode_t)(uint32_t)i->head);

	if (i->numsegs) {
		demi_op_set_popped_buf_inline(op, i->buf, i->len);
	} else {
		demi_op_set_pushed_inline(op);
	}
	demi_op_ready_inline(ctx, op);
}

void demi_await_spill(struct demi_ctx *ctx)
{
	struct demi_queue *q = ctx->await.q;
	struct demi_op *op = demi_op_alloc_inline(ctx, q, DEMI_OPC_POP);
	int err;

	ctx->await.now = NULL;
	ctx->await.op = op;
	err = q->ops->pop(q, op, ctx->await.max_bytes);
	if (err)
		demi_op_fail(op, -err);
}

void demi_op_set_pushed(struct demi_op *op)
{
	demi_op_set_pushed_inline(op);
}

void demi_op_set_popped(struct demi_op *op, const demi_sgarray_t *sga)
{
	op->value = DEMI_OP_VALUE_FULL;
	op->sga = *sga;
}

void demi_op_set_popped_buf(struct demi_op *op, void *buf, uint32_t len)
{
	demi_op_set_popped_buf_inline(op, buf, len);
}

void demi_op_set_accepted(struct demi_op *op, int qd, const struct sockaddr *addr, socklen_t len)
{
	op->value = DEMI_OP_VALUE_FULL;
	memset(&op->sga, 0, sizeof(op->sga));
	op->ares.qd = qd;
	if (len >= sizeof(op->ares.addr) && addr->sa_family == AF_INET)
		memcpy(&op->ares.addr, addr, sizeof(op->ares.addr));
	else if (len >= sizeof(addr->sa_family))
		op->ares.addr.sin_family = addr->sa_family;
}

void demi_op_set_failed(struct demi_op *op, int err)
{
	op->value = DEMI_OP_VALUE_FAILED;
	op->err = err;
}

void demi_op_copy_value(demi_qresult_t *qr, const struct demi_op *op)
{
	if (op->value == DEMI_OP_VALUE_FAILED) {
		qr->qr_opcode = DEMI_OPC_FAILED;
		qr->qr_ret = op->err;
	} else {
		qr->qr_value.sga = op->sga;
	}
}

void demi_op_ready(struct demi_op *op)
{
	demi_op_ready_inline(op->q->ctx, op);
}

void demi_op_complete(struct demi_op *op)
{
	demi_op_set_pushed(op);
	demi_op_ready(op);
}

void demi_op_complete_pop(struct demi_op *op, const demi_sgarray_t *sga)
{
	demi_op_set_popped(op, sga);
	demi_op_ready(op);
}

void demi_op_complete_buf(struct demi_op *op, void *buf, uint32_t len)
{
	demi_op_set_popped_buf(op, buf, len);
	demi_op_ready(op);
}

void demi_op_complete_eof(struct demi_op *op)
{
	demi_op_complete_buf(op, NULL, 0);
}

void demi_op_fail(struct demi_op *op, int err)
{
	demi_op_set_failed(op, err);
	demi_op_ready(op);
}

void demi_op_fail_list(struct demi_op_list *l, int err)
{
	struct demi_op *op;

	while ((op = demi_op_list_take(l)))
		demi_op_fail(op, err);
}
