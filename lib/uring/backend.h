/* SPDX-License-Identifier: MIT */
#ifndef DEMI_URING_BACKEND_H
#define DEMI_URING_BACKEND_H

/*
 * The backend for kernel sockets and files, and the engines that move its bytes. Sockets and files
 * keep the queues and their rules; an engine only knows how to ask the kernel. Results come back
 * through demi_ureq.done and the demi_sock_* functions of sock.h, in the context's thread, from
 * inside the engine's poll (io_uring) or the call itself (epoll, where it can be answered at once).
 */

#include "core/ctx.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct demi_engine_ops;
struct demi_sock;
struct demi_file;

/* One request that the kernel holds. @flags are those of the completion entry. */
struct demi_ureq {
	void (*done)(struct demi_ureq *r, int res, uint32_t flags);
};

#define demi_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Doubly linked list with a head, for sockets. An element that is on no list has next == NULL. */
struct demi_link {
	struct demi_link *next, *prev;
};

static inline void demi_link_init(struct demi_link *head)
{
	head->next = head->prev = head;
}

static inline bool demi_link_empty(const struct demi_link *head)
{
	return head->next == head;
}

static inline void demi_link_add(struct demi_link *head, struct demi_link *l)
{
	l->next = head;
	l->prev = head->prev;
	head->prev->next = l;
	head->prev = l;
}

static inline void demi_link_del(struct demi_link *l)
{
	if (!l->next)
		return;
	l->next->prev = l->prev;
	l->prev->next = l->next;
	l->next = l->prev = NULL;
}

struct demi_uring {
	struct demi_backend b;
	const struct demi_engine_ops *engine;
	void *priv; /* the engine's */

	struct demi_link socks; /* all of them, by demi_sock.all */
	struct demi_link files; /* all of them, by demi_file.all */
	struct demi_link tx; /* sockets with something to send that no request carries yet, by demi_sock.tx_link */
	struct demi_link file_tx; /* the same for files, by demi_file.tx_link */
	struct demi_link todo; /* the engine's: sockets to look at again in the next poll, by demi_sock.todo */
	uint32_t draining; /* closed queues that still have bytes to write */

	/*
	 * One socket with a popper is the case where latency counts, and then a plain system call is
	 * quicker than a request; many sockets are the case where batches count.
	 */
	uint32_t poppers; /* sockets with a pending pop */
	struct demi_sock *popper; /* the one that got its pop last, or NULL */
	bool direct; /* the last input came by a plain system call: answer by one */

	struct demi_stream_seg *seg_cache; /* of the usual size */
	uint32_t seg_cached;
};

static inline struct demi_uring *demi_uring_of(const struct demi_queue *q)
{
	return (struct demi_uring *)q->ctx->main_backend;
}

struct demi_engine_ops {
	const char *name;

	int (*init)(struct demi_uring *u);
	void (*exit)(struct demi_uring *u); /* nothing is in flight any more, or it is to be abandoned */
	void (*poll)(struct demi_backend *b); /* the backend's own */
	void (*submit)(struct demi_uring *u); /* what the entries below have prepared */
	void (*arm)(struct demi_uring *u);
	void (*disarm)(struct demi_uring *u);

	/* @s has its fd. */
	int (*attach)(struct demi_sock *s);

	/*
	 * Input wanted: connections of a listening socket, else data. Until recv_stop(), or until the engine clears
	 * s->armed because of an end or an error. What was under way when it is stopped is still delivered.
	 */
	void (*recv_start)(struct demi_sock *s);
	void (*recv_stop)(struct demi_sock *s);

	/*
	 * Send. Bytes sent, or -errno; -EINPROGRESS: @r->done will be called, @m and what it points to stay valid
	 * until then; -EAGAIN: demi_sock_writable() will be called.
	 */
	ssize_t (*sendmsg)(struct demi_sock *s, struct demi_ureq *r, struct msghdr *m, int flags);

	/* The same without copying, for connected sockets; @r->done is also called for the notification. NULL: no. */
	ssize_t (*send_zc)(struct demi_sock *s, struct demi_ureq *r, const void *buf, size_t len);

	/* 0, -errno, or -EINPROGRESS: demi_sock_connected() will be called. @addr stays valid until then. */
	int (*connect)(struct demi_sock *s, const struct sockaddr *addr, socklen_t len);
	void (*connect_stop)(struct demi_sock *s); /* demi_sock_connected() will be called, or has been */

	/* Give up everything on @s; s->inflight falls to 0, now or in a later poll. */
	void (*detach)(struct demi_sock *s);

	/* As sendmsg, for files: no -EAGAIN. @iov stays valid. */
	ssize_t (*readv)(struct demi_file *f, struct demi_ureq *r, const struct iovec *iov, int n, off_t off);
	ssize_t (*writev)(struct demi_file *f, struct demi_ureq *r, const struct iovec *iov, int n, off_t off);
};

extern const struct demi_engine_ops demi_engine_uring;
extern const struct demi_engine_ops demi_engine_epoll;

/* Something was put off until the next flush. */
static inline void demi_uring_want_flush(struct demi_uring *u)
{
	demi_ctx_want_flush(u->b.ctx);
}

/* Makers, called by the backend's table. */
int demi_sock_create(struct demi_backend *b, int domain, int type, int protocol, struct demi_queue **q_out);
int demi_file_open(struct demi_backend *b, const char *path, int flags, unsigned int mode, struct demi_queue **q_out);

#endif /* DEMI_URING_BACKEND_H */
