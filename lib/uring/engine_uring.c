/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine.
 *
 * With DEFER_TASKRUN completions are produced only while the context's own thread is in
 * io_uring_enter() asking for events; that there is something to produce is seen in IORING_SQ_TASKRUN
 * without a system call. So the completion queue being empty means that no input is on its way to a
 * socket outside the kernel, which makes a plain recv() on it safe: it cannot overtake anything.
 *
 * That is used when a single socket is waited for, where latency counts: recv() when the flag is set, a
 * plain send() for the answer, and the enter that clears the flag after that, while the peer works
 * (measured: 1.07 times the round trip of a busy recv() loop, against 1.24 with all of it in the ring).
 * With more sockets everything goes through the ring, where one enter serves many.
 */
#include "uring/bufring.h"

#include "core/config.h"
#include "core/enter.h"
#include "core/log.h"
#include "heap/heap.h"
#include "uring/file.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SQ_ENTRIES 256
#define CQ_ENTRIES 2048

#define STREAM_GROUP 1
#define DGRAM_GROUP 2
#define STREAM_FIRST 16
#define STREAM_BUFS 256
#define DGRAM_FIRST 4
#define DGRAM_BUFS 64

/* What recvmsg puts before the payload: its own head, the source address. */
#define DGRAM_NAME sizeof(struct sockaddr_storage)
#define DGRAM_HEAD (sizeof(struct io_uring_recvmsg_out) + DGRAM_NAME)

/*
 * While the context spins and many sockets are active, input may gather so that one enter serves more of them. How
 * many are active, and how fast input comes, is seen every WINDOW inputs. What is waited for is a part of the
 * active sockets' requests: the others keep their peers busy meanwhile.
 */
#define WINDOW 64
#define GATHER_ACTIVE 16 /* sockets among the last WINDOW inputs */
#define GATHER_SHARE(active) ((active)*3 / 16)
#define GATHER_MAX_NS 100000

#define STARVED_NS 1000000
#define EXIT_ROUNDS 100

struct ring {
	struct io_uring ring;
	struct demi_uring *u;
	struct demi_bufring stream, dgram;
	struct demi_rx *scratch; /* what a plain recv() reads into */
	struct msghdr dgram_msg; /* the room that recvmsg leaves for addresses */
	int event_fd; /* -1 until the first sleep */
	uint32_t inflight;
	uint32_t cq_head; /* the kernel's copy is only written */
	uint32_t inputs, active; /* of the window that is being counted: inputs, and sockets they came from */
	uint8_t window; /* its number, in demi_sock.window */
	uint64_t window_ns; /* when it began */
	uint32_t gather_ns; /* how long input may gather; 0: not at all */
	uint64_t gather_until_ns; /* 0: nothing to enter for yet */
	bool stale; /* the task-work flag is set for input that a plain recv() took */
	bool draining;
	struct demi_timer starved; /* no memory or no room: try the sockets on u->todo again */
};

static struct ring *ring_of(struct demi_uring *u)
{
	return u->priv;
}

/* ---- the rings ---- */

/* Submit, and have the kernel produce what it can. */
static void enter(struct demi_uring *u)
{
	struct ring *r = ring_of(u);
	int n;

	r->stale = false;
	r->gather_until_ns = 0;
	n = io_uring_submit_and_get_events(&r->ring);
	u->b.ctx->count.syscalls++;
	if (n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY)
		demi_warn("io_uring_enter: %s", strerror(-n));
	if (io_uring_sq_ready(&r->ring))
		demi_uring_want_flush(u);
}

static struct io_uring_sqe *sqe_get(struct demi_uring *u)
{
	struct ring *r = ring_of(u);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	if (!sqe) {
		enter(u);
		sqe = io_uring_get_sqe(&r->ring);
	}
	if (sqe)
		demi_uring_want_flush(u);
	return sqe;
}

static void start(struct demi_uring *u, struct io_uring_sqe *sqe, struct demi_ureq *req)
{
	io_uring_sqe_set_data(sqe, req);
	ring_of(u)->inflight++;
}

static inline bool cq_empty(const struct ring *r)
{
	return r->cq_head == io_uring_smp_load_acquire(r->ring.cq.ktail);
}

/* Hand out what is in the completion queue. Not nested: those who get it may start requests, even enter. */
static void drain(struct demi_uring *u)
{
	struct ring *r = ring_of(u);
	struct io_uring_cq *cq = &r->ring.cq;

	if (r->draining)
		return;
	r->draining = true;
	while (!cq_empty(r)) {
		struct io_uring_cqe *cqe = &cq->cqes[r->cq_head & *cq->kring_mask];
		struct demi_ureq *req = io_uring_cqe_get_data(cqe);
		uint32_t flags = cqe->flags;
		int res = cqe->res;

		io_uring_smp_store_release(cq->khead, ++r->cq_head);
		if (!req)
			continue;
		if (!(flags & IORING_CQE_F_MORE))
			r->inflight--;
		req->done(req, res, flags);
	}
	r->draining = false;
}

/* Nothing can be done now: in a little while. */
static void try_later(struct demi_sock *s)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct ring *r = ring_of(u);

	if (!s->todo.next)
		demi_link_add(&u->todo, &s->todo);
	if (!r->starved.index && demi_timer_set(&u->b.ctx->timers, &r->starved, demi_now_ns() + STARVED_NS))
		demi_warn("io_uring: out of memory, a socket stalls until the next poll");
}

static void uring_detach(struct demi_sock *s);

static void starved_over(struct demi_timer *t)
{
	struct ring *r = demi_container(t, struct ring, starved);
	struct demi_link again, *l;

	demi_link_init(&again);
	while ((l = r->u->todo.next) != &r->u->todo) {
		demi_link_del(l);
		demi_link_add(&again, l);
	}
	while ((l = again.next) != &again) {
		struct demi_sock *s = demi_container(l, struct demi_sock, todo);

		demi_link_del(l);
		if (s->finished) {
			s->inflight++;
			uring_detach(s);
			demi_sock_put_request(s);
			continue;
		}
		if (s->tx_blocked)
			demi_sock_writable(s);
		demi_sock_rx_continue(s);
	}
}

/* ---- polling ---- */

/* Is one byte stream alone waited for? Take its input the short way. */
static bool recv_direct(struct demi_uring *u, struct ring *r)
{
	struct demi_sock *s = u->popper;
	ssize_t n;

	u->direct = false;
	if (u->poppers != 1 || !s || !s->stream || !s->armed || s->stopping || r->stale)
		return false;
	if (!r->scratch)
		r->scratch = demi_heap_alloc(DEMI_RX_HEAD + DEMI_RX_STREAM_SIZE);
	if (!r->scratch)
		return false;
	n = recv(s->fd, (char *)r->scratch + DEMI_RX_HEAD, DEMI_RX_STREAM_SIZE, MSG_DONTWAIT);
	u->b.ctx->count.syscalls++;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	r->stale = true;
	if (n <= 0) {
		demi_sock_input_end(s, n < 0 ? errno : 0);
		return true;
	}
	u->direct = n < (ssize_t)DEMI_RX_STREAM_SIZE;
	if (demi_stream_input(s, r->scratch, (uint32_t)n, DEMI_RX_STREAM_SIZE))
		r->scratch = NULL;
	return true;
}

/* Is it better to wait until one enter serves more sockets? */
static bool gather(struct demi_uring *u, struct ring *r)
{
	uint64_t now_ns;

	if (!r->gather_ns || !u->b.ctx->spinning)
		return false;
	now_ns = demi_now_ns();
	if (!r->gather_until_ns)
		r->gather_until_ns = now_ns + r->gather_ns;
	return now_ns < r->gather_until_ns;
}

static void window_ends(struct ring *r)
{
	uint64_t now_ns = demi_now_ns(), ns = 0;

	if (r->active >= GATHER_ACTIVE)
		ns = (now_ns - r->window_ns) / WINDOW * GATHER_SHARE(r->active);
	r->gather_ns = ns < GATHER_MAX_NS ? (uint32_t)ns : GATHER_MAX_NS;
	r->window_ns = now_ns;
	r->inputs = r->active = 0;
	r->window++;
}

static inline void count_input(struct ring *r, struct demi_sock *s)
{
	if (s->window != r->window) {
		s->window = r->window;
		r->active++;
	}
	if (++r->inputs == WINDOW)
		window_ends(r);
}

static __attribute__((noinline)) void poll_news(struct demi_uring *u, struct ring *r)
{
	if (cq_empty(r)) {
		if (recv_direct(u, r) || gather(u, r))
			return;
		enter(u);
	}
	drain(u);
}

/* Mostly nothing is new: only then it is quick. */
static void uring_poll(struct demi_backend *b)
{
	struct demi_uring *u = (struct demi_uring *)b;
	struct ring *r = ring_of(u);

	if (demi_unlikely(!cq_empty(r) ||
			  IO_URING_READ_ONCE(*r->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
		poll_news(u, r);
}

static void uring_submit(struct demi_uring *u)
{
	if (io_uring_sq_ready(&ring_of(u)->ring))
		enter(u);
}

/* The eventfd fires when the flag goes up, so it has to be down before the sleep. */
static void uring_arm(struct demi_uring *u)
{
	struct ring *r = ring_of(u);

	if (r->event_fd >= 0)
		io_uring_cq_eventfd_toggle(&r->ring, true);
	/* pairs with the kernel's order: flag up, then look whether the eventfd is wanted */
	demi_full_barrier();
	if (io_uring_sq_ready(&r->ring) ||
	    IO_URING_READ_ONCE(*r->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		enter(u);
}

static void uring_disarm(struct demi_uring *u)
{
	struct ring *r = ring_of(u);
	uint64_t n;

	io_uring_cq_eventfd_toggle(&r->ring, false);
	if (read(r->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		demi_warn("eventfd: %m");
}

/* ---- receiving ---- */

static void request_ended(struct demi_sock *s, struct demi_bufring *bufs, int res)
{
	s->armed = false;
	s->stopping = false;
	if (res == -ENOBUFS && !demi_bufring_grow(bufs))
		try_later(s);
	else
		demi_sock_rx_continue(s);
	demi_sock_put_request(s);
}

/* Ends of a multishot request that say nothing about the socket. */
static bool harmless(int res)
{
	return res == -ECANCELED || res == -ENOBUFS || res == -EINTR || res == -EAGAIN;
}

static void stream_done(struct demi_ureq *req, int res, uint32_t flags)
{
	struct demi_sock *s = demi_container(req, struct demi_sock, recv_req);
	struct demi_uring *u = demi_sock_uring(s);
	struct demi_bufring *bufs = &ring_of(u)->stream;
	uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
	bool kept = false;

	u->direct = false;
	count_input(ring_of(u), s);
	if (res > 0)
		kept = demi_stream_input(s, demi_bufring_at(bufs, id), (uint32_t)res, bufs->size);
	if (flags & IORING_CQE_F_BUFFER)
		demi_bufring_put(bufs, id, kept);
	if (res <= 0 && !harmless(res))
		demi_sock_input_end(s, -res);
	if (!(flags & IORING_CQE_F_MORE))
		request_ended(s, bufs, res);
}

/* Nothing was read: a message of no bytes, or the end of the connection? */
static bool record_ended(struct demi_sock *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

	return s->record && poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP);
}

static bool dgram_input(struct demi_sock *s, struct demi_rx *rx, uint32_t len, uint32_t size)
{
	struct io_uring_recvmsg_out *out = (void *)((char *)rx + DEMI_RX_HEAD);
	char *payload = (char *)(out + 1) + DGRAM_NAME;

	if (len < DGRAM_HEAD || out->flags & MSG_TRUNC) {
		s->q.ctx->count.dropped++;
		return false;
	}
	len -= (uint32_t)DGRAM_HEAD;
	if (!len && record_ended(s)) {
		demi_sock_input_end(s, 0);
		return false;
	}
	return demi_dgram_input(s, rx, payload, len, size, (struct sockaddr *)(out + 1),
				out->namelen < DGRAM_NAME ? out->namelen : (socklen_t)DGRAM_NAME);
}

static void dgram_done(struct demi_ureq *req, int res, uint32_t flags)
{
	struct demi_sock *s = demi_container(req, struct demi_sock, recv_req);
	struct demi_bufring *bufs = &ring_of(demi_sock_uring(s))->dgram;
	uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
	bool kept = false;

	if (res >= 0 && flags & IORING_CQE_F_BUFFER)
		kept = dgram_input(s, demi_bufring_at(bufs, id), (uint32_t)res, bufs->size);
	else if (!res && s->record)
		demi_sock_input_end(s, 0);
	if (flags & IORING_CQE_F_BUFFER)
		demi_bufring_put(bufs, id, kept);
	if (res < 0 && !harmless(res)) {
		if (s->record)
			demi_sock_input_end(s, -res);
		else
			demi_dgram_error(s, -res);
	}
	if (!(flags & IORING_CQE_F_MORE))
		request_ended(s, bufs, res);
}

static void accept_done(struct demi_ureq *req, int res, uint32_t flags)
{
	struct demi_sock *s = demi_container(req, struct demi_sock, recv_req);

	if (res >= 0 || !harmless(res))
		demi_sock_accepted(s, res);
	if (flags & IORING_CQE_F_MORE)
		return;
	if (res < 0 && !harmless(res)) /* the next accept asks again */
		s->rx_wanted = s->ops.head != NULL;
	request_ended(s, NULL, res == -ENOBUFS ? 0 : res);
}

static struct demi_bufring *bufs_of(struct demi_sock *s)
{
	struct ring *r = ring_of(demi_sock_uring(s));

	return s->stream ? &r->stream : &r->dgram;
}

static void recv_prepare(struct demi_sock *s, struct io_uring_sqe *sqe, struct demi_bufring *bufs)
{
	if (!bufs->limit)
		demi_bufring_grow(bufs);
	if (s->stream) {
		io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
		s->recv_req.done = stream_done;
	} else {
		io_uring_prep_recvmsg_multishot(sqe, s->fd, &ring_of(demi_sock_uring(s))->dgram_msg, MSG_TRUNC);
		s->recv_req.done = dgram_done;
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = bufs->group;
}

static void uring_recv_start(struct demi_sock *s)
{
	struct demi_uring *u = demi_sock_uring(s);
	bool listening = s->state == DEMI_SOCK_LISTEN;
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe) {
		try_later(s);
		return;
	}
	if (listening) {
		io_uring_prep_multishot_accept(sqe, s->fd, NULL, NULL, SOCK_CLOEXEC);
		s->recv_req.done = accept_done;
	} else {
		recv_prepare(s, sqe, bufs_of(s));
	}
	start(u, sqe, &s->recv_req);
	s->inflight++;
	s->armed = true;
}

/* False: not now, the queue is full. */
static bool cancel(struct demi_uring *u, struct demi_ureq *req)
{
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel(sqe, req, 0);
	io_uring_sqe_set_data(sqe, NULL);
	return true;
}

static void uring_recv_stop(struct demi_sock *s)
{
	s->stopping = cancel(demi_sock_uring(s), &s->recv_req); /* if not: the next delivery tries again */
}

/* ---- sending and connecting ---- */

static ssize_t uring_sendmsg(struct demi_sock *s, struct demi_ureq *req, struct msghdr *m, int flags)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe) {
		try_later(s);
		return -EAGAIN;
	}
	flags |= MSG_NOSIGNAL;
	if (m->msg_iovlen == 1 && !m->msg_name) /* the kernel need not fetch a header and a vector */
		io_uring_prep_send(sqe, s->fd, m->msg_iov->iov_base, m->msg_iov->iov_len, flags);
	else
		io_uring_prep_sendmsg(sqe, s->fd, m, (unsigned int)flags);
	start(u, sqe, req);
	s->inflight++;
	return -EINPROGRESS;
}

static ssize_t uring_send_zc(struct demi_sock *s, struct demi_ureq *req, const void *buf, size_t len)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe) {
		try_later(s);
		return -EAGAIN;
	}
	io_uring_prep_send_zc(sqe, s->fd, buf, len, MSG_NOSIGNAL | MSG_WAITALL, 0);
	start(u, sqe, req);
	s->inflight++;
	return -EINPROGRESS;
}

static void connect_done(struct demi_ureq *req, int res, uint32_t flags)
{
	struct demi_sock *s = demi_container(req, struct demi_sock_connect, req)->s;

	demi_sock_connected(s, -res);
	demi_sock_put_request(s);
}

static int uring_connect(struct demi_sock *s, const struct sockaddr *addr, socklen_t len)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_connect(sqe, s->fd, addr, len);
	s->conn->req.done = connect_done;
	start(u, sqe, &s->conn->req);
	s->inflight++;
	return -EINPROGRESS;
}

static void uring_connect_stop(struct demi_sock *s)
{
	cancel(demi_sock_uring(s), &s->conn->req);
}

static int uring_attach(struct demi_sock *s)
{
	return 0;
}

/* One request is the caller's own. What is cancelled comes back from the same enter. */
static void uring_detach(struct demi_sock *s)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct io_uring_sqe *sqe;

	if (s->inflight == 1)
		return;
	sqe = sqe_get(u);
	if (!sqe) {
		try_later(s);
		return;
	}
	io_uring_prep_cancel_fd(sqe, s->fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(sqe, NULL);
	if (!ring_of(u)->draining) {
		enter(u);
		drain(u);
	}
}

/* ---- files ---- */

static ssize_t uring_readv(struct demi_file *f, struct demi_ureq *req, const struct iovec *iov, int n, off_t off)
{
	struct demi_uring *u = demi_file_uring(f);
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_readv(sqe, f->fd, iov, (unsigned int)n, (uint64_t)off);
	start(u, sqe, req);
	return -EINPROGRESS;
}

static ssize_t uring_writev(struct demi_file *f, struct demi_ureq *req, const struct iovec *iov, int n, off_t off)
{
	struct demi_uring *u = demi_file_uring(f);
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_writev2(sqe, f->fd, iov, (unsigned int)n, (uint64_t)off, f->durable ? RWF_DSYNC : 0);
	start(u, sqe, req);
	return -EINPROGRESS;
}

/* ---- making and ending ---- */

static int setup(struct io_uring *ring)
{
	static const unsigned int modes[] = {
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int err = -EINVAL;

	for (unsigned int i = 0; i < sizeof(modes) / sizeof(modes[0]) && err == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = modes[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
			.cq_entries = CQ_ENTRIES,
		};

		err = io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
		if (!err && !(p.features & IORING_FEAT_NODROP)) {
			io_uring_queue_exit(ring);
			err = -ENOSYS;
		}
	}
	return err;
}

/* What everything here needs and kernels before 6.0 lack: multishot recvmsg came with the zero-copy send's probe. */
static int check_kernel(struct io_uring *ring)
{
	struct io_uring_probe *probe;
	int err;

	errno = 0;
	probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return errno == ENOMEM ? -ENOMEM : -ENOSYS;
	err = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC) ? 0 : -ENOSYS;
	io_uring_free_probe(probe);
	return err;
}

/* Now, while it is not too late for the other engine: the kernel may refuse them (RLIMIT_MEMLOCK). */
static int register_buffers(struct ring *r)
{
	int err = demi_bufring_init(&r->stream, &r->ring, STREAM_GROUP, DEMI_RX_STREAM_SIZE, STREAM_FIRST, STREAM_BUFS);

	if (err)
		return err;
	return demi_bufring_init(&r->dgram, &r->ring, DGRAM_GROUP, DGRAM_HEAD + DEMI_RX_DGRAM_SIZE, DGRAM_FIRST,
				 DGRAM_BUFS);
}

static int uring_init(struct demi_uring *u)
{
	struct ring *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->u = u;
	r->event_fd = -1;
	r->starved.fn = starved_over;
	r->dgram_msg.msg_namelen = DGRAM_NAME;
	err = setup(&r->ring);
	if (err)
		goto err_free;
	err = check_kernel(&r->ring);
	if (!err)
		err = register_buffers(r);
	if (err)
		goto err_ring;
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0) {
		err = -errno;
		goto err_ring;
	}
	err = io_uring_register_eventfd(&r->ring, r->event_fd);
	if (!err)
		err = demi_ctx_wake_add(u->b.ctx, r->event_fd, EPOLLIN);
	if (err)
		goto err_event;
	io_uring_cq_eventfd_toggle(&r->ring, false);
	if (io_uring_register_ring_fd(&r->ring) < 0)
		demi_debug("io_uring: ring fd not registered");
	u->priv = r;
	return 0;

err_event:
	close(r->event_fd);
err_ring:
	demi_bufring_exit(&r->stream, false);
	demi_bufring_exit(&r->dgram, false);
	io_uring_queue_exit(&r->ring);
err_free:
	free(r);
	return err;
}

/* Have everything that is in flight come back, so that nobody writes into memory that is given back. */
static void cancel_all(struct demi_uring *u, struct ring *r)
{
	struct io_uring_sqe *sqe = sqe_get(u);

	if (sqe) {
		io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
		io_uring_sqe_set_data(sqe, NULL);
	}
	for (int i = 0; i < EXIT_ROUNDS && r->inflight; i++) {
		enter(u);
		drain(u);
		if (r->inflight)
			usleep(1000);
	}
}

static void uring_exit(struct demi_uring *u)
{
	struct ring *r = ring_of(u);
	bool clean;

	if (r->inflight)
		cancel_all(u, r);
	clean = !r->inflight;
	if (!clean)
		demi_warn("io_uring: %u requests do not end, their memory is left behind", r->inflight);
	demi_timer_cancel(&u->b.ctx->timers, &r->starved);
	demi_ctx_wake_del(u->b.ctx, r->event_fd);
	demi_bufring_exit(&r->stream, !clean);
	demi_bufring_exit(&r->dgram, !clean);
	if (r->scratch)
		demi_heap_free(r->scratch);
	io_uring_queue_exit(&r->ring);
	close(r->event_fd);
	free(r);
	u->priv = NULL;
}

const struct demi_engine_ops demi_engine_uring = {
	.name = "io_uring",
	.init = uring_init,
	.exit = uring_exit,
	.poll = uring_poll,
	.submit = uring_submit,
	.arm = uring_arm,
	.disarm = uring_disarm,
	.attach = uring_attach,
	.recv_start = uring_recv_start,
	.recv_stop = uring_recv_stop,
	.sendmsg = uring_sendmsg,
	.send_zc = uring_send_zc,
	.connect = uring_connect,
	.connect_stop = uring_connect_stop,
	.detach = uring_detach,
	.readv = uring_readv,
	.writev = uring_writev,
};
