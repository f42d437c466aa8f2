// SPDX-License-Identifier: MIT
/* The loop behind all waits: poll, spin for an adaptive time, sleep. */
#include "core/config.h"
#include "core/enter.h"
#include "core/poll.h"
#include "core/wait.h"

#define VALIDATE_CHUNK 64 /* tokens looked up between two polls */
#define CLOCK_EVERY 64 /* polls between two readings of the clock */
#define SPIN_PAYS 16 /* times spin_us */

/*
 * Look up up to @limit more of the tokens. 0, or -EINVAL; or 1: one was ready that demi_wait_any() believed absent from
 * the array, and the wait is over.
 */
static int validate(struct demi_ctx *ctx, struct demi_waiter *w, uint32_t limit)
{
	uint32_t end = w->num_qts - w->validated < limit ? w->num_qts : w->validated + limit;
	bool missed = false, bad = false;

	for (; w->validated < end && !bad; w->validated++) {
		struct demi_op *op = demi_op_find(&ctx->ops, w->qts[w->validated]);

		bad = !op;
		missed |= op && op->state == DEMI_OP_READY && op->hint != w->validated;
	}
	if (demi_unlikely(missed || bad)) {
		ctx->any_skips = 0; /* search the whole array */
		if (w->found(ctx, w))
			return 1;
	}
	return bad ? -EINVAL : 0;
}

void demi_wait_late(struct demi_ctx *ctx)
{
	if (ctx->last_poll_ns)
		ctx->count.late_entries++;
}

void demi_wait_turn(struct demi_ctx *ctx)
{
	demi_ctx_turn_restart(ctx);
	if (demi_ctx_flush_wanted(ctx)) /* nothing else submits it while there is always something ready */
		demi_ctx_flush(ctx);
	demi_wait_note_entry(ctx);
	demi_ctx_poll(ctx);
}

static bool poll_once(struct demi_ctx *ctx, struct demi_waiter *w)
{
	uint64_t seq = ctx->seq;

	if (demi_unlikely(demi_ctx_flush_wanted(ctx)))
		demi_ctx_flush(ctx);
	demi_ctx_poll(ctx);
	return ctx->seq != seq && w->found(ctx, w);
}

static uint64_t deadline_of(const struct timespec *timeout, uint64_t now_ns)
{
	if (!timeout || timeout->tv_sec >= INT32_MAX)
		return UINT64_MAX;
	return now_ns + (uint64_t)timeout->tv_sec * 1000000000 + (uint64_t)timeout->tv_nsec;
}

/*
 * How long the next wait spins. A wait that was over within a few spins' time, spinning or asleep, says that
 * spinning pays: all of spin_us then. Longer ones say that it is wasted: half as long, down to a sixteenth.
 */
static void adapt(struct demi_ctx *ctx, uint64_t waited_ns)
{
	uint64_t max_ns = (uint64_t)demi_config.spin_us * 1000;

	if (!ctx->spin_ns)
		return;
	if (waited_ns < SPIN_PAYS * max_ns)
		ctx->spin_ns = max_ns;
	else if (ctx->spin_ns > max_ns / 16 + 1)
		ctx->spin_ns /= 2;
}

static int take_wakeup(struct demi_ctx *ctx)
{
	if (demi_likely(!atomic_load_explicit(&ctx->wakeup, memory_order_relaxed)))
		return 0;
	return atomic_exchange(&ctx->wakeup, 0) ? -EINTR : 0;
}

/* A few rounds with nothing between them, until something completes. Was it what is waited for? */
static bool spin(struct demi_ctx *ctx, struct demi_waiter *w)
{
	uint64_t seq = ctx->seq;

	ctx->spinning = true;
	for (int i = 0; i < CLOCK_EVERY && ctx->seq == seq; i++) {
		if (demi_unlikely(demi_ctx_flush_wanted(ctx)))
			demi_ctx_flush(ctx);
		demi_ctx_poll_inline(ctx);
	}
	ctx->spinning = false;
	return ctx->seq != seq && w->found(ctx, w);
}

/* 0 or 1: the wait is over. */
static int spin_and_sleep(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout)
{
	uint64_t now_ns = demi_now_ns(), deadline_ns = deadline_of(timeout, now_ns);
	uint64_t start_ns = now_ns, spin_until_ns = now_ns + ctx->spin_ns;
	int err;

	while (now_ns < spin_until_ns && now_ns < deadline_ns) {
		if (spin(ctx, w)) {
			ctx->count.spins++;
			adapt(ctx, 0);
			return 0;
		}
		err = take_wakeup(ctx);
		if (!err)
			err = validate(ctx, w, VALIDATE_CHUNK);
		if (err)
			return err;
		now_ns = demi_now_ns();
	}
	err = validate(ctx, w, UINT32_MAX);
	if (err)
		return err;
	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	for (;;) {
		uint64_t seq = ctx->seq;

		if (demi_ctx_flush_wanted(ctx))
			demi_ctx_flush(ctx);
		if (ctx->seq == seq)
			demi_ctx_sleep(ctx, deadline_ns);
		if ((ctx->seq != seq && w->found(ctx, w)) || poll_once(ctx, w)) {
			adapt(ctx, demi_now_ns() - start_ns);
			return 0;
		}
		err = take_wakeup(ctx);
		if (err)
			return err;
		if (deadline_ns != UINT64_MAX && demi_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

int demi_wait_for(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout)
{
	if (demi_unlikely(demi_ctx_flush_wanted(ctx)))
		demi_ctx_flush(ctx);
	demi_wait_note_entry(ctx);
	return poll_once(ctx, w) ? 0 : demi_wait_on(ctx, w, timeout);
}

int demi_wait_on(struct demi_ctx *ctx, struct demi_waiter *w, const struct timespec *timeout)
{
	bool once = timeout && !timeout->tv_sec && !timeout->tv_nsec;
	int err;

	err = take_wakeup(ctx);
	if (!err)
		err = validate(ctx, w, once ? UINT32_MAX : VALIDATE_CHUNK);
	if (!err && once)
		return -ETIMEDOUT;
	if (!err)
		err = spin_and_sleep(ctx, w, timeout);
	if (ctx->live_conns)
		ctx->last_poll_ns = demi_clock_ns(&ctx->clock);
	return err < 0 ? err : 0;
}
