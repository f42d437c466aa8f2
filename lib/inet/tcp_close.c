/* SPDX-License-Identifier: MIT */
/* How connections end: RFC 9293 3.6, 3.10.4, 3.10.5, RFC 1122 4.2.2.13. */
#include "core/framing.h"
#include "inet/tcp_stack.h"

#include <stdlib.h>

#define FIN_WAIT_2_NS (60 * DEMI_TCP_S) /* nobody waits for the peer's end for ever when nobody reads it */

/* ---- the halves ---- */

/* 3.10.4: the FIN follows what has been pushed */
static void end_sending(struct demi_tcp *t)
{
	if (t->s.shut_wr)
		return;
	t->s.shut_wr = true;
	if (t->state == DEMI_TCP_ESTABLISHED)
		t->state = DEMI_TCP_FIN_WAIT_1;
	else if (t->state == DEMI_TCP_CLOSE_WAIT)
		t->state = DEMI_TCP_LAST_ACK;
	demi_tcp_fast_update(t);
	demi_tcp_want_output(t);
}

int demi_tcp_shutdown(struct demi_queue *q, int how)
{
	struct demi_tcp *t = DEMI_TCP(q);

	if (t->dead || t->state < DEMI_TCP_ESTABLISHED)
		return -ENOTCONN;
	demi_tcp_forget(t);
	demi_tcp_settle(t);
	if (how != SHUT_RD)
		end_sending(t);
	if (how != SHUT_WR) {
		t->s.shut_rd = true;
		demi_tcp_rx_drop(t);
		demi_tcp_fast_update(t);
		demi_tcp_rx_deliver(t);
	}
	return 0;
}

void demi_tcp_fin_received(struct demi_tcp *t)
{
	t->rd_end = true;
	demi_tcp_ooo_drop(t);
	if (t->framed && demi_framing_cut_off(t->framed))
		t->s.err = EBADMSG;
	switch (t->state) {
	case DEMI_TCP_ESTABLISHED:
		t->state = DEMI_TCP_CLOSE_WAIT;
		break;
	case DEMI_TCP_FIN_WAIT_1:
		t->state = DEMI_TCP_CLOSING;
		break;
	case DEMI_TCP_FIN_WAIT_2:
		demi_tcp_rx_deliver(t);
		demi_tcp_time_wait(t);
		return;
	}
	demi_tcp_rx_deliver(t);
}

void demi_tcp_drained(struct demi_tcp *t)
{
	if (t->draining && !t->s.inflight && (t->sent_all || t->dead)) {
		t->draining = false;
		t->s.in->draining--;
	}
}

void demi_tcp_fin_acked(struct demi_tcp *t)
{
	switch (t->state) {
	case DEMI_TCP_FIN_WAIT_1:
		t->state = DEMI_TCP_FIN_WAIT_2;
		if (t->s.q.closed) {
			t->end_ns = t->s.in->now_ns + FIN_WAIT_2_NS;
			demi_tcp_timer_sync(t);
		}
		break;
	case DEMI_TCP_CLOSING:
		demi_tcp_time_wait(t);
		break;
	case DEMI_TCP_LAST_ACK:
		demi_tcp_end(t, 0);
		break;
	}
	t->sent_all = true;
	demi_tcp_drained(t);
}

/* ---- the end ---- */

/* Not before its last packet has left: without a flow the device sends nothing from the port. */
static void release_port(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;

	if (t->has_flow && in->dev)
		in->dev->ops->flow_del(in->dev, t->flow);
	t->has_flow = false;
	if (!t->port)
		return;
	if (t->owns_port)
		t->port->bound = false;
	demi_tcp_port_put(in, t->port);
	t->port = NULL;
}

/* Everything but the descriptor and what pops still get. */
static void tear_down(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;
	uint32_t fin = t->fin_sent && t->snd_una != t->snd_nxt;

	demi_tcp_settle(t);
	if (t->state >= DEMI_TCP_ESTABLISHED && t->snd_end != t->snd_una)
		demi_ctx_uncharge(in->ctx, t->snd_end - t->snd_una + (t->fin_sent && !fin ? 1 : 0));
	t->dead = true;
	t->fast = false;
	t->rd_end = true;
	t->s.shut_wr = true;
	t->state = DEMI_TCP_CLOSED;
	t->xmit = DEMI_TCP_XMIT_NONE;
	demi_timer_cancel(&in->tcp->timers, &t->timer);
	if (t->delack.next)
		demi_inet_link_del(&t->delack);
	t->ack_later = t->ack_now = false;
	demi_inet_sock_unhash(&t->s);
	demi_tcp_recs_drop(t);
	demi_tcp_ooo_drop(t);
	if (t->live) {
		t->live = false;
		in->ctx->live_conns--;
		in->count.TcpCurrEstab--;
	}
}

void demi_tcp_end(struct demi_tcp *t, int err)
{
	if (t->dead)
		return;
	if (t->state < DEMI_TCP_ESTABLISHED && t->state != DEMI_TCP_CLOSED && t->installed && !t->s.q.closed) {
		demi_tcp_connect_failed(t, err);
		return;
	}
	tear_down(t);
	demi_tcp_chunks_drop(t, err ? err : ECONNRESET);
	if (err && !t->s.q.closed)
		t->s.err = (uint16_t)err;
	if (t->parent)
		demi_tcp_child_gone(t);
	if (!t->s.q.closed && t->installed)
		demi_tcp_rx_deliver(t);
	demi_tcp_put(t);
}

void demi_tcp_abort(struct demi_tcp *t, int err)
{
	if (t->dead)
		return;
	if (t->state >= DEMI_TCP_SYN_RCVD) {
		demi_tcp_send_reset(t);
		t->s.in->count.TcpExtTCPAbort++;
	}
	demi_tcp_end(t, err);
}

/* The time for the end is over: linger, or FIN-WAIT-2 of a closed connection. */
void demi_tcp_give_up(struct demi_tcp *t)
{
	if (t->state == DEMI_TCP_FIN_WAIT_2)
		demi_tcp_end(t, 0);
	else
		demi_tcp_abort(t, ECANCELED);
}

void demi_tcp_time_wait(struct demi_tcp *t)
{
	if (t->ack_now)
		demi_tcp_send_ack(t);
	if (!demi_tcp_tw_add(t)) { /* port and flow are its now */
		t->port = NULL;
		t->has_flow = false;
	}
	demi_tcp_end(t, 0);
}

void demi_tcp_put(struct demi_tcp *t)
{
	if (!t->dead || t->s.inflight)
		return;
	release_port(t);
	demi_tcp_drained(t);
	/* not here: whoever calls may still look at it */
	if (t->s.q.closed || !t->installed)
		demi_tcp_want_output(t);
}

/* Called by demi_tcp_run() for what demi_tcp_put() has left to it. */
void demi_tcp_free(struct demi_tcp *t)
{
	release_port(t);
	demi_tcp_rx_drop(t);
	demi_framing_free(t->framed);
	t->framed = NULL;
	demi_inet_link_del(&t->s.all);
	if (t->installed)
		demi_queue_put(&t->s.q);
	else
		free(t);
}

static bool unread(const struct demi_tcp *t)
{
	return t->rx_head || t->ooo || (t->framed && demi_framing_ready(t->framed));
}

void demi_tcp_close(struct demi_queue *q)
{
	struct demi_tcp *t = DEMI_TCP(q);
	bool lost = unread(t), listening = t->state == DEMI_TCP_LISTEN;

	demi_tcp_settle(t);
	demi_op_fail_list(&t->ops, ECANCELED);
	t->ops.head = t->ops.tail = NULL;
	demi_tcp_rx_drop(t);
	if (listening)
		demi_tcp_listen_close(t);
	if (t->state < DEMI_TCP_ESTABLISHED) {
		if (t->state == DEMI_TCP_SYN_RCVD)
			demi_tcp_send_reset(t);
		if (!t->dead)
			tear_down(t);
	}
	t->draining = true;
	t->s.in->draining++;
	if (t->dead) {
		demi_tcp_put(t);
		return;
	}
	if (t->linger_reset || q->reset || lost) {
		demi_tcp_abort(t, ECANCELED);
		return;
	}
	if (t->live) {
		t->live = false;
		q->ctx->live_conns--;
		t->s.in->count.TcpCurrEstab--;
	}
	if (t->state == DEMI_TCP_FIN_WAIT_2) /* was shut down before */
		t->sent_all = true;
	demi_tcp_ooo_drop(t);
	end_sending(t);
	t->fast = false;
	t->late_start = true; /* linger and FIN-WAIT-2 are timed from the next run on */
	demi_tcp_want_output(t);
	demi_tcp_drained(t);
}

/* Deadlines that a call has asked for: calls do not know the time. */
void demi_tcp_late_start(struct demi_tcp *t)
{
	uint64_t now_ns = t->s.in->now_ns;

	t->late_start = false;
	if (t->s.q.closed && t->state == DEMI_TCP_FIN_WAIT_2)
		t->end_ns = now_ns + FIN_WAIT_2_NS;
	else if (t->s.q.closed && t->linger_s > 0)
		t->end_ns = now_ns + (uint32_t)t->linger_s * DEMI_TCP_S;
	if (!t->s.q.closed)
		demi_tcp_keepalive_start(t);
	demi_tcp_timer_sync(t);
}
