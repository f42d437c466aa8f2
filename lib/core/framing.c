/* SPDX-License-Identifier: MIT */
#include "core/framing.h"

#include "core/ctx.h"
#include "core/log.h"
#include "heap/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 65536

/* A message: one object, so that it can be given out as one segment or as its own. */
struct message {
	struct message *next;
	uint32_t len, room;
	uint32_t nsegs;
	uint32_t lens[DEMI_SGARRAY_MAXSIZE];
};

#define HEAD ((sizeof(struct message) + 15) & ~15UL)

struct demi_framing {
	struct demi_ctx *ctx;
	struct demi_frame_reader reader;
	struct message *msg; /* that is being put together */
	struct message *head, *tail; /* whole ones */
	size_t bytes; /* of memory, whole ones */
};

struct demi_framing *demi_framing_new(struct demi_ctx *ctx, uint32_t max)
{
	struct demi_framing *f = calloc(1, sizeof(*f));

	if (f) {
		f->ctx = ctx;
		f->reader.max = max;
	}
	return f;
}

void demi_framing_free(struct demi_framing *f)
{
	struct message *msg;

	if (!f)
		return;
	while ((msg = f->head)) {
		f->head = msg->next;
		demi_heap_free(msg);
	}
	if (f->msg)
		demi_heap_free(f->msg);
	free(f);
}

void demi_framing_set_max(struct demi_framing *f, uint32_t max)
{
	f->reader.max = max;
}

bool demi_framing_cut_off(const struct demi_framing *f)
{
	return f->reader.in_body || f->reader.head_got;
}

size_t demi_framing_bytes(const struct demi_framing *f)
{
	return f->bytes;
}

bool demi_framing_ready(const struct demi_framing *f)
{
	return f->head != NULL;
}

/*
 * Room for @need bytes of a body of @total. Memory follows what has arrived, not what the head announces: a
 * head costs the peer nothing.
 */
static int make_room(struct demi_framing *f, uint32_t need, uint32_t total)
{
	uint64_t room = f->msg ? f->msg->room : 0;
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
		memcpy((char *)msg + HEAD, (char *)f->msg + HEAD, f->msg->room);
		demi_heap_free(f->msg);
	}
	f->msg = msg;
	msg->room = (uint32_t)room;
	return 0;
}

static void finish(struct demi_framing *f)
{
	struct message *msg = f->msg;

	f->msg = NULL;
	f->bytes += HEAD + msg->room;
	msg->next = NULL;
	msg->len = f->reader.frame.total;
	msg->nsegs = f->reader.frame.nsegs;
	memcpy(msg->lens, f->reader.frame.lens, sizeof(msg->lens));
	if (f->head)
		f->tail->next = msg;
	else
		f->head = msg;
	f->tail = msg;
}

int demi_framing_input(struct demi_framing *f, const void *data, uint32_t len)
{
	const char *from = data;
	struct demi_frame_piece p;
	int n, err;

	while (len) {
		n = demi_frame_read(&f->reader, from, len, &p);
		if (n < 0) {
			demi_info("framed stream: %s", n == -EMSGSIZE ? "message too long" : "not a message");
			return -EBADMSG;
		}
		from += n;
		len -= (uint32_t)n;
		if (!p.len)
			continue;
		err = make_room(f, p.off + p.len, f->reader.frame.total);
		if (err)
			return err;
		memcpy((char *)f->msg + HEAD + p.off, p.data, p.len);
		f->ctx->count.copied_bytes += p.len;
		if (p.last)
			finish(f);
	}
	return 0;
}

void demi_framing_answer(struct demi_framing *f, struct demi_op *op, size_t max_bytes, uint32_t maxsegs)
{
	struct message *msg = f->head;
	uint32_t n = msg->nsegs <= maxsegs ? msg->nsegs : 1, owned = 1;
	char *data = (char *)msg + HEAD;
	demi_sgarray_t sga;

	if (msg->len > max_bytes) {
		demi_op_fail(op, EMSGSIZE);
		return;
	}
	f->head = msg->next;
	f->bytes -= HEAD + msg->room;
	/* each segment is freed by itself: an owner for each */
	while (owned < n && demi_heap_own(msg) == 0)
		owned++;
	if (owned < n) {
		while (owned-- > 1)
			demi_heap_free(msg);
		n = 1;
	}
	if (n == 1) {
		demi_op_complete_buf(op, data, msg->len);
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
