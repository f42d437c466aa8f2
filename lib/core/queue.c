// SPDX-License-Identifier: MIT
#include "core/queue.h"
#include "core/enter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Descriptors below this; slot 0 is never used, so that 0 is not a descriptor by accident. */
#define DEMI_QUEUE_MAX (1U << 20)
#define FIRST_SIZE 16

static int no_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		   socklen_t tolen)
{
	return -EOPNOTSUPP;
}

static int push_op(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	return demi_push_op(qt_out, q, sga, NULL, 0);
}

static int no_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	return -EOPNOTSUPP;
}

static int no_op(struct demi_queue *q, struct demi_op *op)
{
	return -EOPNOTSUPP;
}

static int no_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len)
{
	return -EOPNOTSUPP;
}

static int no_cancel(struct demi_queue *q, struct demi_op *op)
{
	return -EALREADY;
}

static int no_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len)
{
	return -EOPNOTSUPP;
}

static int no_int(struct demi_queue *q, int value)
{
	return -EOPNOTSUPP;
}

static int no_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	return -EOPNOTSUPP;
}

static int no_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	return -EOPNOTSUPP;
}

static int no_name(struct demi_queue *q, struct sockaddr *addr, socklen_t *len)
{
	return -EOPNOTSUPP;
}

static int no_lseek(struct demi_queue *q, off_t off, int whence, off_t *out)
{
	return -ESPIPE;
}

static int no_truncate(struct demi_queue *q, off_t len)
{
	return -ESPIPE;
}

static void no_abort(struct demi_queue *q)
{
}

static int no_export(struct demi_queue *q, int *fd_out)
{
	return -EOPNOTSUPP;
}

#define FILL(entry, fn) (ops->entry = ops->entry ? ops->entry : (fn))

void demi_queue_ops_fill(struct demi_queue_ops *ops)
{
	FILL(push, no_push);
	FILL(pop, no_pop);
	FILL(push_now, push_op);
	FILL(pushto_now, demi_push_op);
	FILL(pop_now, demi_pop_op);
	FILL(accept, no_op);
	FILL(connect, no_connect);
	FILL(cancel, no_cancel);
	FILL(bind, no_bind);
	FILL(listen, no_int);
	FILL(shutdown, no_int);
	FILL(setsockopt, no_setsockopt);
	FILL(getsockopt, no_getsockopt);
	FILL(getsockname, no_name);
	FILL(getpeername, no_name);
	FILL(lseek, no_lseek);
	FILL(truncate, no_truncate);
	FILL(export_fd, no_export);
	FILL(abort, no_abort);
}

/* ---- what is not an open queue ---- */

static int none_push(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga)
{
	return demi_leave(q->ctx, -EBADF);
}

static int none_pushto(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga,
		       const struct sockaddr *to, socklen_t tolen)
{
	return demi_leave(q->ctx, -EBADF);
}

static int none_pop(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	return demi_leave(q->ctx, -EBADF);
}

static const struct demi_queue_ops none_ops = {
	.name = "none",
	.push_now = none_push,
	.pushto_now = none_pushto,
	.pop_now = none_pop,
};

/* ---- the table ---- */

void demi_queue_table_init(struct demi_queue_table *t, struct demi_ctx *ctx)
{
	*t = (struct demi_queue_table){ .none = { .ops = &none_ops, .ctx = ctx } };
}

/* A free slot holds the index of the next free one above its tags; 0 ends the list. */
static inline uintptr_t free_slot(uint32_t next)
{
	return (uintptr_t)next << 2 | DEMI_QUEUE_FREE | DEMI_QUEUE_NOT_OPEN;
}

static int grow(struct demi_queue_table *t)
{
	uint32_t size = t->size ? t->size * 2 : FIRST_SIZE;
	struct demi_queue **usable;
	uintptr_t *slots, *old;

	if (size > DEMI_QUEUE_MAX)
		return -EMFILE;
	slots = malloc(size * (sizeof(*slots) + sizeof(*usable)));
	if (!slots)
		return -ENOMEM;
	usable = (struct demi_queue **)(slots + size);
	if (t->size) {
		memcpy(slots, t->slots, t->size * sizeof(*slots));
		memcpy(usable, t->usable, t->size * sizeof(*usable));
	}
	for (uint32_t i = t->size; i < size; i++)
		usable[i] = &t->none;
	for (uint32_t i = size; i-- > (t->size ? t->size : 1);) {
		slots[i] = free_slot(t->free);
		t->free = i;
	}
	slots[0] = free_slot(0);
	/* at every instant a signal handler that ends the program finds a table it can walk */
	old = t->slots;
	t->slots = slots;
	t->usable = usable;
	atomic_signal_fence(memory_order_seq_cst);
	t->size = size;
	free(old);
	return 0;
}

int demi_queue_install(struct demi_ctx *ctx, struct demi_queue *q, const struct demi_queue_ops *ops)
{
	struct demi_queue_table *t = &ctx->queues;
	int err;

	if (!t->free) {
		err = grow(t);
		if (err)
			return err;
	}
	q->qd = (int32_t)t->free;
	q->ops = ops;
	q->ctx = ctx;
	q->holds = 1;
	q->closed = false;
	q->reset = false;
	t->free = (uint32_t)(t->slots[q->qd] >> 2);
	t->open++;
	/* for a signal handler that ends the program: what is in the table is whole */
	atomic_signal_fence(memory_order_seq_cst);
	t->slots[q->qd] = (uintptr_t)q;
	t->usable[q->qd] = q;
	return 0;
}

void demi_queue_free(struct demi_queue *q)
{
	struct demi_queue_table *t = &q->ctx->queues;

	t->slots[q->qd] = free_slot(t->free);
	t->free = (uint32_t)q->qd;
	t->open--;
	atomic_signal_fence(memory_order_seq_cst);
	q->ops->destroy(q);
}

void demi_queue_close(struct demi_queue *q)
{
	q->closed = true;
	q->ctx->queues.slots[q->qd] |= DEMI_QUEUE_NOT_OPEN;
	q->ctx->queues.usable[q->qd] = &q->ctx->queues.none;
	q->ops->close(q);
}
