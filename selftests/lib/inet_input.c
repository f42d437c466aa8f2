/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a valgrind */
/* What the stack must not believe: every rule about headers is broken once, and only the counter of that rule moves. */
#include "inet_test.h"

#define PORT 7000

static uint8_t p[4096];
static uint32_t len;
static int q4, q6;

/* The packet in p is dropped and @counter_name goes up by one; its buffers come back. */
static void refused(const char *counter_name)
{
	uint64_t before = counter(counter_name), in = counter("UdpInDatagrams");
	uint32_t recycled = dev->recycled, entries = dev->rx_tail;

	inject(p, len);
	entries = dev->rx_tail - entries;
	turn();
	if (counter(counter_name) != before + 1) {
		printf("%s did not move\n", counter_name);
		CHECK(0);
	}
	CHECK_EQ(counter("UdpInDatagrams"), in);
	CHECK_EQ(dev->recycled, recycled + entries);
}

static void accepted(int qd, const char *payload)
{
	inject(p, len);
	pop_bytes(qd, payload, strlen(payload));
}

static void good4(void)
{
	len = udp4(p, 5, PORT, "payload", 7);
}

static void good6(void)
{
	len = udp6(p, 5, PORT, "payload", 7);
}

static void test_ip4(void)
{
	good4();
	accepted(q4, "payload");

	len = 0; /* nothing at all */
	refused("Ip6InHdrErrors");
	good4();
	len = 19;
	refused("IpInHdrErrors");
	good4();
	p[0] = 0x44; /* header shorter than a header */
	refused("IpInHdrErrors");
	good4();
	p[0] = 0x4f; /* longer than the packet */
	refused("IpInHdrErrors");
	good4();
	p[0] = 0x55; /* version 5 */
	refused("Ip6InHdrErrors");
	good4();
	put16(p + 2, 36); /* longer than what came */
	set_ip4_sum(p);
	refused("IpInHdrErrors");
	good4();
	put16(p + 2, 19); /* shorter than its header */
	set_ip4_sum(p);
	refused("IpInHdrErrors");
	good4();
	p[10] ^= 1;
	refused("IpInHdrErrors");
	good4();
	put16(p + 6, 0x2000); /* more fragments */
	set_ip4_sum(p);
	refused("IpInHdrErrors");
	good4();
	put16(p + 6, 1); /* a later fragment */
	set_ip4_sum(p);
	refused("IpInHdrErrors");
	good4();
	put32(p + 12, 0xe0000001);
	sum_udp(p, 20);
	set_ip4_sum(p);
	refused("IpInAddrErrors");
	good4();
	put32(p + 12, 0xffffffff);
	sum_udp(p, 20);
	set_ip4_sum(p);
	refused("IpInAddrErrors");
	good4();
	p[9] = 132;
	set_ip4_sum(p);
	refused("IpInUnknownProtos");
	good4();
	put16(p + 6, 0x4000); /* do not fragment is no fragment */
	set_ip4_sum(p);
	accepted(q4, "payload");
}

/* Options are passed over; what follows the datagram is no part of it. */
static void test_ip4_shape(void)
{
	good4();
	memmove(p + 32, p + 20, 15);
	memset(p + 20, 1, 12); /* no-operation */
	p[0] = 0x48;
	put16(p + 2, 47);
	set_ip4_sum(p);
	len = 47;
	accepted(q4, "payload");
	good4();
	memset(p + len, 0xaa, 2500); /* padding, in a second buffer, too */
	len += 2500;
	accepted(q4, "payload");
	good4();
	put16(p + 2, 40); /* the datagram is shorter than what IP carries */
	set_ip4_sum(p);
	memset(p + len, 0xaa, 5);
	len = 40;
	accepted(q4, "payload");
}

static void test_udp(void)
{
	good4();
	put16(p + 2, 27); /* less than a UDP header */
	set_ip4_sum(p);
	len = 27;
	refused("UdpInErrors");
	good4();
	put16(p + 24, 7);
	refused("UdpInErrors");
	good4();
	put16(p + 24, 16); /* longer than what IP carries */
	refused("UdpInErrors");
	good4();
	p[30] ^= 1;
	refused("UdpInCsumErrors");
	good4();
	put32(p + 12, PEER4 + 1); /* the pseudo header counts */
	set_ip4_sum(p);
	refused("UdpInCsumErrors");
	good4();
	put16(p + 26, 0); /* none was made: RFC 768 */
	p[30] = 'Y';
	accepted(q4, "paYload");
	good6();
	put16(p + 46, 0); /* RFC 8200, 8.1 */
	refused("UdpInCsumErrors");
	good6();
	p[50] ^= 1;
	refused("UdpInCsumErrors");
	good4();
	put16(p + 22, PORT + 5);
	sum_udp(p, 20);
	refused("UdpNoPorts");
}

static void test_ip6(void)
{
	good6();
	accepted(q6, "payload");
	good6();
	len = 39;
	refused("Ip6InHdrErrors");
	good6();
	put16(p + 4, 16); /* longer than what came */
	refused("Ip6InHdrErrors");
	good6();
	p[8] = 0xff; /* from a multicast address */
	sum_udp(p, 40);
	refused("Ip6InAddrErrors");
	good6();
	memset(p + 8, 0, 10); /* ::ffff:a.b.c.d is no address of a packet */
	p[18] = p[19] = 0xff;
	sum_udp(p, 40);
	refused("Ip6InAddrErrors");
	good6();
	p[6] = 132;
	refused("Ip6InUnknownProtos");
	good6();
	p[6] = 59; /* no next header */
	refused("Ip6InUnknownProtos");
}

/* Put an extension header of @n bytes in front of what is behind the @at bytes at the packet's start. */
static void insert(uint32_t at, uint32_t next_at, uint8_t type, const uint8_t *ext, uint32_t n)
{
	memmove(p + at + n, p + at, len - at);
	memcpy(p + at, ext, n);
	p[at] = p[next_at];
	p[next_at] = type;
	put16(p + 4, get16(p + 4) + n);
	len += n;
}

static void test_ip6_ext(void)
{
	static const uint8_t pad[8] = { 0, 0, 1, 4 }, pad1[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t unknown_ok[8] = { 0, 0, 0x1e, 4 }, unknown_drop[8] = { 0, 0, 0x5e, 4 };
	static const uint8_t cut[8] = { 0, 0, 1, 9 };
	static const uint8_t routing[8] = { 0, 0, 4, 0 }, routing_left[8] = { 0, 0, 4, 1 };
	static const uint8_t atomic[8] = { 0 }, fragment[8] = { 0, 0, 0, 1 }, later[8] = { 0, 0, 1, 0 };
	static const uint8_t longer[8] = { 0, 200, 1, 4 };

	good6();
	insert(40, 6, 0, pad, 8); /* hop by hop */
	accepted(q6, "payload");
	good6();
	insert(40, 6, 60, pad1, 8); /* destination options */
	accepted(q6, "payload");
	good6();
	insert(40, 6, 60, unknown_ok, 8);
	insert(40, 6, 43, routing, 8);
	insert(40, 6, 0, pad, 8);
	accepted(q6, "payload");
	good6();
	insert(40, 6, 44, atomic, 8); /* RFC 6946 */
	accepted(q6, "payload");
	good6();
	insert(40, 6, 60, unknown_drop, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 60, cut, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 43, routing_left, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 44, fragment, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 44, later, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 60, longer, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 0, pad, 8); /* hop by hop, but not first */
	insert(40, 6, 60, pad, 8);
	refused("Ip6InHdrErrors");
	good6();
	for (int i = 0; i < 9; i++) /* more headers than make sense */
		insert(40, 6, 60, pad, 8);
	refused("Ip6InHdrErrors");
	good6();
	insert(40, 6, 60, pad, 8);
	put16(p + 4, 4); /* ends inside the extension header */
	refused("Ip6InHdrErrors");
}

/* Headers that do not lie in the first segment are not looked for; payload may lie anywhere. */
static void test_segments(void)
{
	struct demi_pkt none = { .flags = 0 };

	for (uint32_t first = 1; first < 35; first++) {
		uint64_t in = counter("UdpInDatagrams");
		demi_qtoken_t qt = pop_start(q4);
		demi_qresult_t qr;

		good4();
		inject_meta(p, len, first, &none);
		turn();
		CHECK_EQ(counter("UdpInDatagrams"), in + (first >= 28));
		if (first < 28)
			OK(demi_cancel(qt));
		qr = wait_result(qt);
		if (first >= 28)
			check_popped(&qr, "payload", 7);
	}
}

static void no_checks(void)
{
	/* a device that vouches for the IPv4 header's checksum */
	q4 = bound4(PORT);
	good4();
	p[10] ^= 1;
	accepted(q4, "payload");
	OK(demi_close(q4));
}

static void all(void)
{
	struct sockaddr_in6 sin6 = sin6_of(addr6, PORT);

	q4 = bound4(PORT);
	q6 = udp_socket(AF_INET6);
	OK(demi_bind(q6, (struct sockaddr *)&sin6, sizeof(sin6)));
	test_ip4();
	test_ip4_shape();
	test_udp();
	test_ip6();
	test_ip6_ext();
	test_segments();
	OK(demi_close(q4));
	OK(demi_close(q6));
}

int main(void)
{
	inet_run(all, 0);
	inet_run(no_checks, DEMI_PKTDEV_C_RX_IP_OK);
	return 0;
}
