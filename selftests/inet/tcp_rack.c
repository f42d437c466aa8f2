/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * Who is lost, and how fast it is sent again, by the number: RFC 8985 (RACK-TLP), 6937 (PRR), 6675, 6582, 5682 (F-RTO).
 * A segment has 1000 bytes; the handshake has taken 10 ms.
 */
#include "script.h"
#include "tcb.h"

static int qd;

/* Data under way: @n segments from number 1 on; the round trip is known from the handshake. */
static void under_way(const char *opts, uint32_t n)
{
	qd = established(opts);
	script_push(qd, n * 1000);
	out_any();
}

static uint32_t resent(void)
{
	return (uint32_t)sn->in.count.TcpRetransSegs;
}

/* ---- RFC 8985 6.2: the reordering window ---- */

/* Nothing has been seen to overtake: three segments above are enough, as of old. */
static void three_above(void)
{
	under_way("mss 1000,sackOK", 8);
	pass(10);
	in(". 1 ack 1 <sack 1001-2001>");
	in(". 1 ack 1 <sack 1001-3001>");
	none();
	in(". 1 ack 1 <sack 1001-4001>");
	out_full(1, 1);
	none();
	reset_close(qd);
}

/* Fewer: a quarter of the shortest round trip later */
static void a_quarter_of_a_round_trip(void)
{
	under_way("mss 1000,sackOK", 3);
	pass(10);
	in(". 1 ack 1 <sack 1001-2001>");
	pass_us(1249); /* an eighth of the smoothed one is the limit at first: srtt / 8 */
	none();
	pass_us(1251);
	out_full(1, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

/* Reordering was seen: three segments are not enough any more, time is. */
static void reordering_was_seen(void)
{
	under_way("mss 1000,sackOK", 8);
	pass(10);
	in(". 1 ack 1 <sack 1001-2001>");
	in(". 1 ack 2001"); /* it was only late: never sent again, and behind what came first */
	CHECK(tcb_of(qd)->reo_seen);
	in(". 1 ack 2001 <sack 3001-6001>");
	none();
	in(". 1 ack 2001 <sack 3001-7001>");
	none();
	pass(3);
	out_full(2001, 1);
	reset_close(qd);
}

static void retransmissions_show_no_reordering(void)
{
	under_way("mss 1000,sackOK", 8);
	pass(10);
	in(". 1 ack 1 <sack 1001-8001>");
	out_full(1, 1);
	pass(10);
	in(". 1 ack 8001");
	CHECK(!tcb_of(qd)->reo_seen);
	reset_close(qd);
}

/* 6.2 (4): each round trip that reports a needless retransmission widens the window by another quarter */
static void dsack_widens_the_window(void)
{
	under_way("mss 1000,sackOK", 8);
	pass(10);
	in(". 1 ack 1 <sack 1001-8001>");
	out_full(1, 1);
	CHECK_EQ(tcb_of(qd)->reo_mult, 1);
	pass(2);
	in(". 1 ack 8001");
	script_push(qd, 2000);
	in(". 1 ack 8001 <sack 1-1001>");
	CHECK_EQ(tcb_of(qd)->reo_mult, 2);
	CHECK_EQ(tcb_of(qd)->reo_persist, 16);
	in(". 1 ack 8001 <sack 1-1001>"); /* of the same round trip: once */
	CHECK_EQ(tcb_of(qd)->reo_mult, 2);
	reset_close(qd);
}

/* 6.2 (3): a loss below what was sent in the same millisecond is one by its number. */
static void sent_at_the_same_time(void)
{
	under_way("mss 1000,sackOK", 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-2001 3001-4001 5001-6001>");
	out_full(1, 1);
	out_full(2001, 1);
	out_full(4001, 1);
	none(); /* 6001 and above may be on their way */
	CHECK_EQ(resent(), 3);
	reset_close(qd);
}

/* A retransmission that is lost is found by what was sent after it. */
static void lost_again(void)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 20000);
	out_full(1, 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-9001>");
	out_full(1, 1);
	out_any(); /* and new data */
	pass(12);
	in(". 1 ack 1 <sack 1001-11001>");
	CHECK_EQ(resent(), 2);
	out_full(1, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	reset_close(qd);
}

/* ---- RFC 8985 7: probes ---- */

/* 7.2: two round trips; what they lack of the delayed acknowledgement of a single segment is added */
static void probe_after_two_round_trips(void)
{
	under_way("mss 1000,sackOK", 3);
	pass_us(21999);
	none();
	pass_us(1); /* and 2 ms for clocks */
	out_full(2001, 1);
	reset_close(qd);
}

static void one_segment_waits_longer(void)
{
	under_way("mss 1000,sackOK", 1);
	quiet(199);
	pass(1); /* 220 ms would be later than the timeout: then it is then */
	out_full(1, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbes, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 0);
	CHECK_EQ(info_of(qd).tcpi_snd_cwnd, 10);
	quiet(199);
	pass(1);
	out_full(1, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 1);
	CHECK_EQ(info_of(qd).tcpi_snd_cwnd, 1);
	reset_close(qd);
}

/* A path that has died is noticed although the application goes on. */
static void pushes_do_not_put_the_probe_off(void)
{
	qd = established("mss 1000,sackOK");
	for (int i = 0; i < 25; i++) {
		script_push(qd, 10);
		pass(10);
	}
	CHECK(sn->in.count.TcpExtTCPLossProbes == 1);
	out_any();
	reset_close(qd);
}

/* 7.3: new data rather than old, as far as the peer's window goes */
static void probe_of_new_data(void)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 30000);
	out_full(1, 10);
	pass(22);
	out_full(10001, 1);
	none();
	in(". 1 ack 11001"); /* nothing was lost: nothing happens */
	CHECK_EQ(tcb_of(qd)->ssthresh, INT32_MAX);
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbeRecovery, 0);
	CHECK_EQ(resent(), 0);
	reset_close(qd);
}

static void probe_in_a_full_window(void)
{
	script_win = 3000;
	qd = established("mss 1000,sackOK");
	script_push(qd, 30000);
	out_full(1, 3);
	pass(22);
	out_full(2001, 1); /* no room for new data: the last one again */
	none();
	reset_close(qd);
}

/* 7.4: the peer has had it twice: there was no loss */
static void probe_was_needless(void)
{
	under_way("mss 1000,sackOK", 3);
	pass(22);
	out_full(2001, 1);
	in(". 1 ack 3001");
	in(". 1 ack 3001 <sack 2001-3001>");
	script_push(qd, 1000);
	out_any();
	in(". 1 ack 4001");
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbeRecovery, 0);
	CHECK_EQ(tcb_of(qd)->ssthresh, INT32_MAX);
	reset_close(qd);
}

/* 7.4: it has repaired a loss: that is congestion all the same */
static void probe_was_needed(void)
{
	under_way("mss 1000,sackOK", 3);
	pass(22);
	out_full(2001, 1);
	in(". 1 ack 3001");
	script_push(qd, 1000);
	out_any();
	in(". 1 ack 4001");
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbeRecovery, 1);
	CHECK_EQ(tcb_of(qd)->ssthresh, 7000);
	reset_close(qd);
}

/* 7.3: one probe, then the timeout */
static void one_probe_only(void)
{
	under_way("mss 1000,sackOK", 3);
	pass(22);
	out_full(2001, 1);
	quiet(199);
	pass(1);
	out_full(1, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPLossProbes, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPTimeouts, 1);
	reset_close(qd);
}

static void no_probe_without_sack(void)
{
	under_way("mss 1000", 3);
	quiet(199);
	reset_close(qd);
}

/* ---- RFC 6937 ---- */

/*
 * Ten segments, the first is lost, cubic: ssthresh is 7. In the end for each 10 bytes that are delivered 7 are sent,
 * spread over the round trip, while more than ssthresh is under way: ceil(delivered * 7 / 10).
 */
static void prr_reduces_evenly(void)
{
	uint32_t sent, delivered = 0, start;

	qd = established("mss 1000,sackOK");
	script_push(qd, 100000);
	out_full(1, 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-2001>");
	in(". 1 ack 1 <sack 1001-3001>");
	out_any(); /* RFC 3042: two new ones */
	start = tcb_of(qd)->snd_nxt - iss;
	in(". 1 ack 1 <sack 1001-4001>");
	out_full(1, 1); /* at once, whatever the number is */
	none();
	CHECK_EQ(tcb_of(qd)->ssthresh, 7000);
	CHECK_EQ(tcb_of(qd)->prr_flight, start - 1);
	delivered = tcb_of(qd)->prr_delivered;
	for (uint32_t end = 5001; end <= 10001; end += 1000) {
		inf(". 1 ack 1 <sack 1001-%u>", end);
		delivered += 1000;
		out_any();
		sent = 1000 + tcb_of(qd)->snd_nxt - iss - start;
		CHECK_EQ(tcb_of(qd)->prr_delivered, delivered);
		if (demi_tcp_pipe(tcb_of(qd)) > 7000)
			CHECK(sent <= delivered * 7 / 10 + 1000);
	}
	CHECK(demi_tcp_pipe(tcb_of(qd)) <= 7000);
	inf(". 1 ack %u", start);
	CHECK_EQ(tcb_of(qd)->recovery, DEMI_TCP_OPEN);
	CHECK_EQ(tcb_of(qd)->cwnd, 7000);
	reset_close(qd);
}

/* Most of the flight is lost: one for one, and not a burst of what ssthresh would allow (PRR-CRB / SSRB). */
static void prr_after_a_heavy_loss(void)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 100000);
	out_full(1, 10);
	pass(10);
	in(". 1 ack 1 <sack 9001-10001>");
	out_any();
	pass(3); /* all of the others are lost */
	CHECK(resent() <= 2);
	out_any();
	pass(8);
	in(". 1 ack 1001 <sack 9001-10001>");
	CHECK(resent() >= 2 && resent() <= 4);
	reset_close(qd);
}

/* ---- RFC 6582: without SACK ---- */

/* A second loss in one window: each partial acknowledgement sends the next one, at once. */
static void newreno_three_losses(void)
{
	under_way("mss 1000", 10);
	pass(10);
	for (int i = 0; i < 3; i++)
		in(". 1 ack 1");
	out_full(1, 1);
	for (uint32_t at = 2001; at <= 6001; at += 2000) {
		pass(10);
		inf(". 1 ack %u", at);
		out_full(at, 1);
		none();
	}
	pass(10);
	in(". 1 ack 10001");
	CHECK_EQ(resent(), 4);
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 1);
	CHECK_EQ(tcb_of(qd)->cwnd, tcb_of(qd)->ssthresh);
	quiet(1000);
	reset_close(qd);
}

/* 3.2 (2): duplicates of what recovery has sent itself start no second one */
static void newreno_no_second_recovery(void)
{
	under_way("mss 1000", 10);
	pass(200);
	out_any();
	pass(10);
	in(". 1 ack 1001");
	out_any();
	for (int i = 0; i < 5; i++)
		in(". 1 ack 1001");
	CHECK_EQ(sn->in.count.TcpExtTCPFastRecovery, 0);
	reset_close(qd);
}

/* ---- RFC 5682 ---- */

/* New data tells: the timeout was right. */
static void frto_with_new_data_and_a_loss(void)
{
	qd = established("mss 1000");
	script_push(qd, 30000);
	out_full(1, 10);
	pass(200);
	out_full(1, 1);
	pass(10);
	in(". 1 ack 1001"); /* (2.b): two segments of new data, not the lost ones */
	out_full(10001, 2);
	none();
	in(". 1 ack 1001"); /* (3.a): a duplicate: it was a loss */
	out_full(1001, 1);
	CHECK_EQ(sn->in.count.TcpExtTCPSpuriousRTOs, 0);
	reset_close(qd);
}

/* And it was not: what was never sent again is acknowledged. */
static void frto_with_new_data_and_none(void)
{
	uint32_t before;

	qd = established("mss 1000");
	script_push(qd, 30000);
	out_full(1, 10);
	before = tcb_of(qd)->cwnd;
	pass(200);
	out_full(1, 1);
	CHECK_EQ(tcb_of(qd)->cwnd, 1000);
	in(". 1 ack 1001");
	out_full(10001, 2);
	in(". 1 ack 2001"); /* (3.b) */
	CHECK_EQ(sn->in.count.TcpExtTCPSpuriousRTOs, 1);
	CHECK(tcb_of(qd)->cwnd >= before);
	CHECK_EQ(tcb_of(qd)->ssthresh, INT32_MAX);
	CHECK_EQ(resent(), 1);
	reset_close(qd);
}

/* RFC 2883, 3708: every retransmission was a duplicate: the window is what it was */
static void needless_recovery_is_undone(void)
{
	under_way("mss 1000,sackOK", 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-5001>");
	out_full(1, 1);
	CHECK_EQ(tcb_of(qd)->ssthresh, 7000);
	in(". 1 ack 5001 <sack 1-1001>"); /* it had only been late, and came twice */
	CHECK_EQ(tcb_of(qd)->recovery, DEMI_TCP_OPEN);
	CHECK(tcb_of(qd)->cwnd >= 10000);
	CHECK_EQ(tcb_of(qd)->ssthresh, INT32_MAX);
	reset_close(qd);
}

/* RFC 6675 5.1, RFC 2018 8: after a timeout what was selectively acknowledged is not sent again */
static void timeout_spares_what_was_sacked(void)
{
	under_way("mss 1000,sackOK", 4);
	pass(10);
	in(". 1 ack 1 <sack 2001-3001>");
	pass(3);
	out_any(); /* by RACK */
	pass(1000);
	out_any();
	pass(10);
	in(". 1 ack 1001 <sack 2001-3001>");
	out_full(1001, 1);
	pass(10);
	in(". 1 ack 3001");
	out(". 3001+1000 ack 1"); /* and not 2001 */
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(three_above);
	RUN(a_quarter_of_a_round_trip);
	RUN(reordering_was_seen);
	RUN(retransmissions_show_no_reordering);
	RUN(dsack_widens_the_window);
	RUN(sent_at_the_same_time);
	RUN(lost_again);
	RUN(probe_after_two_round_trips);
	RUN(one_segment_waits_longer);
	RUN(pushes_do_not_put_the_probe_off);
	RUN(probe_of_new_data);
	RUN(probe_in_a_full_window);
	RUN(probe_was_needless);
	RUN(probe_was_needed);
	RUN(one_probe_only);
	RUN(no_probe_without_sack);
	RUN(prr_reduces_evenly);
	RUN(prr_after_a_heavy_loss);
	RUN(newreno_three_losses);
	RUN(newreno_no_second_recovery);
	RUN(frto_with_new_data_and_a_loss);
	RUN(frto_with_new_data_and_none);
	RUN(needless_recovery_is_undone);
	RUN(timeout_spares_what_was_sacked);
	return script_done();
}
