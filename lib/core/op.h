/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_OP_H
#define DEMI_CORE_OP_H

/*
 * Operations. An operation is FREE, PENDING (its queue owns it and may use next, prev and the
 * scratch words) or READY (it is on its context's ready list and its result is filled in). The
 * token of a FREE operation is the one that it will be given next.
 *
 * All functions here are for the context's own thread, except demi_op_set_* followed by
 * demi_ctx_post(), which any thread may use on a PENDING operation that it alone can reach.
 */

#include <demi/types.h>
#include <stdbool.h>

struct demi_ctx;
struct demi_queue;

enum demi_op_state {
	DEMI_OP_FREE,
	DEMI_OP_PENDING,
	DEMI_OP_READY,
};

/* What a READY operation's result is: most need not store a whole demi_qresult_t. */
enum demi_op_value {
	DEMI_OP_VALUE_NONE, /* success, zeroed */
	DEMI_OP_VALUE_BUF, /* a popped segment: buf and buf_len */
	DEMI_OP_VALUE_DGRAM, /* the same from an IPv4 address: the first 8 bytes of sga.sga_addr */
	DEMI_OP_VALUE_FULL, /* sga or ares */
	DEMI_OP_VALUE_FAILED, /* err */
};

/*
 * Three cache lines, of which all but a few operations use the first alone: 65,536 of them that complete in
 * turn should cost little more than one that does.
 */
struct demi_op {
	struct demi_op *next, *prev; /* free list; the queue's list; ready list; inbox (next) */
	struct demi_queue *q;
	union {
		struct {
			uint8_t state; /* enum demi_op_state */
			uint8_t opcode; /* what was asked for: DEMI_OPC_PUSH … */
			uint8_t value; /* READY: enum demi_op_value */
			uint8_t flags; /* PENDING: the queue's own */
			uint32_t hint; /* index in the array of the last demi_wait_any() that saw it */
		};
		uint64_t head; /* all of these, for one store */
	};
	uint64_t seq; /* READY: order of completion in the context */
	demi_qtoken_t token;
	union {
		union { /* PENDING: the queue's own */
			uint64_t u64[2];
			void *ptr[2];
		} priv;
		struct { /* DEMI_OP_VALUE_BUF */
			void *buf;
			uint32_t buf_len;
		};
		int err; /* DEMI_OP_VALUE_FAILED: positive */
	};
	union {
		demi_sgarray_t sga; /* PENDING push: the queue may keep it here */
		demi_accept_result_t ares;
	};
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct demi_op, sga) == 64, "one line for what most operations need");

#define DEMI_OP_SLOT_BITS 20
#define DEMI_OP_SLOTS (1U << DEMI_OP_SLOT_BITS)

/* A doubly linked list, for a queue's pending operations. FIFO. */
struct demi_op_list {
	struct demi_op *head, *tail;
};

/*
 * The ready list: a ring through a head that lies where an operation has its links, so that adding and
 * removing need no branch.
 */
struct demi_op_ring {
	struct demi_op *next, *prev;
};

_Static_assert(offsetof(struct demi_op, next) == offsetof(struct demi_op_ring, next) &&
		       offsetof(struct demi_op, prev) == offsetof(struct demi_op_ring, prev),
	       "the head of a ring looks like an operation");

static inline struct demi_op *demi_op_ring_head(struct demi_op_ring *r)
{
	return (struct demi_op *)r;
}

static inline void demi_op_ring_init(struct demi_op_ring *r)
{
	r->next = r->prev = demi_op_ring_head(r);
}

static inline bool demi_op_ring_empty(const struct demi_op_ring *r)
{
	return r->next == (const struct demi_op *)r;
}

#define demi_op_ring_for_each(op, r) for ((op) = (r)->next; (op) != demi_op_ring_head(r); (op) = (op)->next)

static inline void demi_op_list_add(struct demi_op_list *l, struct demi_op *op)
{
	op->next = NULL;
	op->prev = l->tail;
	if (l->tail)
		l->tail->next = op;
	else
		l->head = op;
	l->tail = op;
}

static inline void demi_op_list_del(struct demi_op_list *l, struct demi_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		l->head = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		l->tail = op->prev;
}

static inline struct demi_op *demi_op_list_take(struct demi_op_list *l)
{
	struct demi_op *op = l->head;

	if (op)
		demi_op_list_del(l, op);
	return op;
}

/*
 * The table of a context's operations: slot → operation. Its addresses are reserved once for all slots and
 * become memory as operations are needed, so that a slot is found without a second table and an
 * operation never moves.
 */
struct demi_op_table {
	struct demi_op *free;
	struct demi_op *ops;
	uint32_t count; /* operations that are memory */
	uint32_t live; /* PENDING or READY */
};

int demi_op_table_init(struct demi_op_table *t);
struct demi_op *demi_op_table_grow(struct demi_op_table *t); /* the first of more free operations; or NULL */
void demi_op_table_destroy(struct demi_op_table *t);

/* A PENDING operation on @q with a new token; NULL when there is no memory or no slot. */
struct demi_op *demi_op_alloc(struct demi_ctx *ctx, struct demi_queue *q, demi_opcode_t opcode);

/* Make @op FREE: it was READY and has been consumed, or its queue refused to start it. */
void demi_op_release(struct demi_ctx *ctx, struct demi_op *op);

/* The operation whose token is, or will be, @qt: it may be FREE; or NULL. */
static inline struct demi_op *demi_op_lookup(const struct demi_op_table *t, demi_qtoken_t qt)
{
	uint32_t slot = (uint32_t)(qt & (DEMI_OP_SLOTS - 1));

	if (__builtin_expect(slot >= t->count || t->ops[slot].token != qt, 0))
		return NULL;
	return &t->ops[slot];
}

/* The operation a token names, or NULL. */
static inline struct demi_op *demi_op_find(const struct demi_op_table *t, demi_qtoken_t qt)
{
	struct demi_op *op = demi_op_lookup(t, qt);

	return op && op->state != DEMI_OP_FREE ? op : NULL;
}

/*
 * Fill in a result; what a queue kept in priv and sga is lost. @err is a positive errno. An sga's segments
 * become the popper's.
 */
void demi_op_set_pushed(struct demi_op *op); /* also for connect */
void demi_op_set_popped(struct demi_op *op, const demi_sgarray_t *sga);
void demi_op_set_popped_buf(struct demi_op *op, void *buf, uint32_t len); /* one segment, no address */
void demi_op_set_accepted(struct demi_op *op, int qd, const struct sockaddr *addr, socklen_t len);
void demi_op_set_failed(struct demi_op *op, int err);

/* Append a filled-in operation to its context's ready list. */
void demi_op_ready(struct demi_op *op);

/* The two together, for the context's own thread. */
void demi_op_complete(struct demi_op *op); /* push, connect */
void demi_op_complete_pop(struct demi_op *op, const demi_sgarray_t *sga);
void demi_op_complete_buf(struct demi_op *op, void *buf, uint32_t len);
void demi_op_complete_eof(struct demi_op *op);
void demi_op_fail(struct demi_op *op, int err);
void demi_op_fail_list(struct demi_op_list *l, int err);

#endif /* DEMI_CORE_OP_H */
