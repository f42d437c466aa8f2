/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_INSTANT_H
#define DEMI_CORE_INSTANT_H

/*
 * Results that are there when the call that asked for them returns. The call leaves the result in ctx->instant, and the
 * first operation of the free list where it is, whose token it gives out; demi_wait() for that token takes it from
 * there. Every other call finds the gate at DEMI_GATE_INSTANT and first makes an operation of it (demi_enter_slow()):
 * inside a call there is never an instant result, and nobody but these three places knows of them.
 */

#include "core/enter.h"
#include "core/op_inline.h"

/* Can the call that has just entered end with demi_instant_...()? Then it allocates no operation. */
static inline bool demi_instant_possible(const struct demi_ctx *ctx)
{
	return demi_likely(ctx->ops.free != NULL);
}

static inline int demi_instant_leave(struct demi_ctx *ctx, demi_qtoken_t *qt_out, struct demi_queue *q,
				     demi_opcode_t opcode, uint32_t numsegs, uint32_t len)
{
	struct demi_instant *i = &ctx->instant;

	i->head = q->head + opcode;
	i->q = q;
	i->numsegs = numsegs;
	i->len = len;
	*qt_out = ctx->ops.free->token;
	atomic_signal_fence(memory_order_seq_cst);
	ctx->gate = DEMI_GATE_INSTANT;
	return 0;
}

/* The push is done: instead of completing an operation and demi_leave(). */
static inline int demi_instant_pushed(struct demi_ctx *ctx, demi_qtoken_t *qt_out, struct demi_queue *q)
{
	return demi_instant_leave(ctx, qt_out, q, DEMI_OPC_PUSH, 0, 0);
}

static inline int demi_instant_popped(struct demi_ctx *ctx, demi_qtoken_t *qt_out, struct demi_queue *q, void *buf,
				      uint32_t len)
{
	ctx->instant.buf = buf;
	return demi_instant_leave(ctx, qt_out, q, DEMI_OPC_POP, 1, len);
}

/* Its token, which is the one to be given out next. */
static inline demi_qtoken_t demi_instant_token(const struct demi_ctx *ctx)
{
	return ctx->ops.free->token;
}

/* The one that has just been waited for: its result goes out, its @token, which @op has, is used up. */
static inline void demi_instant_take(struct demi_ctx *ctx, struct demi_op *op, demi_qresult_t *qr, demi_qtoken_t token)
{
	const struct demi_instant *i = &ctx->instant;
	demi_sgarray_t *sga = &qr->qr_value.sga;

	memcpy((void *)qr, &i->head, sizeof(i->head)); /* qr_opcode, qr_qd */
	qr->qr_qt = token;
	/* in two halves, of which compilers make stores instead of a loop */
	memset(&qr->qr_ret, 0, offsetof(demi_qresult_t, qr_value.sga.sga_segs[1]) - offsetof(demi_qresult_t, qr_ret));
	memset(&sga->sga_segs[1], 0, sizeof(*sga) - offsetof(demi_sgarray_t, sga_segs[1]));
	if (i->numsegs) {
		sga->sga_buf = i->buf;
		sga->sga_numsegs = i->numsegs;
		sga->sga_segs[0].sgaseg_buf = i->buf;
		sga->sga_segs[0].sgaseg_len = i->len;
	}
	op->token += DEMI_OP_SLOTS;
}

/* Make it an operation that is ready. The caller is inside. */
void demi_instant_spill(struct demi_ctx *ctx);

/*
 * The other way round: a pop that finds nothing while nothing else is outstanding. The call leaves ctx->await and the
 * gate at DEMI_GATE_AWAIT; demi_wait() polls, and who receives for that queue meanwhile hands over the payload with
 * demi_await_done(). Before anything else is done that could see or touch the queue's pops, or any operation, the pop
 * is made an operation: by every other call (demi_enter_slow()), by the wait itself, and by a backend that has more
 * to do than that (demi_await_settle()).
 */

/* There is nothing to be popped, and the pop would begin to wait. */
static inline bool demi_await_possible(const struct demi_ctx *ctx)
{
	return ctx->awaits && !ctx->ops.live; /* hence all are free: there are some from the beginning */
}

static inline int demi_await_leave(struct demi_ctx *ctx, demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	ctx->await.q = q;
	ctx->await.max_bytes = max_bytes;
	*qt_out = ctx->ops.free->token;
	atomic_signal_fence(memory_order_seq_cst);
	ctx->gate = DEMI_GATE_AWAIT;
	return 0;
}

/* It, of @q, gets @len bytes at @buf, one segment. @from: the first 8 bytes of its address, 0: none. */
static inline void demi_await_done(struct demi_ctx *ctx, const struct demi_queue *q, void *buf, uint32_t len,
				   uint64_t from)
{
	struct demi_op *op = ctx->ops.free;
	demi_qresult_t *qr = ctx->await.qr;
	demi_sgarray_t *sga = &qr->qr_value.sga;
	uint64_t head = q->head + DEMI_OPC_POP;

	ctx->await.now = NULL;
	ctx->await.qr = NULL;
	memcpy((void *)qr, &head, sizeof(head)); /* qr_opcode, qr_qd */
	qr->qr_qt = op->token;
	op->token += DEMI_OP_SLOTS;
	qr->qr_ret = 0;
	sga->sga_buf = buf;
	sga->sga_numsegs = 1;
	sga->sga_segs[0].sgaseg_buf = buf;
	sga->sga_segs[0].sgaseg_len = len;
	memset(&sga->sga_segs[1], 0, sizeof(*sga) - offsetof(demi_sgarray_t, sga_segs[1]));
	memcpy(&sga->sga_addr, &from, sizeof(from));
}

/* The same for a pop that is an operation, the first of @ops. */
static inline void demi_op_list_popped(struct demi_ctx *ctx, struct demi_op_list *ops, struct demi_op *op, void *buf,
				       uint32_t len, uint64_t from)
{
	ops->head = op->next;
	if (demi_unlikely(op->next != NULL))
		op->next->prev = NULL;
	else
		ops->tail = NULL;
	op->value = DEMI_OP_VALUE_DGRAM;
	op->buf = buf;
	op->buf_len = len;
	memcpy(&op->sga.sga_addr, &from, sizeof(from));
	demi_op_ready_inline(ctx, op);
}

/* Make it an operation: pending, or whatever the queue answers. The caller is inside. */
void demi_await_spill(struct demi_ctx *ctx);

static inline void demi_await_settle(struct demi_ctx *ctx)
{
	if (demi_unlikely(ctx->await.now != NULL))
		demi_await_spill(ctx);
}

#endif /* DEMI_CORE_INSTANT_H */
