/* SPDX-License-Identifier: MIT */
/* uses: libdemi.a, valgrind */
/* Fragments of IPv4 and IPv6: put together in any order, overlaps, limits, time; and what is sent cut. */
#include "ether.h"

#define LEN 5000

static uint8_t whole[66000], piece[66000], got[66000];
static uint32_t whole_len, hlen;
static bool v6;

static void start(void)
{
	uint32_t flow;

	ether_new("10.0.0.1/24,fd00::1/64", NULL, DEMI_INET_DAD_OFF);
	pass(10 * DEMI_ETHER_S);
	forget_frames();
	reserve(AF_INET6, 17, 7, DEMI_PKTDEV_PORT_F_DUAL, &flow);
	v6 = false;
}

static void make_whole(bool six, uint32_t len)
{
	v6 = six;
	hlen = six ? 40 : 20;
	whole_len = six ? udp6_from(whole, peer6, host6, 7, len) : udp4_from(whole, PEER4, HOST4, 7, len);
}

/* The part of `whole` from @off on, @len bytes, as packet @id. */
static void receive_part(uint32_t id, uint32_t off, uint32_t len, bool more)
{
	memcpy(piece, whole, hlen);
	if (v6) {
		put16(piece + 4, 8 + len);
		piece[6] = 44;
		piece[40] = 17;
		piece[41] = 0;
		put16(piece + 42, off | more);
		put32(piece + 44, id);
		memcpy(piece + 48, whole + 40 + off, len);
		receive_packet(host_mac, peer_mac, piece, 48 + len);
		return;
	}
	put16(piece + 2, 20 + len);
	put16(piece + 4, id);
	put16(piece + 6, off / 8 | (more ? 0x2000 : 0));
	put16(piece + 10, 0);
	put16(piece + 10, (uint16_t)~sum_of(0, piece, 20));
	memcpy(piece + 20, whole + 20 + off, len);
	receive_packet(host_mac, peer_mac, piece, 20 + len);
}

static void expect_whole(void)
{
	uint32_t n = stack_gets(got, sizeof(got));

	if (!n) /* it lies ready for the next round */
		n = stack_gets(got, sizeof(got));
	CHECK_EQ(n, whole_len);
	if (!v6) { /* the header is that of the first fragment */
		CHECK_EQ(sum_of(0, got, 20), 0xffff);
		memcpy(got + 4, whole + 4, 4);
		memcpy(got + 10, whole + 10, 2);
	}
	CHECK(!memcmp(got, whole, n));
}

static void in_order(bool six)
{
	uint32_t n = whole_len - hlen;

	for (uint32_t off = 0; off < n; off += 1000) {
		receive_part(1, off, n - off < 1000 ? n - off : 1000, off + 1000 < n);
		if (off + 1000 < n)
			stack_gets_nothing();
	}
	expect_whole();
}

static void any_order(void)
{
	static const uint32_t steps[] = { 8, 256, 1000, 1480 };

	start();
	for (int round = 0; round < 60; round++) {
		uint32_t step = steps[rnd_below(4)], n, parts, order[700];

		make_whole(rnd_below(2), 1 + rnd_below(LEN));
		n = whole_len - hlen;
		parts = (n + step - 1) / step;
		for (uint32_t i = 0; i < parts; i++) {
			uint32_t k = rnd_below(i + 1);

			order[i] = order[k];
			order[k] = i;
		}
		if (parts < 2)
			continue;
		for (uint32_t i = 0; i < parts; i++) {
			uint32_t off = order[i] * step;

			receive_part((uint32_t)round, off, n - off < step ? n - off : step, off + step < n);
			if (i + 1 < parts && !rnd_below(4)) /* the same once more */
				receive_part((uint32_t)round, off, n - off < step ? n - off : step, off + step < n);
			if (i + 1 < parts)
				stack_gets_nothing();
		}
		expect_whole();
	}
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	no_frame();
	ether_end();
}

static void longest(void)
{
	start();
	make_whole(false, 65535 - 28);
	in_order(false);
	make_whole(true, 65535 - 8);
	in_order(true);
	/* one byte more than any packet has */
	receive_part(5, 65528, 8, false);
	stack_gets_nothing();
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	ether_end();
}

/* RFC 5722: what overlaps is an attack, for either family. */
static void overlaps(bool six)
{
	static const struct {
		uint32_t off, len;
		bool more;
	} bad[] = { { 0, 16, true }, { 992, 1000, true }, { 8, 8, true }, { 1992, 200, false }, { 1000, 1008, true } };

	start();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_whole(six, LEN);
		receive_part(9, 0, 1000, true);
		stack_gets_nothing();
		receive_part(9, 1000, 1000, true);
		stack_gets_nothing();
		for (uint32_t k = 0; k < LEN; k++)
			whole[hlen + 8 + k] ^= 0xff;
		receive_part(9, bad[i].off, bad[i].len, bad[i].more);
		stack_gets_nothing();
		CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
		make_whole(six, LEN);
		receive_part(9, 2000, whole_len - hlen - 2000, false);
		stack_gets_nothing(); /* the rest alone is nothing */
		pass(100 * DEMI_ETHER_S);
	}
	/* an end that is not the end */
	make_whole(six, LEN);
	receive_part(10, 2000, 500, false);
	stack_gets_nothing();
	receive_part(10, 3000, 504, true);
	stack_gets_nothing();
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	receive_part(10, 2000, 500, false);
	stack_gets_nothing();
	receive_part(10, 2400, 500, false);
	stack_gets_nothing();
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	/* lengths that none but the last has, or that are nothing */
	receive_part(11, 0, 1001, true);
	stack_gets_nothing();
	receive_part(11, 0, 0, true);
	stack_gets_nothing();
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	ether_end();
}

/* Memory has a limit, whoever sends; the oldest goes. */
static void limits(void)
{
	struct demi_ether *e;

	start();
	e = demi_ether_of(ether);
	for (uint32_t i = 0; i < 5000; i++) {
		make_whole(i & 1, 40000);
		for (uint32_t off = 0; off < 40000; off += 8000) {
			receive_part(i, off, 8, true);
			stack_gets_nothing();
		}
		CHECK(e->reass_bytes <= 4U << 20);
		if (SLOW && i > 500)
			break;
	}
	CHECK(e->reass_bytes > 1U << 20);
	make_whole(false, LEN);
	in_order(false);
	forget_frames();
	ether_end();
}

/* The sender is told when the rest does not come; if it was there what can be quoted. */
static void late(void)
{
	struct frame *f;

	start();
	make_whole(false, LEN);
	receive_part(1, 0, 1000, true);
	stack_gets_nothing();
	receive_part(2, 1000, 1000, true);
	stack_gets_nothing();
	make_whole(true, LEN);
	receive_part(3, 0, 1000, true);
	stack_gets_nothing();
	pass(30 * DEMI_ETHER_S);
	f = next_frame();
	CHECK(f && !memcmp(f->d, peer_mac, 6));
	CHECK_EQ(get16(f->d + 34), 0x0b01);
	CHECK_EQ(get16(f->d + 42 + 4), 1);
	CHECK(!memcmp(f->d + 42 + 20, whole + 40, 2));
	free(f);
	no_frame();
	pass(30 * DEMI_ETHER_S);
	f = next_frame();
	CHECK(f && get16(f->d + 54) == 0x0301);
	CHECK_EQ(f->d[62 + 6], 44);
	free(f);
	no_frame();
	CHECK_EQ(demi_ether_of(ether)->reass_bytes, 0);
	ether_end();
}

/* RFC 6946, RFC 8200 4.5: a fragment header that says nothing. */
static void atomic(void)
{
	start();
	make_whole(true, 100);
	receive_part(1, 0, 108, false);
	CHECK_EQ(stack_gets(got, sizeof(got)), whole_len + 8);
	CHECK(!memcmp(got + 48, whole + 40, 108));
	ether_end();
}

/* ---- sending ---- */

static void learn(void)
{
	uint8_t na[40 + 32];

	CHECK_EQ(stack_sends(whole, udp4_from(whole, HOST4, PEER4, 7, 10), 0x10), 1);
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	CHECK_EQ(stack_sends(whole, udp6_from(whole, host6, peer6, 7, 10), 0x20), 1);
	memset(na, 0, sizeof(na));
	na[40] = 136;
	na[44] = 0x60;
	memcpy(na + 48, peer6, 16);
	na[64] = 2;
	na[65] = 1;
	memcpy(na + 66, peer_mac, 6);
	put_ip6(na, peer6, host6, 58, 255, 32);
	put16(na + 42, (uint16_t)~transport_sum(na, 40, 32, 58));
	receive_packet(host_mac, peer_mac, na, sizeof(na));
	stack_gets_nothing();
	forget_frames();
}

/* The frames that were sent are the pieces of `whole`, in order. */
static void expect_pieces(void)
{
	uint32_t at = 0, len = whole_len - hlen, skip = v6 ? 8 : 0;
	struct frame *f;

	while (at < len) {
		const uint8_t *ip;
		uint32_t n, field;

		f = next_frame();
		CHECK(f && !memcmp(f->d, peer_mac, 6));
		ip = f->d + 14;
		n = f->len - 14 - hlen - skip;
		CHECK_EQ(v6 ? get16(ip + 4) + 40 : get16(ip + 2), f->len - 14);
		field = v6 ? get16(ip + 42) : get16(ip + 6);
		CHECK_EQ(v6 ? field & ~7U : (field & 0x1fff) * 8, at);
		CHECK_EQ(v6 ? field & 1 : field >> 13, at + n < len);
		if (!v6)
			CHECK_EQ(sum_of(0, ip, 20), 0xffff);
		else
			CHECK(ip[6] == 44 && ip[40] == 17);
		CHECK(!memcmp(ip + hlen + skip, whole + hlen + at, n));
		at += n;
		free(f);
	}
	no_frame();
}

static void cut(bool six, bool partial)
{
	struct demi_pkt p[3] = { 0 };
	uint64_t cookie;
	int err;

	start();
	learn();
	CHECK_EQ(stack_done(&cookie, &err), 2);
	v6 = six;
	hlen = six ? 40 : 20;
	whole_len = six ? udp6_from(whole, host6, peer6, 7, 30000) : udp4_from(whole, HOST4, PEER4, 7, 30000);
	memcpy(piece + 64, whole, whole_len);
	if (partial) { /* what the device would do */
		uint32_t sum = 17 + 30008;
		uint8_t *ip = piece + 64;

		put16(ip + hlen + 6, six ? sum_of(sum, ip + 8, 32) : sum_of(sum, ip + 12, 8));
		p[0].flags = DEMI_PKT_F_CSUM_PARTIAL;
		p[0].csum_start = (uint16_t)hlen;
		p[0].csum_offset = 6;
	}
	p[0].data = piece + 64;
	p[0].len = hlen + 8;
	p[0].flags |= DEMI_PKT_F_MORE;
	p[0].cookie = 0x30;
	p[1] = (struct demi_pkt){ .data = piece + 64 + hlen + 8, .len = 7, .flags = DEMI_PKT_F_MORE };
	p[2] = (struct demi_pkt){ .data = piece + 64 + hlen + 15,
				  .len = whole_len - hlen - 15,
				  .flags = DEMI_PKT_F_ZEROCOPY };
	wire.room = 5; /* the device takes it bit by bit */
	CHECK_EQ(ether->ops->tx(ether, p, 3), 3);
	expect_none_done();
	CHECK_EQ(ether->ops->tx(ether, p, 3), 0);
	for (int i = 0; i < 10; i++) {
		wire.room = 3;
		stack_gets_nothing();
	}
	expect_pieces();
	expect_done(0x30, 0);
	wire.room = 100;
	CHECK_EQ(demi_ether_of(ether)->job.n, 0);
	/* one that waits for its neighbour is cut then */
	ether_end();
}

static void cut_later(void)
{
	start();
	hlen = 20;
	whole_len = udp4_from(whole, HOST4, PEER4, 7, 30000);
	memcpy(piece, whole, whole_len);
	CHECK_EQ(stack_sends(whole, whole_len, 0x40), 1);
	expect_arp(1, HOST4, NULL, PEER4, all_mac);
	no_frame();
	receive_arp(2, peer_mac, PEER4, host_mac, HOST4, host_mac);
	expect_pieces();
	expect_done(0x40, 0);
	/* "do not fragment" is heeded */
	put16(whole + 6, 0x4000);
	CHECK_EQ(stack_sends(whole, whole_len, 0x50), 1);
	expect_done(0x50, EMSGSIZE);
	no_frame();
	ether_end();
}

int main(void)
{
	alarm(100);
	check_seed();
	any_order();
	longest();
	overlaps(false);
	overlaps(true);
	limits();
	late();
	atomic();
	for (int i = 0; i < 4; i++)
		cut(i & 1, i & 2);
	cut_later();
	return 0;
}
