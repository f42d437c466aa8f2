/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/*
 * A packet whose IP header is the last one's, byte for byte, is not looked at again (lib/inet/fast.h): whatever else is
 * other than expected must still be seen. A pop waits all the time.
 */
#include "script.h"

#define TOTAL (40 + 100)

static demi_qtoken_t pop;
static uint32_t seq;
static uint8_t p[200];

/* The next segment of 100 bytes; its header is the last one's. */
static void build(void)
{
	struct seg g = { .flags = 0x18, .seq = seq, .len = 100, .ack = 1 };

	CHECK_EQ(build_seg(&g, p), TOTAL);
}

static void receive(uint32_t len)
{
	node_receive(sn, p, len, NULL);
	node_pump(sn);
}

static void came(int qd)
{
	demi_qresult_t qr = result_now(pop);

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
	CHECK_EQ(qr.qr_value.sga.sga_segs[0].sgaseg_len, 100);
	CHECK(!memcmp(qr.qr_value.sga.sga_segs[0].sgaseg_buf, p + 40, 100));
	OK(demi_sgafree(&qr.qr_value.sga));
	seq += 100;
	pop = pop_start(qd);
}

static int usual(void)
{
	int qd = established("mss 1000");

	seq = 1;
	pop = pop_start(qd);
	for (int i = 0; i < 3; i++) {
		build();
		receive(TOTAL);
		came(qd);
	}
	return qd;
}

static uint64_t header_errors(void)
{
	return sn->in.count.IpInHdrErrors;
}

/* Nothing of it has come, and the next one does. */
static void refused(int qd)
{
	pending(pop);
	build();
	receive(TOTAL);
	came(qd);
	reset_close(qd);
}

static void cut_off(void)
{
	int qd = usual();

	build();
	p[TOTAL - 1] = 0xdd; /* as what lies in the buffer behind the packet: the sum is right */
	set_sums(p, TOTAL);
	receive(TOTAL - 1);
	CHECK_EQ(header_errors(), 1);
	receive(30);
	CHECK_EQ(header_errors(), 2);
	refused(qd);
}

/* What is behind the packet's end is not its: Ethernet's frames are of 60 bytes at least. */
static void longer(void)
{
	int qd = usual();

	build();
	receive(TOTAL + 20);
	came(qd);
	reset_close(qd);
}

static void wrong_header_sum(void)
{
	int qd = usual();

	build();
	p[8]--;
	receive(TOTAL);
	p[8]++;
	p[1] = 4;
	receive(TOTAL);
	CHECK_EQ(header_errors(), 2);
	refused(qd);
}

static void another_header(void)
{
	int qd = usual();

	for (int i = 0; i < 4; i++) {
		build();
		p[8] = (uint8_t)(60 + i / 2);
		put16(p + 4, i);
		set_ip4_sum(p);
		receive(TOTAL);
		came(qd);
	}
	CHECK_EQ(header_errors(), 0);
	reset_close(qd);
}

static void wrong_sum(void)
{
	int qd = usual();

	build();
	p[TOTAL - 1] ^= 1;
	receive(TOTAL);
	CHECK_EQ(sn->in.count.TcpInCsumErrors, 1);
	refused(qd);
}

static void fragment(void)
{
	int qd = usual();

	build();
	p[6] = 0x20; /* more follow */
	set_ip4_sum(p);
	receive(TOTAL);
	refused(qd);
}

static void version(void)
{
	int qd = usual();

	build();
	p[0] = 0x55;
	set_ip4_sum(p);
	receive(TOTAL);
	refused(qd);
}

/* The same addresses and ports, but a datagram. */
static void another_protocol(void)
{
	int qd = usual();

	build();
	p[9] = 17;
	set_ip4_sum(p);
	receive(TOTAL);
	refused(qd);
}

/* Another connection's packet came in between. */
static void another_hint(void)
{
	int qd = usual();
	struct demi_inet_hint *hint = sn->in.last_hint;

	CHECK(!memcmp(&hint->first, p, 8) && !memcmp(&hint->second, p + 8, 4));
	sn->in.last_hint = hint == sn->in.hints ? hint + 1 : sn->in.hints;
	build();
	receive(TOTAL);
	came(qd);
	CHECK(sn->in.last_hint == hint);
	reset_close(qd);
}

/* Other flags in the segment, whose window is the last one's. */
static void flags(void)
{
	int qd = usual();

	build();
	p[33] = 0x08; /* no acknowledgement: RFC 9293 3.10.7.4, fifth */
	set_sums(p, TOTAL);
	receive(TOTAL);
	pending(pop);
	build();
	p[33] = 0x19;
	set_sums(p, TOTAL);
	receive(TOTAL);
	came(qd);
	popped(qd, 0, 0);
	reset_close(qd);
}

/* The hint goes with its socket. */
static void closed(void)
{
	int qd = usual();

	reset_close(qd);
	build();
	receive(TOTAL);
	out("R 1");
	CHECK(!sn->in.last_hint->s);
}

/* What a hint of nothing says of a header, and one that has not seen any: zeros. */
static void zeros(void)
{
	int qd = usual();

	build();
	memset(p, 0, 12);
	receive(TOTAL); /* the addresses and ports are the connection's */
	memset(p, 0, sizeof(p));
	for (uint32_t len = 20; len < 60; len++)
		receive(len);
	pending(pop);
	build();
	receive(TOTAL);
	came(qd);
	reset_close(qd);
	memset(p, 0, sizeof(p));
	receive(100);
	none();
}

int main(void)
{
	alarm(60);
	init_memq();
	RUN(cut_off);
	RUN(longer);
	RUN(wrong_header_sum);
	RUN(another_header);
	RUN(wrong_sum);
	RUN(fragment);
	RUN(version);
	RUN(another_protocol);
	RUN(another_hint);
	RUN(flags);
	RUN(closed);
	RUN(zeros);
	return script_done();
}
