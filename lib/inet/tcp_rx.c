/* SPDX-License-Identifier: MIT */
/*
 * Received payload on its way to pops. A buffer goes to the application as it came; payload that has to wait and fills
 * only a small part of its buffer is copied, so that what a peer sends does not keep many times its size of memory.
 */
#include "heap/heap.h"
#include "core/framing.h"
#include "core/parts.h"
#include "inet/tcp_stack.h"

#include <stdlib.h>
#include <string.h>

#define COMPACT_BELOW 4 /* part of the buffer */
#define COMPACT_ROOM 1024 /* small segments that wait are gathered in objects of this size */
#define CACHE_MAX 256

struct demi_tcp_rx *demi_tcp_rx_node(struct demi_inet *in)
{
	struct demi_tcp_rx *rx = in->tcp->rx_cache;

	if (!rx)
		return malloc(sizeof(*rx));
	in->tcp->rx_cache = rx->next;
	in->tcp->rx_cached--;
	return rx;
}

void demi_tcp_rx_free(struct demi_inet *in, struct demi_tcp_rx *rx)
{
	if (in->tcp->rx_cached == CACHE_MAX) {
		free(rx);
		return;
	}
	rx->next = in->tcp->rx_cache;
	in->tcp->rx_cache = rx;
	in->tcp->rx_cached++;
}

void demi_tcp_rx_cache_free(struct demi_inet *in)
{
	struct demi_tcp_rx *rx;

	while ((rx = in->tcp->rx_cache)) {
		in->tcp->rx_cache = rx->next;
		free(rx);
	}
	in->tcp->rx_cached = 0;
}

/* @rx->charge is in rx_bytes already. */
void demi_tcp_rx_add(struct demi_tcp *t, struct demi_tcp_rx *rx)
{
	rx->next = NULL;
	if (t->rx_head)
		t->rx_tail->next = rx;
	else
		t->rx_head = rx;
	t->rx_tail = rx;
}

struct demi_tcp_rx *demi_tcp_rx_copy(struct demi_tcp *t, const uint8_t *data, uint32_t len)
{
	struct demi_tcp_rx *rx = demi_tcp_rx_node(t->s.in);
	uint32_t size = len < COMPACT_ROOM ? COMPACT_ROOM : len;

	if (!rx)
		return NULL;
	rx->data = demi_heap_alloc(size);
	if (!rx->data) {
		demi_tcp_rx_free(t->s.in, rx);
		return NULL;
	}
	memcpy(rx->data, data, len);
	rx->len = len;
	rx->room = size - len;
	rx->charge = size + (uint32_t)sizeof(*rx);
	t->s.in->ctx->count.copied_bytes += len;
	return rx;
}

/* ---- arrivals ---- */

/* True: the copy is in the queue, the buffer is not needed. */
static bool compact(struct demi_tcp *t, const uint8_t *data, uint32_t len)
{
	struct demi_tcp_rx *rx = t->rx_tail;

	if (t->rx_head && rx->room >= len) {
		memcpy(rx->data + rx->len, data, len);
		rx->len += len;
		rx->room -= len;
		t->s.in->ctx->count.copied_bytes += len;
		return true;
	}
	rx = demi_tcp_rx_copy(t, data, len);
	if (!rx)
		return false;
	t->rx_bytes += rx->charge;
	demi_tcp_rx_add(t, rx);
	return true;
}

/* One segment's @len bytes at @data, a heap object whose owner is the stack. */
static void take_one(struct demi_tcp *t, uint8_t *data, uint32_t len)
{
	struct demi_inet *in = t->s.in;
	uint32_t size = in->dev->rx_buf_bytes;
	struct demi_op *op = t->ops.head;
	struct demi_tcp_rx *rx;

	if (op && !t->rx_head && t->maxsegs == 1 && len <= op->priv.u64[0]) {
		demi_op_list_del(&t->ops, op);
		demi_op_complete_buf(op, data, len);
		return;
	}
	if (len < size / COMPACT_BELOW && compact(t, data, len)) {
		in->recycle[in->nrecycle++] = data;
		return;
	}
	rx = demi_tcp_rx_node(in);
	if (!rx) { /* acknowledged, and nowhere to be put: the stream has a hole */
		in->recycle[in->nrecycle++] = data;
		in->ctx->count.dropped++;
		t->rx_failed = true;
		return;
	}
	rx->data = data;
	rx->len = len;
	rx->room = 0;
	rx->charge = size;
	t->rx_bytes += size;
	demi_tcp_rx_add(t, rx);
}

/* What its messages take of memory is charged in one number. */
static void charge_messages(struct demi_tcp *t)
{
	uint32_t now = (uint32_t)demi_framing_bytes(t->framed);

	t->rx_bytes += now - t->framed_bytes;
	t->framed_bytes = now;
}

/* Messages are put together elsewhere; a wrong one ends the connection. */
void demi_tcp_rx_framed(struct demi_tcp *t, const uint8_t *data, uint32_t len)
{
	if (t->rx_failed)
		return;
	t->rx_failed = demi_framing_input(t->framed, data, len) != 0;
	charge_messages(t);
}

/* A pop waits for the payload of a packet in one segment. */
static inline bool answer_at_once(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len)
{
	struct demi_op *op = t->ops.head;

	if (!op || r->segs != 1 || t->rx_head || t->maxsegs != 1 || len > op->priv.u64[0] || !t->fast)
		return false;
	demi_op_list_del(&t->ops, op);
	demi_op_complete_buf(op, r->p->data + off, len);
	return true;
}

void demi_tcp_rx_take(struct demi_tcp *t, const struct demi_inet_rxpkt *r, uint32_t off, uint32_t len)
{
	struct demi_inet *in = t->s.in;
	bool unwanted = t->s.shut_rd || t->s.q.closed;

	if (__builtin_expect(answer_at_once(t, r, off, len), 1))
		return;
	for (uint32_t i = 0; i < r->segs; i++) {
		uint8_t *data = r->p[i].data;
		uint32_t n = r->p[i].len;

		if (off >= n || !len) {
			off -= off < n ? off : n;
			in->recycle[in->nrecycle++] = data;
			continue;
		}
		n = n - off < len ? n - off : len;
		if (unwanted || t->framed) {
			if (!unwanted)
				demi_tcp_rx_framed(t, data + off, n);
			in->recycle[in->nrecycle++] = data;
		} else {
			take_one(t, data + off, n);
		}
		len -= n;
		off = 0;
	}
	if (t->ops.head && (t->rx_head || t->framed))
		demi_tcp_rx_deliver(t);
}

/* ---- pops ---- */

static struct demi_tcp_rx *take_head(struct demi_tcp *t)
{
	struct demi_tcp_rx *rx = t->rx_head;

	t->rx_head = rx->next;
	t->rx_bytes -= rx->charge;
	return rx;
}

/* The next part: see core/parts.h. */
static uint32_t next_part(void *stream, size_t max, void **part)
{
	struct demi_tcp *t = stream;
	struct demi_tcp_rx *rx = t->rx_head;

	if (!rx)
		return 0;
	if (rx->len <= max) {
		uint32_t len = take_head(t)->len;

		*part = rx->data;
		demi_tcp_rx_free(t->s.in, rx);
		return len;
	}
	*part = demi_part_split(t->s.in->ctx, rx->data, (uint32_t)max);
	if (!*part)
		return 0;
	rx->data += max;
	rx->len -= (uint32_t)max;
	return (uint32_t)max;
}

static void answer_message(struct demi_tcp *t, struct demi_op *op)
{
	demi_framing_answer(t->framed, op, op->priv.u64[0], t->maxsegs);
	charge_messages(t);
}

/* Room has become free: does the peer have to know (RFC 9293 3.8.6.2.2)? */
static void window_opened(struct demi_tcp *t)
{
	uint32_t promised = seq_lt(t->rcv_nxt, t->rcv_adv) ? t->rcv_adv - t->rcv_nxt : 0;
	uint32_t wnd;

	if (t->state < DEMI_TCP_ESTABLISHED || t->rd_end || promised >= t->s.rcvbuf_bytes / 2)
		return;
	wnd = demi_tcp_rcv_window(t);
	if (wnd >= promised + 2 * t->rcv_mss || wnd >= 2 * promised + t->rcv_mss) {
		t->ack_now = true;
		demi_tcp_want_output(t);
	}
}

/* Who waits for a connection that is over is told so, each of them; else only the first one. */
static void fail_ops(struct demi_tcp *t, int err)
{
	do {
		demi_op_fail(demi_op_list_take(&t->ops), err);
	} while (t->ops.head && (t->dead || t->s.in->dead));
}

static struct demi_op *take_op(struct demi_tcp *t)
{
	return demi_op_list_take(&t->ops);
}

void demi_tcp_rx_deliver(struct demi_tcp *t)
{
	struct demi_op *op;
	bool took = false;

	while (t->ops.head) {
		if (t->framed && demi_framing_ready(t->framed)) {
			answer_message(t, take_op(t));
			took = true;
		} else if (t->rx_head) {
			op = take_op(t);
			demi_parts_answer(op, next_part, t, op->priv.u64[0], t->maxsegs);
			took = true;
		} else if (t->s.err || t->s.in->dead) {
			fail_ops(t, demi_inet_sock_take_err(&t->s));
		} else if (t->rd_end || t->s.shut_rd) {
			demi_op_complete_eof(take_op(t));
		} else {
			break;
		}
	}
	if (took)
		window_opened(t);
}

int demi_tcp_pop(struct demi_queue *q, struct demi_op *op, size_t max_bytes)
{
	struct demi_tcp *t = DEMI_TCP(q);

	if (t->state < DEMI_TCP_ESTABLISHED && !t->dead && !t->was_open)
		return -ENOTCONN;
	op->priv.u64[0] = max_bytes;
	demi_op_list_add(&t->ops, op);
	if (t->rx_head || t->framed || t->rd_end || t->s.shut_rd || t->s.err || t->s.in->dead)
		demi_tcp_rx_deliver(t);
	return 0;
}

void demi_tcp_rx_drop(struct demi_tcp *t)
{
	while (t->rx_head) {
		struct demi_tcp_rx *rx = take_head(t);

		demi_heap_free(rx->data);
		demi_tcp_rx_free(t->s.in, rx);
	}
}
