/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* Windows: scaling (RFC 7323 2), zero windows (RFC 9293 3.8.6.1), silly ones on both sides (3.8.6.2), memory. */
#include "script.h"

static int qd;

/* ---- scaling ---- */

static void scale_of_zero(void)
{
	script_win = 2000;
	qd = established("mss 1000,ws 0");
	script_push(qd, 5000);
	out_full(1, 2);
	none();
	CHECK_EQ(info_of(qd).tcpi_snd_wscale, 0);
	CHECK(info_of(qd).tcpi_options & 4); /* agreed all the same: ours is scaled */
	in("P. 1+10 ack 1 win 2000");
	pass(2);
	out(". 2001 ack 11");
	CHECK(last.win <= 32768);
	reset_close(qd);
}

static void scale_of_fourteen(void)
{
	script_win = 1;
	qd = established("mss 1000,ws 14");
	script_push(qd, 50000);
	out_full(1, 10); /* 16384 bytes: the initial window is smaller */
	none();
	in(". 1 ack 1001 win 0");
	none();
	in(". 1 ack 1001 win 1");
	out_full(10001, 2);
	none();
	CHECK_EQ(info_of(qd).tcpi_snd_wscale, 14);
	CHECK_EQ(info_of(qd).tcpi_snd_wnd, 16384);
	reset_close(qd);
}

/* RFC 7323 2.3: more than 14 means 14 */
static void scale_of_more(void)
{
	static const char *const opts[] = { "mss 1000,ws 15", "mss 1000,ws 255" };

	for (int i = 0; i < 2; i++) {
		listening();
		script_win = 1;
		qd = accepted(opts[i]);
		OK(demi_close(script_listener));
		CHECK_EQ(info_of(qd).tcpi_snd_wscale, 14);
		CHECK_EQ(info_of(qd).tcpi_snd_wnd, 16384);
		reset_close(qd);
		stack_port = STACK_PORT;
		pass(1);
	}
}

/* 2.2: the windows of SYNs are never scaled */
static void syns_are_not_scaled(void)
{
	demi_qtoken_t qt;

	qd = script_connect(&qt);
	out("S 0 win 65535 <ws 5>");
	in("S. 0 ack 1 win 1500 <mss 1000,ws 7>");
	out(". 1 ack 1");
	CHECK_EQ(info_of(qd).tcpi_snd_wnd, 1500);
	in(". 1 ack 1 win 100");
	CHECK_EQ(info_of(qd).tcpi_snd_wnd, 12800);
	reset_close(qd);
}

/* 2.2: neither is scaled if one of both does not offer it */
static void no_scale_without_theirs(void)
{
	qd = established("mss 1000");
	CHECK_EQ(info_of(qd).tcpi_rcv_wscale, 0);
	in("P. 1+1000 ack 1");
	pass(2);
	out(". 1 ack 1001 win 65535"); /* a mebibyte of room, and no way to say so */
	reset_close(qd);
}

static void our_scale_is_used(void)
{
	qd = established("mss 1000,ws 0");
	CHECK_EQ(info_of(qd).tcpi_rcv_wscale, 5);
	in("P. 1+10 ack 1");
	popped(qd, 1, 10);
	pass(2);
	out(". 1 ack 11 win 32768"); /* 1 MiB */
	reset_close(qd);
}

/* ---- SO_RCVBUF ---- */

static void rcvbuf_is_the_window(void)
{
	int v;
	socklen_t len = sizeof(v);

	listening();
	set_int(script_listener, SOL_SOCKET, SO_RCVBUF, 5000);
	OK(demi_getsockopt(script_listener, SOL_SOCKET, SO_RCVBUF, &v, &len));
	in("S 0 <mss 1000,ws 3>");
	outf("S. 0 ack 1 win %d <ws 0>", v);
	in(". 1 ack 1");
	qd = result_now(start_accept(script_listener)).qr_value.ares.qd;
	inf(". 1+%d ack 1", v);
	out_any();
	in(". 10001+1000 ack 1"); /* not a byte more */
	outf(". 1 ack %d", v + 1);
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void large_rcvbuf_has_a_larger_scale(void)
{
	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 64 << 20);
	in("S 0 <mss 1000,ws 3>");
	out("S. 0 ack 1 win 65535 <ws 11>");
	OK(demi_close(script_listener));
}

/* ---- the peer's window is closed ---- */

/* 3.8.6.1: probes, further and further apart, two minutes at most, as long as they are answered */
static void probes_back_off(void)
{
	uint64_t ms = 200;

	script_win = 0;
	qd = established("mss 1000");
	script_push(qd, 10);
	for (int i = 0; i < 13; i++) {
		quiet(ms - 1);
		pass(1);
		out(". 0 ack 1");
		in(". 1 ack 1 win 0");
		ms = 2 * ms < 120000 ? 2 * ms : 120000;
	}
	in(". 1 ack 1 win 10");
	out("P. 1+10 ack 1");
	in(". 1 ack 11 win 0");
	quiet(1000 * 1000); /* nothing waits: nothing is probed */
	reset_close(qd);
}

static void window_update_sends_at_once(void)
{
	script_win = 1000;
	qd = established("mss 1000");
	script_push(qd, 3000);
	out_full(1, 1);
	in(". 1 ack 1001 win 0");
	none();
	in(". 1 ack 1001 win 65535");
	out_full(1001, 2);
	reset_close(qd);
}

/* What is under way when the window closes is retransmitted; no probe replaces it. */
static void shrunken_window(void)
{
	qd = established("mss 1000");
	script_push(qd, 5000);
	out_full(1, 5);
	in(". 1 ack 1001 win 0");
	quiet(199);
	pass(1);
	out_full(1001, 1);
	in(". 1 ack 5001 win 0");
	none();
	script_push(qd, 10);
	pass_us(info_of(qd).tcpi_rto - 1); /* the answers came late: it is longer now */
	none();
	pass_us(1);
	out(". 5000 ack 1");
	reset_close(qd);
}

/* An edge that moves back (RFC 9293 3.8.6): nothing new, until it is where it was. */
static void edge_moves_back(void)
{
	script_win = 4000;
	qd = established("mss 1000");
	script_push(qd, 10000);
	out_full(1, 4);
	in(". 1 ack 2001 win 1000"); /* to 3001 only */
	none();
	in(". 1 ack 4001 win 1000");
	out_full(4001, 1);
	reset_close(qd);
}

/* A FIN takes a number, and no room: it is sent into a closed window, and answers come. */
static void fin_into_a_closed_window(void)
{
	script_win = 0;
	qd = established("mss 1000");
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 1");
	in(". 1 ack 2 win 0");
	quiet(1000);
	reset_close(qd);
}

static void fin_waits_for_its_data(void)
{
	script_win = 0;
	qd = established("mss 1000");
	script_push(qd, 10);
	OK(demi_shutdown(qd, SHUT_WR));
	none();
	in(". 1 ack 1 win 5");
	out(". 1+5 ack 1"); /* the largest window that there was */
	none();
	in(". 1 ack 6 win 100");
	out("FP. 6+5 ack 1");
	reset_close(qd);
}

/* ---- silly windows: the sender, 3.8.6.2.1 ---- */

static void half_of_the_largest_window(void)
{
	script_win = 1600;
	qd = established("mss 1000");
	script_push(qd, 1000);
	out("P. 1+1000 ack 1");
	in(". 1 ack 1001 win 799");
	script_push(qd, 2000);
	none(); /* less than half of 1600, less than a segment */
	in(". 1 ack 1001 win 800");
	out(". 1001+800 ack 1");
	reset_close(qd);
}

static void small_window_and_something_under_way(void)
{
	script_win = 1800;
	qd = established("mss 1000");
	script_push(qd, 3000);
	out_full(1, 1);
	none(); /* 800 would fit, and be half: it waits for the acknowledgement */
	in(". 1 ack 1001 win 1800");
	out_full(1001, 1);
	reset_close(qd);
}

/* ---- silly windows: the receiver, 3.8.6.2.2 ---- */

/* The edge moves by a segment, or half of the buffer; popping ten bytes says nothing. */
static void small_reads_do_not_open_it(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;
	uint32_t edge;

	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 8192);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	for (uint32_t i = 0; i < 8; i++) {
		inf(". %u+1000 ack 1", 1 + 1000 * i);
		pass(2);
		out_any();
	}
	in(". 8001+192 ack 1");
	pass(2);
	out(". 1 ack 8193 win 0");
	edge = 8193;
	for (int i = 0; i < 50; i++) { /* of the first buffer */
		OK(demi_pop_n(&qt, qd, 10));
		qr = result_now(qt);
		CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 10);
		OK(demi_sgafree(&qr.qr_value.sga));
		none();
	}
	for (int i = 0; i < 8; i++) {
		qr = result_now(pop_start(qd));
		OK(demi_sgafree(&qr.qr_value.sga));
		node_pump(sn);
		if (!sn->out_head)
			continue;
		out(". 1 ack 8193");
		CHECK(last.ack + last.win >= edge + 1000);
		edge = last.ack + last.win;
	}
	CHECK(edge >= 8193 + 4096); /* beyond half of the buffer nobody has to be told */
	reset_close(qd);
}

/* One byte in a buffer of 2 KiB: the memory counts, so that a peer cannot take 2,048 times the limit. */
static void memory_is_what_counts(void)
{
	uint32_t at = 1, sent = 0;

	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 8192);
	set_int(script_listener, DEMI_SOL, DEMI_SO_MAXSEGS, 4);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	for (; sent < 40; sent++) {
		inf(". %u+513 ack 1", at); /* more than a quarter: the buffer is kept */
		at += 513;
		pass(2);
		out_any();
	}
	in(". 1+1 ack 1"); /* what was promised was taken; not a byte more was promised */
	out(". 1 ack 8193 win 0");
	reset_close(qd);
}

/* ---- out of order ---- */

static void reassembly_has_a_limit(void)
{
	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 65535);
	qd = accepted("mss 1000,sackOK");
	OK(demi_close(script_listener));
	/* every other piece of 600 bytes: each keeps a buffer of 2 KiB, of twice the limit 63 fit */
	for (uint32_t i = 0; i < 54; i++) {
		inf(". %u+600 ack 1", 601 + 1200 * i);
		out_any();
	}
	CHECK_EQ(sn->in.count.TcpExtTCPOFODrop, 0);
	for (uint32_t i = 0; i < 54; i++) {
		inf(". %u+590 ack 1", 1206 + 1200 * i); /* the gaps, but for a few bytes */
		out_any();
	}
	CHECK_EQ(sn->in.count.TcpExtTCPOFOQueue, 108);
	CHECK_EQ(sn->in.count.TcpExtTCPOFODrop, 45);
	in(". 1+600 ack 1"); /* it goes on all the same */
	out(". 1 ack 1201");
	reset_close(qd);
}

/* What is in order has room whatever waits behind the hole. */
static void in_order_data_is_never_dropped(void)
{
	uint32_t got = 0;

	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 20000);
	qd = accepted("mss 1000,sackOK");
	OK(demi_close(script_listener));
	for (uint32_t at = 1001; at < 20001; at += 1000) {
		inf(". %u+1000 ack 1", at);
		out(". 1 ack 1");
	}
	in(". 1+1000 ack 1");
	while (got < 20000) {
		demi_qresult_t qr = result_now(pop_start(qd));
		const uint8_t *p = qr.qr_value.sga.sga_segs[0].sgaseg_buf;

		CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
		for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++)
			CHECK_EQ(p[i], script_byte(1 + got + i));
		got += qr.qr_value.sga.sga_segs[0].sgaseg_len;
		OK(demi_sgafree(&qr.qr_value.sga));
	}
	CHECK_EQ(got, 20000);
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(scale_of_zero);
	RUN(scale_of_fourteen);
	RUN(scale_of_more);
	RUN(syns_are_not_scaled);
	RUN(no_scale_without_theirs);
	RUN(our_scale_is_used);
	RUN(rcvbuf_is_the_window);
	RUN(large_rcvbuf_has_a_larger_scale);
	RUN(probes_back_off);
	RUN(window_update_sends_at_once);
	RUN(shrunken_window);
	RUN(edge_moves_back);
	RUN(fin_into_a_closed_window);
	RUN(fin_waits_for_its_data);
	RUN(half_of_the_largest_window);
	RUN(small_window_and_something_under_way);
	RUN(small_reads_do_not_open_it);
	RUN(memory_is_what_counts);
	RUN(reassembly_has_a_limit);
	RUN(in_order_data_is_never_dropped);
	return script_done();
}
