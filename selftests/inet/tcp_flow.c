/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * Flow and acknowledgements: windows (RFC 9293 3.8.6, RFC 7323 2), zero windows, silly windows, Nagle (3.7.4), delayed
 * acknowledgements (RFC 1122 4.2.3.2), timestamps and PAWS (RFC 7323), keepalive, segment sizes, ECN, cookies.
 */
#include "script.h"

static int qd;

/* ---- delayed acknowledgements ---- */

static void one_segment_is_delayed(void)
{
	qd = established("mss 1000");
	in("P. 1+100 ack 1");
	none();
	pass(1);
	out(". 1 ack 101");
	quiet(1000);
	reset_close(qd);
}

static void every_second_segment_at_once(void)
{
	qd = established("mss 1000");
	in(". 1+1000 ack 1");
	none();
	in(". 1001+1000 ack 1");
	out(". 1 ack 2001");
	in(". 2001+1000 ack 1");
	none();
	in(". 3001+1000 ack 1");
	out(". 1 ack 4001");
	quiet(1000);
	reset_close(qd);
}

static void ack_goes_with_data(void)
{
	qd = established("mss 1000");
	in("P. 1+100 ack 1");
	script_push(qd, 50);
	out("P. 1+50 ack 101");
	quiet(150);
	in(". 101 ack 51");
	quiet(1000);
	reset_close(qd);
}

static void quickack(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_QUICKACK, 1);
	in("P. 1+100 ack 1");
	out(". 1 ack 101");
	reset_close(qd);
}

static void pushes_of_one_turn_are_one_segment(void)
{
	qd = established("mss 1000");
	push_start(qd, "abc", 3);
	push_start(qd, "def", 3);
	node_pump(sn);
	out("P. 1+6 ack 1");
	CHECK(!memcmp(last_packet + 40, "abcdef", 6));
	reset_close(qd);
}

/* ---- Nagle ---- */

static void nagle(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_NODELAY, 0);
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	script_push(qd, 10);
	none();
	script_push(qd, 1000);
	out(". 11+1000 ack 1"); /* a full one goes */
	none();
	in(". 1 ack 11");
	none();
	in(". 1 ack 1011");
	out("P. 1011+10 ack 1");
	reset_close(qd);
}

static void nodelay_is_the_default(void)
{
	qd = established("mss 1000");
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	script_push(qd, 10);
	out("P. 11+10 ack 1");
	reset_close(qd);
}

static void nagle_ends_with_the_stream(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_NODELAY, 0);
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	script_push(qd, 10);
	none();
	OK(demi_shutdown(qd, SHUT_WR));
	out("FP. 11+10 ack 1");
	reset_close(qd);
}

static void cork(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_CORK, 1);
	script_push(qd, 500);
	none();
	script_push(qd, 700);
	out(". 1+1000 ack 1");
	none();
	in(". 1 ack 1001");
	none();
	set_int(qd, IPPROTO_TCP, TCP_CORK, 0);
	out("P. 1001+200 ack 1");
	reset_close(qd);
}

static void cork_has_an_end(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_CORK, 1);
	script_push(qd, 500);
	quiet(199);
	pass(1);
	out("P. 1+500 ack 1");
	reset_close(qd);
}

/* ---- the peer's window ---- */

static void small_window(void)
{
	script_win = 1500;
	qd = established("mss 1000");
	script_push(qd, 3000);
	out(". 1+1000 ack 1");
	none(); /* 500 of a segment would be silly */
	in(". 1 ack 1001 win 1500");
	out(". 1001+1000 ack 1");
	reset_close(qd);
}

static void zero_window_is_probed(void)
{
	script_win = 0;
	qd = established("mss 1000");
	none();
	script_push(qd, 100);
	quiet(199);
	pass(1);
	out(". 0 ack 1");
	in(". 1 ack 1 win 0");
	quiet(399);
	pass(1);
	out(". 0 ack 1");
	in(". 1 ack 1 win 0");
	pass(800);
	out(". 0 ack 1");
	in(". 1 ack 1 win 500");
	out("P. 1+100 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPWinProbe, 3);
	reset_close(qd);
}

static void probes_go_on_while_answered(void)
{
	script_win = 0;
	qd = established("mss 1000");
	script_push(qd, 100);
	for (int i = 0; i < 40; i++) {
		pass(120 * 1000);
		while (sn->out_head)
			free(node_take(sn));
		in(". 1 ack 1 win 0");
	}
	in(". 1 ack 1 win 500");
	out("P. 1+100 ack 1");
	reset_close(qd);
}

static void window_too_small_for_long(void) /* 3.8.6.2.1 (4) */
{
	script_win = 2000;
	qd = established("mss 1000");
	script_push(qd, 3000);
	out(". 1+1000 ack 1");
	out(". 1001+1000 ack 1");
	in(". 1 ack 2001 win 100");
	quiet(199);
	pass(1);
	out(". 2001+100 ack 1");
	reset_close(qd);
}

static void window_scale_of_the_peer(void)
{
	script_win = 500;
	qd = established("mss 1000,ws 2");
	script_push(qd, 3000);
	out(". 1+1000 ack 1");
	out(". 1001+1000 ack 1");
	none();
	reset_close(qd);
}

static void old_window_is_not_believed(void)
{
	qd = established("mss 1000");
	script_push(qd, 1000);
	out("P. 1+1000 ack 1");
	in("P. 1+10 ack 1001 win 5000");
	in("P. 11+10 ack 1001 win 4000");
	in(". 1 ack 1001 win 0"); /* sent before both */
	script_push(qd, 2000);
	out(". 1001+1000 ack 21");
	out("P. 2001+1000 ack 21");
	reset_close(qd);
}

/* ---- ours ---- */

static void our_window_closes_and_opens(void)
{
	uint32_t at = 1, offered;

	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 20000);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	offered = 20001;
	while (at < offered) {
		char s[40];
		uint32_t n = offered - at < 1000 ? offered - at : 1000;

		snprintf(s, sizeof(s), ". %u+%u ack 1", at, n);
		in_line(LINE, s);
		at += n;
		pass(2);
		while (sn->out_head)
			out_line(LINE, (snprintf(s, sizeof(s), ". 1 ack %u", at), s));
		CHECK(last.ack + last.win >= offered); /* it never shrinks */
		offered = last.ack + last.win;
		CHECK(at < 100000);
	}
	CHECK_EQ(last.win, 0);
	in(". 20001+1000 ack 1"); /* what does not fit is not taken, and answered */
	if (at == 20001)
		out(". 1 ack 20001 win 0");
	while (sn->out_head)
		free(node_take(sn));
	/* reading opens it, once */
	for (int i = 0; i < 12; i++) {
		demi_qresult_t qr = result_now(pop_start(qd));

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	node_pump(sn);
	CHECK(sn->out_head != NULL);
	while (sn->out_head) {
		char s[40];

		out_line(LINE, (snprintf(s, sizeof(s), ". 1 ack %u", at), s));
	}
	CHECK(last.win >= 1000);
	reset_close(qd);
}

static void small_segments_do_not_keep_buffers(void)
{
	qd = established("mss 1000");
	for (int i = 0; i < 2000; i++) {
		char s[40];

		snprintf(s, sizeof(s), "P. %d+1 ack 1", 1 + i);
		in_line(LINE, s);
		while (sn->out_head)
			free(node_take(sn));
	}
	popped(qd, 1, 1024);
	popped(qd, 1025, 976);
	reset_close(qd);
}

static void pop_gives_the_received_buffer(void)
{
	uint64_t copied = demi_ctx_self->count.copied_bytes;
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	in("P. 1+900 ack 1");
	qr = result_now(pop);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 900);
	OK(demi_sgafree(&qr.qr_value.sga));
	in("P. 901+900 ack 1");
	popped(qd, 901, 900);
	CHECK_EQ(demi_ctx_self->count.copied_bytes, copied);
	reset_close(qd);
}

static void lent_push_completes_when_acknowledged(void)
{
	char *mem = demi_malloc(2000);
	uint64_t copied = demi_ctx_self->count.copied_bytes;
	demi_qtoken_t qt;

	qd = established("mss 1000");
	qt = push_start(qd, mem, 2000);
	out(". 1+1000 ack 1");
	out("P. 1001+1000 ack 1");
	in(". 1 ack 1001");
	pending(qt);
	sn->hold = true; /* a frame stays in the device */
	pass(250);
	in(". 1 ack 2001");
	pending(qt);
	sn->hold = false;
	node_done(sn);
	CHECK_EQ(result_now(qt).qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(demi_ctx_self->count.copied_bytes, copied);
	demi_free(mem);
	reset_close(qd);
}

/* ---- timestamps ---- */

static void timestamps_on_every_segment(void)
{
	qd = established("mss 1000,ts");
	script_push(qd, 2000);
	out(". 1+988 ack 1 <ts>");
	out(". 989+988 ack 1 <ts>");
	out("P. 1977+24 ack 1 <ts>");
	reset_close(qd);
}

static void segment_without_timestamp_is_dropped(void)
{
	qd = established("mss 1000,ts");
	in("P. 1+10 ack 1 <nots>");
	quiet(10);
	in("P. 1+10 ack 1");
	popped(qd, 1, 10);
	reset_close(qd);
}

static void paws(void)
{
	uint32_t now;

	qd = established("mss 1000,ts");
	pass(1000);
	in("P. 1+10 ack 1");
	pass(2);
	out(". 1 ack 11 <ts>");
	now = last.ts_ecr;
	char s[80];
	snprintf(s, sizeof(s), "P. 11+10 ack 1 <ts %u>", now - 500);
	in(s);
	out(". 1 ack 11");
	CHECK_EQ(sn->in.count.TcpExtPAWSEstab, 1);
	in("P. 11+10 ack 1");
	popped(qd, 1, 20);
	reset_close(qd);
}

static void echo_is_of_the_oldest_unacknowledged(void) /* RFC 7323 4.3 */
{
	uint32_t first;

	qd = established("mss 1000,ts");
	first = (uint32_t)(net_now / NET_MS);
	in(". 1+100 ack 1");
	pass_us(500);
	net_now += NET_MS / 2;
	in(". 101+100 ack 1");
	pass(2);
	out(". 1 ack 201 <ts>");
	CHECK_EQ(last.ts_ecr, first);
	reset_close(qd);
}

/* ---- keepalive ---- */

static void keepalive(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	set_int(qd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
	set_int(qd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 1);
	pop = pop_start(qd);
	quiet(9990);
	pass(20);
	out(". 0 ack 1");
	in(". 1 ack 1"); /* it lives */
	quiet(9990);
	pass(20);
	out(". 0 ack 1");
	pass(2000);
	out(". 0 ack 1");
	pass(2000);
	out(". 0 ack 1");
	pending(pop);
	pass(2000);
	out("R. 1 ack 1");
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	OK(demi_close(qd));
}

static void keepalive_is_off(void)
{
	qd = established("mss 1000");
	quiet(10000 * 1000);
	reset_close(qd);
}

static void peers_keepalive_is_answered(void)
{
	qd = established("mss 1000");
	pass(1000);
	in(". 0 ack 1");
	out(". 1 ack 1");
	in(". 0+1 ack 1");
	out(". 1 ack 1");
	reset_close(qd);
}

/* ---- sizes ---- */

static void maxseg(void)
{
	listening();
	set_int(script_listener, IPPROTO_TCP, TCP_MAXSEG, 500);
	in("S 0 <mss 1000>");
	out("S. 0 ack 1 <mss 500>");
	qd = result_now((in(". 1 ack 1"), start_accept(script_listener))).qr_value.ares.qd;
	script_push(qd, 600);
	out(". 1+500 ack 1");
	out("P. 501+100 ack 1");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void black_hole(void) /* RFC 4821 7.7 */
{
	qd = established("mss 1400");
	script_push(qd, 1400);
	out("P. 1+1400 ack 1");
	pass(200);
	out(". 1+1400 ack 1");
	pass(400);
	out(". 1+1400 ack 1");
	pass(800);
	out(". 1+984 ack 1");
	in(". 1 ack 985");
	out("P. 985+416 ack 1");
	reset_close(qd);
}

/* ---- ECN ---- */

static void ecn_is_accepted(void)
{
	listening();
	set_int(script_listener, IPPROTO_TCP, TCP_NODELAY, 1);
	in("SEW 0 <mss 1000>");
	out("SE. 0 ack 1");
	in(". 1 ack 1");
	qd = result_now(start_accept(script_listener)).qr_value.ares.qd;
	script_push(qd, 100);
	out("P. 1+100 ack 1 ce"); /* marked as capable */
	in("P. 1+100 ack 101 ce");
	out("E. 101 ack 101");
	in("P. 101+100 ack 101");
	pass(2);
	out("E. 101 ack 201"); /* until the sender says that it has heard */
	in("WP. 201+100 ack 101");
	pass(2);
	out(". 101 ack 301");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void ece_reduces(void)
{
	listening();
	in("SEW 0 <mss 1000>");
	out("SE. 0 ack 1");
	in(". 1 ack 1");
	qd = result_now(start_accept(script_listener)).qr_value.ares.qd;
	script_push(qd, 30000);
	for (int i = 0; i < 10; i++)
		free(node_take(sn));
	in("E. 1 ack 2001");
	while (sn->out_head) {
		struct packet *p = node_take(sn);

		CHECK(p->data[33] & 0x80); /* CWR, with the first new data */
		free(p);
		break;
	}
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void no_ecn_without_asking(void)
{
	qd = established("mss 1000");
	script_push(qd, 100);
	out("P. 1+100 ack 1");
	CHECK(!last.ce);
	in("P. 1+100 ack 101 ce");
	pass(2);
	out(". 101 ack 101");
	reset_close(qd);
}

/* ---- cookies ---- */

static void cookies(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);
	demi_qtoken_t qt;

	/* half open, and the backlog of one is used up */
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in("R 1");
	sn->in.now_ns = net_now;
	for (int i = 0; i < 1; i++) {
		/* another peer, by its address, fills the table */
		static uint8_t p[200];
		struct seg g = parse_seg("S 0 <mss 1000>");
		uint32_t len = build_seg(&g, p);

		put32(p + 12, 0x0a000000U | 77);
		set_sums(p, len);
		node_receive(sn, p, len, NULL);
		node_pump(sn);
		free(node_take(sn));
	}
	in("S 0 <mss 1000,sackOK,ts 50 0,ws 4>");
	out("S. 0 ack 1 <mss 1460,sackOK,ts,ws 5>");
	CHECK_EQ(sn->in.count.TcpExtSyncookiesSent, 1);
	qt = start_accept(l);
	{
		char s[80];

		snprintf(s, sizeof(s), ". 1 ack 1 win 100 <ts 60 0>");
		in(s);
	}
	CHECK_EQ(sn->in.count.TcpExtSyncookiesRecv, 1);
	qd = result_now(qt).qr_value.ares.qd;
	none();
	{
		struct tcp_info info;
		socklen_t len = sizeof(info);

		OK(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &info, &len));
		CHECK_EQ(info.tcpi_snd_wscale, 4);
		CHECK_EQ(info.tcpi_options & 7, 7); /* timestamps, SACK, scaling */
		CHECK_EQ(info.tcpi_snd_mss, 536 - 12);
	}
	reset_close(qd);
	OK(demi_close(l));
}

static void wrong_cookie(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);

	in(". 1 ack 12345");
	out("R 12345");
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 0);
	OK(demi_close(l));
}

/* ---- what is malformed ---- */

static void raw_segment(const uint8_t *opts, uint32_t olen)
{
	static uint8_t p[200];
	struct seg g = parse_seg("P. 1 ack 1");
	uint32_t len = build_seg(&g, p) + olen;

	memcpy(p + 40, opts, olen);
	p[32] = (uint8_t)((20 + olen) << 2);
	set_sums(p, len);
	node_receive(sn, p, len, NULL);
	node_pump(sn);
	while (sn->out_head)
		free(node_take(sn));
}

static void malformed_options(void)
{
	static const uint8_t bad[][4] = { { 2, 0, 0, 0 },   { 2, 1, 0, 0 },   { 8, 10, 0, 0 }, { 5, 3, 0, 0 },
					  { 5, 255, 0, 0 }, { 254, 4, 1, 1 }, { 3, 2, 3, 2 },  { 1, 1, 1, 8 } };

	qd = established("mss 1000,sackOK");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		raw_segment(bad[i], 4);
	in("P. 1+10 ack 1");
	popped(qd, 1, 10);
	reset_close(qd);
}

static void wrong_checksum(void)
{
	static uint8_t p[200];
	struct seg g = parse_seg("P. 1+10 ack 1");
	uint32_t len;

	qd = established("mss 1000");
	len = build_seg(&g, p);
	p[45] ^= 1;
	node_receive(sn, p, len, NULL);
	CHECK_EQ(sn->in.count.TcpInCsumErrors, 1);
	quiet(10);
	reset_close(qd);
}

static void header_longer_than_the_segment(void)
{
	static uint8_t p[200];
	struct seg g = parse_seg(". 1 ack 1");
	uint32_t len;

	qd = established("mss 1000");
	for (uint8_t doff = 0; doff < 16; doff++) {
		len = build_seg(&g, p);
		p[32] = (uint8_t)(doff << 4);
		if (doff == 5)
			continue;
		set_sums(p, len);
		node_receive(sn, p, len, NULL);
	}
	CHECK_EQ(sn->in.count.TcpInErrs, 15);
	quiet(10);
	reset_close(qd);
}

static void urgent_data_comes_in_line(void) /* RFC 6093 */
{
	qd = established("mss 1000");
	in("UP. 1+10 ack 1");
	popped(qd, 1, 10);
	reset_close(qd);
}

static void data_beyond_the_window_is_cut(void)
{
	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 3000);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	in(". 1+4000 ack 1");
	out(". 1 ack 3001");
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(one_segment_is_delayed);
	RUN(every_second_segment_at_once);
	RUN(ack_goes_with_data);
	RUN(quickack);
	RUN(pushes_of_one_turn_are_one_segment);
	RUN(nagle);
	RUN(nodelay_is_the_default);
	RUN(nagle_ends_with_the_stream);
	RUN(cork);
	RUN(cork_has_an_end);
	RUN(small_window);
	RUN(zero_window_is_probed);
	RUN(probes_go_on_while_answered);
	RUN(window_too_small_for_long);
	RUN(window_scale_of_the_peer);
	RUN(old_window_is_not_believed);
	RUN(our_window_closes_and_opens);
	RUN(small_segments_do_not_keep_buffers);
	RUN(pop_gives_the_received_buffer);
	RUN(lent_push_completes_when_acknowledged);
	RUN(timestamps_on_every_segment);
	RUN(segment_without_timestamp_is_dropped);
	RUN(paws);
	RUN(echo_is_of_the_oldest_unacknowledged);
	RUN(keepalive);
	RUN(keepalive_is_off);
	RUN(peers_keepalive_is_answered);
	RUN(maxseg);
	RUN(black_hole);
	RUN(ecn_is_accepted);
	RUN(ece_reduces);
	RUN(no_ecn_without_asking);
	RUN(cookies);
	RUN(wrong_cookie);
	RUN(malformed_options);
	RUN(wrong_checksum);
	RUN(header_longer_than_the_segment);
	RUN(urgent_data_comes_in_line);
	RUN(data_beyond_the_window_is_cut);
	return script_done();
}
