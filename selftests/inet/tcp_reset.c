/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* RFC 5961 in every state: resets (3), SYNs (4) and acknowledgements (5) of somebody who has to guess. */
#include "script.h"

static int qd;
static demi_qtoken_t connecting;
static uint32_t snd, rcv; /* the next numbers of both sides */

/* ---- the states ---- */

static void to_syn_rcvd(void)
{
	qd = script_connect(&connecting);
	out("S 0");
	in("S 0 win 8000 <mss 1000>");
	out("S. 0 ack 1");
	snd = 1;
	rcv = 1;
}

static void to_established(void)
{
	qd = established("mss 1000");
	snd = 1;
	rcv = 1;
}

static void to_fin_wait_1(void)
{
	to_established();
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 1");
	snd = 2;
}

static void to_fin_wait_2(void)
{
	to_fin_wait_1();
	in(". 1 ack 2");
}

static void to_close_wait(void)
{
	to_established();
	in("F. 1 ack 1");
	out(". 1 ack 2");
	rcv = 2;
}

static void to_closing(void)
{
	to_fin_wait_1();
	in("F. 1 ack 1");
	out(". 2 ack 2");
	rcv = 2;
}

static void to_last_ack(void)
{
	to_close_wait();
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 2");
	snd = 2;
}

/* ---- what is tried in them ---- */

static void is_gone(int err)
{
	inf(". %u ack %u", rcv, snd);
	outf("R %u", snd);
	if (err == ECONNREFUSED) {
		demi_qresult_t qr = result_now(connecting);

		check_failed(&qr, err);
	} else {
		pop_fails(qd, err);
	}
	OK(demi_close(qd));
}

static void resets(int err)
{
	uint64_t challenges = sn->in.count.TcpExtTCPChallengeACK;

	inf("R %u", rcv - 1);
	inf("R. %u ack %u", rcv - 1, snd);
	inf("R %u", rcv + 70000);
	none();
	inf("R %u", rcv + 1);
	outf(". %u ack %u", snd, rcv);
	inf("R. %u ack %u", rcv + 1000, snd);
	outf(". %u ack %u", snd, rcv);
	CHECK_EQ(sn->in.count.TcpExtTCPChallengeACK - challenges, 2);
	inf("R %u", rcv);
	none();
	is_gone(err);
}

static void syns(void)
{
	inf("S %u <mss 1000>", rcv + 7);
	outf(". %u ack %u", snd, rcv);
	inf("S %u <mss 1000>", rcv);
	outf(". %u ack %u", snd, rcv);
	inf("S. %u ack %u", rcv + 7, snd);
	outf(". %u ack %u", snd, rcv);
	inf("S %u <mss 1000>", rcv + 100000); /* outside: 3.10.7.4, first */
	outf(". %u ack %u", snd, rcv);
	none();
	reset_close(qd);
}

/* Data with an acknowledgement that cannot be is not taken. */
static void acknowledgements(void)
{
	inf(". %u+10 ack %u", rcv, snd + 1);
	outf(". %u ack %u", snd, rcv);
	inf(". %u+10 ack %u", rcv, snd + 2000000000);
	outf(". %u ack %u", snd, rcv);
	inf(". %u+10 ack %u", rcv, snd - 100000);
	outf(". %u ack %u", snd, rcv);
	none();
	reset_close(qd);
}

#define RESETS(state, err)                                                                                             \
	static void reset_in_##state(void)                                                                             \
	{                                                                                                              \
		to_##state();                                                                                          \
		resets(err);                                                                                           \
	}
RESETS(established, ECONNRESET)
RESETS(fin_wait_1, ECONNRESET)
RESETS(fin_wait_2, ECONNRESET)
RESETS(close_wait, ECONNRESET)
RESETS(closing, ECONNRESET)
RESETS(last_ack, ECONNRESET)

#define SYNS(state)                                                                                                    \
	static void syn_in_##state(void)                                                                               \
	{                                                                                                              \
		to_##state();                                                                                          \
		syns();                                                                                                \
	}
SYNS(fin_wait_1)
SYNS(fin_wait_2)
SYNS(close_wait)
SYNS(closing)
SYNS(last_ack)

#define ACKS(state)                                                                                                    \
	static void guessed_ack_in_##state(void)                                                                       \
	{                                                                                                              \
		to_##state();                                                                                          \
		acknowledgements();                                                                                    \
	}
ACKS(fin_wait_1)
ACKS(fin_wait_2)
ACKS(close_wait)
ACKS(closing)
ACKS(last_ack)

static void reset_in_syn_rcvd(void)
{
	to_syn_rcvd();
	in("R 70000");
	none();
	in("R 2");
	out(". 1 ack 1");
	in("R 1");
	none();
	is_gone(ECONNREFUSED);
}

/* A segment whose number is right and whose acknowledgement is not: 3.10.7.4, fifth, SYN-RECEIVED. */
static void wrong_ack_in_syn_rcvd(void)
{
	to_syn_rcvd();
	in(". 1 ack 5");
	out("R 5");
	pending(connecting);
	in(". 1 ack 1");
	CHECK_EQ(result_now(connecting).qr_opcode, DEMI_OPC_CONNECT);
	reset_close(qd);
}

/* A half-open connection of a listener is a request: no challenge, and only the exact number ends it. */
static void request_is_not_reset_by_guessing(void)
{
	demi_qtoken_t qt;

	listening();
	qt = start_accept(script_listener);
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("R 2");
	in("R 60000");
	in("R 0");
	none();
	in(". 1 ack 1");
	none();
	reset_close(result_now(qt).qr_value.ares.qd);
	OK(demi_close(script_listener));
}

/* A SYN with another number for a request that is half open: 3.10.7.4, fourth. */
static void second_syn_of_a_request(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("S 100 <mss 1000>");
	none();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("R 1");
	in(". 1 ack 1");
	out("R 1"); /* it has ended */
	OK(demi_close(script_listener));
}

/* RFC 1337: assassination of TIME-WAIT. */
static void reset_in_time_wait(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	in("R 2");
	in("R. 2 ack 2");
	none();
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

static void data_in_time_wait_is_answered(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	in("P. 2+10 ack 2");
	out(". 2 ack 2");
	in(". 2 ack 2"); /* an acknowledgement is not answered: two ends would talk for ever */
	none();
}

/* 3.10.7.4: behind its FIN the peer has nothing to say; the segment is passed over and acknowledged. */
static void data_behind_the_fin(void)
{
	to_close_wait();
	in("P. 2+10 ack 1");
	out_any();
	demi_qresult_t qr = result_now(pop_start(qd));
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
	script_push(qd, 10);
	out("P. 1+10 ack 2");
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(reset_in_syn_rcvd);
	RUN(reset_in_established);
	RUN(reset_in_fin_wait_1);
	RUN(reset_in_fin_wait_2);
	RUN(reset_in_close_wait);
	RUN(reset_in_closing);
	RUN(reset_in_last_ack);
	RUN(reset_in_time_wait);
	RUN(syn_in_fin_wait_1);
	RUN(syn_in_fin_wait_2);
	RUN(syn_in_close_wait);
	RUN(syn_in_closing);
	RUN(syn_in_last_ack);
	RUN(guessed_ack_in_fin_wait_1);
	RUN(guessed_ack_in_fin_wait_2);
	RUN(guessed_ack_in_close_wait);
	RUN(guessed_ack_in_closing);
	RUN(guessed_ack_in_last_ack);
	RUN(wrong_ack_in_syn_rcvd);
	RUN(request_is_not_reset_by_guessing);
	RUN(second_syn_of_a_request);
	RUN(data_in_time_wait_is_answered);
	RUN(data_behind_the_fin);
	return script_done();
}
