/* SPDX-License-Identifier: MIT */
/*
 * The peer on bare io_uring, written for this one task: a ring per process that only its thread enters,
 * multishot receives into a ring of provided buffers, all sends of a round in one system call, and
 * spinning that enters the kernel only when it says that there is work (IORING_SQ_TASKRUN).
 */
#include "sock.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRIES 512
#define GROUP 1

enum what {
	RECV,
	SEND,
};

struct uring_conn {
	char *out[2]; /* one is being sent, the other fills */
	uint32_t len[2], sent, cap;
	uint8_t filling;
	bool sending;
	struct flow flow;
};

struct uring_peer {
	struct side *s;
	struct io_uring ring;
	struct io_uring_buf_ring *bufs;
	char *mem;
	uint32_t nbufs, buf_bytes;
	int *fds;
	unsigned int n, closed;
	struct uring_conn *conns;
	uint64_t *calls;
	uint64_t under_way;
	struct slice_clock clock;
	bool client;
};

static struct io_uring_sqe *get_sqe(struct uring_peer *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->ring);

	if (!sqe) {
		io_uring_submit(&p->ring);
		++*p->calls;
		sqe = io_uring_get_sqe(&p->ring);
	}
	return sqe;
}

static int arm_recv(struct uring_peer *p, unsigned int i)
{
	struct io_uring_sqe *sqe = get_sqe(p);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_recv_multishot(sqe, p->fds[i], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	io_uring_sqe_set_data64(sqe, (uint64_t)i << 1 | RECV);
	return 0;
}

static int start_send(struct uring_peer *p, unsigned int i)
{
	struct uring_conn *c = &p->conns[i];
	uint8_t which = c->sending ? !c->filling : c->filling;
	struct io_uring_sqe *sqe = get_sqe(p);

	if (!sqe)
		return -EBUSY;
	if (!c->sending) {
		c->sending = true;
		c->filling = !c->filling;
		c->sent = 0;
	}
	io_uring_prep_send(sqe, p->fds[i], c->out[which] + c->sent, c->len[which] - c->sent, MSG_NOSIGNAL);
	io_uring_sqe_set_data64(sqe, (uint64_t)i << 1 | SEND);
	return 0;
}

/* Queue @len bytes; @data NULL: what is in the buffer already is good enough. */
static int queue_bytes(struct uring_peer *p, unsigned int i, const void *data, uint32_t len)
{
	struct uring_conn *c = &p->conns[i];

	if (c->len[c->filling] + len > c->cap)
		return -EMSGSIZE;
	if (data)
		memcpy(c->out[c->filling] + c->len[c->filling], data, len);
	c->len[c->filling] += len;
	return c->sending ? 0 : start_send(p, i);
}

static int send_done(struct uring_peer *p, unsigned int i, int res)
{
	struct uring_conn *c = &p->conns[i];
	uint8_t which = !c->filling;

	if (res < 0)
		return res == -EPIPE || res == -ECONNRESET ? 0 : res;
	c->sent += (uint32_t)res;
	if (c->sent < c->len[which])
		return start_send(p, i);
	c->len[which] = 0;
	c->sending = false;
	if (p->client && p->s->mode == MODE_STREAM) {
		p->s->slice.ops++;
		p->under_way--;
		if (slice_next(&p->clock, ticks())) {
			p->under_way++;
			return queue_bytes(p, i, NULL, p->s->opts->size);
		}
		return 0;
	}
	return c->len[c->filling] ? start_send(p, i) : 0;
}

static int client_data(struct uring_peer *p, unsigned int i, uint32_t len)
{
	uint64_t t = ticks();
	uint32_t done = flow_got(&p->conns[i].flow, p->s, len, t);
	int ret = 0;

	p->under_way -= done;
	while (done-- && !ret && slice_next(&p->clock, t)) {
		flow_sent(&p->conns[i].flow, t);
		p->under_way++;
		ret = queue_bytes(p, i, NULL, p->s->opts->size);
	}
	return ret;
}

static int recv_done(struct uring_peer *p, unsigned int i, const struct io_uring_cqe *cqe)
{
	int ret = 0;

	if (cqe->flags & IORING_CQE_F_BUFFER) {
		uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		char *data = p->mem + (size_t)id * p->buf_bytes;

		if (p->client)
			ret = client_data(p, i, (uint32_t)cqe->res);
		else if (p->s->mode == MODE_STREAM)
			atomic_fetch_add_explicit(&p->s->bytes, (unsigned int)cqe->res, memory_order_relaxed);
		else
			ret = queue_bytes(p, i, data, (uint32_t)cqe->res);
		io_uring_buf_ring_add(p->bufs, data, p->buf_bytes, id, (int)p->nbufs - 1, 0);
		io_uring_buf_ring_advance(p->bufs, 1);
	}
	if (!cqe->res || cqe->res == -ECONNRESET) {
		p->closed++;
		return p->client ? -ECONNRESET : 0;
	}
	if (cqe->res < 0 && cqe->res != -ENOBUFS)
		return cqe->res;
	if (!(cqe->flags & IORING_CQE_F_MORE) && !ret)
		ret = arm_recv(p, i);
	return ret;
}

/* Submit, and handle completions; spins until there is one. 1: the server is to end. */
static int uring_round(struct uring_peer *p)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen = 0, empty = 0;
	int ret = 0;

	if (io_uring_sq_ready(&p->ring)) {
		ret = io_uring_submit_and_get_events(&p->ring);
		++*p->calls;
		if (ret < 0 && ret != -EAGAIN && ret != -EINTR)
			return ret;
	}
	while (!io_uring_cq_ready(&p->ring)) {
		if (IO_URING_READ_ONCE(*p->ring.sq.kflags) & IORING_SQ_TASKRUN) {
			io_uring_get_events(&p->ring);
			++*p->calls;
		} else if (p->client) {
			cpu_relax();
		} else if (!side_spin(p->s, &empty)) {
			return 1;
		}
	}
	ret = 0;
	io_uring_for_each_cqe(&p->ring, head, cqe)
	{
		unsigned int i = (unsigned int)(cqe->user_data >> 1);

		seen++;
		ret = (cqe->user_data & 1) == SEND ? send_done(p, i, cqe->res) : recv_done(p, i, cqe);
		if (ret)
			break;
	}
	io_uring_cq_advance(&p->ring, seen);
	return ret;
}

static int setup_buffers(struct uring_peer *p)
{
	struct io_uring_buf_reg reg = { .bgid = GROUP };
	size_t bytes;
	uint32_t i;

	p->buf_bytes = p->s->opts->size > 65536 || p->s->mode == MODE_STREAM ? 65536 : 4096;
	p->nbufs = p->buf_bytes > 4096 ? 64 : 1024;
	bytes = p->nbufs * sizeof(struct io_uring_buf);
	p->bufs = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->bufs == MAP_FAILED)
		return -errno;
	p->mem = malloc((size_t)p->nbufs * p->buf_bytes);
	if (!p->mem)
		return -ENOMEM;
	reg.ring_addr = (uintptr_t)p->bufs;
	reg.ring_entries = p->nbufs;
	io_uring_buf_ring_init(p->bufs);
	for (i = 0; i < p->nbufs; i++)
		io_uring_buf_ring_add(p->bufs, p->mem + (size_t)i * p->buf_bytes, p->buf_bytes, (uint16_t)i,
				      (int)p->nbufs - 1, (int)i);
	io_uring_buf_ring_advance(p->bufs, (int)p->nbufs);
	return io_uring_register_buf_ring(&p->ring, &reg, 0);
}

static int setup_conns(struct uring_peer *p)
{
	const struct opts *o = p->s->opts;
	unsigned int i;
	int ret = 0;

	p->conns = calloc(p->n, sizeof(p->conns[0]));
	if (!p->conns)
		return -ENOMEM;
	for (i = 0; i < p->n && !ret; i++) {
		struct uring_conn *c = &p->conns[i];

		c->cap = o->size * o->window > 65536 ? o->size * o->window : 65536;
		if (!p->client && p->s->mode == MODE_STREAM)
			c->cap = 1;
		c->out[0] = calloc(2, c->cap);
		if (!c->out[0])
			return -ENOMEM;
		c->out[1] = c->out[0] + c->cap;
		ret = flow_init(&c->flow, o);
		if (!ret && !(p->client && p->s->mode == MODE_STREAM))
			ret = arm_recv(p, i);
	}
	return ret;
}

static int uring_init(struct uring_peer *p, struct side *s, bool client)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						   IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
					  .cq_entries = 8 * ENTRIES };
	int ret;

	p->s = s;
	p->client = client;
	p->calls = client ? &s->client_use.calls : &s->server_use.calls;
	ret = io_uring_queue_init_params(ENTRIES, &p->ring, &params);
	if (ret)
		return ret;
	io_uring_register_ring_fd(&p->ring);
	ret = setup_buffers(p);
	return ret ? ret : setup_conns(p);
}

static void uring_free(struct uring_peer *p)
{
	unsigned int i;

	if (p->ring.ring_fd > 0)
		io_uring_queue_exit(&p->ring);
	for (i = 0; p->conns && i < p->n; i++) {
		free(p->conns[i].out[0]);
		flow_free(&p->conns[i].flow);
	}
	free(p->conns);
	free(p->mem);
	if (p->fds)
		sock_close_all(p->fds, p->n);
}

static int uring_serve(struct side *s)
{
	struct uring_peer p = { 0 };
	int ret = sock_accept_all(s, &p.fds, &p.n);

	if (!ret)
		ret = uring_init(&p, s, false);
	while (!ret && p.closed < p.n)
		ret = uring_round(&p);
	uring_free(&p);
	return ret < 0 ? ret : 0;
}

static int uring_open(struct side *s, void **client)
{
	struct uring_peer *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	*client = p;
	ret = sock_connect_all(s, &p->fds);
	if (ret)
		return ret;
	p->n = s->opts->connections;
	return uring_init(p, s, true);
}

static int uring_run(struct side *s, void *client)
{
	struct uring_peer *p = client;
	uint32_t w, windows = s->mode == MODE_STREAM ? 1 : s->opts->window;
	unsigned int i;
	uint64_t t;
	int ret = 0;

	slice_begin(s, &p->clock, ticks());
	for (w = 0; w < windows; w++) {
		for (i = 0; i < p->n && !ret; i++) {
			t = ticks();
			if (!slice_next(&p->clock, t))
				break;
			flow_sent(&p->conns[i].flow, t);
			p->under_way++;
			ret = queue_bytes(p, i, NULL, s->opts->size);
		}
	}
	while (p->under_way && !ret)
		ret = uring_round(p);
	return ret;
}

static void uring_close(struct side *s, void *client)
{
	uring_free(client);
	free(client);
}

static bool uring_can(enum over over, enum mode mode)
{
	return over == OVER_TCP || over == OVER_UNIX;
}

const struct side_kind side_uring = {
	.name = "uring-raw",
	.can = uring_can,
	.serve = uring_serve,
	.open = uring_open,
	.run = uring_run,
	.close = uring_close,
};
