/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_QUEUE_H
#define DEMI_CORE_QUEUE_H

/*
 * Queue descriptors and the one table per queue kind.
 *
 * Lifetime: a queue starts with one hold, its backend's. Every unconsumed token is another. demi_close()
 * calls ops->close once, after which no other entry of the table is called by the API; the backend
 * gives up its hold with demi_queue_put() when nothing of it is under way any more (at once, or
 * after a drain). With the last hold the descriptor becomes free and ops->destroy is called.
 */

#include <demi/types.h>
#include <stdbool.h>
#include <sys/types.h>

struct demi_ctx;
struct demi_op;
struct demi_queue;

/*
 * All return 0 or a negative errno. Those that are given an operation own it when they return 0
 * (they may have completed it already); when they return an error the core takes it back.
 * Entries that are NULL are filled in by demi_queue_ops_fill() with functions that answer
 * -EOPNOTSUPP, so that no caller tests for NULL.
 */
struct demi_queue_ops {
	const char *name;

	/* @to is NULL for demi_push(). @sga was checked: 1 to DEMI_SGARRAY_MAXSIZE segments. */
	int (*push)(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		    socklen_t tolen);
	/* @max_bytes is SIZE_MAX for demi_pop(). */
	int (*pop)(struct demi_queue *q, struct demi_op *op, size_t max_bytes);
	/*
	 * The whole of demi_push(), demi_pushto() and demi_pop() behind the look for the queue: the arguments are as
	 * the application gave them, the caller is inside and leaves, the return value is the public one. For queues
	 * that can often do without an operation (core/instant.h), or make one faster; everything else, and all that
	 * they do not expect, is for demi_push_op() and demi_pop_op(), which missing entries stand for.
	 */
	int (*push_now)(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga);
	int (*pushto_now)(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga,
			  const struct sockaddr *to, socklen_t tolen);
	int (*pop_now)(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes);
	int (*accept)(struct demi_queue *q, struct demi_op *op);
	int (*connect)(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len);

	/* 0: @op will complete (or has completed) with ECANCELED; -EALREADY. Only for PENDING ones. */
	int (*cancel)(struct demi_queue *q, struct demi_op *op);

	int (*bind)(struct demi_queue *q, const struct sockaddr *addr, socklen_t len);
	int (*listen)(struct demi_queue *q, int backlog);
	int (*shutdown)(struct demi_queue *q, int how);
	int (*setsockopt)(struct demi_queue *q, int level, int name, const void *val, socklen_t len);
	int (*getsockopt)(struct demi_queue *q, int level, int name, void *val, socklen_t *len);
	int (*getsockname)(struct demi_queue *q, struct sockaddr *addr, socklen_t *len);
	int (*getpeername)(struct demi_queue *q, struct sockaddr *addr, socklen_t *len);
	int (*lseek)(struct demi_queue *q, off_t off, int whence, off_t *out);
	int (*truncate)(struct demi_queue *q, off_t len);
	int (*export_fd)(struct demi_queue *q, int *fd_out);

	/*
	 * The program ends without draining: see to it that the peer learns of it (a reset, not an orderly
	 * end) if data is left behind. Async-signal-safe, takes no lock; may be called inside any other entry.
	 */
	void (*abort)(struct demi_queue *q);

	/* Never fail. close: fail what waits for a peer with ECANCELED, let pushes drain. */
	void (*close)(struct demi_queue *q);
	void (*destroy)(struct demi_queue *q);
};

/* The head of every queue; a backend's own structure begins with it. */
struct demi_queue {
	const struct demi_queue_ops *ops;
	struct demi_ctx *ctx;
	union {
		struct {
			uint32_t opcode; /* 0: a place for a result's */
			int32_t qd;
		};
		uint64_t head; /* how a demi_qresult_t begins, but for the opcode */
	};
	uint32_t holds;
	bool closed;
	bool reset; /* do not drain: the program ends in a signal handler, or linger is 0 */
};

/* Tags of a slot: a closed queue that still has holds is not open; a free slot is neither. */
#define DEMI_QUEUE_NOT_OPEN 1
#define DEMI_QUEUE_FREE 2

struct demi_queue_table {
	uintptr_t *slots; /* by descriptor: a queue, or the next free slot; tagged */
	struct demi_queue **usable; /* by descriptor: the open queue, or @none; in the memory of slots */
	uint32_t size; /* slots that exist; slot 0 is never used */
	uint32_t free; /* head of the free list, 0 for none */
	uint32_t open; /* queues that exist, closed ones with holds included */
	struct demi_queue none; /* stands for what is not an open queue: push_now and its like answer EBADF */
};

void demi_queue_table_init(struct demi_queue_table *t, struct demi_ctx *ctx);

/* A push (@to NULL: demi_push()) and a pop by an operation: ops->push, ops->pop. See there: push_now. */
int demi_push_op(demi_qtoken_t *qt_out, struct demi_queue *q, const demi_sgarray_t *sga, const struct sockaddr *to,
		 socklen_t tolen);
int demi_pop_op(demi_qtoken_t *qt_out, struct demi_queue *q, size_t max_bytes);

/* Give every missing entry its "not supported" function. Called once for each table. */
void demi_queue_ops_fill(struct demi_queue_ops *ops);

/* Enter @q into the context's table, with one hold. @ops has been filled. */
int demi_queue_install(struct demi_ctx *ctx, struct demi_queue *q, const struct demi_queue_ops *ops);

static inline void demi_queue_get(struct demi_queue *q)
{
	q->holds++;
}

/* The open queue of a descriptor or NULL. */
static inline struct demi_queue *demi_queue_find(const struct demi_queue_table *t, int qd)
{
	uintptr_t slot;

	if ((uint32_t)qd >= t->size)
		return NULL;
	slot = t->slots[qd];
	if (slot & DEMI_QUEUE_NOT_OPEN)
		return NULL;
	if (!slot) /* a slot is never empty: the caller's test for NULL is the one above */
		__builtin_unreachable();
	return (struct demi_queue *)slot;
}

/* The same for push_now, pushto_now and pop_now, which all that this returns has. */
static inline struct demi_queue *demi_queue_usable(struct demi_queue_table *t, int qd)
{
	return __builtin_expect((uint32_t)qd < t->size, 1) ? t->usable[(uint32_t)qd] : &t->none;
}

/* Whatever is in slot @i, closed queues included; NULL if it is free. */
static inline struct demi_queue *demi_queue_at(const struct demi_queue_table *t, uint32_t i)
{
	uintptr_t slot = t->slots[i];

	return slot & DEMI_QUEUE_FREE ? NULL : (struct demi_queue *)(slot & ~(uintptr_t)DEMI_QUEUE_NOT_OPEN);
}

void demi_queue_free(struct demi_queue *q);

static inline void demi_queue_put(struct demi_queue *q)
{
	if (--q->holds == 0)
		demi_queue_free(q);
}

/* Close @q as demi_close() does; for the API and the end of a context. */
void demi_queue_close(struct demi_queue *q);

#endif /* DEMI_CORE_QUEUE_H */
