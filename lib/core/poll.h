/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_POLL_H
#define DEMI_CORE_POLL_H

/* One round over everything that can complete operations or has put something off, in line for the hot paths. */

#include "core/ctx.h"

static inline void demi_backend_flush(struct demi_backend *b)
{
	if (b->ops->flush)
		b->ops->flush(b);
}

static inline void demi_ctx_flush_inline(struct demi_ctx *ctx)
{
	ctx->poll_in &= ~DEMI_FLUSH_WANTED;
	for (struct demi_backend **b = ctx->backends; *b; b++)
		demi_backend_flush(*b);
}

static inline void demi_ctx_poll_inline(struct demi_ctx *ctx)
{
	ctx->count.polls++;
	if (__builtin_expect(ctx->armed, 0))
		demi_ctx_disarm(ctx);
	if (__builtin_expect(atomic_load_explicit(&ctx->inbox, memory_order_relaxed) != NULL, 0))
		demi_ctx_drain_inbox(ctx);
	if (__builtin_expect(ctx->timers.count, 0))
		demi_timers_run(&ctx->timers, demi_now_ns());
	for (struct demi_backend **b = ctx->backends; *b; b++)
		(*b)->poll(*b);
	ctx->poll_ns = 0;
}

#endif /* DEMI_CORE_POLL_H */
