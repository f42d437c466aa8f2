/* SPDX-License-Identifier: MIT */
/* Sockets: their life, and what streams and datagram sockets have in common. */
#include "uring/sock.h"

#include "core/config.h"
#include "core/log.h"
#include "heap/heap.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAXMSG (16U << 20)

struct demi_sock_linger {
	struct demi_timer timer;
	struct demi_sock *s;
};

/* ---- what has arrived ---- */

void demi_rx_set(struct demi_rx *rx, char *data, uint32_t len, uint32_t charge)
{
	memset(&rx->addr, 0, sizeof(rx->addr));
	rx->next = NULL;
	rx->data = data;
	rx->len = len;
	rx->charge = charge;
}

struct demi_rx *demi_rx_copy(struct demi_sock *s, const void *data, uint32_t len, uint32_t addrlen)
{
	uint32_t head = (uint32_t)(DEMI_RX_HEAD + ((addrlen + 15) & ~15U));
	struct demi_rx *rx = demi_heap_alloc(head + (len ? len : 1)); /* data lies inside, even of no bytes */

	if (!rx)
		return NULL;
	demi_rx_set(rx, (char *)rx + head, len, head + len);
	if (len)
		memcpy(rx->data, data, len);
	s->q.ctx->count.copied_bytes += len;
	return rx;
}

void demi_sock_rx_add(struct demi_sock *s, struct demi_rx *rx)
{
	rx->next = NULL;
	if (s->rx_head)
		s->rx_tail->next = rx;
	else
		s->rx_head = rx;
	s->rx_tail = rx;
	s->rx_bytes += rx->charge;
}

struct demi_rx *demi_sock_rx_take(struct demi_sock *s)
{
	struct demi_rx *rx = s->rx_head;

	s->rx_head = rx->next;
	s->rx_bytes -= rx->charge;
	return rx;
}

static void rx_free(struct demi_sock *s)
{
	while (s->rx_head)
		demi_heap_free(demi_sock_rx_take(s));
}

/* ---- pending pops ---- */

void demi_sock_op_add(struct demi_sock *s, struct demi_op *op)
{
	struct demi_uring *u = demi_sock_uring(s);

	if (!s->ops.head && s->state == DEMI_SOCK_OPEN) {
		u->poppers++;
		u->popper = s;
	}
	demi_op_list_add(&s->ops, op);
}

void demi_sock_op_del(struct demi_sock *s, struct demi_op *op)
{
	struct demi_uring *u = demi_sock_uring(s);

	demi_op_list_del(&s->ops, op);
	if (!s->ops.head && s->state == DEMI_SOCK_OPEN) {
		u->poppers--;
		if (u->popper == s)
			u->popper = NULL;
	}
}

static void fail_ops(struct demi_sock *s, int err)
{
	struct demi_op *op;

	while ((op = s->ops.head)) {
		demi_sock_op_del(s, op);
		demi_op_fail(op, err);
	}
}

static bool has_input(const struct demi_sock *s)
{
	return s->rx_head || demi_framed_ready(s);
}

static void answer(struct demi_sock *s, struct demi_op *op)
{
	size_t max_bytes = op->priv.u64[0];

	if (s->framed)
		demi_framed_answer(s, op, max_bytes);
	else if (s->stream)
		demi_stream_answer(s, op, max_bytes);
	else
		demi_dgram_answer(s, op, max_bytes);
}

void demi_sock_rx_continue(struct demi_sock *s)
{
	if (s->armed || !s->rx_wanted || s->rx_end || s->q.closed || demi_sock_rx_full(s))
		return;
	/* half of it must be read first, or a slow reader would cost a stop and a start per chunk */
	if (s->rx_bytes > s->readahead / 2)
		return;
	demi_sock_uring(s)->engine->recv_start(s);
}

void demi_sock_deliver(struct demi_sock *s)
{
	struct demi_op *op;

	while (has_input(s) && (op = s->ops.head)) {
		demi_sock_op_del(s, op);
		answer(s, op);
	}
	if (s->rx_err && s->ops.head && !has_input(s)) {
		op = s->ops.head;
		if (s->rx_end) {
			fail_ops(s, s->rx_err);
		} else {
			demi_sock_op_del(s, op);
			demi_op_fail(op, s->rx_err);
		}
		s->rx_err = 0;
	}
	while (s->rx_end && (op = s->ops.head)) {
		demi_sock_op_del(s, op);
		demi_op_complete_eof(op);
	}
	if (demi_sock_rx_full(s)) {
		if (s->armed && !s->stopping)
			demi_sock_uring(s)->engine->recv_stop(s);
	} else {
		demi_sock_rx_continue(s);
	}
}

static void drop_tx(struct demi_sock *s, int err)
{
	if (s->stream)
		demi_stream_drop(s, err);
	else
		demi_dgram_drop(s, err);
}

void demi_sock_input_end(struct demi_sock *s, int err)
{
	if (s->rx_end || s->q.closed)
		return;
	s->rx_end = true;
	if (!err && demi_framed_cut_off(s))
		err = EBADMSG;
	if (err) {
		s->rx_err = (uint16_t)err;
		s->wr_dead = true;
		drop_tx(s, err);
	}
	if (err == EBADMSG || err == ENOMEM) {
		shutdown(s->fd, SHUT_RDWR);
		if (s->armed && !s->stopping)
			demi_sock_uring(s)->engine->recv_stop(s);
	}
	demi_sock_deliver(s);
}

static int sock_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (s->state != DEMI_SOCK_OPEN)
		return -ENOTCONN;
	op->priv.u64[0] = max_bytes;
	if (has_input(s) && !s->ops.head) {
		answer(s, op);
		demi_sock_rx_continue(s);
		return 0;
	}
	if (!s->stream && s->tx_err) { /* of a datagram that was taken and could not be sent */
		s->rx_err = s->tx_err;
		s->tx_err = 0;
	}
	s->rx_wanted = true;
	demi_sock_op_add(s, op);
	if (s->rx_end || s->rx_err || !s->armed)
		demi_sock_deliver(s);
	return 0;
}

/* ---- sending ---- */

void demi_sock_want_tx(struct demi_sock *s)
{
	struct demi_uring *u = demi_sock_uring(s);

	if (!s->tx_link.next)
		demi_link_add(&u->tx, &s->tx_link);
	demi_uring_want_flush(u);
}

void demi_sock_writable(struct demi_sock *s)
{
	s->tx_blocked = false;
	if (s->tx)
		demi_sock_want_tx(s);
}

void demi_sock_flush(struct demi_sock *s)
{
	if (s->stream)
		demi_stream_flush(s);
	else
		demi_dgram_flush(s);
}

static int sock_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		     socklen_t tolen)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (s->stream)
		return demi_stream_push(s, op, sga);
	return demi_dgram_push(s, op, sga, to, tolen);
}

/* ---- the end ---- */

static void sock_release(struct demi_sock *s)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct linger off = { 0 };

	if (s->linger) {
		demi_timer_cancel(&s->q.ctx->timers, &s->linger->timer);
		free(s->linger);
		s->linger = NULL;
	}
	if (s->linger_s) /* or close() would block */
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(s->fd);
	s->fd = -1;
	if (s->state == DEMI_SOCK_CONNECTING)
		demi_sock_conn_free(s);
	demi_link_del(&s->all);
	demi_link_del(&s->tx_link);
	demi_link_del(&s->todo);
	u->draining--;
	demi_queue_put(&s->q);
}

void demi_sock_put_request(struct demi_sock *s)
{
	if (--s->inflight == 0 && s->finished)
		sock_release(s);
}

/* Nothing is left to be sent. May release @s. */
static void finish(struct demi_sock *s)
{
	if (s->finished)
		return;
	s->finished = true;
	s->inflight++;
	demi_sock_uring(s)->engine->detach(s);
	demi_sock_put_request(s);
}

void demi_sock_tx_empty(struct demi_sock *s)
{
	if (s->q.closed) {
		finish(s);
		return;
	}
	if (s->shut_wr && !s->wr_dead) {
		s->wr_dead = true;
		shutdown(s->fd, SHUT_WR);
	}
}

static void reset_peer(struct demi_sock *s)
{
	struct linger now = { .l_onoff = 1 };

	if (s->state != DEMI_SOCK_LISTEN && s->domain != AF_UNIX)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	s->linger_s = 0;
}

/* Drop what is queued and be done. May release @s. */
static void drop_all(struct demi_sock *s, int err)
{
	reset_peer(s);
	s->inflight++; /* stays until here */
	drop_tx(s, err);
	finish(s);
	demi_sock_put_request(s);
}

static void linger_over(struct demi_timer *t)
{
	struct demi_sock *s = demi_container(t, struct demi_sock_linger, timer)->s;

	demi_info("close: linger time is over, reset");
	drop_all(s, ECANCELED);
}

static int linger_start(struct demi_sock *s)
{
	s->linger = calloc(1, sizeof(*s->linger));
	if (!s->linger)
		return -ENOMEM;
	s->linger->s = s;
	s->linger->timer.fn = linger_over;
	return demi_timer_set(&s->q.ctx->timers, &s->linger->timer, demi_now_ns() + (uint64_t)s->linger_s * 1000000000);
}

static void close_backlog(struct demi_sock *s)
{
	struct demi_backlog *b = s->backlog;

	for (uint32_t i = 0; b && i < b->count; i++)
		close(b->fds[b->head + i]);
	free(b);
	s->backlog = NULL;
}

static void sock_close(struct demi_queue *q)
{
	struct demi_sock *s = DEMI_SOCK(q);
	struct demi_uring *u = demi_sock_uring(s);

	u->draining++;
	fail_ops(s, ECANCELED);
	if (s->state == DEMI_SOCK_CONNECTING && s->conn->op) {
		demi_op_fail(s->conn->op, ECANCELED);
		s->conn->op = NULL;
	}
	if (s->state == DEMI_SOCK_LISTEN)
		close_backlog(s);
	rx_free(s);
	demi_framed_free(s);
	if (s->live) {
		s->live = false;
		q->ctx->live_conns--;
	}
	if (s->linger_reset || q->reset) {
		drop_all(s, ECANCELED);
		return;
	}
	if (!s->tx) {
		finish(s);
		return;
	}
	if (s->armed && !s->stopping)
		u->engine->recv_stop(s);
	if (s->linger_s && linger_start(s)) {
		drop_all(s, ECANCELED);
		return;
	}
	/* now: it may be the application's last call for a while */
	demi_link_del(&s->tx_link);
	demi_sock_flush(s);
	u->engine->submit(u);
}

/* Only a system call and only if data would be lost silently: this may run inside a signal handler. */
static void sock_abort(struct demi_queue *q)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (s->tx && s->stream && s->fd >= 0)
		reset_peer(s);
}

static void sock_destroy(struct demi_queue *q)
{
	struct demi_sock *s = DEMI_SOCK(q);

	free(s);
}

void demi_sock_end(struct demi_sock *s)
{
	if (!s->q.closed) {
		s->q.reset = true;
		demi_queue_close(&s->q);
	} else {
		drop_all(s, ECANCELED);
	}
}

void demi_sock_abandon(struct demi_sock *s)
{
	sock_release(s);
}

static int sock_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_sock *s = DEMI_SOCK(q);

	switch (op->opcode) {
	case DEMI_OPC_POP:
	case DEMI_OPC_ACCEPT:
		demi_sock_op_del(s, op);
		break;
	case DEMI_OPC_CONNECT:
		demi_sock_connect_cancel(s);
		break;
	default:
		return -EALREADY;
	}
	demi_op_fail(op, ECANCELED);
	return 0;
}

/* ---- options and names ---- */

static int set_linger(struct demi_sock *s, const void *val, socklen_t len)
{
	struct linger l;

	if (len < sizeof(l))
		return -EINVAL;
	memcpy(&l, val, sizeof(l));
	if (setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)))
		return -errno;
	s->linger_reset = l.l_onoff && !l.l_linger;
	s->linger_s = !l.l_onoff ? 0 : l.l_linger > UINT16_MAX ? UINT16_MAX : (uint16_t)l.l_linger;
	return 0;
}

static int set_own(struct demi_sock *s, int name, const void *val, socklen_t len)
{
	int v;

	if (len != sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	switch (name) {
	case DEMI_SO_FRAMED:
		return s->stream ? demi_framed_set(s, v) : -ENOPROTOOPT;
	case DEMI_SO_MAXMSG:
		return s->stream ? demi_framed_set_max(s, v) : -ENOPROTOOPT;
	case DEMI_SO_MAXSEGS:
		if (v < 1 || v > DEMI_SGARRAY_MAXSIZE)
			return -EINVAL;
		s->maxsegs = (uint8_t)v;
		return 0;
	case DEMI_SO_READAHEAD:
		if (v < 1)
			return -EINVAL;
		s->readahead = (uint32_t)v;
		if (s->state == DEMI_SOCK_OPEN)
			demi_sock_deliver(s);
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int sock_setsockopt(struct demi_queue *q, int level, int name, const void *val, socklen_t len)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (level == DEMI_SOL)
		return set_own(s, name, val, len);
	if (level == SOL_SOCKET && name == SO_LINGER)
		return set_linger(s, val, len);
	return setsockopt(s->fd, level, name, val, len) ? -errno : 0;
}

static int sock_getsockopt(struct demi_queue *q, int level, int name, void *val, socklen_t *len)
{
	struct demi_sock *s = DEMI_SOCK(q);
	int v;

	if (level != DEMI_SOL)
		return getsockopt(s->fd, level, name, val, len) ? -errno : 0;
	switch (name) {
	case DEMI_SO_FRAMED:
		v = s->framed != NULL;
		break;
	case DEMI_SO_MAXMSG:
		v = (int)s->maxmsg;
		break;
	case DEMI_SO_MAXSEGS:
		v = s->maxsegs;
		break;
	case DEMI_SO_READAHEAD:
		v = (int)s->readahead;
		break;
	default:
		return -ENOPROTOOPT;
	}
	if (*len < sizeof(v))
		return -EINVAL;
	memcpy(val, &v, sizeof(v));
	*len = sizeof(v);
	return 0;
}

static int sock_getsockname(struct demi_queue *q, struct sockaddr *addr, socklen_t *len)
{
	return getsockname(DEMI_SOCK(q)->fd, addr, len) ? -errno : 0;
}

static int sock_getpeername(struct demi_queue *q, struct sockaddr *addr, socklen_t *len)
{
	return getpeername(DEMI_SOCK(q)->fd, addr, len) ? -errno : 0;
}

static int sock_bind(struct demi_queue *q, const struct sockaddr *addr, socklen_t len)
{
	return bind(DEMI_SOCK(q)->fd, addr, len) ? -errno : 0;
}

static int sock_shutdown(struct demi_queue *q, int how)
{
	struct demi_sock *s = DEMI_SOCK(q);

	if (s->state != DEMI_SOCK_OPEN || (!s->stream && !s->record && !s->has_peer))
		return -ENOTCONN;
	if (how != SHUT_RD) {
		s->shut_wr = true;
		if (!s->tx)
			demi_sock_tx_empty(s);
	}
	if (how != SHUT_WR && !s->rx_end) {
		shutdown(s->fd, SHUT_RD);
		if (s->armed && !s->stopping)
			demi_sock_uring(s)->engine->recv_stop(s);
		demi_sock_input_end(s, 0);
	}
	return 0;
}

/* ---- making ---- */

static struct demi_queue_ops sock_ops = {
	.name = "socket",
	.push = sock_push,
	.pop = sock_pop,
	.accept = demi_sock_accept,
	.connect = demi_sock_connect,
	.cancel = sock_cancel,
	.bind = sock_bind,
	.listen = demi_sock_listen,
	.shutdown = sock_shutdown,
	.setsockopt = sock_setsockopt,
	.getsockopt = sock_getsockopt,
	.getsockname = sock_getsockname,
	.getpeername = sock_getpeername,
	.close = sock_close,
	.abort = sock_abort,
	.destroy = sock_destroy,
};

__attribute__((constructor)) static void sock_ops_init(void)
{
	demi_queue_ops_fill(&sock_ops);
}

int demi_sock_new(struct demi_uring *u, int fd, int domain, int type, struct demi_sock **out)
{
	struct demi_sock *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->domain = (uint8_t)domain;
	s->stream = type == SOCK_STREAM;
	s->record = type == SOCK_SEQPACKET;
	s->state = type == SOCK_DGRAM ? DEMI_SOCK_OPEN : DEMI_SOCK_IDLE;
	s->maxsegs = 1;
	s->maxmsg = MAXMSG;
	s->readahead = demi_config.readahead_bytes;
	err = demi_queue_install(u->b.ctx, &s->q, &sock_ops);
	if (err)
		goto err_free;
	err = u->engine->attach(s);
	if (err)
		goto err_install;
	demi_link_add(&u->socks, &s->all);
	*out = s;
	return 0;

err_install:
	demi_queue_put(&s->q);
	return err;
err_free:
	free(s);
	return err;
}

/* Defaults of new TCP sockets; an option that the kernel refuses is not worth failing for. */
static void tcp_defaults(struct demi_sock *s)
{
	const struct demi_config *c = &demi_config;
	struct linger l = { .l_onoff = 1, .l_linger = (int)c->tcp_linger_s };
	int one = 1, v;

	if (c->tcp_nodelay)
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->tcp_keepalive) {
		setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		v = (int)((c->tcp_keepalive_ms + 999) / 1000);
		if (v)
			setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof(v));
		v = (int)((c->tcp_keepalive_interval_ms + 999) / 1000);
		if (v)
			setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPINTVL, &v, sizeof(v));
	}
	if (c->tcp_linger)
		set_linger(s, &l, sizeof(l));
}

int demi_sock_create(struct demi_backend *b, int domain, int type, int protocol, struct demi_queue **q_out)
{
	struct demi_uring *u = (struct demi_uring *)b;
	struct demi_sock *s;
	int fd, err;

	if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
		return -EAFNOSUPPORT;
	if (type != SOCK_STREAM && type != SOCK_DGRAM && (type != SOCK_SEQPACKET || domain != AF_UNIX))
		return -ESOCKTNOSUPPORT;
	/* a blocking fd: with O_NONBLOCK io_uring would answer EAGAIN instead of waiting */
	fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	err = demi_sock_new(u, fd, domain, type, &s);
	if (err) {
		close(fd);
		return err;
	}
	if (s->stream && domain != AF_UNIX)
		tcp_defaults(s);
	*q_out = &s->q;
	return 0;
}
