/* SPDX-License-Identifier: MIT */
/*
 * Listening: RFC 9293 3.10.7.2, half-open connections, SYN cookies (RFC 4987 3.6), accepting. A half-open connection is
 * a small request until its handshake is over; a cookie is none at all.
 */
#include "inet/cksum.h"
#include "inet/tcp_stack.h"

#include <netinet/ip.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_MAX 4096
#define SYNACK_RTO_NS DEMI_TCP_S /* RFC 6298 (2.1) */

/* What a cookie can say of the peer's MSS. */
static const uint16_t cookie_mss[8] = { 216, 536, 1024, 1220, 1300, 1440, 1460, 8940 };

/* ---- listening ---- */

int demi_tcp_listen(struct demi_queue *q, int backlog)
{
	struct demi_tcp *t = DEMI_TCP(q);
	struct demi_inet_addr any = { .port = 0 };
	int err = 0;

	if (t->s.in->dead)
		return -t->s.in->dead;
	if (t->dead || (t->state != DEMI_TCP_CLOSED && t->state != DEMI_TCP_LISTEN))
		return -EINVAL;
	t->backlog = backlog < BACKLOG_MAX ? (uint32_t)backlog : BACKLOG_MAX;
	if (t->state == DEMI_TCP_LISTEN)
		return 0;
	if (t->s.domain == AF_INET)
		any.ip = demi_ip_from4(INADDR_ANY);
	if (!t->s.bound)
		err = demi_tcp_port_reserve(t, &any);
	if (!err)
		err = demi_tcp_port_flow(t);
	if (!err)
		err = demi_inet_sock_hash(&t->s);
	if (!err)
		t->state = DEMI_TCP_LISTEN;
	return err;
}

/* ---- requests ---- */

static struct demi_tcp_req **bucket(struct demi_inet *in, const struct demi_demux_key *k)
{
	uint32_t h = demi_demux_hash(&in->tcp->demux, k);

	return &in->tcp->reqs[h & (DEMI_TCP_REQ_BUCKETS - 1)];
}

static bool key_equal(const struct demi_demux_key *a, const struct demi_demux_key *b)
{
	return a->lport == b->lport && a->rport == b->rport && demi_ip_equal(&a->local, &b->local) &&
	       demi_ip_equal(&a->remote, &b->remote);
}

static struct demi_tcp_req *req_find(struct demi_inet *in, const struct demi_demux_key *k)
{
	struct demi_tcp_req *q = in->tcp->nreqs ? *bucket(in, k) : NULL;

	while (q && !key_equal(&q->key, k))
		q = q->next;
	return q;
}

void demi_tcp_req_free(struct demi_inet *in, struct demi_tcp_req *q)
{
	struct demi_tcp_req **at = bucket(in, &q->key);

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	if (q->lprev)
		q->lprev->lnext = q->lnext;
	else
		q->l->reqs = q->lnext;
	if (q->lnext)
		q->lnext->lprev = q->lprev;
	q->l->nreqs--;
	in->tcp->nreqs--;
	demi_timer_cancel(&in->tcp->timers, &q->timer);
	free(q);
}

/* ---- SYN and ACK ---- */

static uint8_t listener_wscale(const struct demi_tcp *l)
{
	uint8_t shift = 0;

	while (shift < DEMI_TCP_WSCALE_MAX && 65535U << shift < l->s.rcvbuf_bytes)
		shift++;
	return shift;
}

static uint16_t listener_mss(const struct demi_tcp *l, const struct demi_demux_key *k, uint32_t mtu)
{
	uint32_t hdr = (demi_ip_is4(&k->remote) ? sizeof(struct demi_ip4_hdr) : sizeof(struct demi_ip6_hdr)) +
		       sizeof(struct demi_tcp_hdr);
	uint32_t mss = mtu > hdr + DEMI_TCP_MSS_MIN ? mtu - hdr : DEMI_TCP_MSS_MIN;

	if (l->mss_user && l->mss_user < mss)
		mss = l->mss_user;
	return (uint16_t)(mss < 65535 ? mss : 65535);
}

struct synack {
	uint32_t iss, irs, tsval, wnd;
	uint16_t mss;
	uint8_t tos;
	bool ecn;
};

static void send_synack(struct demi_tcp *l, const struct demi_demux_key *k, const struct synack *a,
			const struct demi_tcp_opts *o)
{
	struct demi_tcp_out out = {
		.src = &k->local,
		.dst = &k->remote,
		.pseudo_sum = demi_cksum_pseudo(&k->local, &k->remote, IPPROTO_TCP),
		.seq = a->iss,
		.ack = a->irs + 1,
		.sport = k->lport,
		.dport = k->rport,
		.wnd = (uint16_t)a->wnd,
		.flags = DEMI_TH_SYN | DEMI_TH_ACK,
		.tos = a->tos,
		.ttl = demi_ip_is4(&k->remote) ? l->s.ttl : l->s.hops,
		.df = true,
	};

	if (a->ecn)
		out.flags |= DEMI_TH_ECE;
	out.olen = demi_tcp_put_mss(out.opts, 0, a->mss);
	if (o->sack_ok)
		out.olen = demi_tcp_put_sack_ok(out.opts, out.olen);
	if (o->ts)
		out.olen = demi_tcp_put_ts(out.opts, out.olen, a->tsval, o->tsval);
	if (o->ws)
		out.olen = demi_tcp_put_wscale(out.opts, out.olen, listener_wscale(l));
	demi_tcp_send_bare(l->s.in, NULL, &out);
}

static uint32_t first_window(const struct demi_tcp *l)
{
	return l->s.rcvbuf_bytes < 65535 ? l->s.rcvbuf_bytes : 65535;
}

static void req_answer(struct demi_tcp_req *q)
{
	struct demi_inet *in = q->l->s.in;
	struct synack a = {
		.iss = q->iss,
		.irs = q->irs,
		.tsval = demi_tcp_ts_now(in) + demi_tcp_ts_offset(in, &q->key),
		.wnd = q->wnd,
		.mss = listener_mss(q->l, &q->key, q->mtu_bytes),
		.tos = q->tos,
		.ecn = q->ecn,
	};

	q->sent_ns = in->now_ns;
	send_synack(q->l, &q->key, &a, &q->o);
}

static void req_due(struct demi_timer *timer)
{
	struct demi_tcp_req *q = (struct demi_tcp_req *)((char *)timer - offsetof(struct demi_tcp_req, timer));
	struct demi_inet *in = q->l->s.in;

	if (q->retries >= q->l->syn_retries || q->retries >= DEMI_TCP_SYNACK_RETRIES) {
		demi_tcp_req_free(in, q);
		return;
	}
	q->retries++;
	req_answer(q);
	in->count.TcpRetransSegs++;
	if (demi_tcp_timer_set(in, &q->timer, in->now_ns + (SYNACK_RTO_NS << q->retries)))
		demi_tcp_req_free(in, q);
}

/* ---- cookies ---- */

/* The options that a cookie has no room for travel in the timestamp's low bits, as Linux has them. */
#define TS_BITS 6
#define TS_WS_MASK 15U /* 15: no scaling */
#define TS_SACK 16U
#define TS_ECN 32U

static void send_cookie(struct demi_tcp *l, const struct demi_demux_key *k, const struct demi_tcp_in *i, bool ecn)
{
	struct demi_inet *in = l->s.in;
	struct demi_tcp_opts o = i->o;
	struct synack a = { .irs = i->seq, .wnd = first_window(l), .tos = 0, .ecn = ecn };
	uint32_t bits;
	uint8_t n = 7;

	while (n > 0 && cookie_mss[n] > (i->o.mss ? i->o.mss : DEMI_TCP_MSS_DEFAULT))
		n--;
	if (!o.ts) { /* nowhere to keep them */
		o.ws = o.sack_ok = false;
		a.ecn = false;
	}
	bits = (o.ws ? o.wscale : TS_WS_MASK) | (o.sack_ok ? TS_SACK : 0) | (a.ecn ? TS_ECN : 0);
	a.iss = demi_tcp_cookie(in, k, i->seq, n);
	/* never ahead of the clock: the connection's own timestamps follow */
	a.tsval = (((demi_tcp_ts_now(in) >> TS_BITS) - 1) << TS_BITS | bits) + demi_tcp_ts_offset(in, k);
	a.mss = listener_mss(l, k, l->syn_mtu ? l->syn_mtu : 1500);
	in->tcp->cookie_ns = in->now_ns;
	in->count.TcpExtSyncookiesSent++;
	send_synack(l, k, &a, &o);
}

/* ---- connections ---- */

static struct demi_tcp *child_make(struct demi_tcp *l, const struct demi_demux_key *k)
{
	struct demi_inet *in = l->s.in;
	struct demi_inet_addr dst = { .ip = k->remote, .port = k->rport };
	struct demi_tcp *t = demi_tcp_alloc(in, l->s.domain);

	if (!t)
		return NULL;
	demi_tcp_inherit(t, l);
	t->s.local.ip = k->local;
	t->s.local.port = k->lport;
	t->s.families = demi_ip_family(&k->remote);
	if (demi_ip_is_linklocal(&dst.ip))
		dst.scope = l->s.local.scope ? l->s.local.scope : l->s.ifindex;
	if (demi_inet_path_find(&t->s, &t->s.peer, &dst))
		goto err_free;
	t->s.connected = t->s.bound = true;
	if (demi_inet_sock_hash(&t->s))
		goto err_free;
	t->port = demi_tcp_port_get(l->port);
	if (l->port->share && demi_tcp_peer_flow(t)) /* else others of the group would get its segments */
		goto err_hash;
	return t;

err_hash:
	demi_inet_sock_unhash(&t->s);
	demi_tcp_port_put(in, t->port);
err_free:
	demi_tcp_discard(t);
	return NULL;
}

static void queue_child(struct demi_tcp *l, struct demi_tcp *t)
{
	t->parent = l;
	t->child_next = NULL;
	if (l->child_head)
		l->child_tail->child_next = t;
	else
		l->child_head = t;
	l->child_tail = t;
	l->nchildren++;
}

static struct demi_tcp *take_child(struct demi_tcp *l)
{
	struct demi_tcp *t = l->child_head;

	l->child_head = t->child_next;
	l->nchildren--;
	t->parent = NULL;
	return t;
}

void demi_tcp_child_gone(struct demi_tcp *t)
{
	struct demi_tcp *l = t->parent, **at = &l->child_head, *before = NULL;

	while (*at != t) {
		before = *at;
		at = &before->child_next;
	}
	*at = t->child_next;
	if (l->child_tail == t)
		l->child_tail = before;
	l->nchildren--;
	t->parent = NULL;
}

static void answer_accept(struct demi_tcp *l, struct demi_op *op)
{
	struct demi_tcp *t = take_child(l);
	struct sockaddr_in6 addr;
	socklen_t len;
	int err;

	err = demi_tcp_install(t);
	if (err) { /* e.g. no descriptors: one accept is told, the next one tries again */
		t->parent = l;
		t->child_next = l->child_head;
		if (!l->child_head)
			l->child_tail = t;
		l->child_head = t;
		l->nchildren++;
		demi_op_fail(op, -err);
		return;
	}
	len = demi_inet_addr_fill(&addr, t->s.domain, &t->s.peer.dst);
	demi_op_set_accepted(op, t->s.q.qd, (struct sockaddr *)&addr, len);
	demi_op_ready(op);
}

int demi_tcp_accept(struct demi_queue *q, struct demi_op *op)
{
	struct demi_tcp *l = DEMI_TCP(q);

	if (l->state != DEMI_TCP_LISTEN)
		return -EINVAL;
	if (l->s.in->dead)
		return -l->s.in->dead;
	if (l->child_head)
		answer_accept(l, op);
	else
		demi_op_list_add(&l->ops, op);
	return 0;
}

static void child_ready(struct demi_tcp *l, struct demi_tcp *t)
{
	queue_child(l, t);
	if (l->ops.head)
		answer_accept(l, demi_op_list_take(&l->ops));
}

/* The handshake's last segment: it may carry data. */
static void child_start(struct demi_tcp *l, struct demi_tcp *t, struct demi_tcp_in *i, uint32_t iss, uint32_t irs,
			const struct demi_tcp_opts *o, uint32_t wnd, bool ecn)
{
	t->iss = iss;
	t->irs = irs;
	t->snd_una = t->snd_nxt = t->snd_end = iss + 1;
	t->rcv_wscale = listener_wscale(l);
	t->ts_offset = demi_tcp_ts_offset(t->s.in, &t->s.key);
	demi_tcp_start(t, irs, i->wnd, o);
	t->rcv_adv = irs + 1 + wnd;
	t->ecn_ok = ecn;
	t->snd_wnd = i->wnd << t->snd_wscale; /* this is not a SYN any more */
	t->wnd_word = 0;
	t->snd_wl1 = i->seq;
	t->snd_wnd_max = t->snd_wnd;
	demi_tcp_established(t);
	t->s.in->count.TcpPassiveOpens++;
	child_ready(l, t);
}

static bool backlog_full(struct demi_tcp *l)
{
	if (l->nchildren < l->backlog || l->ops.head)
		return false;
	l->s.in->count.TcpExtListenOverflows++;
	return true;
}

/* An acknowledgement, or a reset, for a request. True: payload's buffers were taken. */
static bool req_input(struct demi_tcp *l, struct demi_tcp_req *q, struct demi_tcp_in *i)
{
	struct demi_inet *in = l->s.in;
	struct demi_tcp_req r;
	struct demi_tcp *t;

	/* 3.10.7.4 first: the window is as it was advertised */
	if (i->seq - (q->irs + 1) > q->wnd) {
		if (!(i->flags & DEMI_TH_RST))
			req_answer(q);
		return false;
	}
	if (i->flags & DEMI_TH_RST) {
		if (i->seq == q->irs + 1)
			demi_tcp_req_free(in, q);
		return false;
	}
	if (!(i->flags & DEMI_TH_ACK) || i->flags & DEMI_TH_SYN)
		return false;
	if (q->o.ts && (!i->o.ts || seq_lt(i->o.tsval, q->o.tsval))) /* RFC 7323 5.3, 3.2 */
		return false;
	if (i->ack != q->iss + 1) {
		demi_tcp_send_reset_to(in, i);
		return false;
	}
	if (backlog_full(l)) /* it stays; the peer believes itself connected, and is asked again */
		return false;
	t = child_make(l, &q->key);
	if (!t)
		return false;
	r = *q;
	demi_tcp_req_free(in, q);
	if (!r.retries) {
		t->rto_min_us = l->rto_min_us;
		demi_tcp_rtt_sample(t, in->now_ns - r.sent_ns);
	}
	child_start(l, t, i, r.iss, r.irs, &r.o, r.wnd, r.ecn);
	if (t->dead)
		return false;
	return demi_tcp_state_input(t, i);
}

static bool cookie_input(struct demi_tcp *l, const struct demi_demux_key *k, struct demi_tcp_in *i)
{
	struct demi_inet *in = l->s.in;
	struct demi_tcp_opts o = { 0 };
	struct demi_tcp *t;
	bool ecn = false;
	uint32_t bits;
	int data;

	if (!in->tcp->cookie_ns || in->now_ns - in->tcp->cookie_ns > 2 * 64 * DEMI_TCP_S)
		return false;
	data = demi_tcp_cookie_check(in, k, i->seq - 1, i->ack - 1);
	if (data < 0) {
		in->count.TcpExtSyncookiesFailed++;
		return false;
	}
	o.mss = cookie_mss[data];
	if (i->o.ts) {
		bits = i->o.tsecr - demi_tcp_ts_offset(in, k);
		o.ts = true;
		o.tsval = i->o.tsval;
		o.ws = (bits & TS_WS_MASK) != TS_WS_MASK;
		o.wscale = o.ws ? (uint8_t)(bits & TS_WS_MASK) : 0;
		o.sack_ok = bits & TS_SACK;
		ecn = bits & TS_ECN;
	}
	if (backlog_full(l))
		return true;
	t = child_make(l, k);
	if (!t)
		return true;
	in->count.TcpExtSyncookiesRecv++;
	child_start(l, t, i, i->ack - 1, i->seq - 1, &o, first_window(l), ecn);
	if (!t->dead && i->len) {
		/* the buffers stay the caller's: the peer sends it again */
		t->ack_now = true;
		demi_tcp_want_output(t);
	}
	return true;
}

static void syn_input(struct demi_tcp *l, const struct demi_demux_key *k, struct demi_tcp_in *i)
{
	struct demi_inet *in = l->s.in;
	struct demi_inet_addr dst = { .ip = k->remote, .port = k->rport };
	bool ecn = (i->flags & (DEMI_TH_ECE | DEMI_TH_CWR)) == (DEMI_TH_ECE | DEMI_TH_CWR);
	struct demi_inet_path path;
	struct demi_tcp_req *q;

	if (backlog_full(l))
		return;
	if (i->o.mss && i->o.mss < DEMI_TCP_MSS_MIN)
		i->o.mss = DEMI_TCP_MSS_MIN;
	if (l->nreqs >= l->backlog || in->tcp->nreqs >= DEMI_TCP_REQS_MAX) {
		send_cookie(l, k, i, ecn);
		return;
	}
	if (demi_ip_is_linklocal(&dst.ip))
		dst.scope = l->s.local.scope ? l->s.local.scope : l->s.ifindex;
	if (demi_inet_path_find(&l->s, &path, &dst))
		return;
	q = calloc(1, sizeof(*q));
	if (!q)
		return;
	l->syn_mtu = q->mtu_bytes = path.mtu_bytes < in->dev->mtu_bytes ? path.mtu_bytes : in->dev->mtu_bytes;
	q->l = l;
	q->key = *k;
	q->irs = i->seq;
	q->iss = demi_tcp_isn(in, k);
	q->wnd = first_window(l);
	q->o = i->o;
	q->ecn = ecn;
	q->tos = demi_ip_is4(&k->remote) ? l->s.tos : l->s.tclass;
	q->timer.fn = req_due;
	if (demi_tcp_timer_set(in, &q->timer, in->now_ns + SYNACK_RTO_NS)) {
		free(q);
		return;
	}
	q->next = *bucket(in, k);
	*bucket(in, k) = q;
	q->lnext = l->reqs;
	if (l->reqs)
		l->reqs->lprev = q;
	l->reqs = q;
	l->nreqs++;
	in->tcp->nreqs++;
	req_answer(q);
}

bool demi_tcp_listen_input(struct demi_tcp *l, struct demi_tcp_in *i)
{
	struct demi_inet *in = l->s.in;
	const struct demi_demux_key *k = &i->r->key;
	struct demi_tcp_req *q;

	if (demi_ip_is_multicast(&k->local) || demi_ip_is_broadcast(&k->local)) /* RFC 1122 4.2.3.10 */
		return false;
	q = req_find(in, k);
	if (q && !(i->flags & DEMI_TH_SYN && !(i->flags & DEMI_TH_ACK) && i->seq == q->irs))
		return req_input(q->l, q, i);
	/* first: RST; second: ACK; third: SYN */
	if (i->flags & DEMI_TH_RST)
		return false;
	if (i->flags & DEMI_TH_ACK) {
		if (i->flags & DEMI_TH_SYN || !cookie_input(l, k, i))
			demi_tcp_send_reset_to(in, i);
		return false;
	}
	if (!(i->flags & DEMI_TH_SYN) || !k->rport)
		return false;
	if (q)
		req_answer(q);
	else
		syn_input(l, k, i);
	return false;
}

void demi_tcp_listen_close(struct demi_tcp *l)
{
	while (l->reqs)
		demi_tcp_req_free(l->s.in, l->reqs);
	while (l->child_head)
		demi_tcp_abort(take_child(l), ECONNABORTED);
}
