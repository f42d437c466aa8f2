/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_WAIT_H
#define DEMI_CORE_WAIT_H

/*
 * What a wait looks for. @found is asked after every completion whether the wait is over; it may keep
 * its place in @pos. The tokens in @qts, if any, are validated a piece at a time while the wait polls.
 */

#include "core/ctx.h"

#include <stdbool.h>
#include <time.h>

struct demi_waiter {
	bool (*found)(struct demi_ctx *ctx, struct demi_waiter *w);
	const demi_qtoken_t *qts;
	uint32_t num_qts;
	uint32_t validated; /* tokens that were looked up so far */
	uint32_t pos; /* wait_all: all before it are ready; wait_any: index of the result */
	struct demi_op *op; /* wait, wait_any: the result */
};

/* The stall detector, for a wait that is about to poll: peers wait while the application stays away. */
#define DEMI_WAIT_LATE_NS 10000000

void demi_wait_late(struct demi_ctx *ctx);

static inline void demi_wait_note_entry(struct demi_ctx *ctx)
{
	uint64_t now_ns;

	if (!ctx->live_conns) {
		ctx->last_poll_ns = 0;
		return;
	}
	now_ns = demi_clock_ns(&ctx->clock);
	if (__builtin_expect(now_ns - ctx->last_poll_ns > DEMI_WAIT_LATE_NS, 0))
		demi_wait_late(ctx);
	ctx->poll_ns = now_ns;
	ctx->last_poll_ns = now_ns;
}

/* The rest of demi_wait_for() for who has polled once: see wait.c. */
int demi_wait_on(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout);

/* 0 when @w is satisfied, or -ETIMEDOUT, -EINTR, -EINVAL. @w->found() was false before. */
int demi_wait_for(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout);

/* A turn for the backends in the middle of waits that are served from the ready list. */
void demi_wait_turn(struct demi_ctx *ctx);

/* Wait for @op without consuming it; as demi_wait_for(). */
int demi_wait_op(struct demi_ctx *ctx, struct demi_op *op, const struct timespec *timeout);

#endif /* DEMI_CORE_WAIT_H */
