/* SPDX-License-Identifier: MIT */
/* Messages on a stream: what arrives is put together until a message is whole. */
#include "core/frame.h"
#include "core/log.h"
#include "heap/heap.h"
#include "uring/sock.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 65536

/* A message: one object, so that it can be given out as one segment or as its own. */
struct message {
	struct demi_rx rx;
	uint32_t nsegs;
	uint32_t lens[DEMI_SGARRAY_MAXSIZE];
};

#define HEAD ((sizeof(struct message) + 15) & ~15UL)

struct demi_framed {
	struct demi_frame_reader reader;
	struct message *msg; /* that is being put together */
	uint32_t room; /* bytes behind its head */
};

static struct demi_framed *get(struct demi_sock *s)
{
	if (!s->framed) {
		s->framed = calloc(1, sizeof(*s->framed));
		if (s->framed)
			s->framed->reader.max = s->maxmsg;
	}
	return s->framed;
}

int demi_framed_set(struct demi_sock *s, int on)
{
	if (s->rx_wanted || s->tx || s->rx_head)
		return -EBUSY;
	if (!on) {
		demi_framed_free(s);
		return 0;
	}
	return get(s) ? 0 : -ENOMEM;
}

int demi_framed_set_max(struct demi_sock *s, int bytes)
{
	if (bytes < 1)
		return -EINVAL;
	s->maxmsg = (uint32_t)bytes;
	if (s->framed)
		s->framed->reader.max = s->maxmsg;
	return 0;
}

void demi_framed_free(struct demi_sock *s)
{
	if (!s->framed)
		return;
	if (s->framed->msg)
		demi_heap_free(s->framed->msg);
	free(s->framed);
	s->framed = NULL;
}

bool demi_framed_cut_off(const struct demi_sock *s)
{
	return s->framed && (s->framed->reader.in_body || s->framed->reader.head_got);
}

/*
 * Room for @need bytes of a body of @total. Memory follows what has arrived, not what the head announces: a
 * head costs the peer nothing.
 */
static int make_room(struct demi_framed *f, uint32_t need, uint32_t total)
{
	uint64_t room = f->msg ? f->room : 0;
	struct message *msg;

	if (need <= room)
		return 0;
	room = room * 2 > need ? room * 2 : need;
	if (room < FIRST_ROOM)
		room = FIRST_ROOM;
	if (room > total)
		room = total;
	msg = demi_heap_alloc(HEAD + room);
	if (!msg)
		return -ENOMEM;
	if (f->msg) {
		memcpy((char *)msg + HEAD, (char *)f->msg + HEAD, f->room);
		demi_heap_free(f->msg);
	}
	f->msg = msg;
	f->room = (uint32_t)room;
	return 0;
}

static void finish(struct demi_sock *s)
{
	struct demi_framed *f = s->framed;
	struct message *msg = f->msg;

	f->msg = NULL;
	msg->nsegs = f->reader.frame.nsegs;
	memcpy(msg->lens, f->reader.frame.lens, sizeof(msg->lens));
	demi_rx_set(&msg->rx, (char *)msg + HEAD, f->reader.frame.total, (uint32_t)HEAD + f->room);
	demi_sock_rx_add(s, &msg->rx);
}

int demi_framed_input(struct demi_sock *s, const char *data, uint32_t len)
{
	struct demi_framed *f = s->framed;
	struct demi_frame_piece p;
	int n, err;

	while (len) {
		n = demi_frame_read(&f->reader, data, len, &p);
		if (n < 0) {
			demi_info("framed stream: %s", n == -EMSGSIZE ? "message too long" : "not a message");
			return -EBADMSG;
		}
		data += n;
		len -= (uint32_t)n;
		if (!p.len)
			continue;
		err = make_room(f, p.off + p.len, f->reader.frame.total);
		if (err)
			return err;
		memcpy((char *)f->msg + HEAD + p.off, p.data, p.len);
		s->q.ctx->count.copied_bytes += p.len;
		if (p.last)
			finish(s);
	}
	return 0;
}

void demi_framed_answer(struct demi_sock *s, struct demi_op *op, size_t max_bytes)
{
	struct message *msg = (struct message *)s->rx_head;
	uint32_t n = msg->nsegs <= s->maxsegs ? msg->nsegs : 1, owned = 1;
	char *data = msg->rx.data;
	demi_sgarray_t sga;

	if (msg->rx.len > max_bytes) {
		demi_op_fail(op, EMSGSIZE);
		return;
	}
	demi_sock_rx_take(s);
	/* each segment is freed by itself: an owner for each */
	while (owned < n && demi_heap_own(msg) == 0)
		owned++;
	if (owned < n) {
		while (owned-- > 1)
			demi_heap_free(msg);
		n = 1;
	}
	if (n == 1) {
		demi_op_complete_buf(op, data, msg->rx.len);
		return;
	}
	memset(&sga, 0, sizeof(sga));
	sga.sga_buf = data;
	sga.sga_numsegs = n;
	for (uint32_t i = 0; i < n; i++) {
		sga.sga_segs[i].sgaseg_buf = data;
		sga.sga_segs[i].sgaseg_len = msg->lens[i];
		data += msg->lens[i];
	}
	demi_op_complete_pop(op, &sga);
}
