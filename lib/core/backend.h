/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_BACKEND_H
#define DEMI_CORE_BACKEND_H

/*
 * A backend drives one kind of device for one context: it is polled, flushed and put to sleep by the
 * waits. The registry (registry.c) has one line per backend.
 *
 * Sleeping, on every side that another thread or process can wake (design, statement 4):
 *
 *	sleeper				publisher
 *	store sleeping = 1		publish the element
 *	full barrier			full barrier
 *	poll everything once more	read sleeping; if set: make the wake fd readable
 *	sleep if nothing was found
 *
 * Whoever comes second sees the other: no wake-up is lost.
 */

#include <demi/types.h>
#include <stdbool.h>
#include <stdint.h>

struct demi_ctx;
struct demi_queue;
struct demi_backend;

struct demi_backend_ops {
	const char *name;

	/*
	 * Look for completions and complete their operations. Submits what waits to be submitted if
	 * that costs nothing extra. Called in turn with the other backends, also when results are ready.
	 */
	void (*poll)(struct demi_backend *b);

	/* Submit what push, pop … have put off. Called when demi_ctx_want_flush() was called and a wait hands out
	 * the last ready result or is about to spin or sleep. NULL: nothing is ever put off. */
	void (*flush)(struct demi_backend *b);

	/*
	 * The context is about to sleep on its epoll fd: whatever happens from now on must make an fd
	 * readable that was added with demi_ctx_wake_add(). A poll follows before the sleep. NULL: always so.
	 */
	void (*arm)(struct demi_backend *b);

	/* The sleep is over: empty the fds. NULL: nothing to do. */
	void (*disarm)(struct demi_backend *b);

	/* Anything that is still draining after close? For the end of a context. NULL: never. */
	bool (*busy)(struct demi_backend *b);

	/*
	 * The process or the context ends with all queues aborted, maybe in a signal handler that has interrupted this
	 * backend anywhere: no lock, no allocation, milliseconds at most. NULL: nothing is left to be said.
	 */
	void (*last)(struct demi_backend *b);

	/* The context ends, its queues are gone or are to be abandoned. Frees @b. */
	void (*destroy)(struct demi_backend *b);

	/* Makers, by the registry: which backend a new queue goes to. -EOPNOTSUPP if missing. */
	int (*socket)(struct demi_backend *b, int domain, int type, int protocol, struct demi_queue **q_out);
	int (*open)(struct demi_backend *b, const char *path, int flags, unsigned int mode, struct demi_queue **q_out);

	/* The name of the backend's own counter number @i, and its value; NULL: there are @i. NULL entry: none. */
	const char *(*counter)(struct demi_backend *b, unsigned int i, uint64_t *value);
};

/* The head of every backend's per-context state. */
struct demi_backend {
	void (*poll)(struct demi_backend *b); /* ops->poll or better: spinning does little but call this */
	const struct demi_backend_ops *ops;
	struct demi_ctx *ctx;
};

/* How a context gets its backends; -errno. demi_config says which. */
int demi_uring_create(struct demi_ctx *ctx, struct demi_backend **out);

/* What demi_open("nvme:@name") opens; whatever the context's backend is. */
int demi_nvme_open(struct demi_ctx *ctx, const char *name, int flags, struct demi_queue **q_out);

#endif /* DEMI_CORE_BACKEND_H */
