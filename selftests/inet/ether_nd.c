/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* Neighbour discovery: solicitations and advertisements, duplicates, routers, prefixes and what they may not do. */
#include "ether.h"

static uint8_t pkt[2000];

static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 }, all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
static const uint8_t own_group[16] = { 0xff, 2, [11] = 1, [12] = 0xff, [15] = 1 };
static const uint8_t own_group_mac[6] = { 0x33, 0x33, 0xff, 0, 0, 1 };
static const uint8_t router[16] = { 0xfe, 0x80, [15] = 0xaa }, none[16];
static const uint8_t other_mac[6] = { 2, 0, 0, 0, 0, 9 };

/* An ICMPv6 message that is at @m already, 40 bytes into pkt. */
static void receive_icmp(const uint8_t *mac, const uint8_t *from_mac, const uint8_t *src, const uint8_t *dst,
			 uint8_t hops, uint32_t len)
{
	put_ip6(pkt, src, dst, 58, hops, len);
	put16(pkt + 42, 0);
	put16(pkt + 42, (uint16_t)~transport_sum(pkt, 40, len, 58));
	receive_packet(mac, from_mac, pkt, 40 + len);
	stack_gets_nothing();
}

static void receive_ns(const uint8_t *mac, const uint8_t *from_mac, const uint8_t *src, const uint8_t *dst,
		       const uint8_t *target, bool option)
{
	uint8_t *m = pkt + 40;

	memset(m, 0, 32);
	m[0] = 135;
	memcpy(m + 8, target, 16);
	m[24] = 1;
	m[25] = 1;
	memcpy(m + 26, from_mac, 6);
	receive_icmp(mac, from_mac, src, dst, 255, option ? 32 : 24);
}

static void receive_na(const uint8_t *mac, const uint8_t *from_mac, const uint8_t *target, const uint8_t *dst,
		       uint8_t flags, bool option)
{
	uint8_t *m = pkt + 40;

	memset(m, 0, 32);
	m[0] = 136;
	m[4] = flags;
	memcpy(m + 8, target, 16);
	m[24] = 2;
	m[25] = 1;
	memcpy(m + 26, from_mac, 6);
	receive_icmp(mac, from_mac, target, dst, 255, option ? 32 : 24);
}

/* The next frame is this message. */
static void expect_nd(uint8_t type, const uint8_t *mac, const uint8_t *src, const uint8_t *dst, uint8_t flags,
		      const uint8_t *target, bool option)
{
	struct frame *f = next_frame();
	uint32_t len = option ? 32 : 24;
	uint8_t *m;

	CHECK(f && f->len == 14 + 40 + len);
	m = f->d + 54;
	CHECK(!memcmp(f->d, mac, 6));
	CHECK(!memcmp(f->d + 22, src, 16) && !memcmp(f->d + 38, dst, 16));
	CHECK(f->d[20] == 58 && f->d[21] == 255);
	CHECK_EQ(m[0], type);
	CHECK_EQ(m[4], flags);
	CHECK(!memcmp(m + 8, target, 16));
	if (option)
		CHECK(m[24] == (type == 135 ? 1 : 2) && m[25] == 1 && !memcmp(m + 26, host_mac, 6));
	CHECK_EQ(transport_sum(f->d + 14, 40, len, 58), 0xffff);
	free(f);
}

static void start(void)
{
	ether_new("fd00::1/64", NULL, DEMI_INET_DAD_OFF);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
}

static void answered(void)
{
	start();
	receive_ns(own_group_mac, peer_mac, peer6, own_group, host6, true);
	expect_nd(136, peer_mac, host6, peer6, 0x60, host6, true);
	receive_ns(own_group_mac, peer_mac, none, own_group, host6, false); /* duplicate detection */
	expect_nd(136, all_nodes_mac, host6, all_nodes, 0x20, host6, true);
	/* for another; from afar; with options that are none; a probe with an address, or to one host */
	receive_ns(own_group_mac, peer_mac, peer6, own_group, peer6, true);
	receive_ns(own_group_mac, peer_mac, none, own_group, host6, true);
	receive_ns(host_mac, peer_mac, none, host6, host6, false);
	pkt[40] = 135;
	receive_ns(own_group_mac, peer_mac, peer6, own_group, own_group, true);
	no_frame();
	memset(pkt + 40, 0, 32);
	pkt[40] = 135;
	memcpy(pkt + 48, host6, 16);
	pkt[64] = 1;
	pkt[65] = 1;
	receive_icmp(own_group_mac, peer_mac, peer6, own_group, 254, 32);
	pkt[65] = 0;
	receive_icmp(own_group_mac, peer_mac, peer6, own_group, 255, 32);
	pkt[65] = 2;
	receive_icmp(own_group_mac, peer_mac, peer6, own_group, 255, 32);
	pkt[65] = 1;
	pkt[41] = 1;
	receive_icmp(own_group_mac, peer_mac, peer6, own_group, 255, 32);
	pkt[41] = 0;
	receive_icmp(own_group_mac, peer_mac, peer6, own_group, 255, 20);
	no_frame();
	ether_end();
}

static void resolved(void)
{
	static const uint8_t group[16] = { 0xff, 2, [11] = 1, [12] = 0xff, [15] = 2 };
	static const uint8_t group_mac[6] = { 0x33, 0x33, 0xff, 0, 0, 2 };
	uint32_t len = udp6_from(pkt + 1000, host6, peer6, 7, 50);
	uint8_t *p = pkt + 1000;

	start();
	receive_na(all_nodes_mac, peer_mac, peer6, all_nodes, 0x20, true); /* nobody has asked */
	CHECK_EQ(stack_sends(p, len, 0x10), 1);
	expect_nd(135, group_mac, host6, group, 0, peer6, true);
	receive_na(host_mac, peer_mac, peer6, host6, 0x60, false); /* says no address */
	no_frame();
	receive_na(host_mac, peer_mac, peer6, host6, 0x60, true);
	expect_packet(peer_mac, p, len);
	expect_done(0x10, 0);
	/* without "override" a new address only makes it be asked again */
	receive_na(host_mac, other_mac, peer6, host6, 0x40, true);
	CHECK_EQ(stack_sends(p, len, 0x20), 1);
	expect_packet(peer_mac, p, len);
	pass(5 * DEMI_ETHER_S);
	expect_nd(135, peer_mac, host6, peer6, 0, peer6, true);
	receive_na(host_mac, other_mac, peer6, host6, 0x60, true);
	CHECK_EQ(stack_sends(p, len, 0x20), 1);
	expect_packet(other_mac, p, len);
	/* the end: three questions */
	pass(46 * DEMI_ETHER_S);
	CHECK_EQ(stack_sends(p, len, 0x20), 1);
	expect_packet(other_mac, p, len);
	pass(8 * DEMI_ETHER_S);
	for (int i = 0; i < 3; i++)
		expect_nd(135, other_mac, host6, peer6, 0, peer6, true);
	no_frame();
	stack_done(&(uint64_t){ 0 }, &(int){ 0 });
	CHECK_EQ(stack_sends(p, len, 0x30), 1);
	for (int i = 0; i < 3; i++) {
		expect_nd(135, group_mac, host6, group, 0, peer6, true);
		expect_none_done();
		pass(DEMI_ETHER_S);
	}
	expect_done(0x30, EHOSTUNREACH);
	ether_end();
}

static int usable(const char *ip)
{
	struct demi_pktdev_port p = { .family = AF_INET6, .proto = 17 };
	int err;

	CHECK_EQ(inet_pton(AF_INET6, ip, &p.ip), 1);
	err = ether->ops->port_reserve(ether, &p);
	if (!err)
		ether->ops->port_release(ether, p.handle);
	CHECK(!err || err == -EADDRNOTAVAIL);
	return !err;
}

/* Frames that are no reports of groups. */
static struct frame *next_nd(void)
{
	struct frame *f = next_frame();

	while (f && f->d[20] == 0) {
		free(f);
		f = next_frame();
	}
	return f;
}

static void duplicates(void)
{
	uint32_t probes = 0;
	struct frame *f;

	for (int kind = 0; kind < 4; kind++) {
		ether_new("fd00::1/64", NULL, kind & 1 ? DEMI_INET_DAD_ON : DEMI_INET_DAD_OPTIMISTIC);
		CHECK_EQ(usable("fd00::1"), !(kind & 1));
		pass(DEMI_ETHER_S);
		while ((f = next_nd())) { /* of this address and of the link-local one */
			CHECK(f->d[54] == 135 && !memcmp(f->d + 22, none, 16) && f->len == 14 + 64);
			CHECK_EQ(f->d[38], 0xff);
			probes++;
			free(f);
		}
		receive_ns(own_group_mac, host_mac, none, own_group, host6, false); /* our own */
		if (kind & 2)
			receive_na(all_nodes_mac, other_mac, host6, all_nodes, 0x20, true);
		else
			receive_ns(own_group_mac, other_mac, none, own_group, host6, false);
		pass(10 * DEMI_ETHER_S);
		CHECK(!usable("fd00::1"));
		CHECK(usable("fe80::ff:fe00:1"));
		forget_frames();
		receive_ns(own_group_mac, peer_mac, peer6, own_group, host6, true);
		no_frame();
		ether_end();
	}
	CHECK_EQ(probes, 8);
	/* one that is in use stays: RFC 4862 5.4.4 */
	start();
	receive_na(all_nodes_mac, other_mac, host6, all_nodes, 0x20, true);
	CHECK(usable("fd00::1"));
	ether_end();
}

/* ---- routers ---- */

static uint32_t ra_len;

static void ra_start(uint32_t lifetime_s, uint8_t flags)
{
	memset(pkt + 40, 0, 200);
	pkt[40] = 134;
	pkt[45] = flags;
	put16(pkt + 46, lifetime_s);
	ra_len = 16;
}

static void ra_prefix(const char *prefix, uint8_t plen, uint8_t flags, uint32_t valid_s, uint32_t preferred_s)
{
	uint8_t *o = pkt + 40 + ra_len;

	o[0] = 3;
	o[1] = 4;
	o[2] = plen;
	o[3] = flags;
	put32(o + 4, valid_s);
	put32(o + 8, preferred_s);
	CHECK_EQ(inet_pton(AF_INET6, prefix, o + 16), 1);
	ra_len += 32;
}

static void ra_mtu(uint32_t mtu)
{
	uint8_t *o = pkt + 40 + ra_len;

	o[0] = 5;
	o[1] = 1;
	put32(o + 4, mtu);
	ra_len += 8;
}

static void ra_send_from(const uint8_t *src)
{
	receive_icmp(all_nodes_mac, peer_mac, src, all_nodes, 255, ra_len);
}

static int route_to(const char *ip, uint32_t *mtu)
{
	struct demi_pktdev_route r = { .family = AF_INET6 };
	int err;

	CHECK_EQ(inet_pton(AF_INET6, ip, &r.dst), 1);
	err = ether->ops->route(ether, &r);
	if (mtu)
		*mtu = r.mtu_bytes;
	return err;
}

static void autoconf(const char *addrs)
{
	ether_new(addrs, NULL, DEMI_INET_DAD_OFF);
	pass(0);
	forget_frames();
}

static void solicited(void)
{
	static const uint8_t all_routers[16] = { 0xff, 2, [15] = 2 };
	uint32_t n = 0;
	struct frame *f;

	autoconf("auto");
	pass(60 * DEMI_ETHER_S);
	while ((f = next_nd())) {
		CHECK_EQ(f->d[54], 133);
		CHECK(!memcmp(f->d + 38, all_routers, 16) && f->d[62] == 1 && !memcmp(f->d + 64, host_mac, 6));
		CHECK_EQ(transport_sum(f->d + 14, 40, 16, 58), 0xffff);
		free(f);
		n++;
	}
	CHECK_EQ(n, 3);
	ether_end();
	autoconf("auto");
	ra_start(100, 0);
	ra_send_from(router);
	pass(60 * DEMI_ETHER_S);
	CHECK(!next_nd()); /* nothing to be asked any more */
	ether_end();
}

static void advertised(void)
{
	static const uint8_t global[16] = { 0x20, 1, [15] = 7 };
	uint32_t mtu;

	autoconf("auto");
	CHECK_EQ(route_to("2001:db8::1", NULL), -ENETUNREACH);
	ra_start(1800, 0);
	ra_prefix("fd0a::", 64, 0xc0, 3600, 1800);
	ra_mtu(1400);
	ra_send_from(global); /* not from a link-local address: 6.1.2 */
	CHECK(!usable("fd0a::ff:fe00:1"));
	ra_send_from(router);
	CHECK(usable("fd0a::ff:fe00:1"));
	CHECK_EQ(route_to("fd0a::5", &mtu), 0);
	CHECK_EQ(mtu, 1400);
	CHECK_EQ(route_to("2001:db8::1", NULL), 0);
	/* limits: MTUs too small or large, a link-local prefix, lifetimes the wrong way round, other lengths */
	ra_start(1800, 0);
	ra_mtu(1279);
	ra_mtu(1501);
	ra_prefix("fe80::", 64, 0xc0, 100, 100);
	ra_prefix("fd0b::", 64, 0xc0, 100, 200);
	ra_prefix("fd0c::", 48, 0x40, 100, 100);
	ra_send_from(router);
	CHECK_EQ(route_to("fd0a::5", &mtu), 0);
	CHECK_EQ(mtu, 1400);
	CHECK(!usable("fd0b::ff:fe00:1") && !usable("fd0c::ff:fe00:1"));
	/* RFC 4862 5.5.3 (e): nobody ends an address at once */
	ra_start(1800, 0);
	ra_prefix("fd0a::", 64, 0xc0, 0, 0);
	ra_send_from(router);
	pass(3590 * DEMI_ETHER_S);
	CHECK(usable("fd0a::ff:fe00:1"));
	CHECK_EQ(route_to("2001:db8::1", NULL), -ENETUNREACH); /* the router is over */
	pass(20 * DEMI_ETHER_S);
	CHECK(!usable("fd0a::ff:fe00:1"));
	/* a router that routes no more */
	ra_start(100, 0);
	ra_send_from(router);
	CHECK_EQ(route_to("2001:db8::1", NULL), 0);
	ra_start(0, 0);
	ra_send_from(router);
	CHECK_EQ(route_to("2001:db8::1", NULL), -ENETUNREACH);
	ether_end();
	/* nobody has asked for routers */
	autoconf("fd00::1/64");
	ra_start(1800, 0);
	ra_prefix("fd0a::", 64, 0xc0, 3600, 1800);
	ra_send_from(router);
	CHECK_EQ(route_to("2001:db8::1", NULL), -ENETUNREACH);
	CHECK(!usable("fd0a::ff:fe00:1"));
	ether_end();
}

/* Tables have an end. */
static void flooded(void)
{
	uint8_t src[16] = { 0xfe, 0x80 };
	char prefix[32];

	autoconf("fd00::1/64,auto");
	for (uint32_t i = 1; i < 300; i++) {
		ra_start(1800, 0);
		snprintf(prefix, sizeof(prefix), "2001:%x::", i);
		ra_prefix(prefix, 64, 0xc0, 100000, 100000);
		put16(src + 14, i);
		ra_send_from(src);
	}
	CHECK(usable("fd00::1"));
	CHECK(usable("2001:1::ff:fe00:1"));
	CHECK(!usable("2001:12b::ff:fe00:1"));
	forget_frames();
	ether_end();
}

/* Two routers: the preferred one, and the other when that does not answer. */
static void failover(void)
{
	static const uint8_t second[16] = { 0xfe, 0x80, [15] = 0xbb }, far[16] = { 0x20, 1, [15] = 1 };
	struct frame *f;
	uint64_t cookie;
	uint32_t len;
	int err;

	autoconf("fd00::1/64,auto");
	ra_start(9000, 0x18); /* low */
	ra_send_from(router);
	ra_start(9000, 0x08); /* high */
	ra_send_from(second);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
	len = udp6_from(pkt, host6, far, 7, 10);
	CHECK_EQ(stack_sends(pkt, len, 0x10), 1);
	f = next_frame();
	CHECK(f && f->d[54] == 135 && !memcmp(f->d + 62, second, 16));
	free(f);
	pass(3 * DEMI_ETHER_S);
	CHECK_EQ(stack_done(&cookie, &err), 1);
	CHECK_EQ(err, EHOSTUNREACH);
	forget_frames();
	CHECK_EQ(stack_sends(pkt, len, 0x10), 1);
	f = next_frame();
	CHECK(f && f->d[54] == 135 && !memcmp(f->d + 62, router, 16));
	free(f);
	ether_end();
}

int main(void)
{
	alarm(100);
	answered();
	resolved();
	duplicates();
	solicited();
	advertised();
	flooded();
	failover();
	return 0;
}
