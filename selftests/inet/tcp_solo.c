/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* A small push is all that is under way (solo.h), and the network answers otherwise than it should, or not at all. */
#include "icmp4.h"
#include "solo.h"

/* ---- acknowledgements ---- */

static void all_of_it(const char *opts)
{
	solo(opts);
	pass(10);
	in(". 1 ack 101");
	CHECK(!tcb()->solo && !tcb()->xmit);
	CHECK_EQ(info_of(qd).tcpi_rtt, 10000);
	push_solo(101);
	pass(18);
	data_in(1, 201, "");
	CHECK_EQ(info_of(qd).tcpi_rtt, 11000);
	push_solo(201); /* with the acknowledgement */
	quiet(10);
	reset_close(qd);
}

static void acknowledged(void)
{
	all_of_it("mss 1000");
}

static void acknowledged_with_timestamps(void)
{
	all_of_it("mss 1000,ts");
}

static void some_of_it(void)
{
	solo("mss 1000");
	pass(10);
	in(". 1 ack 51");
	settled();
	CHECK_EQ(demi_ctx_self->push_bytes, 50);
	pass(300);
	out("P. 51+50 ack 1");
	goes_on(101);
	reset_close(qd);
}

static void some_of_it_with_data(void)
{
	solo("mss 1000,ts");
	pass(10);
	data_in(1, 31, "");
	settled();
	CHECK_EQ(demi_ctx_self->push_bytes, 70);
	pass(2);
	out(". 101 ack 11");
	pass(300);
	out("P. 31+70 ack 11");
	goes_on(101);
	reset_close(qd);
}

/* The segments cross. */
static void nothing_of_it_with_data(void)
{
	solo("mss 1000,sackOK");
	pass(5);
	data_in(1, 1, "");
	settled();
	pass(1);
	out(". 101 ack 11");
	comes_again(1, 6);
	goes_on(101);
	reset_close(qd);
}

/* RFC 5961 5.2 */
static void never_sent(void)
{
	solo("mss 1000");
	in(". 1 ack 102");
	out(". 101 ack 1");
	settled();
	comes_again(1, 0);
	goes_on(101);
	reset_close(qd);
}

static void reset_of_something_else(void)
{
	solo("mss 1000");
	in("R. 2 ack 101");
	out(". 101 ack 1"); /* RFC 5961 3.2 */
	settled();
	comes_again(1, 0);
	goes_on(101);
	reset_close(qd);
}

static void selectively(void)
{
	solo("mss 1000,sackOK");
	in(". 1 ack 1 <sack 1-101>");
	settled();
	CHECK_EQ(tcb()->sacked_out, 100);
	in(". 1 ack 101");
	CHECK_EQ(tcb()->sacked_out, 0);
	goes_on(101);
	reset_close(qd);
}

/* RFC 3168 6.1.2: nobody has agreed to that */
static void congestion_that_was_not_asked_for(void)
{
	uint32_t cwnd;

	solo("mss 1000");
	cwnd = tcb()->cwnd;
	in("E. 1 ack 101");
	CHECK(!tcb()->solo && tcb()->cwnd >= cwnd && tcb()->recovery == DEMI_TCP_OPEN);
	goes_on(101);
	reset_close(qd);
}

/* RFC 7323 5.3: an old one acknowledges nothing */
static void old_timestamp(void)
{
	solo("mss 1000,ts");
	in("P. 1+10 ack 101 <ts 1>");
	out(". 101 ack 1");
	CHECK_EQ(sn->in.count.TcpExtPAWSEstab, 1);
	settled();
	comes_again(1, 0);
	goes_on(101);
	reset_close(qd);
}

static void no_timestamp(void)
{
	solo("mss 1000,ts");
	in("P. 1+10 ack 101 <nots>");
	none();
	settled();
	comes_again(1, 0);
	reset_close(qd);
}

/* ---- the window ---- */

static void another_window(void)
{
	solo("mss 1000");
	in(". 1 ack 1 win 30000"); /* smaller, of the same number: not believed */
	CHECK_EQ(tcb()->snd_wnd, 65535);
	in(". 1 ack 101 win 150");
	CHECK_EQ(tcb()->snd_wnd, 150);
	push_solo(101);
	data_in(1, 201, " win 50");
	CHECK_EQ(tcb()->snd_wnd, 50);
	script_push(qd, 100); /* too much */
	CHECK(!tcb()->solo);
	pass(1);
	out(". 201 ack 11");
	none();
	in(". 11 ack 201 win 150");
	out("P. 201+100 ack 11");
	reset_close(qd);
}

static void closed_window(void)
{
	solo("mss 1000");
	data_in(1, 101, " win 0");
	CHECK_EQ(tcb()->snd_wnd, 0);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
	script_push(qd, 100);
	pass(1);
	out(". 101 ack 11");
	quiet(198);
	pass(1);
	out(". 100 ack 11"); /* RFC 9293 3.8.6.1: a probe */
	in(". 11 ack 101 win 1000");
	out("P. 101+100 ack 11");
	goes_on(201);
	reset_close(qd);
}

/* The acknowledgement does not come, the closed window does. */
static void closed_window_without_an_acknowledgement(void)
{
	solo("mss 1000");
	data_in(1, 1, " win 0");
	settled();
	pass(1);
	out(". 101 ack 11");
	comes_again(1, 1);
	goes_on(101);
	reset_close(qd);
}

/* A pop opens our window while it is out. */
static void own_window_moves(void)
{
	uint32_t seq = 1, at = 1;

	listening();
	set_int(script_listener, SOL_SOCKET, SO_RCVBUF, 8192);
	in_use(accepted("mss 1000,sackOK"));
	OK(demi_close(script_listener));
	while (tcb()->rcv_adv - tcb()->rcv_nxt >= 1000) {
		inf(". %u+1000 ack 1", seq);
		seq += 1000;
	}
	out_any();
	script_push(qd, 100);
	CHECK(tcb()->solo);
	outf("P. 1+100 ack %u", seq);
	for (; tcb()->rx_head; at += 1000)
		popped(qd, at, 1000);
	out_any();
	settled();
	CHECK(tcb()->xmit);
	in(". 1 ack 1");
	reset_close(qd);
}

/* ---- loss ---- */

static void timeout(void)
{
	solo("mss 1000");
	comes_again(1, 0);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 2);
	CHECK_EQ(tcb()->backoff, 2);
	quiet(799);
	pass(1);
	out("P. 1+100 ack 1");
	in(". 1 ack 101");
	CHECK_EQ(tcb()->backoff, 0);
	push_solo(101);
	comes_again(101, 0);
	reset_close(qd);
}

/* One after the other, each at another time of the timer: it is not later than any of them needs it. */
static void timeout_of_a_later_one(void)
{
	uint32_t seq = 1;

	solo("mss 1000");
	for (; seq < 4001; seq += 100) {
		pass(10);
		inf(". 1 ack %u", seq + 100);
		push_solo(seq + 100);
	}
	comes_again(seq, 0);
	CHECK_EQ(resent(), 2);
	reset_close(qd);
}

/* RFC 8985 7.2: after two round trips and what the peer may wait, if that is earlier than the timeout */
static void probe(void)
{
	demi_qtoken_t accept;

	listening();
	accept = start_accept(script_listener);
	in("S 0 win 65535 <mss 1000,sackOK>");
	out("S. 0 ack 1");
	pass(300);
	in(". 1 ack 1");
	in_use(result_now(accept).qr_value.ares.qd);
	OK(demi_close(script_listener));
	push_solo(1);
	quiet(799);
	pass(1);
	out("P. 1+100 ack 1");
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbes, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	pass(300);
	in(". 1 ack 101");
	CHECK(!tcb()->rec_head && !tcb()->xmit);
	reset_close(qd);
}

/* The estimate becomes shorter by an option: the timer that runs is too late. */
static void shorter_timeout(void)
{
	solo("mss 1000");
	pass(10);
	in(". 1 ack 101");
	set_int(qd, IPPROTO_TCP, RTO_MIN_US, 1000);
	push_solo(101);
	pass(10);
	in(". 1 ack 201");
	push_solo(201);
	quiet(tcb()->rto_us / 1000);
	pass(1);
	out("P. 201+100 ack 1");
	reset_close(qd);
}

static void no_frames(void)
{
	struct demi_inet_tx *tx;

	while ((tx = sn->in.tx_cache)) {
		sn->in.tx_cache = tx->next;
		CHECK(!tx->kept && !tx->out);
	}
	sn->in.tx_cached = 0;
}

/* Frames for pushes while others are with the device */
static void have_frames(void)
{
	struct demi_inet_tx *tx[8];

	for (int i = 0; i < 8; i++)
		CHECK(tx[i] = demi_inet_tx_alloc(&sn->in, 40, 0));
	for (int i = 0; i < 8; i++)
		demi_inet_tx_free(&sn->in, tx[i]);
}

/* The frame is still with the device: its memory is needed as long. */
static void still_with_the_device(void)
{
	in_use(established("mss 1000"));
	have_frames();
	sn->hold = true;
	push_solo(1);
	in(". 1 ack 101");
	CHECK(!tcb()->solo);
	CHECK_EQ(tcb()->s.inflight, 1);
	push_solo(101);
	comes_again(101, 0); /* from the memory of the first */
	in(". 1 ack 201");
	CHECK(!tcb()->rec_head && !tcb()->snd_head);
	CHECK_EQ(tcb()->s.inflight, 4);
	sn->hold = false;
	node_done(sn);
	CHECK_EQ(tcb()->s.inflight, 0);
	push_solo(201);
	reset_close(qd);
}

static int take(struct demi_pktdev *d, const struct demi_pkt *p, uint32_t n)
{
	node_send(sn, p);
	sn->held[sn->nheld++] = p->cookie;
	return 1;
}

/* The device takes it at once, and not by way of the stack's queue. */
static void straight_to_the_device(void)
{
	in_use(established("mss 1000"));
	have_frames();
	sn->in.tx = take;
	push_solo(1);
	CHECK_EQ(sn->in.flying, 1);
	in(". 1 ack 101");
	push_solo(101);
	node_done(sn);
	CHECK_EQ(sn->in.flying, 0);
	comes_again(101, 0);
	goes_on(201);
	reset_close(qd);
}

/* ---- errors ---- */

/* Nobody answers @seq: why? */
static void gives_up_with(int err)
{
	demi_qtoken_t pop = pop_start(qd);
	demi_qresult_t qr;

	pass(1200 * 1000);
	qr = result_now(pop);
	check_failed(&qr, err);
	out_any();
	OK(demi_close(qd));
}

/* RFC 5927 5.2: no error ends it; with an acknowledgement it is of no importance any more, however that comes */
static void error_that_passes(uint8_t code)
{
	solo("mss 1000");
	pass(1);
	icmp(3, code, 0, 1);
	settled();
	data_in(1, 101, "");
	CHECK_EQ(tcb()->soft_err, 0);
	push_solo(101);
	pass(1);
	gives_up_with(ETIMEDOUT);
}

static void unreachable(void)
{
	error_that_passes(1);
}

static void refused(void)
{
	error_that_passes(3);
}

static void unreachable_for_ever(void)
{
	solo("mss 1000");
	icmp(3, 1, 0, 1);
	comes_again(1, 0);
	gives_up_with(EHOSTUNREACH);
}

static void error_of_something_else(void)
{
	solo("mss 1000");
	icmp(3, 1, 0, 101);
	icmp(3, 1, 0, 0);
	CHECK_EQ(tcb()->soft_err, 0);
	comes_again(1, 0);
	reset_close(qd);
}

static void packet_too_big(void)
{
	solo("mss 1400");
	icmp(3, 4, 600, 1);
	settled();
	CHECK_EQ(tcb()->mss, 560);
	comes_again(1, 0); /* it was not that */
	goes_on(101);
	in(". 1 ack 201");
	script_push(qd, 600);
	out(". 201+560 ack 1");
	out("P. 761+40 ack 1");
	reset_close(qd);
}

/* The device says that it could not be sent. */
static void failed_frame(void)
{
	in_use(established("mss 1000"));
	sn->tx_err = EHOSTUNREACH;
	result_now(script_push(qd, 100));
	sn->tx_err = 0;
	out_any();
	settled();
	CHECK_EQ(tcb()->soft_err, EHOSTUNREACH);
	comes_again(1, 0);
	data_in(1, 101, "");
	CHECK_EQ(tcb()->soft_err, 0);
	pass(1);
	out(". 101 ack 11");
	push_solo(101);
	gives_up_with(ETIMEDOUT);
}

/* It says so when the peer has got it: the next push must not be the one to suffer. */
static void failed_frame_that_arrived(void)
{
	in_use(established("mss 1000"));
	have_frames();
	sn->hold = true;
	push_solo(1);
	data_in(1, 101, "");
	sn->hold = false;
	sn->tx_err = EHOSTUNREACH;
	node_done(sn);
	sn->tx_err = 0;
	CHECK_EQ(tcb()->soft_err, EHOSTUNREACH);
	script_push(qd, 100);
	CHECK(!tcb()->solo);
	out("P. 101+100 ack 11");
	data_in(11, 201, "");
	CHECK_EQ(tcb()->soft_err, 0);
	pass(1);
	out(". 201 ack 21");
	push_solo(201);
	reset_close(qd);
}

/* There is no memory to send it again: later there is. */
static void no_memory(void)
{
	solo("mss 1000");
	no_frames();
	sn->no_buf = true;
	quiet(300);
	settled();
	CHECK_EQ(resent(), 0);
	sn->no_buf = false;
	pass(300);
	out("P. 1+100 ack 1");
	goes_on(101);
	reset_close(qd);
}

/* The path changes, and takes less. */
static void another_route(void)
{
	solo("mss 1400");
	sn->mtu = 700;
	demi_inet_routes_changed(&sn->in);
	CHECK(tcb()->solo);
	script_push(qd, 100);
	out("P. 101+100 ack 1");
	settled();
	CHECK_EQ(tcb()->mss, 660);
	comes_again(1, 0);
	goes_on(201);
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(acknowledged);
	RUN(acknowledged_with_timestamps);
	RUN(some_of_it);
	RUN(some_of_it_with_data);
	RUN(nothing_of_it_with_data);
	RUN(never_sent);
	RUN(reset_of_something_else);
	RUN(selectively);
	RUN(congestion_that_was_not_asked_for);
	RUN(old_timestamp);
	RUN(no_timestamp);
	RUN(another_window);
	RUN(closed_window);
	RUN(closed_window_without_an_acknowledgement);
	RUN(own_window_moves);
	RUN(timeout);
	RUN(timeout_of_a_later_one);
	RUN(probe);
	RUN(shorter_timeout);
	RUN(still_with_the_device);
	RUN(straight_to_the_device);
	RUN(unreachable);
	RUN(refused);
	RUN(unreachable_for_ever);
	RUN(error_of_something_else);
	RUN(packet_too_big);
	RUN(failed_frame);
	RUN(failed_frame_that_arrived);
	RUN(no_memory);
	RUN(another_route);
	return script_done();
}
