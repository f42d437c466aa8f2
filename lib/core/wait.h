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

/* The stall detector, and the rest of demi_wait_for() for who has polled once: see wait.c. */
void demi_wait_note_entry(struct demi_ctx *ctx);
int demi_wait_on(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout);

/* 0 when @w is satisfied, or -ETIMEDOUT, -EINTR, -EINVAL. @w->found() was false before. */
int demi_wait_for(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout);

/* A turn for the backends in the middle of waits that are served from the ready list. */
void demi_wait_turn(struct demi_ctx *ctx);

/* Wait for @op without consuming it; as demi_wait_for(). */
int demi_wait_op(struct demi_ctx *ctx, struct demi_op *op, const struct timespec *timeout);

#endif /* DEMI_CORE_WAIT_H */
