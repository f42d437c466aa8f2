/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* How connections end: RFC 9293 3.6, 3.10.4 to 3.10.7, RFC 5961 3 to 5, RFC 1122 4.2.2.13, RFC 6191, RFC 1337. */
#include "script.h"

static int qd;

static void expect_eof(int q)
{
	demi_qresult_t qr = result_now(pop_start(q));

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
}

static void we_close_first(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in(". 1 ack 2"); /* FIN-WAIT-2 */
	none();
	in("F. 1 ack 2");
	out(". 2 ack 2"); /* TIME-WAIT */
	none();
	CHECK_EQ(sn->in.count.TcpExtTW, 1);
	in("F. 1 ack 2"); /* its acknowledgement was lost */
	out(". 2 ack 2");
	in("R 2"); /* RFC 1337 */
	in("F. 1 ack 2");
	out(". 2 ack 2");
	quiet(59000);
	pass(2000);
	in("F. 1 ack 2");
	out("R 2"); /* forgotten */
}

static void peer_closes_first(void)
{
	qd = established("mss 1000");
	in("F. 1 ack 1");
	out(". 1 ack 2");
	expect_eof(qd);
	expect_eof(qd);
	script_push(qd, 10);
	out("P. 1+10 ack 2");
	in(". 2 ack 11");
	OK(demi_close(qd));
	out("F. 11 ack 2");
	in(". 2 ack 12");
	none();
	in(". 2 ack 12");
	out("R 12");
	CHECK_EQ(sn->in.count.TcpExtTW, 0);
}

static void simultaneous_close(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 1");
	out(". 2 ack 2"); /* CLOSING */
	in(". 2 ack 2");
	none();
	CHECK_EQ(sn->in.count.TcpExtTW, 1);
}

static void fin_and_its_ack_together(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	CHECK_EQ(sn->in.count.TcpExtTW, 1);
}

static void fin_goes_with_the_last_data(void)
{
	qd = established("mss 1000");
	push_start(qd, "hello", 5);
	OK(demi_close(qd));
	out("FP. 1+5 ack 1");
	in(". 1 ack 6"); /* the data, not the FIN */
	quiet(100);
	in("F. 1 ack 7");
	out(". 7 ack 2");
}

static void fin_is_sent_again(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	pass(200);
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

static void half_close_receives(void)
{
	qd = established("mss 1000");
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 1");
	in(". 1 ack 2");
	in("P. 1+500 ack 2");
	pass(2);
	out(". 2 ack 501");
	popped(qd, 1, 500);
	in("FP. 501+10 ack 2");
	out(". 2 ack 512");
	popped(qd, 501, 10);
	expect_eof(qd);
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;
	CHECK_EQ(demi_push(&qt, qd, &sga), EPIPE);
	OK(demi_close(qd));
}

static void shutdown_read_ends_pops(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	OK(demi_shutdown(qd, SHUT_RD));
	qr = result_now(pop);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
	in("P. 1+100 ack 1"); /* taken, and thrown away */
	pass(2);
	out(". 1 ack 101");
	expect_eof(qd);
	reset_close(qd);
}

static void close_with_unread_data_resets(void)
{
	qd = established("mss 1000");
	in("P. 1+100 ack 1");
	OK(demi_close(qd));
	out("R. 1 ack 101");
	in(". 101 ack 1");
	out("R 1");
}

static void data_after_close_resets(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in(". 1 ack 2");
	in("P. 1+100 ack 2");
	out("R. 2 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPAbortOnData, 1);
}

static void fin_wait_2_does_not_last(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in(". 1 ack 2");
	quiet(59000);
	pass(2000);
	none();
	in("F. 1 ack 2");
	out("R 2");
}

static void linger_zero_resets(void)
{
	struct linger l = { 1, 0 };

	qd = established("mss 1000");
	push_start(qd, "hello", 5);
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	OK(demi_close(qd));
	out("R. 1 ack 1");
	none();
}

static void linger_time_is_over(void)
{
	struct linger l = { 1, 2 };

	qd = established("mss 1000");
	push_start(qd, "hello", 5);
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	OK(demi_close(qd));
	out("FP. 1+5 ack 1");
	pass(1990);
	out("FP. 1+5 ack 1"); /* at 200, 600 and 1400 ms */
	out("FP. 1+5 ack 1");
	out("FP. 1+5 ack 1");
	none();
	pass(20);
	out("R. 7 ack 1");
	none();
}

static void listener_reuse_of_time_wait(void)
{
	listening();
	qd = accepted("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	/* a new connection with larger numbers (RFC 1122 4.2.2.13) */
	in("S 5000 <mss 1000>");
	out("S. 0 ack 5001");
	in(". 5001 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTWRecycled, 1);
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 2);
	OK(demi_close(script_listener));
	out("R. 1");
}

static void time_wait_old_syn(void)
{
	listening();
	qd = accepted("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	in("S 0 <mss 1000>");
	out(". 2 ack 2");
	OK(demi_close(script_listener));
}

/* ---- resets: RFC 5961 3 ---- */

static void reset_exact(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	in("R 1");
	none();
	qr = result_now(pop);
	check_failed(&qr, ECONNRESET);
	expect_eof(qd);
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;
	CHECK_EQ(demi_push(&qt, qd, &sga), EPIPE);
	OK(demi_close(qd));
}

static void reset_in_window_is_challenged(void)
{
	qd = established("mss 1000");
	in("R 2");
	out(". 1 ack 1");
	in("R 60000");
	out(". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPChallengeACK, 2);
	in("P. 1+1 ack 1");
	popped(qd, 1, 1);
	reset_close(qd);
}

static void reset_outside_is_ignored(void)
{
	qd = established("mss 1000");
	in("R 0");
	none();
	in("R 70000");
	none();
	reset_close(qd);
}

static void reset_keeps_what_came_before(void)
{
	qd = established("mss 1000");
	in("P. 1+5 ack 1");
	in("R 6");
	popped(qd, 1, 5);
	pop_fails(qd, ECONNRESET);
	expect_eof(qd);
	OK(demi_close(qd));
}

static void reset_fails_lent_pushes(void)
{
	char *mem = demi_malloc(4000);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	qd = established("mss 1000");
	qt = push_start(qd, mem, 4000);
	node_pump(sn);
	pending(qt);
	in("R 1");
	qr = result_now(qt);
	check_failed(&qr, ECONNRESET);
	demi_free(mem);
	for (int i = 0; i < 4; i++)
		free(node_take(sn));
	OK(demi_close(qd));
}

static void syn_in_window_is_challenged(void) /* RFC 5961 4 */
{
	qd = established("mss 1000");
	in("S 5 <mss 1000>");
	out(". 1 ack 1");
	in("S. 1 ack 1 <mss 1000>");
	out(". 1 ack 1");
	in("S 0 <mss 1000>");
	out(". 1 ack 1");
	reset_close(qd);
}

static void blind_data_is_challenged(void) /* RFC 5961 5 */
{
	qd = established("mss 1000");
	in("P. 1+5 ack 2"); /* never sent */
	out(". 1 ack 1");
	in("P. 1+5 ack 4294900000"); /* older than the largest window */
	out(". 1 ack 1");
	pending(pop_start(qd));
	reset_close(qd);
}

static void challenges_are_limited(void)
{
	qd = established("mss 1000");
	for (int i = 0; i < 1500; i++) {
		in("R 2");
		free(node_take(sn));
	}
	CHECK_EQ(sn->in.count.TcpExtTCPChallengeACK, 1000);
	in("R 2");
	none();
	pass(1001);
	in("R 2");
	out(". 1 ack 1");
	reset_close(qd);
}

static void no_ack_no_effect(void)
{
	qd = established("mss 1000");
	in("P 1+5");
	quiet(10);
	reset_close(qd);
}

static void fin_out_of_order(void)
{
	qd = established("mss 1000,sackOK");
	in("F. 11+5 ack 1");
	out(". 1 ack 1 <sack 11-16>");
	in("P. 1+10 ack 1");
	out(". 1 ack 17");
	popped(qd, 1, 10);
	popped(qd, 11, 5);
	expect_eof(qd);
	OK(demi_close(qd));
	out("F. 1 ack 17");
	in(". 17 ack 2");
}

static void fin_alone_before_data(void)
{
	qd = established("mss 1000,sackOK");
	in("F. 11 ack 1");
	out(". 1 ack 1");
	in("P. 1+10 ack 1");
	out(". 1 ack 12");
	popped(qd, 1, 10);
	expect_eof(qd);
	reset_close(qd);
}

static void orphan_gives_up(void)
{
	qd = established("mss 1000");
	push_start(qd, "hello", 5);
	OK(demi_close(qd));
	out("FP. 1+5 ack 1");
	pass(1000 * 1000);
	CHECK(sn->in.count.TcpRetransSegs >= 7 && sn->in.count.TcpRetransSegs <= 9);
	forget_results();
	CHECK_EQ(demi_ctx_self->queues.open, 0);
	while (sn->out_head)
		free(node_take(sn));
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(we_close_first);
	RUN(peer_closes_first);
	RUN(simultaneous_close);
	RUN(fin_and_its_ack_together);
	RUN(fin_goes_with_the_last_data);
	RUN(fin_is_sent_again);
	RUN(half_close_receives);
	RUN(shutdown_read_ends_pops);
	RUN(close_with_unread_data_resets);
	RUN(data_after_close_resets);
	RUN(fin_wait_2_does_not_last);
	RUN(linger_zero_resets);
	RUN(linger_time_is_over);
	RUN(listener_reuse_of_time_wait);
	RUN(time_wait_old_syn);
	RUN(reset_exact);
	RUN(reset_in_window_is_challenged);
	RUN(reset_outside_is_ignored);
	RUN(reset_keeps_what_came_before);
	RUN(reset_fails_lent_pushes);
	RUN(syn_in_window_is_challenged);
	RUN(blind_data_is_challenged);
	RUN(challenges_are_limited);
	RUN(no_ack_no_effect);
	RUN(fin_out_of_order);
	RUN(fin_alone_before_data);
	RUN(orphan_gives_up);
	return script_done();
}
