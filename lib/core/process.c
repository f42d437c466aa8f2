// SPDX-License-Identifier: MIT
/*
 * What happens to contexts when a thread ends, the process forks or exits (design, statement 6).
 *
 * exit() may be called inside a signal handler that interrupted the library: then the gate is shut,
 * no structure can be trusted to be whole, and all that is done is to have the kernel reset the
 * connections that have data left. No lock is taken on that path, and nobody is told the counters.
 */
#include "core/config.h"
#include "core/enter.h"
#include "heap/heap.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_err;

static void thread_ends(void *ctx)
{
	if (ctx == demi_ctx_self)
		demi_ctx_end(ctx, demi_config.exit_linger_ms);
}

static void process_ends(void)
{
	struct demi_ctx *ctx = demi_ctx_self;

	if (!ctx)
		return;
	demi_exiting = true;
	demi_heap_stop();
	if (!demi_gate_busy(ctx)) {
		ctx->gate = DEMI_GATE_BUSY;
		demi_ctx_drain(ctx, demi_config.exit_linger_ms);
		demi_ctx_report(ctx);
		return;
	}
	demi_ctx_abort(ctx);
}

static void forked_child(void)
{
	demi_forked = true;
	demi_ctx_set_self(NULL);
	pthread_setspecific(thread_key, NULL);
}

static void init(void)
{
	init_err = -pthread_key_create(&thread_key, thread_ends);
	if (!init_err)
		init_err = -pthread_atfork(NULL, NULL, forked_child);
	if (!init_err && atexit(process_ends))
		init_err = -ENOMEM;
}

int demi_process_init(void)
{
	pthread_once(&once, init);
	return init_err;
}

int demi_process_own_ctx(struct demi_ctx *ctx)
{
	return -pthread_setspecific(thread_key, ctx);
}
