/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* Packets on layer 2: what the stack gets, echoes, errors, ports, path MTUs, offloads and this host itself. */
#include "ether.h"

static uint8_t pkt[66000], got[66000], want[66000];
static const uint8_t other_mac[6] = { 2, 0, 0, 0, 0, 9 };

static void start(void)
{
	ether_new(NULL, "10.0.0.254,fd00::fe", DEMI_INET_DAD_OFF);
	pass(10 * DEMI_ETHER_S); /* announcements, reports */
	forget_frames();
}

static void gets(const uint8_t *ip, uint32_t len)
{
	uint32_t n = stack_gets(got, sizeof(got));

	CHECK_EQ(n, len);
	CHECK(!memcmp(got, ip, len));
}

/* ---- which packets the stack gets ---- */

static void delivered(void)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 }, group_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint32_t len, flow;
	struct demi_pktdev_stats s;

	start();
	reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL, &flow);
	for (int i = 0; i < 3; i++) { /* the first is looked at closely */
		len = udp4_from(pkt, PEER4, HOST4, 7, 20);
		receive_packet(host_mac, peer_mac, pkt, len);
		gets(pkt, len);
		len = udp6_from(pkt, peer6, host6, 7, 20);
		receive_packet(host_mac, peer_mac, pkt, len);
		gets(pkt, len);
		put_ip4(pkt, PEER4, HOST4, 6, 20);
		receive_packet(host_mac, peer_mac, pkt, 40);
		gets(pkt, 40);
	}
	len = udp4_from(pkt, PEER4, 0xffffffff, 7, 20);
	receive_packet(all_mac, peer_mac, pkt, len);
	gets(pkt, len);
	len = udp4_from(pkt, PEER4, 0x0a0000ff, 7, 20);
	receive_packet(all_mac, peer_mac, pkt, len);
	gets(pkt, len);
	len = udp6_from(pkt, peer6, all_nodes, 7, 20);
	receive_packet(group_mac, peer_mac, pkt, len);
	gets(pkt, len);
	no_frame();
	ether->ops->stats(ether, &s);
	CHECK_EQ(s.rx_errors + s.rx_dropped, 0);
	ether_end();
}

static void wrong_source(uint32_t src)
{
	uint32_t len = udp4_from(pkt, src, HOST4, 7, 20);

	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	no_frame();
}

static void wrong_source6(const char *text)
{
	uint8_t src[16];
	uint32_t len;

	CHECK_EQ(inet_pton(AF_INET6, text, src), 1);
	len = udp6_from(pkt, src, host6, 7, 20);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	no_frame();
}

static void dropped(void)
{
	static const uint8_t mapped[16] = { [10] = 0xff, 0xff, 10, 0, 0, 1 };
	uint32_t len, flow;

	start();
	reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL, &flow);
	for (int i = 0; i < 2; i++) {
		wrong_source(HOST4);
		wrong_source(0x7f000001);
		wrong_source(0);
		wrong_source(0x00000001);
		wrong_source6("fd00::1");
		wrong_source6("::1");
		wrong_source6("::");
		wrong_source6("::ffff:10.0.0.2");
		len = udp4_from(pkt, PEER4, HOST4, 7, 20); /* now the same on the fast path */
		receive_packet(host_mac, peer_mac, pkt, len);
		gets(pkt, len);
		len = udp6_from(pkt, peer6, host6, 7, 20);
		receive_packet(host_mac, peer_mac, pkt, len);
		gets(pkt, len);
	}
	wrong_source(0x0a0000ff);
	wrong_source(0xe0000001);
	len = udp4_from(pkt, PEER4, HOST4, 7, 20);
	receive_packet(other_mac, peer_mac, pkt, len); /* another's frame */
	stack_gets_nothing();
	receive_packet(all_mac, peer_mac, pkt, len); /* RFC 1122 3.3.6 */
	stack_gets_nothing();
	receive_packet(host_mac, all_mac, pkt, len);
	stack_gets_nothing();
	len = udp4_from(pkt, PEER4, HOST4 + 5, 7, 20);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	len = udp4_from(pkt, PEER4, 0xe1020304, 7, 20); /* a group that nobody joined */
	receive_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, peer_mac, pkt, len);
	stack_gets_nothing();
	len = udp6_from(pkt, peer6, mapped, 7, 20);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	put_ip4(pkt, PEER4, 0x0a0000ff, 6, 20); /* TCP to everybody */
	receive_packet(all_mac, peer_mac, pkt, 40);
	stack_gets_nothing();
	no_frame();
	ether_end();
}

/* ---- echoes ---- */

static void echo4(uint32_t len)
{
	pkt[20] = 8;
	pkt[21] = 0;
	put32(pkt + 24, 0x12340001);
	for (uint32_t i = 8; i < len; i++)
		pkt[20 + i] = (uint8_t)i;
	put16(pkt + 22, 0);
	put16(pkt + 22, (uint16_t)~sum_of(0, pkt + 20, len));
	put_ip4(pkt, PEER4, HOST4, 1, len);
	receive_packet(host_mac, peer_mac, pkt, 20 + len);
	stack_gets_nothing();
}

static void echo6(const uint8_t *dst, const uint8_t *mac, uint32_t len)
{
	pkt[40] = 128;
	pkt[41] = 0;
	put32(pkt + 44, 0x12340001);
	for (uint32_t i = 8; i < len; i++)
		pkt[40 + i] = (uint8_t)i;
	put_ip6(pkt, peer6, dst, 58, 64, len);
	put16(pkt + 42, 0);
	put16(pkt + 42, (uint16_t)~transport_sum(pkt, 40, len, 58));
	receive_packet(mac, peer_mac, pkt, 40 + len);
	stack_gets_nothing();
}

static void echoes(void)
{
	static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 }, group_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct frame *f;

	start();
	echo4(64);
	f = next_frame();
	CHECK(f && f->len == 14 + 84 && !memcmp(f->d, peer_mac, 6));
	CHECK_EQ(get32(f->d + 14 + 12), HOST4);
	CHECK_EQ(get32(f->d + 14 + 16), PEER4);
	CHECK_EQ(sum_of(0, f->d + 14, 20), 0xffff);
	CHECK_EQ(get16(f->d + 14 + 20), 0);
	CHECK(!memcmp(f->d + 14 + 24, pkt + 24, 60));
	CHECK_EQ(sum_of(0, f->d + 34, 64), 0xffff);
	free(f);
	for (int i = 0; i < 2; i++) {
		echo6(i ? all_nodes : host6, i ? group_mac : host_mac, 64);
		f = next_frame();
		CHECK(f && f->len == 14 + 104 && !memcmp(f->d, peer_mac, 6));
		CHECK(!memcmp(f->d + 14 + 8, host6, 16) && !memcmp(f->d + 14 + 24, peer6, 16));
		CHECK_EQ(f->d[14 + 40], 129);
		CHECK(!memcmp(f->d + 14 + 44, pkt + 44, 60));
		CHECK_EQ(transport_sum(f->d + 14, 40, 64, 58), 0xffff);
		free(f);
	}
	/* a wrong checksum, to everybody, a reply */
	echo4(64);
	free(next_frame());
	pkt[40] ^= 1;
	receive_packet(host_mac, peer_mac, pkt, 84);
	stack_gets_nothing();
	pkt[40] ^= 1;
	put_ip4(pkt, PEER4, 0x0a0000ff, 1, 64);
	receive_packet(all_mac, peer_mac, pkt, 84);
	stack_gets_nothing();
	no_frame();
	ether_end();
}

/* ---- errors ---- */

static void unreachable(void)
{
	uint32_t len, flow, h, n = 0;
	struct frame *f;

	start();
	len = udp4_from(pkt, PEER4, HOST4, 7, 1000);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	f = next_frame();
	CHECK(f && f->len == 14 + 576 && !memcmp(f->d, peer_mac, 6));
	CHECK_EQ(f->d[14 + 9], 1);
	CHECK_EQ(get16(f->d + 34), 0x0303);
	CHECK_EQ(get32(f->d + 38), 0);
	CHECK_EQ(sum_of(0, f->d + 34, 556), 0xffff);
	CHECK(!memcmp(f->d + 42, pkt, 548));
	free(f);
	len = udp6_from(pkt, peer6, host6, 7, 1400);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	f = next_frame();
	CHECK(f && f->len == 14 + 1280);
	CHECK_EQ(get16(f->d + 54), 0x0104);
	CHECK_EQ(transport_sum(f->d + 14, 40, 1240, 58), 0xffff);
	CHECK(!memcmp(f->d + 62, pkt, 1232));
	free(f);
	put_ip4(pkt, PEER4, HOST4, 99, 20); /* a protocol that nobody has */
	receive_packet(host_mac, peer_mac, pkt, 40);
	stack_gets_nothing();
	f = next_frame();
	CHECK(f && get16(f->d + 34) == 0x0302);
	free(f);
	put_ip6(pkt, peer6, host6, 99, 64, 20);
	receive_packet(host_mac, peer_mac, pkt, 60);
	stack_gets_nothing();
	f = next_frame();
	CHECK(f && get16(f->d + 54) == 0x0401 && get32(f->d + 58) == 6);
	free(f);
	/* not about what was sent to all; and only so many at once */
	len = udp4_from(pkt, PEER4, 0x0a0000ff, 7, 10);
	receive_packet(all_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	no_frame();
	len = udp4_from(pkt, PEER4, HOST4, 7, 10);
	for (int i = 0; i < 200; i++) {
		receive_packet(host_mac, peer_mac, pkt, len);
		stack_gets_nothing();
	}
	while ((f = next_frame())) {
		free(f);
		n++;
	}
	CHECK_EQ(n, 46);
	pass(10 * DEMI_ETHER_MS);
	for (n = 0; n < 20; n++) {
		receive_packet(host_mac, peer_mac, pkt, len);
		stack_gets_nothing();
	}
	for (n = 0; (f = next_frame()); n++)
		free(f);
	CHECK_EQ(n, 10);
	/* the port opens and closes */
	pass(DEMI_ETHER_S);
	h = reserve(AF_INET, 17, 7, 0, &flow);
	receive_packet(host_mac, peer_mac, pkt, len);
	gets(pkt, len);
	receive_packet(host_mac, peer_mac, pkt, len);
	gets(pkt, len);
	no_frame();
	ether->ops->flow_del(ether, flow);
	receive_packet(host_mac, peer_mac, pkt, len);
	stack_gets_nothing();
	f = next_frame();
	CHECK(f);
	free(f);
	ether->ops->port_release(ether, h);
	ether_end();
}

/* Errors that others send: the stack's, with what they say of the path. */
static void too_big(void)
{
	struct demi_pktdev_route r = { .family = AF_INET, .dst.v4.s_addr = htonl(0x08080808) };
	struct demi_pktdev_route r6 = { .family = AF_INET6 };
	uint32_t gen, i;

	start();
	gen = ether->route_gen;
	for (i = 0; i < 3; i++) { /* believed; less than the least; not about one of our packets */
		put_ip4(pkt + 28, i == 2 ? PEER4 : HOST4, 0x08080808, 17, 20);
		put32(pkt + 20, 0x03040000);
		put32(pkt + 24, i ? 100 : 1400);
		put16(pkt + 22, (uint16_t)~sum_of(0, pkt + 20, 48));
		put_ip4(pkt, 0x0a0000fe, HOST4, 1, 48);
		receive_packet(host_mac, peer_mac, pkt, 68);
		gets(pkt, 68);
		CHECK_EQ(ether->ops->route(ether, &r), 0);
		CHECK_EQ(r.mtu_bytes, i ? 552 : 1400);
	}
	CHECK(ether->route_gen != gen);
	r.dst.v4.s_addr = htonl(PEER4);
	CHECK_EQ(ether->ops->route(ether, &r), 0);
	CHECK_EQ(r.mtu_bytes, 1500);
	inet_pton(AF_INET6, "2001:db8::1", &r6.dst.v6);
	put_ip6(pkt + 48, host6, (const uint8_t *)&r6.dst.v6, 17, 64, 20);
	memset(pkt + 40, 0, 8);
	pkt[40] = 2;
	put32(pkt + 44, 1300);
	put_ip6(pkt, peer6, host6, 58, 64, 68);
	put16(pkt + 42, (uint16_t)~transport_sum(pkt, 40, 68, 58));
	receive_packet(host_mac, peer_mac, pkt, 108);
	gets(pkt, 108);
	CHECK_EQ(ether->ops->route(ether, &r6), 0);
	CHECK_EQ(r6.mtu_bytes, 1300);
	pass(601 * DEMI_ETHER_S);
	CHECK_EQ(ether->ops->route(ether, &r6), 0);
	CHECK_EQ(r6.mtu_bytes, 1500);
	ether_end();
}

/* ---- ports: bind(2) ---- */

static int bind_port(int family, uint8_t proto, const char *ip, uint16_t port, uint32_t flags, uint32_t *handle)
{
	struct demi_pktdev_port p = { .family = (uint8_t)family, .proto = proto, .port = htons(port), .flags = flags };
	int err;

	if (ip)
		CHECK_EQ(inet_pton(family, ip, &p.ip), 1);
	err = ether->ops->port_reserve(ether, &p);
	if (!err && handle)
		*handle = p.handle;
	return err ? err : ntohs(p.port);
}

static void ports(void)
{
	uint32_t h[3], flow;
	static uint8_t seen[65536];

	start();
	CHECK_EQ(bind_port(AF_INET, 17, NULL, 7, DEMI_PKTDEV_PORT_F_SHARE, NULL), -EOPNOTSUPP);
	CHECK_EQ(bind_port(AF_INET, 17, "10.0.0.9", 7, 0, NULL), -EADDRNOTAVAIL);
	CHECK_EQ(bind_port(AF_INET6, 17, "fd00::9", 7, 0, NULL), -EADDRNOTAVAIL);
	CHECK_EQ(bind_port(AF_INET, 6, "224.1.2.3", 7, 0, NULL), -EADDRNOTAVAIL);
	CHECK_EQ(bind_port(AF_INET, 17, "224.1.2.3", 7, 0, &h[0]), 7);
	CHECK_EQ(bind_port(AF_INET, 17, "10.0.0.1", 7, 0, &h[1]), 7);
	CHECK_EQ(bind_port(AF_INET, 17, "127.0.0.1", 7, 0, &h[2]), 7);
	CHECK_EQ(bind_port(AF_INET, 17, "10.0.0.1", 7, 0, NULL), -EADDRINUSE);
	CHECK_EQ(bind_port(AF_INET, 17, NULL, 7, 0, NULL), -EADDRINUSE);
	CHECK_EQ(bind_port(AF_INET6, 17, NULL, 7, DEMI_PKTDEV_PORT_F_DUAL, NULL), -EADDRINUSE);
	CHECK_EQ(bind_port(AF_INET6, 17, NULL, 7, 0, NULL), 7);
	CHECK_EQ(bind_port(AF_INET6, 17, "fd00::1", 7, 0, NULL), -EADDRINUSE);
	CHECK_EQ(bind_port(AF_INET, 6, NULL, 7, 0, NULL), 7); /* another protocol */
	for (int i = 0; i < 3; i++)
		ether->ops->port_release(ether, h[i]);
	CHECK_EQ(bind_port(AF_INET, 17, NULL, 7, 0, &h[0]), 7);
	CHECK_EQ(ether->ops->flow_add(ether, h[0], NULL, &flow), 0);
	ether->ops->flow_del(ether, flow);
	ether->ops->port_release(ether, h[0]);
	ether->ops->port_release(ether, h[0]);
	CHECK_EQ(ether->ops->flow_add(ether, h[0], NULL, &flow), -EINVAL);
	CHECK_EQ(bind_port(AF_INET6, 17, NULL, 8, DEMI_PKTDEV_PORT_F_DUAL, NULL), 8);
	CHECK_EQ(bind_port(AF_INET, 17, "10.0.0.1", 8, 0, NULL), -EADDRINUSE);
	/* every ephemeral port once, in no order, then no more */
	for (int i = 0; i < 60999 - 32768 + 1; i++) {
		int port = bind_port(AF_INET, 17, NULL, 0, 0, NULL);

		CHECK(port >= 32768 && port <= 60999 && !seen[port]);
		seen[port] = 1;
		if (!i)
			h[1] = (uint32_t)port;
		if (i == 1)
			CHECK(port != (int)h[1] + 1);
		if (SLOW && i == 2000)
			goto out;
	}
	CHECK_EQ(bind_port(AF_INET, 17, NULL, 0, 0, NULL), -EADDRINUSE);
	CHECK(bind_port(AF_INET6, 17, NULL, 0, 0, NULL) > 0); /* the other family has them all */
out:
	CHECK(bind_port(AF_INET, 6, NULL, 0, 0, NULL) > 0);
	ether_end();
}

/* ---- sending ---- */

/* Bursts: what is known goes on as it is, with its metadata; what does not fit waits. */
static void bursts(void)
{
	struct demi_pkt p[6] = { 0 };
	uint32_t len = udp4_from(want, HOST4, PEER4, 7, 100);
	struct frame *f;
	uint64_t cookie;
	int err;

	start();
	memcpy(pkt + 64, want, len);
	p[0] = (struct demi_pkt){ .data = pkt + 64, .len = len, .cookie = 0x10 };
	CHECK_EQ(ether->ops->tx(ether, p, 1), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	expect_packet(peer_mac, want, len);
	expect_done(0x10, 0);
	memcpy(pkt + 1064, want, 28);
	p[1] = (struct demi_pkt){ .data = pkt + 1064,
				  .len = 28,
				  .cookie = 0x20,
				  .flags = DEMI_PKT_F_MORE | DEMI_PKT_F_CSUM_PARTIAL | DEMI_PKT_F_GSO_UDP,
				  .csum_start = 20,
				  .csum_offset = 6,
				  .hdr_len = 28,
				  .gso_size = 1000 };
	p[2] = (struct demi_pkt){ .data = pkt + 3000, .len = 3000, .flags = DEMI_PKT_F_ZEROCOPY };
	p[3] = (struct demi_pkt){ .data = pkt + 2064, .len = len, .cookie = 0x30 };
	memcpy(pkt + 2064, want, len);
	put32(pkt + 2064 + 16, PEER4 + 1); /* nobody knows that one */
	p[4] = p[0];
	memcpy(pkt + 8064, want, len);
	p[4].data = pkt + 8064;
	for (uint32_t room = 0; room < 3; room++) {
		wire.room = room;
		CHECK_EQ(ether->ops->tx(ether, p, 5), room == 0 ? 0 : room == 1 ? 1 : 4);
		forget_frames();
		pass(10 * DEMI_ETHER_S); /* asked in vain */
		stack_done(&cookie, &err);
		forget_frames();
	}
	wire.room = 100;
	CHECK_EQ(stack_sends(want, len, 0x10), 1);
	forget_frames();
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	forget_frames();
	stack_done(&cookie, &err);
	CHECK_EQ(ether->ops->tx(ether, p, 5), 5);
	expect_packet(peer_mac, want, len);
	f = next_frame();
	CHECK(f && f->len == 14 + 3028);
	CHECK_EQ(f->meta.csum_start, 34);
	CHECK_EQ(f->meta.csum_offset, 6);
	CHECK_EQ(f->meta.hdr_len, 42);
	CHECK_EQ(f->meta.gso_size, 1000);
	free(f);
	expect_arp(1, HOST4, NULL, PEER4 + 1, all_mac);
	expect_packet(peer_mac, want, len);
	no_frame();
	ether_end();
}

/* To this host itself: no frame. */
static void itself(void)
{
	uint32_t len, flow;
	struct demi_pktdev_route r = { .family = AF_INET, .dst.v4.s_addr = htonl(0x7f000001) };

	start();
	reserve(AF_INET, 17, 7, 0, &flow);
	len = udp4_from(pkt, HOST4, HOST4, 7, 30000);
	CHECK_EQ(stack_sends(pkt, len, 0x10), 1);
	expect_done(0x10, 0);
	gets(pkt, len);
	CHECK_EQ(ether->ops->route(ether, &r), 0);
	CHECK_EQ(r.src.v4.s_addr, htonl(0x7f000001));
	len = udp4_from(pkt, 0x7f000001, 0x7f000001, 7, 10);
	CHECK_EQ(stack_sends(pkt, len, 0x10), 1);
	expect_done(0x10, 0);
	gets(pkt, len);
	no_frame();
	ether_end();
}

/* ---- the configuration ---- */

static void configured(void)
{
	static const char *const wrong[] = { "",
					     "10.0.0.1/33",
					     "10.0.0.1/",
					     "10.0.0.1/x",
					     "fd00::1/129",
					     "10.0.0",
					     "224.0.0.1/8",
					     "10.0.0.1/24,10.0.0.1/24",
					     "::ffff:10.0.0.1/96",
					     "fe80::1/64",
					     "0.0.0.0/8",
					     "10.0.0.1/24 nonsense" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK_EQ(ether_try(wrong[i], NULL, DEMI_INET_DAD_OFF, 0), -EINVAL);
	CHECK_EQ(ether_try(NULL, "10.0.1.1", DEMI_INET_DAD_OFF, 0), -EINVAL);
	CHECK_EQ(ether_try(NULL, "10.0.0.2,10.0.0.3", DEMI_INET_DAD_OFF, 0), -EINVAL);
	CHECK_EQ(ether_try(NULL, "nobody", DEMI_INET_DAD_OFF, 0), -EINVAL);
	CHECK_EQ(ether_try(NULL, NULL, DEMI_INET_DAD_OFF, 1501), -EINVAL);
	CHECK_EQ(ether_try(NULL, NULL, DEMI_INET_DAD_OFF, 1000), -EINVAL); /* IPv6 needs more */
	CHECK_EQ(ether_try("10.0.0.1/24", NULL, DEMI_INET_DAD_OFF, 1000), 0);
	ether_end();
	CHECK_EQ(ether_try(" 10.0.0.1/24, fd00::1/64 ", "fe80::5, 10.0.0.9", DEMI_INET_DAD_OFF, 1400), 0);
	ether_end();
}

int main(void)
{
	alarm(100);
	delivered();
	dropped();
	echoes();
	unreachable();
	too_big();
	ports();
	bursts();
	itself();
	configured();
	return 0;
}
