/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_ENTER_H
#define DEMI_CORE_ENTER_H

/*
 * How a public call begins and ends. Between the two the gate is DEMI_GATE_BUSY or more: a signal handler or a callback
 * that calls again is answered with EDEADLK, and exit() knows that it interrupted the library.
 */

#include "core/ctx.h"

#include <errno.h>

#define demi_likely(x) __builtin_expect(!!(x), 1)
#define demi_unlikely(x) __builtin_expect(!!(x), 0)

#define DEMI_PUBLIC __attribute__((visibility("default")))

/*
 * Add 1 to the gate, in one instruction, lest a signal come between. True: it was open, and the caller is in; else
 * demi_enter_slow() follows.
 */
static inline bool demi_gate_enter(struct demi_ctx *ctx)
{
#ifdef __x86_64__
	bool closed;

	__asm__ volatile("addl $1, %0" : "+m"(ctx->gate), "=@ccnz"(closed) : : "memory");
	return !closed;
#else
	return __atomic_add_fetch(&ctx->gate, 1, __ATOMIC_RELAXED) == DEMI_GATE_BUSY;
#endif
}

/* The same, but true: there was an instant result, and the caller is in to take it. */
static inline bool demi_gate_enter_instant(struct demi_ctx *ctx)
{
#ifdef __x86_64__
	bool taking;

	__asm__ volatile("addl $1, %0" : "+m"(ctx->gate), "=@cco"(taking) : : "memory");
	return taking;
#else
	return __atomic_add_fetch(&ctx->gate, 1, __ATOMIC_RELAXED) == DEMI_GATE_TAKING;
#endif
}

/* What an attempt to enter has made of it. Others may do the same to that of demi_ctx_nobody. */
static inline int32_t demi_gate(const struct demi_ctx *ctx)
{
	return __atomic_load_n(&ctx->gate, __ATOMIC_RELAXED);
}

/*
 * demi_gate_enter() has returned false for @ctx, which was demi_ctx_entry. 0: the caller is in after all, as there was
 * only an instant result (which is an operation like any other now), or the context was armed. Else the positive
 * errno that the call is to return.
 */
int demi_enter_slow(struct demi_ctx *ctx);

/* The calling thread's context; or NULL, and *err is the positive errno that the call is to return. */
static inline struct demi_ctx *demi_enter(int *err)
{
	struct demi_ctx *ctx = demi_ctx_entry;

	if (demi_unlikely(!demi_gate_enter(ctx))) {
		*err = demi_enter_slow(ctx);
		if (*err)
			return NULL;
	}
	return ctx;
}

/* The end of a call that has not passed the gate by demi_enter_slow(): the context is not armed. */
static inline int demi_leave_open(struct demi_ctx *ctx)
{
	atomic_signal_fence(memory_order_seq_cst);
	ctx->gate = DEMI_GATE_OPEN;
	return 0;
}

/* For who ends the context: is the calling thread inside a call, which a signal has interrupted? */
static inline bool demi_gate_busy(const struct demi_ctx *ctx)
{
	return ctx->gate != DEMI_GATE_OPEN && ctx->gate < DEMI_GATE_ARMED;
}

/*
 * For what takes locks outside a call, as the heap does: until demi_gate_reopen() a signal finds the thread inside the
 * library. Without a context nothing happens.
 */
static inline int32_t demi_gate_shut(struct demi_ctx *ctx)
{
	return ctx ? __atomic_exchange_n(&ctx->gate, DEMI_GATE_BUSY, __ATOMIC_RELAXED) : DEMI_GATE_BUSY;
}

static inline void demi_gate_reopen(struct demi_ctx *ctx, int32_t was)
{
	atomic_signal_fence(memory_order_seq_cst);
	if (ctx)
		ctx->gate = was;
}

/* Turns an internal result into the public one: the one place where the sign changes. */
static inline int demi_leave(struct demi_ctx *ctx, int err)
{
	int32_t gate = DEMI_GATE_OPEN;

	if (demi_unlikely(ctx->armed)) {
		demi_ctx_leave_armed(ctx);
		gate = DEMI_GATE_ARMED;
	}
	atomic_signal_fence(memory_order_seq_cst);
	ctx->gate = gate;
	return -err;
}

#endif /* DEMI_CORE_ENTER_H */
