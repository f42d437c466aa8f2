/* SPDX-License-Identifier: MIT */
/* How sockets get their peers: listen, accept, connect. */
#include "uring/sock.h"

#include "core/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIX_RETRY_NS 1000000

/* ---- accepting ---- */

int demi_sock_listen(struct demi_queue *q, int backlog)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (!s->stream && !s->record)
		return -EOPNOTSUPP;
	if (s->state != DEMI_SOCK_IDLE && s->state != DEMI_SOCK_LISTEN)
		return -EINVAL;
	if (listen(s->fd, backlog))
		return -errno;
	s->state = DEMI_SOCK_LISTEN;
	return 0;
}

static void opened(struct demi_sock *s)
{
	s->state = DEMI_SOCK_OPEN;
	s->live = true;
	s->q.ctx->live_conns++;
}

/* What a listening socket was told holds for its connections. */
static int inherit(struct demi_sock *s, const struct demi_sock *parent)
{
	s->maxsegs = parent->maxsegs;
	s->maxmsg = parent->maxmsg;
	s->readahead = parent->readahead;
	s->linger_reset = parent->linger_reset;
	s->linger_s = parent->linger_s;
	return parent->framed ? demi_framed_set(s, 1) : 0;
}

static void answer_accept(struct demi_sock *s, struct demi_op *op, int fd)
{
	int type = s->stream ? SOCK_STREAM : SOCK_SEQPACKET;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct demi_sock *child;
	int err;

	err = demi_sock_new(demi_sock_uring(s), fd, s->domain, type, &child);
	if (err) {
		close(fd);
		demi_op_fail(op, -err);
		return;
	}
	err = inherit(child, s);
	if (err) {
		demi_queue_close(&child->q);
		demi_op_fail(op, -err);
		return;
	}
	if (getpeername(fd, (struct sockaddr *)&ss, &len)) {
		/* gone already: the first pop or push will say so */
		ss.ss_family = s->domain;
		len = sizeof(ss.ss_family);
	}
	opened(child);
	demi_op_set_accepted(op, child->q.qd, (struct sockaddr *)&ss, len);
	demi_op_ready(op);
}

static int backlog_add(struct demi_sock *s, int fd)
{
	struct demi_backlog *b = s->backlog;
	uint32_t size = b ? b->size * 2 : DEMI_ACCEPT_AHEAD;

	if (b && b->head) {
		memmove(b->fds, b->fds + b->head, b->count * sizeof(*b->fds));
		b->head = 0;
	}
	if (!b || b->count == b->size) {
		b = realloc(b, sizeof(*b) + size * sizeof(*b->fds));
		if (!b)
			return -ENOMEM;
		if (!s->backlog)
			b->head = b->count = 0;
		b->size = size;
		s->backlog = b;
	}
	b->fds[b->count++] = fd;
	return 0;
}

void demi_sock_accepted(struct demi_sock *s, int fd)
{
	struct demi_op *op = s->ops.head;

	if (s->q.closed) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0 && op) {
		demi_sock_op_del(s, op);
		answer_accept(s, op, fd);
	} else if (fd >= 0) {
		if (backlog_add(s, fd)) {
			close(fd);
			s->q.ctx->count.dropped++;
		}
	} else if (op && fd != -ECONNABORTED && fd != -EINTR && fd != -EAGAIN) {
		/* e.g. no descriptors: one accept is told, the next one tries again */
		demi_sock_op_del(s, op);
		demi_op_fail(op, -fd);
	}
	if (s->armed && !s->stopping && demi_sock_rx_full(s))
		demi_sock_uring(s)->engine->recv_stop(s);
}

int demi_sock_accept(struct demi_queue *q, struct demi_op *op)
{
	struct demi_sock *s = DEMI_SOCK(q);
	struct demi_backlog *b;

	if (s->state != DEMI_SOCK_LISTEN)
		return -EINVAL;
	s->rx_wanted = true;
	b = s->backlog;
	if (b && b->count) {
		b->count--;
		answer_accept(s, op, b->fds[b->head++]);
	} else {
		demi_sock_op_add(s, op);
	}
	demi_sock_rx_continue(s);
	return 0;
}

/* ---- connecting ---- */

static void unix_connect(struct demi_sock *s);

void demi_sock_conn_free(struct demi_sock *s)
{
	if (!s->conn)
		return;
	demi_timer_cancel(&s->q.ctx->timers, &s->conn->retry);
	free(s->conn);
	s->conn = NULL;
}

/* Give up what a cancelled or failed connect began, so that another can begin. */
static void disconnect(struct demi_sock *s)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (s->domain != AF_UNIX && connect(s->fd, &none, sizeof(none)))
		demi_debug("disconnect: %m");
}

void demi_sock_connected(struct demi_sock *s, int err)
{
	struct demi_op *op = s->conn->op;

	demi_sock_conn_free(s);
	s->state = DEMI_SOCK_IDLE;
	if (s->q.closed)
		return;
	if (!op || err) {
		disconnect(s);
		if (op)
			demi_op_fail(op, err);
		return;
	}
	opened(s);
	demi_op_complete(op);
}

static void unix_retry(struct demi_timer *t)
{
	unix_connect(demi_container(t, struct demi_sock_connect, retry)->s);
}

/* Does not wait for the peer, unless its backlog is full; asking the engine would not make it wait either. */
static void unix_connect(struct demi_sock *s)
{
	struct demi_sock_connect *c = s->conn;
	int flags = fcntl(s->fd, F_GETFL), err;

	fcntl(s->fd, F_SETFL, flags | O_NONBLOCK);
	err = connect(s->fd, (struct sockaddr *)&c->addr, c->len) ? errno : 0;
	fcntl(s->fd, F_SETFL, flags);
	if (err == EAGAIN) {
		err = -demi_timer_set(&s->q.ctx->timers, &c->retry, demi_now_ns() + UNIX_RETRY_NS);
		if (!err)
			return;
	}
	demi_sock_connected(s, err);
}

static int dgram_connect(struct demi_sock *s, struct demi_op *op, const struct sockaddr *addr, socklen_t len)
{
	if (connect(s->fd, addr, len)) {
		demi_op_fail(op, errno);
		return 0;
	}
	s->has_peer = addr->sa_family != AF_UNSPEC;
	demi_op_complete(op);
	return 0;
}

static int start(struct demi_sock *s)
{
	struct demi_sock_connect *c = s->conn;
	int err;

	err = demi_sock_uring(s)->engine->connect(s, (struct sockaddr *)&c->addr, c->len);
	if (err != -EINPROGRESS)
		demi_sock_connected(s, -err);
	return 0;
}

int demi_sock_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (addr->sa_family != s->domain && !(addr->sa_family == AF_UNSPEC && !s->stream && !s->record))
		return -EAFNOSUPPORT;
	if (!s->stream && !s->record)
		return dgram_connect(s, op, addr, len);
	switch (s->state) {
	case DEMI_SOCK_OPEN:
		return -EISCONN;
	case DEMI_SOCK_CONNECTING:
		return -EALREADY;
	case DEMI_SOCK_LISTEN:
		return -EINVAL;
	}
	if (len > sizeof(s->conn->addr))
		return -EINVAL;
	s->conn = calloc(1, sizeof(*s->conn));
	if (!s->conn)
		return -ENOMEM;
	s->conn->s = s;
	s->conn->op = op;
	s->conn->retry.fn = unix_retry;
	s->conn->len = len;
	memcpy(&s->conn->addr, addr, len);
	s->state = DEMI_SOCK_CONNECTING;
	if (s->domain != AF_UNIX)
		return start(s);
	unix_connect(s);
	return 0;
}

/* The operation is the caller's to fail. A request that is in flight comes back to demi_sock_connected(). */
void demi_sock_connect_cancel(struct demi_sock *s)
{
	s->conn->op = NULL;
	if (s->domain == AF_UNIX)
		demi_sock_connected(s, 0);
	else
		demi_sock_uring(s)->engine->connect_stop(s);
}
