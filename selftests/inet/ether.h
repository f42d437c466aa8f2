/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_ETHER_H
#define DEMI_SELFTESTS_INET_ETHER_H

/*
 * lib/ether on an L2 device in memory, in a time of its own: a test puts frames and packets in and looks at every byte
 * that comes out. This host is 02:00:00:00:00:01 with 10.0.0.1/24 and fd00::1/64, the peer 02:00:00:00:00:02 with .2.
 */

#include "../lib/bytes.h"
#include "../lib/check.h"

#include "core/ctx.h"
#include "ether/dev.h"
#include "heap/heap.h"
#include "pktdev/pktdev.h"

#define WIRE_BUF 2048
#define WIRE_MAX 4096
#define WIRE_HEADROOM 8

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define wire_poison(p, len) __asan_poison_memory_region(p, len)
#else
#define wire_poison(p, len) ((void)0)
#endif

struct frame {
	struct demi_pkt meta;
	uint32_t len;
	uint8_t d[];
};

/* The L2 device. */
static struct wire {
	struct demi_pktdev d;
	struct demi_pkt rx[WIRE_MAX];
	uint32_t rx_head, rx_tail;
	struct frame *tx[WIRE_MAX];
	uint32_t tx_head, tx_tail;
	uint64_t done[WIRE_MAX];
	uint32_t ndone;
	uint32_t room; /* packets that tx() still takes */
	bool hold; /* what is done is not told */
	uint32_t buffers; /* that the stack has */
	uint32_t kicks;
	bool destroyed;
} wire;

static struct demi_pktdev *ether; /* what is tested */
static uint64_t wire_now = 1000000 * DEMI_ETHER_MS;

static const uint8_t host_mac[6] = { 2, 0, 0, 0, 0, 1 }, peer_mac[6] = { 2, 0, 0, 0, 0, 2 };
static const uint8_t all_mac[6] = { 255, 255, 255, 255, 255, 255 };
#define HOST4 0x0a000001U
#define PEER4 0x0a000002U
static const uint8_t host6[16] = { 0xfd, [15] = 1 }, peer6[16] = { 0xfd, [15] = 2 };

static uint64_t wire_clock(void)
{
	return wire_now;
}

static int wire_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0;

	while (wire.rx_head != wire.rx_tail) {
		uint32_t end = wire.rx_head;

		while (wire.rx[end].flags & DEMI_PKT_F_MORE)
			end++;
		if (end + 1 - wire.rx_head > max - n)
			break;
		while (wire.rx_head <= end)
			pkts[n++] = wire.rx[wire.rx_head++];
	}
	if (wire.rx_head == wire.rx_tail)
		wire.rx_head = wire.rx_tail = 0;
	wire.buffers += n;
	return (int)n;
}

static void wire_recycle(struct demi_pktdev *d, void *data)
{
	CHECK(wire.buffers > 0);
	wire.buffers--;
	CHECK_EQ(demi_heap_free(data), 0);
}

static struct frame *wire_frame(const struct demi_pkt *p)
{
	uint32_t len = p->len;
	struct frame *f;

	for (const struct demi_pkt *e = p; e->flags & DEMI_PKT_F_MORE;)
		len += (++e)->len;
	f = malloc(sizeof(*f) + len);
	CHECK(f);
	f->meta = *p;
	f->len = 0;
	return f;
}

static int wire_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && wire.room) {
		struct frame *f = wire_frame(&pkts[i]);

		CHECK(wire.tx_tail < WIRE_MAX && wire.ndone < WIRE_MAX);
		wire.done[wire.ndone++] = pkts[i].cookie;
		memset(pkts[i].data - WIRE_HEADROOM, 0xee, WIRE_HEADROOM);
		for (;; i++) {
			memcpy(f->d + f->len, pkts[i].data, pkts[i].len);
			f->len += pkts[i].len;
			if (!(pkts[i].flags & DEMI_PKT_F_MORE))
				break;
			CHECK(i + 1 < n);
		}
		i++;
		CHECK(f->len <= wire.d.mtu_bytes + 14 || f->meta.flags & DEMI_PKT_F_GSO);
		wire.tx[wire.tx_tail++] = f;
		wire.room--;
	}
	return (int)i;
}

static int wire_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	while (!wire.hold && n < max && wire.ndone)
		done[n++] = (struct demi_pkt_done){ .cookie = wire.done[--wire.ndone] };
	return (int)n;
}

static int wire_kick(struct demi_pktdev *d)
{
	wire.kicks++;
	return 0;
}

static void wire_destroy(struct demi_pktdev *d)
{
	wire.destroyed = true;
}

static struct demi_pktdev_ops wire_ops = {
	.name = "wire",
	.abi = DEMI_PKTDEV_ABI,
	.rx = wire_rx,
	.tx = wire_tx,
	.tx_done = wire_tx_done,
	.kick = wire_kick,
	.rx_recycle = wire_recycle,
	.destroy = wire_destroy,
};

/* The device under test; @addrs NULL: as above. */
static inline int ether_try(const char *addrs, const char *gateways, enum demi_inet_dad dad, uint32_t mtu)
{
	struct demi_ether_setup s = {
		.addrs = addrs ? addrs : "10.0.0.1/24,fd00::1/64",
		.gateways = gateways,
		.mtu_bytes = mtu,
		.dad = dad,
		.secret = { check_rng, 2 },
		.clock = wire_clock,
	};

	memset(&wire, 0, sizeof(wire));
	demi_pktdev_ops_fill(&wire_ops);
	wire.room = UINT32_MAX;
	wire.d = (struct demi_pktdev){
		.ops = &wire_ops,
		.mtu_bytes = 1500,
		.tx_segs_max = 16,
		.zc_min_bytes = 1024,
		.tx_headroom_bytes = WIRE_HEADROOM,
		.rx_buf_bytes = WIRE_BUF,
		.wake_fd = -1,
	};
	memcpy(wire.d.mac, host_mac, 6);
	return demi_ether_create(NULL, &wire.d, &s, &ether);
}

static inline void ether_new(const char *addrs, const char *gateways, enum demi_inet_dad dad)
{
	CHECK_EQ(ether_try(addrs, gateways, dad, 0), 0);
	CHECK(ether->caps & DEMI_PKTDEV_C_L3 && ether->caps & DEMI_PKTDEV_C_TX_FRAG);
	CHECK_EQ(ether->tx_headroom_bytes, WIRE_HEADROOM + 14);
}

static inline void forget_frames(void)
{
	while (wire.tx_head < wire.tx_tail)
		free(wire.tx[wire.tx_head++]);
	wire.tx_head = wire.tx_tail = 0;
}

static inline void ether_end(void)
{
	for (uint32_t i = wire.rx_head; i < wire.rx_tail; i++)
		demi_heap_free(wire.rx[i].data);
	ether->ops->destroy(ether);
	CHECK(wire.destroyed);
	CHECK_EQ(wire.buffers, 0);
	forget_frames();
}

/* ---- time ---- */

/* Let @ns pass; everything that is due happens at its time. */
static inline void pass(uint64_t ns)
{
	uint64_t end = wire_now + ns;

	for (int i = 0; ether->deadline_ns && ether->deadline_ns <= end; i++) {
		CHECK(i < 100000);
		if (ether->deadline_ns > wire_now)
			wire_now = ether->deadline_ns;
		ether->ops->run(ether, wire_now);
		if (ether->deadline_ns && ether->deadline_ns <= wire_now)
			break; /* only the caller's looking helps */
	}
	wire_now = end;
}

/* ---- frames out ---- */

/* The next one; the caller frees it. NULL: none. */
static inline struct frame *next_frame(void)
{
	struct frame *f = wire.tx_head < wire.tx_tail ? wire.tx[wire.tx_head++] : NULL;

	if (wire.tx_head == wire.tx_tail)
		wire.tx_head = wire.tx_tail = 0;
	return f;
}

static inline void no_frame(void)
{
	struct frame *f = next_frame();

	if (f) {
		printf("a frame of %u bytes:", f->len);
		for (uint32_t i = 0; i < f->len && i < 100; i++)
			printf("%s%02x", i % 4 ? "" : " ", f->d[i]);
		printf("\n");
	}
	CHECK(!f);
}

/* ---- bytes ---- */

static inline uint16_t sum_of(uint32_t sum, const uint8_t *p, uint32_t len)
{
	return fold16(sum + sum16(p, len));
}

/* Of the transport of the packet at @ip, of @len bytes from @off on: 0xffff when it is right. */
static inline uint16_t transport_sum(const uint8_t *ip, uint32_t off, uint32_t len, uint8_t proto)
{
	uint32_t sum = proto + len;

	if (ip[0] >> 4 == 4)
		return sum_of(sum_of(sum, ip + 12, 8), ip + off, len);
	return sum_of(sum_of(sum, ip + 8, 32), ip + off, len);
}

/* ---- frames in ---- */

/* In buffers of @buf bytes. */
static inline void receive_in(const uint8_t *f, uint32_t len, uint32_t buf)
{
	uint32_t off = 0, n;

	do {
		uint8_t *obj = demi_heap_alloc(WIRE_BUF);

		CHECK(obj && wire.rx_tail < WIRE_MAX);
		n = len - off < buf ? len - off : buf;
		wire_poison(obj + DEMI_PKT_HEADROOM + n, WIRE_BUF - DEMI_PKT_HEADROOM - n);
		if (n)
			memcpy(obj + DEMI_PKT_HEADROOM, f + off, n);
		off += n;
		wire.rx[wire.rx_tail++] = (struct demi_pkt){ .data = obj + DEMI_PKT_HEADROOM,
							     .len = n,
							     .flags = off < len ? DEMI_PKT_F_MORE : 0 };
	} while (off < len);
}

static inline void receive_frame(const uint8_t *f, uint32_t len)
{
	receive_in(f, len, WIRE_BUF - DEMI_PKT_HEADROOM);
}

static inline uint32_t put_ether(uint8_t *f, const uint8_t *dst, const uint8_t *src, uint32_t type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	put16(f + 12, type);
	return 14;
}

/* What the stack gets now, all segments together: its length, 0 if nothing. */
static inline uint32_t stack_gets(uint8_t *to, uint32_t room)
{
	struct demi_pkt pkts[DEMI_PKT_RX_SEGS_MAX + 16];
	int n = ether->ops->rx(ether, pkts, DEMI_PKT_RX_SEGS_MAX + 16);
	uint32_t len = 0;

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		CHECK(len + pkts[i].len <= room);
		CHECK(i + 1 < n || !(pkts[i].flags & DEMI_PKT_F_MORE));
		CHECK(i + 1 == n || pkts[i].flags & DEMI_PKT_F_MORE); /* one packet */
		memcpy(to + len, pkts[i].data, pkts[i].len);
		memset(pkts[0].data - (i ? 0 : DEMI_PKT_HEADROOM), 0xdd, i ? 0 : DEMI_PKT_HEADROOM);
		len += pkts[i].len;
		if (wire.buffers) {
			wire_recycle(&wire.d, pkts[i].data);
		} else {
			CHECK_EQ(demi_heap_free(pkts[i].data), 0);
		}
	}
	return len;
}

static inline void stack_gets_nothing(void)
{
	static uint8_t buf[70000];

	CHECK_EQ(stack_gets(buf, sizeof(buf)), 0);
}

/* ---- ARP ---- */

static inline void receive_arp(uint32_t op, const uint8_t *sha, uint32_t spa, const uint8_t *target_mac, uint32_t tpa,
			       const uint8_t *to)
{
	uint8_t f[60] = { 0 };

	put_ether(f, to, sha, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	f[18] = 6;
	f[19] = 4;
	put16(f + 20, op);
	memcpy(f + 22, sha, 6);
	put32(f + 28, spa);
	if (target_mac)
		memcpy(f + 32, target_mac, 6);
	put32(f + 38, tpa);
	receive_frame(f, sizeof(f));
	stack_gets_nothing();
}

/* The next frame is exactly this. */
static inline void expect_arp(uint32_t op, uint32_t spa, const uint8_t *target_mac, uint32_t tpa, const uint8_t *to)
{
	static const uint8_t nobody[6];
	struct frame *f = next_frame();

	CHECK(f);
	CHECK_EQ(f->len, 42);
	CHECK(!memcmp(f->d, to, 6) && !memcmp(f->d + 6, host_mac, 6));
	CHECK_EQ(get32(f->d + 12), 0x08060001);
	CHECK_EQ(get32(f->d + 16), 0x08000604);
	CHECK_EQ(get16(f->d + 20), op);
	CHECK(!memcmp(f->d + 22, host_mac, 6));
	CHECK_EQ(get32(f->d + 28), spa);
	CHECK(!memcmp(f->d + 32, target_mac ? target_mac : nobody, 6));
	CHECK_EQ(get32(f->d + 38), tpa);
	free(f);
}

/* ---- packets ---- */

/* An IPv4 packet of @len bytes of @proto at @ip; its payload is there already, 20 bytes in. Returns its length. */
static inline uint32_t put_ip4(uint8_t *ip, uint32_t src, uint32_t dst, uint8_t proto, uint32_t len)
{
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	put16(ip + 10, (uint16_t)~sum_of(0, ip, 20));
	return 20 + len;
}

static inline uint32_t put_ip6(uint8_t *ip, const uint8_t *src, const uint8_t *dst, uint8_t proto, uint8_t hops,
			       uint32_t len)
{
	memset(ip, 0, 8);
	ip[0] = 0x60;
	put16(ip + 4, len);
	ip[6] = proto;
	ip[7] = hops;
	memcpy(ip + 8, src, 16);
	memcpy(ip + 24, dst, 16);
	return 40 + len;
}

/* A datagram's header with @len bytes behind it, which are there already. */
static inline void put_udp(uint8_t *ip, uint32_t off, uint16_t sport, uint16_t dport, uint32_t len)
{
	uint16_t sum;

	put16(ip + off, sport);
	put16(ip + off + 2, dport);
	put16(ip + off + 4, 8 + len);
	put16(ip + off + 6, 0);
	sum = (uint16_t)~transport_sum(ip, off, 8 + len, 17);
	put16(ip + off + 6, sum ? sum : 0xffff);
}

static inline uint32_t udp4_from(uint8_t *ip, uint32_t src, uint32_t dst, uint16_t dport, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		ip[28 + i] = (uint8_t)(i * 7 + i / 256);
	put_ip4(ip, src, dst, 17, 8 + len);
	put_udp(ip, 20, 4000, dport, len);
	return 28 + len;
}

static inline uint32_t udp6_from(uint8_t *ip, const uint8_t *src, const uint8_t *dst, uint16_t dport, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		ip[48 + i] = (uint8_t)(i * 7 + i / 256);
	put_ip6(ip, src, dst, 17, 64, 8 + len);
	put_udp(ip, 40, 4000, dport, len);
	return 48 + len;
}

/* A packet from @src to @dst on the wire. */
static inline void receive_packet(const uint8_t *dst, const uint8_t *src, const uint8_t *ip, uint32_t len)
{
	static uint8_t f[70000];

	put_ether(f, dst, src, ip[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	memcpy(f + 14, ip, len);
	receive_frame(f, 14 + len);
}

/* ---- what the stack does ---- */

static inline uint32_t reserve(int family, uint8_t proto, uint16_t port, uint32_t flags, uint32_t *flow)
{
	struct demi_pktdev_port p = { .family = (uint8_t)family, .proto = proto, .port = htons(port), .flags = flags };

	CHECK_EQ(ether->ops->port_reserve(ether, &p), 0);
	CHECK_EQ(ether->ops->flow_add(ether, p.handle, NULL, flow), 0);
	return p.handle;
}

/* Send a packet of the stack's; the cookie is @cookie. The memory stays until it is done. */
static uint8_t stack_memory[70000];

static inline int stack_sends(const uint8_t *ip, uint32_t len, uint64_t cookie)
{
	struct demi_pkt p = { .data = stack_memory + 64, .len = len, .cookie = cookie };

	memcpy(stack_memory + 64, ip, len);
	return ether->ops->tx(ether, &p, 1);
}

/* Everything that is done now: how many; the last one's error in *err. */
static inline uint32_t stack_done(uint64_t *cookie, int *err)
{
	struct demi_pkt_done done[64];
	uint32_t total = 0;
	int n;

	do {
		n = ether->ops->tx_done(ether, done, 64);
		CHECK(n >= 0);
		for (int i = 0; i < n; i++) {
			CHECK(!(done[i].cookie & 1));
			*cookie = done[i].cookie;
			*err = done[i].err;
		}
		total += (uint32_t)n;
	} while (n == 64);
	return total;
}

static inline void expect_done(uint64_t cookie, int err)
{
	uint64_t c = 0;
	int e = -1;

	CHECK_EQ(stack_done(&c, &e), 1);
	CHECK_EQ(c, cookie);
	CHECK_EQ(e, err);
}

static inline void expect_none_done(void)
{
	uint64_t c = 0;
	int e = -1;

	CHECK_EQ(stack_done(&c, &e), 0);
}

/* The next frame is this packet, to @mac. */
static inline void expect_packet(const uint8_t *mac, const uint8_t *ip, uint32_t len)
{
	struct frame *f = next_frame();

	CHECK(f);
	CHECK_EQ(f->len, 14 + len);
	CHECK(!memcmp(f->d, mac, 6) && !memcmp(f->d + 6, host_mac, 6));
	CHECK_EQ(get16(f->d + 12), ip[0] >> 4 == 4 ? 0x0800 : 0x86dd);
	CHECK(!memcmp(f->d + 14, ip, len));
	free(f);
}

/* ---- a stack that takes what comes and sends what it likes ---- */

/* Sent by it and not done: each in memory of its own, which is its cookie. */
static uint32_t any_flying;

/* What it is given: packets for this host, whole, with a header of their version. @look, if any, looks, too. */
static inline void any_take(void (*look)(const uint8_t *ip))
{
	struct demi_pkt pkts[64];
	int n = ether->ops->rx(ether, pkts, 64);

	CHECK(n >= 0 && n <= 64);
	for (int i = 0; i < n; i++) {
		const uint8_t *d = pkts[i].data;

		/* what this host has sent to itself says so */
		if ((!i || !(pkts[i - 1].flags & DEMI_PKT_F_MORE)) && !(pkts[i].flags & DEMI_PKT_F_CSUM_OK)) {
			CHECK(pkts[i].len >= 20);
			if (d[0] >> 4 == 4)
				CHECK(d[12] != 127 && !(get16(d + 6) & 0x3fff));
			else
				CHECK(d[0] >> 4 == 6 && d[24] != 0);
			if (look)
				look(d);
			memset(pkts[i].data - DEMI_PKT_HEADROOM, 0xdd, DEMI_PKT_HEADROOM);
		}
		memset(pkts[i].data, 0xee, pkts[i].len);
		OK(demi_heap_free(pkts[i].data));
	}
}

static inline void any_done(void)
{
	struct demi_pkt_done done[64];
	int n = ether->ops->tx_done(ether, done, 64);

	CHECK(n >= 0 && (uint32_t)n <= any_flying);
	for (int i = 0; i < n; i++)
		free((void *)(uintptr_t)done[i].cookie);
	any_flying -= (uint32_t)n;
}

/* The @len bytes at @data, which lie in @memory. */
static inline void any_send(void *memory, uint8_t *data, uint32_t len)
{
	struct demi_pkt p = { .data = data, .len = len, .cookie = (uintptr_t)memory };

	if (ether->ops->tx(ether, &p, 1) == 1)
		any_flying++;
	else
		free(memory);
	any_done();
}

#endif /* DEMI_SELFTESTS_INET_ETHER_H */
