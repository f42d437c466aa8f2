/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_OP_INLINE_H
#define DEMI_CORE_OP_INLINE_H

/*
 * The life of an operation as the calls on the hot path see it: a push and its wait together run each of
 * these once. op.c has them as functions for everybody else.
 */

#include "core/ctx.h"

#include <string.h>

#define DEMI_OP_HINT_UNKNOWN UINT32_MAX
/* struct demi_op's head on a little-endian machine: no flags, an unknown hint. */
#define DEMI_OP_HEAD(state, opcode)                                                                                    \
	((uint64_t)DEMI_OP_HINT_UNKNOWN << 32 | (uint64_t)(uint8_t)(opcode) << 8 | (uint64_t)(state))

static inline struct demi_op *demi_op_alloc_inline(struct demi_ctx *ctx, struct demi_queue *q, demi_opcode_t opcode)
{
	struct demi_op_table *t = &ctx->ops;
	struct demi_op *op = t->free;

	if (__builtin_expect(!op, 0)) {
		op = demi_op_table_grow(t);
		if (!op)
			return NULL;
	}
	t->free = op->next;
	t->live++;
	demi_queue_get(q);
	op->q = q;
	op->head = DEMI_OP_HEAD(DEMI_OP_PENDING, opcode);
	return op;
}

static inline void demi_op_release_inline(struct demi_ctx *ctx, struct demi_op *op)
{
	struct demi_op_table *t = &ctx->ops;
	struct demi_queue *q = op->q;

	op->state = DEMI_OP_FREE;
	op->token += DEMI_OP_SLOTS; /* the next generation */
	op->next = t->free;
	t->free = op;
	t->live--;
	demi_queue_put(q);
}

static inline void demi_op_ready_inline(struct demi_ctx *ctx, struct demi_op *op)
{
	struct demi_op *tail = ctx->ready.prev;

	op->state = DEMI_OP_READY;
	op->seq = ctx->seq++;
	op->next = demi_op_ring_head(&ctx->ready);
	op->prev = tail;
	tail->next = op;
	ctx->ready.prev = op;
}

static inline void demi_op_unready_inline(struct demi_op *op)
{
	struct demi_op *next = op->next, *prev = op->prev;

	prev->next = next;
	next->prev = prev;
}

static inline void demi_op_set_pushed_inline(struct demi_op *op)
{
	op->value = DEMI_OP_VALUE_NONE;
}

static inline void demi_op_set_popped_buf_inline(struct demi_op *op, void *buf, uint32_t len)
{
	op->value = DEMI_OP_VALUE_BUF;
	op->buf = buf;
	op->buf_len = len;
}

/* The result that is neither nothing nor one buffer; the rest of *qr is filled in. */
void demi_op_copy_value(demi_qresult_t *qr, const struct demi_op *op);

static inline void demi_op_copy_result(demi_qresult_t *qr, const struct demi_op *op)
{
	demi_sgarray_t *sga = &qr->qr_value.sga;

	qr->qr_opcode = (demi_opcode_t)op->opcode;
	qr->qr_qd = op->q->qd;
	qr->qr_qt = op->token;
	qr->qr_ret = 0;
	memset(sga, 0, sizeof(*sga));
	if (__builtin_expect(op->value > DEMI_OP_VALUE_DGRAM, 0)) {
		demi_op_copy_value(qr, op);
		return;
	}
	if (op->value >= DEMI_OP_VALUE_BUF) {
		void *buf = op->buf;

		sga->sga_buf = buf;
		sga->sga_numsegs = 1;
		sga->sga_segs[0].sgaseg_buf = buf;
		sga->sga_segs[0].sgaseg_len = op->buf_len;
		if (op->value == DEMI_OP_VALUE_DGRAM)
			memcpy(&sga->sga_addr, &op->sga.sga_addr, 8);
	}
}

#endif /* DEMI_CORE_OP_INLINE_H */
