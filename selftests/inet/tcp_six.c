/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a */
/* TCP over IPv6: sizes (RFC 8200 5, RFC 8201), headers, what is in front of the segment, errors (RFC 4443). */
#include "script.h"
#include "tcb.h"

static int qd;

static void handshake(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	listening();
	qt = start_accept(script_listener);
	in("S 0 win 8000 <mss 1440,sackOK,ts 7 0,ws 3>");
	out("S. 0 ack 1 win 65535 <mss 1440,sackOK,ts 0 7,ws 5>");
	peer_ts_on = true;
	in(". 1 ack 1");
	qr = result_now(qt);
	qd = qr.qr_value.ares.qd;
	{
		struct sockaddr_in6 a;
		socklen_t len = sizeof(a);

		OK(demi_getpeername(qd, (struct sockaddr *)&a, &len));
		CHECK(len == sizeof(a) && a.sin6_family == AF_INET6 && ntohs(a.sin6_port) == PEER_PORT);
		CHECK(!memcmp(&a.sin6_addr, peer6_addr, 16));
	}
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void active(void)
{
	demi_qtoken_t qt;

	qd = script_connect(&qt);
	out("S 0 win 65535 <mss 1440,sackOK,ts,ws 5>");
	in("S. 0 ack 1 <mss 1000>");
	out(". 1 ack 1");
	CHECK_EQ(result_now(qt).qr_opcode, DEMI_OPC_CONNECT);
	script_push(qd, 1500);
	out(". 1+1000 ack 1");
	out("P. 1001+500 ack 1");
	in("P. 1+700 ack 1501");
	popped(qd, 1, 700);
	reset_close(qd);
}

/* RFC 9293 3.7.1: 1220 bytes, the least path less the headers */
static void no_mss_means_1220(void)
{
	demi_qtoken_t qt;

	listening();
	in("S 0");
	out("S. 0 ack 1");
	qt = start_accept(script_listener);
	in(". 1 ack 1");
	qd = result_now(qt).qr_value.ares.qd;
	script_push(qd, 1300);
	out(". 1+1220 ack 1");
	out("P. 1221+80 ack 1");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void hop_limit_and_class(void)
{
	listening();
	set_int(script_listener, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 7);
	set_int(script_listener, IPPROTO_IPV6, IPV6_TCLASS, 0xb8);
	qd = accepted("mss 1000");
	OK(demi_close(script_listener));
	script_push(qd, 10);
	out("P. 1+10 ack 1");
	CHECK_EQ(last_packet[7], 7);
	CHECK_EQ((last_packet[0] & 15) << 4 | last_packet[1] >> 4, 0xb8);
	CHECK_EQ(get32(last_packet) & 0xfffff, 0); /* RFC 6437 3: no label is a label, too */
	reset_close(qd);
}

/* A segment behind @next's header of @len bytes. */
static void behind(uint8_t next, const uint8_t *ext, uint32_t len, const char *s)
{
	static uint8_t p[2000], q[2000];
	struct seg g = parse_seg(s);
	uint32_t n = build_seg(&g, p);

	memcpy(q, p, 40);
	memcpy(q + 40, ext, len);
	memcpy(q + 40 + len, p + 40, n - 40);
	q[40] = q[6];
	q[6] = next;
	put16(q + 4, n - 40 + len);
	node_receive(sn, q, n + len, NULL);
	node_pump(sn);
}

/* RFC 8200 4: what may stand in front */
static void extension_headers(void)
{
	static const uint8_t pad[8] = { 0, 0, 1, 4 }, routing[8] = { 0, 0, 4, 0 }, atomic[8] = { 0 };

	qd = established("mss 1000");
	behind(0, pad, 8, "P. 1+10 ack 1");
	behind(60, pad, 8, "P. 11+10 ack 1");
	behind(43, routing, 8, "P. 21+10 ack 1");
	behind(44, atomic, 8, "P. 31+10 ack 1"); /* RFC 6946 */
	popped(qd, 1, 40);
	CHECK_EQ(sn->in.count.Ip6InHdrErrors, 0);
	reset_close(qd);
}

static void extension_headers_that_are_refused(void)
{
	static const uint8_t unknown[8] = { 0, 0, 0xc0, 4 }, routing[8] = { 0, 0, 4, 1 }, fragment[8] = { 0, 0, 0, 1 };

	qd = established("mss 1000");
	behind(0, unknown, 8, "P. 1+10 ack 1"); /* 4.2: discard */
	behind(43, routing, 8, "P. 1+10 ack 1"); /* 4.4: segments left */
	behind(44, fragment, 8, "P. 1+10 ack 1"); /* more follow */
	CHECK_EQ(sn->in.count.Ip6InHdrErrors, 3);
	in("P. 1+10 ack 1");
	popped(qd, 1, 10);
	reset_close(qd);
}

/* RFC 8200 8.1: the sum is of these addresses; another one is another packet */
static void checksum_covers_the_addresses(void)
{
	static uint8_t p[200];
	struct seg g = parse_seg("P. 1+10 ack 1");
	uint32_t n;

	qd = established("mss 1000");
	n = build_seg(&g, p);
	p[23] ^= 1;
	node_receive(sn, p, n, NULL);
	CHECK_EQ(sn->in.count.TcpInCsumErrors, 1);
	quiet(10);
	reset_close(qd);
}

/* An error about the stack's segment @seq. */
static void icmp6(uint8_t type, uint8_t code, uint32_t info, uint32_t seq)
{
	uint8_t p[40 + 8 + 40 + 20] = { 0x60 }, *q = p + 48;
	uint32_t len = sizeof(p) - 40;

	put16(p + 4, len);
	p[6] = 58;
	p[7] = 255;
	memcpy(p + 8, peer6_addr, 16);
	memcpy(p + 24, sn->addr6, 16);
	p[40] = type;
	p[41] = code;
	put32(p + 44, info);
	q[0] = 0x60;
	put16(q + 4, 1000);
	q[6] = 6;
	memcpy(q + 8, sn->addr6, 16);
	memcpy(q + 24, peer6_addr, 16);
	put16(q + 40, stack_port);
	put16(q + 42, PEER_PORT);
	put32(q + 44, iss + seq);
	put16(p + 42, (uint16_t)~fold16(sum16(p + 8, 32) + 58 + len + sum16(p + 40, len)));
	node_receive(sn, p, sizeof(p), NULL);
	node_pump(sn);
}

/* RFC 8201 4: the size is the message's; below 1280 it is not believed */
static void packet_too_big(void)
{
	qd = established("mss 1440");
	script_push(qd, 2880);
	out(". 1+1440 ack 1");
	out("P. 1441+1440 ack 1");
	icmp6(2, 0, 1400, 1);
	out(". 1+1340 ack 1");
	out(". 1341+100 ack 1");
	out(". 1441+1340 ack 1");
	out(". 2781+100 ack 1");
	none();
	icmp6(2, 0, 600, 1);
	out(". 1+1220 ack 1");
	out_any();
	CHECK_EQ(tcb_of(qd)->pmtu_bytes, 1280);
	reset_close(qd);
}

static void connect_refused(void)
{
	demi_qtoken_t qt;
	demi_qresult_t qr;

	qd = script_connect(&qt);
	out("S 0");
	icmp6(1, 4, 0, 0);
	qr = result_now(qt);
	check_failed(&qr, ECONNREFUSED);
	OK(demi_close(qd));
}

static void ecn_marks(void)
{
	listening();
	in("SEW 0 <mss 1000>");
	out("SE. 0 ack 1");
	in(". 1 ack 1");
	qd = result_now(start_accept(script_listener)).qr_value.ares.qd;
	script_push(qd, 10);
	out("P. 1+10 ack 1 ce");
	in("P. 1+10 ack 11 ce");
	out("E. 11 ack 11");
	in("WP. 11+10 ack 11");
	pass(2);
	out(". 11 ack 21");
	reset_close(qd);
	OK(demi_close(script_listener));
}

static void time_wait(void)
{
	qd = established("mss 1000");
	OK(demi_close(qd));
	out("F. 1 ack 1");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	in("F. 1 ack 2");
	out(". 2 ack 2");
	pass(61000);
	in("F. 1 ack 2");
	out("R 2");
}

static void cookie(void)
{
	int l = node_listen(sn, AF_INET6, STACK_PORT, 1);
	static uint8_t p[200];
	struct seg g = parse_seg("S 0 <mss 1000>");
	uint32_t n = build_seg(&g, p);

	p[22] = 7; /* somebody else */
	set_sums(p, n);
	node_receive(sn, p, n, NULL);
	out_any();
	in("S 0 <mss 1440>");
	out("S. 0 ack 1");
	in(". 1 ack 1");
	CHECK_EQ(sn->in.count.TcpExtSyncookiesRecv, 1);
	qd = result_now(start_accept(l)).qr_value.ares.qd;
	CHECK_EQ(info_of(qd).tcpi_snd_mss, 1440);
	reset_close(qd);
	OK(demi_close(l));
	out_any();
}

int main(void)
{
	alarm(60);
	init_memq();
	script_six = true;
	RUN(handshake);
	RUN(active);
	RUN(no_mss_means_1220);
	RUN(hop_limit_and_class);
	RUN(extension_headers);
	RUN(extension_headers_that_are_refused);
	RUN(checksum_covers_the_addresses);
	RUN(packet_too_big);
	RUN(connect_refused);
	RUN(ecn_marks);
	RUN(time_wait);
	RUN(cookie);
	return script_done();
}
