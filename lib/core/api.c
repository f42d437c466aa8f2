// SPDX-License-Identifier: MIT
/* The public calls on queues: they check arguments, find the queue, and leave the rest to its table. */
#include "core/config.h"
#include "core/enter.h"
#include "core/op_inline.h"
#include "core/wait.h"
#include "memq/memq.h"
#include "memq/pipe.h"

#include <demi/file.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/wait.h>

#include <string.h>
#include <sys/socket.h>

/* Enter, with the open queue that @qd names; or NULL, and *err is what the call is to return. */
static inline struct demi_queue *enter_queue(struct demi_ctx **out, int qd, int *err)
{
	struct demi_ctx *ctx = demi_enter(err);
	struct demi_queue *q;

	if (demi_unlikely(!ctx))
		return NULL;
	q = demi_queue_find(&ctx->queues, qd);
	if (demi_unlikely(!q))
		*err = demi_leave(ctx, -EBADF);
	*out = ctx;
	return q;
}

static __attribute__((noinline)) int leave_refused(struct demi_ctx *ctx, struct demi_op *op, int err)
{
	demi_op_release(ctx, op);
	return demi_leave(ctx, err);
}

/* A started operation's token goes out; a refused one is taken back. */
static inline int leave_started(struct demi_ctx *ctx, struct demi_op *op, demi_qtoken_t *qt_out, int err)
{
	if (demi_unlikely(err))
		return leave_refused(ctx, op, err);
	*qt_out = op->token;
	return demi_leave(ctx, 0);
}

static bool addr_ok(const struct sockaddr *addr, socklen_t size)
{
	return addr && size >= sizeof(sa_family_t) && size <= sizeof(struct sockaddr_storage);
}

static bool segs_ok(const demi_sgarray_t *sga)
{
	if (sga->sga_numsegs < 1 || sga->sga_numsegs > DEMI_SGARRAY_MAXSIZE)
		return false;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (sga->sga_segs[i].sgaseg_len && !sga->sga_segs[i].sgaseg_buf)
			return false;
	}
	return true;
}

static inline bool sga_ok(const demi_sgarray_t *sga)
{
	return sga && ((sga->sga_numsegs == 1 && sga->sga_segs[0].sgaseg_buf) || segs_ok(sga));
}

DEMI_PUBLIC int demi_init(const struct demi_args *args)
{
	if (demi_forked)
		return EPERM;
	if (demi_ctx_self)
		return EEXIST;
	if (args && (args->argc < 0 || (args->argc > 0 && !args->argv)))
		return EINVAL;
	return -demi_ctx_create(args);
}

/* ---- making queues ---- */

DEMI_PUBLIC int demi_socket(int *sockqd_out, int domain, int type, int protocol)
{
	struct demi_backend *b;
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	b = ctx->main_backend;
	if (!sockqd_out)
		return demi_leave(ctx, -EINVAL);
	if (!b || !b->ops->socket)
		return demi_leave(ctx, -EOPNOTSUPP);
	err = b->ops->socket(b, domain, type, protocol, &q);
	if (!err)
		*sockqd_out = q->qd;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_open(int *qd_out, const char *path, int flags, mode_t mode)
{
	struct demi_backend *b;
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	b = ctx->main_backend;
	if (!qd_out || !path)
		return demi_leave(ctx, -EINVAL);
	if (!strncmp(path, "nvme:", 5))
		err = demi_nvme_open(ctx, path + 5, flags, &q);
	else if (b && b->ops->open)
		err = b->ops->open(b, path, flags, mode, &q);
	else
		err = -EOPNOTSUPP;
	if (!err)
		*qd_out = q->qd;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_creat(int *qd_out, const char *path, mode_t mode)
{
	return demi_open(qd_out, path, O_RDWR | O_CREAT | O_TRUNC, mode);
}

DEMI_PUBLIC int demi_queue(int *qd_out)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!qd_out)
		return demi_leave(ctx, -EINVAL);
	err = demi_memq_create(ctx, &q);
	if (!err)
		*qd_out = q->qd;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_queue_export(int *fd_out, int qd)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, fd_out ? q->ops->export_fd(q, fd_out) : -EINVAL);
}

DEMI_PUBLIC int demi_queue_import(int *qd_out, int fd)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!qd_out || fd < 0)
		return demi_leave(ctx, -EINVAL);
	err = demi_memq_import(ctx, fd, &q);
	if (err == -EINVAL)
		err = demi_pipe_import(ctx, fd, &q);
	if (!err)
		*qd_out = q->qd;
	return demi_leave(ctx, err == -EBADF ? -EINVAL : err);
}

static int make_pipe(int (*make)(struct demi_ctx *, const char *, struct demi_queue **), int *qd_out, const char *name)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!qd_out || !name)
		return demi_leave(ctx, -EINVAL);
	err = make(ctx, name, &q);
	if (!err)
		*qd_out = q->qd;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_create_pipe(int *memqd_out, const char *name)
{
	return make_pipe(demi_pipe_create, memqd_out, name);
}

DEMI_PUBLIC int demi_open_pipe(int *memqd_out, const char *name)
{
	return make_pipe(demi_pipe_open, memqd_out, name);
}

/* ---- the data path ---- */

int demi_push_op(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga, const struct sockaddr *to,
		 socklen_t tolen)
{
	struct demi_ctx *ctx = q->ctx;
	struct demi_op *op;

	if (demi_unlikely(!qt_out || !sga_ok(sga)))
		return demi_leave(ctx, -EINVAL);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_PUSH);
	if (demi_unlikely(!op))
		return demi_leave(ctx, -ENOMEM);
	return leave_started(ctx, op, qt_out, q->ops->push(q, op, sga, to, tolen));
}

int demi_pop_op(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes)
{
	struct demi_ctx *ctx = q->ctx;
	struct demi_op *op;

	if (demi_unlikely(!qt_out || !max_bytes))
		return demi_leave(ctx, -EINVAL);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_POP);
	if (demi_unlikely(!op))
		return demi_leave(ctx, -ENOMEM);
	return leave_started(ctx, op, qt_out, q->ops->pop(q, op, max_bytes));
}

/* The gate was not open. While the context is armed only demi_leave() ends a call. */
static __attribute__((noinline)) int push_slow(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga,
					       const struct sockaddr *to, socklen_t tolen)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	int err = demi_enter_slow(ctx);
	struct demi_queue *q;

	if (err)
		return err;
	q = demi_queue_find(&ctx->queues, qd);
	if (!q)
		return demi_leave(ctx, -EBADF);
	if (ctx->armed)
		return demi_push_op(qt_out, q, sga, to, tolen);
	return to ? q->ops->pushto_now(qt_out, q, sga, to, tolen) : q->ops->push_now(qt_out, q, sga);
}

static __attribute__((noinline)) int pop_slow(demi_qtoken_t *qt_out, int qd, size_t size)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	int err = demi_enter_slow(ctx);
	struct demi_queue *q;

	if (err)
		return err;
	q = demi_queue_find(&ctx->queues, qd);
	if (!q)
		return demi_leave(ctx, -EBADF);
	return ctx->armed ? demi_pop_op(qt_out, q, size) : q->ops->pop_now(qt_out, q, size);
}

DEMI_PUBLIC int demi_push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	struct demi_queue *q;

	if (demi_unlikely(!demi_gate_enter(ctx)))
		return push_slow(qt_out, qd, sga, NULL, 0);
	q = demi_queue_usable(&ctx->queues, qd);
	return q->ops->push_now(qt_out, q, sga);
}

DEMI_PUBLIC int demi_pushto(demi_qtoken_t *qt_out, int sockqd, const demi_sgarray_t *sga,
			    const struct sockaddr *dest_addr, socklen_t size)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	struct demi_queue *q;

	if (demi_unlikely(!addr_ok(dest_addr, size)))
		return demi_ctx_self ? EINVAL : demi_ctx_missing();
	if (demi_unlikely(!demi_gate_enter(ctx)))
		return push_slow(qt_out, sockqd, sga, dest_addr, size);
	q = demi_queue_usable(&ctx->queues, sockqd);
	return q->ops->pushto_now(qt_out, q, sga, dest_addr, size);
}

static inline __attribute__((always_inline)) int pop(demi_qtoken_t *qt_out, int qd, size_t size)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	struct demi_queue *q;

	if (demi_unlikely(!demi_gate_enter(ctx)))
		return pop_slow(qt_out, qd, size);
	q = demi_queue_usable(&ctx->queues, qd);
	return q->ops->pop_now(qt_out, q, size);
}

DEMI_PUBLIC int demi_pop(demi_qtoken_t *qt_out, int qd)
{
	return pop(qt_out, qd, SIZE_MAX);
}

DEMI_PUBLIC int demi_pop_n(demi_qtoken_t *qt_out, int qd, size_t size)
{
	return pop(qt_out, qd, size);
}

DEMI_PUBLIC int demi_accept(demi_qtoken_t *qt_out, int sockqd)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	struct demi_op *op;
	int err;

	q = enter_queue(&ctx, sockqd, &err);
	if (demi_unlikely(!q))
		return err;
	if (!qt_out)
		return demi_leave(ctx, -EINVAL);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_ACCEPT);
	if (!op)
		return demi_leave(ctx, -ENOMEM);
	err = q->ops->accept(q, op);
	return leave_started(ctx, op, qt_out, err);
}

DEMI_PUBLIC int demi_connect(demi_qtoken_t *qt_out, int sockqd, const struct sockaddr *addr, socklen_t size)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	struct demi_op *op;
	int err;

	q = enter_queue(&ctx, sockqd, &err);
	if (demi_unlikely(!q))
		return err;
	if (!qt_out || !addr_ok(addr, size))
		return demi_leave(ctx, -EINVAL);
	op = demi_op_alloc_inline(ctx, q, DEMI_OPC_CONNECT);
	if (!op)
		return demi_leave(ctx, -ENOMEM);
	err = q->ops->connect(q, op, addr, size);
	return leave_started(ctx, op, qt_out, err);
}

DEMI_PUBLIC int demi_cancel(demi_qtoken_t qt)
{
	struct demi_ctx *ctx;
	struct demi_op *op;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	op = demi_op_find(&ctx->ops, qt);
	if (!op)
		return demi_leave(ctx, -EINVAL);
	if (op->state == DEMI_OP_READY)
		return demi_leave(ctx, -EALREADY);
	return demi_leave(ctx, op->q->ops->cancel(op->q, op));
}

DEMI_PUBLIC int demi_blocking_push(int qd, const demi_sgarray_t *sga)
{
	bool interrupted = false;
	demi_qresult_t qr;
	demi_qtoken_t qt = 0;
	int err;

	err = demi_push(&qt, qd, sga);
	if (err)
		return err;
	/* the bytes are lent until the push is done: an early end would leave them so */
	while ((err = demi_wait(&qr, qt, NULL)) == EINTR)
		interrupted = true;
	if (interrupted) /* the next wait is told */
		demi_wakeup(demi_ctx_self);
	return err ? err : (int)qr.qr_ret;
}

DEMI_PUBLIC int demi_blocking_pop(demi_sgarray_t *sga_out, int qd)
{
	bool interrupted = false;
	demi_qresult_t qr;
	demi_qtoken_t qt = 0;
	int err;

	if (!sga_out)
		return demi_ctx_self ? EINVAL : demi_ctx_missing();
	err = demi_pop(&qt, qd);
	if (err)
		return err;
	while ((err = demi_wait(&qr, qt, NULL)) == EINTR) {
		interrupted = true;
		demi_cancel(qt); /* EALREADY: the data is given out after all */
	}
	if (err)
		return err;
	if (interrupted && qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ECANCELED)
		return EINTR;
	if (interrupted) /* the next wait is told */
		demi_wakeup(demi_ctx_self);
	if (qr.qr_opcode == DEMI_OPC_FAILED)
		return (int)qr.qr_ret;
	*sga_out = qr.qr_value.sga;
	return 0;
}

/* ---- control ---- */

DEMI_PUBLIC int demi_close(int qd)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	demi_queue_close(q);
	return demi_leave(ctx, 0);
}

DEMI_PUBLIC int demi_bind(int sockqd, const struct sockaddr *addr, socklen_t size)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, sockqd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, addr_ok(addr, size) ? q->ops->bind(q, addr, size) : -EINVAL);
}

DEMI_PUBLIC int demi_listen(int sockqd, int backlog)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, sockqd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, backlog > 0 ? q->ops->listen(q, backlog) : -EINVAL);
}

DEMI_PUBLIC int demi_shutdown(int qd, int how)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return demi_leave(ctx, -EINVAL);
	return demi_leave(ctx, q->ops->shutdown(q, how));
}

DEMI_PUBLIC int demi_setsockopt(int qd, int level, int optname, const void *optval, socklen_t optlen)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, optval && optlen ? q->ops->setsockopt(q, level, optname, optval, optlen) : -EINVAL);
}

DEMI_PUBLIC int demi_getsockopt(int qd, int level, int optname, void *optval, socklen_t *optlen)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, optval && optlen ? q->ops->getsockopt(q, level, optname, optval, optlen) : -EINVAL);
}

DEMI_PUBLIC int demi_getpeername(int qd, struct sockaddr *addr, socklen_t *addrlen)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, addr && addrlen ? q->ops->getpeername(q, addr, addrlen) : -EINVAL);
}

DEMI_PUBLIC int demi_getsockname(int qd, struct sockaddr *addr, socklen_t *addrlen)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, addr && addrlen ? q->ops->getsockname(q, addr, addrlen) : -EINVAL);
}

DEMI_PUBLIC int demi_lseek(off_t *off_out, int qd, off_t offset, int whence)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	off_t off;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	err = q->ops->lseek(q, offset, whence, &off);
	if (!err && off_out)
		*off_out = off;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_truncate(int qd, off_t length)
{
	struct demi_queue *q;
	struct demi_ctx *ctx;
	int err;

	q = enter_queue(&ctx, qd, &err);
	if (demi_unlikely(!q))
		return err;
	return demi_leave(ctx, length >= 0 ? q->ops->truncate(q, length) : -EINVAL);
}

static int backend_counter(struct demi_ctx *ctx, const char *name, uint64_t *value_out)
{
	const char *found;
	uint64_t value;

	for (struct demi_backend **b = ctx->backends; *b; b++) {
		for (unsigned int i = 0; (*b)->ops->counter && (found = (*b)->ops->counter(*b, i, &value)); i++) {
			if (!strcmp(name, found)) {
				*value_out = value;
				return 0;
			}
		}
	}
	return -ENOENT;
}

DEMI_PUBLIC int demi_counter(uint64_t *value_out, const char *name)
{
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!value_out || !name)
		return demi_leave(ctx, -EINVAL);
#define MATCH(field)                                                                                                   \
	if (!strcmp(name, #field)) {                                                                                   \
		*value_out = ctx->count.field;                                                                         \
		return demi_leave(ctx, 0);                                                                             \
	}
	DEMI_COUNTERS(MATCH)
#undef MATCH
	return demi_leave(ctx, backend_counter(ctx, name, value_out));
}
