/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * What calls do and what they say: cancelling, backlogs, cookies' contents, messages over TCP (core/frame.h),
 * TIME-WAIT, TCP_INFO.
 */
#include "script.h"
#include "tcb.h"

#include "inet/tcp_stack.h"

static int qd;

/* ---- cancel ---- */

static void cancelled(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	OK(demi_cancel(qt));
	qr = result_now(qt);
	check_failed(&qr, ECANCELED);
}

static void cancel_a_pop(void)
{
	demi_qtoken_t first, second;
	demi_qresult_t qr;

	qd = established("mss 1000");
	first = pop_start(qd);
	second = pop_start(qd);
	cancelled(first);
	in("P. 1+10 ack 1"); /* goes to the other one, whole */
	qr = result_now(second);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 10);
	OK(demi_sgafree(&qr.qr_value.sga));
	reset_close(qd);
}

static void cancel_an_accept(void)
{
	demi_qtoken_t qt;

	listening();
	cancelled(start_accept(script_listener));
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1 ack 1"); /* it waits for the next accept */
	qt = start_accept(script_listener);
	reset_close(result_now(qt).qr_value.ares.qd);
	OK(demi_close(script_listener));
}

/* Cancelled, the connection is given up, and the socket is as new. */
static void cancel_a_connect(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qtoken_t qt;

	qd = script_connect(&qt);
	out("S 0");
	cancelled(qt);
	quiet(10000);
	in("S. 0 ack 1");
	out("R 1");
	OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
	out("S 0");
	in("S. 0 ack 1 <mss 1000>");
	out(". 1 ack 1");
	CHECK_EQ(result_now(qt).qr_opcode, DEMI_OPC_CONNECT);
	reset_close(qd);
}

/* Bytes that are in the queue stay there. */
static void cancel_a_push(void)
{
	char *mem = demi_malloc(4000);
	demi_qtoken_t qt;
	demi_qresult_t qr;

	qd = established("mss 1000");
	qt = push_start(qd, mem, 4000);
	CHECK_EQ(demi_cancel(qt), EALREADY);
	out_any();
	in(". 1 ack 4001");
	qr = result_now(qt);
	CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
	demi_free(mem);
	reset_close(qd);
}

static void close_ends_what_is_pending(void)
{
	demi_qtoken_t pops[2], accept;
	demi_qresult_t qr;

	listening();
	qd = accepted("mss 1000");
	accept = start_accept(script_listener);
	pops[0] = pop_start(qd);
	pops[1] = pop_start(qd);
	OK(demi_close(qd));
	OK(demi_close(script_listener));
	for (int i = 0; i < 2; i++) {
		qr = result_now(pops[i]);
		check_failed(&qr, ECANCELED);
	}
	qr = result_now(accept);
	check_failed(&qr, ECANCELED);
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

/* ---- backlogs ---- */

/* As if it came from another host. */
static void in_from(uint8_t host, const char *s)
{
	static uint8_t p[200];
	struct seg g = parse_seg(s);
	uint32_t n = build_seg(&g, p);

	put32(p + 12, 0x0a000000U | host);
	set_sums(p, n);
	node_receive(sn, p, n, NULL);
	node_pump(sn);
}

/* What the stack has sent next, whoever it is for: its number is the next ones' initial one. */
static void synack(void)
{
	struct packet *p = node_take(sn);

	CHECK(p && p->data[33] == 18);
	iss = get32(p->data + 24);
	free(p);
}

/* Established ones that nobody accepts: no more SYNs are answered; the peers try again, and then there is room. */
static void backlog_is_kept(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 3);

	for (uint8_t host = 20; host < 23; host++) {
		in_from(host, "S 0 <mss 1000>");
		synack();
		in_from(host, ". 1 ack 1");
	}
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 3);
	in_from(30, "S 0 <mss 1000>");
	none();
	CHECK_EQ(sn->in.count.TcpExtListenOverflows, 1);
	reset_close(result_now(start_accept(l)).qr_value.ares.qd);
	in_from(30, "S 0 <mss 1000>");
	synack();
	in_from(30, ". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 4);
	OK(demi_close(l));
	out_any();
}

/* The last segment of a handshake finds the queue full: the peer thinks that it is connected, and is asked again. */
static void backlog_fills_during_the_handshake(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);
	uint32_t first;

	in_from(20, "S 0 <mss 1000>");
	synack();
	first = iss;
	in_from(21, "S 0 <mss 1000>"); /* a cookie */
	synack();
	in_from(21, ". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 1);
	iss = first;
	in_from(20, ". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 1);
	none();
	reset_close(result_now(start_accept(l)).qr_value.ares.qd);
	pass(1000);
	synack(); /* again */
	in_from(20, ". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpPassiveOpens, 2);
	OK(demi_close(l));
	out_any();
}

/* Half-open ones are limited; beyond that nothing is remembered of a SYN. */
static void half_open_limit(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 5);

	for (uint8_t host = 20; host < 60; host++) {
		in_from(host, "S 0 <mss 1000>");
		synack();
	}
	CHECK_EQ(sn->in.tcp->nreqs, 5);
	CHECK_EQ(sn->in.count.TcpExtSyncookiesSent, 35);
	pass(100 * 1000); /* only those of which something is known are sent again */
	for (int i = 0; i < 5 * 5; i++)
		synack();
	none();
	CHECK_EQ(sn->in.tcp->nreqs, 0);
	OK(demi_close(l));
}

/* ---- cookies: RFC 4987 3.6 ---- */

static int busy_listener(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);

	in_from(77, "S 0 <mss 1000>");
	out_any();
	return l;
}

/* What the cookie keeps of the segment size is never more than was offered. */
static void cookie_sizes(void)
{
	static const struct {
		uint32_t offered, kept;
	} sizes[] = { { 100, 216 },   { 216, 216 },   { 535, 216 },  { 536, 536 },
		      { 1300, 1300 }, { 1459, 1440 }, { 1460, 1460 } };
	int l = busy_listener();

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		inf("S 0 <mss %u>", sizes[i].offered);
		out("S. 0 ack 1");
		in(". 1 ack 1");
		qd = result_now(start_accept(l)).qr_value.ares.qd;
		CHECK_EQ(info_of(qd).tcpi_snd_mss, sizes[i].kept);
		reset_close(qd);
		stack_port = STACK_PORT;
		pass(1);
	}
	CHECK_EQ(sn->in.count.TcpExtSyncookiesRecv, sizeof(sizes) / sizeof(sizes[0]));
	OK(demi_close(l));
	out_any();
}

/* Without timestamps there is no place for the other options: they are not agreed. */
static void cookie_without_timestamps(void)
{
	int l = busy_listener();

	in("S 0 <mss 1000,sackOK,ws 7>");
	out("S. 0 ack 1 <mss 1460,nots>");
	CHECK(!last.ws && !last.sack_ok);
	in(". 1 ack 1 win 1000");
	qd = result_now(start_accept(l)).qr_value.ares.qd;
	CHECK_EQ(info_of(qd).tcpi_options, 0);
	CHECK_EQ(tcb_of(qd)->snd_wnd, 1000);
	reset_close(qd);
	OK(demi_close(l));
	out_any();
}

static void cookie_with_timestamps(void)
{
	int l = busy_listener();

	in("SEW 0 <mss 1000,sackOK,ts 50 0,ws 0>");
	out("SE. 0 ack 1 <mss 1460,sackOK,ts,ws 5>");
	in(". 1 ack 1 win 1000 <ts 60 0>");
	qd = result_now(start_accept(l)).qr_value.ares.qd;
	CHECK_EQ(info_of(qd).tcpi_options & 15, TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE | TCPI_OPT_ECN);
	CHECK_EQ(info_of(qd).tcpi_snd_wscale, 0);
	reset_close(qd);
	OK(demi_close(l));
	out_any();
}

/* It is good for a minute or two, for these addresses and this initial number only. */
static void cookie_is_bound(void)
{
	int l = busy_listener();

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1000 ack 1");
	out("R 1");
	in_from(78, ". 1 ack 1");
	out_any();
	pass(200 * 1000);
	out_any();
	in(". 1 ack 1");
	out("R 1");
	CHECK_EQ(sn->in.count.TcpExtSyncookiesRecv, 0);
	OK(demi_close(l));
}

/* ---- messages (DEMI_SO_FRAMED) ---- */

/* The peer sends @len bytes of @data. */
static void in_bytes(uint32_t seq, const void *data, uint32_t len)
{
	static uint8_t p[3000];
	struct seg g = { .flags = 24, .seq = seq, .len = len, .ack = 1 };
	uint32_t n = build_seg(&g, p);

	memcpy(p + n - len, data, len);
	set_sums(p, n);
	node_receive(sn, p, n, NULL);
	node_pump(sn);
}

static void with_messages(void)
{
	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_FRAMED, 1);
	set_int(script_listener, DEMI_SOL, DEMI_SO_MAXMSG, 100);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
}

static const uint8_t hello[17] = "\xd3\xf1\1\1\0\0\0\5\0\0\0\5hello";

/* One byte a segment: a pop gives the message, once, when it is whole. */
static void message_in_pieces(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	with_messages();
	pop = pop_start(qd);
	for (uint32_t i = 0; i < 17; i++) {
		pending(pop);
		in_bytes(1 + i, hello + i, 1);
		out_any();
	}
	qr = result_now(pop);
	check_popped(&qr, "hello", 5);
	reset_close(qd);
}

static void messages_in_one_segment(void)
{
	uint8_t two[34];
	demi_qresult_t qr;

	with_messages();
	memcpy(two, hello, 17);
	memcpy(two + 17, hello, 17);
	in_bytes(1, two, 34);
	for (int i = 0; i < 2; i++) {
		qr = result_now(pop_start(qd));
		check_popped(&qr, "hello", 5);
	}
	reset_close(qd);
}

static void message_is_sent(void)
{
	with_messages();
	push_start(qd, "hello", 5);
	out("P. 1+17 ack 1");
	CHECK(!memcmp(last_packet + 40, hello, 17));
	reset_close(qd);
}

/* What is no message ends the connection, and says so to both. */
static void bad_magic(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	with_messages();
	pop = pop_start(qd);
	in_bytes(1, "GET / HTTP/1.0", 14);
	out("R. 1 ack 15");
	qr = result_now(pop);
	check_failed(&qr, EBADMSG);
	OK(demi_close(qd));
}

static void message_too_long(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	with_messages();
	pop = pop_start(qd);
	in_bytes(1, "\xd3\xf1\1\1\0\0\0\x65\0\0\0\x65", 12); /* 101 bytes */
	out("R. 1 ack 13");
	qr = result_now(pop);
	check_failed(&qr, EBADMSG);
	OK(demi_close(qd));
}

static void message_too_long_to_send(void)
{
	static char buf[101];
	demi_sgarray_t sga = sga_of(buf, 101);
	demi_qtoken_t qt;

	with_messages();
	CHECK_EQ(demi_push(&qt, qd, &sga), EMSGSIZE);
	none();
	reset_close(qd);
}

/* The stream ends in the middle of a message: that is no end. */
static void message_is_cut_off(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	with_messages();
	pop = pop_start(qd);
	in_bytes(1, hello, 14);
	out_any();
	in("F. 15 ack 1");
	out(". 1 ack 16");
	qr = result_now(pop);
	check_failed(&qr, EBADMSG);
	reset_close(qd);
}

/* ---- TIME-WAIT ---- */

/* RFC 6191: a later timestamp is enough, whatever the number is; an earlier one is not. */
static void time_wait_and_timestamps(void)
{
	listening();
	qd = accepted("mss 1000,ts");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	pass(10);
	inf("S 5000 <mss 1000,ts %u 0>", (uint32_t)(net_now / NET_MS) - 500);
	out(". 2 ack 2");
	inf("S 0 <mss 1000,ts %u 0>", (uint32_t)(net_now / NET_MS));
	out("S. 0 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTWRecycled, 1);
	OK(demi_close(script_listener));
	out_any();
}

/* Connecting again with the same ports: the new numbers are beyond the old ones. */
static void time_wait_and_connect(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT), me = addr4(0, 7777);
	uint32_t first = 0;
	demi_qtoken_t qt;
	static const int on = 1;

	for (int i = 0; i < 2; i++) {
		qd = node_socket(sn, AF_INET);
		OK(demi_setsockopt(qd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
		OK(demi_bind(qd, (struct sockaddr *)&me, sizeof(me)));
		OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
		out("S 0");
		if (i)
			CHECK((int32_t)(iss - first) > 65535);
		first = iss;
		in("S. 0 ack 1 <mss 1000>");
		out(". 1 ack 1");
		OK(demi_close(qd));
		out("F. 1 ack 1");
		in("F. 1 ack 2");
		out(". 2 ack 2");
	}
	CHECK_EQ(sn->in.count.TcpExtTWRecycled, 1);
}

/* ---- TCP_INFO ---- */

static void info_of_the_way(void)
{
	struct tcp_info i;

	script_win = 400;
	qd = established("mss 1000,sackOK,ts,ws 7");
	i = info_of(qd);
	CHECK_EQ(i.tcpi_state, 1); /* TCP_ESTABLISHED */
	CHECK_EQ(i.tcpi_ca_state, TCP_CA_Open);
	CHECK_EQ(i.tcpi_options, TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	CHECK(i.tcpi_snd_wscale == 7 && i.tcpi_rcv_wscale == 5);
	CHECK_EQ(i.tcpi_snd_mss, 988);
	CHECK_EQ(i.tcpi_pmtu, 1500);
	CHECK_EQ(i.tcpi_snd_cwnd, 10);
	CHECK_EQ(i.tcpi_rtt, 10000);
	CHECK_EQ(i.tcpi_rttvar, 5000);
	CHECK_EQ(i.tcpi_snd_wnd, 400 << 7);
	CHECK_EQ(i.tcpi_unacked + i.tcpi_sacked + i.tcpi_lost + i.tcpi_retrans + i.tcpi_total_retrans, 0);
	script_push(qd, 20 * 988);
	out_any();
	i = info_of(qd);
	CHECK_EQ(i.tcpi_unacked, 10);
	CHECK_EQ(i.tcpi_notsent_bytes, 10 * 988);
	pass(10);
	in(". 1 ack 1 win 400 <sack 989-4941>");
	i = info_of(qd);
	CHECK_EQ(i.tcpi_ca_state, TCP_CA_Recovery);
	CHECK_EQ(i.tcpi_sacked, 4);
	CHECK_EQ(i.tcpi_lost, 1);
	CHECK_EQ(i.tcpi_retrans, 1);
	CHECK_EQ(i.tcpi_total_retrans, 1);
	CHECK_EQ(i.tcpi_snd_ssthresh, 7);
	CHECK_EQ(i.tcpi_min_rtt, 10000);
	reset_close(qd);
}

/* By the numbers of netinet/tcp.h, which <linux/tcp.h> does not go along with. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING
};

static void info_of_states(void)
{
	demi_qtoken_t qt;

	listening();
	CHECK_EQ(info_of(script_listener).tcpi_state, TCP_LISTEN);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	OK(demi_shutdown(qd, SHUT_WR));
	out("F. 1 ack 1");
	CHECK_EQ(info_of(qd).tcpi_state, TCP_FIN_WAIT1);
	in(". 1 ack 2");
	CHECK_EQ(info_of(qd).tcpi_state, TCP_FIN_WAIT2);
	reset_close(qd);
	stack_port = STACK_PORT;
	pass(1);
	qd = established("mss 1000");
	in("F. 1 ack 1");
	out_any();
	CHECK_EQ(info_of(qd).tcpi_state, TCP_CLOSE_WAIT);
	OK(demi_shutdown(qd, SHUT_WR));
	CHECK_EQ(info_of(qd).tcpi_state, TCP_LAST_ACK);
	out_any();
	in(". 2 ack 2");
	CHECK_EQ(info_of(qd).tcpi_state, TCP_CLOSE);
	OK(demi_close(qd));
	qd = script_connect(&qt);
	CHECK_EQ(info_of(qd).tcpi_state, TCP_SYN_SENT);
	out_any();
	OK(demi_close(qd));
}

static void info_of_timeouts(void)
{
	struct tcp_info i;

	qd = established("mss 1000");
	script_push(qd, 2000);
	pass(700);
	i = info_of(qd);
	CHECK_EQ(i.tcpi_ca_state, TCP_CA_Loss);
	CHECK(i.tcpi_retransmits == 2 && i.tcpi_backoff == 2 && i.tcpi_total_retrans == 2);
	CHECK(i.tcpi_lost == 2 && i.tcpi_snd_cwnd == 1);
	out_any();
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(cancel_a_pop);
	RUN(cancel_an_accept);
	RUN(cancel_a_connect);
	RUN(cancel_a_push);
	RUN(close_ends_what_is_pending);
	RUN(backlog_is_kept);
	RUN(backlog_fills_during_the_handshake);
	RUN(half_open_limit);
	RUN(cookie_sizes);
	RUN(cookie_without_timestamps);
	RUN(cookie_with_timestamps);
	RUN(cookie_is_bound);
	RUN(message_in_pieces);
	RUN(messages_in_one_segment);
	RUN(message_is_sent);
	RUN(bad_magic);
	RUN(message_too_long);
	RUN(message_too_long_to_send);
	RUN(message_is_cut_off);
	RUN(time_wait_and_timestamps);
	RUN(time_wait_and_connect);
	RUN(info_of_the_way);
	RUN(info_of_states);
	RUN(info_of_timeouts);
	return script_done();
}
