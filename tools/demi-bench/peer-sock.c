/* SPDX-License-Identifier: MIT */
/*
 * The peers on plain kernel sockets: "epoll" sleeps in epoll_wait(2) as most servers do, "busy" calls
 * recv(2) without blocking until something is there. They differ only in how they wait.
 */
#include "sock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

struct sock_peer {
	struct side *s;
	int *fds;
	unsigned int n, closed;
	int epoll; /* -1: busy */
	char *buf;
	size_t buf_bytes;
	struct flow *flows; /* echo client */
	uint64_t *calls;
	uint64_t under_way; /* messages */
	struct slice_clock clock;
};

static int stop_fd = -1;

static void stop_epoll(void)
{
	uint64_t one = 1;

	if (write(stop_fd, &one, sizeof(one)) < 0)
		return;
}

static int peer_watch(struct sock_peer *p, uint32_t events)
{
	unsigned int i;

	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll < 0)
		return -errno;
	for (i = 0; i < p->n; i++) {
		struct epoll_event ev = { .events = events, .data.u32 = i };

		if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->fds[i], &ev))
			return -errno;
	}
	return 0;
}

static int peer_init(struct sock_peer *p, struct side *s, uint64_t *calls)
{
	p->s = s;
	p->calls = calls;
	p->epoll = -1;
	p->buf_bytes = s->mode == MODE_STREAM || s->opts->size > 65536 ? 262144 : 65536;
	if (p->buf_bytes < s->opts->size)
		p->buf_bytes = s->opts->size;
	p->buf = malloc(p->buf_bytes);
	if (!p->buf)
		return -ENOMEM;
	memset(p->buf, 'd', p->buf_bytes);
	return sock_nonblock(p->fds, p->n);
}

static void peer_free(struct sock_peer *p)
{
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->fds)
		sock_close_all(p->fds, p->n);
	free(p->buf);
	free(p->flows);
}

/* What the server does with connection @i, which may have something to read. 1: it had; -errno. */
static int serve_one(struct sock_peer *p, unsigned int i)
{
	struct sockaddr_storage from;
	socklen_t fromlen = sizeof(from);
	bool udp = p->s->over == OVER_UDP;
	ssize_t n;

	n = recvfrom(p->fds[i], p->buf, p->buf_bytes, 0, udp ? (struct sockaddr *)&from : NULL, udp ? &fromlen : NULL);
	++*p->calls;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED ? 0 : -errno;
	if (!n && !udp) {
		p->closed++;
		if (p->epoll >= 0)
			epoll_ctl(p->epoll, EPOLL_CTL_DEL, p->fds[i], NULL);
		return 0;
	}
	if (p->s->mode == MODE_STREAM) {
		atomic_fetch_add_explicit(&p->s->bytes, (unsigned long long)n, memory_order_relaxed);
		return 1;
	}
	if (udp) {
		++*p->calls;
		if (sendto(p->fds[i], p->buf, (size_t)n, 0, (struct sockaddr *)&from, fromlen) < 0)
			return errno == EAGAIN || errno == ECONNREFUSED ? 1 : -errno;
		return 1;
	}
	n = sock_send(p->fds[i], p->buf, (size_t)n, p->calls);
	return n ? (int)n : 1;
}

static int serve_epoll(struct sock_peer *p)
{
	struct epoll_event ev[EVENTS] = { { .events = EPOLLIN, .data.u32 = UINT32_MAX } };
	int ret = peer_watch(p, EPOLLIN), n, i;

	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ret || stop_fd < 0)
		return ret ? ret : -errno;
	side_on_stop(stop_epoll);
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, stop_fd, ev))
		return -errno;
	while (!side_stopped(p->s) && p->closed < p->n) {
		n = epoll_wait(p->epoll, ev, EVENTS, -1);
		++*p->calls;
		for (i = 0; i < n; i++) {
			if (ev[i].data.u32 == UINT32_MAX)
				continue;
			ret = serve_one(p, ev[i].data.u32);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

static int serve_busy(struct sock_peer *p)
{
	unsigned int empty = 0, i;
	int ret = 0, any;

	while (p->closed < p->n) {
		any = 0;
		for (i = 0; i < p->n; i++) {
			ret = serve_one(p, i);
			if (ret < 0)
				return ret;
			any |= ret;
		}
		if (!any && !side_spin(p->s, &empty))
			return 0;
	}
	return 0;
}

static int sock_serve_all(struct side *s)
{
	struct sock_peer p = { 0 };
	int ret = sock_accept_all(s, &p.fds, &p.n);

	if (!ret)
		ret = peer_init(&p, s, &s->server_use.calls);
	if (!ret)
		ret = s->server == &side_epoll ? serve_epoll(&p) : serve_busy(&p);
	peer_free(&p);
	return ret;
}

static int sock_open(struct side *s, void **client)
{
	struct sock_peer *p = calloc(1, sizeof(*p));
	unsigned int i;
	int ret;

	if (!p)
		return -ENOMEM;
	*client = p;
	ret = sock_connect_all(s, &p->fds);
	if (ret)
		return ret;
	p->n = s->opts->connections;
	ret = peer_init(p, s, &s->client_use.calls);
	if (!ret && s->client == &side_epoll)
		ret = peer_watch(p, s->mode == MODE_STREAM ? EPOLLOUT : EPOLLIN);
	p->flows = calloc(p->n, sizeof(p->flows[0]));
	if (!p->flows)
		return -ENOMEM;
	for (i = 0; !ret && i < p->n; i++)
		ret = flow_init(&p->flows[i], s->opts);
	return ret;
}

static int send_one(struct sock_peer *p, unsigned int i, uint64_t t)
{
	if (!slice_next(&p->clock, t))
		return 0;
	flow_sent(&p->flows[i], t);
	p->under_way++;
	return sock_send(p->fds[i], p->buf, p->s->opts->size, p->calls);
}

/* Take what came on connection @i and send as many new messages as were answered. */
static int client_one(struct sock_peer *p, unsigned int i)
{
	ssize_t n = recv(p->fds[i], p->buf, p->buf_bytes, 0);
	uint32_t done;
	uint64_t t;
	int ret = 0;

	++*p->calls;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!n)
		return -ECONNRESET;
	t = ticks();
	done = flow_got(&p->flows[i], p->s, (size_t)n, t);
	p->under_way -= done;
	while (done-- && !ret)
		ret = send_one(p, i, t);
	return ret;
}

static int client_round(struct sock_peer *p)
{
	struct epoll_event ev[EVENTS];
	unsigned int i;
	int n, ret = 0;

	if (p->epoll < 0) {
		for (i = 0; i < p->n && !ret; i++)
			ret = client_one(p, i);
		return ret;
	}
	n = epoll_wait(p->epoll, ev, EVENTS, -1);
	++*p->calls;
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	while (n-- && !ret)
		ret = client_one(p, ev[n].data.u32);
	return ret;
}

static int echo_run(struct sock_peer *p)
{
	uint64_t t = ticks();
	unsigned int i, w;
	int ret = 0;

	slice_begin(p->s, &p->clock, t);
	for (w = 0; w < p->s->opts->window; w++)
		for (i = 0; i < p->n && !ret; i++)
			ret = send_one(p, i, ticks());
	while (p->under_way && !ret)
		ret = client_round(p);
	return ret;
}

static int flood_one(struct sock_peer *p, unsigned int i)
{
	ssize_t n = send(p->fds[i], p->buf, p->s->opts->size, MSG_NOSIGNAL);

	++*p->calls;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED ? 0 : -errno;
	p->s->slice.ops++;
	return 0;
}

static int flood_run(struct sock_peer *p)
{
	struct epoll_event ev[EVENTS];
	unsigned int i;
	int ret = 0, n;

	slice_begin(p->s, &p->clock, ticks());
	do {
		if (p->epoll >= 0) {
			n = epoll_wait(p->epoll, ev, EVENTS, 100);
			++*p->calls;
			while (n-- > 0 && !ret)
				ret = flood_one(p, ev[n].data.u32);
		} else {
			for (i = 0; i < p->n && !ret; i++)
				ret = flood_one(p, i);
		}
	} while (!ret && slice_next(&p->clock, ticks()));
	return ret;
}

static int sock_run(struct side *s, void *client)
{
	return s->mode == MODE_STREAM ? flood_run(client) : echo_run(client);
}

static void sock_close(struct side *s, void *client)
{
	struct sock_peer *p = client;
	unsigned int i;

	for (i = 0; i < p->n; i++)
		flow_free(&p->flows[i]);
	peer_free(p);
	free(p);
}

static bool sock_can(enum over over, enum mode mode)
{
	return over == OVER_TCP || over == OVER_UDP || over == OVER_UNIX;
}

const struct side_kind side_epoll = {
	.name = "epoll",
	.can = sock_can,
	.serve = sock_serve_all,
	.open = sock_open,
	.run = sock_run,
	.close = sock_close,
};

const struct side_kind side_busy = {
	.name = "busy",
	.can = sock_can,
	.serve = sock_serve_all,
	.open = sock_open,
	.run = sock_run,
	.close = sock_close,
};

/* The name under which --device is compared with the kernel's own stack. */
const struct side_kind side_kernel = {
	.name = "kernel",
	.can = sock_can,
	.serve = sock_serve_all,
	.open = sock_open,
	.run = sock_run,
	.close = sock_close,
};
