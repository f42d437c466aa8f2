/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_QUEUE_H
#define DEMI_MEMQ_PIPE_QUEUE_H

/*
 * A pipe as a queue. All of its state is its context's thread's; other threads only free elements that lie in
 * the arena (pipe_shm.c).
 */

#include "core/ctx.h"
#include "memq/pipe_name.h"

/* demi_op.flags of a queued push */
#define DEMI_PIPE_OP_STARTED 1 /* some of it is in the ring */
#define DEMI_PIPE_OP_LENT 2 /* its segments are the application's, lent; else one copy, owned */

struct demi_pipe_backend {
	struct demi_backend b;
	bool ready; /* has its epoll set */
	int epoll_fd; /* all control sockets */
	unsigned int draining; /* closed pipes with pushes left */
	struct demi_pipe *all, *active, *dirty;
};

struct demi_pipe {
	struct demi_queue q;
	struct demi_pipe_backend *b;
	struct demi_pipe_tx tx;
	struct demi_pipe_rx rx;
	struct demi_pipe_side *own, *peer;
	struct demi_op_list pops, pushes;
	uint32_t idle; /* polls without news */
	int push_err; /* what a push is answered; 0: pushes are taken */
	int pop_end; /* how pops end: 0: they wait, ENODATA: orderly, or why they fail */
	uint8_t unflushed; /* DEMI_PIPE_WANT_* that were published and not flushed yet */
	uint8_t max_segs;
	bool end_wanted; /* END follows the queued pushes */
	bool is_active;
	bool draining; /* closed, with pushes left */
	int fd; /* control socket; -1: the peer is gone */
	struct demi_pipe_shm *shm;
	struct demi_pipe_name *name; /* NULL: opened, imported, or closed */
	struct demi_pipe *next_active, *prev_active, *next_dirty, *next, *prev;
};

/* Something was published that the peer may sleep for. */
static inline void demi_pipe_note(struct demi_pipe *p, uint8_t what)
{
	if (!p->unflushed) {
		p->next_dirty = p->b->dirty;
		p->b->dirty = p;
		demi_ctx_want_flush(p->q.ctx);
	}
	p->unflushed |= what;
}

/* ---- pipe_poll.c ---- */

/* The context's backend, made on first use. */
int demi_pipe_backend_get(struct demi_ctx *ctx, struct demi_pipe_backend **out);

/* Have the backend watch the pipe, or let go of it. */
int demi_pipe_backend_add(struct demi_pipe_backend *b, struct demi_pipe *p);
void demi_pipe_backend_del(struct demi_pipe *p);

/* The pipe has a pending operation: poll it. */
void demi_pipe_activate(struct demi_pipe *p);

/* The entry of demi_queue_ops. */
int demi_pipe_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes);

/* From now on all pops end with @how: ENODATA (end of stream), or the positive errno they fail with. */
void demi_pipe_end_pops(struct demi_pipe *p, int how);

/* The peer broke the protocol. */
void demi_pipe_break(struct demi_pipe *p);

/* ---- pipe_push.c ---- */

/* The entry of demi_queue_ops. */
int demi_pipe_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		   socklen_t tolen);

/* Move queued pushes into the ring, then END if it is wanted. -EBADMSG: the peer broke the ring. */
int demi_pipe_drain(struct demi_pipe *p);

/* All of them, or one that has not begun and is off the list. @err is a positive errno. */
void demi_pipe_fail_pushes(struct demi_pipe *p, int err);
void demi_pipe_fail_push(struct demi_pipe *p, struct demi_op *op, int err);

/* ---- pipe.c ---- */

/* A closed pipe has nothing left to push: let go of all it has, and of the queue. */
void demi_pipe_finish(struct demi_pipe *p);

#endif /* DEMI_MEMQ_PIPE_QUEUE_H */
