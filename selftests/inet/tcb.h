/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_TCB_H
#define DEMI_SELFTESTS_INET_TCB_H

/* What must hold of a connection's state at any time; the sums are made anew. */

#include "../lib/check.h"

#include "core/ctx.h"
#include "inet/tcp.h"

static inline struct demi_tcp *tcb_of(int qd)
{
	return (struct demi_tcp *)demi_queue_at(&demi_ctx_self->queues, (uint32_t)qd);
}

static inline void tcb_check_sent(const struct demi_tcp *t)
{
	if (t->solo) { /* it is all that is under way, and on no list */
		CHECK(t->snd_nxt == t->snd_end && t->snd_una != t->snd_nxt && !t->rec_head && !t->snd_head);
		CHECK(!t->xmit && !t->sacked_out && !t->lost_out && !t->retrans_out);
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
