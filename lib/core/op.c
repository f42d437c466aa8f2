// SPDX-License-Identifier: MIT
#include "core/op.h"
#include "core/ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEMI_OP_PAGES (DEMI_OP_SLOTS >> DEMI_OP_PAGE_BITS)
#define DEMI_OP_GENERATIONS (1ULL << (64 - DEMI_OP_SLOT_BITS))

int demi_op_table_init(struct demi_op_table *t)
{
	memset(t, 0, sizeof(*t));
	/* calloc() of this size is mapped and touched only as pages are added */
	t->pages = calloc(DEMI_OP_PAGES, sizeof(*t->pages));
	if (!t->pages)
		return -ENOMEM;
	if (getrandom(&t->generation, sizeof(t->generation), 0) != sizeof(t->generation))
		t->generation = demi_now_ns();
	t->generation &= DEMI_OP_GENERATIONS - 1;
	return 0;
}

void demi_op_table_destroy(struct demi_op_table *t)
{
	for (uint32_t i = 0; i < t->npages; i++)
		free(t->pages[i]);
	free(t->pages);
	memset(t, 0, sizeof(*t));
}

/* Free operations keep their slot in qr_qt's low bits. */
static int add_page(struct demi_op_table *t)
{
	struct demi_op *page;

	if (t->npages == DEMI_OP_PAGES)
		return -ENOMEM;
	page = aligned_alloc(64, sizeof(*page) * DEMI_OP_PAGE);
	if (!page)
		return -ENOMEM;
	memset(page, 0, sizeof(*page) * DEMI_OP_PAGE);
	for (uint32_t i = DEMI_OP_PAGE; i-- > 0;) {
		page[i].res.qr_qt = (uint64_t)t->npages * DEMI_OP_PAGE + i;
		page[i].next = t->free;
		t->free = &page[i];
	}
	t->pages[t->npages++] = page;
	return 0;
}

/* Generation 0 and the last are left out, so that 0 and ~0 are never tokens. */
static inline uint64_t next_generation(struct demi_op_table *t)
{
	uint64_t g = t->generation++;

	if (__builtin_expect(g - 1 >= DEMI_OP_GENERATIONS - 2, 0)) {
		g = 1;
		t->generation = 2;
	}
	return g;
}

struct demi_op *demi_op_alloc(struct demi_ctx *ctx, struct demi_queue *q, demi_opcode_t opcode)
{
	struct demi_op_table *t = &ctx->ops;
	struct demi_op *op = t->free;

	if (__builtin_expect(!op, 0)) {
		if (add_page(t))
			return NULL;
		op = t->free;
	}
	t->free = op->next;
	t->live++;
	demi_queue_get(q);
	op->q = q;
	op->state = DEMI_OP_PENDING;
	op->opcode = (uint8_t)opcode;
	op->flags = 0;
	op->hint = UINT32_MAX;
	op->res.qr_qd = q->qd;
	op->res.qr_qt = next_generation(t) << DEMI_OP_SLOT_BITS | (op->res.qr_qt & (DEMI_OP_SLOTS - 1));
	return op;
}

void demi_op_release(struct demi_ctx *ctx, struct demi_op *op)
{
	struct demi_op_table *t = &ctx->ops;
	struct demi_queue *q = op->q;

	op->state = DEMI_OP_FREE;
	op->next = t->free;
	t->free = op;
	t->live--;
	demi_queue_put(q);
}

void demi_op_set_pushed(struct demi_op *op)
{
	op->res.qr_opcode = (demi_opcode_t)op->opcode;
	op->res.qr_ret = 0;
	memset(&op->res.qr_value, 0, sizeof(op->res.qr_value));
}

void demi_op_set_popped(struct demi_op *op, const demi_sgarray_t *sga)
{
	op->res.qr_opcode = DEMI_OPC_POP;
	op->res.qr_ret = 0;
	op->res.qr_value.sga = *sga;
}

void demi_op_set_popped_buf(struct demi_op *op, void *buf, uint32_t len)
{
	demi_sgarray_t *sga = &op->res.qr_value.sga;

	op->res.qr_opcode = DEMI_OPC_POP;
	op->res.qr_ret = 0;
	memset(sga, 0, sizeof(*sga));
	sga->sga_buf = buf;
	sga->sga_numsegs = 1;
	sga->sga_segs[0].sgaseg_buf = buf;
	sga->sga_segs[0].sgaseg_len = len;
}

void demi_op_set_accepted(struct demi_op *op, int qd, const struct sockaddr *addr, socklen_t len)
{
	demi_accept_result_t *ares = &op->res.qr_value.ares;

	demi_op_set_pushed(op);
	ares->qd = qd;
	if (len >= sizeof(ares->addr) && addr->sa_family == AF_INET)
		memcpy(&ares->addr, addr, sizeof(ares->addr));
	else if (len >= sizeof(addr->sa_family))
		ares->addr.sin_family = addr->sa_family;
}

void demi_op_set_failed(struct demi_op *op, int err)
{
	demi_op_set_pushed(op);
	op->res.qr_opcode = DEMI_OPC_FAILED;
	op->res.qr_ret = err;
}

void demi_op_ready(struct demi_op *op)
{
	struct demi_ctx *ctx = op->q->ctx;

	op->state = DEMI_OP_READY;
	op->seq = ctx->seq++;
	op->next = NULL;
	op->prev = ctx->ready_tail;
	if (ctx->ready_tail)
		ctx->ready_tail->next = op;
	else
		ctx->ready_head = op;
	ctx->ready_tail = op;
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
