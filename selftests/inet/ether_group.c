/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* Groups: who is told of them and how, IGMP 2 and 3, MLD 1 and 2. */
#include "ether.h"

static uint8_t pkt[2000];

#define GROUP4 0xe1020304U
static const uint8_t group6[16] = { 0xff, 5, [14] = 0x12, 0x34 }, router6[16] = { 0xfe, 0x80, [15] = 0xaa };
static const uint8_t all_nodes[16] = { 0xff, 2, [15] = 1 };
static const uint8_t all_hosts_mac[6] = { 1, 0, 0x5e, 0, 0, 1 }, all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };

static uint32_t handle;

static void start(void)
{
	uint32_t flow;

	ether_new(NULL, NULL, DEMI_INET_DAD_OFF);
	handle = reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL, &flow);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
}

static void change4(bool join)
{
	union demi_pktdev_ip g = { .v4.s_addr = htonl(GROUP4) };

	CHECK_EQ(ether->ops->group(ether, handle, AF_INET, &g, 0, join), 0);
}

static void change6(bool join)
{
	union demi_pktdev_ip g;

	memcpy(&g, group6, 16);
	CHECK_EQ(ether->ops->group(ether, handle, AF_INET6, &g, 0, join), 0);
}

static void expect_igmp(uint8_t type, uint32_t dst, const uint8_t *body, uint32_t len)
{
	struct frame *f = next_frame();
	uint8_t mac[6] = { 1, 0, 0x5e, (uint8_t)(dst >> 16 & 0x7f), (uint8_t)(dst >> 8), (uint8_t)dst };

	CHECK(f && f->len == 14 + 24 + 4 + len);
	CHECK(!memcmp(f->d, mac, 6));
	CHECK_EQ(get32(f->d + 14 + 16), dst);
	CHECK_EQ(get32(f->d + 14 + 12), HOST4);
	CHECK_EQ(f->d[14], 0x46); /* with "router alert" */
	CHECK_EQ(get32(f->d + 34), 0x94040000);
	CHECK_EQ(f->d[14 + 8], 1);
	CHECK_EQ(f->d[14 + 9], 2);
	CHECK_EQ(sum_of(0, f->d + 14, 24), 0xffff);
	CHECK_EQ(f->d[38], type);
	CHECK_EQ(sum_of(0, f->d + 38, 4 + len), 0xffff);
	CHECK(!memcmp(f->d + 42, body, len));
	free(f);
}

static void expect_report3(uint8_t record)
{
	uint8_t body[12] = { 0, 0, 0, 1, record, 0, 0, 0 };

	put32(body + 8, GROUP4);
	expect_igmp(0x22, 0xe0000016, body, 12);
}

static void expect_report2(bool leave)
{
	uint8_t body[4];

	put32(body, GROUP4);
	expect_igmp(leave ? 0x17 : 0x16, leave ? 0xe0000002 : GROUP4, body, 4);
}

static void query4(uint8_t code, uint32_t group, uint32_t len)
{
	uint8_t *m = pkt + 20;

	memset(m, 0, len);
	m[0] = 0x11;
	m[1] = code;
	put32(m + 4, group);
	put16(m + 2, (uint16_t)~sum_of(0, m, len));
	put_ip4(pkt, PEER4, group ? group : 0xe0000001, 2, len);
	pkt[8] = 1;
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~sum_of(0, pkt, 20));
	receive_packet(all_hosts_mac, peer_mac, pkt, 20 + len);
	stack_gets_nothing();
}

static void igmp(void)
{
	uint32_t len;

	start();
	change4(true);
	change4(true); /* another socket */
	pass(0);
	expect_report3(4);
	pass(DEMI_ETHER_S);
	expect_report3(4);
	pass(100 * DEMI_ETHER_S);
	no_frame();
	len = udp4_from(pkt, PEER4, GROUP4, 7, 10);
	receive_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, peer_mac, pkt, len);
	CHECK_EQ(stack_gets(pkt + 1000, 1000), len);
	query4(100, 0, 12);
	pass(10 * DEMI_ETHER_S);
	expect_report3(2);
	query4(10, GROUP4, 12);
	pass(DEMI_ETHER_S);
	expect_report3(2);
	query4(10, GROUP4 + 1, 12);
	pass(10 * DEMI_ETHER_S);
	no_frame();
	change4(false);
	pass(10 * DEMI_ETHER_S);
	no_frame();
	change4(false);
	pass(0);
	expect_report3(3);
	pass(DEMI_ETHER_S);
	expect_report3(3);
	receive_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, peer_mac, pkt, len);
	stack_gets_nothing();
	query4(10, 0, 12);
	pass(10 * DEMI_ETHER_S);
	no_frame();
	ether_end();
}

static void igmp_old(void)
{
	uint8_t *m = pkt + 20;

	start();
	query4(10, 0, 8); /* version 2 */
	change4(true);
	pass(DEMI_ETHER_S);
	expect_report2(false);
	expect_report2(false);
	query4(10, 0, 8);
	pass(DEMI_ETHER_S);
	expect_report2(false);
	query4(10, GROUP4, 12); /* a newer one beside it is answered alike */
	pass(DEMI_ETHER_S);
	expect_report2(false);
	/* another host has said so */
	query4(100, 0, 8);
	memset(m, 0, 8);
	m[0] = 0x16;
	put32(m + 4, GROUP4);
	put16(m + 2, (uint16_t)~sum_of(0, m, 8));
	put_ip4(pkt, PEER4, GROUP4, 2, 8);
	pkt[8] = 1;
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~sum_of(0, pkt, 20));
	receive_packet((uint8_t[]){ 1, 0, 0x5e, 2, 3, 4 }, peer_mac, pkt, 28);
	stack_gets_nothing();
	pass(10 * DEMI_ETHER_S);
	no_frame();
	change4(false);
	pass(DEMI_ETHER_S);
	expect_report2(true);
	expect_report2(true);
	pass(300 * DEMI_ETHER_S); /* the old querier is gone */
	change4(true);
	pass(0);
	expect_report3(4);
	/* queries from afar, with a wrong checksum */
	pass(DEMI_ETHER_S);
	forget_frames();
	query4(10, 0, 8);
	pass(300 * DEMI_ETHER_S);
	forget_frames();
	pkt[8] = 2;
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~sum_of(0, pkt, 20));
	receive_packet(all_hosts_mac, peer_mac, pkt, 28);
	stack_gets_nothing();
	pkt[8] = 1;
	put16(pkt + 10, 0);
	put16(pkt + 10, (uint16_t)~sum_of(0, pkt, 20));
	pkt[21] ^= 1;
	receive_packet(all_hosts_mac, peer_mac, pkt, 28);
	stack_gets_nothing();
	pass(20 * DEMI_ETHER_S);
	no_frame();
	ether_end();
}

/* ---- MLD ---- */

/* Returns the frame, whose message is @len bytes at d + 62. */
static struct frame *expect_mld(uint8_t type, const uint8_t *dst, uint32_t len)
{
	struct frame *f = next_frame();

	CHECK(f && f->len == 14 + 48 + len);
	CHECK(!memcmp(f->d + 2, dst + 12, 4) && f->d[0] == 0x33 && f->d[1] == 0x33);
	CHECK(!memcmp(f->d + 38, dst, 16));
	CHECK(f->d[22] == 0xfe && f->d[23] == 0x80);
	CHECK_EQ(f->d[14 + 7], 1);
	CHECK_EQ(get32(f->d + 54), 0x3a000502); /* router alert */
	CHECK_EQ(f->d[62], type);
	CHECK_EQ(transport_sum(f->d + 14, 48, len, 58), 0xffff);
	return f;
}

static void expect_mld2(uint8_t record)
{
	static const uint8_t all[16] = { 0xff, 2, [15] = 0x16 };
	struct frame *f = expect_mld(143, all, 28);

	CHECK_EQ(get16(f->d + 68), 1);
	CHECK_EQ(f->d[70], record);
	CHECK(!memcmp(f->d + 74, group6, 16));
	free(f);
}

static void expect_mld1(bool leave)
{
	static const uint8_t routers[16] = { 0xff, 2, [15] = 2 };
	struct frame *f = expect_mld(leave ? 132 : 131, leave ? routers : group6, 24);

	CHECK(!memcmp(f->d + 70, group6, 16));
	free(f);
}

static void query6(uint32_t ms, const uint8_t *group, uint32_t len, const uint8_t *src, uint8_t hops)
{
	uint8_t *m = pkt + 40;

	memset(m, 0, len);
	m[0] = 130;
	put16(m + 4, ms);
	if (group)
		memcpy(m + 8, group, 16);
	put_ip6(pkt, src, all_nodes, 58, hops, len);
	put16(m + 2, (uint16_t)~transport_sum(pkt, 40, len, 58));
	receive_packet(all_nodes_mac, peer_mac, pkt, 40 + len);
	stack_gets_nothing();
}

static void mld(void)
{
	struct frame *f;

	start();
	change6(true);
	pass(0);
	expect_mld2(4);
	pass(DEMI_ETHER_S);
	expect_mld2(4);
	query6(1000, group6, 28, router6, 1);
	pass(DEMI_ETHER_S);
	expect_mld2(2);
	query6(1000, NULL, 28, router6, 1); /* this group and the own one of both addresses */
	pass(DEMI_ETHER_S);
	f = next_frame();
	CHECK(f && f->d[62] == 143 && get16(f->d + 68) == 2);
	free(f);
	query6(1000, NULL, 28, peer6, 1);
	query6(1000, NULL, 28, router6, 2);
	query6(1000, NULL, 20, router6, 1);
	query6(1000, peer6, 28, router6, 1);
	pass(10 * DEMI_ETHER_S);
	no_frame();
	change6(false);
	pass(0);
	expect_mld2(3);
	pass(DEMI_ETHER_S);
	expect_mld2(3);
	no_frame();
	ether_end();
}

static void mld_old(void)
{
	start();
	change6(true);
	pass(DEMI_ETHER_S);
	forget_frames();
	query6(1000, group6, 24, router6, 1);
	pass(DEMI_ETHER_S);
	expect_mld1(false);
	no_frame();
	change6(false);
	pass(DEMI_ETHER_S);
	expect_mld1(true);
	expect_mld1(true);
	pass(300 * DEMI_ETHER_S);
	change6(true);
	pass(0);
	expect_mld2(4);
	ether_end();
}

static void many(void)
{
	union demi_pktdev_ip g = { .v4.s_addr = 0 };
	uint32_t n = 0;

	start();
	for (uint32_t i = 0; i < 100; i++) {
		g.v4.s_addr = htonl(0xe1000000 + i);
		if (!ether->ops->group(ether, handle, AF_INET, &g, 0, true))
			n++;
	}
	CHECK(n > 50 && n < 64);
	CHECK_EQ(ether->ops->group(ether, handle, AF_INET, &g, 0, true), -ENOBUFS);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
	ether_end();
	ether_new("10.0.0.1/24", NULL, DEMI_INET_DAD_OFF);
	memcpy(&g, group6, 16);
	CHECK_EQ(ether->ops->group(ether, 0, AF_INET6, &g, 0, true), -ENODEV);
	ether_end();
}

int main(void)
{
	alarm(100);
	igmp();
	igmp_old();
	mld();
	mld_old();
	many();
	return 0;
}
