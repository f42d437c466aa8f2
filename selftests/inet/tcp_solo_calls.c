/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* A small push is all that is under way (solo.h): the application or the peer does something, or one of them ends. */
#include "solo.h"

/* ---- the application ---- */

static void second_push(void)
{
	solo("mss 1000");
	pass(5);
	script_push(qd, 50);
	settled();
	out("P. 101+50 ack 1");
	pass(5);
	in(". 1 ack 101");
	settled();
	pass(5);
	goes_on(151);
	reset_close(qd);
}

static void second_push_of_which_the_first_is_lost(void)
{
	solo("mss 1000,sackOK");
	pass(1);
	script_push(qd, 50);
	out("P. 101+50 ack 1");
	pass(10);
	in(". 1 ack 1 <sack 101-151>");
	pass(3);
	out("P. 1+100 ack 1"); /* RFC 8985 6.2 */
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	goes_on(151);
	reset_close(qd);
}

/* RFC 9293 3.7.4: Nagle */
static void second_push_waits(void)
{
	in_use(established("mss 1000"));
	set_int(qd, IPPROTO_TCP, TCP_NODELAY, 0);
	none();
	push_solo(1);
	script_push(qd, 50);
	settled();
	quiet(10);
	data_in(1, 101, "");
	out("P. 101+50 ack 11");
	goes_on(151);
	reset_close(qd);
}

static void large_push(void)
{
	solo("mss 1000");
	script_push(qd, 3000);
	settled();
	out(". 101+1000 ack 1");
	out(". 1101+1000 ack 1");
	out("P. 2101+1000 ack 1");
	goes_on(3101);
	reset_close(qd);
}

static void shut_down(void)
{
	solo("mss 1000");
	pass(10);
	OK(demi_shutdown(qd, SHUT_WR));
	CHECK(!tcb()->solo);
	out("F. 101 ack 1");
	quiet(189);
	pass(1);
	out("P. 1+100 ack 1"); /* it was lost, and the end with it or not */
	in(". 1 ack 102");
	in("F. 1 ack 102");
	out(". 102 ack 2");
	OK(demi_close(qd));
}

static void shut_down_for_reading(void)
{
	solo("mss 1000");
	OK(demi_shutdown(qd, SHUT_RD));
	settled();
	comes_again(1, 0);
	in(". 1 ack 101");
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	reset_close(qd);
}

/* What was pushed is sent to the end. */
static void closed(void)
{
	solo("mss 1000");
	pass(10);
	OK(demi_close(qd));
	out("F. 101 ack 1");
	quiet(189);
	pass(1);
	out("P. 1+100 ack 1");
	in(". 1 ack 101");
	out("F. 101 ack 1");
	in("F. 1 ack 102");
	out(". 102 ack 2");
	CHECK_EQ(sn->in.draining, 0);
}

static void reset_by_the_application(void)
{
	struct linger l = { 1, 0 };

	solo("mss 1000");
	OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	settled();
	OK(demi_close(qd));
	out("R. 101 ack 1");
	quiet(1000);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	all_frames_are_back();
}

/* Closed with something unread: RFC 1122 4.2.2.13 */
static void reset_for_what_is_unread(void)
{
	in_use(established("mss 1000"));
	in("P. 1+10 ack 1");
	push_solo(1);
	OK(demi_close(qd));
	out("R. 101 ack 11");
	quiet(1000);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	all_frames_are_back();
}

/* A push that is done cannot be cancelled; a pop can, and nothing changes. */
static void cancelled(void)
{
	demi_qtoken_t pop, push;

	in_use(established("mss 1000"));
	pop = pop_start(qd);
	push = script_push(qd, 100);
	out("P. 1+100 ack 1");
	CHECK_EQ(demi_cancel(push), EALREADY);
	OK(demi_cancel(pop));
	CHECK_EQ(result_now(push).qr_opcode, DEMI_OPC_PUSH);
	CHECK_EQ(result_now(pop).qr_ret, ECANCELED);
	tcb();
	comes_again(1, 0);
	goes_on(101);
	reset_close(qd);
}

/* ---- options: what is under way keeps its time, what comes then is as they say ---- */

static void option(int level, int name, int v)
{
	in_use(established("mss 1000,sackOK"));
	push_solo(1);
	pass(50);
	set_int(qd, level, name, v);
	none();
	CHECK(!tcb()->solo);
	comes_again(1, 50);
	in(". 1 ack 101");
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	script_push(qd, 100);
	tcb();
}

static void sent_at_once(void)
{
	out("P. 101+100 ack 1");
	in(". 1 ack 201");
	tcb();
	reset_close(qd);
}

static void options(void)
{
	static const struct {
		int level, name, v;
	} all[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 0 },     { IPPROTO_TCP, TCP_QUICKACK, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 5 },    { IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 5 },     { IPPROTO_TCP, TCP_USER_TIMEOUT, 100000 },
		{ IPPROTO_TCP, RTO_MIN_US, 300000 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ SOL_SOCKET, SO_RCVBUF, 100000 },   { DEMI_SOL, DEMI_SO_MAXSEGS, 2 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		option(all[i].level, all[i].name, all[i].v);
		sent_at_once();
		forget_results();
	}
}

static void corked(void)
{
	option(IPPROTO_TCP, TCP_CORK, 1);
	CHECK(!tcb()->solo);
	quiet(199);
	pass(1);
	out("P. 101+100 ack 1");
	in(". 1 ack 201");
	reset_close(qd);
}

static void smaller_segments(void)
{
	in_use(established("mss 1000"));
	result_now(script_push(qd, 250));
	CHECK(tcb()->solo);
	out("P. 1+250 ack 1");
	set_int(qd, IPPROTO_TCP, TCP_MAXSEG, 100);
	CHECK(!tcb()->solo);
	pass(200);
	out(". 1+100 ack 1");
	in(". 1 ack 101");
	out(". 101+100 ack 1");
	out("P. 201+50 ack 1");
	goes_on(251);
	in(". 1 ack 351");
	script_push(qd, 120);
	out(". 351+100 ack 1");
	out("P. 451+20 ack 1");
	reset_close(qd);
}

static void other_headers(void)
{
	solo("mss 1000");
	set_int(qd, IPPROTO_IP, IP_TOS, 0xb8);
	set_int(qd, IPPROTO_IP, IP_TTL, 7);
	comes_again(1, 0);
	CHECK_EQ(last_packet[1], 0xb8);
	CHECK_EQ(last_packet[8], 7);
	goes_on(101);
	CHECK_EQ(last_packet[1], 0xb8);
	CHECK_EQ(last_packet[8], 7);
	set_int(qd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	comes_again(101, 0);
	CHECK_EQ(last_packet[6], 0);
	reset_close(qd);
}

static void other_congestion_control(void)
{
	solo("mss 1000");
	OK(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	settled();
	comes_again(1, 0);
	goes_on(101);
	reset_close(qd);
}

/* RFC 5482: it counts from when the push was sent, and ends the connection in time. */
static void user_timeout(void)
{
	demi_qresult_t qr;
	demi_qtoken_t pop;

	solo("mss 1000");
	pass(50);
	set_int(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
	pop = pop_start(qd);
	pass(949);
	pending(pop);
	pass(1);
	qr = result_now(pop);
	check_failed(&qr, ETIMEDOUT);
	out_any();
	OK(demi_close(qd));
}

/* RFC 1122 4.2.3.6: what is under way finds out by itself; then the idle time begins. */
static void keepalive(void)
{
	listening();
	set_int(script_listener, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(script_listener, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	in_use(accepted("mss 1000"));
	OK(demi_close(script_listener));
	pass(900);
	script_push(qd, 100); /* after a pause: the long way */
	out("P. 1+100 ack 1");
	pass(10);
	in(". 1 ack 101");
	push_solo(101);
	comes_again(101, 0); /* and no probe, though a second has passed */
	goes_on(201);
	in(". 1 ack 301");
	quiet(999);
	pass(1);
	out(". 300 ack 1");
	reset_close(qd);
}

/* ---- the peer ---- */

static void reset_by_the_peer(void)
{
	solo("mss 1000");
	in("R. 1 ack 101");
	pop_fails(qd, ECONNRESET);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	all_frames_are_back();
	quiet(1000);
	OK(demi_close(qd));
}

/* The answer is the end of its stream. */
static void end_of_the_peer(void)
{
	solo("mss 1000");
	pass(10);
	in("F. 1 ack 101");
	CHECK(!tcb()->solo);
	out(". 101 ack 2");
	popped(qd, 2, 0);
	script_push(qd, 100);
	CHECK(!tcb()->solo); /* it is CLOSE-WAIT */
	out("P. 101+100 ack 2");
	in(". 2 ack 201");
	OK(demi_close(qd));
	out("F. 201 ack 2");
	in(". 2 ack 202");
}

/* The end comes, the acknowledgement does not. */
static void end_of_the_peer_alone(void)
{
	solo("mss 1000");
	in("F. 1 ack 1");
	out(". 101 ack 2");
	comes_again(1, 0);
	in(". 2 ack 101");
	reset_close(qd);
}

/* ---- who else ends it ---- */

static void stack_ends(void)
{
	solo("mss 1000"); /* the case is over: script_end() */
}

static void device_is_gone(void)
{
	demi_qresult_t qr;
	demi_qtoken_t pop;

	solo("mss 1000");
	pop = pop_start(qd);
	demi_inet_device_gone(&sn->in, ENODEV);
	qr = result_now(pop);
	check_failed(&qr, ENODEV);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	all_frames_are_back();
	OK(demi_close(qd));
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(second_push);
	RUN(second_push_of_which_the_first_is_lost);
	RUN(second_push_waits);
	RUN(large_push);
	RUN(shut_down);
	RUN(shut_down_for_reading);
	RUN(closed);
	RUN(reset_by_the_application);
	RUN(reset_for_what_is_unread);
	RUN(cancelled);
	RUN(options);
	RUN(corked);
	RUN(smaller_segments);
	RUN(other_headers);
	RUN(other_congestion_control);
	RUN(user_timeout);
	RUN(keepalive);
	RUN(reset_by_the_peer);
	RUN(end_of_the_peer);
	RUN(end_of_the_peer_alone);
	RUN(stack_ends);
	RUN(device_is_gone);
	return script_done();
}
