/* SPDX-License-Identifier: MIT */
/* Active open: RFC 9293 3.10.1, and what every connection begins with. */
#include "inet/tcp_stack.h"

#include <string.h>

uint16_t demi_tcp_syn_mss(const struct demi_tcp *t)
{
	uint32_t hdr = (demi_ip_is4(&t->s.peer.dst.ip) ? sizeof(struct demi_ip4_hdr) : sizeof(struct demi_ip6_hdr)) +
		       sizeof(struct demi_tcp_hdr);
	uint32_t mtu = t->s.peer.mtu_bytes < t->s.in->dev->mtu_bytes ? t->s.peer.mtu_bytes : t->s.in->dev->mtu_bytes;
	uint32_t mss = mtu > hdr + DEMI_TCP_MSS_MIN ? mtu - hdr : DEMI_TCP_MSS_MIN;

	if (t->mss_user && t->mss_user < mss)
		mss = t->mss_user;
	return (uint16_t)(mss < 65535 ? mss : 65535);
}

/* RFC 7323 2: the scale with which the buffer can be offered. */
static uint8_t wscale_for(uint32_t bytes)
{
	uint8_t shift = 0;

	while (shift < DEMI_TCP_WSCALE_MAX && 65535U << shift < bytes)
		shift++;
	return shift;
}

void demi_tcp_start(struct demi_tcp *t, uint32_t irs, uint32_t wnd, const struct demi_tcp_opts *o)
{
	uint16_t mss = o->mss ? o->mss : demi_ip_is4(&t->s.peer.dst.ip) ? DEMI_TCP_MSS_DEFAULT : 1220;

	t->rcv_nxt = t->rcv_acked = irs + 1;
	t->rcv_adv = t->rcv_nxt + (t->s.rcvbuf_bytes < 65535 ? t->s.rcvbuf_bytes : 65535);
	t->snd_wnd = t->snd_wnd_max = wnd;
	t->wnd_word = 0;
	t->snd_wl1 = irs;
	t->ws_ok = o->ws;
	t->snd_wscale = o->ws ? o->wscale : 0;
	if (!o->ws)
		t->rcv_wscale = 0;
	t->ts_ok = o->ts;
	t->ts_recent = o->tsval;
	t->ts_recent_ms = demi_tcp_ts_now(t->s.in);
	t->sack_ok = o->sack_ok;
	t->mss_peer = mss < DEMI_TCP_MSS_MIN ? DEMI_TCP_MSS_MIN : mss;
	demi_tcp_mss_sync(t);
	t->rcv_mss = t->mss < DEMI_TCP_MSS_DEFAULT ? t->mss : DEMI_TCP_MSS_DEFAULT;
	t->rcv_ns = t->s.in->now_ns;
}

void demi_tcp_established(struct demi_tcp *t)
{
	struct demi_op *op = t->ops.head;

	t->state = t->s.shut_wr ? DEMI_TCP_FIN_WAIT_1 : DEMI_TCP_ESTABLISHED;
	t->was_open = true;
	t->ssthresh = INT32_MAX;
	/* RFC 6298 (5.7): an answer that took so long is no estimate; RFC 6928 2: and then one segment is enough */
	t->cwnd = t->retries ? t->mss : demi_tcp_initial_window(t);
	if (t->retries && t->rto_us < 3000000)
		t->rto_us = 3000000;
	t->backoff = t->retries = 0;
	t->xmit = DEMI_TCP_XMIT_NONE;
	t->last_send_ns = t->stuck_ns = 0;
	t->recover = t->cwr_end = t->snd_una;
	t->cc->init(t);
	t->live = true;
	t->s.in->ctx->live_conns++;
	t->s.in->count.TcpCurrEstab++;
	demi_tcp_keepalive_start(t);
	demi_tcp_fast_update(t);
	if (op && op->opcode == DEMI_OPC_CONNECT) {
		demi_op_list_del(&t->ops, op);
		demi_op_complete(op);
	}
}

/* A connection with these addresses that ended not long ago: RFC 6191, its numbers are not used again. */
static void choose_numbers(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;
	uint32_t old;

	t->iss = demi_tcp_isn(in, &t->s.key);
	if (demi_tcp_tw_take(in, &t->s.key, &old) && seq_lt(t->iss, old))
		t->iss = old;
	t->ts_offset = demi_tcp_ts_offset(in, &t->s.key);
	t->snd_una = t->iss;
	t->snd_nxt = t->snd_end = t->iss + 1;
	t->rcv_wscale = wscale_for(t->s.rcvbuf_bytes);
}

static int reserve(struct demi_tcp *t)
{
	struct demi_inet_addr any = { .port = 0 };

	if (t->s.bound)
		return 0;
	if (demi_ip_is4(&t->s.peer.dst.ip))
		any.ip = demi_ip_from4(INADDR_ANY);
	return demi_tcp_port_reserve(t, &any);
}

int demi_tcp_connect(struct demi_queue *q, struct demi_op *op, const struct sockaddr *addr, socklen_t len)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet *in = t->s.in;
	struct demi_inet_addr a;
	int err;

	if (in->dead)
		return -in->dead;
	if (t->state == DEMI_TCP_LISTEN || t->dead)
		return -EINVAL;
	if (t->state != DEMI_TCP_CLOSED)
		return t->state < DEMI_TCP_ESTABLISHED ? -EALREADY : -EISCONN;
	err = demi_inet_addr_from(&a, t->s.domain, addr, len);
	if (err)
		return err;
	if (!a.port)
		return -ECONNREFUSED;
	if (demi_ip_is_multicast(&a.ip) || demi_ip_is_broadcast(&a.ip))
		return -ENETUNREACH;
	err = demi_inet_path_find(&t->s, &t->s.peer, &a);
	if (err)
		goto failed;
	err = reserve(t);
	if (err)
		goto failed;
	t->s.connected = true;
	err = demi_inet_sock_hash(&t->s);
	if (err)
		goto err_connected;
	err = demi_tcp_peer_flow(t);
	if (err)
		goto err_hash;
	choose_numbers(t);
	t->retries = t->backoff = 0;
	t->rto_us = DEMI_TCP_RTO_INIT_US;
	t->state = DEMI_TCP_SYN_SENT;
	demi_op_list_add(&t->ops, op);
	in->count.TcpActiveOpens++;
	demi_tcp_want_output(t); /* where the time is known, the SYN is sent */
	return 0;

err_hash:
	demi_inet_sock_unhash(&t->s);
err_connected:
	t->s.connected = false;
	if (err == -EADDRINUSE)
		err = -EADDRNOTAVAIL;
failed:
	demi_op_fail(op, -err);
	return 0;
}

/* The socket is as it was before: another connect may follow. */
void demi_tcp_connect_failed(struct demi_tcp *t, int err)
{
	struct demi_inet *in = t->s.in;
	struct demi_op *op;

	demi_inet_sock_unhash(&t->s);
	t->s.connected = false;
	if (t->has_flow && in->dev)
		in->dev->ops->flow_del(in->dev, t->flow);
	t->has_flow = false;
	t->state = DEMI_TCP_CLOSED;
	t->xmit = DEMI_TCP_XMIT_NONE;
	t->stuck_ns = 0;
	demi_timer_cancel(&in->tcp->timers, &t->timer);
	in->count.TcpAttemptFails++;
	while ((op = demi_op_list_take(&t->ops)))
		demi_op_fail(op, err);
}
