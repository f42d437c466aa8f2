/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_SOLO_H
#define DEMI_SELFTESTS_INET_SOLO_H

/*
 * One small push is under way, of which the connection knows nothing but the frame (demi_tcp.solo), and something else
 * happens than its acknowledgement: from then on everything is as if it had been sent the long way. The round trip is
 * 10 ms, the timeout 200.
 */
#include "script.h"
#include "tcb.h"

#include <netinet/ip.h>

#define RTO_MIN_US 45

static int qd;

static inline struct demi_tcp *tcb(void)
{
	tcb_check(qd);
	return tcb_of(qd);
}

static inline uint32_t resent(void)
{
	return (uint32_t)sn->in.count.TcpRetransSegs;
}

/* 100 bytes from @seq on are under way, and nobody else knows of them. */
static inline void push_solo(uint32_t seq)
{
	demi_qresult_t qr = result_now(script_push(qd, 100));

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	CHECK(tcb()->solo);
	outf("P. %u+100 ack %u", seq, tcb()->rcv_nxt - PEER_ISN);
}

/* No pause comes before a push: after one it would go the long way. */
static inline void in_use(int accepted_qd)
{
	qd = accepted_qd;
	tcb_of(qd)->last_send_ns = net_now;
}

static inline void solo(const char *opts)
{
	in_use(established(opts));
	push_solo(1);
}

static inline void settled(void)
{
	CHECK(!tcb()->solo);
	CHECK(tcb()->rec_head);
}

/* It is lost, and was sent @ms ago: it comes again when its time is over, and then with twice the time. */
static inline void comes_again(uint32_t seq, uint32_t ms)
{
	quiet(199 - ms);
	pass(1);
	outf("P. %u+100 ack %u", seq, tcb()->rcv_nxt - PEER_ISN);
	CHECK_EQ(tcb()->retrans_out, 100);
	quiet(399);
	pass(1);
	outf("P. %u+100 ack %u", seq, tcb()->rcv_nxt - PEER_ISN);
}

/* All up to @ack arrived, and the next small push goes the short way again. */
static inline void goes_on(uint32_t ack)
{
	inf(". %u ack %u", tcb()->rcv_nxt - PEER_ISN, ack);
	none();
	CHECK(!tcb()->rec_head && !tcb()->snd_head && !tcb()->xmit);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	push_solo(ack);
}

/* Data that the expected way takes, for a pop that waits: what has been sent is acknowledged as far as @ack. */
static inline void data_in(uint32_t seq, uint32_t ack, const char *more)
{
	demi_qtoken_t pop = pop_start(qd);
	demi_qresult_t qr;

	inf("P. %u+10 ack %u%s", seq, ack, more);
	qr = result_now(pop);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 10);
	OK(demi_sgafree(&qr.qr_value.sga));
	tcb();
}

/* None of them is anybody's any more. */
static inline void all_frames_are_back(void)
{
	uint32_t n = 0;

	for (struct demi_inet_tx *tx = sn->in.tx_all; tx; tx = tx->all_next)
		n++;
	CHECK_EQ(n, sn->in.tx_cached);
}

#endif /* DEMI_SELFTESTS_INET_SOLO_H */
