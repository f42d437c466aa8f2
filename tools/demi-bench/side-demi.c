/* SPDX-License-Identifier: MIT */
/* libdemi as a side: an echo server and client as an application would write them. */
#include "device.h"
#include "sock.h"

#include <demi/demi.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULTS 64
#define STREAM_POPS 4 /* under way on each connection of a stream's server */

struct demi_peer {
	struct side *s;
	int *qds;
	unsigned int n, closed;
	demi_sgarray_t msg; /* what the client sends again and again; the library copies or lends it */
	struct flow *flows; /* by queue descriptor */
	unsigned int nflows;
	uint64_t under_way; /* echo: messages; stream: pushes */
	uint64_t pushes; /* results still to come besides */
	uint64_t calls0, copied0;
	struct slice_clock clock;
};

static demi_ctx_t *stop_ctx;

static void stop_demi(void)
{
	demi_wakeup(stop_ctx);
}

static uint64_t counter(const char *name)
{
	uint64_t v;

	return demi_counter(&v, name) ? 0 : v;
}

/*
 * The affinity is set after demi_init(): a library that finds itself on one CPU rightly never spins, but here
 * each process has a CPU of its own.
 */
static int peer_init(struct demi_peer *p, struct side *s, bool server)
{
	char us[24];
	int ret;

	p->s = s;
	snprintf(us, sizeof(us), "%lld", (long long)s->opts->spin_us);
	if (s->opts->spin_us >= 0 && setenv("DEMI_SPIN_US", us, 1))
		return -errno;
	ret = device_environment(s, server);
	if (!ret)
		ret = -demi_init(NULL);
	return ret ? ret : side_pin(s, server);
}

static int make_socket(struct side *s, int *qd)
{
	int ret = demi_socket(qd, s->over == OVER_UNIX ? AF_UNIX : AF_INET,
			      s->over == OVER_UDP ? SOCK_DGRAM : SOCK_STREAM, 0);
	int one = 1;

	if (!ret && s->opts->framed)
		ret = demi_setsockopt(*qd, DEMI_SOL, DEMI_SO_FRAMED, &one, sizeof(one));
	return ret;
}

static int server_accept(struct demi_peer *p, int listener)
{
	int one = 1, ret = 0;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	unsigned int i;

	for (i = 0; i < p->n && !ret; i++) {
		ret = demi_accept(&qt, listener);
		if (!ret)
			ret = demi_wait(&qr, qt, NULL);
		if (!ret && qr.qr_opcode != DEMI_OPC_ACCEPT)
			ret = (int)qr.qr_ret;
		if (!ret) {
			p->qds[i] = qr.qr_value.ares.qd;
			if (p->s->opts->framed)
				ret = demi_setsockopt(p->qds[i], DEMI_SOL, DEMI_SO_FRAMED, &one, sizeof(one));
		}
	}
	return ret;
}

static int server_open(struct demi_peer *p)
{
	struct side *s = p->s;
	int qd, ret;

	p->n = s->over == OVER_UDP || s->over == OVER_PIPE ? 1 : s->opts->connections;
	p->qds = calloc(p->n, sizeof(int));
	if (!p->qds)
		return ENOMEM;
	if (s->over == OVER_PIPE) {
		ret = demi_create_pipe(&p->qds[0], s->path);
		if (!ret)
			side_ready(s);
		return ret;
	}
	if (!device_address(s, &s->addr, &s->addrlen))
		sock_local(s, &s->addr, &s->addrlen);
	ret = make_socket(s, &qd);
	if (!ret)
		ret = demi_bind(qd, (struct sockaddr *)&s->addr, s->addrlen);
	if (!ret)
		ret = demi_getsockname(qd, (struct sockaddr *)&s->addr, &s->addrlen);
	if (!ret && s->over != OVER_UDP)
		ret = demi_listen(qd, 4096);
	if (ret)
		return ret;
	side_ready(s);
	if (s->over == OVER_UDP) {
		p->qds[0] = qd;
		return 0;
	}
	ret = server_accept(p, qd);
	if (!ret)
		ret = demi_close(qd);
	return ret;
}

/* Send @sga back to where it came from and give it up: the queue has what it still needs. */
static int echo_back(struct demi_peer *p, int qd, demi_sgarray_t *sga, demi_qtoken_t *qt)
{
	int ret;

	if (p->s->over == OVER_UDP)
		ret = demi_pushto(qt, qd, sga, (struct sockaddr *)&sga->sga_addr, sizeof(sga->sga_addr));
	else
		ret = demi_push(qt, qd, sga);
	demi_sgafree(sga);
	return ret;
}

/* One connection, one message at a time: two tokens, each waited for by name. */
static int serve_single(struct demi_peer *p)
{
	demi_qtoken_t pop, push;
	demi_qresult_t qr;
	int qd = p->qds[0];
	int ret;

	for (;;) {
		ret = demi_pop(&pop, qd);
		if (!ret)
			ret = demi_wait(&qr, pop, NULL);
		if (ret)
			return ret;
		if (qr.qr_opcode != DEMI_OPC_POP)
			return (int)qr.qr_ret;
		if (!qr.qr_value.sga.sga_segs[0].sgaseg_len && p->s->over != OVER_UDP)
			return demi_sgafree(&qr.qr_value.sga), 0;
		ret = echo_back(p, qd, &qr.qr_value.sga, &push);
		if (!ret)
			ret = demi_wait(&qr, push, NULL);
		if (ret)
			return ret;
	}
}

/* A completed pop of the server with many connections. */
static int serve_popped(struct demi_peer *p, demi_qresult_t *qr)
{
	demi_sgarray_t *sga = &qr->qr_value.sga;
	demi_qtoken_t qt;
	int ret;

	if (!sga->sga_segs[0].sgaseg_len && p->s->over != OVER_UDP) {
		demi_sgafree(sga);
		p->closed++;
		return demi_close(qr->qr_qd);
	}
	if (p->s->mode == MODE_STREAM) {
		atomic_store_explicit(&p->s->bytes,
				      atomic_load_explicit(&p->s->bytes, memory_order_relaxed) +
					      sga->sga_segs[0].sgaseg_len,
				      memory_order_relaxed);
		demi_sgafree(sga);
	} else {
		ret = echo_back(p, qr->qr_qd, sga, &qt);
		if (ret)
			return ret;
	}
	return demi_pop(&qt, qr->qr_qd);
}

static int serve_many(struct demi_peer *p)
{
	unsigned int pops = p->s->mode == MODE_STREAM ? STREAM_POPS : 1, i, k;
	demi_qresult_t qr[RESULTS];
	demi_qtoken_t qt;
	int ret = 0, n, j;

	for (i = 0; i < p->n && !ret; i++)
		for (k = 0; k < pops && !ret; k++)
			ret = demi_pop(&qt, p->qds[i]);
	while (!ret && p->closed < p->n) {
		ret = demi_wait_next_n(qr, RESULTS, &n, NULL);
		if (ret)
			break;
		for (j = 0; j < n && !ret; j++)
			if (qr[j].qr_opcode == DEMI_OPC_POP)
				ret = serve_popped(p, &qr[j]);
	}
	return ret;
}

/* How the server's loop ends when its clients went away or it was told to stop. */
static bool server_end(const struct side *s, int ret)
{
	return !ret || side_stopped((struct side *)s) || ret == ENOENT || ret == ECONNRESET || ret == EPIPE ||
	       ret == EBADF || ret == ECANCELED;
}

static int demi_serve(struct side *s)
{
	struct demi_peer p = { 0 };
	int ret = peer_init(&p, s, true);

	if (ret)
		return ret;
	ret = demi_self(&stop_ctx);
	if (!ret)
		side_on_stop(stop_demi);
	if (!ret)
		ret = server_open(&p);
	if (ret) {
		free(p.qds);
		return -ret;
	}
	p.calls0 = counter("syscalls");
	if (p.n == 1 && s->opts->connections == 1 && s->mode == MODE_ECHO && s->opts->window == 1)
		ret = serve_single(&p);
	else
		ret = serve_many(&p);
	s->server_use.calls = counter("syscalls") - p.calls0;
	free(p.qds);
	return server_end(s, ret) ? 0 : -ret;
}

static int connect_one(struct demi_peer *p, int *qd)
{
	struct side *s = p->s;
	demi_qresult_t qr;
	demi_qtoken_t qt;
	int ret;

	if (s->over == OVER_PIPE)
		return demi_open_pipe(qd, s->path);
	ret = make_socket(s, qd);
	if (!ret)
		ret = demi_connect(&qt, *qd, (struct sockaddr *)&s->addr, s->addrlen);
	if (!ret)
		ret = demi_wait(&qr, qt, NULL);
	return ret ? ret : (int)qr.qr_ret;
}

static int client_flow(struct demi_peer *p, int qd)
{
	struct flow *f;

	if ((unsigned int)qd >= p->nflows) {
		f = reallocarray(p->flows, (size_t)qd + 1, sizeof(*f));
		if (!f)
			return ENOMEM;
		memset(f + p->nflows, 0, ((size_t)qd + 1 - p->nflows) * sizeof(*f));
		p->flows = f;
		p->nflows = (unsigned int)qd + 1;
	}
	return -flow_init(&p->flows[qd], p->s->opts);
}

static int demi_open_client(struct side *s, void **client)
{
	struct demi_peer *p = calloc(1, sizeof(*p));
	unsigned int i;
	int ret;

	if (!p)
		return -ENOMEM;
	*client = p;
	ret = peer_init(p, s, false);
	if (ret)
		return ret;
	p->n = s->opts->connections;
	p->qds = calloc(p->n, sizeof(int));
	p->msg = demi_sgaalloc(s->opts->size);
	if (!p->qds || !p->msg.sga_numsegs)
		return -ENOMEM;
	memset(p->msg.sga_segs[0].sgaseg_buf, 'd', s->opts->size);
	for (i = 0; i < p->n; i++) {
		ret = connect_one(p, &p->qds[i]);
		if (!ret)
			ret = client_flow(p, p->qds[i]);
		if (ret)
			return -ret;
	}
	p->calls0 = counter("syscalls");
	p->copied0 = counter("copied_bytes");
	return 0;
}

/* One message at a time on one connection. */
static int ping_pong(struct demi_peer *p)
{
	struct side *s = p->s;
	demi_qtoken_t push, pop;
	demi_qresult_t qr;
	uint64_t t = ticks(), now;
	uint32_t got;
	int ret;

	while (slice_next(&p->clock, t)) {
		ret = demi_push(&push, p->qds[0], &p->msg);
		if (!ret)
			ret = demi_wait(&qr, push, NULL);
		for (got = 0; got < s->opts->size && !ret; got += qr.qr_value.sga.sga_segs[0].sgaseg_len) {
			if (got || qr.qr_opcode == DEMI_OPC_POP)
				demi_sgafree(&qr.qr_value.sga);
			ret = demi_pop(&pop, p->qds[0]);
			if (!ret)
				ret = demi_wait(&qr, pop, NULL);
			if (!ret && (qr.qr_opcode != DEMI_OPC_POP || !qr.qr_value.sga.sga_segs[0].sgaseg_len))
				ret = qr.qr_ret ? (int)qr.qr_ret : ECONNRESET;
		}
		if (ret)
			return ret;
		now = ticks();
		hist_record(s->hist, ticks_ns(now - t));
		s->slice.ops++;
		t = now;
		demi_sgafree(&qr.qr_value.sga);
	}
	return 0;
}

static int push_one(struct demi_peer *p, int qd, uint64_t t)
{
	demi_qtoken_t qt;

	if (!slice_next(&p->clock, t))
		return 0;
	flow_sent(&p->flows[qd], t);
	p->under_way++;
	p->pushes++;
	return demi_push(&qt, qd, &p->msg);
}

static int client_popped(struct demi_peer *p, demi_qresult_t *qr, uint64_t t)
{
	uint32_t len = qr->qr_value.sga.sga_segs[0].sgaseg_len, done;
	demi_qtoken_t qt;
	int ret;

	demi_sgafree(&qr->qr_value.sga);
	if (!len)
		return ECONNRESET;
	ret = demi_pop(&qt, qr->qr_qd);
	done = flow_got(&p->flows[qr->qr_qd], p->s, len, t);
	p->under_way -= done;
	while (done-- && !ret)
		ret = push_one(p, qr->qr_qd, t);
	return ret;
}

/* Many connections or messages. The pops that are left over at the end of a slice wait for the next one. */
static int echo_many(struct demi_peer *p)
{
	demi_qresult_t qr[RESULTS];
	demi_qtoken_t qt;
	unsigned int i, w;
	int ret = 0, n, j;
	uint64_t t;

	for (i = 0; i < p->n && !ret && !p->closed; i++)
		ret = demi_pop(&qt, p->qds[i]);
	p->closed = 1; /* the pops are there */
	for (w = 0; w < p->s->opts->window; w++)
		for (i = 0; i < p->n && !ret; i++)
			ret = push_one(p, p->qds[i], ticks());
	while ((p->under_way || p->pushes) && !ret) {
		ret = demi_wait_next_n(qr, RESULTS, &n, NULL);
		t = ticks();
		for (j = 0; j < n && !ret; j++) {
			if (qr[j].qr_opcode == DEMI_OPC_FAILED)
				return (int)qr[j].qr_ret;
			if (qr[j].qr_opcode == DEMI_OPC_PUSH)
				p->pushes--;
			else
				ret = client_popped(p, &qr[j], t);
		}
	}
	return ret;
}

static int flood_one(struct demi_peer *p, int qd)
{
	demi_qtoken_t qt;

	if (!slice_next(&p->clock, ticks()))
		return 0;
	p->under_way++;
	return demi_push(&qt, qd, &p->msg);
}

static int flood(struct demi_peer *p)
{
	demi_qresult_t qr[RESULTS];
	unsigned int i, w;
	int ret = 0, n, j;

	for (w = 0; w < p->s->opts->window; w++)
		for (i = 0; i < p->n && !ret; i++)
			ret = flood_one(p, p->qds[i]);
	while (p->under_way && !ret) {
		ret = demi_wait_next_n(qr, RESULTS, &n, NULL);
		for (j = 0; j < n && !ret; j++) {
			if (qr[j].qr_opcode != DEMI_OPC_PUSH)
				return (int)qr[j].qr_ret;
			p->under_way--;
			p->s->slice.ops++;
			ret = flood_one(p, qr[j].qr_qd);
		}
	}
	return ret;
}

static int demi_run(struct side *s, void *client)
{
	struct demi_peer *p = client;
	int ret;

	slice_begin(s, &p->clock, ticks());
	if (s->mode == MODE_STREAM)
		ret = flood(p);
	else if (p->n == 1 && s->opts->window == 1)
		ret = ping_pong(p);
	else
		ret = echo_many(p);
	s->client_use.calls = counter("syscalls") - p->calls0;
	s->client_use.copied = counter("copied_bytes") - p->copied0;
	return -ret;
}

static void demi_close_client(struct side *s, void *client)
{
	struct demi_peer *p = client;
	unsigned int i;

	for (i = 0; i < p->n; i++)
		demi_close(p->qds[i]);
	for (i = 0; i < p->nflows; i++)
		flow_free(&p->flows[i]);
	demi_sgafree(&p->msg);
	free(p->flows);
	free(p->qds);
	free(p);
}

static bool demi_can(enum over over, enum mode mode)
{
	return over < OVER_NONE;
}

/* libdemi, on whatever device.c says for a side of this name */
#define SIDE_OF_LIBDEMI(its_name)                                                                                      \
	{                                                                                                              \
		.name = (its_name), .is_libdemi = true, .pins_itself = true, .can = demi_can, .serve = demi_serve,     \
		.open = demi_open_client, .run = demi_run, .close = demi_close_client,                                 \
	}

const struct side_kind side_demi = SIDE_OF_LIBDEMI("demi");
const struct side_kind side_dpdk = SIDE_OF_LIBDEMI("dpdk");
