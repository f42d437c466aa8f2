/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* Opening: RFC 9293 3.5, options of SYNs (RFC 7323, 2018, 6691), retransmission (RFC 6298 2.1), simultaneous open. */
#include "script.h"

static int qd;
static demi_qtoken_t connecting;

static void start_connect(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);

	qd = node_socket(sn, AF_INET);
	OK(demi_connect(&connecting, qd, (struct sockaddr *)&a, sizeof(a)));
}

static void passive(void)
{
	int l = listening();
	demi_qtoken_t qt = start_accept(l);
	demi_qresult_t qr;

	in("S 0 win 8000 <mss 1000,sackOK,ts 7 0,ws 3>");
	out("S. 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 5>");
	CHECK_EQ(last.ts_ecr, 7);
	pending(qt);
	peer_ts_on = true;
	in(". 1 ack 1");
	none();
	qr = result_now(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_ACCEPT);
	CHECK_EQ(ntohs(qr.qr_value.ares.addr.sin_port), PEER_PORT);
	CHECK_EQ(ntohl(qr.qr_value.ares.addr.sin_addr.s_addr), 0x0a000000U | PEER_HOST);
	reset_close(qr.qr_value.ares.qd);
	OK(demi_close(l));
}

static void passive_without_options(void)
{
	qd = established("mss 1000");
	script_push(qd, 1000);
	out(". 1+1000 ack 1 <noopts>");
	reset_close(qd);
}

static void options_only_if_offered(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1 <mss 1460,nots>");
	CHECK(!last.ws && !last.sack_ok);
	OK(demi_close(script_listener));
}

static void no_mss_means_536(void)
{
	listening();
	in("S 0");
	out("S. 0 ack 1");
	demi_qtoken_t qt = start_accept(script_listener);
	in(". 1 ack 1");
	qd = result_now(qt).qr_value.ares.qd;
	script_push(qd, 600);
	out(". 1+536 ack 1");
	out("P. 537+64 ack 1");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void tiny_mss_is_not_believed(void)
{
	qd = established("mss 1");
	script_push(qd, 100);
	out(". 1+88 ack 1");
	out("P. 89+12 ack 1");
	reset_close(qd);
}

static void active(void)
{
	start_connect();
	out("S 0 win 65535 <mss 1460,sackOK,ts,ws 5>");
	CHECK_EQ(last.ack, 0U - PEER_ISN);
	pending(connecting);
	pass(10);
	in("S. 0 ack 1 win 8000 <mss 1000,sackOK,ts 5,ws 2>");
	out(". 1 ack 1 <ts>");
	none();
	CHECK_EQ(result_now(connecting).qr_opcode, DEMI_OPC_CONNECT);
	reset_close(qd);
}

static void active_data_with_the_answer(void)
{
	start_connect();
	out("S 0");
	in("S. 0+10 ack 1 <mss 1000>");
	out(". 1 ack 11");
	CHECK_EQ(result_now(connecting).qr_opcode, DEMI_OPC_CONNECT);
	popped(qd, 1, 10);
	reset_close(qd);
}

static void syn_is_sent_again(void)
{
	demi_qresult_t qr;

	start_connect();
	out("S 0");
	quiet(999);
	pass(1);
	out("S 0");
	quiet(1999);
	pass(1);
	out("S 0");
	quiet(3999);
	pass(1);
	out("S 0");
	pass(8000 + 16000 + 32000);
	out("S 0");
	out("S 0");
	out("S 0");
	quiet(63999);
	pass(1);
	none();
	qr = result_now(connecting);
	check_failed(&qr, ETIMEDOUT);
	OK(demi_close(qd));
}

static void refused(void)
{
	demi_qresult_t qr;

	start_connect();
	out("S 0");
	in("R. 0 ack 1");
	none();
	qr = result_now(connecting);
	check_failed(&qr, ECONNREFUSED);
	/* the socket can try again */
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	OK(demi_connect(&connecting, qd, (struct sockaddr *)&a, sizeof(a)));
	out("S 0");
	in("S. 0 ack 1 <mss 1000>");
	out(". 1 ack 1");
	CHECK_EQ(result_now(connecting).qr_opcode, DEMI_OPC_CONNECT);
	reset_close(qd);
}

static void reset_of_another_syn_is_ignored(void)
{
	start_connect();
	out("S 0");
	in("R. 0 ack 77"); /* 3.10.7.3, first: no reset for a reset */
	none();
	in("R 0");
	none();
	pending(connecting);
	OK(demi_close(qd));
}

static void wrong_acknowledgement_is_reset(void)
{
	start_connect();
	out("S 0");
	in("S. 0 ack 5");
	out("R 5");
	in(". 0 ack 0");
	out("R 0");
	pending(connecting);
	OK(demi_close(qd));
}

static void cancelled(void)
{
	demi_qresult_t qr;

	start_connect();
	out("S 0");
	OK(demi_cancel(connecting));
	qr = result_now(connecting);
	check_failed(&qr, ECANCELED);
	in("S. 0 ack 1 <mss 1000>");
	out("R 1");
	OK(demi_close(qd));
}

static void simultaneous_open(void)
{
	start_connect();
	out("S 0");
	in("S 0 win 8000 <mss 1000,sackOK>");
	out("S. 0 ack 1");
	in("S. 0 ack 1 win 8000 <mss 1000,sackOK>");
	CHECK_EQ(result_now(connecting).qr_opcode, DEMI_OPC_CONNECT);
	in("P. 1+10 ack 1");
	pass(2);
	out(". 1 ack 11");
	none();
	popped(qd, 1, 10);
	reset_close(qd);
}

static void synack_is_sent_again(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	quiet(999);
	pass(1);
	out("S. 0 ack 1");
	quiet(1999);
	pass(1);
	out("S. 0 ack 1");
	in("S 0 <mss 1000>"); /* the SYN again */
	out("S. 0 ack 1");
	pass(4000 + 8000 + 16000 + 32000);
	out("S. 0 ack 1");
	out("S. 0 ack 1");
	out("S. 0 ack 1");
	none();
	in(". 1 ack 1"); /* too late: it is forgotten */
	out("R 1");
	OK(demi_close(script_listener));
}

static void request_is_reset(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("R 1");
	quiet(10000);
	OK(demi_close(script_listener));
}

static void request_wrong_ack(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1 ack 3");
	out("R 3");
	in(". 1 ack 1");
	none();
	OK(demi_close(script_listener)); /* not accepted: the peer is told */
	out("R. 1");
}

static void data_with_the_third_segment(void)
{
	int l = listening();
	demi_qtoken_t qt = start_accept(l);

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("P. 1+100 ack 1");
	qd = result_now(qt).qr_value.ares.qd;
	popped(qd, 1, 100);
	reset_close(qd);
	OK(demi_close(l));
}

static void lost_third_segment(void)
{
	int l = listening();
	demi_qtoken_t qt = start_accept(l);

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("P. 1+100 ack 1"); /* the bare acknowledgement was lost */
	qd = result_now(qt).qr_value.ares.qd;
	popped(qd, 1, 100);
	in("F. 101 ack 1");
	out(". 1 ack 102");
	reset_close(qd);
	OK(demi_close(l));
}

static void listener_ignores_resets_and_answers_acks(void)
{
	int l = listening();

	in("R 5");
	none();
	in(". 5 ack 7");
	out("R 7");
	in("F 5");
	none();
	OK(demi_close(l));
}

static void accept_takes_what_waits(void)
{
	int l = listening();

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1 ack 1");
	in("P. 1+5 ack 1");
	qd = result_now(start_accept(l)).qr_value.ares.qd;
	popped(qd, 1, 5);
	reset_close(qd);
	OK(demi_close(l));
}

static void backlog_full(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1 ack 1");
	stack_port = STACK_PORT;
	sn->in.now_ns = net_now;
	/* another peer: the same segments with another port are not to be had here, so the count tells */
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 1);
	OK(demi_close(l));
	out("R. 1");
}

static void closed_port_is_reset(void)
{
	listening();
	stack_port = 81;
	in("S 0");
	out("R. 0 ack 1");
	in(". 5 ack 9");
	out("R 9");
	in("F 5+3");
	out("R. 0 ack 9");
	in("R 5");
	none();
	OK(demi_close(script_listener));
}

static void nodata_pushes_before(void)
{
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;

	qd = node_socket(sn, AF_INET);
	CHECK_EQ(demi_push(&qt, qd, &sga), ENOTCONN);
	CHECK_EQ(demi_pop(&qt, qd), ENOTCONN);
	CHECK_EQ(demi_accept(&qt, qd), EINVAL);
	CHECK_EQ(demi_shutdown(qd, SHUT_WR), ENOTCONN);
	OK(demi_close(qd));
}

static void connect_twice(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qtoken_t qt;

	start_connect();
	out("S 0");
	CHECK_EQ(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)), EALREADY);
	in("S. 0 ack 1 <mss 1000>");
	out(". 1 ack 1");
	CHECK_EQ(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)), EISCONN);
	CHECK_EQ(demi_listen(qd, 1), EINVAL);
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(passive);
	RUN(passive_without_options);
	RUN(options_only_if_offered);
	RUN(no_mss_means_536);
	RUN(tiny_mss_is_not_believed);
	RUN(active);
	RUN(active_data_with_the_answer);
	RUN(syn_is_sent_again);
	RUN(refused);
	RUN(reset_of_another_syn_is_ignored);
	RUN(wrong_acknowledgement_is_reset);
	RUN(cancelled);
	RUN(simultaneous_open);
	RUN(synack_is_sent_again);
	RUN(request_is_reset);
	RUN(request_wrong_ack);
	RUN(data_with_the_third_segment);
	RUN(lost_third_segment);
	RUN(listener_ignores_resets_and_answers_acks);
	RUN(accept_takes_what_waits);
	RUN(backlog_full);
	RUN(closed_port_is_reset);
	RUN(nodata_pushes_before);
	RUN(connect_twice);
	return script_done();
}
