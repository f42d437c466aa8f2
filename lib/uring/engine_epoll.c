/* SPDX-License-Identifier: MIT */
/*
 * The epoll engine, for where io_uring is refused. Every socket is registered once, for edges of both
 * directions; what an edge has told and nobody wanted yet is kept in rd_ready and tx_blocked. Files block.
 */
#include "core/log.h"
#include "heap/heap.h"
#include "uring/file.h"
#include "uring/sock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 64
#define READS_PER_TURN 16 /* then it is the others' turn */
#define RETRY_NS 1000000

struct ep {
	struct demi_uring *u;
	int fd;
	struct demi_rx *stream, *dgram; /* what the next read goes into */
	struct demi_timer soon; /* there is something on u->todo */
};

#define DGRAM_NAME sizeof(struct sockaddr_storage)

static struct ep *ep_of(struct demi_uring *u)
{
	return u->priv;
}

/* Look at @s again in the next poll. */
static void again(struct demi_sock *s)
{
	if (!s->todo.next)
		demi_link_add(&demi_sock_uring(s)->todo, &s->todo);
}

/* ---- receiving ---- */

static void ended(struct demi_sock *s, int err)
{
	s->armed = false;
	demi_sock_input_end(s, err);
}

/* Each returns whether there may be more. */
static bool read_stream(struct demi_sock *s, struct ep *e)
{
	ssize_t n;

	if (!e->stream)
		e->stream = demi_heap_alloc(DEMI_RX_HEAD + DEMI_RX_STREAM_SIZE);
	if (!e->stream) {
		again(s);
		return false;
	}
	n = recv(s->fd, (char *)e->stream + DEMI_RX_HEAD, DEMI_RX_STREAM_SIZE, MSG_DONTWAIT);
	s->q.ctx->count.syscalls++;
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		s->rd_ready = false;
		return false;
	}
	if (n <= 0) {
		ended(s, n < 0 ? errno : 0);
		return false;
	}
	/* more than this will come with another edge, unless the end has been announced already */
	if (n < (ssize_t)DEMI_RX_STREAM_SIZE && !s->rd_hup)
		s->rd_ready = false;
	if (demi_stream_input(s, e->stream, (uint32_t)n, DEMI_RX_STREAM_SIZE))
		e->stream = NULL;
	return s->rd_ready;
}

static bool read_dgram(struct demi_sock *s, struct ep *e)
{
	struct iovec iov = { .iov_len = DEMI_RX_DGRAM_SIZE };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_namelen = DGRAM_NAME };
	ssize_t n;

	if (!e->dgram)
		e->dgram = demi_heap_alloc(DEMI_RX_HEAD + DGRAM_NAME + DEMI_RX_DGRAM_SIZE);
	if (!e->dgram) {
		again(s);
		return false;
	}
	m.msg_name = (char *)e->dgram + DEMI_RX_HEAD;
	iov.iov_base = (char *)m.msg_name + DGRAM_NAME;
	n = recvmsg(s->fd, &m, MSG_DONTWAIT);
	s->q.ctx->count.syscalls++;
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		s->rd_ready = false;
		return false;
	}
	if (n < 0 && !s->record) {
		demi_dgram_error(s, errno);
		return true;
	}
	if (n < 0 || (!n && s->record && s->rd_hup)) {
		ended(s, n < 0 ? errno : 0);
		return false;
	}
	if (m.msg_flags & MSG_TRUNC) {
		s->q.ctx->count.dropped++;
		return true;
	}
	if (demi_dgram_input(s, e->dgram, iov.iov_base, (uint32_t)n, DGRAM_NAME + DEMI_RX_DGRAM_SIZE, m.msg_name,
			     m.msg_namelen < DGRAM_NAME ? m.msg_namelen : (socklen_t)DGRAM_NAME))
		e->dgram = NULL;
	return true;
}

static bool accept_one(struct demi_sock *s)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	s->q.ctx->count.syscalls++;
	if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
		return true;
	if (fd < 0 && errno == EAGAIN) {
		s->rd_ready = false;
		return false;
	}
	if (fd < 0) { /* the next accept asks again */
		s->armed = false;
		demi_sock_accepted(s, -errno);
		s->rx_wanted = s->ops.head != NULL;
		demi_sock_rx_continue(s);
		return false;
	}
	demi_sock_accepted(s, fd);
	return true;
}

static void read_input(struct demi_sock *s)
{
	struct ep *e = ep_of(demi_sock_uring(s));
	bool more = true;

	for (int i = 0; i < READS_PER_TURN && more; i++) {
		if (!s->armed || !s->rd_ready)
			return;
		if (s->state == DEMI_SOCK_LISTEN)
			more = accept_one(s);
		else
			more = s->stream ? read_stream(s, e) : read_dgram(s, e);
	}
	if (more)
		again(s);
}

static void epoll_recv_start(struct demi_sock *s)
{
	s->armed = true;
	if (s->rd_ready)
		again(s);
}

static void epoll_recv_stop(struct demi_sock *s)
{
	s->armed = false;
}

/* ---- polling ---- */

static void connect_event(struct demi_sock *s)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	demi_sock_connected(s, err);
}

/* @s may be gone afterwards. */
static void event(struct demi_sock *s, uint32_t events)
{
	if (s->state == DEMI_SOCK_CONNECTING && s->domain != AF_UNIX) {
		if (events & (EPOLLOUT | EPOLLERR))
			connect_event(s);
		return;
	}
	if (events & EPOLLOUT)
		demi_sock_writable(s);
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->rd_hup = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		s->rd_ready = true;
		if (s->armed)
			read_input(s);
	}
}

static void run_todo(struct demi_uring *u)
{
	struct demi_link list, *l;

	demi_link_init(&list);
	while ((l = u->todo.next) != &u->todo) {
		demi_link_del(l);
		demi_link_add(&list, l);
	}
	while ((l = list.next) != &list) {
		struct demi_sock *s = demi_container(l, struct demi_sock, todo);

		demi_link_del(l);
		read_input(s);
	}
}

static void epoll_poll(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;
	struct epoll_event ev[EVENTS];
	int n;

	if (demi_link_empty(&u->socks))
		return;
	if (!demi_link_empty(&u->todo))
		run_todo(u);
	n = epoll_wait(ep_of(u)->fd, ev, EVENTS, 0);
	u->b.ctx->count.syscalls++;
	if (n < 0 && errno != EINTR)
		demi_warn("epoll: %m");
	for (int i = 0; i < n; i++)
		event(ev[i].data.ptr, ev[i].events);
}

static void epoll_submit(struct demi_uring *u)
{
}

/* Not asleep for long with work left over. */
static void epoll_arm(struct demi_uring *u)
{
	struct ep *e = ep_of(u);

	if (!demi_link_empty(&u->todo) && !e->soon.index &&
	    demi_timer_set(&u->b.ctx->timers, &e->soon, demi_now_ns() + RETRY_NS))
		demi_warn("epoll: no memory for a timer");
}

static void epoll_disarm(struct demi_uring *u)
{
}

/* Senders that no edge will wake, and what epoll_arm() left. */
static void soon_over(struct demi_timer *t)
{
	struct demi_uring *u = demi_container(t, struct ep, soon)->u;

	for (struct demi_link *l = u->todo.next; l != &u->todo; l = l->next) {
		struct demi_sock *s = demi_container(l, struct demi_sock, todo);

		if (s->tx_blocked && s->domain == AF_UNIX)
			demi_sock_writable(s);
	}
}

/* ---- sending and connecting ---- */

static ssize_t epoll_sendmsg(struct demi_sock *s, struct demi_ureq *req, struct msghdr *m, int flags)
{
	ssize_t n = sendmsg(s->fd, m, MSG_DONTWAIT | MSG_NOSIGNAL);
	struct demi_uring *u = demi_sock_uring(s);
	struct ep *e = ep_of(u);

	s->q.ctx->count.syscalls++;
	if (n >= 0)
		return n;
	if (errno == EINTR)
		return s->stream ? -EINTR : epoll_sendmsg(s, req, m, flags);
	/* the receiver of a Unix datagram is full: no edge will tell when that is over */
	if (errno == EAGAIN && s->domain == AF_UNIX && !s->stream && !s->record) {
		again(s);
		if (!e->soon.index && demi_timer_set(&u->b.ctx->timers, &e->soon, demi_now_ns() + RETRY_NS))
			return -ENOMEM;
	}
	return -errno;
}

static int epoll_connect(struct demi_sock *s, const struct sockaddr *addr, socklen_t len)
{
	return connect(s->fd, addr, len) ? -errno : 0;
}

static void epoll_connect_stop(struct demi_sock *s)
{
	demi_sock_connected(s, ECANCELED);
}

static int epoll_attach(struct demi_sock *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s };
	int flags = fcntl(s->fd, F_GETFL);

	if (flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) ||
	    epoll_ctl(ep_of(demi_sock_uring(s))->fd, EPOLL_CTL_ADD, s->fd, &ev))
		return -errno;
	return 0;
}

static void epoll_detach(struct demi_sock *s)
{
	if (epoll_ctl(ep_of(demi_sock_uring(s))->fd, EPOLL_CTL_DEL, s->fd, NULL))
		demi_warn("epoll: %m");
	demi_link_del(&s->todo);
}

/* ---- files ---- */

static ssize_t epoll_readv(struct demi_file *f, struct demi_ureq *r, const struct iovec *iov, int n, off_t off)
{
	ssize_t res = preadv(f->fd, iov, n, off);

	f->q.ctx->count.syscalls++;
	return res < 0 ? -errno : res;
}

static ssize_t epoll_writev(struct demi_file *f, struct demi_ureq *r, const struct iovec *iov, int n, off_t off)
{
	ssize_t res = pwritev2(f->fd, iov, n, off, f->durable ? RWF_DSYNC : 0);

	f->q.ctx->count.syscalls++;
	return res < 0 ? -errno : res;
}

/* ---- making and ending ---- */

static int epoll_init(struct demi_uring *u)
{
	struct ep *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->u = u;
	e->soon.fn = soon_over;
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		err = -errno;
		goto err_free;
	}
	err = demi_ctx_wake_add(u->b.ctx, e->fd, EPOLLIN);
	if (err)
		goto err_fd;
	u->priv = e;
	return 0;

err_fd:
	close(e->fd);
err_free:
	free(e);
	return err;
}

static void epoll_exit(struct demi_uring *u)
{
	struct ep *e = ep_of(u);

	demi_timer_cancel(&u->b.ctx->timers, &e->soon);
	demi_ctx_wake_del(u->b.ctx, e->fd);
	if (e->stream)
		demi_heap_free(e->stream);
	if (e->dgram)
		demi_heap_free(e->dgram);
	close(e->fd);
	free(e);
	u->priv = NULL;
}

const struct demi_engine_ops demi_engine_epoll = {
	.name = "epoll",
	.init = epoll_init,
	.exit = epoll_exit,
	.poll = epoll_poll,
	.submit = epoll_submit,
	.arm = epoll_arm,
	.disarm = epoll_disarm,
	.attach = epoll_attach,
	.recv_start = epoll_recv_start,
	.recv_stop = epoll_recv_stop,
	.sendmsg = epoll_sendmsg,
	.connect = epoll_connect,
	.connect_stop = epoll_connect_stop,
	.detach = epoll_detach,
	.readv = epoll_readv,
	.writev = epoll_writev,
};
