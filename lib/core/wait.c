// SPDX-License-Identifier: MIT
/* demi_wait() and its relatives: what each looks for. */
#include "core/wait.h"
#include "core/instant.h"
#include "core/poll.h"
#include "core/log.h"

#include <demi/wait.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Up to so many tokens are looked up one by one; beyond it the ready list and the hints are used. */
#define ANY_DIRECT 8

/* demi_op.hint */
#define HINT_ABSENT (UINT32_MAX - 1) /* not in the array ctx->any_qts when that was searched whole */

static bool timeout_ok(const struct timespec *t)
{
	return !t || (t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

/* Something is ready: others' turn now and then all the same (design, statement 9). */
static inline void poll_sometimes(struct demi_ctx *ctx)
{
	if (demi_unlikely(--ctx->poll_in < 0) && demi_ctx_turn_due(ctx))
		demi_wait_turn(ctx);
}

static inline void consume(struct demi_ctx *ctx, struct demi_op *op, demi_qresult_t *qr_out)
{
	demi_op_unready_inline(op);
	demi_op_copy_result(qr_out, op);
	demi_op_release_inline(ctx, op);
	/* what was put off goes before the application may turn to something else */
	if (demi_unlikely(demi_ctx_flush_wanted(ctx)) && demi_op_ring_empty(&ctx->ready))
		demi_ctx_flush(ctx);
}

/* ---- one ---- */

static bool found_one(struct demi_ctx *ctx, struct demi_waiter *w)
{
	return w->op->state == DEMI_OP_READY;
}

int demi_wait_op(struct demi_ctx *ctx, struct demi_op *op, const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_one, .op = op };

	return demi_wait_for(ctx, &w, timeout);
}

static __attribute__((noinline)) int wait_longer(struct demi_ctx *ctx, demi_qresult_t *qr_out, struct demi_op *op,
						 const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_one, .op = op };
	int err = demi_wait_on(ctx, &w, timeout);

	if (!err)
		consume(ctx, op, qr_out);
	return demi_leave(ctx, err);
}

/* After the first poll. */
static inline int wait_on(struct demi_ctx *ctx, demi_qresult_t *qr_out, struct demi_op *op,
			  const struct timespec *timeout)
{
	if (demi_unlikely(op->state != DEMI_OP_READY))
		return wait_longer(ctx, qr_out, op, timeout);
	consume(ctx, op, qr_out);
	return demi_leave(ctx, 0);
}

/* Not ready: the first poll in line, as it is the last where messages come as fast as they are taken. */
static __attribute__((noinline)) int wait_pending(struct demi_ctx *ctx, demi_qresult_t *qr_out, struct demi_op *op,
						  const struct timespec *timeout)
{
	demi_ctx_turn_restart(ctx);
	if (demi_unlikely(demi_ctx_flush_wanted(ctx)))
		demi_ctx_flush(ctx);
	demi_wait_note_entry(ctx); /* an answer comes after what it answers */
	demi_ctx_poll_inline(ctx);
	return wait_on(ctx, qr_out, op, timeout);
}

static __attribute__((noinline)) int wait_slow(struct demi_ctx *ctx, demi_qresult_t *qr_out, struct demi_op *op,
					       const struct timespec *timeout)
{
	if (!qr_out || !op || op->state == DEMI_OP_FREE || !timeout_ok(timeout))
		return demi_leave(ctx, -EINVAL);
	if (op->state != DEMI_OP_READY)
		return wait_pending(ctx, qr_out, op, timeout);
	poll_sometimes(ctx);
	consume(ctx, op, qr_out);
	return demi_leave(ctx, 0);
}

/* What goes with every wait, after an instant result was taken: other queues' turn, and what was put off. */
static __attribute__((noinline)) int instant_rest(struct demi_ctx *ctx)
{
	ctx->gate = DEMI_GATE_BUSY;
	if (demi_unlikely(demi_ctx_turn_due(ctx))) {
		demi_wait_turn(ctx);
	} else if (demi_likely(demi_op_ring_empty(&ctx->ready))) {
		if (demi_likely(ctx->awaits)) { /* one backend */
			ctx->poll_in &= ~DEMI_FLUSH_WANTED;
			demi_backend_flush(ctx->backends[0]);
		} else {
			demi_ctx_flush_inline(ctx);
		}
	}
	return demi_leave_open(ctx);
}

/* The gate is shut: by this call, unless demi_enter_slow() says otherwise. */
static __attribute__((noinline)) int wait_entered(demi_qresult_t *qr_out, demi_qtoken_t qt,
						  const struct timespec *timeout, struct demi_ctx *ctx)
{
	struct demi_op *op;
	int err;

	if (demi_unlikely(demi_gate(ctx) != DEMI_GATE_BUSY)) {
		err = demi_enter_slow(ctx);
		if (err)
			return err;
	}
	op = demi_op_lookup(&ctx->ops, qt);
	if (demi_likely(op && !timeout && qr_out)) {
		if (op->state == DEMI_OP_PENDING)
			return wait_pending(ctx, qr_out, op, NULL);
		if (op->state == DEMI_OP_READY) {
			poll_sometimes(ctx);
			consume(ctx, op, qr_out);
			return demi_leave(ctx, 0);
		}
	}
	return wait_slow(ctx, qr_out, op, timeout);
}

/*
 * For a pop that has begun to wait: the first poll, and its result without an operation if that is all there is. There
 * is no other operation, so none can have been posted; and no other backend, hence no timer of the context's.
 */
static __attribute__((noinline)) int wait_await(demi_qresult_t *qr_out, demi_qtoken_t qt,
						const struct timespec *timeout, struct demi_ctx *ctx)
{
	if (demi_unlikely(demi_instant_token(ctx) != qt || timeout || !qr_out || demi_ctx_flush_wanted(ctx)))
		return wait_entered(qr_out, qt, timeout, ctx);
	ctx->gate = DEMI_GATE_BUSY;
	ctx->await.qr = qr_out;
	ctx->await.now = ctx->await.q;
	demi_wait_note_entry(ctx);
	ctx->poll_in = DEMI_POLL_EVERY - 1; /* no flush is wanted */
	ctx->count.polls++;
	ctx->backends[0]->poll(ctx->backends[0]);
	ctx->poll_ns = 0;
	if (demi_unlikely(ctx->await.qr != NULL)) {
		demi_await_settle(ctx);
		return wait_on(ctx, ctx->await.qr, ctx->await.op, NULL);
	}
	if (demi_unlikely(demi_ctx_flush_wanted(ctx)) && demi_op_ring_empty(&ctx->ready))
		demi_ctx_flush(ctx);
	return demi_leave_open(ctx);
}

/* Usually what the call before was about: core/instant.h. */
DEMI_PUBLIC int demi_wait(demi_qresult_t *qr_out, demi_qtoken_t qt, const struct timespec *timeout)
{
	struct demi_ctx *ctx = demi_ctx_entry;
	struct demi_op *op;

	if (!demi_gate_enter_instant(ctx)) {
		if (demi_gate(ctx) == DEMI_GATE_AWAIT + 1)
			return wait_await(qr_out, qt, timeout, ctx);
		return wait_entered(qr_out, qt, timeout, ctx);
	}
	op = ctx->ops.free; /* it has the result's token */
	if (demi_unlikely(op->token != qt || timeout || !qr_out))
		return wait_entered(qr_out, qt, timeout, ctx);
	demi_instant_take(ctx, op, qr_out, qt);
	if (demi_unlikely(--ctx->poll_in < 0))
		return instant_rest(ctx);
	return demi_leave_open(ctx);
}

/* ---- any, some ---- */

static bool any_direct(struct demi_ctx *ctx, struct demi_waiter *w)
{
	struct demi_op *first = NULL;

	for (uint32_t i = 0; i < w->num_qts; i++) {
		struct demi_op *op = demi_op_find(&ctx->ops, w->qts[i]);

		if (op && op->state == DEMI_OP_READY && (!first || op->seq < first->seq)) {
			first = op;
			w->pos = i;
		}
	}
	w->op = first;
	return first != NULL;
}

/*
 * Search the whole array, and leave hints so that it is not searched again while it stays the same. The program
 * may have written a token that is marked absent into the array all the same, so the marks are believed for as
 * many looks as a search costs, and never by a wait that would sleep: see validate().
 */
static bool any_search(struct demi_ctx *ctx, struct demi_waiter *w)
{
	struct demi_op *first = NULL, *op;

	demi_op_ring_for_each(op, &ctx->ready) op->hint = HINT_ABSENT;
	for (uint32_t i = 0; i < w->num_qts; i++) {
		op = demi_op_find(&ctx->ops, w->qts[i]);
		if (!op)
			continue;
		op->hint = i;
		if (op->state == DEMI_OP_READY && (!first || op->seq < first->seq))
			first = op;
	}
	ctx->any_qts = w->qts;
	ctx->any_num = w->num_qts;
	ctx->any_skips = w->num_qts;
	w->op = first;
	w->pos = first ? first->hint : 0;
	return first != NULL;
}

/*
 * In order of completion, take the first operation that the array names. Its hint says where, unless
 * the array is new or was changed elsewhere than at the last result.
 */
static bool any_hinted(struct demi_ctx *ctx, struct demi_waiter *w)
{
	struct demi_op *op;

	demi_op_ring_for_each(op, &ctx->ready)
	{
		if (op->hint < w->num_qts && w->qts[op->hint] == op->token) {
			w->op = op;
			w->pos = op->hint;
			return true;
		}
		if (op->hint != HINT_ABSENT || ctx->any_skips-- == 0)
			return any_search(ctx, w);
	}
	return false;
}

static bool found_any(struct demi_ctx *ctx, struct demi_waiter *w)
{
	if (demi_op_ring_empty(&ctx->ready))
		return false;
	return w->num_qts <= ANY_DIRECT ? any_direct(ctx, w) : any_hinted(ctx, w);
}

/* The usual loop puts a new token where the last result was: give that one its hint. */
static void any_begin(struct demi_ctx *ctx, struct demi_waiter *w)
{
	struct demi_op *op;

	if (w->num_qts <= ANY_DIRECT)
		return;
	op = ctx->any_last < w->num_qts ? demi_op_find(&ctx->ops, w->qts[ctx->any_last]) : NULL;
	if (op)
		op->hint = ctx->any_last;
	if (ctx->any_qts == w->qts && ctx->any_num == w->num_qts)
		return;
	ctx->any_skips = 0; /* another array: what is ready may be in it */
}

static int wait_any(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout)
{
	any_begin(ctx, w);
	if (!found_any(ctx, w))
		return demi_wait_for(ctx, w, timeout);
	poll_sometimes(ctx);
	return 0;
}

DEMI_PUBLIC int demi_wait_any(demi_qresult_t *qr_out, int *ready_offset, const demi_qtoken_t qts[], int num_qts,
			      const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_any, .qts = qts, .num_qts = (uint32_t)num_qts };
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (demi_unlikely(!qr_out || !ready_offset || !qts || num_qts < 1 || !timeout_ok(timeout)))
		return demi_leave(ctx, -EINVAL);
	err = wait_any(ctx, &w, timeout);
	if (!err) {
		*ready_offset = (int)w.pos;
		ctx->any_last = w.pos;
		consume(ctx, w.op, qr_out);
	}
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_wait_some(demi_qresult_t qrs_out[], int offsets_out[], int max_qrs, int *num_out,
			       const demi_qtoken_t qts[], int num_qts, const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_any, .qts = qts, .num_qts = (uint32_t)num_qts };
	struct demi_ctx *ctx;
	int err, n = 0;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!qrs_out || !offsets_out || max_qrs < 1 || !num_out || !qts || num_qts < 1 || !timeout_ok(timeout))
		return demi_leave(ctx, -EINVAL);
	err = wait_any(ctx, &w, timeout);
	if (err)
		return demi_leave(ctx, err);
	do {
		offsets_out[n] = (int)w.pos;
		ctx->any_last = w.pos;
		consume(ctx, w.op, &qrs_out[n++]);
	} while (n < max_qrs && found_any(ctx, &w));
	*num_out = n;
	return demi_leave(ctx, 0);
}

/* ---- all ---- */

static bool found_all(struct demi_ctx *ctx, struct demi_waiter *w)
{
	for (; w->pos < w->num_qts; w->pos++) {
		struct demi_op *op = demi_op_find(&ctx->ops, w->qts[w->pos]);

		if (!op || op->state != DEMI_OP_READY)
			return false;
	}
	return true;
}

DEMI_PUBLIC int demi_wait_all(demi_qresult_t qrs_out[], const demi_qtoken_t qts[], int num_qts,
			      const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_all, .qts = qts, .num_qts = (uint32_t)num_qts };
	struct demi_ctx *ctx;
	int err = 0;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!qrs_out || !qts || num_qts < 1 || !timeout_ok(timeout))
		return demi_leave(ctx, -EINVAL);
	if (found_all(ctx, &w))
		poll_sometimes(ctx);
	else
		err = demi_wait_for(ctx, &w, timeout);
	for (int i = 0; !err && i < num_qts; i++) {
		struct demi_op *op = demi_op_find(&ctx->ops, qts[i]);

		if (op) {
			consume(ctx, op, &qrs_out[i]);
			continue;
		}
		/* named twice: the result was given out, and nobody may free its memory twice */
		memset(&qrs_out[i], 0, sizeof(qrs_out[i]));
		qrs_out[i].qr_opcode = DEMI_OPC_FAILED;
		qrs_out[i].qr_qt = qts[i];
		qrs_out[i].qr_ret = EINVAL;
	}
	return demi_leave(ctx, err);
}

/* ---- next ---- */

static bool found_next(struct demi_ctx *ctx, struct demi_waiter *w)
{
	return !demi_op_ring_empty(&ctx->ready);
}

DEMI_PUBLIC int demi_wait_next_n(demi_qresult_t *qr_out, int num_qrs, int *num_qrs_out, const struct timespec *timeout)
{
	struct demi_waiter w = { .found = found_next };
	struct demi_ctx *ctx;
	int err = 0, n = 0;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (demi_unlikely(!qr_out || num_qrs < 1 || !num_qrs_out || !timeout_ok(timeout)))
		return demi_leave(ctx, -EINVAL);
	if (demi_unlikely(!ctx->ops.live)) { /* closed queues may drain all the same */
		if (demi_ctx_flush_wanted(ctx))
			demi_ctx_flush(ctx);
		demi_ctx_poll(ctx);
		return demi_leave(ctx, -ENOENT);
	}
	if (!demi_op_ring_empty(&ctx->ready))
		poll_sometimes(ctx);
	else
		err = demi_wait_for(ctx, &w, timeout);
	if (demi_unlikely(err))
		return demi_leave(ctx, err);
	while (n < num_qrs && !demi_op_ring_empty(&ctx->ready))
		consume(ctx, ctx->ready.next, &qr_out[n++]);
	*num_qrs_out = n;
	return demi_leave(ctx, 0);
}

/* ---- from outside ---- */

DEMI_PUBLIC int demi_wait_fd(int *fd_out)
{
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	if (!fd_out)
		return demi_leave(ctx, -EINVAL);
	err = demi_ctx_need_timer_fd(ctx);
	if (!err)
		*fd_out = ctx->epoll_fd;
	return demi_leave(ctx, err);
}

DEMI_PUBLIC int demi_wait_arm(void)
{
	struct demi_ctx *ctx;
	int err;

	ctx = demi_enter(&err);
	if (demi_unlikely(!ctx))
		return err;
	return demi_leave(ctx, demi_ctx_arm(ctx));
}

DEMI_PUBLIC int demi_wakeup(demi_ctx_t *ctx)
{
	int saved = errno;

	if (!ctx)
		return EINVAL;
	if (demi_forked) /* the event fd is still the parent's */
		return EPERM;
	atomic_store_explicit(&ctx->wakeup, 1, memory_order_relaxed);
	/* pairs with the barrier of a context that goes to sleep */
	demi_full_barrier();
	demi_ctx_wake(ctx);
	errno = saved;
	return 0;
}

DEMI_PUBLIC int demi_self(demi_ctx_t **ctx_out)
{
	if (!ctx_out)
		return EINVAL;
	if (!demi_ctx_self)
		return demi_ctx_missing();
	*ctx_out = demi_ctx_self;
	return 0;
}
