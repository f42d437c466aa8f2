/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_POLL_H
#define DEMI_CORE_POLL_H

/* One round over everything that can complete operations or has put something off, in line for the hot paths. */

#include "core/ctx.h"

/* The time, for a backend that is being polled: it may have been read already. */
static inline uint64_t demi_ctx_poll_ns(struct demi_ctx *ctx)
{
	return ctx->entry_poll == ctx->count.polls ? ctx->entry_ns : demi_clock_ns(&ctx->clock);
}

static inline void demi_ctx_flush_inline(struct demi_ctx *ctx)
{
	ctx->poll_in &= ~DEMI_FLUSH_WANTED;
	for (struct demi_backend **b = ctx->backends; *b; b++) {
		if ((*b)->ops->flush)
			(*b)->ops->flush(*b);
	}
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
}

#endif /* DEMI_CORE_POLL_H */
