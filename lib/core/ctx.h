/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_CTX_H
#define DEMI_CORE_CTX_H

/*
 * Contexts: one per thread. Only `inbox`, `wakeup` and `sleeping` are touched by other threads; they
 * have cache lines of their own. A context's memory is never returned to the system, only reused,
 * so that a late demi_wakeup() or post to a context that ended does no harm.
 */

#include "core/backend.h"
#include "core/barrier.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/op.h"
#include "core/queue.h"
#include "core/timer.h"

#include <errno.h>
#include <stdatomic.h>

#define DEMI_CTX_MAX_BACKENDS 4

/* Counters, by name in demi_counter(): X(field). All are of the context. */
#define DEMI_COUNTERS(X)                                                                                               \
	X(polls) /* rounds over the backends */                                                                        \
	X(spins) /* waits that found their result while spinning */                                                    \
	X(sleeps) /* times the thread slept */                                                                         \
	X(wakes) /* times it was woken by another thread's or process's post */                                        \
	X(late_entries) /* times the application stayed away over 10 ms with live connections */                       \
	X(syscalls) /* system calls of the data path */                                                                \
	X(copied_bytes) /* payload bytes that push or pop copied */                                                    \
	X(dropped) /* elements or datagrams thrown away: no memory, truncated, no popper left */

struct demi_counters {
#define DEMI_COUNTER_FIELD(name) uint64_t name;
	DEMI_COUNTERS(DEMI_COUNTER_FIELD)
#undef DEMI_COUNTER_FIELD
};

/*
 * Who is inside the library. A call enters by adding 1, in one instruction, so that a signal handler sees that either
 * nobody is in or somebody is (core/enter.h).
 */
enum demi_gate {
	DEMI_GATE_OPEN = -1, /* entering gives 0 */
	DEMI_GATE_BUSY = 0, /* inside a call: a signal handler or a callback must stay out */
	DEMI_GATE_ARMED = 1 << 9, /* nobody is in, and demi_wait_arm() has been called */
	DEMI_GATE_AWAIT = 1 << 10, /* nobody is in, and ctx->await is a pop that waits */
	DEMI_GATE_NOBODY = 1 << 20, /* of demi_ctx_nobody: there is no way in */
	DEMI_GATE_INSTANT = INT32_MAX, /* nobody is in, and ctx->instant is valid; entering overflows to */
	DEMI_GATE_TAKING = INT32_MIN,
};

/*
 * The result of the call before, if that was a push or a pop that was done when it returned: most are waited for
 * next, and never need an operation. Its token is the first free operation's; whatever else happens makes it one
 * (core/instant.h).
 */
struct demi_instant {
	uint64_t head; /* opcode and descriptor, as they stand in a demi_qresult_t */
	struct demi_queue *q;
	uint32_t numsegs, len; /* 0: of a push */
	void *buf; /* of a pop */
};

/*
 * The call before was a pop that has to wait, and nothing else is outstanding: demi_wait() comes next and takes what
 * arrives straight from the queue. Its token is the first free operation's, too; whatever else happens makes it an
 * operation (core/instant.h).
 */
struct demi_await {
	struct demi_queue *q; /* whose pop; */
	struct demi_queue *now; /* the same while its wait polls; else NULL */
	size_t max_bytes;
	demi_qresult_t *qr; /* where the wait wants it. NULL: it is there */
	struct demi_op *op; /* what it was made if the wait has not got its result */
};

/* One of so many waits that find their result ready polls the backends all the same. */
#define DEMI_POLL_EVERY 32

/* In ctx->poll_in: a backend has put something off. The two highest bits, so that one may be borrowed from it. */
#define DEMI_FLUSH_WANTED (-(1 << 30))

struct demi_ctx {
	/* What every call touches. */
	struct demi_op_ring ready; /* in the order of completion */
	uint64_t seq; /* of the next completion */
	int32_t gate; /* enum demi_gate, or more than BUSY while it turns somebody away */
	/*
	 * Waits that may pass before one polls the backends although something is ready; and on top of it
	 * DEMI_FLUSH_WANTED. Negative when counted down: that wait has more to do than to hand out its result.
	 */
	int32_t poll_in;
	bool draining; /* demi_ctx_drain() waits for the backends */
	bool spinning; /* the next round follows at once: a backend may let completions gather */
	bool armed; /* demi_wait_arm(): sleeping stays set while the application is away */
	bool awaits; /* its only backend hands over what a wait polls for: ctx->await */
	uint32_t live_conns; /* connections: for late_entries */
	struct demi_op_table ops;
	struct demi_queue_table queues;
	struct demi_instant instant;
	struct demi_await await;
	uint64_t poll_ns; /* the time, in the round over the backends that a wait begins with; 0: not read yet */
	size_t push_bytes; /* charged to queued pushes */

	/* demi_wait_any(): where the last result stood in which array */
	const demi_qtoken_t *any_qts;
	uint32_t any_num, any_last;
	uint32_t any_skips; /* looks at absent operations until the next search */

	uint8_t nbackends;
	struct demi_backend *backends[DEMI_CTX_MAX_BACKENDS + 1]; /* NULL ends it */
	struct demi_backend *main_backend; /* that makes sockets and files */
	struct demi_timers timers;
	struct demi_clock clock;
	uint64_t spin_ns; /* adaptive: how long the next wait spins */
	uint64_t last_poll_ns; /* 0: no live connections then */
	struct demi_counters count;
	demi_callback_t callback;

	int epoll_fd; /* all wake fds; also demi_wait_fd() */
	int event_fd; /* written by other threads and demi_wakeup() */
	uint64_t writes_due; /* to event_fd: by threads that have cleared `sleeping` */
	int timer_fd; /* the next timer, for a foreign loop; -1 until demi_wait_fd() */
	uint64_t timer_fd_ns; /* its deadline; UINT64_MAX: not set */
	struct demi_ctx *next_free; /* list of contexts that ended */

	/* Shared. */
	_Atomic(struct demi_op *) inbox __attribute__((aligned(64))); /* posted operations, newest first */
	atomic_int sleeping __attribute__((aligned(64)));
	atomic_int wakeup; /* demi_wakeup(): sticky */
};

/* The calling thread's context or NULL. */
extern __thread struct demi_ctx *demi_ctx_self __attribute__((tls_model("initial-exec")));

/*
 * The same for who enters: where there is none, one that all threads share and whose gate never opens, so that the one
 * test of the gate finds that, too. Nothing else of it is used.
 */
extern __thread struct demi_ctx *demi_ctx_entry __attribute__((tls_model("initial-exec")));
extern struct demi_ctx demi_ctx_nobody;

/* Set both; NULL: it has none any more. */
void demi_ctx_set_self(struct demi_ctx *ctx);

/* The process is the child of a fork: every call is EPERM. */
extern bool demi_forked;

/* The process ends: the heap frees nothing any more. Other threads still run and read it. */
extern atomic_bool demi_exiting;

/* What a call without a context answers: ENOSYS, or EPERM after fork. */
int demi_ctx_missing(void);

/*
 * Hand over an operation that was filled in with demi_op_set_* to its context; any thread.
 * Wakes the thread if it sleeps. Full barrier between the two.
 */
void demi_ctx_post(struct demi_op *op);

/* Move what was posted to the ready list. */
void demi_ctx_drain_inbox(struct demi_ctx *ctx);

/* The context's backend with these @ops, made (zeroed, @size bytes) on first use. */
int demi_ctx_backend(struct demi_ctx *ctx, const struct demi_backend_ops *ops, size_t size, struct demi_backend **out);

/* Wake @ctx if it sleeps. After a full barrier that follows the publishing store. */
void demi_ctx_wake(struct demi_ctx *ctx);

/* Have @fd (with EPOLLIN or the given @events) end the context's sleep. -errno. */
int demi_ctx_wake_add(struct demi_ctx *ctx, int fd, uint32_t events);
void demi_ctx_wake_del(struct demi_ctx *ctx, int fd);

/* One round: inbox, timers that are due, every backend. */
void demi_ctx_poll(struct demi_ctx *ctx);
void demi_ctx_flush(struct demi_ctx *ctx);

static inline void demi_ctx_want_flush(struct demi_ctx *ctx)
{
	ctx->poll_in |= DEMI_FLUSH_WANTED;
}

static inline bool demi_ctx_flush_wanted(const struct demi_ctx *ctx)
{
	return ctx->poll_in < -1;
}

/* This wait polls. Before it flushes: that may want another flush. */
static inline void demi_ctx_turn_restart(struct demi_ctx *ctx)
{
	ctx->poll_in = (demi_ctx_flush_wanted(ctx) ? DEMI_FLUSH_WANTED : 0) | (DEMI_POLL_EVERY - 1);
}

/* The last of the waits has been counted: demi_wait_turn() comes next. */
static inline bool demi_ctx_turn_due(const struct demi_ctx *ctx)
{
	return (ctx->poll_in & ~DEMI_FLUSH_WANTED) == ~DEMI_FLUSH_WANTED;
}

/* Queued bytes of pushes, charged at buffer size; -ENOBUFS over the limit (push_limit). */
static inline int demi_ctx_charge(struct demi_ctx *ctx, size_t bytes)
{
	size_t sum = ctx->push_bytes + bytes; /* of memory: it does not overflow */

	if (sum > demi_config.push_limit_bytes)
		return -ENOBUFS;
	ctx->push_bytes = sum;
	return 0;
}
static inline void demi_ctx_uncharge(struct demi_ctx *ctx, size_t bytes)
{
	ctx->push_bytes -= bytes;
}

/* Make, and end with a drain of up to @linger_ms, a context; for the calling thread. */
int demi_ctx_create(const struct demi_args *args);
void demi_ctx_end(struct demi_ctx *ctx, unsigned int linger_ms);

/*
 * Close all queues and drive the backends until what was pushed has gone, at most @linger_ms; what is
 * left after that is aborted.
 */
void demi_ctx_drain(struct demi_ctx *ctx, unsigned int linger_ms);
/* Abort all queues. Also where nothing is whole (core/process.c). */
void demi_ctx_abort(struct demi_ctx *ctx);
/* A backend has something to end that a drain waits for. */
bool demi_ctx_busy(const struct demi_ctx *ctx);

/* Tell the counters to demi_args.callback. The gate is shut: it is kept out. */
void demi_ctx_report(struct demi_ctx *ctx);

/* Sleep until a wake fd is readable, a timer is due or @deadline_ns; not at all if something completes meanwhile. */
void demi_ctx_sleep(struct demi_ctx *ctx, uint64_t deadline_ns);

/* The event fd may be closed afterwards: whoever saw the context asleep has written it. */
void demi_ctx_await_writes(struct demi_ctx *ctx);

/* demi_wait_fd(), demi_wait_arm() and its end. */
int demi_ctx_need_timer_fd(struct demi_ctx *ctx);
int demi_ctx_arm(struct demi_ctx *ctx);
void demi_ctx_disarm(struct demi_ctx *ctx);

/* A call ends while the wait fd is armed: it is readable if the call has completed or put off something. */
void demi_ctx_leave_armed(struct demi_ctx *ctx);

/* Fork and exit handlers, once per process; the context whose thread this is. */
int demi_process_init(void);
int demi_process_own_ctx(struct demi_ctx *ctx);

/* CLOCK_MONOTONIC in ns. Never on the path of a push or a pop. */
uint64_t demi_now_ns(void);

#endif /* DEMI_CORE_CTX_H */
