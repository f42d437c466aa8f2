/* SPDX-License-Identifier: MIT */
/* modules: veth, timeout: 400 */
/* What a flow queue may send, what it may not, and where what it sends arrives. */
#include "kselftest_harness.h"
#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "two_hosts.h"
#include "tx_test.h"

static struct tx_packet p;
static uint8_t buf[DEMI_FRAME_MAX];
static uint8_t pattern[DEMI_FRAME_MAX];

static const char *const loopback[] = { "127.0.0.1", "::1" };

FIXTURE(transmit)
{
	struct two_hosts h;
};

/* The queue has port 5000 of our addresses, UDP and TCP, with any peer. */
FIXTURE_SETUP(transmit)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 8));
	ASSERT_EQ(0, two_hosts_open(&self->h));
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, us[v6], PORT));
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_TCP, 0, us[v6], PORT));
	}
}

FIXTURE_TEARDOWN(transmit)
{
	two_hosts_close(&self->h);
}

static void valid(int v6, uint32_t seq)
{
	tx_udp(&p, us[v6], PORT, them[v6], PEER, &seq, sizeof(seq));
}

/* It arrives, and nothing has arrived before it. */
#define EXPECT_ARRIVES(v6, seq)                                                                                        \
	do {                                                                                                           \
		uint32_t number_ = (seq), got_ = 0;                                                                    \
		valid(v6, number_);                                                                                    \
		ASSERT_EQ(0, tx_send(&self->h.q, &p));                                                                 \
		ASSERT_EQ((int)sizeof(got_), tx_recv(self->h.peer[v6], &got_, sizeof(got_)));                          \
		ASSERT_EQ(number_, got_);                                                                              \
	} while (0)

/* ---- one rule broken at a time ------------------------------------------------------------- */

struct rule {
	const char *what;
	uint8_t v6;
	uint8_t at; /* of the packet */
	uint8_t value;
	int want;
};

static const struct rule rules[] = {
	{ "version", 0, 0, 0x55, -EINVAL },
	{ "header length below 5", 0, 0, 0x44, -EINVAL },
	{ "IPv4 options", 0, 0, 0x46, -EINVAL },
	{ "total length above the frame", 0, 3, 20 + 8 + 4 + 1, -EINVAL },
	{ "total length below the frame", 0, 3, 20 + 8 + 4 - 1, -EINVAL },
	{ "reserved bit", 0, 6, 0x80, -EINVAL },
	{ "more fragments", 0, 6, 0x20, -EINVAL },
	{ "fragment offset", 0, 7, 1, -EINVAL },
	{ "TTL of 0", 0, 8, 0, -EINVAL },
	{ "ICMP", 0, 9, IPPROTO_ICMP, -EINVAL },
	{ "a tunnel", 0, 9, IPPROTO_IPIP, -EINVAL },
	{ "the other protocol", 0, 9, IPPROTO_UDPLITE, -EINVAL },
	{ "another's source", 0, 15, 2, -EACCES },
	{ "a source that is nobody's", 0, 15, 77, -EACCES },
	{ "a broadcast source", 0, 15, 255, -EACCES },
	{ "a multicast source", 0, 12, 224, -EACCES },
	{ "multicast without the flag", 0, 16, 239, -EACCES },
	{ "broadcast without the flag", 0, 19, 255, -EACCES },
	{ "another source port", 0, 21, (PORT + 1) & 0xff, -EACCES },
	{ "UDP length above the packet", 0, 25, 8 + 4 + 1, -EINVAL },
	{ "UDP length below the packet", 0, 25, 8 + 4 - 1, -EINVAL },
	{ "IPv6: version", 1, 0, 0x70, -EINVAL },
	{ "IPv6: payload length above the frame", 1, 5, 8 + 4 + 1, -EINVAL },
	{ "IPv6: payload length below the frame", 1, 5, 8 + 4 - 1, -EINVAL },
	{ "IPv6: hop-by-hop header", 1, 6, IPPROTO_HOPOPTS, -EINVAL },
	{ "IPv6: routing header", 1, 6, IPPROTO_ROUTING, -EINVAL },
	{ "IPv6: fragment header", 1, 6, IPPROTO_FRAGMENT, -EINVAL },
	{ "IPv6: destination options", 1, 6, IPPROTO_DSTOPTS, -EINVAL },
	{ "IPv6: ICMPv6", 1, 6, IPPROTO_ICMPV6, -EINVAL },
	{ "IPv6: hop limit of 0", 1, 7, 0, -EINVAL },
	{ "IPv6: another's source", 1, 23, 2, -EACCES },
	{ "IPv6: a multicast source", 1, 8, 0xff, -EACCES },
	{ "IPv6: multicast without the flag", 1, 24, 0xff, -EACCES },
	{ "IPv6: another source port", 1, 41, (PORT + 1) & 0xff, -EACCES },
	{ "IPv6: UDP length above the packet", 1, 45, 8 + 4 + 1, -EINVAL },
	{ "IPv6: UDP length below the packet", 1, 45, 8 + 4 - 1, -EINVAL },
};

TEST_F(transmit, each_rule)
{
	struct demi_queue_counters count;
	uint32_t n = sizeof(rules) / sizeof(rules[0]);

	for (uint32_t i = 0; i < n; i++) {
		const struct rule *r = &rules[i];

		valid(r->v6, i);
		tx_ip(&p)[r->at] = r->value;
		EXPECT_EQ(r->want, tx_send(&self->h.q, &p))
		{
			TH_LOG("%s", r->what);
		}
		EXPECT_ARRIVES(r->v6, i);
	}
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(n, count.tx_refused);
	EXPECT_EQ(n, count.tx_frames);
	EXPECT_EQ(2 * n, count.tx_kicks);
}

/* Fields that are the sender's: they arrive as they are. */
TEST_F(transmit, free_fields)
{
	uint8_t control[256];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int on = 1, ttl = 0, tos = 0;

	ASSERT_EQ(0, setsockopt(self->h.peer[0], IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
	ASSERT_EQ(0, setsockopt(self->h.peer[0], IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)));
	valid(0, 1);
	tx_ip(&p)[1] = 0xb8 | 1;
	tx_ip(&p)[6] = 0x40;
	tx_ip(&p)[8] = 33;
	tx_ip(&p)[10] = 0x12; /* the header's checksum is the kernel's */
	ASSERT_EQ(0, tx_send(&self->h.q, &p));
	ASSERT_EQ(4, recvmsg(self->h.peer[0], &msg, 0));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_type == IP_TTL)
			memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
		if (c->cmsg_type == IP_TOS)
			tos = *CMSG_DATA(c);
	}
	EXPECT_EQ(33, ttl);
	EXPECT_EQ(0xb8 | 1, tos);
}

TEST_F(transmit, addresses_of_nobody)
{
	valid(0, 0);
	memset(tx_ip(&p) + 12, 0, 4);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	valid(0, 0);
	memset(tx_ip(&p) + 12, 255, 4);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	valid(0, 0);
	memset(tx_ip(&p) + 16, 0, 4);
	EXPECT_EQ(-EINVAL, tx_send(&self->h.q, &p));
	valid(0, 0);
	memset(tx_ip(&p) + 16, 255, 4);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	valid(0, 0);
	memset(tx_ip(&p) + 22, 0, 2);
	EXPECT_EQ(-EINVAL, tx_send(&self->h.q, &p));
	valid(1, 0);
	memset(tx_ip(&p) + 8, 0, 16);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	valid(1, 0);
	memset(tx_ip(&p) + 24, 0, 16);
	EXPECT_EQ(-EINVAL, tx_send(&self->h.q, &p));
	/* IPv4 in IPv6 clothes: a flow of IPv4 does not let it pass */
	valid(1, 0);
	inet_pton(AF_INET6, "::ffff:10.0.0.1", tx_ip(&p) + 8);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	valid(1, 0);
	inet_pton(AF_INET6, "::ffff:10.0.0.2", tx_ip(&p) + 24);
	EXPECT_EQ(-EINVAL, tx_send(&self->h.q, &p));
	EXPECT_ARRIVES(0, 1);
	EXPECT_ARRIVES(1, 2);
}

TEST_F(transmit, each_rule_of_tcp)
{
	static const struct rule tcp_rules[] = {
		{ "nothing wrong", 0, 33, 0x10, 0 },
		{ "no data offset", 0, 32, 0, -EINVAL },
		{ "data offset below 5", 0, 32, 0x40, -EINVAL },
		{ "data offset beyond the segment", 0, 32, 0xf0, -EINVAL },
		{ "reserved bits", 0, 32, 0x81, -EINVAL },
		{ "another source port", 0, 21, (PORT + 1) & 0xff, -EACCES },
		{ "multicast", 0, 16, 224, -EINVAL },
		{ "broadcast", 0, 19, 255, -EACCES },
		{ "IPv6: nothing wrong", 1, 53, 0x10, 0 },
		{ "IPv6: no data offset", 1, 52, 0, -EINVAL },
		{ "IPv6: multicast", 1, 24, 0xff, -EINVAL },
	};
	struct demi_queue_counters count;

	for (uint32_t i = 0; i < sizeof(tcp_rules) / sizeof(tcp_rules[0]); i++) {
		const struct rule *r = &tcp_rules[i];

		tx_tcp(&p, us[r->v6], PORT, them[r->v6], PEER, "abcd", 4);
		tx_ip(&p)[r->at] = r->value;
		tx_csum(&p);
		EXPECT_EQ(r->want, tx_send(&self->h.q, &p))
		{
			TH_LOG("%s", r->what);
		}
	}
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(2, count.tx_frames);
}

/* ---- virtio_net_hdr_v1 --------------------------------------------------------------------- */

static void veth_tx_offload(int on)
{
	struct ethtool_value v = { .cmd = ETHTOOL_STXCSUM, .data = (uint32_t)on };
	struct ifreq req = { .ifr_name = "veth0" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	req.ifr_data = (void *)&v;
	ioctl(fd, SIOCETHTOOL, &req);
	close(fd);
}

TEST_F(transmit, checksum_by_kernel)
{
	/* the device sums, then the kernel does and the receiver verifies */
	for (int offload = 1; offload >= 0; offload--) {
		veth_tx_offload(offload);
		for (int v6 = 0; v6 < 2; v6++) {
			tx_udp(&p, us[v6], PORT, them[v6], PEER, pattern, 1001);
			tx_ask_csum(&p);
			ASSERT_EQ(0, tx_send(&self->h.q, &p));
			ASSERT_EQ(1001, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
			ASSERT_EQ(0, memcmp(buf, pattern, 1001));
		}
	}
}

/* A wrong one is as wrong on arrival; none is none, as any socket may send it. */
TEST_F(transmit, checksum_by_sender)
{
	for (int v6 = 0; v6 < 2; v6++) {
		valid(v6, 1);
		tx_ip(&p)[p.l4 + 6] ^= 0x55;
		ASSERT_EQ(0, tx_send(&self->h.q, &p));
		EXPECT_ARRIVES(v6, 2);
	}
	valid(0, 3);
	memset(tx_ip(&p) + p.l4 + 6, 0, 2);
	ASSERT_EQ(0, tx_send(&self->h.q, &p));
	ASSERT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
}

TEST_F(transmit, each_rule_of_offloads)
{
	for (int i = 0; i < 12; i++) {
		int want = -EINVAL;

		tx_udp(&p, us[0], PORT, them[0], PEER, pattern, 1000);
		tx_ask_csum(&p);
		switch (i) {
		case 0:
			p.vh.csum_start = 18;
			break;
		case 1:
			p.vh.csum_start = 0;
			break;
		case 2:
			p.vh.csum_offset = 16;
			break;
		case 3:
			p.vh.csum_offset = 8;
			break;
		case 4:
			p.vh.flags |= 2;
			break; /* DATA_VALID */
		case 5:
			p.vh.flags |= 4;
			break; /* RSC_INFO */
		case 6:
			p.vh.gso_type = 3, p.vh.gso_size = 100;
			break; /* UFO */
		case 7:
			p.vh.gso_type = TX_GSO_TCPV4, p.vh.gso_size = 100;
			break;
		case 8:
			p.vh.gso_type = TX_GSO_UDP_L4 | 0x80, p.vh.gso_size = 100;
			break;
		case 9:
			p.vh.gso_type = TX_GSO_UDP_L4, p.vh.gso_size = 0;
			break;
		case 10:
			p.vh.gso_type = TX_GSO_UDP_L4, p.vh.gso_size = 100, p.vh.flags = 0;
			break;
		/* of no meaning on the way out */
		case 11:
			p.vh.hdr_len = 999, p.vh.num_buffers = 999, want = 0;
			break;
		}
		EXPECT_EQ(want, tx_send(&self->h.q, &p))
		{
			TH_LOG("case %d", i);
		}
	}
	ASSERT_EQ(1000, tx_recv(self->h.peer[0], buf, sizeof(buf)));
}

TEST_F(transmit, segments)
{
	for (int v6 = 0; v6 < 2; v6++) {
		size_t n = 20 * 1000 + 7;

		tx_udp(&p, us[v6], PORT, them[v6], PEER, pattern, n);
		tx_ask_csum(&p);
		p.vh.gso_type = TX_GSO_UDP_L4;
		p.vh.gso_size = 1000;
		ASSERT_EQ(0, tx_send(&self->h.q, &p));
		for (size_t at = 0; at < n; at += 1000) {
			size_t some = n - at < 1000 ? n - at : 1000;

			ASSERT_EQ((int)some, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
			ASSERT_EQ(0, memcmp(buf, pattern + at, some));
		}
		/* more than a socket may ask for; more than the path takes */
		p.vh.gso_size = 100;
		EXPECT_EQ(-EINVAL, tx_send(&self->h.q, &p));
		p.vh.gso_size = 1480;
		EXPECT_EQ(-EMSGSIZE, tx_send(&self->h.q, &p));
		EXPECT_ARRIVES(v6, 1);
	}
}

/* ---- sizes --------------------------------------------------------------------------------- */

TEST_F(transmit, fragments)
{
	for (int v6 = 0; v6 < 2; v6++) {
		tx_udp(&p, us[v6], PORT, them[v6], PEER, pattern, 8000);
		ASSERT_EQ(0, tx_send(&self->h.q, &p));
		ASSERT_EQ(8000, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		ASSERT_EQ(0, memcmp(buf, pattern, 8000));
	}
	tx_udp(&p, us[0], PORT, them[0], PEER, pattern, 8000);
	tx_ip(&p)[6] = 0x40;
	EXPECT_EQ(-EMSGSIZE, tx_send(&self->h.q, &p));
	/* the longest there is */
	tx_udp(&p, us[0], PORT, them[0], PEER, pattern, 65535 - 28);
	ASSERT_EQ(0, tx_send(&self->h.q, &p));
	ASSERT_EQ(65535 - 28, tx_recv(self->h.peer[0], buf, sizeof(buf)));
	ASSERT_EQ(0, memcmp(buf, pattern, 65535 - 28));
	/* nothing in it */
	tx_udp(&p, us[0], PORT, them[0], PEER, pattern, 0);
	ASSERT_EQ(0, tx_send(&self->h.q, &p));
	ASSERT_EQ(0, tx_recv(self->h.peer[0], buf, sizeof(buf)));
}

/* ---- this host ----------------------------------------------------------------------------- */

TEST_F(transmit, loopback)
{
	struct dt_queue other;
	int fd;

	ASSERT_EQ(0, dt_queue_open(&other, &self->h.ctx, 16));
	for (int v6 = 0; v6 < 2; v6++) {
		int header = v6 ? 48 : 28;

		fd = dt_socket(SOCK_DGRAM, loopback[v6], PEER);
		ASSERT_LE(0, fd);
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, loopback[v6], PORT));
		ASSERT_LT(0, dt_listen(&other, IPPROTO_UDP, 0, loopback[v6], PORT + 1));
		/* to a socket of the kernel, with either checksum */
		for (int offload = 0; offload < 2; offload++) {
			tx_udp(&p, loopback[v6], PORT, loopback[v6], PEER, pattern, 999);
			if (offload)
				tx_ask_csum(&p);
			ASSERT_EQ(0, tx_send(&self->h.q, &p));
			ASSERT_EQ(999, tx_recv(fd, buf, sizeof(buf)));
			ASSERT_EQ(0, memcmp(buf, pattern, 999));
		}
		/* to another queue, and back */
		tx_udp(&p, loopback[v6], PORT, loopback[v6], PORT + 1, pattern, 77);
		ASSERT_EQ(0, tx_send(&self->h.q, &p));
		ASSERT_EQ(header + 77, dt_pop(&other, NULL, buf, sizeof(buf)));
		ASSERT_EQ(0, memcmp(buf + header, pattern, 77));
		tx_udp(&p, loopback[v6], PORT + 1, loopback[v6], PORT, pattern, 78);
		ASSERT_EQ(0, tx_send(&other, &p));
		ASSERT_EQ(header + 78, dt_pop(&self->h.q, NULL, buf, sizeof(buf)));
		ASSERT_EQ(0, memcmp(buf + header, pattern, 78));
		/* to itself */
		tx_udp(&p, loopback[v6], PORT, loopback[v6], PORT, pattern, 79);
		ASSERT_EQ(0, tx_send(&self->h.q, &p));
		ASSERT_EQ(header + 79, dt_pop(&self->h.q, NULL, buf, sizeof(buf)));
		close(fd);
	}
	dt_queue_close(&other);
}

/* ---- whose flow it is ---------------------------------------------------------------------- */

TEST_F(transmit, flows_of_others)
{
	struct dt_queue other;
	int rsv, flow;

	ASSERT_EQ(0, dt_queue_open(&other, &self->h.ctx, 16));
	rsv = dt_reserve(&self->h.ctx, IPPROTO_UDP, 0, us[0], 6000);
	ASSERT_LT(0, rsv);
	/* the reservation alone is not enough */
	tx_udp(&p, us[0], 6000, them[0], PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	/* one peer only */
	flow = dt_flow(&self->h.ctx, rsv, 0, other.id, NULL, 0, them[0], PEER);
	ASSERT_LT(0, flow);
	EXPECT_EQ(0, tx_send(&other, &p));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
	tx_udp(&p, us[0], 6000, them[0], PEER + 1, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	tx_udp(&p, us[0], 6000, "10.0.0.3", PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	/* the other protocol of the same ports */
	tx_tcp(&p, us[0], 6000, them[0], PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	/* another queue's, although of the same context */
	tx_udp(&p, us[0], 6000, them[0], PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	tx_udp(&p, us[0], PORT, them[0], PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	/* gone */
	ASSERT_EQ(0, dt_flow_del(&self->h.ctx, flow));
	tx_udp(&p, us[0], 6000, them[0], PEER, "abcd", 4);
	EXPECT_EQ(-EACCES, tx_send(&other, &p));
	dt_queue_close(&other);
	EXPECT_ARRIVES(0, 1);
}

/* A reservation of any address sends from those that are the host's at the moment. */
TEST_F(transmit, address_that_goes)
{
	static const char *const extra[] = { "10.0.0.9", "fd00::9" };
	static const char *const any[] = { "0.0.0.0", "::" };

	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, any[v6], 6100));
		tx_udp(&p, extra[v6], 6100, them[v6], PEER, "abcd", 4);
		EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
		ASSERT_EQ(0, dt_ip("addr add %s/%d dev veth0 %s", extra[v6], v6 ? 64 : 24, v6 ? "nodad" : ""));
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
		EXPECT_EQ(4, tx_recv(self->h.peer[v6], buf, sizeof(buf)));
		ASSERT_EQ(0, dt_ip("addr del %s/%d dev veth0", extra[v6], v6 ? 64 : 24));
		EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	}
	/* IPv6 only, unless asked for */
	tx_udp(&p, us[0], 6200, them[0], PEER, "abcd", 4);
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, 0, "::", 6200));
	EXPECT_EQ(-EACCES, tx_send(&self->h.q, &p));
	ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, DEMI_PORT_F_DUAL, "::", 6300));
	tx_udp(&p, us[0], 6300, them[0], PEER, "abcd", 4);
	EXPECT_EQ(0, tx_send(&self->h.q, &p));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
}

TEST_F(transmit, multicast_and_broadcast)
{
	struct ip_mreq mreq = { .imr_multiaddr.s_addr = inet_addr("239.1.2.3"),
				.imr_interface.s_addr = inet_addr("10.0.0.2") };
	struct ipv6_mreq mreq6 = { 0 };
	struct {
		int v6;
		const char *to;
		uint32_t flag;
	} const *c, cases[] = {
		{ 0, "239.1.2.3", DEMI_PORT_F_MULTICAST },
		{ 0, "255.255.255.255", DEMI_PORT_F_BROADCAST },
		{ 0, "10.0.0.255", DEMI_PORT_F_BROADCAST },
		{ 1, "ff02::123", DEMI_PORT_F_MULTICAST },
	};
	uint32_t both = DEMI_PORT_F_MULTICAST | DEMI_PORT_F_BROADCAST;
	int fd[2];

	ASSERT_EQ(0, dt_ip("route add 239.0.0.0/8 dev veth0\nroute add 255.255.255.255/32 dev veth0"));
	ASSERT_EQ(0, dt_netns_enter(self->h.there));
	fd[0] = dt_socket(SOCK_DGRAM, "0.0.0.0", PEER + 1);
	fd[1] = dt_socket(SOCK_DGRAM, "::", PEER + 2);
	ASSERT_EQ(0, setsockopt(fd[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)));
	inet_pton(AF_INET6, "ff02::123", &mreq6.ipv6mr_multiaddr);
	mreq6.ipv6mr_interface = if_nametoindex("veth0");
	ASSERT_EQ(0, setsockopt(fd[1], IPPROTO_IPV6, IPV6_JOIN_GROUP, &mreq6, sizeof(mreq6)));
	ASSERT_EQ(0, dt_netns_enter(self->h.here));
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, DEMI_PORT_F_MULTICAST, us[v6], 6400));
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, DEMI_PORT_F_BROADCAST, us[v6], 6401));
		ASSERT_LT(0, dt_listen(&self->h.q, IPPROTO_UDP, both, us[v6], 6402));
	}
	for (c = cases; c < cases + 4; c++) {
		bool multicast = c->flag == DEMI_PORT_F_MULTICAST;

		tx_udp(&p, us[c->v6], 6400, c->to, PEER + 1 + c->v6, "abcd", 4);
		EXPECT_EQ(multicast ? 0 : -EACCES, tx_send(&self->h.q, &p))
		{
			TH_LOG("%s", c->to);
		}
		tx_udp(&p, us[c->v6], 6401, c->to, PEER + 1 + c->v6, "efgh", 4);
		EXPECT_EQ(multicast ? -EACCES : 0, tx_send(&self->h.q, &p));
		tx_udp(&p, us[c->v6], 6402, c->to, PEER + 1 + c->v6, "ijkl", 4);
		EXPECT_EQ(0, tx_send(&self->h.q, &p));
		EXPECT_EQ(4, tx_recv(fd[c->v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, multicast ? "abcd" : "efgh", 4));
		EXPECT_EQ(4, tx_recv(fd[c->v6], buf, sizeof(buf)));
		EXPECT_EQ(0, memcmp(buf, "ijkl", 4));
	}
}

TEST_F(transmit, no_route)
{
	struct demi_queue_counters count;

	tx_udp(&p, us[0], PORT, "192.0.2.1", PEER, "abcd", 4);
	EXPECT_EQ(-ENETUNREACH, tx_send(&self->h.q, &p));
	tx_udp(&p, us[1], PORT, "2001:db8::1", PEER, "abcd", 4);
	EXPECT_EQ(-ENETUNREACH, tx_send(&self->h.q, &p));
	ASSERT_EQ(0, dt_ip("route add unreachable 192.0.2.0/24"));
	tx_udp(&p, us[0], PORT, "192.0.2.1", PEER, "abcd", 4);
	EXPECT_EQ(-EHOSTUNREACH, tx_send(&self->h.q, &p));
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(3, count.tx_unreachable);
	EXPECT_EQ(0, count.tx_refused);
	EXPECT_EQ(0, count.tx_frames);
	EXPECT_ARRIVES(0, 1);
}

/* ---- rings that lie ------------------------------------------------------------------------ */

TEST_F(transmit, frame_not_complete)
{
	uint32_t sent, got = 0;

	valid(0, 1);
	tx_put(&self->h.q, &p);
	self->h.q.tx.desc[0].flags = DEMI_DESC_F_MORE;
	self->h.q.tx.desc[0].len = 30;
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(0, sent);
	EXPECT_EQ(0, dt_ring_avail(&self->h.q.tx_done));
	/* the rest: headers are not in the first descriptor */
	dt_ring_put(&self->h.q.tx, (struct demi_desc){ .offset = self->h.q.tx.desc[0].offset + 30,
						       .len = (uint32_t)p.len - 30,
						       .region = (uint16_t)self->h.ctx.region });
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(2, sent);
	EXPECT_EQ(-EINVAL, tx_done(&self->h.q, 2));
	/* headers and not one byte more are */
	valid(0, 2);
	ASSERT_EQ(2, tx_put_split(&self->h.q, &p, TX_HDR + 28));
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(0, tx_done(&self->h.q, 2));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], &got, 4));
	EXPECT_EQ(2, got);
}

TEST_F(transmit, too_many_descriptors)
{
	struct demi_queue_counters count;
	uint32_t sent;

	/* a ring full of one frame, which never ends; then the end, with something behind it */
	for (int i = 0; i < 64; i++)
		dt_ring_put(&self->h.q.tx, (struct demi_desc){ .offset = 0,
							       .len = 1,
							       .region = (uint16_t)self->h.ctx.region,
							       .flags = DEMI_DESC_F_MORE });
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(64, sent);
	EXPECT_EQ(-EMSGSIZE, tx_done(&self->h.q, 64));
	for (int i = 0; i < 10; i++)
		dt_ring_put(&self->h.q.tx, (struct demi_desc){ .offset = 0,
							       .len = 1,
							       .region = (uint16_t)self->h.ctx.region,
							       .flags = i < 9 ? DEMI_DESC_F_MORE : 0 });
	valid(0, 5);
	tx_put(&self->h.q, &p);
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(11, sent);
	EXPECT_EQ(-EMSGSIZE, tx_done(&self->h.q, 10));
	EXPECT_EQ(0, tx_done(&self->h.q, 1));
	EXPECT_EQ(4, tx_recv(self->h.peer[0], buf, sizeof(buf)));
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(1, count.tx_refused);
}

TEST_F(transmit, descriptors_of_nothing)
{
	struct demi_desc good = { .offset = 0, .len = 100, .region = (uint16_t)self->h.ctx.region };
	struct demi_queue_counters count;
	uint32_t sent;

	for (int i = 0; i < 5; i++) {
		struct demi_desc d = good;
		int want = -EFAULT;

		switch (i) {
		case 0:
			d.region = 0;
			break;
		case 1:
			d.region = 65535;
			break;
		case 2:
			d.offset = DT_REGION_BYTES - 99;
			break;
		case 3:
			d.offset = ~0ULL - 10;
			break;
		case 4:
			d.flags = 0x80, want = -EINVAL;
			break;
		}
		dt_ring_put(&self->h.q.tx, d);
		ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
		EXPECT_EQ(1, sent);
		EXPECT_EQ(want, tx_done(&self->h.q, 1));
	}
	ASSERT_EQ(0, dt_counters(&self->h.q, &count));
	EXPECT_EQ(4, count.tx_bad_desc);
	EXPECT_EQ(1, count.tx_refused);
	/* an index that claims more than there is */
	__atomic_store_n(self->h.q.tx.producer, self->h.q.tx.own + 1000, __ATOMIC_RELEASE);
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(0, sent);
	__atomic_store_n(self->h.q.tx.producer, self->h.q.tx.own, __ATOMIC_RELEASE);
	EXPECT_ARRIVES(0, 1);
}

TEST_F(transmit, done_full)
{
	struct pollfd fd = { .fd = self->h.q.fd, .events = POLLOUT };
	uint32_t sent;

	for (uint32_t i = 0; i < 64; i++) {
		valid(0, i);
		tx_put(&self->h.q, &p);
	}
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(64, sent);
	valid(0, 64);
	tx_put(&self->h.q, &p);
	EXPECT_EQ(-EAGAIN, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(0, poll(&fd, 1, 0));
	EXPECT_EQ(0, tx_done(&self->h.q, 64));
	EXPECT_EQ(1, poll(&fd, 1, 0));
	ASSERT_EQ(0, tx_kick(&self->h.q, &sent));
	EXPECT_EQ(1, sent);
	EXPECT_EQ(0, tx_done(&self->h.q, 1));
	for (uint32_t i = 0; i < 65; i++) {
		uint32_t got = 0;

		ASSERT_EQ(4, tx_recv(self->h.peer[0], &got, 4));
		ASSERT_EQ(i, got);
	}
}

TEST_HARNESS_MAIN
