/* SPDX-License-Identifier: MIT */
/* Datagrams and records: one push is one message, one message is one pop. */
#include "core/config.h"
#include "heap/heap.h"
#include "uring/sock.h"

#include <stdlib.h>
#include <string.h>

/* UDP keeps no order anyway; records on Unix sockets do. */
#define UDP_INFLIGHT 64

#define UDP4_MAX 65507
#define UDP6_MAX 65527

struct dgram_msg {
	struct demi_ureq req;
	struct demi_sock *s;
	struct dgram_msg *next;
	struct demi_op *op; /* pending because memory is lent; else NULL */
	uint32_t charge;
	uint32_t lent; /* a bit for each segment that is */
	struct msghdr m;
	struct iovec iov[DEMI_SGARRAY_MAXSIZE];
	char data[]; /* address, copied segments */
};

struct dgram_tx {
	struct dgram_msg *head, *tail; /* not in flight */
	uint32_t inflight;
	uint16_t drop_err;
};

static void msg_done(struct dgram_msg *msg, int err)
{
	struct demi_sock *s = msg->s;

	for (uint32_t i = 0; i < DEMI_SGARRAY_MAXSIZE; i++) {
		if (msg->lent & 1U << i)
			demi_heap_unlend(msg->iov[i].iov_base);
	}
	if (msg->op && err)
		demi_op_fail(msg->op, err);
	else if (msg->op)
		demi_op_complete(msg->op);
	else if (err && !s->q.closed)
		s->tx_err = (uint16_t)err;
	demi_ctx_uncharge(s->q.ctx, msg->charge);
	free(msg);
}

/* May release @s. */
static void tx_check_empty(struct demi_sock *s)
{
	struct dgram_tx *tx = s->tx;

	if (tx->head || tx->inflight)
		return;
	free(tx);
	s->tx = NULL;
	demi_sock_tx_empty(s);
}

static void drop_queued(struct dgram_tx *tx, int err)
{
	struct dgram_msg *msg;

	while ((msg = tx->head)) {
		tx->head = msg->next;
		msg_done(msg, err);
	}
	tx->tail = NULL;
}

void demi_dgram_drop(struct demi_sock *s, int err)
{
	if (!s->tx)
		return;
	drop_queued(s->tx, err);
	tx_check_empty(s);
}

/* The result of one message. May release @s. */
static void sent(struct demi_sock *s, struct dgram_msg *msg, ssize_t n)
{
	int err = n < 0 ? (int)-n : 0;

	msg_done(msg, err);
	if (s->record && (err == EPIPE || err == ECONNRESET)) {
		s->wr_dead = true;
		drop_queued(s->tx, err);
	}
	tx_check_empty(s);
}

static void send_done(struct demi_ureq *r, int res, uint32_t flags)
{
	struct dgram_msg *msg = demi_container(r, struct dgram_msg, req);
	struct demi_sock *s = msg->s;
	struct dgram_tx *tx = s->tx;

	tx->inflight--;
	if (tx->head)
		demi_sock_want_tx(s);
	sent(s, msg, res);
	demi_sock_put_request(s);
}

void demi_dgram_flush(struct demi_sock *s)
{
	const struct demi_engine_ops *e = demi_sock_uring(s)->engine;
	uint32_t limit = s->domain == AF_UNIX ? 1 : UDP_INFLIGHT;
	struct dgram_tx *tx;
	ssize_t n;

	while ((tx = s->tx) && tx->head && tx->inflight < limit && !s->tx_blocked) {
		struct dgram_msg *msg = tx->head;

		n = e->sendmsg(s, &msg->req, &msg->m, 0);
		if (n == -EAGAIN) {
			s->tx_blocked = true;
			return;
		}
		tx->head = msg->next;
		if (!tx->head)
			tx->tail = NULL;
		if (n == -EINPROGRESS) {
			tx->inflight++;
			continue;
		}
		if (!tx->head && !tx->inflight) { /* the last one: @s may go with it */
			sent(s, msg, n);
			return;
		}
		sent(s, msg, n);
	}
}

/* ---- pushing ---- */

static int push_allowed(struct demi_sock *s, const struct sockaddr *to, size_t total)
{
	int err = s->tx_err;

	if (s->state != DEMI_SOCK_OPEN)
		return -ENOTCONN;
	s->tx_err = 0;
	if (err)
		return -err;
	if (s->wr_dead || s->shut_wr)
		return -EPIPE;
	if (s->record)
		return total ? 0 : -EINVAL; /* could not be told from the end of the connection */
	if (!to && !s->has_peer)
		return -EDESTADDRREQ;
	if (to && to->sa_family != s->domain)
		return -EAFNOSUPPORT;
	if ((s->domain == AF_INET && total > UDP4_MAX) || (s->domain == AF_INET6 && total > UDP6_MAX))
		return -EMSGSIZE;
	return 0;
}

/* @lent has been lent, all else is copied behind the address. */
static struct dgram_msg *msg_alloc(struct demi_sock *s, const demi_sgarray_t *sga, uint32_t lent, size_t copied,
				   const struct sockaddr *to, socklen_t tolen)
{
	size_t addr = (tolen + 15) & ~15UL;
	struct dgram_msg *msg = malloc(sizeof(*msg) + addr + copied);
	char *p;

	if (!msg)
		return NULL;
	msg->req.done = send_done;
	msg->s = s;
	msg->next = NULL;
	msg->op = NULL;
	msg->lent = lent;
	memset(&msg->m, 0, sizeof(msg->m));
	msg->m.msg_iov = msg->iov;
	msg->m.msg_iovlen = sga->sga_numsegs;
	if (tolen) {
		memcpy(msg->data, to, tolen);
		msg->m.msg_name = msg->data;
		msg->m.msg_namelen = tolen;
	}
	p = msg->data + addr;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		msg->iov[i].iov_len = seg->sgaseg_len;
		if (lent & 1U << i) {
			msg->iov[i].iov_base = seg->sgaseg_buf;
			continue;
		}
		msg->iov[i].iov_base = p;
		if (seg->sgaseg_len)
			memcpy(p, seg->sgaseg_buf, seg->sgaseg_len);
		p += seg->sgaseg_len;
	}
	s->q.ctx->count.copied_bytes += copied;
	return msg;
}

static void enqueue(struct dgram_tx *tx, struct dgram_msg *msg)
{
	if (tx->head)
		tx->tail->next = msg;
	else
		tx->head = msg;
	tx->tail = msg;
}

int demi_dgram_push(struct demi_sock *s, struct demi_op *op, const demi_sgarray_t *sga, const struct sockaddr *to,
		    socklen_t tolen)
{
	size_t total = 0, copied = 0, charge;
	struct dgram_tx *tx = s->tx;
	struct dgram_msg *msg;
	uint32_t lent;
	int err;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++)
		total += sga->sga_segs[i].sgaseg_len;
	err = push_allowed(s, to, total);
	if (err)
		return err;
	charge = total + sizeof(*msg);
	err = demi_ctx_charge(s->q.ctx, charge);
	if (err)
		return err;
	lent = demi_sock_lend_segs(sga, &copied);
	if (!tx)
		tx = calloc(1, sizeof(*tx));
	msg = tx ? msg_alloc(s, sga, lent, copied, s->record ? NULL : to, s->record || !to ? 0 : tolen) : NULL;
	if (!msg)
		goto err_mem;
	msg->charge = (uint32_t)charge;
	s->tx = tx;
	enqueue(tx, msg);
	if (lent)
		msg->op = op;
	else
		demi_op_complete(op);
	demi_sock_want_tx(s);
	return 0;

err_mem:
	if (!s->tx)
		free(tx);
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (lent & 1U << i)
			demi_heap_unlend(sga->sga_segs[i].sgaseg_buf);
	}
	demi_ctx_uncharge(s->q.ctx, charge);
	return -ENOMEM;
}

/* ---- receiving ---- */

static void set_addr(struct demi_rx *rx, const void *from, socklen_t len)
{
	rx->addr.magic = DEMI_ADDR_MAGIC;
	rx->addr.off = (uint16_t)((const char *)from - (const char *)rx);
	rx->addr.len = (uint16_t)len;
}

bool demi_dgram_input(struct demi_sock *s, struct demi_rx *rx, char *data, uint32_t len, uint32_t size,
		      const struct sockaddr *from, socklen_t fromlen)
{
	struct demi_rx *copy = NULL;

	if (s->q.closed || s->rx_end)
		return false;
	if (len < size / 4)
		copy = demi_rx_copy(s, data, len, fromlen);
	if (copy) {
		memcpy((char *)copy + DEMI_RX_HEAD, from, fromlen);
		set_addr(copy, (char *)copy + DEMI_RX_HEAD, fromlen);
	} else {
		demi_rx_set(rx, data, len, size);
		set_addr(rx, from, fromlen);
	}
	demi_sock_rx_add(s, copy ? copy : rx);
	demi_sock_deliver(s);
	return !copy;
}

void demi_dgram_error(struct demi_sock *s, int err)
{
	if (s->q.closed)
		return;
	s->rx_err = (uint16_t)err;
	demi_sock_deliver(s);
}

void demi_dgram_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes)
{
	struct demi_rx *rx = s->rx_head;
	const struct sockaddr *from = (const struct sockaddr *)((char *)rx + rx->addr.off);
	demi_sgarray_t sga;

	if (rx->len > max_bytes) {
		demi_op_fail(op, EMSGSIZE);
		return;
	}
	demi_sock_rx_take(s);
	memset(&sga, 0, sizeof(sga));
	sga.sga_buf = rx;
	sga.sga_numsegs = 1;
	sga.sga_segs[0].sgaseg_buf = rx->data;
	sga.sga_segs[0].sgaseg_len = rx->len;
	if (rx->addr.len >= sizeof(from->sa_family)) {
		sga.sga_addr.sin_family = from->sa_family;
		if (from->sa_family == AF_INET && rx->addr.len >= sizeof(struct sockaddr_in))
			memcpy(&sga.sga_addr, from, sizeof(struct sockaddr_in));
		else if (from->sa_family == AF_INET6)
			memcpy(&sga.sga_addr.sin_port, &((const struct sockaddr_in6 *)from)->sin6_port,
			       sizeof(sga.sga_addr.sin_port));
	}
	demi_op_complete_pop(op, &sga);
}
