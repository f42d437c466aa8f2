/* SPDX-License-Identifier: MIT */
/* The bytes of a connection that are to be sent, from the push to the acknowledgement. */
#include "heap/heap.h"
#include "inet/tcp_stack.h"
#include "inet/tx.h"

#include <stdlib.h>
#include <string.h>

#define LARGE_MAX 32768 /* a copied push comes in pieces of at most so many bytes */

/* op->priv of a push with lent memory */
#define LENT_CHUNKS(op) ((op)->priv.u64[0])
#define LENT_ERR(op) ((op)->priv.u64[1])

static struct demi_tcp_chunk *pooled_alloc(struct demi_inet *in)
{
	struct demi_tcp_chunk *c = in->tcp->chunk_cache;

	if (c) {
		in->tcp->chunk_cache = c->next;
		in->tcp->chunk_cached--;
	} else {
		c = in->dev->ops->buf_alloc(in->dev, DEMI_TCP_CHUNK_SIZE);
	}
	return c;
}

/* With room for @room bytes; 0: for lent ones. */
static struct demi_tcp_chunk *chunk_alloc(struct demi_inet *in, uint32_t room)
{
	bool pooled = room <= DEMI_TCP_CHUNK_ROOM;
	struct demi_tcp_chunk *c;

	if (pooled)
		c = pooled_alloc(in);
	else
		c = in->dev->ops->buf_alloc(in->dev, (uint32_t)sizeof(*c) + room);
	if (!c)
		return NULL;
	c->next = NULL;
	c->base = c->room;
	c->op = NULL;
	c->len = 0;
	c->cap = pooled ? DEMI_TCP_CHUNK_ROOM : room;
	c->refs = 0;
	c->gone = false;
	c->pooled = pooled;
	c->small = false;
	return c;
}

static void chunk_free(struct demi_inet *in, struct demi_tcp_chunk *c)
{
	struct demi_op *op = c->op;

	if (op) {
		demi_heap_unlend(c->base);
		if (--LENT_CHUNKS(op) == 0) {
			if (LENT_ERR(op))
				demi_op_fail(op, (int)LENT_ERR(op));
			else
				demi_op_complete(op);
		}
	}
	if (c->small) {
		demi_tcp_small_put(in, (struct demi_tcp_small *)((char *)c - offsetof(struct demi_tcp_small, chunk)),
				   DEMI_TCP_SMALL_CHUNK);
	} else if (c->pooled && in->tcp->chunk_cached < DEMI_TCP_CHUNK_CACHE) {
		c->next = in->tcp->chunk_cache;
		in->tcp->chunk_cache = c;
		in->tcp->chunk_cached++;
	} else {
		demi_heap_free(c);
	}
}

void demi_tcp_chunk_put(struct demi_inet *in, struct demi_tcp_chunk *c)
{
	if (--c->refs == 0 && c->gone)
		chunk_free(in, c);
}

void demi_tcp_chunk_cache_free(struct demi_inet *in)
{
	struct demi_tcp_chunk *c;

	while ((c = in->tcp->chunk_cache)) {
		in->tcp->chunk_cache = c->next;
		demi_heap_free(c);
	}
	in->tcp->chunk_cached = 0;
}

/* ---- pushing ---- */

/* A push on its way into the queue: nothing is visible until all of it has been allocated. */
struct taking {
	struct demi_tcp_chunk *head, *tail;
	uint32_t lent, seq;
};

static void take_add(struct taking *t, struct demi_tcp_chunk *c)
{
	if (t->tail)
		t->tail->next = c;
	else
		t->head = c;
	t->tail = c;
	c->seq = t->seq;
}

static void take_undo(struct demi_inet *in, struct taking *t)
{
	struct demi_tcp_chunk *c;

	while ((c = t->head)) {
		t->head = c->next;
		if (c->op)
			demi_heap_unlend(c->base);
		c->op = NULL;
		chunk_free(in, c);
	}
}

static int take_lent(struct demi_inet *in, struct taking *t, struct demi_op *op, const void *base, uint32_t len)
{
	struct demi_tcp_chunk *c;

	if (len < in->zc_min_bytes || demi_heap_lend(base, len))
		return -EFAULT;
	c = chunk_alloc(in, 0);
	if (!c) {
		demi_heap_unlend(base);
		return -ENOMEM;
	}
	c->base = base;
	c->len = len;
	c->cap = 0;
	c->op = op;
	take_add(t, c);
	t->seq += len;
	t->lent++;
	return 0;
}

static int take_copy(struct demi_inet *in, struct taking *t, const uint8_t *base, uint32_t len, uint32_t left)
{
	struct demi_tcp_chunk *c = t->tail;

	while (len) {
		uint32_t n;

		if (!c || c->len >= c->cap) {
			c = chunk_alloc(in, left <= DEMI_TCP_CHUNK_ROOM ? 0 : left < LARGE_MAX ? left : LARGE_MAX);
			if (!c)
				return -ENOMEM;
			take_add(t, c);
		}
		n = c->cap - c->len < len ? c->cap - c->len : len;
		memcpy(c->room + c->len, base, n);
		in->ctx->count.copied_bytes += n;
		c->len += n;
		t->seq += n;
		base += n;
		len -= n;
		left -= n;
	}
	return 0;
}

/* The usual small push behind another one: its bytes fit into the last chunk, in which nothing is moved. */
static bool append(struct demi_tcp *t, const void *head, uint32_t head_len, const demi_sgarray_t *sga, uint32_t total)
{
	struct demi_tcp_chunk *c = t->snd_tail;

	if (!c || c->cap < c->len || c->cap - c->len < total || total >= t->s.in->zc_min_bytes)
		return false;
	if (head_len)
		memcpy(c->room + c->len, head, head_len);
	c->len += head_len;
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		memcpy(c->room + c->len, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
		c->len += sga->sga_segs[i].sgaseg_len;
	}
	t->s.in->ctx->count.copied_bytes += total;
	return true;
}

static int take_all(struct demi_tcp *t, struct taking *k, struct demi_op *op, const demi_sgarray_t *sga, uint32_t total)
{
	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		const demi_sgaseg_t *seg = &sga->sga_segs[i];
		int err;

		err = take_lent(t->s.in, k, op, seg->sgaseg_buf, seg->sgaseg_len);
		if (err == -EFAULT)
			err = take_copy(t->s.in, k, seg->sgaseg_buf, seg->sgaseg_len, total);
		if (err)
			return err;
		total -= seg->sgaseg_len;
	}
	return 0;
}

int demi_tcp_chunks_push(struct demi_tcp *t, struct demi_op *op, const void *head, uint32_t head_len,
			 const demi_sgarray_t *sga)
{
	struct demi_ctx *ctx = t->s.in->ctx;
	struct taking k = { .seq = t->snd_end };
	uint64_t total = head_len;
	int err;

	for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
		if (!sga->sga_segs[i].sgaseg_len)
			return -EINVAL;
		total += sga->sga_segs[i].sgaseg_len;
	}
	/* sequence numbers are compared by their distance */
	if (total + (t->snd_end - t->snd_una) > 1U << 30)
		return -ENOBUFS;
	err = demi_ctx_charge(ctx, total);
	if (err)
		return err;
	if (!append(t, head, head_len, sga, (uint32_t)total)) {
		err = head_len ? take_copy(t->s.in, &k, head, head_len, (uint32_t)total) : 0;
		if (!err)
			err = take_all(t, &k, op, sga, (uint32_t)total - head_len);
		if (err) {
			take_undo(t->s.in, &k);
			demi_ctx_uncharge(ctx, total);
			return err;
		}
		if (t->snd_tail)
			t->snd_tail->next = k.head;
		else
			t->snd_head = k.head;
		t->snd_tail = k.tail;
		if (!t->snd_cur)
			t->snd_cur = k.head;
	}
	t->snd_end += (uint32_t)total;
	LENT_CHUNKS(op) = k.lent;
	LENT_ERR(op) = 0;
	if (!k.lent)
		demi_op_complete(op);
	return 0;
}

struct demi_tcp_chunk *demi_tcp_chunk_at(struct demi_tcp *t, uint32_t seq)
{
	struct demi_tcp_chunk *c = t->snd_cur;

	if (__builtin_expect(c && seq - c->seq < c->len, 1))
		return c;
	if (!c || seq_lt(seq, c->seq))
		c = t->snd_head;
	while (c->next && seq_leq(c->seq + c->len, seq))
		c = c->next;
	if (seq == t->snd_nxt)
		t->snd_cur = c;
	return c;
}

static struct demi_tcp_chunk *chunk_unlink(struct demi_tcp *t)
{
	struct demi_tcp_chunk *c = t->snd_head;

	t->snd_head = c->next;
	if (!t->snd_head)
		t->snd_tail = NULL;
	if (t->snd_cur == c)
		t->snd_cur = t->snd_head;
	return c;
}

void demi_tcp_chunks_acked(struct demi_tcp *t, uint32_t una)
{
	struct demi_tcp_chunk *c;

	while ((c = t->snd_head) && seq_leq(c->seq + c->len, una)) {
		chunk_unlink(t);
		if (c->refs)
			c->gone = true;
		else
			chunk_free(t->s.in, c);
	}
}

void demi_tcp_chunks_drop(struct demi_tcp *t, int err)
{
	struct demi_tcp_chunk *c;

	while (t->snd_head) {
		c = chunk_unlink(t);
		if (c->op)
			LENT_ERR(c->op) = (uint64_t)err;
		if (c->refs)
			c->gone = true;
		else
			chunk_free(t->s.in, c);
	}
}
