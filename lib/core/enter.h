/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_ENTER_H
#define DEMI_CORE_ENTER_H

/*
 * How a public call begins and ends. Between the two ctx->busy is set: a signal handler or a callback
 * that calls again is answered with EDEADLK, and exit() knows that it interrupted the library.
 */

#include "core/ctx.h"

#include <errno.h>

#define demi_likely(x) __builtin_expect(!!(x), 1)
#define demi_unlikely(x) __builtin_expect(!!(x), 0)

#define DEMI_PUBLIC __attribute__((visibility("default")))

/* Why the calling thread may not enter @ctx, a positive errno. Kept out of line: nobody is in a hurry here. */
int demi_enter_refused(const struct demi_ctx *ctx);

/* The calling thread's context; or NULL, and *err is the positive errno that the call is to return. */
static inline struct demi_ctx *demi_enter(int *err)
{
	struct demi_ctx *ctx = demi_ctx_self;

	if (demi_unlikely(!ctx || ctx->busy)) {
		*err = demi_enter_refused(ctx);
		return NULL;
	}
	ctx->busy = true;
	atomic_signal_fence(memory_order_seq_cst);
	return ctx;
}

/* Turns an internal result into the public one: the one place where the sign changes. */
static inline int demi_leave(struct demi_ctx *ctx, int err)
{
	if (demi_unlikely(ctx->armed))
		demi_ctx_leave_armed(ctx);
	atomic_signal_fence(memory_order_seq_cst);
	ctx->busy = false;
	return -err;
}

#endif /* DEMI_CORE_ENTER_H */
