// SPDX-License-Identifier: MIT
/*
 * Everything below the stack on a layer-2 device: ARP, neighbour discovery, duplicate addresses, routers, IGMP and MLD,
 * fragments and their reassembly. The input says what frames come, in how many buffers, what the stack sends and joins,
 * how time passes, and when the device has no room. No buffer is lost, no limit exceeded, what the stack gets is for
 * this host, and in the end nothing is left.
 */
#include "input.h"

#include "inet/ether.h"

#define FRAME_MAX 1600

static const uint8_t linklocal6[16] = { 0xfe, 0x80, [8] = 0, 0, 0, 0xff, 0xfe, 0, 0, 2 };
static const uint8_t own_linklocal6[16] = { 0xfe, 0x80, [8] = 0, 0, 0, 0xff, 0xfe, 0, 0, 1 };
static const uint8_t none6[16], all_nodes6[16] = { 0xff, 2, [15] = 1 }, mld_routers6[16] = { 0xff, 2, [15] = 0x16 };
static const uint8_t node_group6[16] = { 0xff, 2, [11] = 1, 0xff, [15] = 1 };
static const uint8_t *const hosts6[] = { host6,	     peer6,	  linklocal6, own_linklocal6,
					 all_nodes6, node_group6, none6,      mld_routers6 };
static const uint32_t hosts4[] = { HOST4, PEER4, 0x0a0000fe, 0x0a0000ff, 0xe0000001, 0xe1020304, 0, 0x08080808 };

/* ---- what the stack does ---- */

static void stack_sends_some(struct input *i)
{
	uint8_t *memory = malloc(4096), *ip = memory + 64, how = take8(i);
	uint32_t len = how & 128 ? take16(i) % 3000 : take8(i);

	CHECK(memory);
	len = how & 64 ? udp6_from(ip, host6, hosts6[how & 7], 7, len) : udp4_from(ip, HOST4, hosts4[how & 7], 7, len);
	any_send(memory, ip, len);
}

static void stack_asks(struct input *i)
{
	struct demi_pktdev_route r = { .family = AF_INET };
	uint8_t how = take8(i);
	int err;

	if (how & 64) {
		r.family = AF_INET6;
		memcpy(&r.dst.v6, hosts6[how & 7], 16);
	} else {
		r.dst.v4.s_addr = htonl(hosts4[how & 7]);
	}
	err = ether->ops->route(ether, &r);
	CHECK(err <= 0 && (err || r.mtu_bytes >= 68));
}

static void stack_joins(struct input *i, uint32_t handle)
{
	union demi_pktdev_ip g = { .v4.s_addr = htonl(0xe1020304) };
	uint8_t how = take8(i);

	if (how & 64) {
		memcpy(&g.v6, mld_routers6, 16);
		((uint8_t *)&g)[15] = (uint8_t)(0x40 + (how & 7));
	} else {
		g.v4.s_addr = htonl(0xe1020300 + (how & 7));
	}
	CHECK(ether->ops->group(ether, handle, how & 64 ? AF_INET6 : AF_INET, &g, 0, how & 128) <= 0);
}

/* ---- what comes ---- */

static uint32_t arp(struct input *i, uint8_t *p)
{
	uint8_t how = take8(i);

	put32(p, 0x00010800);
	put32(p + 4, 0x06040000 | (1 + (how & 1)));
	memcpy(p + 8, how & 64 ? host_mac : peer_mac, 6);
	put32(p + 14, hosts4[how >> 1 & 7]);
	memcpy(p + 18, host_mac, 6);
	put32(p + 24, hosts4[take8(i) & 7]);
	return 28;
}

/* @how: where from and to, whether it is a part, whether the transport's sum shall be right. */
static uint32_t ip4(struct input *i, uint8_t *ip)
{
	static const uint8_t protos[] = { 17, 1, 2, 6 };
	uint32_t how = take16(i), len, sum_at;
	uint8_t proto = protos[how & 3];

	len = take_bytes(i, ip + 20, how & 0x8000 ? take16(i) % 1480 : take8(i));
	put_ip4(ip, hosts4[how >> 2 & 7], how & 0x400 ? hosts4[how >> 5 & 7] : HOST4, proto, len);
	if (proto == 2)
		ip[8] = 1;
	if (how & 0x800) {
		put16(ip + 4, how >> 2 & 3);
		put16(ip + 6, take16(i) & 0x3fff);
	}
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~sum_of(0, ip, 20));
	sum_at = proto == 17 ? 6 : 2;
	if (!(how & 0x1000) && proto != 6 && len >= sum_at + 2) {
		put16(ip + 20 + sum_at, 0);
		put16(ip + 20 + sum_at,
		      (uint16_t) ~(proto == 17 ? transport_sum(ip, 20, len, 17) : sum_of(0, ip + 20, len)));
	}
	return 20 + len;
}

/* As the input says, behind @ext bytes of extension headers. */
static uint32_t ip6(struct input *i, uint8_t *ip)
{
	static const uint8_t protos[] = { 58, 58, 17, 44, 0, 60, 43, 6 };
	uint32_t how = take16(i), len, ext;
	uint8_t proto = protos[how & 7];

	len = take_bytes(i, ip + 40, how & 0x8000 ? take16(i) % 1460 : take8(i));
	put_ip6(ip, hosts6[how >> 3 & 7], how & 0x400 ? hosts6[how >> 6 & 7] : host6, proto,
		how & 0x800 ? (uint8_t)(how >> 12) : 255, len);
	ext = proto == 44 || proto == 0 ? 8 : 0;
	if (ext && len >= 8)
		proto = ip[40];
	if (proto == 58 && len >= ext + 4 && !(how & 0x1000)) {
		if (ip[40 + ext] >= 130 && ip[40 + ext] <= 132)
			ip[7] = 1;
		put16(ip + 40 + ext + 2, 0);
		put16(ip + 40 + ext + 2, (uint16_t)~transport_sum(ip, 40 + ext, len - ext, 58));
	}
	return 40 + len;
}

static void frame_comes(struct input *i)
{
	static const uint8_t group[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static uint8_t f[FRAME_MAX];
	uint8_t how = take8(i);
	const uint8_t *dst = how & 4 ? host_mac : how & 8 ? all_mac : group;
	uint32_t len;

	memset(f, 0, 60);
	switch (how & 3) {
	case 0:
		len = put_ether(f, dst, peer_mac, 0x0806) + arp(i, f + 14);
		break;
	case 1:
		len = put_ether(f, dst, peer_mac, 0x0800) + ip4(i, f + 14);
		break;
	case 2:
		len = put_ether(f, dst, peer_mac, 0x86dd) + ip6(i, f + 14);
		break;
	default:
		len = take_bytes(i, f, take8(i) * 4U);
	}
	if (how & 16)
		len = len * take8(i) / 256;
	if (how & 32 && len)
		f[take16(i) % len] ^= take8(i);
	if (how & 64 && len < 60)
		len = 60; /* as a card pads it */
	if (wire.rx_tail < WIRE_MAX - 100)
		receive_in(f, len, how & 128 ? 64 + take8(i) : 1600);
}

/* ---- one step ---- */

static void step(struct input *i, uint32_t handle)
{
	static const uint64_t times[] = { 1,
					  DEMI_ETHER_MS,
					  100 * DEMI_ETHER_MS,
					  DEMI_ETHER_S,
					  5 * DEMI_ETHER_S,
					  31 * DEMI_ETHER_S,
					  130 * DEMI_ETHER_S,
					  2000 * DEMI_ETHER_S };
	uint8_t what = take8(i);

	if ((what & 15) < 8)
		frame_comes(i);
	else if ((what & 15) < 10)
		pass(times[what >> 4 & 7]);
	else if ((what & 15) == 10)
		stack_sends_some(i);
	else if ((what & 15) == 11)
		stack_asks(i);
	else if ((what & 15) == 12)
		stack_joins(i, handle);
	else if ((what & 15) == 13)
		wire.room = what & 128 ? UINT32_MAX : what >> 4 & 3;
	else if ((what & 15) == 14)
		wire.hold = what & 128;
	else
		any_done();
	if (!(what & 16) || (what & 15) >= 8)
		any_take(NULL);
}

static void check_limits(const struct demi_ether *e)
{
	CHECK(e->reass_bytes <= 4U << 20);
	CHECK(e->ndone + e->nheld <= DEMI_ETHER_DONES);
	CHECK(e->nready <= DEMI_ETHER_READY_MAX);
}

/* Everything comes to an end. */
static void finish(struct demi_ether *e)
{
	wire.room = UINT32_MAX;
	wire.hold = false;
	for (int i = 0; i < 8; i++) {
		any_take(NULL);
		pass(100 * DEMI_ETHER_S);
		while (any_flying && (e->ndone || wire.ndone))
			any_done();
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const addrs[] = { NULL, "10.0.0.1/24,fd00::1/64,auto", "auto", "10.0.0.1/24" };
	struct input i = { data, size };
	uint8_t how = take8(&i);
	uint32_t flow, handle;
	struct demi_ether *e;

	check_rng = 1;
	wire_now = 1000000 * DEMI_ETHER_MS;
	ether_new(addrs[how & 3],
		  how & 4	   ? NULL
		  : (how & 3) == 2 ? NULL
				   : "10.0.0.254",
		  how & 8 ? DEMI_INET_DAD_ON : DEMI_INET_DAD_OPTIMISTIC);
	e = demi_ether_of(ether);
	handle = reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL | DEMI_PKTDEV_PORT_F_MULTICAST, &flow);
	if (how & 16)
		pass(10 * DEMI_ETHER_S);
	while (i.n) {
		step(&i, handle);
		check_limits(e);
		forget_frames();
	}
	finish(e);
	return 0;
}
