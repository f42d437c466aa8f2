/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * Loss and its repair: RFC 6298, 5681, 6582, 3042, 2018, 2883, 6675, 6937, 5682, 8985. The round trip is 10 ms, unless
 * a case says otherwise, a segment 1000 bytes.
 */
#include "script.h"

static int qd;

/* Data that is acknowledged after 10 ms, so that the round trip is known; numbers go on from 1 + @n. */
static void warm_up(uint32_t n)
{
	script_push(qd, n);
	for (uint32_t at = 0; at < n; at += 1000) {
		char s[40];

		snprintf(s, sizeof(s), ". %u+1000 ack 1", 1 + at);
		out_line("warm up", s);
	}
	pass(10);
	char s[40];
	snprintf(s, sizeof(s), ". 1 ack %u", 1 + n);
	in_line("warm up", s);
	none_line("warm up");
}

/* ---- RFC 6298 ---- */

static void rto_backs_off(void)
{
	qd = established("mss 1000");
	script_push(qd, 100);
	out("P. 1+100 ack 1");
	quiet(199);
	pass(1);
	out("P. 1+100 ack 1");
	quiet(399);
	pass(1);
	out("P. 1+100 ack 1");
	quiet(799);
	pass(1);
	out("P. 1+100 ack 1");
	in(". 1 ack 101");
	quiet(10000);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 3);
	reset_close(qd);
}

static void rto_starts_again_after_an_ack(void)
{
	qd = established("mss 1000");
	script_push(qd, 2000);
	out(". 1+1000 ack 1");
	out("P. 1001+1000 ack 1");
	pass(100);
	in(". 1 ack 1001");
	quiet(199);
	pass(20 * 10); /* (5.3): from the acknowledgement; the sample of 100 ms made the timeout longer */
	out("P. 1001+1000 ack 1");
	in(". 1 ack 2001");
	reset_close(qd);
}

static void rto_min_can_be_set(void)
{
	listening();
	set_int(script_listener, IPPROTO_TCP, 45, 5000);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	quiet(29);
	pass(1); /* 10 ms and four times 5 */
	out("P. 1+10 ack 1");
	reset_close(qd);
}

static void data_gives_up(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	script_push(qd, 100);
	pass(800 * 1000);
	pending(pop);
	pass(300 * 1000);
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 15);
	while (sn->out_head)
		free(node_take(sn));
	OK(demi_close(qd));
}

static void user_timeout(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
	pop = pop_start(qd);
	script_push(qd, 100);
	pass(2990);
	pending(pop);
	pass(20);
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	while (sn->out_head)
		free(node_take(sn));
	OK(demi_close(qd));
}

static void rto_without_sack_sends_all_again(void)
{
	qd = established("mss 1000");
	script_push(qd, 4000);
	out(". 1+1000 ack 1");
	out(". 1001+1000 ack 1");
	out(". 2001+1000 ack 1");
	out("P. 3001+1000 ack 1");
	pass(200);
	out(". 1+1000 ack 1");
	none();
	pass(10);
	in(". 1 ack 1001"); /* slow start: two */
	out(". 1001+1000 ack 1");
	out(". 2001+1000 ack 1");
	none();
	pass(10);
	in(". 1 ack 4001");
	quiet(1000);
	reset_close(qd);
}

/* ---- RFC 5681, 6582, 3042: without SACK ---- */

static void fast_retransmit(void)
{
	qd = established("mss 1000");
	script_push(qd, 6000);
	out(". 1+1000 ack 1");
	out(". 1001+1000 ack 1");
	out(". 2001+1000 ack 1");
	out(". 3001+1000 ack 1");
	out(". 4001+1000 ack 1");
	out("P. 5001+1000 ack 1");
	pass(10);
	in(". 1 ack 1");
	in(". 1 ack 1");
	none();
	in(". 1 ack 1");
	out(". 1+1000 ack 1");
	none();
	in(". 1 ack 1");
	in(". 1 ack 1");
	none();
	pass(10);
	in(". 1 ack 6001");
	quiet(1000);
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

static void limited_transmit(void)
{
	qd = established("mss 1000");
	script_push(qd, 20000);
	for (int i = 0; i < 10; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %d+1000 ack 1", 1 + 1000 * i);
		out_line(LINE, s);
	}
	none();
	pass(10);
	in(". 1 ack 1");
	out(". 10001+1000 ack 1");
	none();
	in(". 1 ack 1");
	out(". 11001+1000 ack 1");
	none();
	in(". 1 ack 1");
	out(". 1+1000 ack 1");
	reset_close(qd);
}

static void newreno_partial_ack(void)
{
	qd = established("mss 1000");
	script_push(qd, 6000);
	for (int i = 0; i < 6; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %d+1000 ack 1", 1 + 1000 * i);
		out_line(LINE, s);
	}
	pass(10);
	in(". 1 ack 1");
	in(". 1 ack 1");
	in(". 1 ack 1");
	out(". 1+1000 ack 1");
	pass(10);
	in(". 1 ack 2001"); /* 2001 is missing, too */
	out(". 2001+1000 ack 1");
	none();
	pass(10);
	in(". 1 ack 6001");
	quiet(1000);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 2);
	reset_close(qd);
}

static void window_updates_are_no_duplicates(void)
{
	qd = established("mss 1000");
	script_push(qd, 3000);
	out(". 1+1000 ack 1");
	out(". 1001+1000 ack 1");
	out("P. 2001+1000 ack 1");
	in(". 1 ack 1 win 60000");
	in(". 1 ack 1 win 61000");
	in(". 1 ack 1 win 62000");
	none();
	in("P. 1+1 ack 1 win 62000"); /* data: not a duplicate either */
	in("P. 2+1 ack 1 win 62000");
	in("P. 3+1 ack 1 win 62000");
	CHECK_EQ(sn->in.count.TcpRetransSegs, 0);
	reset_close(qd);
}

/* ---- SACK and RACK ---- */

static void sack_recovery(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 6000);
	for (int i = 1; i < 7; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %d+1000 ack 1", 1 + 1000 * i);
		out_line(LINE, s);
	}
	pass(10);
	in(". 1 ack 1001 <sack 2001-3001>");
	none();
	in(". 1 ack 1001 <sack 2001-4001>");
	none();
	in(". 1 ack 1001 <sack 2001-5001>"); /* three segments: no reordering has been seen */
	out(". 1001+1000 ack 1");
	none();
	pass(10);
	in(". 1 ack 7001");
	quiet(1000);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 1);
	reset_close(qd);
}

static void rack_by_time(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 2000);
	out(". 1001+1000 ack 1");
	out("P. 2001+1000 ack 1");
	pass(10);
	in(". 1 ack 1001 <sack 2001-3001>"); /* one is enough, a quarter of a round trip later */
	quiet(2);
	pass(1);
	out(". 1001+1000 ack 1");
	in(". 1 ack 3001");
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

static void rack_lost_retransmission(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 5000);
	for (int i = 1; i < 6; i++)
		free(node_take(sn));
	pass(10);
	in(". 1 ack 1001 <sack 2001-5001>");
	out(". 1001+1000 ack 1");
	script_push(qd, 1000);
	pass(5);
	out("P. 6001+1000 ack 1");
	pass(11);
	in(". 1 ack 1001 <sack 6001-7001 2001-6001>"); /* sent after the retransmission */
	out(". 1001+1000 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

static void two_holes(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 8000);
	for (int i = 0; i < 8; i++)
		free(node_take(sn));
	pass(10);
	in(". 1 ack 1001 <sack 6001-9001 2001-5001>");
	out(". 1001+1000 ack 1");
	pass(1);
	in(". 1 ack 2001 <sack 6001-9001 2001-5001>");
	out(". 5001+1000 ack 1");
	pass(10);
	in(". 1 ack 9001");
	quiet(1000);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 2);
	reset_close(qd);
}

static void sack_of_what_was_never_sent(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 1000);
	out("P. 1001+1000 ack 1");
	in(". 1 ack 1001 <sack 5001-9001>");
	in(". 1 ack 1001 <sack 9001-5001>");
	in(". 1 ack 1001 <sack 1001-4294960000>");
	none();
	in(". 1 ack 2001");
	quiet(1000);
	reset_close(qd);
}

static void reneging(void) /* RFC 2018 8 */
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 3000);
	for (int i = 0; i < 3; i++)
		free(node_take(sn));
	pass(10);
	in(". 1 ack 1001 <sack 2001-4001>");
	pass(3);
	out(". 1001+1000 ack 1");
	pass(10);
	in(". 1 ack 2001"); /* the rest is forgotten, and said so by nothing */
	pass(400);
	out(". 2001+1000 ack 1");
	in(". 1 ack 4001");
	reset_close(qd);
}

static void tail_loss_probe(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 3000);
	out(". 1001+1000 ack 1");
	out(". 2001+1000 ack 1");
	out("P. 3001+1000 ack 1");
	quiet(20);
	pass(10); /* two round trips and a little */
	out("P. 3001+1000 ack 1");
	none();
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbes, 1);
	pass(10);
	in(". 1 ack 1001 <sack 3001-4001>");
	pass(3);
	out(". 1001+1000 ack 1");
	none(); /* RFC 6937: one for one */
	pass(10);
	in(". 1 ack 2001 <sack 3001-4001>");
	out(". 2001+1000 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

static void probe_is_new_data(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 30000);
	while (sn->out_head)
		free(node_take(sn));
	pass(40);
	out_line(LINE, sn->out_head && get32(sn->out_head->data + 24) - iss == 12001 ? ". 12001+1000 ack 1"
										     : ". 11001+1000 ack 1");
	none();
	reset_close(qd);
}

static void dsack_is_sent(void)
{
	qd = established("mss 1000,sackOK");
	in("P. 1+100 ack 1");
	pass(2);
	out(". 1 ack 101");
	in("P. 1+100 ack 1");
	out(". 1 ack 101 <sack 1-101>");
	in("P. 51+100 ack 1");
	out(". 1 ack 151 <sack 51-101>");
	reset_close(qd);
}

static void sack_blocks_newest_first(void)
{
	qd = established("mss 1000,sackOK");
	in(". 1001+1000 ack 1");
	out(". 1 ack 1 <sack 1001-2001>");
	in(". 3001+1000 ack 1");
	out(". 1 ack 1 <sack 3001-4001 1001-2001>");
	in(". 5001+1000 ack 1");
	out(". 1 ack 1 <sack 5001-6001 3001-4001 1001-2001>");
	in(". 2001+1000 ack 1");
	out(". 1 ack 1 <sack 1001-4001 5001-6001>");
	in(". 1+1000 ack 1");
	out(". 1 ack 4001 <sack 5001-6001>");
	in(". 4001+1000 ack 1");
	out(". 1 ack 6001 <nosack>");
	for (uint32_t at = 1; at < 6001;) {
		demi_qresult_t qr = result_now(pop_start(qd));
		const uint8_t *p = qr.qr_value.sga.sga_segs[0].sgaseg_buf;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++)
			CHECK_EQ(p[i], script_byte(at + i));
		at += qr.qr_value.sga.sga_segs[0].sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	reset_close(qd);
}

static void four_blocks_at_most(void)
{
	qd = established("mss 1000,sackOK,ts");
	for (uint32_t i = 0; i < 6; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %u+10 ack 1", 101 + i * 100);
		in_line(LINE, s);
		out(". 1 ack 1");
		CHECK_EQ(last.nsacks, i < 3 ? i + 1 : 3);
		CHECK_EQ(last.sacks[0][0], 101 + i * 100);
	}
	reset_close(qd);
}

static void overlapping_out_of_order(void)
{
	qd = established("mss 1000,sackOK");
	in(". 501+500 ack 1");
	out(". 1 ack 1 <sack 501-1001>");
	in(". 301+500 ack 1");
	out(". 1 ack 1");
	in(". 201+1000 ack 1");
	out(". 1 ack 1");
	in(". 1+250 ack 1");
	out(". 1 ack 1201");
	for (uint32_t at = 1; at < 1201;) {
		demi_qresult_t qr = result_now(pop_start(qd));
		const uint8_t *p = qr.qr_value.sga.sga_segs[0].sgaseg_buf;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++)
			CHECK_EQ(p[i], script_byte(at + i));
		at += qr.qr_value.sga.sga_segs[0].sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	reset_close(qd);
}

/* ---- F-RTO ---- */

static void timeout_is_believed(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 4000);
	for (int i = 0; i < 4; i++)
		free(node_take(sn));
	pass(25); /* the probe */
	free(node_take(sn));
	pass(200);
	out(". 1001+1000 ack 1");
	none();
	in(". 1 ack 2001"); /* of the original or of the retransmission, and nothing new to find out with */
	out(". 2001+1000 ack 1");
	out(". 3001+1000 ack 1");
	none();
	in(". 1 ack 5001");
	quiet(1000);
	reset_close(qd);
}

static void spurious_timeout_is_undone(void)
{
	qd = established("mss 1000,sackOK");
	warm_up(1000);
	script_push(qd, 4000);
	for (int i = 0; i < 4; i++)
		free(node_take(sn));
	pass(25);
	free(node_take(sn));
	pass(200);
	out(". 1001+1000 ack 1");
	in(". 1 ack 3001"); /* 2001 was never sent again: it was only late */
	none();
	CHECK_EQ(sn->in.count.TcpExtTCPSpuriousRTOs, 1);
	in(". 1 ack 5001");
	quiet(1000);
	reset_close(qd);
}

/* The first of six segments is overtaken by three. The window after @rest, in percent of what it was. */
static uint32_t window_after_recovery(const char *rest)
{
	uint32_t before;

	qd = established("mss 1012,sackOK,ts");
	warm_up(1000);
	before = info_of(qd).tcpi_snd_cwnd;
	script_push(qd, 6000);
	for (int i = 1; i < 7; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %d+1000 ack 1", 1 + 1000 * i);
		out_line(LINE, s);
	}
	pass(10);
	in(". 1 ack 1001 <sack 2001-3001,ecr 10>");
	in(". 1 ack 1001 <sack 2001-4001,ecr 10>");
	in(". 1 ack 1001 <sack 2001-5001,ecr 10>");
	out(". 1001+1000 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 1);
	pass(2);
	in_line(LINE, rest);
	none();
	CHECK_EQ(info_of(qd).tcpi_ca_state, 0);
	before = info_of(qd).tcpi_snd_cwnd * 100 / before;
	reset_close(qd);
	return before;
}

/* RFC 3522: the original fills the hole: it was only late, and the window is what it was. Else it is not. */
static void late_segment_is_no_loss(void)
{
	CHECK(window_after_recovery(". 1 ack 7001 <ecr 20>") >= 100);
}

static void repaired_hole_is_a_loss(void)
{
	CHECK(window_after_recovery(". 1 ack 7001 <ecr 30>") <= 70);
}

static void retransmitted_syn_means_one_segment(void) /* RFC 6928 2 */
{
	demi_qtoken_t qt;

	listening();
	qt = start_accept(script_listener);
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	pass(1000);
	out("S. 0 ack 1");
	in(". 1 ack 1");
	qd = result_now(qt).qr_value.ares.qd;
	script_push(qd, 3000);
	out(". 1+1000 ack 1");
	in(". 1 ack 1001");
	out(". 1001+1000 ack 1");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void initial_window_of_ten(void) /* RFC 6928 */
{
	qd = established("mss 1000");
	script_push(qd, 50000);
	for (int i = 0; i < 10; i++) {
		char s[40];

		snprintf(s, sizeof(s), ". %d+1000 ack 1", 1 + 1000 * i);
		out_line(LINE, s);
	}
	none();
	in(". 1 ack 2001"); /* slow start: two for two, and two more */
	out(". 10001+1000 ack 1");
	out(". 11001+1000 ack 1");
	out(". 12001+1000 ack 1");
	out(". 13001+1000 ack 1");
	none();
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(rto_backs_off);
	RUN(rto_starts_again_after_an_ack);
	RUN(rto_min_can_be_set);
	RUN(data_gives_up);
	RUN(user_timeout);
	RUN(rto_without_sack_sends_all_again);
	RUN(fast_retransmit);
	RUN(limited_transmit);
	RUN(newreno_partial_ack);
	RUN(window_updates_are_no_duplicates);
	RUN(sack_recovery);
	RUN(rack_by_time);
	RUN(rack_lost_retransmission);
	RUN(two_holes);
	RUN(sack_of_what_was_never_sent);
	RUN(reneging);
	RUN(tail_loss_probe);
	RUN(probe_is_new_data);
	RUN(dsack_is_sent);
	RUN(sack_blocks_newest_first);
	RUN(four_blocks_at_most);
	RUN(overlapping_out_of_order);
	RUN(timeout_is_believed);
	RUN(spurious_timeout_is_undone);
	RUN(late_segment_is_no_loss);
	RUN(repaired_hole_is_a_loss);
	RUN(retransmitted_syn_means_one_segment);
	RUN(initial_window_of_ten);
	return script_done();
}
