/* SPDX-License-Identifier: MIT */
/* RFC 9293 3.6.1, RFC 1337 (resets are not believed), RFC 6191 (reuse by a newer connection). */
#include "inet/cksum.h"
#include "inet/tcp_stack.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64U

static uint64_t tw_ns(void)
{
	return 2 * DEMI_TCP_MSL_NS;
}

static inline struct demi_tcp_tw *at(struct demi_tcp_tw_table *w, uint32_t pos)
{
	return &w->ring[pos & (w->size - 1)];
}

static uint32_t *bucket(struct demi_inet *in, const struct demi_demux_key *k)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;

	return &w->buckets[demi_demux_hash(&in->tcp->demux, k) & (w->size - 1)];
}

static struct demi_demux_key key_of(const struct demi_tcp_tw *e)
{
	return (struct demi_demux_key){ .local = e->local, .remote = e->remote, .lport = e->lport, .rport = e->rport };
}

static void link_in(struct demi_inet *in, uint32_t pos)
{
	struct demi_tcp_tw *e = at(&in->tcp->tw, pos);
	struct demi_demux_key k = key_of(e);
	uint32_t *b = bucket(in, &k);

	e->next = *b;
	*b = pos;
}

static uint32_t find(struct demi_inet *in, const struct demi_demux_key *k)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;
	uint32_t pos;

	if (!w->count)
		return DEMI_TCP_TW_NONE;
	for (pos = *bucket(in, k); pos != DEMI_TCP_TW_NONE; pos = at(w, pos)->next) {
		const struct demi_tcp_tw *e = at(w, pos);

		if (e->lport == k->lport && e->rport == k->rport && demi_ip_equal(&e->local, &k->local) &&
		    demi_ip_equal(&e->remote, &k->remote))
			break;
	}
	return pos;
}

static void unlink_from(struct demi_inet *in, uint32_t pos)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;
	struct demi_demux_key k = key_of(at(w, pos));
	uint32_t *b = bucket(in, &k);

	while (*b != pos)
		b = &at(w, *b)->next;
	*b = at(w, pos)->next;
}

static void entry_end(struct demi_inet *in, uint32_t pos)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;
	struct demi_tcp_tw *e = at(w, pos);

	unlink_from(in, pos);
	if (e->has_flow && in->dev)
		in->dev->ops->flow_del(in->dev, e->flow);
	demi_tcp_port_put(in, in->tcp->ports[e->port]);
	e->lport = 0;
	w->count--;
	while (w->head != w->tail && !at(w, w->head)->lport)
		w->head++;
}

static void set_timer(struct demi_tcp_tw_table *w)
{
	uint64_t now_ns = w->in->now_ns;
	uint32_t left_ms;

	if (w->head == w->tail || w->timer.index)
		return;
	left_ms = at(w, w->head)->end_ms - (uint32_t)(now_ns / DEMI_TCP_MS);
	if ((int32_t)left_ms < 0)
		left_ms = 0;
	/* without memory for the timer they go when room is needed */
	(void)demi_tcp_timer_set(w->in, &w->timer, now_ns + (left_ms + 1) * DEMI_TCP_MS);
}

static void expire(struct demi_timer *timer)
{
	struct demi_tcp_tw_table *w =
		(struct demi_tcp_tw_table *)((char *)timer - offsetof(struct demi_tcp_tw_table, timer));
	uint32_t now_ms = (uint32_t)(w->in->now_ns / DEMI_TCP_MS);

	while (w->head != w->tail && (int32_t)(at(w, w->head)->end_ms - now_ms) <= 0)
		entry_end(w->in, w->head);
	set_timer(w);
}

static int grow(struct demi_inet *in)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;
	uint32_t size = w->size ? 2 * w->size : FIRST_SIZE, *buckets;
	struct demi_tcp_tw *ring;

	if (size > DEMI_TCP_TW_MAX)
		return -ENOSPC;
	ring = aligned_alloc(64, size * sizeof(*ring));
	buckets = malloc(size * sizeof(*buckets));
	if (!ring || !buckets) {
		free(ring);
		free(buckets);
		return -ENOMEM;
	}
	for (uint32_t pos = w->head; pos != w->tail; pos++)
		ring[pos & (size - 1)] = *at(w, pos);
	memset(buckets, 0xff, size * sizeof(*buckets)); /* DEMI_TCP_TW_NONE */
	free(w->ring);
	free(w->buckets);
	w->ring = ring;
	w->buckets = buckets;
	w->size = size;
	for (uint32_t pos = w->head; pos != w->tail; pos++) {
		if (at(w, pos)->lport)
			link_in(in, pos);
	}
	return 0;
}

/* One number in 2^32 means "none". */
static void skip_reserved(struct demi_tcp_tw_table *w)
{
	if (w->tail == DEMI_TCP_TW_NONE && w->tail - w->head < w->size)
		at(w, w->tail++)->lport = 0;
}

/* A place at the end of the ring; the oldest goes if there is no other. -ENOMEM: there is no ring. */
static int place(struct demi_inet *in, uint32_t *pos)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;

	skip_reserved(w);
	if (w->tail - w->head >= w->size && grow(in)) {
		if (!w->size)
			return -ENOMEM;
		in->count.TcpExtTCPTimeWaitOverflow++;
		entry_end(in, w->head);
	}
	*pos = w->tail++;
	w->count++;
	return 0;
}

int demi_tcp_tw_add(struct demi_tcp *t)
{
	struct demi_inet *in = t->s.in;
	struct demi_tcp_tw *e;
	uint32_t pos;

	if (!t->port || place(in, &pos))
		return -ENOMEM;
	e = at(&in->tcp->tw, pos);
	*e = (struct demi_tcp_tw){
		.local = t->s.key.local,
		.remote = t->s.key.remote,
		.lport = t->s.key.lport,
		.rport = t->s.key.rport,
		.rcv_nxt = t->rcv_nxt,
		.snd_nxt = t->snd_nxt,
		.ts_recent = t->ts_recent,
		.flow = t->flow,
		.has_flow = t->has_flow,
		.ts_ok = t->ts_ok,
		.port = t->port->index,
		.end_ms = (uint32_t)((in->now_ns + tw_ns()) / DEMI_TCP_MS),
	};
	if (t->owns_port)
		t->port->bound = false;
	link_in(in, pos);
	set_timer(&in->tcp->tw);
	in->count.TcpExtTW++;
	return 0;
}

bool demi_tcp_tw_take(struct demi_inet *in, const struct demi_demux_key *k, uint32_t *next)
{
	uint32_t pos = find(in, k);

	if (pos == DEMI_TCP_TW_NONE)
		return false;
	*next = at(&in->tcp->tw, pos)->snd_nxt + 65535 + 2;
	entry_end(in, pos);
	in->count.TcpExtTWRecycled++;
	return true;
}

static void acknowledge(struct demi_inet *in, const struct demi_tcp_tw *e)
{
	struct demi_demux_key k = key_of(e);
	struct demi_tcp_out o = {
		.src = &k.local,
		.dst = &k.remote,
		.pseudo_sum = demi_cksum_pseudo(&k.local, &k.remote, IPPROTO_TCP),
		.seq = e->snd_nxt,
		.ack = e->rcv_nxt,
		.sport = e->lport,
		.dport = e->rport,
		.flags = DEMI_TH_ACK,
		.ttl = 64,
		.df = true,
	};

	if (e->ts_ok)
		o.olen = demi_tcp_put_ts(o.opts, 0, demi_tcp_ts_now(in) + demi_tcp_ts_offset(in, &k), e->ts_recent);
	demi_tcp_send_bare(in, NULL, &o);
}

/* The wait begins again: to the end of the ring. */
static void restart(struct demi_inet *in, uint32_t pos)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;
	struct demi_tcp_tw copy = *at(w, pos), *e;

	skip_reserved(w);
	if (w->tail - w->head >= w->size && grow(in))
		return; /* no room: as it is */
	unlink_from(in, pos);
	at(w, pos)->lport = 0;
	while (w->head != w->tail && !at(w, w->head)->lport)
		w->head++;
	pos = w->tail++;
	e = at(w, pos);
	*e = copy;
	e->end_ms = (uint32_t)((in->now_ns + tw_ns()) / DEMI_TCP_MS);
	link_in(in, pos);
}

bool demi_tcp_tw_input(struct demi_inet *in, struct demi_tcp_in *i)
{
	uint32_t pos = find(in, &i->r->key);
	struct demi_tcp_tw *e;

	if (pos == DEMI_TCP_TW_NONE)
		return false;
	e = at(&in->tcp->tw, pos);
	if (i->flags & DEMI_TH_RST) /* RFC 1337 3 (F1) */
		return true;
	/* RFC 6191 2, RFC 1122 4.2.2.13: a new connection, whose numbers are beyond the old one's */
	if ((i->flags & (DEMI_TH_SYN | DEMI_TH_ACK)) == DEMI_TH_SYN &&
	    (e->ts_ok && i->o.ts
		     ? seq_lt(e->ts_recent, i->o.tsval) || (e->ts_recent == i->o.tsval && seq_lt(e->rcv_nxt, i->seq))
		     : seq_lt(e->rcv_nxt, i->seq))) {
		entry_end(in, pos);
		in->count.TcpExtTWRecycled++;
		return false;
	}
	if (e->ts_ok && i->o.ts && seq_lt(i->o.tsval, e->ts_recent)) /* PAWS */
		in->count.TcpExtPAWSEstab++;
	/* 3.10.7.4: whatever it is, the answer is the acknowledgement of its FIN; plain ones need none */
	if (i->flags & (DEMI_TH_FIN | DEMI_TH_SYN) || i->len || i->seq != e->rcv_nxt)
		acknowledge(in, e);
	if (i->flags & DEMI_TH_FIN && i->seq + i->len + 1 == e->rcv_nxt)
		restart(in, pos);
	return true;
}

void demi_tcp_tw_init(struct demi_inet *in)
{
	in->tcp->tw.timer.fn = expire;
	in->tcp->tw.in = in;
}

void demi_tcp_tw_exit(struct demi_inet *in)
{
	struct demi_tcp_tw_table *w = &in->tcp->tw;

	while (w->head != w->tail)
		entry_end(in, w->head);
	demi_timer_cancel(&in->tcp->timers, &w->timer);
	free(w->ring);
	free(w->buckets);
}
