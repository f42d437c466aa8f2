/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* Each counter of the stack, by the event that it counts: one such event, one more. */
#include "script.h"
#include "tcb.h"

#include "core/config.h"
#include "inet/tcp_timewait.h"

#include <sys/resource.h>

static struct demi_inet_counters before, after;
static uint8_t pkt[4000];
static int qd;

/* Between the two something happens, once. */
static void mark(void)
{
	node_pump(sn);
	before = sn->in.count;
}

static void done(void)
{
	node_pump(sn);
	after = sn->in.count;
}

#define COUNT(name) static void count_##name(void)

/* ---- IP ---- */

/* A packet of @proto with @len bytes behind its header, from the peer; the header's sum is right. */
static uint32_t ip_packet(uint8_t proto, const void *payload, uint32_t len)
{
	memset(pkt, 0, 40);
	if (script_six) {
		pkt[0] = 0x60;
		put16(pkt + 4, len);
		pkt[6] = proto;
		pkt[7] = 64;
		memcpy(pkt + 8, peer6_addr, 16);
		memcpy(pkt + 24, sn->addr6, 16);
		memcpy(pkt + 40, payload, len);
		return 40 + len;
	}
	pkt[0] = 0x45;
	put16(pkt + 2, 20 + len);
	pkt[8] = 64;
	pkt[9] = proto;
	put32(pkt + 12, 0x0a000000U | PEER_HOST);
	put32(pkt + 16, sn->addr4);
	put16(pkt + 10, (uint16_t)~fold16(sum16(pkt, 20)));
	memcpy(pkt + 20, payload, len);
	return 20 + len;
}

static void reset_to_nobody(void)
{
	mark();
	in("R 5");
	done();
}

static void answer_to_nobody(void)
{
	mark();
	in(". 5 ack 9");
	out("R 9");
	done();
}

COUNT(IpInReceives)
{
	reset_to_nobody();
}

COUNT(IpInDelivers)
{
	reset_to_nobody();
}

COUNT(IpOutRequests)
{
	answer_to_nobody();
}

COUNT(IpInHdrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	pkt[8]--;
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpInAddrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	put32(pkt + 12, 0xe0000001);
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~fold16(sum16(pkt, 20)));
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpInUnknownProtos)
{
	uint32_t n = ip_packet(99, "abcd", 4);

	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IpOutDiscards)
{
	sn->tx_err = ENOBUFS;
	answer_to_nobody();
	sn->tx_err = 0;
}

static void no_route(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	sn->route_err = -ENETUNREACH;
	mark();
	qd = script_connect(&qt);
	done();
	qr = result_now(qt);
	check_failed(&qr, ENETUNREACH);
	OK(demi_close(qd));
}

COUNT(IpOutNoRoutes)
{
	no_route();
}

COUNT(Ip6InReceives)
{
	reset_to_nobody();
}

COUNT(Ip6InDelivers)
{
	reset_to_nobody();
}

COUNT(Ip6OutRequests)
{
	answer_to_nobody();
}

COUNT(Ip6OutNoRoutes)
{
	no_route();
}

COUNT(Ip6InHdrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	put16(pkt + 4, 1); /* a byte that is not there */
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(Ip6InAddrErrors)
{
	uint32_t n = ip_packet(6, "", 0);

	pkt[8] = 0xff;
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(Ip6InUnknownProtos)
{
	count_IpInUnknownProtos();
}

/* ---- ICMP ---- */

/* A message with the quoted front of a datagram; its sum is right. */
static void icmp(uint8_t type, uint32_t len)
{
	uint8_t m[60] = { type };
	uint32_t n = script_six ? 40 : 20, sum;

	m[8] = script_six ? 0x60 : 0x45;
	m[8 + (script_six ? 6 : 9)] = 17;
	if (script_six) {
		memcpy(m + 16, sn->addr6, 16);
		memcpy(m + 32, peer6_addr, 16);
	}
	n = 8 + n + 8 < len ? 8 + n + 8 : len;
	sum = script_six ? sum16(peer6_addr, 16) + sum16(sn->addr6, 16) + 58 + n : 0;
	put16(m + 2, (uint16_t)~fold16(sum + sum16(m, n)));
	n = ip_packet(script_six ? 58 : 1, m, n);
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

static void icmp_wrong_sum(void)
{
	uint32_t n = ip_packet(script_six ? 58 : 1, "\3\0\1\2\0\0\0\0", 8);

	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(IcmpInMsgs)
{
	icmp(8, 60);
}

COUNT(IcmpInErrors)
{
	icmp(3, 20); /* it quotes too little */
}

COUNT(IcmpInCsumErrors)
{
	icmp_wrong_sum();
}

COUNT(IcmpInDestUnreachs)
{
	icmp(3, 60);
}

COUNT(IcmpInTimeExcds)
{
	icmp(11, 60);
}

COUNT(IcmpInParmProbs)
{
	icmp(12, 60);
}

COUNT(Icmp6InMsgs)
{
	icmp(128, 60);
}

COUNT(Icmp6InErrors)
{
	icmp(1, 20);
}

COUNT(Icmp6InCsumErrors)
{
	icmp_wrong_sum();
}

COUNT(Icmp6InDestUnreachs)
{
	icmp(1, 60);
}

COUNT(Icmp6InPktTooBigs)
{
	icmp(2, 60);
}

COUNT(Icmp6InTimeExcds)
{
	icmp(3, 60);
}

COUNT(Icmp6InParmProblems)
{
	icmp(4, 60);
}

/* ---- UDP ---- */

static int udp_socket(void)
{
	struct sockaddr_in a = addr4(0, 7);
	struct demi_queue *q;

	CHECK_EQ(demi_inet_socket(&sn->in, AF_INET, SOCK_DGRAM, 0, &q), 0);
	OK(demi_bind(q->qd, (struct sockaddr *)&a, sizeof(a)));
	return q->qd;
}

static uint32_t datagram(uint16_t port, uint32_t len)
{
	static uint8_t u[3100];

	put16(u, PEER_PORT);
	put16(u + 2, port);
	put16(u + 4, 8 + len);
	put16(u + 6, 0);
	put16(u + 6, (uint16_t)~fold16(17 + 8 + len + 0x0a00 + PEER_HOST + 0x0a00 + 1 + sum16(u, 8 + len)));
	return ip_packet(17, u, 8 + len);
}

static void one_datagram(uint32_t n)
{
	mark();
	node_receive(sn, pkt, n, NULL);
	done();
}

COUNT(UdpInDatagrams)
{
	qd = udp_socket();
	one_datagram(datagram(7, 10));
	OK(demi_close(qd));
}

COUNT(UdpNoPorts)
{
	qd = udp_socket();
	one_datagram(datagram(8, 10));
	OK(demi_close(qd));
}

COUNT(UdpInErrors)
{
	uint32_t n;

	qd = udp_socket();
	n = datagram(7, 10);
	put16(pkt + 24, 100); /* longer than the packet */
	one_datagram(n);
	OK(demi_close(qd));
}

COUNT(UdpInCsumErrors)
{
	uint32_t n;

	qd = udp_socket();
	n = datagram(7, 10);
	pkt[30] ^= 1;
	one_datagram(n);
	OK(demi_close(qd));
}

COUNT(UdpRcvbufErrors)
{
	uint32_t n;

	qd = udp_socket();
	set_int(qd, SOL_SOCKET, SO_RCVBUF, 2048);
	n = datagram(7, 1000);
	for (int i = 0; i < 100 && !sn->in.count.UdpRcvbufErrors; i++)
		node_receive(sn, pkt, n, NULL);
	one_datagram(n);
	OK(demi_close(qd));
}

/* There is memory for the packet's buffers, and none for the datagram in one piece. */
COUNT(UdpMemErrors)
{
	static void *keep[100000];
	struct rlimit old, tight;
	void *bufs[4];
	uint32_t n = 0;

	qd = udp_socket();
	for (int i = 0; i < 4; i++)
		bufs[i] = demi_heap_alloc(NET_BUF);
	OK(getrlimit(RLIMIT_DATA, &old));
	tight = old;
	tight.rlim_cur = 4096; /* no more than there is (0 means something else to Linux) */
	OK(setrlimit(RLIMIT_DATA, &tight));
	for (uint32_t size = 65536; size >= 2560; size /= 2) {
		while (n < 100000 && (keep[n] = demi_heap_alloc(size)))
			n++;
	}
	while (n < 100000 && (keep[n] = demi_heap_alloc(3000 + 100)))
		n++;
	CHECK(n < 100000);
	for (int i = 0; i < 4; i++)
		demi_heap_free(bufs[i]);
	one_datagram(datagram(7, 3000));
	OK(setrlimit(RLIMIT_DATA, &old));
	while (n)
		demi_heap_free(keep[--n]);
	OK(demi_close(qd));
}

static int send_datagram(uint32_t len)
{
	struct sockaddr_in to = addr4(0x0a000000U | PEER_HOST, 9);
	static char buf[60000];
	demi_sgarray_t sga = sga_of(buf, len);
	demi_qtoken_t qt;

	return demi_pushto(&qt, qd, &sga, (struct sockaddr *)&to, sizeof(to));
}

COUNT(UdpOutDatagrams)
{
	qd = udp_socket();
	mark();
	OK(send_datagram(100));
	done();
	out_any();
	OK(demi_close(qd));
}

COUNT(UdpSndbufErrors)
{
	uint64_t taken = demi_config.push_limit_bytes - 50;

	qd = udp_socket();
	OK(demi_ctx_charge(demi_ctx_self, taken)); /* somebody has pushed that much */
	mark();
	CHECK_EQ(send_datagram(100), ENOBUFS);
	done();
	demi_ctx_uncharge(demi_ctx_self, taken);
	OK(demi_close(qd));
}

/* ---- TCP ---- */

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

#define ENTRY(name) { #name, count_##name, offsetof(struct demi_inet_counters, name) },

static uint64_t value(const struct demi_inet_counters *c, size_t off)
{
	return *(const uint64_t *)((const char *)c + off);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*fn)(void);
		size_t off;
	} all[] = { DEMI_INET_COUNTERS(ENTRY) };
	size_t n = sizeof(all) / sizeof(all[0]);

	alarm(110);
	init_memq();
	for (size_t i = 0; i < n; i++) {
		script_six = !strncmp(all[i].name, "Ip6", 3) || !strncmp(all[i].name, "Icmp6", 5);
		run_case(all[i].name, all[i].fn);
		if (value(&after, all[i].off) != value(&before, all[i].off) + 1) {
			printf("%s grew by %llu\n", all[i].name,
			       (unsigned long long)(value(&after, all[i].off) - value(&before, all[i].off)));
			return 1;
		}
	}
	printf("%zu counters\n", n);
	return 0;
}
