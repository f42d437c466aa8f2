/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* ARP and the neighbours of IPv4: asked and answered, states, what is not believed, own addresses defended. */
#include "ether.h"

static uint8_t pkt[2000];

static const uint8_t other_mac[6] = { 2, 0, 0, 0, 0, 9 };

static void start(const char *gateways)
{
	ether_new("10.0.0.1/24", gateways, DEMI_INET_DAD_OFF);
	pass(10 * DEMI_ETHER_S); /* announcements */
	forget_frames();
}

/* The peer answers, so that it is known. */
static void learn_peer(void)
{
	uint32_t len = udp4_from(pkt, HOST4, PEER4, 7, 10);

	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	expect_packet(peer_mac, pkt, len);
	expect_done(0x1000, 0);
	no_frame();
}

static void announced(void)
{
	ether_new("10.0.0.1/24", NULL, DEMI_INET_DAD_OFF);
	pass(0);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	no_frame();
	pass(2 * DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	pass(60 * DEMI_ETHER_S);
	no_frame();
	ether_end();
}

static void answered(void)
{
	start(NULL);
	receive_arp(1, peer_mac, PEER4, NULL, HOST4, all_mac);
	expect_arp(2, HOST4, peer_mac, PEER4, peer_mac);
	receive_arp(1, peer_mac, 0, NULL, HOST4, all_mac); /* a probe */
	expect_arp(2, HOST4, peer_mac, 0, peer_mac);
	receive_arp(1, peer_mac, PEER4, NULL, HOST4 + 10, all_mac);
	receive_arp(1, peer_mac, PEER4, NULL, PEER4, all_mac);
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	no_frame();
	/* that taught nothing: the next packet has to ask */
	CHECK_EQ(stack_sends(pkt, udp4_from(pkt, HOST4, PEER4, 7, 10), 0x1000), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	no_frame();
	ether_end();
}

static void malformed(void)
{
	uint8_t f[60] = { 0 };
	struct demi_pktdev_stats s;

	start(NULL);
	for (uint32_t len = 0; len < 42; len++) {
		put_ether(f, all_mac, peer_mac, 0x0806);
		receive_frame(f, len);
		stack_gets_nothing();
	}
	ether->ops->stats(ether, &s);
	CHECK_EQ(s.rx_errors, 42);
	for (int i = 0; i < 8; i++) { /* types and lengths that are not those of IPv4 on Ethernet */
		put_ether(f, all_mac, peer_mac, 0x0806);
		memcpy(f + 14, (uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, 1 }, 8);
		f[14 + i] ^= 0x40;
		put32(f + 28, PEER4);
		put32(f + 38, HOST4);
		receive_frame(f, 60);
		stack_gets_nothing();
	}
	no_frame();
	ether_end();
}

static void kept_while_asked(void)
{
	uint32_t len = udp4_from(pkt, HOST4, PEER4, 7, 100);
	uint64_t cookie;
	int err;

	start(NULL);
	for (uint32_t i = 0; i < 20; i++)
		CHECK_EQ(stack_sends(pkt, len, 0x1000 + 16 * i), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	no_frame();
	CHECK_EQ(stack_done(&cookie, &err), 4); /* 16 wait */
	CHECK_EQ(err, 0);
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	for (int i = 0; i < 16; i++)
		expect_packet(peer_mac, pkt, len);
	no_frame();
	CHECK_EQ(stack_done(&cookie, &err), 16);
	CHECK_EQ(stack_sends(pkt, len, 0x3000), 1);
	expect_packet(peer_mac, pkt, len);
	expect_done(0x3000, 0);
	ether_end();
}

static void gone(void)
{
	uint32_t len = udp4_from(pkt, HOST4, PEER4, 7, 100);

	start(NULL);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	pass(DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	pass(DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	pass(DEMI_ETHER_S - 1);
	no_frame();
	expect_none_done();
	pass(1);
	no_frame();
	expect_done(0x1000, EHOSTUNREACH);
	ether_end();
}

/* REACHABLE, STALE, DELAY, PROBE and back; then it is gone. */
static void states(void)
{
	uint32_t len = udp4_from(pkt, HOST4, PEER4, 7, 10);

	start(NULL);
	learn_peer();
	pass(46 * DEMI_ETHER_S); /* stale; nobody asks while nobody sends */
	no_frame();
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(peer_mac, pkt, len);
	pass(5 * DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, PEER4, peer_mac); /* to itself alone */
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	pass(14 * DEMI_ETHER_S);
	no_frame();
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(peer_mac, pkt, len);
	pass(40 * DEMI_ETHER_S);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(peer_mac, pkt, len);
	pass(5 * DEMI_ETHER_S);
	for (int i = 0; i < 3; i++) {
		expect_arp(1, HOST4, NULL, PEER4, peer_mac);
		CHECK_EQ(stack_sends(pkt, len, 0x1000), 1); /* still sent */
		expect_packet(peer_mac, pkt, len);
		no_frame();
		pass(DEMI_ETHER_S);
	}
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	no_frame();
	ether_end();
}

/* A neighbour that is known may move; a stranger is not learned; nobody speaks for this host. */
static void news(void)
{
	uint32_t len = udp4_from(pkt, HOST4, PEER4, 7, 10);

	start(NULL);
	learn_peer();
	receive_arp(1, other_mac, PEER4, NULL, PEER4, all_mac); /* gratuitous */
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(other_mac, pkt, len);
	pass(5 * DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, PEER4, other_mac);
	receive_arp(2, (uint8_t[]){ 3, 0, 0, 0, 0, 7 }, PEER4, host_mac, HOST4, host_mac); /* a group's address */
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(other_mac, pkt, len);
	ether_end();
}

static void routed(void)
{
	struct demi_pktdev_route r = { .family = AF_INET };
	uint32_t len = udp4_from(pkt, HOST4, 0x08080808, 7, 10);

	start(NULL);
	r.dst.v4.s_addr = htonl(0x08080808);
	CHECK_EQ(ether->ops->route(ether, &r), -ENETUNREACH);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_done(0x1000, ENETUNREACH);
	no_frame();
	ether_end();
	start("10.0.0.254");
	CHECK_EQ(ether->ops->route(ether, &r), 0);
	CHECK_EQ(r.src.v4.s_addr, htonl(HOST4));
	CHECK_EQ(r.mtu_bytes, 1500);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_arp(1, HOST4, NULL, 0x0a0000fe, all_mac);
	receive_arp(2, peer_mac, 0x0a0000fe, host_mac, HOST4, host_mac);
	expect_packet(peer_mac, pkt, len);
	len = udp4_from(pkt, HOST4, 0x0a0000ff, 7, 10);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(all_mac, pkt, len);
	len = udp4_from(pkt, HOST4, 0xe1020304, 7, 10);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, pkt, len);
	len = udp4_from(pkt, HOST4, 0xef820304, 7, 10); /* 23 bits of it */
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, pkt, len);
	ether_end();
}

/* The table is bounded; who is used stays. */
static void many(void)
{
	uint32_t len;
	uint64_t cookie;
	int err;

	ether_new("10.0.0.1/16", NULL, DEMI_INET_DAD_OFF);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
	learn_peer();
	for (uint32_t i = 0; i < 3000; i++) {
		len = udp4_from(pkt, HOST4, PEER4 + 1 + i, 7, 10);
		CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
		forget_frames();
		stack_done(&cookie, &err);
	}
	len = udp4_from(pkt, HOST4, PEER4, 7, 10);
	CHECK_EQ(stack_sends(pkt, len, 0x1000), 1);
	expect_packet(peer_mac, pkt, len);
	CHECK(demi_ether_of(ether)->nheld <= DEMI_ETHER_DONES);
	ether_end();
}

/* ---- RFC 5227 ---- */

static void probed(void)
{
	struct demi_pktdev_route r = { .family = AF_INET, .dst.v4.s_addr = htonl(PEER4) };

	ether_new("10.0.0.1/24", NULL, DEMI_INET_DAD_ON);
	CHECK_EQ(ether->ops->route(ether, &r), -EADDRNOTAVAIL);
	pass(DEMI_ETHER_S);
	expect_arp(1, 0, NULL, HOST4, all_mac);
	receive_arp(1, peer_mac, PEER4, NULL, HOST4, all_mac); /* not ours yet */
	no_frame();
	pass(2 * DEMI_ETHER_S);
	expect_arp(1, 0, NULL, HOST4, all_mac);
	pass(2 * DEMI_ETHER_S);
	expect_arp(1, 0, NULL, HOST4, all_mac);
	pass(2 * DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	pass(2 * DEMI_ETHER_S);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	no_frame();
	CHECK_EQ(ether->ops->route(ether, &r), 0);
	ether_end();
}

static void conflict(enum demi_inet_dad dad)
{
	struct demi_pktdev_route r = { .family = AF_INET, .dst.v4.s_addr = htonl(PEER4) };
	uint32_t gen;

	ether_new("10.0.0.1/24", NULL, dad);
	gen = ether->route_gen;
	CHECK_EQ(ether->ops->route(ether, &r), dad == DEMI_INET_DAD_ON ? -EADDRNOTAVAIL : 0);
	pass(DEMI_ETHER_S);
	expect_arp(1, 0, NULL, HOST4, all_mac);
	receive_arp(1, host_mac, 0, NULL, HOST4, all_mac); /* our own, come back */
	receive_arp(2, other_mac, HOST4, host_mac, 0, host_mac);
	pass(60 * DEMI_ETHER_S);
	no_frame();
	CHECK_EQ(ether->ops->route(ether, &r), -EADDRNOTAVAIL);
	CHECK(ether->route_gen != gen);
	receive_arp(1, peer_mac, PEER4, NULL, HOST4, all_mac);
	no_frame();
	ether_end();
}

static void probed_together(void)
{
	ether_new("10.0.0.1/24", NULL, DEMI_INET_DAD_OPTIMISTIC);
	receive_arp(1, other_mac, 0, NULL, HOST4, all_mac);
	pass(60 * DEMI_ETHER_S);
	no_frame();
	ether_end();
}

static void defended(void)
{
	start(NULL);
	receive_arp(1, other_mac, HOST4, NULL, PEER4, all_mac);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	pass(11 * DEMI_ETHER_S);
	receive_arp(1, other_mac, HOST4, NULL, PEER4, all_mac);
	expect_arp(1, HOST4, NULL, HOST4, all_mac);
	pass(9 * DEMI_ETHER_S);
	receive_arp(1, other_mac, HOST4, NULL, PEER4, all_mac); /* too soon: it is the other's */
	no_frame();
	receive_arp(1, peer_mac, PEER4, NULL, HOST4, all_mac);
	no_frame();
	ether_end();
}

int main(void)
{
	alarm(100);
	announced();
	answered();
	malformed();
	kept_while_asked();
	gone();
	states();
	news();
	routed();
	many();
	probed();
	conflict(DEMI_INET_DAD_ON);
	conflict(DEMI_INET_DAD_OPTIMISTIC);
	probed_together();
	defended();
	return 0;
}
