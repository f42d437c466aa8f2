/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* The counters of TCP. */
#include "tcb.h"

#include "count.h"

#include "inet/tcp_timewait.h"

COUNT(TcpActiveOpens)
{
	demi_qtoken_t qt;

	mark();
	qd = script_connect(&qt);
	done();
	out("S 0");
	OK(demi_close(qd));
}

static void passive_open(void)
{
	listening();
	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	mark();
	in(". 1 ack 1");
	done();
	OK(demi_close(script_listener));
	out_any();
}

COUNT(TcpPassiveOpens)
{
	passive_open();
}

COUNT(TcpCurrEstab)
{
	passive_open();
	CHECK_EQ(sn->in.count.TcpCurrEstab, 0); /* and one less when it is over */
}

COUNT(TcpAttemptFails)
{
	demi_qtoken_t qt;

	qd = script_connect(&qt);
	out("S 0");
	mark();
	in("R. 0 ack 1");
	done();
	OK(demi_close(qd));
}

COUNT(TcpEstabResets)
{
	qd = established("mss 1000");
	mark();
	in("R 1");
	done();
	OK(demi_close(qd));
}

COUNT(TcpInSegs)
{
	reset_to_nobody();
}

COUNT(TcpOutSegs)
{
	answer_to_nobody();
}

COUNT(TcpOutRsts)
{
	answer_to_nobody();
}

COUNT(TcpInErrs)
{
	struct seg g = parse_seg("R 5");
	uint32_t n = build_seg(&g, pkt);

	pkt[32] = 0x40; /* a header of 16 bytes */
	set_sums(pkt, n);
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(TcpInCsumErrors)
{
	struct seg g = parse_seg("R 5");
	uint32_t n = build_seg(&g, pkt);

	pkt[36] ^= 1;
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

static void timeout_of_a_segment(const char *opts)
{
	qd = established(opts);
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	mark();
	pass(210);
	done();
	out_any();
	reset_close(qd);
}

COUNT(TcpRetransSegs)
{
	timeout_of_a_segment("mss 1000");
}

COUNT(TcpExtTCPTimeouts)
{
	timeout_of_a_segment("mss 1000");
}

/* A listener whose table is full. */
static int full_listener(void)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);
	struct seg g = parse_seg("S 0 <mss 1000>");
	uint32_t n = build_seg(&g, pkt);

	put32(pkt + 12, 0x0a000000U | 77);
	set_sums(pkt, n);
	node_receive(sn, pkt, n, NULL);
	out_any();
	return l;
}

COUNT(TcpExtSyncookiesSent)
{
	int l = full_listener();

	mark();
	in("S 0 <mss 1000>");
	done();
	OK(demi_close(l));
	out_any();
}

COUNT(TcpExtSyncookiesRecv)
{
	int l = full_listener();

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	mark();
	in(". 1 ack 1");
	done();
	OK(demi_close(l));
	out_any();
}

COUNT(TcpExtSyncookiesFailed)
{
	int l = full_listener();

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	mark();
	in(". 1 ack 77");
	done();
	OK(demi_close(l));
	out_any();
}

COUNT(TcpExtListenOverflows)
{
	int l = node_listen(sn, AF_INET, STACK_PORT, 1);
	struct seg g = parse_seg("S 0 <mss 1000>");
	uint32_t n;

	in("S 0 <mss 1000>");
	out("S. 0 ack 1");
	in(". 1 ack 1"); /* nobody accepts it */
	n = build_seg(&g, pkt);
	put32(pkt + 12, 0x0a000000U | 77);
	set_sums(pkt, n);
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
	none();
	OK(demi_close(l));
	out_any();
}

static void to_time_wait(void)
{
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
}

COUNT(TcpExtTW)
{
	qd = established("mss 1000");
	mark();
	to_time_wait();
	done();
}

COUNT(TcpExtTWRecycled)
{
	listening();
	qd = accepted("mss 1000");
	to_time_wait();
	mark();
	in("S 5000 <mss 1000>");
	done();
	OK(demi_close(script_listener));
	out_any();
}

/* One peer port after the other, until there is no room: the oldest one goes early. */
COUNT(TcpExtTCPTimeWaitOverflow)
{
	uint64_t overflows;

	listening();
	for (uint32_t i = 0; i <= DEMI_TCP_TW_MAX; i++) {
		demi_qtoken_t qt = start_accept(script_listener);
		static const char *const segs[] = { "S 0 <mss 1000>", ". 1 ack 1", "F. 1 ack 1", ". 2 ack 2" };

		for (int k = 0; k < 4; k++) {
			struct seg g = parse_seg(segs[k]);
			uint32_t n = build_seg(&g, pkt);
			struct packet *p;

			if (i == DEMI_TCP_TW_MAX && k == 3)
				mark();
			put16(pkt + 20, 6000 + i);
			set_sums(pkt, n);
			node_receive(sn, pkt, n, NULL);
			node_pump(sn);
			if (k == 0) {
				p = node_take(sn);
				CHECK(p);
				iss = get32(p->data + 24);
				free(p);
			} else if (k == 1) {
				qd = result_now(qt).qr_value.ares.qd;
				OK(demi_close(qd));
			}
			out_any();
		}
	}
	done();
	overflows = sn->in.count.TcpExtTCPTimeWaitOverflow;
	CHECK_EQ(overflows, 1);
	CHECK_EQ(sn->in.count.TcpExtTW, DEMI_TCP_TW_MAX + 1);
	OK(demi_close(script_listener));
}

COUNT(TcpExtPAWSEstab)
{
	qd = established("mss 1000,ts");
	mark();
	in("P. 1+10 ack 1 <ts 1>");
	done();
	reset_close(qd);
}

/* Six segments, of which the first is lost. */
static void fast_recovery(void)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 6000);
	out_any();
	pass(10);
	mark();
	in(". 1 ack 1 <sack 1001-6001>");
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPFastRecovery)
{
	fast_recovery();
}

COUNT(TcpExtTCPSpuriousRTOs)
{
	qd = established("mss 1000");
	script_push(qd, 4000);
	out_any();
	pass(200);
	out_any();
	mark();
	in(". 1 ack 3001"); /* more than was sent again */
	done();
	reset_close(qd);
}

/* The last of three is lost; the probe is it. */
static void tail_loss(void)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 3000);
	out_any();
	pass(10);
	in(". 1 ack 2001");
}

COUNT(TcpExtTCPLossProbes)
{
	tail_loss();
	mark();
	pass(230);
	done();
	out_any();
	reset_close(qd);
}

COUNT(TcpExtTCPLossProbeRecovery)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 3000);
	out_any();
	pass(30);
	out_any();
	in(". 1 ack 3001");
	script_push(qd, 1000);
	out_any();
	mark();
	in(". 1 ack 4001"); /* nobody has said that the probe came twice: it has repaired a loss */
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPDSACKRecv)
{
	qd = established("mss 1000,sackOK");
	script_push(qd, 1000);
	out_any();
	in(". 1 ack 1001");
	mark();
	in(". 1 ack 1001 <sack 1-1001>");
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPOFOQueue)
{
	qd = established("mss 1000,sackOK");
	mark();
	in(". 1001+10 ack 1");
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPOFODrop)
{
	listening();
	set_int(script_listener, DEMI_SOL, DEMI_SO_READAHEAD, 4096);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	for (uint32_t i = 0; i < 4; i++) /* of 2 KiB each: as much as there may be */
		inf(". %u+600 ack 1", 11 + 700 * i);
	out_any();
	mark();
	in(". 3001+600 ack 1");
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPChallengeACK)
{
	qd = established("mss 1000");
	mark();
	in("R 2");
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPAbort)
{
	qd = established("mss 1000");
	mark();
	reset_close(qd);
	done();
}

COUNT(TcpExtTCPAbortOnData)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	mark();
	in("P. 1+10 ack 2");
	done();
	out_any();
}

COUNT(TcpExtTCPKeepAlive)
{
	qd = established("mss 1000");
	set_int(qd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
	set_int(qd, SOL_SOCKET, SO_KEEPALIVE, 1);
	mark();
	pass(5010);
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPWinProbe)
{
	script_win = 0;
	qd = established("mss 1000");
	script_push(qd, 10);
	mark();
	pass(210);
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPMTUPFail)
{
	qd = established("mss 1400");
	script_push(qd, 1400);
	pass(200 + 400);
	mark();
	pass(800);
	done();
	reset_close(qd);
}

COUNT(TcpExtTCPMTUPSuccess)
{
	qd = established("mss 1400");
	demi_tcp_mtu_lower(tcb_of(qd), 1040);
	tcb_of(qd)->pmtu_ns = 0;
	script_push(qd, 5400);
	mark();
	in(". 1 ack 5401");
	done();
	reset_close(qd);
}

static bool mine(const char *name)
{
	return !strncmp(name, "Tcp", 3);
}

int main(void)
{
	static const struct counted all[] = {
		COUNTED(TcpActiveOpens) COUNTED(TcpPassiveOpens) COUNTED(TcpCurrEstab) COUNTED(TcpAttemptFails) COUNTED(
			TcpEstabResets) COUNTED(TcpInSegs) COUNTED(TcpOutSegs) COUNTED(TcpOutRsts) COUNTED(TcpInErrs)
			COUNTED(TcpInCsumErrors) COUNTED(TcpRetransSegs) COUNTED(TcpExtTCPTimeouts) COUNTED(
				TcpExtSyncookiesSent) COUNTED(TcpExtSyncookiesRecv) COUNTED(TcpExtSyncookiesFailed)
				COUNTED(TcpExtListenOverflows) COUNTED(TcpExtTW) COUNTED(TcpExtTWRecycled) COUNTED(
					TcpExtTCPTimeWaitOverflow) COUNTED(TcpExtPAWSEstab)
					COUNTED(TcpExtTCPFastRecovery) COUNTED(TcpExtTCPSpuriousRTOs) COUNTED(
						TcpExtTCPLossProbes) COUNTED(TcpExtTCPLossProbeRecovery)
						COUNTED(TcpExtTCPDSACKRecv) COUNTED(TcpExtTCPOFOQueue) COUNTED(
							TcpExtTCPOFODrop) COUNTED(TcpExtTCPChallengeACK)
							COUNTED(TcpExtTCPAbort) COUNTED(TcpExtTCPAbortOnData)
								COUNTED(TcpExtTCPKeepAlive) COUNTED(TcpExtTCPWinProbe)
									COUNTED(TcpExtTCPMTUPFail)
										COUNTED(TcpExtTCPMTUPSuccess)
	};

	return count_all(all, sizeof(all) / sizeof(all[0]), mine);
}
