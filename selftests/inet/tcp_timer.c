/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* What time does to a connection, to the microsecond: RFC 6298, RFC 7323 4, RFC 5482, RFC 1122 4.2.3.6, 9293 3.8.3. */
#include "script.h"

static int qd;

#define RTO_MIN_US 45

/* A connection whose timeout may be short: the handshake has taken 10 ms. */
static void fast_path(const char *opts)
{
	listening();
	set_int(script_listener, IPPROTO_TCP, RTO_MIN_US, 1000);
	qd = accepted(opts);
	OK(demi_close(script_listener));
}

/* A segment that is acknowledged @ms later. */
static void round_trip(uint32_t seq, uint64_t ms)
{
	script_push(qd, 10);
	outf("P. %u+10 ack 1", seq);
	pass(ms);
	inf(". 1 ack %u", seq + 10);
	none();
}

/* RFC 6298 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR */
static void first_sample(void)
{
	struct tcp_info i;

	fast_path("mss 1000");
	i = info_of(qd);
	CHECK_EQ(i.tcpi_rtt, 10000);
	CHECK_EQ(i.tcpi_rttvar, 5000);
	CHECK_EQ(i.tcpi_rto, 30000);
	reset_close(qd);
}

/* 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R|, then SRTT = 7/8 SRTT + 1/8 R */
static void later_samples(void)
{
	struct tcp_info i;

	fast_path("mss 1000");
	round_trip(1, 20);
	i = info_of(qd);
	CHECK_EQ(i.tcpi_rtt, 11250);
	CHECK_EQ(i.tcpi_rttvar, 6250);
	CHECK_EQ(i.tcpi_rto, 11250 + 25000);
	round_trip(11, 11);
	i = info_of(qd);
	CHECK_EQ(i.tcpi_rtt, 11218); /* 11250 * 7/8 + 11000 / 8 */
	CHECK_EQ(i.tcpi_rttvar, 4750); /* 6250 * 3/4 + 250 / 4 */
	CHECK_EQ(i.tcpi_rto, 11218 + 4 * 4750);
	reset_close(qd);
}

/* The timer is exactly the estimate. */
static void timeout_is_the_estimate(void)
{
	fast_path("mss 1000");
	round_trip(1, 20);
	script_push(qd, 10);
	out("P. 11+10 ack 1");
	pass_us(36249);
	none();
	pass_us(1);
	out("P. 11+10 ack 1");
	pass_us(2 * 36250 - 1);
	none();
	pass_us(1);
	out("P. 11+10 ack 1");
	reset_close(qd);
}

/* 2.4 */
static void not_below_the_minimum(void)
{
	qd = established("mss 1000");
	CHECK_EQ(info_of(qd).tcpi_rto, 200000);
	CHECK_EQ(info_of(qd).tcpi_rtt, 10000);
	reset_close(qd);
}

/* 3, Karn: whose acknowledgement is it? */
static void karn(void)
{
	struct tcp_info before, after;

	fast_path("mss 1000");
	before = info_of(qd);
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	pass(30);
	out("P. 1+10 ack 1");
	pass(5);
	in(". 1 ack 11");
	after = info_of(qd);
	CHECK_EQ(after.tcpi_rtt, before.tcpi_rtt);
	CHECK_EQ(after.tcpi_rttvar, before.tcpi_rttvar);
	reset_close(qd);
}

/* RFC 7323 4.1: with timestamps the answer says which it was. */
static void timestamps_tell_which(void)
{
	fast_path("mss 1000,ts");
	script_push(qd, 10);
	out("P. 1+10 ack 1 <ts>");
	pass(30);
	out("P. 1+10 ack 1 <ts>");
	pass(20);
	in(". 1 ack 11"); /* echoes what it carries now: the second one */
	CHECK_EQ(info_of(qd).tcpi_rtt, 11250);
	reset_close(qd);
}

/* An echo of the first one: it may be that the second one's acknowledgement was lost. Nothing is learned. */
static void an_older_echo_tells_nothing(void)
{
	fast_path("mss 1000,ts");
	script_push(qd, 10);
	out("P. 1+10 ack 1 <ts>");
	pass(30);
	out("P. 1+10 ack 1 <ts>");
	pass(20);
	in(". 1 ack 11 <ts 1000070 10>");
	CHECK_EQ(info_of(qd).tcpi_rtt, 10000);
	reset_close(qd);
}

/* 5.5, 2.5: doubled each time, up to two minutes; then it is given up, as tcp(7) says, after 15. */
static void backoff_to_its_end(void)
{
	uint64_t ms = 200;
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	for (int i = 0; i < 15; i++) {
		quiet(ms - 1);
		pass(1);
		out("P. 1+10 ack 1");
		ms = 2 * ms < 120000 ? 2 * ms : 120000;
	}
	CHECK_EQ(info_of(qd).tcpi_backoff, 15);
	CHECK_EQ(info_of(qd).tcpi_retransmits, 15);
	CHECK_EQ(info_of(qd).tcpi_total_retrans, 15);
	quiet(ms - 1);
	pending(pop);
	pass(1);
	none();
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	OK(demi_close(qd));
}

/* 5.7: what is acknowledged ends the backoff. */
static void progress_ends_the_backoff(void)
{
	qd = established("mss 1000");
	script_push(qd, 2000);
	out_full(1, 2);
	pass(200);
	out(". 1+1000 ack 1");
	pass(400);
	out(". 1+1000 ack 1");
	CHECK_EQ(info_of(qd).tcpi_backoff, 2);
	in(". 1 ack 1001");
	CHECK_EQ(info_of(qd).tcpi_backoff, 0);
	out(". 1001+1000 ack 1");
	quiet(199);
	pass(1);
	out(". 1001+1000 ack 1");
	reset_close(qd);
}

/* 5.2, 5.3: nothing is under way, nothing is timed. */
static void all_acknowledged_stops_the_timer(void)
{
	qd = established("mss 1000");
	round_trip(1, 10);
	quiet(100 * 1000);
	reset_close(qd);
}

/* 5.1: more data does not put the timer off. */
static void more_data_does_not_put_it_off(void)
{
	qd = established("mss 1000");
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	for (int i = 0; i < 3; i++) {
		pass(50);
		script_push(qd, 10);
		outf("P. %d+10 ack 1", 11 + 10 * i);
	}
	quiet(49);
	pass(1);
	out("P. 1+10 ack 1");
	reset_close(qd);
}

/* 5.7 for SYNs: the first timeout of data is 3 s then. */
static void lost_syn_means_three_seconds(void)
{
	demi_qtoken_t qt;

	qd = script_connect(&qt);
	out("S 0");
	pass(1000);
	out("S 0");
	pass(10);
	in("S. 0 ack 1 <mss 1000>");
	out(". 1 ack 1");
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	quiet(2999);
	pass(1);
	out("P. 1+10 ack 1");
	reset_close(qd);
}

static void syncnt(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qresult_t qr;
	demi_qtoken_t qt;

	qd = node_socket(sn, AF_INET);
	set_int(qd, IPPROTO_TCP, TCP_SYNCNT, 2);
	OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
	out("S 0");
	pass(1000);
	out("S 0");
	pass(2000);
	out("S 0");
	quiet(3999);
	pending(qt);
	pass(1);
	none();
	qr = result_now(qt);
	check_failed(&qr, ETIMEDOUT);
	OK(demi_close(qd));
}

/* RFC 5482 3, tcp(7): of a connection that is being opened, too */
static void user_timeout_of_a_syn(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qresult_t qr;
	demi_qtoken_t qt;

	qd = node_socket(sn, AF_INET);
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2500);
	OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
	out("S 0");
	pass(1000);
	out("S 0");
	pass(1499);
	pending(qt);
	pass(1);
	qr = result_now(qt);
	check_failed(&qr, ETIMEDOUT);
	none();
	OK(demi_close(qd));
}

static void user_timeout_exactly(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
	pop = pop_start(qd);
	script_push(qd, 2000);
	pass(1000);
	in(". 1 ack 1001"); /* progress: it begins again */
	pass(2999);
	pending(pop);
	pass(1);
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	out_any();
	OK(demi_close(qd));
}

/* A window that stays closed is stuck, too, although the peer answers. */
static void user_timeout_of_a_closed_window(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	script_win = 0;
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
	pop = pop_start(qd);
	script_push(qd, 10);
	pass(200);
	out(". 0 ack 1");
	in(". 1 ack 1 win 0");
	pass(400);
	out(". 0 ack 1");
	in(". 1 ack 1 win 0");
	pass(399);
	pending(pop);
	pass(1);
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	out_any();
	OK(demi_close(qd));
}

/* Without an answer to probes 15 of them are enough. */
static void unanswered_probes_end_it(void)
{
	uint64_t ms = 200;
	demi_qtoken_t pop;
	demi_qresult_t qr;

	script_win = 0;
	qd = established("mss 1000");
	pop = pop_start(qd);
	script_push(qd, 10);
	for (int i = 0; i < 15; i++) {
		quiet(ms - 1);
		pass(1);
		out(". 0 ack 1");
		ms = 2 * ms < 120000 ? 2 * ms : 120000;
	}
	pending(pop);
	pass(ms);
	none();
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	CHECK_EQ(sn->in.count.TcpExtTCPWinProbe, 15);
	OK(demi_close(qd));
}

/* RFC 1122 4.2.3.6: only when nothing has come for so long; data that is under way finds out by itself. */
static void keepalive_waits_for_silence(void)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 1);
	node_pump(sn);
	pass(6000);
	in(". 1+10 ack 1");
	pass(1);
	out(". 1 ack 11");
	quiet(9997);
	pass(2);
	out(". 0 ack 11");
	in(". 11 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPKeepAlive, 1);
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 0);
	quiet(100 * 1000);
	reset_close(qd);
}

/* A month: the peer answers every two hours, and then there is something to say. */
static void keepalive_for_a_month(void)
{
	qd = established("mss 1000,sackOK,ts,ws 3");
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 1);
	node_pump(sn);
	for (int i = 0; i < 30 * 12; i++) {
		pass_us(7190 * 1000000ULL);
		none();
		pass_us(10 * 1000000ULL);
		out(". 0 ack 1");
		in(". 1 ack 1");
		none();
	}
	CHECK_EQ(sn->in.count.TcpExtTCPKeepAlive, 30 * 12);
	script_push(qd, 10);
	out("P. 1+10 ack 1 <ts>");
	in("P. 1+10 ack 11");
	popped(qd, 1, 10);
	reset_close(qd);
}

/* RFC 7323 5.5: after 24 days of silence the last timestamp says nothing; by then the peer's looks older than that. */
static void silence_for_a_month(void)
{
	qd = established("mss 1000,sackOK,ts,ws 3");
	in("P. 1+10 ack 1");
	popped(qd, 1, 10);
	pass(10);
	out(". 1 ack 11");
	pass_us(30 * 86400 * 1000000ULL);
	none();
	in("P. 11+10 ack 1");
	popped(qd, 11, 10);
	CHECK_EQ(sn->in.count.TcpExtPAWSEstab, 0);
	pass(10);
	out(". 1 ack 21 <ts>");
	in("P. 21+10 ack 1 <ts 4000000000 0>"); /* an old one is old again */
	CHECK_EQ(sn->in.count.TcpExtPAWSEstab, 1);
	reset_close(qd);
}

/* tcp(7): TCP_USER_TIMEOUT takes TCP_KEEPCNT's place. */
static void keepalive_with_a_user_timeout(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
	set_int(qd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set_int(qd, IPPROTO_TCP, TCP_KEEPCNT, 100);
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 7500);
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 1);
	pop = pop_start(qd);
	node_pump(sn);
	for (int i = 0; i < 3; i++) {
		pass(i ? 1000 : 5001);
		out(". 0 ack 1");
	}
	pending(pop);
	pass(1000);
	out("R. 1 ack 1");
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	OK(demi_close(qd));
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(first_sample);
	RUN(later_samples);
	RUN(timeout_is_the_estimate);
	RUN(not_below_the_minimum);
	RUN(karn);
	RUN(timestamps_tell_which);
	RUN(an_older_echo_tells_nothing);
	RUN(backoff_to_its_end);
	RUN(progress_ends_the_backoff);
	RUN(all_acknowledged_stops_the_timer);
	RUN(more_data_does_not_put_it_off);
	RUN(lost_syn_means_three_seconds);
	RUN(syncnt);
	RUN(user_timeout_of_a_syn);
	RUN(user_timeout_exactly);
	RUN(user_timeout_of_a_closed_window);
	RUN(unanswered_probes_end_it);
	RUN(keepalive_waits_for_silence);
	RUN(keepalive_for_a_month);
	RUN(silence_for_a_month);
	RUN(keepalive_with_a_user_timeout);
	return script_done();
}
