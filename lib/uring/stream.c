/* SPDX-License-Identifier: MIT */
/*
 * Byte streams: the send queue and the answers to pops.
 *
 * At most one request of a stream is in flight: two would be carried out in any order. What is pushed
 * meanwhile is queued, copied pushes one behind the other in the same segment, and goes out with the
 * next request. A request may send less than it was given; the rest is the head of the queue.
 */
#include "core/config.h"
#include "core/frame.h"
#include "core/log.h"
#include "core/parts.h"
#include "heap/heap.h"
#include "uring/sock.h"

#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>

#define SEG_SIZE (4096 - sizeof(struct demi_stream_seg))
#define SEG_CACHE 64
#define TX_IOV 16
#define ZC_MIN 16384

struct demi_stream_seg {
	struct demi_stream_seg *next;
	const char *base;
	uint32_t len; /* bytes at base */
	uint32_t done; /* of which so many have been sent */
	uint32_t size; /* room at data; 0: base is lent */
	uint32_t notifs; /* lent: notifications that are to come */
	struct demi_op *op; /* lent: priv.u64[0] counts its segments, priv.u64[1] is its errno */
	struct demi_sock *s;
	struct demi_ureq zc;
	char data[];
};

struct demi_stream_tx {
	struct demi_ureq req;
	struct demi_sock *s;
	struct demi_stream_seg *head, *tail;
	bool busy; /* a request is in flight */
	uint16_t drop_err; /* drop all when it is back */
	struct msghdr msg;
	struct iovec iov[TX_IOV];
};

static void zc_done(struct demi_ureq *r, int res, uint32_t flags);

uint32_t demi_sock_zc_min(void)
{
	return demi_config.zc_min_bytes ? demi_config.zc_min_bytes : ZC_MIN;
}

bool demi_sock_lend(const void *buf, uint32_t len)
{
	return demi_config.zerocopy && len >= demi_sock_zc_min() && demi_heap_lend(buf, len) == 0;
}

uint32_t demi_sock_lend_segs(const demi_sgarray_t *sga, size_t *copied)
{
	uint32_t lent = 0;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (demi_sock_lend(sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len))
			lent |= 1U << i;
		else
			*copied += sga->sga_segs[i].sgaseg_len;
	}
	return lent;
}

/* ---- segments ---- */

static struct demi_stream_seg *seg_alloc(struct demi_sock *s, uint32_t size)
{
	struct demi_uring *u = demi_sock_uring(s);
	struct demi_stream_seg *seg = u->seg_cache;

	if (size == SEG_SIZE && seg) {
		u->seg_cache = seg->next;
		u->seg_cached--;
	} else {
		seg = malloc(sizeof(*seg) + size);
		if (!seg)
			return NULL;
	}
	seg->next = NULL;
	seg->base = seg->data;
	seg->len = seg->done = seg->notifs = 0;
	seg->size = size;
	seg->op = NULL;
	seg->s = s;
	seg->zc.done = zc_done;
	return seg;
}

static void seg_free(struct demi_stream_seg *seg)
{
	struct demi_uring *u = demi_sock_uring(seg->s);

	if (seg->size == SEG_SIZE && u->seg_cached < SEG_CACHE) {
		seg->next = u->seg_cache;
		u->seg_cache = seg;
		u->seg_cached++;
	} else {
		free(seg);
	}
}

void demi_stream_cache_free(struct demi_uring *u)
{
	struct demi_stream_seg *seg;

	while ((seg = u->seg_cache)) {
		u->seg_cache = seg->next;
		free(seg);
	}
}

/* All of @seg was sent, or never will be. Its memory is needed until the last notification. */
static void seg_done(struct demi_stream_seg *seg, int err)
{
	struct demi_op *op = seg->op;

	if (op && err)
		op->priv.u64[1] = (uint64_t)err;
	seg->done = seg->len;
	if (seg->notifs)
		return;
	if (op) {
		demi_heap_unlend(seg->base);
		if (--op->priv.u64[0] == 0) {
			if (op->priv.u64[1])
				demi_op_fail(op, (int)op->priv.u64[1]);
			else
				demi_op_complete(op);
		}
	}
	seg_free(seg);
}

/* ---- sending ---- */

static void tx_free(struct demi_sock *s)
{
	free(s->tx);
	s->tx = NULL;
}

void demi_stream_drop(struct demi_sock *s, int err)
{
	struct demi_stream_tx *tx = s->tx;
	struct demi_stream_seg *seg;

	if (!tx)
		return;
	if (tx->busy) {
		tx->drop_err = (uint16_t)err;
		return;
	}
	while ((seg = tx->head)) {
		tx->head = seg->next;
		demi_ctx_uncharge(s->q.ctx, seg->len - seg->done);
		seg_done(seg, err);
	}
	tx_free(s);
	demi_sock_tx_empty(s);
}

static void send_failed(struct demi_sock *s, int err)
{
	s->wr_dead = true;
	s->tx_err = (uint16_t)err;
	if (err != EPIPE && !s->rx_end)
		s->rx_err = (uint16_t)err;
	demi_stream_drop(s, err);
}

/* @n bytes of the queue's head have gone. */
static void advance(struct demi_sock *s, size_t n)
{
	struct demi_stream_tx *tx = s->tx;
	struct demi_stream_seg *seg;

	demi_ctx_uncharge(s->q.ctx, n);
	while (n) {
		seg = tx->head;
		if (n < seg->len - seg->done) {
			seg->done += (uint32_t)n;
			return;
		}
		n -= seg->len - seg->done;
		tx->head = seg->next;
		if (!tx->head)
			tx->tail = NULL;
		seg_done(seg, 0);
	}
}

/* A request is back, or was answered at once. Returns whether there is more to send. May release @s. */
static bool sent(struct demi_sock *s, ssize_t n)
{
	struct demi_stream_tx *tx = s->tx;

	tx->busy = false;
	if (n > 0)
		advance(s, (size_t)n);
	if (tx->drop_err) {
		demi_stream_drop(s, tx->drop_err);
		return false;
	}
	if (n < 0 && n != -EINTR) {
		send_failed(s, (int)-n);
		return false;
	}
	if (tx->head)
		return true;
	tx_free(s);
	demi_sock_tx_empty(s);
	return false;
}

static void send_done(struct demi_ureq *r, int res, uint32_t flags)
{
	struct demi_sock *s = demi_container(r, struct demi_stream_tx, req)->s;

	if (sent(s, res))
		demi_sock_want_tx(s);
	demi_sock_put_request(s);
}

static void zc_done(struct demi_ureq *r, int res, uint32_t flags)
{
	struct demi_stream_seg *seg = demi_container(r, struct demi_stream_seg, zc);
	struct demi_sock *s = seg->s;

	if (flags & IORING_CQE_F_NOTIF) {
		seg->notifs--;
		if (!seg->notifs && seg->done == seg->len)
			seg_done(seg, 0);
		demi_sock_put_request(s);
		return;
	}
	if (flags & IORING_CQE_F_MORE)
		seg->notifs++;
	if (res == -ENOMEM || res == -ENOBUFS || res == -EOPNOTSUPP || res == -EINVAL) {
		demi_debug("zero-copy send: %s, copying from now on", strerror(-res));
		s->no_zc = true;
		res = 0;
	}
	if (sent(s, res))
		demi_sock_want_tx(s);
	if (!(flags & IORING_CQE_F_MORE))
		demi_sock_put_request(s);
}

static bool is_loopback(const struct sockaddr_storage *ss)
{
	static const struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 127 } };
	const struct in6_addr *a6 = &((const struct sockaddr_in6 *)ss)->sin6_addr;

	if (ss->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(a6) || !memcmp(a6, &mapped, 13);
}

/* Towards this machine itself the kernel copies all the same, later. Whoever sets DEMI_ZC_MIN knows better. */
static bool zc_allowed(struct demi_sock *s)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (s->zc_known)
		return !s->no_zc;
	s->zc_known = true;
	if (s->domain == AF_UNIX || !demi_sock_uring(s)->engine->send_zc)
		s->no_zc = true;
	else if (!demi_config.zc_min_bytes && (getpeername(s->fd, (struct sockaddr *)&ss, &len) || is_loopback(&ss)))
		s->no_zc = true;
	return !s->no_zc;
}

static inline bool seg_is_zc(struct demi_sock *s, const struct demi_stream_seg *seg)
{
	return !seg->size && seg->len - seg->done >= demi_sock_zc_min() && zc_allowed(s);
}

static ssize_t send_head(struct demi_sock *s, struct demi_stream_tx *tx)
{
	const struct demi_engine_ops *e = demi_sock_uring(s)->engine;
	struct demi_stream_seg *seg = tx->head;
	int n = 0;

	if (seg_is_zc(s, seg))
		return e->send_zc(s, &seg->zc, seg->base + seg->done, seg->len - seg->done);
	for (; seg && n < TX_IOV && (!n || !seg_is_zc(s, seg)); seg = seg->next) {
		tx->iov[n].iov_base = (char *)seg->base + seg->done;
		tx->iov[n++].iov_len = seg->len - seg->done;
	}
	tx->msg.msg_iovlen = (size_t)n;
	return e->sendmsg(s, &tx->req, &tx->msg, MSG_WAITALL);
}

void demi_stream_flush(struct demi_sock *s)
{
	struct demi_stream_tx *tx = s->tx;
	ssize_t n;

	if (!tx || tx->busy || s->tx_blocked)
		return;
	do {
		n = send_head(s, tx);
		if (n == -EINPROGRESS) {
			tx->busy = true;
			return;
		}
		if (n == -EAGAIN) {
			s->tx_blocked = true;
			return;
		}
	} while (sent(s, n));
}

/* ---- pushing ---- */

/* A push on its way into the queue: nothing is visible until all of it has been allocated. */
struct taking {
	struct demi_stream_seg *head, *tail;
	uint32_t lent; /* segments */
};

static void take_undo(struct taking *t)
{
	struct demi_stream_seg *seg;

	while ((seg = t->head)) {
		t->head = seg->next;
		if (!seg->size)
			demi_heap_unlend(seg->base);
		seg_free(seg);
	}
}

static struct demi_stream_seg *take_seg(struct demi_sock *s, struct taking *t, uint32_t size)
{
	struct demi_stream_seg *seg = seg_alloc(s, size);

	if (!seg)
		return NULL;
	if (t->tail)
		t->tail->next = seg;
	else
		t->head = seg;
	t->tail = seg;
	return seg;
}

static int take_lent(struct demi_sock *s, struct taking *t, struct demi_op *op, const char *base, uint32_t len)
{
	struct demi_stream_seg *seg;

	if (!demi_sock_lend(base, len))
		return -EFAULT;
	seg = take_seg(s, t, 0);
	if (!seg) {
		demi_heap_unlend(base);
		return -ENOMEM;
	}
	seg->base = base;
	seg->len = len;
	seg->op = op;
	t->lent++;
	return 0;
}

static int take_copy(struct demi_sock *s, struct taking *t, const char *base, uint32_t len, uint32_t left)
{
	struct demi_stream_seg *seg = t->tail;

	if (!seg || seg->size - seg->len < len) {
		seg = take_seg(s, t, left <= SEG_SIZE ? SEG_SIZE : len > SEG_SIZE ? len : SEG_SIZE);
		if (!seg)
			return -ENOMEM;
	}
	memcpy(seg->data + seg->len, base, len);
	seg->len += len;
	s->q.ctx->count.copied_bytes += len;
	return 0;
}

static int take(struct demi_sock *s, struct taking *t, struct demi_op *op, const struct iovec *iov, int n, size_t left)
{
	for (int i = 0; i < n; i++) {
		uint32_t len = (uint32_t)iov[i].iov_len;
		int err = -EFAULT;

		if (!len)
			continue;
		if (len >= demi_sock_zc_min())
			err = take_lent(s, t, op, iov[i].iov_base, len);
		if (err == -EFAULT)
			err = take_copy(s, t, iov[i].iov_base, len, (uint32_t)left);
		if (err)
			return err;
		left -= len;
	}
	return 0;
}

/* The usual small push behind another one: its bytes fit into the last segment. */
static bool append(struct demi_stream_tx *tx, const struct iovec *iov, int n, size_t total)
{
	struct demi_stream_seg *seg = tx->tail;

	if (!seg || seg->size < seg->len || seg->size - seg->len < total)
		return false;
	for (int i = 0; i < n; i++) {
		memcpy(seg->data + seg->len, iov[i].iov_base, iov[i].iov_len);
		seg->len += (uint32_t)iov[i].iov_len;
	}
	seg->s->q.ctx->count.copied_bytes += total;
	return true;
}

static struct demi_stream_tx *tx_get(struct demi_sock *s)
{
	struct demi_stream_tx *tx = s->tx;

	if (tx)
		return tx;
	tx = malloc(sizeof(*tx));
	if (!tx)
		return NULL;
	tx->req.done = send_done;
	tx->s = s;
	tx->head = tx->tail = NULL;
	tx->busy = false;
	tx->drop_err = 0;
	memset(&tx->msg, 0, sizeof(tx->msg));
	tx->msg.msg_iov = tx->iov;
	return tx;
}

static int enqueue(struct demi_sock *s, struct demi_op *op, const struct iovec *iov, int n, size_t total)
{
	struct taking t = { 0 };
	struct demi_stream_tx *tx;
	int err;

	err = demi_ctx_charge(s->q.ctx, total);
	if (err)
		return err;
	tx = tx_get(s);
	if (!tx) {
		err = -ENOMEM;
		goto err_charge;
	}
	if (!append(tx, iov, n, total)) {
		err = take(s, &t, op, iov, n, total);
		if (err)
			goto err_take;
		if (tx->tail)
			tx->tail->next = t.head;
		else
			tx->head = t.head;
		tx->tail = t.tail;
	}
	s->tx = tx;
	op->priv.u64[0] = t.lent;
	op->priv.u64[1] = 0;
	if (!t.lent)
		demi_op_complete(op);
	demi_sock_want_tx(s);
	return 0;

err_take:
	take_undo(&t);
	if (!s->tx)
		free(tx);
err_charge:
	demi_ctx_uncharge(s->q.ctx, total);
	return err;
}

/* Drop the first @n bytes. */
static int iov_skip(struct iovec *iov, int cnt, size_t n)
{
	int i = 0, k = 0;

	for (; i < cnt && n >= iov[i].iov_len; i++)
		n -= iov[i].iov_len;
	for (; i < cnt; i++, k++) {
		iov[k].iov_base = (char *)iov[i].iov_base + n;
		iov[k].iov_len = iov[i].iov_len - n;
		n = 0;
	}
	return k;
}

/* The peer of the only connection that is busy waits for an answer: no detour. Bytes sent or -errno. */
static ssize_t send_at_once(struct demi_sock *s, struct iovec *iov, int n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	ssize_t res;

	res = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, flags) : sendmsg(s->fd, &msg, flags);
	s->q.ctx->count.syscalls++;
	if (res < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return res;
}

static int push_allowed(struct demi_sock *s)
{
	int err = s->tx_err;

	if (s->state != DEMI_SOCK_OPEN)
		return -ENOTCONN;
	s->tx_err = 0;
	if (err)
		return -err;
	return s->wr_dead || s->shut_wr ? -EPIPE : 0;
}

int demi_stream_push(struct demi_sock *s, struct demi_op *op, const demi_sgarray_t *sga)
{
	char head[DEMI_FRAME_MAX_HEAD];
	struct iovec iov[DEMI_SGARRAY_MAXSIZE + 1];
	uint32_t lens[DEMI_SGARRAY_MAXSIZE];
	size_t total = 0;
	ssize_t now;
	int n = 0, err;

	err = push_allowed(s);
	if (err)
		return err;
	if (s->framed)
		n = 1;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];

		if (!seg->sgaseg_len)
			return -EINVAL;
		lens[i] = seg->sgaseg_len;
		iov[n].iov_base = seg->sgaseg_buf;
		iov[n++].iov_len = seg->sgaseg_len;
		total += seg->sgaseg_len;
	}
	if (s->framed) {
		if (total > s->maxmsg)
			return -EMSGSIZE;
		iov[0].iov_base = head;
		iov[0].iov_len = demi_frame_head(head, lens, sga->sga_numsegs);
		total += iov[0].iov_len;
	}
	if (demi_sock_uring(s)->direct && !s->tx && total < demi_sock_zc_min()) {
		now = send_at_once(s, iov, n);
		if (now < 0) {
			s->wr_dead = true;
			return (int)now;
		}
		if ((size_t)now == total) {
			demi_op_complete(op);
			return 0;
		}
		n = iov_skip(iov, n, (size_t)now);
		total -= (size_t)now;
	}
	return enqueue(s, op, iov, n, total);
}

/* ---- receiving ---- */

/* The usual case: a pop waits for these few bytes, and they need not be queued for it. */
static bool answer_small(struct demi_sock *s, const char *data, uint32_t len)
{
	struct demi_op *op = s->ops.head;
	void *exact;

	if (!op || s->maxsegs != 1 || len > op->priv.u64[0])
		return false;
	exact = demi_heap_alloc(len);
	if (!exact)
		return false;
	memcpy(exact, data, len);
	s->q.ctx->count.copied_bytes += len;
	demi_sock_op_del(s, op);
	demi_op_complete_buf(op, exact, len);
	return true;
}

bool demi_stream_input(struct demi_sock *s, struct demi_rx *rx, uint32_t len, uint32_t size)
{
	char *data = (char *)rx + DEMI_RX_HEAD;
	struct demi_rx *copy = NULL;
	int err;

	if (s->q.closed || s->rx_end)
		return false;
	if (s->framed) {
		err = demi_framed_input(s, data, len);
		if (err)
			demi_sock_input_end(s, -err);
		else
			demi_sock_deliver(s);
		return false;
	}
	if (len < size / 4) {
		if (answer_small(s, data, len))
			return false;
		copy = demi_rx_copy(s, data, len, 0);
	}
	if (!copy)
		demi_rx_set(rx, data, len, size);
	demi_sock_rx_add(s, copy ? copy : rx);
	demi_sock_deliver(s);
	return !copy;
}

/* The next part: see core/parts.h. */
static uint32_t next_part(void *stream, size_t max, void **part)
{
	struct demi_sock *s = stream;
	struct demi_rx *rx = s->rx_head;

	if (!rx)
		return 0;
	if (rx->len <= max) {
		*part = demi_sock_rx_take(s)->data;
		return rx->len;
	}
	*part = demi_part_split(s->q.ctx, rx->data, (uint32_t)max);
	if (!*part)
		return 0;
	rx->data += max;
	rx->len -= (uint32_t)max;
	return (uint32_t)max;
}

void demi_stream_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes)
{
	demi_parts_answer(op, next_part, s, max_bytes, s->maxsegs);
}
