/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_TCB_H
#define DEMI_SELFTESTS_INET_TCB_H

/* What must hold of a connection's state at any time; the sums are made anew. */

#include "../lib/check.h"

#include "core/ctx.h"
#include "inet/tcp.h"
#include "inet/tx.h"

static inline struct demi_tcp *tcb_of(int qd)
{
	return (struct demi_tcp *)demi_queue_at(&demi_ctx_self->queues, (uint32_t)qd);
}

/*
 * It is all that is under way, on no list, and its memory is its own. It has no deadline; the timer, which is set for
 * something else or for nothing, is not later than one that the long way would have set.
 */
static inline void tcb_check_solo(const struct demi_tcp *t)
{
	uint64_t rto_us = t->rto_us, probe_us = t->srtt_us / 8 * 2 + DEMI_TCP_RTO_MIN_US;

	CHECK(t->fast && t->recovery == DEMI_TCP_OPEN && !t->s.shut_wr && !t->fin_sent);
	CHECK(t->snd_nxt == t->snd_end && t->snd_una != t->snd_nxt && t->snd_nxt - t->snd_una <= DEMI_TCP_COPY_MAX);
	CHECK(!t->rec_head && !t->rec_tail && !t->sent_head && !t->sent_tail && !t->snd_head && !t->snd_tail);
	CHECK(!t->sacked_out && !t->lost_out && !t->retrans_out && !t->reno_sacked);
	CHECK(t->solo->s == &t->s && t->solo->tcp && !t->solo->lent && !t->solo->op);
	CHECK_EQ(t->solo->kept, DEMI_TCP_SMALL_REC | DEMI_TCP_SMALL_CHUNK);
	CHECK(!t->xmit && !t->backoff && !t->retries && !t->soft_err && !t->stuck_ns);
	CHECK(t->timer.index);
	CHECK(t->timer.deadline_ns <= t->last_send_ns + (rto_us < probe_us ? rto_us : probe_us) * 1000);
}

static inline void tcb_check_sent(const struct demi_tcp *t)
{
	if (t->solo) {
		tcb_check_solo(t);
		return;
	}
	uint32_t sacked = 0, lost = 0, again = 0, at = t->snd_una, end = 0;

	for (const struct demi_tcp_rec *rec = t->rec_head; rec; rec = rec->next) {
		CHECK_EQ(rec->seq, at);
		CHECK(seq_lt(rec->seq, rec->end));
		CHECK(rec->next || rec == t->rec_tail);
		at = rec->end;
		sacked += rec->flags & DEMI_TCP_REC_SACKED ? rec->end - rec->seq : 0;
		lost += rec->flags & DEMI_TCP_REC_LOST ? rec->end - rec->seq : 0;
		again += rec->flags & DEMI_TCP_REC_RETRANS ? rec->end - rec->seq : 0;
	}
	if (t->state >= DEMI_TCP_ESTABLISHED)
		CHECK_EQ(at, t->snd_nxt);
	CHECK_EQ(t->sacked_out, sacked);
	CHECK_EQ(t->lost_out, lost);
	CHECK_EQ(t->retrans_out, again);
	for (const struct demi_tcp_chunk *c = t->snd_head; c; c = c->next) {
		CHECK(c == t->snd_head ? seq_leq(c->seq, t->snd_una) : c->seq == end);
		end = c->seq + c->len;
	}
	if (t->snd_head)
		CHECK_EQ(end, t->snd_end);
}

static inline void tcb_check_received(const struct demi_tcp *t)
{
	uint32_t bytes = 0, at = t->rcv_nxt;

	for (const struct demi_tcp_rx *rx = t->rx_head; rx; rx = rx->next)
		bytes += rx->charge;
	for (const struct demi_tcp_rx *rx = t->ooo; rx; rx = rx->next) {
		CHECK(rx->len && !seq_lt(rx->seq, at));
		at = rx->seq + rx->len;
		bytes += rx->charge;
	}
	CHECK_EQ(t->rx_bytes, bytes + t->framed_bytes);
	/* what is out of order counts twice the buffer; what was promised comes in buffers larger than itself */
	CHECK(t->framed || t->rx_bytes <= 4 * t->s.rcvbuf_bytes + 65536);
}

/* RFC 9293 3.3.1, RFC 6675 "pipe", RFC 5681 3.1: between packets. */
static inline void tcb_check(int qd)
{
	const struct demi_tcp *t = tcb_of(qd);

	if (!t || t->dead || t->state < DEMI_TCP_SYN_RCVD)
		return;
	CHECK((int32_t)(t->snd_nxt - t->snd_una) >= 0 && (int32_t)(t->snd_end + t->fin_sent - t->snd_nxt) >= 0);
	if (t->state >= DEMI_TCP_ESTABLISHED) {
		tcb_check_sent(t);
		tcb_check_received(t);
		CHECK(t->cwnd >= t->mss);
		CHECK(t->ssthresh >= 2U * t->mss || t->ssthresh >= 2U * DEMI_TCP_MSS_MIN);
		CHECK(t->rto_us >= 1000 && t->rto_us <= DEMI_TCP_RTO_MAX_US);
	}
}

#endif /* DEMI_SELFTESTS_INET_TCB_H */
