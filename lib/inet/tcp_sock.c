/* SPDX-License-Identifier: MIT */
/* TCP sockets as queues, and what all of a stack's connections share. */
#include "core/config.h"
#include "core/framing.h"
#include "inet/tcp_stack.h"

#include <demi/sockopt.h>

#include <stdlib.h>
#include <string.h>

#define MAXMSG (16U << 20)

/* ---- pushing ---- */

static int push_allowed(struct demi_tcp *t)
{
	int err;

	if (t->state >= DEMI_TCP_ESTABLISHED && !t->s.shut_wr && !t->s.in->dead)
		return 0;
	err = demi_inet_sock_take_err(&t->s);
	if (err)
		return -err;
	return t->was_open ? -EPIPE : -ENOTCONN;
}

/* A message: its head and its segments. */
static int push_framed(struct demi_tcp *t, struct demi_op *op, const demi_sgarray_t *sga)
{
	uint32_t lens[DEMI_SGARRAY_MAXSIZE];
	char head[DEMI_FRAME_MAX_HEAD];
	uint64_t total = 0;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		lens[i] = sga->sga_segs[i].sgaseg_len;
		if (!lens[i])
			return -EINVAL;
		total += lens[i];
	}
	if (total > t->maxmsg)
		return -EMSGSIZE;
	return demi_tcp_chunks_push(t, op, head, demi_frame_head(head, lens, sga->sga_numsegs), sga);
}

static int tcp_push(struct demi_queue *q, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		    socklen_t tolen)
{
	struct demi_tcp *t = DEMI_TCP(q);
	int err;

	demi_tcp_settle(t);
	err = push_allowed(t);
	if (__builtin_expect(err, 0))
		return err;
	if (__builtin_expect(t->framed != NULL, 0))
		err = push_framed(t, op, sga);
	else
		err = demi_tcp_chunks_push(t, op, NULL, 0, sga);
	if (!err)
		demi_tcp_want_output(t);
	return err;
}

static int tcp_cancel(struct demi_queue *q, struct demi_op *op)
{
	struct demi_tcp *t = DEMI_TCP(q);

	switch (op->opcode) {
	case DEMI_OPC_POP:
	case DEMI_OPC_ACCEPT:
		demi_op_list_del(&t->ops, op);
		demi_op_fail(op, ECANCELED);
		return 0;
	case DEMI_OPC_CONNECT:
		demi_tcp_abort(t, ECANCELED);
		return 0;
	default:
		return -EALREADY;
	}
}

/* The last holder has gone. */
static void tcp_destroy(struct demi_queue *q)
{
	free(q);
}

static struct demi_queue_ops tcp_ops = {
	.name = "tcp",
	.push = tcp_push,
	.pop = demi_tcp_pop,
	.push_now = demi_tcp_push_now,
	.pop_now = demi_tcp_pop_now,
	.accept = demi_tcp_accept,
	.connect = demi_tcp_connect,
	.cancel = tcp_cancel,
	.bind = demi_tcp_bind,
	.listen = demi_tcp_listen,
	.shutdown = demi_tcp_shutdown,
	.setsockopt = demi_tcp_setsockopt,
	.getsockopt = demi_tcp_getsockopt,
	.getsockname = demi_inet_getsockname,
	.getpeername = demi_inet_getpeername,
	.close = demi_tcp_close,
	.abort = demi_tcp_last,
	.destroy = tcp_destroy,
};

__attribute__((constructor)) static void tcp_ops_init(void)
{
	demi_queue_ops_fill(&tcp_ops);
}

/* ---- making ---- */

struct demi_tcp *demi_tcp_alloc(struct demi_inet *in, int domain)
{
	const struct demi_config *c = &demi_config;
	struct demi_tcp *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	demi_inet_sock_setup(&t->s, in, domain, IPPROTO_TCP);
	t->s.q.ctx = in->ctx;
	t->s.q.holds = 1;
	t->s.rcvbuf_bytes = c->readahead_bytes > DEMI_TCP_RCVBUF ? c->readahead_bytes : DEMI_TCP_RCVBUF;
	t->cc = &demi_cc_cubic;
	t->maxsegs = 1;
	t->maxmsg = MAXMSG;
	t->rto_us = DEMI_TCP_RTO_INIT_US;
	t->rto_min_us = DEMI_TCP_RTO_MIN_US;
	t->min_rtt_us = UINT32_MAX;
	t->reo_mult = 1;
	t->syn_retries = DEMI_TCP_SYN_RETRIES;
	t->nodelay = c->tcp_nodelay;
	t->keepalive = c->tcp_keepalive;
	t->keep_idle_s = c->tcp_keepalive_ms ? (c->tcp_keepalive_ms + 999) / 1000 : 7200;
	t->keep_intvl_s = c->tcp_keepalive_interval_ms ? (c->tcp_keepalive_interval_ms + 999) / 1000 : 75;
	t->keep_cnt = 9;
	t->linger_s = -1;
	if (c->tcp_linger) {
		t->linger_reset = !c->tcp_linger_s;
		t->linger_s = c->tcp_linger_s < 32768 ? (int32_t)c->tcp_linger_s : 32767;
	}
	demi_tcp_timer_init(t);
	demi_inet_link_add(&in->tcp->all, &t->s.all);
	return t;
}

void demi_tcp_discard(struct demi_tcp *t)
{
	demi_framing_free(t->framed);
	demi_inet_link_del(&t->s.all);
	free(t);
}

int demi_tcp_install(struct demi_tcp *t)
{
	int err = demi_queue_install(t->s.in->ctx, &t->s.q, &tcp_ops);

	t->installed = !err;
	return err;
}

int demi_tcp_create(struct demi_inet *in, int domain, struct demi_queue **q_out)
{
	struct demi_tcp *t = demi_tcp_alloc(in, domain);
	int err;

	if (!t)
		return -ENOMEM;
	err = demi_tcp_install(t);
	if (err) {
		demi_tcp_discard(t);
		return err;
	}
	*q_out = &t->s.q;
	return 0;
}

/* ---- the stack ---- */

int demi_tcp_init(struct demi_inet *in, const struct demi_inet_secrets *secrets)
{
	struct demi_tcp_stack *ts = calloc(1, sizeof(*ts));
	int err;

	if (!ts)
		return -ENOMEM;
	in->tcp = ts;
	demi_inet_link_init(&ts->out);
	demi_inet_link_init(&ts->delack);
	demi_inet_link_init(&ts->all);
	memcpy(ts->key, secrets->tcp, sizeof(ts->key));
	demi_tcp_tw_init(in);
	err = demi_demux_init(&ts->demux, secrets->demux);
	if (err) {
		free(ts);
		in->tcp = NULL;
	}
	return err;
}

static struct demi_tcp *of_all(struct demi_inet_link *l)
{
	return (struct demi_tcp *)((char *)l - offsetof(struct demi_tcp, s.all));
}

void demi_tcp_device_gone(struct demi_inet *in, int err)
{
	struct demi_inet_link *l, *next;

	for (l = in->tcp->all.next; l != &in->tcp->all; l = next) {
		struct demi_tcp *t = of_all(l);

		next = l->next;
		if (t->state == DEMI_TCP_LISTEN)
			demi_op_fail_list(&t->ops, err);
		else
			demi_tcp_end(t, err);
	}
}

void demi_tcp_exit(struct demi_inet *in)
{
	struct demi_tcp_stack *ts = in->tcp;
	struct demi_inet_link *l;

	if (!ts)
		return;
	while ((l = ts->all.next) != &ts->all) {
		struct demi_tcp *t = of_all(l);

		t->s.inflight = 0; /* the device is gone, and its frames are */
		if (t->installed && !t->s.q.closed) {
			t->s.q.reset = true;
			demi_queue_close(&t->s.q);
		} else {
			demi_tcp_end(t, ECANCELED);
		}
		if (t->out.next)
			demi_inet_link_del(&t->out);
		demi_tcp_free(t);
	}
	demi_tcp_tw_exit(in);
	demi_tcp_chunk_cache_free(in);
	demi_tcp_rec_cache_free(in);
	demi_tcp_rx_cache_free(in);
	demi_timers_destroy(&ts->timers);
	demi_demux_destroy(&ts->demux);
	free(ts->ports);
	free(ts);
	in->tcp = NULL;
}

void demi_tcp_run(struct demi_inet *in)
{
	struct demi_tcp_stack *ts = in->tcp;
	struct demi_inet_link *l;

	if (demi_timers_next(&ts->timers) <= in->now_ns)
		demi_timers_run(&ts->timers, in->now_ns);
	while ((l = ts->delack.next) != &ts->delack && demi_tcp_of_delack(l)->delack_ns <= in->now_ns) {
		struct demi_tcp *t = demi_tcp_of_delack(l);

		demi_inet_link_del(l);
		if (!t->ack_later)
			continue;
		t->ack_later = false;
		t->ack_now = true;
		demi_tcp_want_output(t);
	}
	while ((l = ts->out.next) != &ts->out) {
		struct demi_tcp *t = demi_tcp_of_out(l);

		demi_inet_link_del(l);
		if (__builtin_expect(t->dead, 0)) {
			if (!t->s.inflight && (t->s.q.closed || !t->installed))
				demi_tcp_free(t);
			continue;
		}
		demi_tcp_output(t);
	}
	in->due_ns = demi_tcp_deadline(in);
}
