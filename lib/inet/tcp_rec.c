/* SPDX-License-Identifier: MIT */
/* Records of what has been sent and is not acknowledged: the scoreboard of RFC 6675, with RFC 8985's times. */
#include "inet/tcp_stack.h"

#include <stdlib.h>

static struct demi_tcp_rec *rec_alloc(struct demi_inet *in)
{
	struct demi_tcp_rec *rec = in->tcp->rec_cache;

	if (!rec)
		return malloc(sizeof(*rec));
	in->tcp->rec_cache = rec->next;
	in->tcp->rec_cached--;
	return rec;
}

static void rec_free(struct demi_inet *in, struct demi_tcp_rec *rec)
{
	if (rec->flags & DEMI_TCP_REC_SMALL) {
		demi_tcp_small_put(in, (struct demi_tcp_small *)((char *)rec - offsetof(struct demi_tcp_small, rec)),
				   DEMI_TCP_SMALL_REC);
		return;
	}
	if (in->tcp->rec_cached >= DEMI_TCP_REC_CACHE) {
		free(rec);
		return;
	}
	rec->next = in->tcp->rec_cache;
	in->tcp->rec_cache = rec;
	in->tcp->rec_cached++;
}

void demi_tcp_rec_cache_free(struct demi_inet *in)
{
	struct demi_tcp_rec *rec;

	while ((rec = in->tcp->rec_cache)) {
		in->tcp->rec_cache = rec->next;
		free(rec);
	}
	in->tcp->rec_cached = 0;
}

static void sent_add(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	rec->tnext = NULL;
	rec->tprev = t->sent_tail;
	if (t->sent_tail)
		t->sent_tail->tnext = rec;
	else
		t->sent_head = rec;
	t->sent_tail = rec;
}

static void sent_del(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	if (rec->tprev)
		rec->tprev->tnext = rec->tnext;
	else
		t->sent_head = rec->tnext;
	if (rec->tnext)
		rec->tnext->tprev = rec->tprev;
	else
		t->sent_tail = rec->tprev;
}

struct demi_tcp_rec *demi_tcp_rec_add(struct demi_tcp *t, uint32_t seq, uint32_t end, uint32_t flags)
{
	struct demi_tcp_rec *rec = rec_alloc(t->s.in);

	if (!rec)
		return NULL;
	rec->seq = seq;
	rec->end = end;
	rec->flags = flags;
	rec->sent_ns = t->s.in->now_ns;
	rec->next = NULL;
	rec->prev = t->rec_tail;
	if (t->rec_tail)
		t->rec_tail->next = rec;
	else
		t->rec_head = rec;
	t->rec_tail = rec;
	sent_add(t, rec);
	return rec;
}

/* Its bytes leave the counters. */
static void uncount(struct demi_tcp *t, const struct demi_tcp_rec *rec)
{
	uint32_t len = demi_tcp_rec_len(rec);

	if (rec->flags & DEMI_TCP_REC_SACKED)
		t->sacked_out -= len;
	if (rec->flags & DEMI_TCP_REC_LOST)
		t->lost_out -= len;
	if (rec->flags & DEMI_TCP_REC_RETRANS)
		t->retrans_out -= len;
}

void demi_tcp_rec_del(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	if (rec->flags)
		uncount(t, rec);
	if (rec->prev)
		rec->prev->next = rec->next;
	else
		t->rec_head = rec->next;
	if (rec->next)
		rec->next->prev = rec->prev;
	else
		t->rec_tail = rec->prev;
	sent_del(t, rec);
	rec_free(t->s.in, rec);
}

struct demi_tcp_rec *demi_tcp_rec_split(struct demi_tcp *t, struct demi_tcp_rec *rec, uint32_t at)
{
	struct demi_tcp_rec *second = rec_alloc(t->s.in);

	if (!second)
		return NULL;
	*second = *rec;
	second->flags &= ~(uint32_t)DEMI_TCP_REC_SMALL;
	second->seq = rec->end = at;
	rec->flags &= ~(uint32_t)DEMI_TCP_REC_FIN;
	second->prev = rec;
	if (rec->next)
		rec->next->prev = second;
	else
		t->rec_tail = second;
	rec->next = second;
	second->tprev = rec;
	if (rec->tnext)
		rec->tnext->tprev = second;
	else
		t->sent_tail = second;
	rec->tnext = second;
	return second;
}

void demi_tcp_rec_lost(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	uint32_t len = demi_tcp_rec_len(rec);

	if (rec->flags & DEMI_TCP_REC_SACKED)
		return;
	if (rec->flags & DEMI_TCP_REC_RETRANS) { /* what was sent again is lost, too */
		rec->flags &= ~(uint32_t)DEMI_TCP_REC_RETRANS;
		t->retrans_out -= len;
	}
	if (!(rec->flags & DEMI_TCP_REC_LOST)) {
		rec->flags |= DEMI_TCP_REC_LOST;
		t->lost_out += len;
	}
}

void demi_tcp_rec_sacked(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	uncount(t, rec);
	rec->flags &= ~(uint32_t)(DEMI_TCP_REC_LOST | DEMI_TCP_REC_RETRANS);
	rec->flags |= DEMI_TCP_REC_SACKED;
	t->sacked_out += demi_tcp_rec_len(rec);
}

void demi_tcp_rec_resent(struct demi_tcp *t, struct demi_tcp_rec *rec)
{
	if (!(rec->flags & DEMI_TCP_REC_RETRANS))
		t->retrans_out += demi_tcp_rec_len(rec);
	rec->flags |= DEMI_TCP_REC_RETRANS | DEMI_TCP_REC_EVER;
	rec->sent_ns = t->s.in->now_ns;
	sent_del(t, rec);
	sent_add(t, rec);
}

void demi_tcp_recs_drop(struct demi_tcp *t)
{
	while (t->rec_head)
		demi_tcp_rec_del(t, t->rec_head);
}
