// SPDX-License-Identifier: MIT
/* Pipes as queues: how they are made, closed and asked. */
#include "memq/pipe.h"
#include "memq/pipe_queue.h"

#include <demi/sockopt.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline struct demi_pipe *pipe_of(struct demi_queue *q)
{
	return (struct demi_pipe *)q;
}

static int pipe_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_pipe *p = pipe_of(q);

	if (op->opcode == DEMI_OPC_POP) {
		demi_op_list_del(&p->pops, op);
		demi_op_fail(op, ECANCELED);
		return 0;
	}
	if (op->flags & DEMI_PIPE_OP_STARTED)
		return -EALREADY;
	demi_op_list_del(&p->pushes, op);
	demi_pipe_fail_push(p, op, ECANCELED);
	return 0;
}

/* This side takes nothing any more: the peer's pushes fail. */
static void end_taking(struct demi_pipe *p)
{
	atomic_store_explicit(&p->own->ended, 1, memory_order_release);
	demi_pipe_note(p, DEMI_PIPE_WANT_SPACE);
}

/* END follows what was pushed. Draining again writes it at once if nothing is queued. */
static void end_giving(struct demi_pipe *p)
{
	if (p->push_err)
		return;
	p->push_err = EPIPE;
	p->end_wanted = true;
	if (demi_pipe_drain(p))
		demi_pipe_break(p);
}

static int pipe_shutdown(struct demi_queue *q, int how)
{
	struct demi_pipe *p = pipe_of(q);

	if (how != SHUT_WR && !p->pop_end) {
		end_taking(p);
		demi_pipe_end_pops(p, ENODATA);
	}
	if (how != SHUT_RD)
		end_giving(p);
	return 0;
}

static int pipe_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	int v;

	if (level != DEMI_SOL || name != DEMI_SO_MAXSEGS)
		return -ENOPROTOOPT;
	if (len < sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	if (v < 1 || v > DEMI_SGARRAY_MAXSIZE)
		return -EINVAL;
	pipe_of(q)->max_segs = (uint8_t)v;
	return 0;
}

/* However many segments a pop may give, it gives one: the bytes of a push lie together in the memory. */
static int pipe_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	int v = pipe_of(q)->max_segs;

	if (level != DEMI_SOL || name != DEMI_SO_MAXSEGS)
		return -ENOPROTOOPT;
	if (*len > sizeof(v))
		*len = sizeof(v);
	memcpy(val, &v, *len);
	return 0;
}

static int pipe_export_fd(struct demi_queue *q, int *fd_out)
{
	struct demi_pipe *p = pipe_of(q);
	int pair[2], err;

	if (!p->name)
		return -EBUSY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	/* the message waits in the socket for whoever imports it */
	err = demi_pipe_name_give(p->name, pair[0]);
	close(pair[0]);
	if (err)
		close(pair[1]);
	else
		*fd_out = pair[1];
	return err;
}

static void pipe_abort(struct demi_queue *q)
{
	struct demi_pipe *p = pipe_of(q);

	if (p->name)
		demi_pipe_name_abort(p->name);
	if (p->fd >= 0) /* a forked child may hold it, too */
		shutdown(p->fd, SHUT_RDWR);
}

void demi_pipe_finish(struct demi_pipe *p)
{
	if (p->draining)
		p->b->draining--;
	demi_pipe_backend_del(p);
	demi_pipe_arena_destroy(&p->tx.arena);
	demi_pipe_shm_put(p->shm);
	demi_queue_put(&p->q);
}

/* Nobody can open a pipe whose name is gone: it has lost its peer before it had one. */
static bool remove_name(struct demi_pipe *p)
{
	struct demi_pipe_name *name = p->name;

	p->name = NULL;
	return !name || demi_pipe_name_remove(name);
}

static void pipe_close(struct demi_queue *q)
{
	struct demi_pipe *p = pipe_of(q);

	demi_op_fail_list(&p->pops, ECANCELED);
	demi_pipe_rx_drop(&p->rx);
	p->pop_end = ECANCELED;
	end_taking(p);
	if (!remove_name(p))
		demi_pipe_fail_pushes(p, EPIPE);
	if (q->reset && p->pushes.head)
		demi_pipe_fail_pushes(p, ECANCELED); /* and no END: the peer is to see a reset */
	else
		end_giving(p);
	if (p->pushes.head) {
		p->draining = true;
		p->b->draining++;
	} else {
		demi_pipe_finish(p);
	}
}

static void pipe_destroy(struct demi_queue *q)
{
	free(pipe_of(q));
}

static struct demi_queue_ops pipe_ops = {
	.name = "pipe",
	.push = demi_pipe_push,
	.pop = demi_pipe_pop,
	.cancel = pipe_cancel,
	.shutdown = pipe_shutdown,
	.setsockopt = pipe_setsockopt,
	.getsockopt = pipe_getsockopt,
	.export_fd = pipe_export_fd,
	.abort = pipe_abort,
	.close = pipe_close,
	.destroy = pipe_destroy,
};

__attribute__((constructor)) static void pipe_ops_init(void)
{
	demi_queue_ops_fill(&pipe_ops);
}

/* ---- making ---- */

static int set_up_rings(struct demi_pipe *p)
{
	struct demi_pipe_shm *shm = p->shm;
	unsigned int side = shm->side;

	p->own = demi_pipe_shm_side(shm, side);
	p->peer = demi_pipe_shm_side(shm, 1 - side);
	p->tx.ring = demi_pipe_shm_ring(shm, side);
	p->tx.size = shm->sizes.ring_bytes;
	p->tx.peer = p->peer;
	p->rx.ring = demi_pipe_shm_ring(shm, 1 - side);
	p->rx.size = shm->sizes.ring_bytes;
	p->rx.own = p->own;
	p->rx.shm = shm;
	p->rx.max_element = demi_pipe_element_max();
	return demi_pipe_arena_init(&p->tx.arena, demi_pipe_shm_arena(shm, side), demi_pipe_shm_in_use(shm, side),
				    shm->sizes.arena_bytes);
}

/* A pipe over @shm and the control socket @fd, both of which it takes over, also when it fails. */
static struct demi_pipe *pipe_make(struct demi_pipe_backend *b, struct demi_pipe_shm *shm, int fd, int *err)
{
	struct demi_pipe *p = calloc(1, sizeof(*p));

	*err = -ENOMEM;
	if (!p)
		goto err_shm;
	p->shm = shm;
	p->fd = fd;
	p->max_segs = 1;
	*err = set_up_rings(p);
	if (*err)
		goto err_free;
	*err = demi_queue_install(b->b.ctx, &p->q, &pipe_ops);
	if (*err)
		goto err_arena;
	*err = demi_pipe_backend_add(b, p);
	if (*err)
		goto err_queue;
	return p;

err_queue:
	demi_pipe_arena_destroy(&p->tx.arena);
	demi_queue_put(&p->q); /* frees p */
	goto err_shm;
err_arena:
	demi_pipe_arena_destroy(&p->tx.arena);
err_free:
	free(p);
err_shm:
	demi_pipe_shm_put(shm);
	close(fd);
	return NULL;
}

/* The memory, the control socket and this end of it; @offer is what the other end needs. */
static struct demi_pipe *make_first_end(struct demi_ctx *ctx, struct demi_pipe_offer *offer, int *err)
{
	struct demi_pipe_backend *b;
	struct demi_pipe_shm *shm;
	struct demi_pipe *p;
	int pair[2];

	*err = demi_pipe_backend_get(ctx, &b);
	if (*err)
		return NULL;
	demi_pipe_sizes_get(&offer->sizes);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		*err = -errno;
		return NULL;
	}
	offer->fds[DEMI_PIPE_FD_CONTROL] = pair[1];
	*err = demi_pipe_shm_create(&shm, &offer->sizes, &offer->fds[DEMI_PIPE_FD_MEM]);
	if (*err) {
		close(pair[0]);
		close(pair[1]);
		return NULL;
	}
	p = pipe_make(b, shm, pair[0], err);
	if (!p)
		demi_pipe_offer_close(offer);
	return p;
}

int demi_pipe_create(struct demi_ctx *ctx, const char *name, struct demi_queue **out)
{
	struct demi_pipe_offer offer;
	struct demi_pipe *p;
	int err;

	p = make_first_end(ctx, &offer, &err);
	if (!p)
		return err;
	err = demi_pipe_name_create(&p->name, name, &offer);
	if (err) {
		demi_pipe_offer_close(&offer);
		demi_pipe_finish(p);
		return err;
	}
	*out = &p->q;
	return 0;
}

/* The second end, from an offer, which is used up also when it fails. */
static int make_second_end(struct demi_ctx *ctx, struct demi_pipe_offer *offer, struct demi_queue **out)
{
	struct demi_pipe_backend *b;
	struct demi_pipe_shm *shm;
	struct demi_pipe *p;
	int err;

	err = demi_pipe_backend_get(ctx, &b);
	if (!err)
		err = demi_pipe_shm_open(&shm, &offer->sizes, offer->fds[DEMI_PIPE_FD_MEM]);
	close(offer->fds[DEMI_PIPE_FD_MEM]);
	if (err) {
		close(offer->fds[DEMI_PIPE_FD_CONTROL]);
		return err;
	}
	p = pipe_make(b, shm, offer->fds[DEMI_PIPE_FD_CONTROL], &err);
	if (!p)
		return err;
	*out = &p->q;
	return 0;
}

int demi_pipe_open(struct demi_ctx *ctx, const char *name, struct demi_queue **out)
{
	struct demi_pipe_offer offer;
	int err;

	err = demi_pipe_name_open(name, &offer);
	return err ? err : make_second_end(ctx, &offer, out);
}

int demi_pipe_import(struct demi_ctx *ctx, int fd, struct demi_queue **out)
{
	struct demi_pipe_offer offer;
	int err;

	err = demi_pipe_hello_probe(fd);
	if (!err)
		err = demi_pipe_hello_recv(fd, &offer);
	if (err == -EAGAIN || err == -EPIPE)
		err = -EBUSY; /* somebody was faster */
	return err ? err : make_second_end(ctx, &offer, out);
}
