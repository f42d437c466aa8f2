/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/*
 * The congestion window: RFC 5681, 3465, 6928, 7661; 9438 (CUBIC) and 9406 (HyStart++) against the formulas in floating
 * point; 3168 and 8257 (DCTCP). A segment has 1000 bytes.
 */
#include "script.h"
#include "tcb.h"

static int qd;

static uint32_t cwnd(void)
{
	return tcb_of(qd)->cwnd;
}

static void with_cc(const char *name, const char *opts)
{
	listening();
	OK(demi_setsockopt(script_listener, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)));
	qd = accepted(opts);
	OK(demi_close(script_listener));
}

/* ---- slow start ---- */

static void initial_window_of_large_segments(void)
{
	sn->mtu = 9000;
	qd = established("mss 4000"); /* RFC 6928: 14600 bytes, at least two segments */
	CHECK_EQ(cwnd(), 14600);
	script_push(qd, 40000);
	out(". 1+4000 ack 1");
	out(". 4001+4000 ack 1");
	out(". 8001+4000 ack 1");
	none();
	reset_close(qd);
}

/* RFC 3465 2.2: an acknowledgement of many adds two. */
static void reno_slow_start(void)
{
	with_cc("reno", "mss 1000");
	script_push(qd, 50000);
	out_full(1, 10);
	in(". 1 ack 1001");
	CHECK_EQ(cwnd(), 11000);
	in(". 1 ack 3001");
	CHECK_EQ(cwnd(), 13000);
	in(". 1 ack 9001");
	CHECK_EQ(cwnd(), 15000);
	reset_close(qd);
}

/* RFC 9406 4.2: L = 8 */
static void cubic_slow_start(void)
{
	with_cc("cubic", "mss 1000");
	script_push(qd, 50000);
	out_full(1, 10);
	in(". 1 ack 3001");
	CHECK_EQ(cwnd(), 13000);
	in(". 1 ack 10001");
	CHECK_EQ(cwnd(), 20000);
	out_full(10001, 20);
	in(". 1 ack 30001");
	CHECK_EQ(cwnd(), 28000);
	reset_close(qd);
}

/* ---- congestion avoidance ---- */

/* One segment of ten is lost; the window is halved, and grows by a segment for each window that is acknowledged. */
static void reno_halves_and_grows_linearly(void)
{
	with_cc("reno", "mss 1000,sackOK");
	script_push(qd, 100000);
	out_full(1, 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-10001>");
	out_any();
	in(". 1 ack 10001");
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000);
	pass(10);
	inf(". 1 ack %u", tcb_of(qd)->snd_nxt - iss); /* what recovery has sent: it is over */
	CHECK_EQ(tcb_of(qd)->recovery, DEMI_TCP_OPEN);
	for (uint32_t want = cwnd(), rounds = 0; rounds < 4; rounds++, want += 1000) {
		CHECK_EQ(cwnd(), want);
		CHECK(want > 5000 && want < 11000);
		out_any();
		pass(10);
		for (uint32_t una = tcb_of(qd)->snd_una, end = tcb_of(qd)->snd_nxt; una != end; una += 1000)
			inf(". 1 ack %u", una + 1000 - iss);
	}
	reset_close(qd);
}

/* RFC 9438 4.6: beta = 0.7 */
static void cubic_keeps_seven_tenths(void)
{
	with_cc("cubic", "mss 1000,sackOK");
	script_push(qd, 100000);
	out_full(1, 10);
	pass(10);
	in(". 1 ack 1 <sack 1001-10001>");
	CHECK_EQ(tcb_of(qd)->ssthresh, 7000);
	reset_close(qd);
}

/* RFC 5681 3.1 (4), 5: never below two segments; a timeout leaves one */
static void timeout_leaves_one_segment(void)
{
	with_cc("reno", "mss 1000");
	script_push(qd, 3000);
	out_full(1, 3);
	pass(200);
	out_full(1, 1);
	CHECK_EQ(cwnd(), 1000);
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000);
	pass(400);
	out_full(1, 1);
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000); /* the same loss does not count twice */
	reset_close(qd);
}

/* ---- RFC 7661, RFC 5681 4.1 ---- */

static void unused_window_does_not_grow(void)
{
	with_cc("reno", "mss 1000");
	for (uint32_t i = 0; i < 20; i++) {
		script_push(qd, 1000);
		outf("P. %u+1000 ack 1", 1 + 1000 * i);
		inf(". 1 ack %u", 1001 + 1000 * i);
	}
	CHECK_EQ(cwnd(), 10000);
	reset_close(qd);
}

static void grown_window_is_lost_by_idling(void)
{
	uint32_t before;

	with_cc("reno", "mss 1000");
	script_push(qd, 60000);
	for (uint32_t at = 1; at < 60001; at += 2000) {
		out_any();
		inf(". 1 ack %u", at + 2000);
	}
	before = cwnd();
	CHECK(before >= 30000);
	pass(100); /* less than a timeout */
	script_push(qd, 1000);
	out_any();
	CHECK_EQ(cwnd(), before);
	in(". 1 ack 61001");
	pass(450); /* two timeouts: a quarter */
	script_push(qd, 1000);
	out_any();
	CHECK_EQ(cwnd(), before / 4 > 10000 ? before / 4 : 10000);
	in(". 1 ack 62001");
	pass(10000);
	script_push(qd, 20000);
	out_full(62001, 10);
	none();
	CHECK_EQ(cwnd(), 10000); /* the initial window, not less */
	CHECK(tcb_of(qd)->ssthresh >= before * 3 / 4);
	reset_close(qd);
}

/* ---- CUBIC against RFC 9438's formulas ---- */

/* A connection by hand: only what congestion control looks at. */
struct bench {
	struct demi_inet in;
	struct demi_tcp t;
};

static struct bench *bench_new(uint32_t window)
{
	struct bench *b = calloc(1, sizeof(*b));

	CHECK(b);
	b->t.s.in = &b->in;
	b->in.now_ns = 1000000 * NET_MS;
	b->t.mss = 1000;
	b->t.cwnd = window;
	b->t.ssthresh = INT32_MAX;
	b->t.cc = &demi_cc_cubic;
	b->t.cc->init(&b->t);
	return b;
}

static double cube(double x)
{
	return x * x * x;
}

static double cube_root_of(double x)
{
	double r = x > 1 ? x : 1;

	for (int i = 0; i < 200; i++)
		r -= (r * r * r - x) / (3 * r * r);
	return r;
}

/* The window follows W_cubic(t) = C (t - K)^3 + W_max, where that is above Reno's. */
static void cubic_curve(uint32_t segments, uint32_t rtt_ms, uint32_t rounds)
{
	struct bench *b = bench_new(segments * 1000);
	double w_max = segments, k, w_est, start;

	b->t.srtt_us = rtt_ms * 8000;
	b->t.ssthresh = b->t.cwnd = b->t.cc->ssthresh(&b->t);
	start = w_est = b->t.cwnd / 1000.0;
	k = cube_root_of((w_max - start) / 0.4);
	for (uint32_t i = 1; i <= rounds; i++) {
		uint32_t window = b->t.cwnd;
		double at = (i - 1) * rtt_ms / 1000.0, w = 0.4 * cube(at + rtt_ms / 1000.0 - k) + w_max;

		/* a window of data is acknowledged, two segments at a time */
		for (uint32_t done = 0; done < window; done += 2000)
			b->t.cc->acked(&b->t, 2000, rtt_ms * 1000);
		w_est += w_est < w_max ? 0.529 : 1;
		w = w > w_est ? w : w_est;
		CHECK(b->t.cwnd / 1000.0 <= w * 1.04 + 1.5);
		if (i > 3)
			CHECK(b->t.cwnd / 1000.0 >= w * 0.90 - 2.5);
		b->in.now_ns += rtt_ms * NET_MS;
	}
	free(b);
}

static void cubic_long_fat_path(void)
{
	cubic_curve(1000, 100, 150); /* K = 9.1 s: concave, flat, convex */
}

static void cubic_medium_path(void)
{
	cubic_curve(200, 50, 200);
}

static void cubic_short_path_is_reno(void)
{
	cubic_curve(20, 2, 100);
}

/* 4.7: the window was smaller than before the last loss: others have come */
static void cubic_fast_convergence(void)
{
	struct bench *b = bench_new(100000);

	CHECK_EQ(b->t.cc->ssthresh(&b->t), 70000);
	b->t.cwnd = b->t.ssthresh = 80000;
	b->t.srtt_us = 100 * 8000;
	CHECK_EQ(b->t.cc->ssthresh(&b->t), 56000);
	b->t.cwnd = b->t.ssthresh = 56000;
	/* the plateau is at 80 * 0.85 = 68, not at 80: K = cbrt(12 / 0.4) = 3.1 s; in between the window stays below */
	for (int i = 0; i < 31; i++) {
		for (uint32_t done = 0, window = b->t.cwnd; done < window; done += 1000)
			b->t.cc->acked(&b->t, 1000, 100000);
		b->in.now_ns += 100 * NET_MS;
	}
	CHECK(b->t.cwnd >= 67000 && b->t.cwnd <= 73000);
	free(b);
}

/* The reduction was not called for: the curve goes on where it was. */
static void cubic_undo(void)
{
	struct bench *b = bench_new(100000);
	uint32_t after;

	b->t.srtt_us = 100 * 8000;
	b->t.ssthresh = b->t.cwnd = b->t.cc->ssthresh(&b->t); /* W_max = 100 */
	for (int i = 0; i < 20; i++) {
		for (uint32_t done = 0, window = b->t.cwnd; done < window; done += 1000)
			b->t.cc->acked(&b->t, 1000, 100000);
		b->in.now_ns += 100 * NET_MS;
	}
	after = b->t.cwnd;
	CHECK(after < 100000);
	b->t.cc->ssthresh(&b->t);
	b->t.cc->undo(&b->t);
	b->t.cwnd = after;
	CHECK_EQ(b->t.cc->ssthresh(&b->t), after * 7 / 10);
	b->t.cwnd = b->t.ssthresh = after * 7 / 10;
	b->t.cc->undo(&b->t); /* W_max is 100 again */
	for (int i = 0; i < 45; i++) {
		for (uint32_t done = 0, window = b->t.cwnd; done < window; done += 1000)
			b->t.cc->acked(&b->t, 1000, 100000);
		b->in.now_ns += 100 * NET_MS;
	}
	CHECK(b->t.cwnd >= 95000 && b->t.cwnd <= 106000);
	free(b);
}

/* ---- HyStart++, RFC 9406 4.3 ---- */

/* A round trip of @n segments, each acknowledged with a sample of @rtt_us. */
static void round_of(struct bench *b, uint32_t n, uint32_t rtt_us)
{
	b->t.snd_nxt = b->t.snd_una + n * 1000;
	for (uint32_t i = 0; i < n; i++) {
		b->t.snd_una += 1000;
		b->t.snd_nxt += 1000;
		b->t.cc->acked(&b->t, 1000, rtt_us);
	}
	b->in.now_ns += rtt_us * 1000ULL;
}

static void hystart_even_path(void)
{
	struct bench *b = bench_new(10000);
	uint32_t n = 10;

	for (int i = 0; i < 8; i++, n *= 2) {
		round_of(b, n, 50000 + (uint32_t)(i % 2) * 1000);
		CHECK(b->t.cwnd >= n * 1900); /* doubled */
	}
	CHECK_EQ(b->t.ssthresh, INT32_MAX);
	free(b);
}

/* The round trip grows by an eighth: conservative slow start, a quarter as fast; five rounds of it end slow start. */
static void hystart_ends_slow_start(void)
{
	struct bench *b = bench_new(32000);
	uint32_t rounds = 0, before;

	round_of(b, 32, 40000);
	round_of(b, 64, 40000);
	CHECK(b->t.cwnd >= 120000);
	round_of(b, 128, 46000); /* the threshold is 5 ms */
	while (b->t.ssthresh == INT32_MAX && rounds < 20) {
		before = b->t.cwnd;
		round_of(b, before / 1000, 46000);
		if (b->t.ssthresh == INT32_MAX)
			CHECK(b->t.cwnd <= before + before / 4 + 2000 && b->t.cwnd >= before + before / 4 - 2000);
		rounds++;
	}
	CHECK(rounds >= 4 && rounds <= 6);
	CHECK(b->t.ssthresh <= b->t.cwnd);
	free(b);
}

/* A round trip that was long by chance: back to slow start. */
static void hystart_goes_back(void)
{
	struct bench *b = bench_new(32000);
	uint32_t before;

	round_of(b, 32, 40000);
	round_of(b, 64, 40000);
	round_of(b, 128, 46000);
	before = b->t.cwnd;
	round_of(b, 40, 46000);
	CHECK(b->t.cwnd <= before + 12000); /* conservative */
	for (int i = 0; i < 4; i++)
		round_of(b, 40, 40000);
	before = b->t.cwnd;
	for (int i = 0; i < 3; i++)
		round_of(b, 40, 40000);
	CHECK_EQ(b->t.cwnd, before + 120000);
	CHECK_EQ(b->t.ssthresh, INT32_MAX);
	free(b);
}

/* Less than 4 ms more is noise, whatever share it is. */
static void hystart_short_path(void)
{
	struct bench *b = bench_new(32000);

	round_of(b, 32, 1000);
	round_of(b, 64, 1000);
	for (int i = 0; i < 8; i++)
		round_of(b, 64, 4500);
	CHECK_EQ(b->t.cwnd, 32000 + 96000 + 8 * 64000);
	free(b);
}

/* ---- ECN: RFC 3168 ---- */

static void with_ecn(const char *cc)
{
	listening();
	OK(demi_setsockopt(script_listener, IPPROTO_TCP, TCP_CONGESTION, cc, (socklen_t)strlen(cc)));
	in("SEW 0 <mss 1000,sackOK>");
	out("SE. 0 ack 1");
	pass(10);
	in(". 1 ack 1");
	qd = result_now(start_accept(script_listener)).qr_value.ares.qd;
	OK(demi_close(script_listener));
}

/* 6.1.2: halved, once for a window of data; the first new segment says so */
static void ecn_echo_halves_once(void)
{
	with_ecn("reno");
	script_push(qd, 100000);
	out_full(1, 10);
	in("E. 1 ack 1001");
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000);
	for (uint32_t i = 2; i <= 10; i++)
		inf("E. 1 ack %u", 1 + 1000 * i);
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000);
	CHECK(cwnd() <= 6000);
	out("W. 10001+1000 ack 1 ce");
	out(". 11001+1000 ack 1 ce"); /* and only that one */
	out_any();
	inf("E. 1 ack %u", tcb_of(qd)->snd_nxt - iss); /* a later window */
	inf("E. 1 ack %u", tcb_of(qd)->snd_nxt - iss);
	CHECK(tcb_of(qd)->ssthresh <= 3000);
	CHECK_EQ(sn->in.count.TcpRetransSegs, 0);
	reset_close(qd);
}

/* 6.1.1.1: only with both bits, and asked for with data only when the peer agreed */
static void ecn_setup(void)
{
	demi_qtoken_t qt;

	listening();
	in("SE 0 <mss 1000>");
	out("S. 0 ack 1");
	in("R 1");
	OK(demi_close(script_listener));
	qd = node_socket(sn, AF_INET);
	OK(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "dctcp", 5));
	struct sockaddr_in a = addr4(0x0a000000U | PEER_HOST, PEER_PORT);
	OK(demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a)));
	out("SEW 0");
	pass(1000);
	out("S 0"); /* 6.1.1.1: maybe that is why nobody answered */
	in("S. 0 ack 1 <mss 1000>"); /* and the peer does not want it */
	out(". 1 ack 1");
	CHECK(!(info_of(qd).tcpi_options & TCPI_OPT_ECN));
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	CHECK(!last.ce);
	reset_close(qd);
}

/* 6.1.5, 6.1.4: neither retransmissions nor bare acknowledgements are ECN-capable */
static void ecn_only_on_new_data(void)
{
	with_ecn("reno");
	script_push(qd, 10);
	out("P. 1+10 ack 1 ce");
	pass(250);
	out("P. 1+10 ack 1"); /* the probe or the timeout */
	CHECK(!last.ce);
	in("P. 1+10 ack 11");
	pass(2);
	out(". 11 ack 11");
	CHECK(!last.ce);
	reset_close(qd);
}

/* ---- RFC 8257 ---- */

/* alpha = (1 - 1/16) alpha + 1/16 F, once a window; the window shrinks by alpha / 2 */
static void dctcp_alpha(void)
{
	uint32_t measured, before, at, end = 1;
	double alpha = 1;

	with_ecn("dctcp");
	script_push(qd, 1 << 20);
	for (at = 1001; at < 400001; at += 1000) { /* no mark: alpha decays */
		if (at >= end) /* RFC 8257 3.3 (4) */
			alpha -= alpha / 16;
		if (at >= end)
			end = tcb_of(qd)->snd_nxt - iss;
		out_any();
		inf(". 1 ack %u", at);
	}
	measured = (uint32_t)tcb_of(qd)->cc_state[0];
	CHECK(measured >= alpha * 1024 && measured <= alpha * 1024 + 15); /* fractions are cut off what is taken away */
	CHECK(alpha < 0.8);
	at = tcb_of(qd)->snd_nxt - iss - 1000;
	inf(". 1 ack %u", at); /* another window */
	alpha -= alpha / 16;
	before = cwnd();
	inf("E. 1 ack %u", at + 1000); /* a whole window, of one segment, is marked */
	measured = (uint32_t)tcb_of(qd)->cc_state[0];
	alpha += (1 - alpha) / 16;
	CHECK(measured >= alpha * 1024 * 0.95 && measured <= alpha * 1024 * 1.05);
	CHECK_EQ(tcb_of(qd)->ssthresh, before - (uint32_t)((uint64_t)before * measured / 2048));
	reset_close(qd);
}

static void dctcp_all_marked_halves(void)
{
	with_ecn("dctcp");
	script_push(qd, 100000);
	out_full(1, 10);
	in("E. 1 ack 1001");
	CHECK_EQ(tcb_of(qd)->ssthresh, 5000); /* alpha is 1 at first */
	reset_close(qd);
}

/* 3.2: each change of the mark is reported at once, with an acknowledgement of what came before it */
static void dctcp_receiver(void)
{
	with_ecn("dctcp");
	in(". 1+1000 ack 1");
	none();
	in(". 1001+1000 ack 1 ce");
	out(". 1 ack 1001");
	out("E. 1 ack 2001");
	in(". 2001+1000 ack 1 ce");
	pass(2);
	out("E. 1 ack 3001");
	in(". 3001+1000 ack 1");
	out_any();
	in(". 4001+1000 ack 1");
	in(". 5001+1000 ack 1");
	out(". 1 ack 6001");
	reset_close(qd);
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(initial_window_of_large_segments);
	RUN(reno_slow_start);
	RUN(cubic_slow_start);
	RUN(reno_halves_and_grows_linearly);
	RUN(cubic_keeps_seven_tenths);
	RUN(timeout_leaves_one_segment);
	RUN(unused_window_does_not_grow);
	RUN(grown_window_is_lost_by_idling);
	RUN(cubic_long_fat_path);
	RUN(cubic_medium_path);
	RUN(cubic_short_path_is_reno);
	RUN(cubic_fast_convergence);
	RUN(cubic_undo);
	RUN(hystart_even_path);
	RUN(hystart_ends_slow_start);
	RUN(hystart_goes_back);
	RUN(hystart_short_path);
	RUN(ecn_echo_halves_once);
	RUN(ecn_setup);
	RUN(ecn_only_on_new_data);
	RUN(dctcp_alpha);
	RUN(dctcp_all_marked_halves);
	RUN(dctcp_receiver);
	return script_done();
}
