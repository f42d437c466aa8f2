/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* ICMP errors about TCP's segments: RFC 1122 4.2.3.9, RFC 5927, RFC 1191, RFC 4821. */
#include "icmp4.h"

static int qd;

static demi_qtoken_t start_connect(void)
{
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	demi_qtoken_t qt;

	qd = node_socket(sn, AF_INET);
	OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
	out("S 0");
	return qt;
}

static void connect_refused(void)
{
	demi_qtoken_t qt = start_connect();
	demi_qresult_t qr;

	icmp(3, 3, 0, 0);
	qr = result_now(qt);
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

static void connect_unreachable(void)
{
	demi_qtoken_t qt = start_connect();
	demi_qresult_t qr;

	icmp(3, 1, 0, 0);
	qr = result_now(qt);
	check_failed(&qr, EHOSTUNREACH);
	OK(demi_close(qd));
}

static void guessed_number(void)
{
	demi_qtoken_t qt = start_connect();

	icmp(3, 3, 0, 5);
	icmp(3, 3, 0, 0U - 1);
	pending(qt);
	OK(demi_close(qd));
}

static void established_survives(void)
{
	demi_qtoken_t pop;
	demi_qresult_t qr;

	qd = established("mss 1000");
	pop = pop_start(qd);
	script_push(qd, 100);
	out("P. 1+100 ack 1");
	icmp(3, 3, 0, 1);
	icmp(3, 1, 0, 1);
	pending(pop);
	in(". 1 ack 101");
	/* but it says why nothing gets through */
	script_push(qd, 100);
	icmp(3, 1, 0, 101);
	pass(1200 * 1000);
	qr = result_now(pop);
	check_failed(&qr, EHOSTUNREACH);
	while (sn->out_head)
		free(node_take(sn));
	OK(demi_close(qd));
}

static void path_mtu(void)
{
	qd = established("mss 1400");
	script_push(qd, 2800);
	out(". 1+1400 ack 1");
	out("P. 1401+1400 ack 1");
	icmp(3, 4, 1040, 1);
	out(". 1+1000 ack 1");
	out(". 1001+400 ack 1");
	out(". 1401+1000 ack 1");
	out(". 2401+400 ack 1");
	none();
	in(". 1 ack 2801");
	script_push(qd, 1100);
	out(". 2801+1000 ack 1");
	out("P. 3801+100 ack 1");
	reset_close(qd);
}

static void path_mtu_guessed(void)
{
	qd = established("mss 1400");
	script_push(qd, 1400);
	out("P. 1+1400 ack 1");
	icmp(3, 4, 600, 1401);
	icmp(3, 4, 600, 0);
	icmp(3, 4, 9000, 1); /* not smaller */
	none();
	icmp(3, 4, 68, 1); /* smaller than anybody has to take */
	out(". 1+512 ack 1");
	reset_close(qd);
}

/* ---- whether it takes more again: RFC 4821 ---- */

/* The path took 1,040 bytes ten minutes ago. Of 5,400 bytes, from 1401 on, the first 1,400 are a larger segment. */
static void try_more(const char *opts)
{
	qd = established(opts);
	script_push(qd, 1400);
	out("P. 1+1400 ack 1");
	icmp(3, 4, 1040, 1);
	out(". 1+1000 ack 1");
	out("P. 1001+400 ack 1");
	in(". 1 ack 1401");
	pass(599 * 1000);
	script_push(qd, 5400);
	for (uint32_t seq = 1401; seq <= 5401; seq += 1000)
		outf(". %u+1000 ack 1", seq);
	out("P. 6401+400 ack 1");
	in(". 1 ack 6801");
	pass(1000);
	script_push(qd, 5400);
	out(". 6801+1400 ack 1");
	out(". 8201+1000 ack 1");
	out(". 9201+1000 ack 1");
	out(". 10201+1000 ack 1");
	out("P. 11201+1000 ack 1");
}

static void larger_again(void)
{
	try_more("mss 1400");
	in(". 1 ack 12201");
	script_push(qd, 2800);
	out(". 12201+1400 ack 1");
	out("P. 13601+1400 ack 1");
	reset_close(qd);
}

/* It is sent again in two; the window stays; halfway up is tried next, as soon as there is enough to send. */
static void not_that_large(void)
{
	out(". 6801+1000 ack 1");
	out(". 7801+400 ack 1");
	none();
	in(". 1 ack 12201");
	script_push(qd, 10000);
	out(". 12201+1200 ack 1");
	for (uint32_t seq = 13401; seq <= 20401; seq += 1000)
		outf(". %u+1000 ack 1", seq);
	out("P. 21401+800 ack 1");
	in(". 1 ack 22201");
	script_push(qd, 1200);
	out("P. 22201+1200 ack 1");
	reset_close(qd);
}

static void lost_with_sack(void)
{
	try_more("mss 1400,sackOK");
	in(". 1 ack 6801 <sack 8201-9201>");
	in(". 1 ack 6801 <sack 8201-10201>");
	in(". 1 ack 6801 <sack 8201-11201>");
	not_that_large();
}

static void lost_without_sack(void)
{
	try_more("mss 1400");
	in(". 1 ack 6801");
	in(". 1 ack 6801");
	in(". 1 ack 6801");
	not_that_large();
}

/* Another is lost, too: that is congestion, and says nothing of sizes. */
static void lost_with_another(void)
{
	try_more("mss 1400,sackOK");
	in(". 1 ack 6801 <sack 9201-10201>");
	in(". 1 ack 6801 <sack 9201-11201>");
	in(". 1 ack 6801 <sack 9201-12201>");
	out(". 6801+1000 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPMTUPFail, 0);
	reset_close(qd);
}

static void lost_to_a_timeout(void)
{
	try_more("mss 1400");
	pass(250);
	out(". 6801+1000 ack 1");
	in(". 1 ack 7801");
	out(". 7801+400 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPMTUPFail, 1);
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(connect_refused);
	RUN(connect_unreachable);
	RUN(guessed_number);
	RUN(established_survives);
	RUN(path_mtu);
	RUN(path_mtu_guessed);
	RUN(larger_again);
	RUN(lost_with_sack);
	RUN(lost_without_sack);
	RUN(lost_with_another);
	RUN(lost_to_a_timeout);
	return script_done();
}
