/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/*
 * Frames of strangers: every kind that is looked at, right in most of it and wrong in some, at random; time passes and
 * the stack sends meanwhile. No buffer is lost, no limit exceeded, and what the stack gets is for it. Replay with
 * DEMI_TEST_SEED.
 */
#include "ether.h"

#include <netinet/icmp6.h>

static uint8_t frame[14 + 65536];

static const uint8_t linklocal6[16] = { 0xfe, 0x80, [15] = 0xaa }, all_nodes[16] = { 0xff, 2, [15] = 1 };
static const uint8_t node_group[16] = { 0xff, 2, [11] = 1, [12] = 0xff, [15] = 1 };

static void random_bytes(uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)rnd();
}

static uint32_t some_host(void)
{
	static const uint32_t hosts[] = { HOST4, PEER4, 0x0a0000fe, 0x08080808, 0, 0xffffffff, 0x7f000001, 0x0a0000ff };

	return rnd_below(4) ? hosts[rnd_below(3)] : rnd_below(8) ? hosts[rnd_below(8)] : (uint32_t)rnd();
}

static void some_host6(uint8_t *p)
{
	static const uint8_t *const hosts[] = { host6, peer6, linklocal6, all_nodes, node_group };
	static const uint8_t none[16], loopback[16] = { [15] = 1 };

	switch (rnd_below(16)) {
	case 0:
		memcpy(p, none, 16);
		break;
	case 1:
		memcpy(p, loopback, 16);
		break;
	case 2:
		memset(p, 0, 10);
		put16(p + 10, 0xffff);
		put32(p + 12, some_host());
		break;
	case 3:
		random_bytes(p, 16);
		break;
	default:
		memcpy(p, hosts[rnd_below(5)], 16);
	}
}

static uint32_t make_arp(uint8_t *p)
{
	put32(p, 0x00010800);
	put32(p + 4, 0x06040000 | (1 + rnd_below(3)));
	memcpy(p + 8, rnd_below(4) ? peer_mac : host_mac, 6);
	put32(p + 14, some_host());
	memcpy(p + 18, rnd_below(4) ? host_mac : peer_mac, 6);
	put32(p + 24, some_host());
	return rnd_below(8) ? 46 : rnd_below(29);
}

/* What is behind an IP header: its length. */
static uint32_t make_icmp(uint8_t *p)
{
	static const uint8_t types[] = { 0, 3, 3, 5, 8, 8, 11, 12, 13 };
	uint32_t len = 8 + rnd_below(100);

	random_bytes(p, len);
	p[0] = types[rnd_below(sizeof(types))];
	p[1] = (uint8_t)rnd_below(6);
	if (len > 36 && rnd_below(2)) { /* quotes what was sent */
		put_ip4(p + 8, HOST4, some_host(), 17, 60);
		put32(p + 4, rnd_below(2000));
	}
	put16(p + 2, 0);
	put16(p + 2, (uint16_t)~sum_of(0, p, len));
	return len;
}

static uint32_t make_igmp(uint8_t *p)
{
	static const uint8_t types[] = { 0x11, 0x11, 0x12, 0x16, 0x17, 0x22 };
	uint32_t len = rnd_below(2) ? 8 : 12 + rnd_below(20);

	random_bytes(p, len);
	p[0] = types[rnd_below(sizeof(types))];
	put32(p + 4, rnd_below(2) ? 0 : 0xe1020304);
	put16(p + 2, 0);
	put16(p + 2, (uint16_t)~sum_of(0, p, len));
	return len;
}

static uint32_t make_options(uint8_t *p)
{
	static const uint8_t types[] = { 1, 2, 3, 3, 3, 5, 24, 25 };
	uint32_t len = 0;

	for (uint32_t n = rnd_below(6); n; n--) {
		uint8_t *o = p + len;

		o[0] = types[rnd_below(sizeof(types))];
		o[1] = (uint8_t)(o[0] == 3 ? 4 : rnd_below(20) ? 1 : rnd_below(4));
		random_bytes(o + 2, o[1] * 8U + 6);
		if (o[0] == 3) {
			o[2] = rnd_below(8) ? 64 : (uint8_t)rnd();
			put32(o + 4, rnd_below(4) ? rnd_below(100) : (uint32_t)rnd());
			put32(o + 8, rnd_below(100));
			memcpy(o + 16, host6, 8);
			o[17] = (uint8_t)rnd_below(32);
		}
		if (o[0] == 5)
			put32(o + 4, 1200 + rnd_below(400));
		len += o[1] * 8U;
	}
	return len;
}

static uint32_t make_icmp6(uint8_t *p)
{
	static const uint8_t types[] = { 1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143 };
	uint32_t len = 8;

	random_bytes(p, 28);
	p[0] = types[rnd_below(sizeof(types))];
	p[1] = (uint8_t)(rnd_below(8) ? 0 : rnd());
	switch (p[0]) {
	case ND_ROUTER_ADVERT:
		put16(p + 6, rnd_below(100));
		len = 16 + make_options(p + 16);
		break;
	case ND_NEIGHBOR_SOLICIT:
	case ND_NEIGHBOR_ADVERT:
		some_host6(p + 8);
		len = 24 + make_options(p + 24);
		break;
	case MLD_LISTENER_QUERY:
	case MLD_LISTENER_REPORT:
		memset(p + 8, 0, 16);
		len = rnd_below(2) ? 24 : 28;
		break;
	case 143:
	case ICMP6_ECHO_REQUEST:
		len = 8 + rnd_below(300);
		break;
	default:
		put_ip6(p + 8, host6, peer6, 17, 64, 60);
		len = 60;
	}
	return len;
}

static uint32_t make4(uint8_t *ip)
{
	static const uint8_t protos[] = { 1, 2, 6, 17, 17, 50 };
	uint8_t proto = protos[rnd_below(sizeof(protos))];
	uint32_t len = rnd_below(200), frag = 0;

	random_bytes(ip + 20, 200);
	if (proto == 1)
		len = make_icmp(ip + 20);
	if (proto == 2)
		len = make_igmp(ip + 20);
	put_ip4(ip, some_host(), rnd_below(8) ? HOST4 : some_host(), proto, len);
	if (proto == 2) {
		put32(ip + 16, 0xe0000001);
		ip[8] = 1;
	}
	if (proto == 17 && len >= 8)
		put_udp(ip, 20, 4000, (uint16_t)(7 + rnd_below(2)), len - 8);
	if (!rnd_below(3)) { /* fragments of few packets */
		frag = rnd_below(40) | (rnd_below(2) ? 0x2000 : 0);
		if (!rnd_below(8))
			frag = (uint32_t)rnd() & 0x3fff;
		put16(ip + 4, rnd_below(8));
		if (frag & 0x2000 && rnd_below(4)) {
			len &= ~7U;
			put16(ip + 2, 20 + len);
		}
		put16(ip + 6, frag);
	}
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~sum_of(0, ip, 20));
	return 20 + len;
}

static uint32_t make6(uint8_t *ip)
{
	static const uint8_t protos[] = { 6, 17, 58, 58, 58, 58, 59, 99 };
	uint8_t proto = protos[rnd_below(sizeof(protos))], src[16], dst[16];
	uint32_t len = rnd_below(200), ext = 0;

	some_host6(src);
	memcpy(dst, host6, 16);
	if (!rnd_below(3))
		some_host6(dst);
	random_bytes(ip + 40, 400);
	for (uint32_t n = rnd_below(3) ? 0 : rnd_below(4); n; n--) {
		static const uint8_t exts[] = { 0, 60, 43, 44, 44 };
		uint8_t *x = ip + 40 + ext, kind = exts[rnd_below(sizeof(exts))];

		memset(x, 0, 8);
		x[0] = 59;
		if (!ext)
			ip[6] = kind;
		else
			ip[40 + ext - 8] = kind;
		if (kind == 44 && rnd_below(2)) {
			put16(x + 2, rnd_below(20) << 3 | rnd_below(2));
			x[7] = (uint8_t)rnd_below(8);
		} else if (!rnd_below(20)) {
			x[1] = (uint8_t)rnd();
		}
		ext += 8;
	}
	if (proto == 58)
		len = make_icmp6(ip + 40 + ext);
	{
		uint8_t first = ip[6];

		put_ip6(ip, src, dst, proto, rnd_below(8) ? 255 : (uint8_t)rnd_below(3), ext + len);
		if (ext) {
			ip[6] = first;
			ip[40 + ext - 8] = proto;
		}
	}
	if (proto == 58 && ip[40 + ext] >= 130 && ip[40 + ext] <= 132)
		ip[7] = 1;
	if (proto == 17 && len >= 8)
		put_udp(ip, 40 + ext, 4000, (uint16_t)(7 + rnd_below(2)), len - 8);
	if (proto == 58) {
		put16(ip + 40 + ext + 2, 0);
		put16(ip + 40 + ext + 2, (uint16_t)~transport_sum(ip, 40 + ext, len, 58));
	}
	return 40 + ext + len;
}

static void one_frame(void)
{
	static const uint8_t group[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	const uint8_t *dst = rnd_below(2) ? host_mac : rnd_below(2) ? all_mac : group;
	uint32_t len;

	switch (rnd_below(8)) {
	case 0:
		len = put_ether(frame, dst, peer_mac, 0x0806) + make_arp(frame + 14);
		break;
	case 1:
	case 2:
	case 3:
		len = put_ether(frame, dst, peer_mac, 0x0800) + make4(frame + 14);
		break;
	case 4:
		len = rnd_below(100);
		random_bytes(frame, len);
		break;
	default:
		len = put_ether(frame, dst, peer_mac, 0x86dd) + make6(frame + 14);
	}
	if (!rnd_below(10))
		len = rnd_below(len + 1);
	if (!rnd_below(4) && len)
		frame[rnd_below(len)] ^= (uint8_t)(1 << rnd_below(8));
	if (wire.rx_tail < WIRE_MAX - 200)
		receive_in(frame, len, rnd_below(8) ? 1500 : 256 + rnd_below(300));
}

/* Nothing comes from this host's own address, unless it was found to be somebody else's. */
static void not_from_here(const uint8_t *ip)
{
	struct demi_ip own = demi_ip_from4(htonl(HOST4));

	if (ip[0] >> 4 == 4 && demi_ether_is_local(demi_ether_of(ether), &own))
		CHECK(get32(ip + 12) != HOST4);
}

static void stack_acts(void)
{
	uint8_t *memory = malloc(4096), *ip = memory + 64, dst[16];
	struct demi_pktdev_route r = { .family = AF_INET };

	CHECK(memory);
	some_host6(dst);
	any_send(memory, ip,
		 rnd_below(2) ? udp4_from(ip, HOST4, some_host(), 7, rnd_below(2500))
			      : udp6_from(ip, host6, dst, 7, rnd_below(2500)));
	r.dst.v4.s_addr = (uint32_t)rnd();
	(void)ether->ops->route(ether, &r);
	forget_frames();
}

static void attack(uint32_t rounds)
{
	struct demi_ether *e;
	uint32_t flow, handle;
	union demi_pktdev_ip g = { .v4.s_addr = htonl(0xe1020304) };

	ether_new("10.0.0.1/24,fd00::1/64,auto", "10.0.0.254", DEMI_INET_DAD_OPTIMISTIC);
	e = demi_ether_of(ether);
	handle = reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL, &flow);
	CHECK_EQ(ether->ops->group(ether, handle, AF_INET, &g, 0, true), 0);
	for (uint32_t i = 0; i < rounds; i++) {
		for (uint32_t n = rnd_below(20); n; n--)
			one_frame();
		wire.room = rnd_below(4) ? UINT32_MAX : rnd_below(4);
		any_take(not_from_here);
		if (!rnd_below(4))
			stack_acts();
		if (!rnd_below(3))
			pass(rnd() % (rnd_below(8) ? DEMI_ETHER_S : 40 * DEMI_ETHER_S));
		forget_frames();
		CHECK(e->reass_bytes <= 4U << 20);
		CHECK(e->ndone + e->nheld <= DEMI_ETHER_DONES);
		CHECK(e->nready <= DEMI_ETHER_READY_MAX);
	}
	/* everything comes to an end */
	for (int i = 0; i < 10; i++) {
		wire.room = UINT32_MAX;
		any_take(not_from_here);
		pass(100 * DEMI_ETHER_S);
		for (int k = 0; k < 20; k++)
			any_done();
		forget_frames();
	}
	CHECK_EQ(any_flying, 0);
	CHECK_EQ(e->reass_bytes, 0);
	CHECK_EQ(e->own_flying, 0);
	CHECK(!e->own);
	wire.buffers = 0; /* the stack's own are freed, not given back */
	ether_end();
}

int main(void)
{
	const char *n = getenv("DEMI_ROUNDS");
	uint32_t rounds = n ? (uint32_t)atoi(n) : 300;

	alarm(100);
	check_seed();
	for (int i = 0; i < 10; i++)
		attack(rounds);
	return 0;
}
