// SPDX-License-Identifier: GPL-2.0
/* The whitelist of transmit: valid packets with one field changed at a time. */
#include <kunit/test.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/random.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ipv6.h>

#include "../compat.h"
#include "../netdev/tx_check.h"

#define DATA_BYTES	64
#define TCP_HEADER	32

enum demi_test_kind { UDP4, UDP6, TCP4, TCP6 };

struct demi_test_packet {
	struct virtio_net_hdr_v1 vh;
	u8 ip[40 + TCP_HEADER + DATA_BYTES] __aligned(8);
	u32 len;
	u32 l4;
};

static bool demi_test_v6(enum demi_test_kind kind)
{
	return kind == UDP6 || kind == TCP6;
}

static void demi_test_network(struct demi_test_packet *p, bool v6, u8 protocol, u32 l4_bytes)
{
	struct ipv6hdr *ip6 = (struct ipv6hdr *)p->ip;
	struct iphdr *ip = (struct iphdr *)p->ip;

	p->l4 = v6 ? sizeof(*ip6) : sizeof(*ip);
	p->len = p->l4 + l4_bytes;
	if (v6) {
		ip6->version = 6;
		ip6->payload_len = htons(l4_bytes);
		ip6->nexthdr = protocol;
		ip6->hop_limit = 64;
		ip6->saddr.s6_addr32[0] = htonl(0x20010db8);
		ip6->daddr.s6_addr32[0] = htonl(0x20010db8);
		ip6->saddr.s6_addr32[3] = htonl(1);
		ip6->daddr.s6_addr32[3] = htonl(2);
		return;
	}
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(p->len);
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = htonl(0x0a000001);
	ip->daddr = htonl(0x0a000002);
}

static void demi_test_packet(struct demi_test_packet *p, enum demi_test_kind kind)
{
	bool tcp = kind == TCP4 || kind == TCP6;
	struct tcphdr *th;
	struct udphdr *uh;
	u32 l4_bytes = (tcp ? TCP_HEADER : sizeof(*uh)) + DATA_BYTES;

	memset(p, 0, sizeof(*p));
	demi_test_network(p, demi_test_v6(kind), tcp ? IPPROTO_TCP : IPPROTO_UDP, l4_bytes);
	if (tcp) {
		th = (struct tcphdr *)(p->ip + p->l4);
		th->source = htons(1000);
		th->dest = htons(2000);
		th->doff = TCP_HEADER / 4;
		th->ack = 1;
	} else {
		uh = (struct udphdr *)(p->ip + p->l4);
		uh->source = htons(1000);
		uh->dest = htons(2000);
		uh->len = htons(l4_bytes);
	}
}

static void demi_test_ask_csum(struct demi_test_packet *p, u8 csum_offset)
{
	p->vh.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	p->vh.csum_start = (__force __virtio16)cpu_to_le16(p->l4);
	p->vh.csum_offset = (__force __virtio16)cpu_to_le16(csum_offset);
}

static int demi_test_check(struct demi_tx_head *head, const struct demi_test_packet *p)
{
	return demi_tx_check(head, &p->vh, p->ip, min_t(u32, p->len, DEMI_TX_HDR_MAX), p->len);
}

/* ---- one byte is another ------------------------------------------------------------------- */

struct demi_test_byte {
	const char *name;
	enum demi_test_kind kind;
	u8 at;		/* of the packet */
	u8 value;
	int want;
};

static const struct demi_test_byte demi_test_bytes[] = {
	{ "v4: version 5", UDP4, 0, 0x55, -EINVAL },
	{ "v4: version 6", UDP4, 0, 0x65, -EINVAL },
	{ "v4: a short header", UDP4, 0, 0x44, -EINVAL },
	{ "v4: options", UDP4, 0, 0x46, -EINVAL },
	{ "v4: type of service is free", UDP4, 1, 0xff, 0 },
	{ "v4: too long a length", UDP4, 3, 20 + 8 + DATA_BYTES + 1, -EINVAL },
	{ "v4: too short a length", UDP4, 3, 20 + 8 + DATA_BYTES - 1, -EINVAL },
	{ "v4: identification is the kernel's", UDP4, 5, 77, 0 },
	{ "v4: don't fragment", UDP4, 6, 0x40, 0 },
	{ "v4: reserved bit", UDP4, 6, 0x80, -EINVAL },
	{ "v4: more fragments", UDP4, 6, 0x20, -EINVAL },
	{ "v4: fragment offset", UDP4, 7, 0x01, -EINVAL },
	{ "v4: no time to live", UDP4, 8, 0, -EINVAL },
	{ "v4: one hop", UDP4, 8, 1, 0 },
	{ "v4: ICMP", UDP4, 9, IPPROTO_ICMP, -EINVAL },
	{ "v4: IPv6 within", UDP4, 9, IPPROTO_IPV6, -EINVAL },
	{ "v4: UDP lite", UDP4, 9, IPPROTO_UDPLITE, -EINVAL },
	{ "v4: header checksum is the kernel's", UDP4, 10, 0x12, 0 },
	{ "v4: multicast source", UDP4, 12, 224, -EACCES },
	{ "v4: multicast destination", UDP4, 16, 239, 0 },
	{ "v4: UDP length above", UDP4, 25, 8 + DATA_BYTES + 1, -EINVAL },
	{ "v4: UDP length below", UDP4, 25, 8 + DATA_BYTES - 1, -EINVAL },
	{ "v4: UDP length of none", UDP4, 25, 0, -EINVAL },
	{ "v6: version 4", UDP6, 0, 0x40, -EINVAL },
	{ "v6: version 5", UDP6, 0, 0x50, -EINVAL },
	{ "v6: traffic class is free", UDP6, 0, 0x6f, 0 },
	{ "v6: flow label is free", UDP6, 2, 0xff, 0 },
	{ "v6: too long a length", UDP6, 5, 8 + DATA_BYTES + 1, -EINVAL },
	{ "v6: too short a length", UDP6, 5, 8 + DATA_BYTES - 1, -EINVAL },
	{ "v6: no length (jumbo)", UDP6, 5, 0, -EINVAL },
	{ "v6: hop-by-hop options", UDP6, 6, IPPROTO_HOPOPTS, -EINVAL },
	{ "v6: routing header", UDP6, 6, IPPROTO_ROUTING, -EINVAL },
	{ "v6: fragment", UDP6, 6, IPPROTO_FRAGMENT, -EINVAL },
	{ "v6: destination options", UDP6, 6, IPPROTO_DSTOPTS, -EINVAL },
	{ "v6: ESP", UDP6, 6, IPPROTO_ESP, -EINVAL },
	{ "v6: ICMPv6", UDP6, 6, IPPROTO_ICMPV6, -EINVAL },
	{ "v6: no hop limit", UDP6, 7, 0, -EINVAL },
	{ "v6: multicast source", UDP6, 8, 0xff, -EACCES },
	{ "v6: multicast destination", UDP6, 24, 0xff, 0 },
	{ "v6: UDP length above", UDP6, 45, 8 + DATA_BYTES + 1, -EINVAL },
	{ "v6: UDP length below", UDP6, 45, 8 + DATA_BYTES - 1, -EINVAL },
	{ "v4 TCP: no data offset", TCP4, 32, 0x00, -EINVAL },
	{ "v4 TCP: a short header", TCP4, 32, 0x40, -EINVAL },
	{ "v4 TCP: the shortest header", TCP4, 32, 0x50, 0 },
	{ "v4 TCP: a header of data", TCP4, 32, 0xf0, 0 },
	{ "v4 TCP: reserved bits", TCP4, 32, 0x81, -EINVAL },
	{ "v4 TCP: flags are free", TCP4, 33, 0xff, 0 },
	{ "v4 TCP: multicast destination", TCP4, 16, 224, -EINVAL },
	{ "v6 TCP: no data offset", TCP6, 52, 0x00, -EINVAL },
	{ "v6 TCP: reserved bits", TCP6, 52, 0x82, -EINVAL },
	{ "v6 TCP: multicast destination", TCP6, 24, 0xff, -EINVAL },
};

static void demi_test_byte_desc(const struct demi_test_byte *b, char *desc)
{
	strscpy(desc, b->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(demi_test_byte, demi_test_bytes, demi_test_byte_desc);

static void demi_test_one_byte(struct kunit *test)
{
	const struct demi_test_byte *b = test->param_value;
	struct demi_test_packet p;
	struct demi_tx_head head;

	demi_test_packet(&p, b->kind);
	KUNIT_ASSERT_EQ(test, demi_test_check(&head, &p), 0);
	p.ip[b->at] = b->value;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), b->want);
}

/* ---- addresses and ports ------------------------------------------------------------------- */

static void demi_test_tuple(struct kunit *test)
{
	struct demi_test_packet p;
	struct demi_tx_head head;

	demi_test_packet(&p, UDP4);
	KUNIT_ASSERT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_TRUE(test, ipv6_addr_v4mapped(&head.tuple.local));
	KUNIT_EXPECT_EQ(test, ntohl(head.tuple.local.s6_addr32[3]), 0x0a000001);
	KUNIT_EXPECT_EQ(test, ntohl(head.tuple.remote.s6_addr32[3]), 0x0a000002);
	KUNIT_EXPECT_EQ(test, ntohs(head.tuple.lport), 1000);
	KUNIT_EXPECT_EQ(test, ntohs(head.tuple.rport), 2000);
	KUNIT_EXPECT_EQ(test, head.tuple.protocol, IPPROTO_UDP);
	KUNIT_EXPECT_EQ(test, head.payload, 28);

	demi_test_packet(&p, TCP6);
	KUNIT_ASSERT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_TRUE(test, head.ipv6);
	KUNIT_EXPECT_EQ(test, ntohl(head.tuple.local.s6_addr32[3]), 1);
	KUNIT_EXPECT_EQ(test, ntohl(head.tuple.remote.s6_addr32[3]), 2);
	KUNIT_EXPECT_EQ(test, head.tuple.protocol, IPPROTO_TCP);
	KUNIT_EXPECT_EQ(test, head.payload, 40 + TCP_HEADER);
}

static void demi_test_addresses(struct kunit *test)
{
	struct demi_test_packet p;
	struct iphdr *ip = (struct iphdr *)p.ip;
	struct ipv6hdr *ip6 = (struct ipv6hdr *)p.ip;
	struct demi_tx_head head;

	demi_test_packet(&p, UDP4);
	ip->saddr = htonl(INADDR_BROADCAST);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EACCES);

	demi_test_packet(&p, UDP4);
	ip->saddr = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EACCES);

	demi_test_packet(&p, UDP4);
	ip->daddr = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, UDP4);
	ip->daddr = htonl(INADDR_BROADCAST);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_TRUE(test, head.broadcast);

	demi_test_packet(&p, TCP4);
	ip->daddr = htonl(INADDR_BROADCAST);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, UDP6);
	ip6->saddr = in6addr_any;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EACCES);

	demi_test_packet(&p, UDP6);
	ip6->daddr = in6addr_any;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, UDP6);
	ipv6_addr_set_v4mapped(htonl(0x0a000001), &ip6->saddr);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EACCES);

	demi_test_packet(&p, UDP6);
	ipv6_addr_set_v4mapped(htonl(0x0a000002), &ip6->daddr);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, UDP4);
	((struct udphdr *)(p.ip + p.l4))->dest = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, TCP4);
	((struct tcphdr *)(p.ip + p.l4))->dest = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
}

/* ---- truncated, too long ------------------------------------------------------------------- */

static void demi_test_truncated(struct kunit *test)
{
	static const enum demi_test_kind kinds[] = { UDP4, UDP6, TCP4, TCP6 };
	struct demi_test_packet p;
	struct demi_tx_head head;
	u32 i, avail, headers;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		demi_test_packet(&p, kinds[i]);
		headers = p.len - DATA_BYTES;
		for (avail = 0; avail < headers; avail++)
			KUNIT_EXPECT_EQ_MSG(test, demi_tx_check(&head, &p.vh, p.ip, avail, p.len),
					    -EINVAL, "kind %u, %u bytes", i, avail);
		KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, headers, p.len), 0);
		KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, headers, p.len + 1),
				-EINVAL);
		KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, headers, p.len - 1),
				-EINVAL);
	}
	demi_test_packet(&p, UDP4);
	KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, 28, 65536), -EMSGSIZE);
	demi_test_packet(&p, UDP6);
	KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, 48, 65536 + 40), -EMSGSIZE);
}

/* ---- virtio_net_hdr_v1 --------------------------------------------------------------------- */

static void demi_test_csum(struct kunit *test)
{
	struct demi_test_packet p;
	struct demi_tx_head head;

	demi_test_packet(&p, UDP4);
	demi_test_ask_csum(&p, 6);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_TRUE(test, head.csum);
	KUNIT_EXPECT_EQ(test, head.csum_offset, 6);

	demi_test_ask_csum(&p, 16);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	demi_test_ask_csum(&p, 6);
	p.vh.csum_start = (__force __virtio16)cpu_to_le16(p.l4 - 2);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	p.vh.csum_start = (__force __virtio16)cpu_to_le16(p.l4 + 2);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	p.vh.csum_start = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	/* not asked for: not looked at */
	p.vh.flags = 0;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_FALSE(test, head.csum);

	demi_test_packet(&p, TCP6);
	demi_test_ask_csum(&p, 16);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
	demi_test_ask_csum(&p, 6);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);

	demi_test_packet(&p, UDP4);
	p.vh.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	p.vh.flags = VIRTIO_NET_HDR_F_RSC_INFO;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), -EINVAL);
	p.vh.flags = 0;
	p.vh.hdr_len = (__force __virtio16)cpu_to_le16(12345);
	p.vh.num_buffers = (__force __virtio16)cpu_to_le16(12345);
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
}

static int demi_test_gso_one(struct demi_tx_head *head, enum demi_test_kind kind, u8 type, u16 size,
			     bool csum)
{
	struct demi_test_packet p;

	demi_test_packet(&p, kind);
	if (csum)
		demi_test_ask_csum(&p, kind == UDP4 || kind == UDP6 ? 6 : 16);
	p.vh.gso_type = type;
	p.vh.gso_size = (__force __virtio16)cpu_to_le16(size);
	return demi_test_check(head, &p);
}

static void demi_test_gso(struct kunit *test)
{
	static const struct {
		enum demi_test_kind kind;
		u8 type;
		u32 skb_type;
	} good[] = {
		{ UDP4, VIRTIO_NET_HDR_GSO_UDP_L4, SKB_GSO_UDP_L4 },
		{ UDP6, VIRTIO_NET_HDR_GSO_UDP_L4, SKB_GSO_UDP_L4 },
		{ TCP4, VIRTIO_NET_HDR_GSO_TCPV4, SKB_GSO_TCPV4 },
		{ TCP6, VIRTIO_NET_HDR_GSO_TCPV6, SKB_GSO_TCPV6 },
	};
	struct demi_tx_head head;
	int type;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		for (type = 1; type < 256; type++) {
			int want = type == good[i].type ? 0 : -EINVAL;

			KUNIT_EXPECT_EQ_MSG(test,
					    demi_test_gso_one(&head, good[i].kind, type, 50, true),
					    want, "kind %u, type %d", good[i].kind, type);
			if (want)
				continue;
			KUNIT_EXPECT_EQ(test, head.gso_type, good[i].skb_type);
			KUNIT_EXPECT_EQ(test, head.gso_size, 50);
			KUNIT_EXPECT_EQ(test, head.gso_segs, 2);
		}
		KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, good[i].kind, good[i].type, 50,
							false), -EINVAL);
		KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, good[i].kind, good[i].type, 0,
							true), -EINVAL);
		KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, good[i].kind, good[i].type, 0xffff,
							true), -EINVAL);
		/* one segment is none */
		KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, good[i].kind, good[i].type,
							DATA_BYTES, true), 0);
		KUNIT_EXPECT_EQ(test, head.gso_type, 0);
		KUNIT_EXPECT_TRUE(test, head.csum);
	}
	KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, TCP4, VIRTIO_NET_HDR_GSO_TCPV4, 47, true),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, demi_test_gso_one(&head, TCP4, VIRTIO_NET_HDR_GSO_TCPV4, 48, true),
			0);
}

/* A datagram of as many segments as a socket may ask for, and of one more. */
static void demi_test_gso_segments(struct kunit *test)
{
	u32 most = UDP_MAX_SEGMENTS, bytes;
	struct demi_test_packet p;
	struct udphdr *uh = (struct udphdr *)(p.ip + 20);
	struct iphdr *ip = (struct iphdr *)p.ip;
	struct demi_tx_head head;

	for (bytes = most * 10; bytes <= most * 10 + 1; bytes++) {
		demi_test_packet(&p, UDP4);
		demi_test_ask_csum(&p, 6);
		p.vh.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		p.vh.gso_size = (__force __virtio16)cpu_to_le16(10);
		ip->tot_len = htons(28 + bytes);
		uh->len = htons(8 + bytes);
		KUNIT_EXPECT_EQ(test, demi_tx_check(&head, &p.vh, p.ip, 28, 28 + bytes),
				bytes > most * 10 ? -EINVAL : 0);
	}
	KUNIT_EXPECT_EQ(test, head.gso_segs, 0);
}

/* Only the first segment may say that the window was reduced. */
static void demi_test_gso_cwr(struct kunit *test)
{
	struct demi_test_packet p;
	struct demi_tx_head head;

	demi_test_packet(&p, TCP4);
	demi_test_ask_csum(&p, 16);
	p.vh.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	p.vh.gso_size = (__force __virtio16)cpu_to_le16(50);
	((struct tcphdr *)(p.ip + p.l4))->cwr = 1;
	KUNIT_EXPECT_EQ(test, demi_test_check(&head, &p), 0);
	KUNIT_EXPECT_EQ(test, head.gso_type, SKB_GSO_TCPV4 | SKB_GSO_TCP_ECN);
}

/* ---- anything ------------------------------------------------------------------------------ */

/* What passes keeps the promises that tx.c relies on; the rest is refused, whatever it is. */
static void demi_test_random(struct kunit *test)
{
	struct demi_test_packet p;
	struct demi_tx_head head;
	u32 i, n, avail, passed = 0;
	int err;

	for (i = 0; i < 2000; i++) {
		demi_test_packet(&p, i & 3);
		get_random_bytes(&avail, sizeof(avail));
		avail %= p.len + 1;
		for (n = 0; n < i % 4; n++)
			p.ip[get_random_u32() % sizeof(p.ip)] = get_random_u32();
		if (i % 5 == 0)
			get_random_bytes(&p.vh, sizeof(p.vh));
		err = demi_tx_check(&head, &p.vh, p.ip, avail, p.len);
		if (err) {
			if (err != -EINVAL && err != -EACCES && err != -EMSGSIZE)
				KUNIT_FAIL(test, "error %d", err);
			continue;
		}
		passed++;
		KUNIT_ASSERT_LE(test, (u32)head.payload, avail);
		KUNIT_ASSERT_EQ(test, (u32)head.l4, p.l4);
		KUNIT_ASSERT_TRUE(test, head.tuple.protocol == IPPROTO_UDP ||
				  head.tuple.protocol == IPPROTO_TCP);
		KUNIT_ASSERT_TRUE(test, !head.gso_type || (head.csum && head.gso_segs > 1));
	}
	KUNIT_EXPECT_GT(test, passed, 200);
}

static struct kunit_case demi_tx_check_cases[] = {
	KUNIT_CASE_PARAM(demi_test_one_byte, demi_test_byte_gen_params),
	KUNIT_CASE(demi_test_tuple),
	KUNIT_CASE(demi_test_addresses),
	KUNIT_CASE(demi_test_truncated),
	KUNIT_CASE(demi_test_csum),
	KUNIT_CASE(demi_test_gso),
	KUNIT_CASE(demi_test_gso_segments),
	KUNIT_CASE(demi_test_gso_cwr),
	KUNIT_CASE(demi_test_random),
	{ }
};

static struct kunit_suite demi_tx_check_suite = {
	.name = "demi_tx_check",
	.test_cases = demi_tx_check_cases,
};

kunit_test_suite(demi_tx_check_suite);
