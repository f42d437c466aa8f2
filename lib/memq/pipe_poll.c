// SPDX-License-Identifier: MIT
/*
 * Polling, sleeping and waking of pipes, and what becomes of one whose peer is gone.
 *
 * The backend has a list of the pipes with a pending operation, and a poll looks at those only: one word of
 * the ring for pops, one line of the peer's for pushes. Nothing else is done per poll, so that spinning
 * makes no system call; only after CHECK_POLLS polls without news of one pipe the control sockets are looked
 * at, since a peer that was killed says nothing in the memory.
 */
#include "core/enter.h"
#include "core/log.h"
#include "memq/pipe_fork.h"
#include "memq/pipe_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK_POLLS 8192
#define EVENTS 32
#define BELLS_MAX 16 /* bytes taken from a control socket at a time: the peer could send for ever */

static inline struct demi_pipe_backend *backend_of(struct demi_backend *b)
{
	return (struct demi_pipe_backend *)b;
}

static uint32_t wants(const struct demi_pipe *p)
{
	return (p->pops.head ? DEMI_PIPE_WANT_DATA : 0) | (p->pushes.head ? DEMI_PIPE_WANT_SPACE : 0);
}

static inline bool has_news(const struct demi_pipe *p)
{
	return (p->pops.head && demi_pipe_rx_word(&p->rx)) || (p->pushes.head && demi_pipe_tx_moved(&p->tx));
}

static void say_sleeping(struct demi_pipe *p, uint32_t what)
{
	atomic_store_explicit(&p->own->sleeping, what, memory_order_relaxed);
}

void demi_pipe_activate(struct demi_pipe *p)
{
	struct demi_pipe_backend *b = p->b;

	if (p->is_active)
		return;
	p->is_active = true;
	p->idle = 0;
	p->prev_active = NULL;
	p->next_active = b->active;
	if (b->active)
		b->active->prev_active = p;
	b->active = p;
	/* issued after demi_wait_arm(), which knew nothing of it: have demi_leave() call the application */
	if (demi_unlikely(p->q.ctx->armed))
		demi_ctx_want_flush(p->q.ctx);
}

static void deactivate(struct demi_pipe *p)
{
	if (!p->is_active)
		return;
	p->is_active = false;
	if (p->prev_active)
		p->prev_active->next_active = p->next_active;
	else
		p->b->active = p->next_active;
	if (p->next_active)
		p->next_active->prev_active = p->prev_active;
}

static void ring_bell(struct demi_pipe *p)
{
	if (p->fd < 0)
		return;
	p->q.ctx->count.syscalls++;
	/* EAGAIN: so many bells are under way that one more wakes nobody. EPIPE: the hang-up is noticed elsewhere */
	if (send(p->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EPIPE)
		demi_debug("pipe %d: bell: %m", p->q.qd);
}

static void flush_all(struct demi_pipe_backend *b)
{
	struct demi_pipe *p;

	if (!b->dirty)
		return;
	/* pairs with the fence of pipe_arm() in the peer: publish, then read its flag */
	demi_full_barrier();
	while ((p = b->dirty)) {
		b->dirty = p->next_dirty;
		if (atomic_load_explicit(&p->peer->sleeping, memory_order_relaxed) & p->unflushed &&
		    atomic_exchange_explicit(&p->peer->sleeping, 0, memory_order_relaxed))
			ring_bell(p);
		p->unflushed = 0;
		if (atomic_load_explicit(&p->peer->ended, memory_order_relaxed))
			p->push_err = EPIPE;
	}
}

/* ---- pops ---- */

/*
 * What the next pop gets: 1: *buf, of *len bytes; 0: it has to wait; or what it fails with, -ENODATA for
 * the orderly end.
 */
static inline int fetch(struct demi_pipe *p, size_t max, void **buf, uint32_t *len)
{
	bool said = false;
	int ret;

	if (p->pop_end)
		return -p->pop_end;
	ret = demi_pipe_rx_next(&p->rx, max, buf, len, &said, &p->q.ctx->count.copied_bytes);
	if (said)
		demi_pipe_note(p, DEMI_PIPE_WANT_SPACE);
	if (ret == 0 && p->fd < 0)
		ret = -ECONNRESET; /* without END: killed, or not willing to say */
	if (ret == -ENODATA || ret == -EBADMSG || ret == -ECONNRESET)
		p->pop_end = -ret;
	return ret;
}

static inline void finish_pop(struct demi_op *op, int ret, void *buf, uint32_t len)
{
	if (demi_likely(ret == 1))
		demi_op_complete_buf(op, buf, len);
	else if (ret == -ENODATA)
		demi_op_complete_eof(op);
	else
		demi_op_fail(op, -ret);
}

static void take_all(struct demi_pipe *p)
{
	struct demi_op *op;
	void *buf = NULL;
	uint32_t len = 0;
	int ret;

	while ((op = p->pops.head)) {
		ret = fetch(p, op->priv.u64[0], &buf, &len);
		if (!ret)
			return;
		demi_op_list_del(&p->pops, op);
		finish_pop(op, ret, buf, len);
	}
}

int demi_pipe_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_pipe *p = (struct demi_pipe *)q;
	void *buf = NULL;
	uint32_t len = 0;
	int ret = 0;

	if (!p->pops.head)
		ret = fetch(p, max_bytes, &buf, &len);
	if (ret) {
		finish_pop(op, ret, buf, len);
		if (demi_unlikely(ret == -EBADMSG && p->fd >= 0))
			demi_pipe_break(p);
		return 0;
	}
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&p->pops, op);
	demi_pipe_activate(p);
	return 0;
}

void demi_pipe_end_pops(struct demi_pipe *p, int how)
{
	p->pop_end = how;
	demi_pipe_rx_drop(&p->rx);
	take_all(p);
}

/* ---- the peer ---- */

/* A forked child may have the socket open, too: closing alone would neither tell the peer nor end the events. */
static void hang_up(struct demi_pipe *p)
{
	if (p->fd < 0)
		return;
	epoll_ctl(p->b->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
	shutdown(p->fd, SHUT_RDWR);
	demi_pipe_fork_close(p->fd);
	p->fd = -1;
}

/* Nobody takes what is pushed any more. */
static void no_more_pushes(struct demi_pipe *p)
{
	p->push_err = EPIPE;
	p->end_wanted = false;
	demi_pipe_fail_pushes(p, EPIPE);
}

/* The peer wrote what no peer writes: nothing more is taken from it or given to it. */
void demi_pipe_break(struct demi_pipe *p)
{
	demi_warn("pipe %d: the peer does not keep to the protocol", p->q.qd);
	atomic_store_explicit(&p->own->ended, 1, memory_order_relaxed);
	hang_up(p);
	no_more_pushes(p);
	demi_pipe_end_pops(p, EBADMSG);
}

/* Do what can be done; the last drained push of a closed pipe finishes it. */
static void advance(struct demi_pipe *p)
{
	if (p->pops.head)
		take_all(p);
	if (demi_unlikely(p->pop_end == EBADMSG && p->fd >= 0))
		demi_pipe_break(p);
	if (p->pushes.head && demi_pipe_drain(p))
		demi_pipe_break(p);
	if (p->draining && !p->pushes.head)
		demi_pipe_finish(p);
	else if (!wants(p))
		deactivate(p);
}

static void peer_gone(struct demi_pipe *p)
{
	hang_up(p);
	no_more_pushes(p);
	advance(p); /* pops take what it has published, then fail */
}

static void hear_bells(struct demi_pipe *p)
{
	char bell[8];

	for (unsigned int i = 0; i < BELLS_MAX; i++) {
		p->q.ctx->count.syscalls++;
		if (recv(p->fd, bell, sizeof(bell), MSG_DONTWAIT) <= 0)
			return;
	}
}

static void check_sockets(struct demi_pipe_backend *b)
{
	struct epoll_event ev[EVENTS];
	int n;

	if (!b->all)
		return;
	do {
		b->b.ctx->count.syscalls++;
		n = epoll_wait(b->epoll_fd, ev, EVENTS, 0);
		for (int i = 0; i < n; i++) {
			struct demi_pipe *p = ev[i].data.ptr;

			if (ev[i].events & (EPOLLHUP | EPOLLERR))
				peer_gone(p);
			else
				hear_bells(p);
		}
	} while (n == EVENTS);
}

/* ---- the backend ---- */

static void pipe_poll(struct demi_backend *backend)
{
	struct demi_pipe_backend *b = backend_of(backend);
	struct demi_pipe *p, *next;
	bool check = false;

	for (p = b->active; p; p = next) {
		next = p->next_active;
		if (has_news(p)) {
			p->idle = 0;
			advance(p);
		} else if (++p->idle >= CHECK_POLLS) {
			p->idle = 0;
			check = true;
		}
	}
	if (check)
		check_sockets(b);
	flush_all(b);
}

static void pipe_flush(struct demi_backend *b)
{
	flush_all(backend_of(b));
}

static void pipe_arm(struct demi_backend *backend)
{
	struct demi_pipe_backend *b = backend_of(backend);

	flush_all(b);
	for (struct demi_pipe *p = b->active; p; p = p->next_active)
		say_sleeping(p, wants(p));
	/* pairs with the fence of flush_all() in the peer: flag, then look again */
	demi_full_barrier();
}

static void pipe_disarm(struct demi_backend *backend)
{
	struct demi_pipe_backend *b = backend_of(backend);

	for (struct demi_pipe *p = b->active; p; p = p->next_active)
		say_sleeping(p, 0);
	check_sockets(b);
}

static bool pipe_busy(struct demi_backend *b)
{
	return backend_of(b)->draining > 0;
}

static void pipe_backend_destroy(struct demi_backend *backend)
{
	struct demi_pipe_backend *b = backend_of(backend);
	struct demi_pipe *p, *next;

	for (p = b->all; p; p = next) {
		next = p->next;
		p->end_wanted = false;
		demi_pipe_fail_pushes(p, ECANCELED);
		demi_pipe_finish(p);
	}
	if (b->ready)
		close(b->epoll_fd);
	free(b);
}

static const struct demi_backend_ops pipe_backend_ops = {
	.name = "pipe",
	.poll = pipe_poll,
	.flush = pipe_flush,
	.arm = pipe_arm,
	.disarm = pipe_disarm,
	.busy = pipe_busy,
	.destroy = pipe_backend_destroy,
};

static int watch_sockets(struct demi_pipe_backend *b)
{
	int err;

	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll_fd < 0)
		return -errno;
	err = demi_ctx_wake_add(b->b.ctx, b->epoll_fd, EPOLLIN);
	if (err)
		close(b->epoll_fd);
	else
		b->ready = true;
	return err;
}

int demi_pipe_backend_get(struct demi_ctx *ctx, struct demi_pipe_backend **out)
{
	struct demi_pipe_backend *b;
	struct demi_backend *base;
	int err;

	err = demi_ctx_backend(ctx, &pipe_backend_ops, sizeof(*b), &base);
	if (err)
		return err;
	b = backend_of(base);
	*out = b;
	return b->ready ? 0 : watch_sockets(b);
}

int demi_pipe_backend_add(struct demi_pipe_backend *b, struct demi_pipe *p)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = p };

	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, p->fd, &ev))
		return -errno;
	demi_pipe_fork_add(p->fd);
	p->b = b;
	p->prev = NULL;
	p->next = b->all;
	if (b->all)
		b->all->prev = p;
	b->all = p;
	return 0;
}

void demi_pipe_backend_del(struct demi_pipe *p)
{
	flush_all(p->b);
	hang_up(p);
	deactivate(p);
	if (p->prev)
		p->prev->next = p->next;
	else
		p->b->all = p->next;
	if (p->next)
		p->next->prev = p->prev;
}
