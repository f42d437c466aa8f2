/* SPDX-License-Identifier: MIT */
/* modules: veth */
/* Long TCP segments: cut by the kernel before they are on the wire, and merged ones whole in a queue. */
#include "kselftest_harness.h"
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>

#include "tx_test.h"

#define PORT 5000 /* here */
#define PEER 7000 /* there */
#define MSS 1400
#define SEQ 0xfffff000u /* wraps on the way */
#define FLAGS_LAST (TH_PUSH | TH_FIN)

static const char *const us[] = { "10.0.0.1", "fd00::1" };
static const char *const them[] = { "10.0.0.2", "fd00::2" };

static struct tx_packet p;
static uint8_t buf[DEMI_FRAME_MAX];
static uint8_t pattern[DEMI_FRAME_MAX];
static uint8_t whole[DEMI_FRAME_MAX];

FIXTURE(segments)
{
	struct dt_ctx ctx, far_ctx;
	struct dt_queue q, far;
	int here, there;
};

/* A queue on either host, each with a TCP port. */
FIXTURE_SETUP(segments)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + (i >> 8));
	ASSERT_EQ(0, dt_two_hosts(&self->here, &self->there));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, dt_open(&self->far_ctx));
	ASSERT_EQ(0, dt_queue_open(&self->far, &self->far_ctx, 64));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	ASSERT_EQ(0, dt_open(&self->ctx));
	ASSERT_EQ(0, dt_queue_open(&self->q, &self->ctx, 64));
	for (int v6 = 0; v6 < 2; v6++) {
		ASSERT_LT(0, dt_listen(&self->q, IPPROTO_TCP, 0, us[v6], PORT));
		ASSERT_LT(0, dt_listen(&self->far, IPPROTO_TCP, 0, them[v6], PEER));
	}
}

FIXTURE_TEARDOWN(segments)
{
	dt_queue_close(&self->q);
	dt_queue_close(&self->far);
	dt_close(&self->ctx);
	dt_close(&self->far_ctx);
}

static int veth_set(uint32_t command, bool on)
{
	struct ethtool_value v = { .cmd = command, .data = on };
	struct ifreq req = { .ifr_name = "veth0" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	req.ifr_data = (void *)&v;
	err = ioctl(fd, SIOCETHTOOL, &req) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* One of @n bytes. */
static void long_segment(int v6, size_t n)
{
	struct tcphdr *th;

	tx_tcp(&p, us[v6], PORT, them[v6], PEER, pattern, n);
	th = (struct tcphdr *)(tx_ip(&p) + p.l4);
	th->seq = htonl(SEQ);
	th->th_flags |= FLAGS_LAST;
	tx_ask_csum(&p);
	p.vh.gso_type = v6 ? TX_GSO_TCPV6 : TX_GSO_TCPV4;
	p.vh.gso_size = MSS;
}

/* Sums to nothing, header and pseudo header included. */
static bool csum_ok(const uint8_t *ip, int len)
{
	bool v6 = ip[0] >> 4 == 6;
	int l4 = v6 ? 40 : 20;
	uint32_t sum = tx_sum(0, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8) + IPPROTO_TCP + (uint32_t)(len - l4);

	return tx_sum(sum, ip + l4, (size_t)(len - l4)) == 0xffff && (v6 || tx_sum(0, ip, 20) == 0xffff);
}

/* The next frame of our connection, from its IP header on, in buf: its length. */
static int wire_next(int wire)
{
	struct sockaddr_ll from;
	int n;

	for (;;) {
		struct pollfd fd = { .fd = wire, .events = POLLIN };
		socklen_t len = sizeof(from);

		if (poll(&fd, 1, DT_PATIENCE_MS) <= 0)
			return -ETIMEDOUT;
		n = (int)recvfrom(wire, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
		if (n < 0)
			return -errno;
		if (from.sll_pkttype != PACKET_HOST || n < 60)
			continue;
		if ((buf[0] >> 4 == 4 && buf[9] == IPPROTO_TCP) || (buf[0] >> 4 == 6 && buf[6] == IPPROTO_TCP))
			return n;
	}
}

TEST_F(segments, cut_before_the_wire)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	const size_t n = 65000;
	int wire;

	/* then nor can it cut */
	ASSERT_EQ(0, veth_set(ETHTOOL_STXCSUM, false));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	wire = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex("veth0");
	ASSERT_EQ(0, bind(wire, (struct sockaddr *)&ll, sizeof(ll)));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	for (int v6 = 0; v6 < 2; v6++) {
		uint16_t id = 0;

		long_segment(v6, n);
		ASSERT_EQ(0, tx_send(&self->q, &p));
		for (size_t at = 0; at < n; at += MSS) {
			size_t some = n - at < MSS ? n - at : MSS;
			const struct tcphdr *th = (const void *)(buf + p.l4);
			int len = wire_next(wire);

			ASSERT_EQ((int)(p.payload + some), len)
			{
				TH_LOG("at %zu", at);
			}
			ASSERT_TRUE(csum_ok(buf, len));
			ASSERT_EQ(SEQ + (uint32_t)at, ntohl(th->seq));
			ASSERT_EQ(at + some == n ? FLAGS_LAST : 0, th->th_flags & FLAGS_LAST);
			ASSERT_EQ(0, memcmp(buf + p.payload, pattern + at, some));
			ASSERT_EQ(len, v6 ? dt_be16(buf + 4) + 40 : dt_be16(buf + 2));
			if (!v6 && at)
				ASSERT_EQ((uint16_t)(id + 1), dt_be16(buf + 4));
			id = dt_be16(buf + 4);
		}
	}
	close(wire);
}

/*
 * Receive until @n bytes of payload were in the queue, into their places in whole[]. How many frames it took; *descs:
 * descriptors of the longest.
 */
static int receive(struct dt_queue *q, size_t n, size_t payload, uint32_t *descs)
{
	struct virtio_net_hdr_v1 hdr = { 0 };
	size_t got = 0;
	int frames = 0;

	*descs = 0;
	memset(whole, 0, sizeof(whole));
	while (got < n) {
		uint32_t before = q->rx.own, at;
		int len = dt_pop(q, &hdr, buf, sizeof(buf));

		if (len < (int)payload)
			return len < 0 ? len : -EPROTO;
		len -= (int)payload;
		at = dt_be16(buf + payload - 32 + 4) << 16 | dt_be16(buf + payload - 32 + 6);
		at -= SEQ;
		if (at > n || at + (size_t)len > n)
			return -ERANGE;
		if (len > MSS && (hdr.gso_size != MSS || !(hdr.gso_type & (TX_GSO_TCPV4 | TX_GSO_TCPV6))))
			return -EBADMSG;
		memcpy(whole + at, buf + payload, (size_t)len);
		got += (size_t)len;
		if (q->rx.own - before > *descs)
			*descs = q->rx.own - before;
		frames++;
	}
	return frames;
}

/* As it came out of the other queue: nobody on the way had to cut it. */
TEST_F(segments, delivered_whole)
{
	const size_t n = 65000;
	uint32_t descs;

	for (int v6 = 0; v6 < 2; v6++) {
		long_segment(v6, n);
		ASSERT_EQ(0, tx_send(&self->q, &p));
		EXPECT_EQ(1, receive(&self->far, n, p.payload, &descs));
		EXPECT_EQ((p.len + DT_BUFFER_BYTES - 1) / DT_BUFFER_BYTES, descs);
		EXPECT_EQ(0, memcmp(whole, pattern, n));
	}
}

/* Cut on this side, merged again on the other: fewer frames than were on the wire. */
TEST_F(segments, merged_by_the_receiver)
{
	const size_t n = 20 * MSS;
	uint32_t descs;

	ASSERT_EQ(0, veth_set(ETHTOOL_STXCSUM, false));
	ASSERT_EQ(0, dt_netns_enter(self->there));
	ASSERT_EQ(0, veth_set(ETHTOOL_SGRO, true));
	ASSERT_EQ(0, dt_netns_enter(self->here));
	for (int v6 = 0; v6 < 2; v6++) {
		long_segment(v6, n);
		ASSERT_EQ(0, tx_send(&self->q, &p));
		EXPECT_GT(20, receive(&self->far, n, p.payload, &descs));
		EXPECT_LT(1, descs);
		EXPECT_EQ(0, memcmp(whole, pattern, n));
	}
}

TEST_HARNESS_MAIN
