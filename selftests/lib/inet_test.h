/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_TEST_H
#define DEMI_SELFTESTS_INET_TEST_H

/*
 * The network stack on a device in memory: a test puts packets in and looks at what comes out, byte by byte. The
 * device is an L3 device that gives ports, flows and routes, fails when it is told to, and keeps every packet until
 * the test says that it is done.
 */

#include "bytes.h"
#include "check.h"

#include "core/ctx.h"
#include "heap/heap.h"
#include "inet/backend.h"
#include "pktdev/pcap.h"

#include <netinet/in.h>
#include <pthread.h>

/* Under the sanitizer what lies behind a packet in its buffer is nobody's. The heap undoes that when it is freed. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define dev_poison(p, len) __asan_poison_memory_region(p, len)
#else
#define dev_poison(p, len) ((void)0)
#endif

#define DEV_BUF 2048
#define DEV_QUEUE 4096
#define DEV_PORTS 64
#define DEV_HEADROOM 12

struct sent {
	uint8_t data[66000];
	uint32_t len, segs;
	struct demi_pkt meta; /* of the first entry */
	bool zerocopy; /* any entry */
};

struct dev {
	struct demi_pktdev d;
	/* to be received */
	struct demi_pkt rx[DEV_QUEUE];
	uint32_t rx_head, rx_tail;
	/* sent, in order; the test reads them with sent() */
	struct sent *sent[DEV_QUEUE];
	uint64_t cookies[DEV_QUEUE];
	int errs[DEV_QUEUE];
	uint32_t sent_head, sent_tail;
	bool hold; /* do not report packets as done until dev_done() */
	uint32_t reported; /* of sent */
	uint32_t tx_room; /* packets that tx() still takes */
	int tx_err; /* what packets that are taken now are reported done with */
	int gone; /* every entry answers so */
	int port_err, flow_err, route_err, group_err;
	uint32_t ports, flows; /* that are taken now */
	uint16_t next_port;
	struct demi_pktdev_port port; /* the last one asked for */
	struct demi_pktdev_route route;
	uint32_t routes; /* questions */
	union demi_pktdev_ip group;
	uint32_t group_ifindex;
	int groups; /* joined now */
	bool no_buf;
	uint32_t recycled, kicks;
	uint32_t arms, disarms;
	void (*on_arm)(void); /* what happens between arming and sleeping */
	bool destroyed;
};

static struct dev *dev;

/* 10.0.0.1 and fd00::1 are this host's; the peer is 10.0.0.2 and fd00::2. */
#define ADDR4 0x0a000001U
#define PEER4 0x0a000002U
static const uint8_t addr6[16] = { 0xfd, [15] = 1 }, peer6[16] = { 0xfd, [15] = 2 };

/* ---- the device ---- */

static int dev_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0, end;

	if (dev->gone)
		return dev->gone;
	CHECK(max >= DEMI_PKT_RX_SEGS_MAX);
	while (dev->rx_head != dev->rx_tail) {
		for (end = dev->rx_head; dev->rx[end].flags & DEMI_PKT_F_MORE; end++)
			;
		if (end + 1 - dev->rx_head > max - n)
			break;
		for (; dev->rx_head <= end; n++)
			pkts[n] = dev->rx[dev->rx_head++];
	}
	if (dev->rx_head == dev->rx_tail)
		dev->rx_head = dev->rx_tail = 0;
	return (int)n;
}

static int dev_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	uint32_t i = 0;

	if (dev->gone)
		return dev->gone;
	while (i < n && dev->tx_room) {
		struct sent *s = calloc(1, sizeof(*s));

		CHECK(s && dev->sent_tail < DEV_QUEUE);
		s->meta = pkts[i];
		dev->cookies[dev->sent_tail] = pkts[i].cookie;
		dev->errs[dev->sent_tail] = dev->tx_err;
		memset(pkts[i].data - DEV_HEADROOM, 0xee, DEV_HEADROOM); /* it is the device's to write to */
		for (;; i++) {
			CHECK(s->len + pkts[i].len <= sizeof(s->data));
			memcpy(s->data + s->len, pkts[i].data, pkts[i].len);
			s->len += pkts[i].len;
			s->zerocopy |= (pkts[i].flags & DEMI_PKT_F_ZEROCOPY) != 0;
			s->segs++;
			if (!(pkts[i].flags & DEMI_PKT_F_MORE))
				break;
			CHECK(i + 1 < n);
		}
		i++;
		CHECK(s->segs <= dev->d.tx_segs_max);
		dev->sent[dev->sent_tail++] = s;
		dev->tx_room--;
	}
	return (int)i;
}

static int dev_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	if (dev->gone)
		return dev->gone;
	while (n < max && !dev->hold && dev->reported < dev->sent_tail) {
		done[n].err = dev->errs[dev->reported];
		done[n].cookie = dev->cookies[dev->reported++];
		done[n++].copied = 0;
	}
	return (int)n;
}

static int dev_kick(struct demi_pktdev *d)
{
	dev->kicks++;
	return 0;
}

static int dev_arm(struct demi_pktdev *d)
{
	dev->arms++;
	if (dev->on_arm)
		dev->on_arm();
	return dev->gone;
}

static void dev_disarm(struct demi_pktdev *d)
{
	dev->disarms++;
}

static void dev_recycle(struct demi_pktdev *d, void *data)
{
	dev->recycled++;
	CHECK_EQ(demi_heap_free(data), 0);
}

static void *dev_buf_alloc(struct demi_pktdev *d, uint32_t size)
{
	return dev->no_buf ? NULL : demi_heap_alloc(size);
}

static int dev_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	if (dev->port_err)
		return dev->port_err;
	if (!p->port)
		p->port = htons(dev->next_port++);
	p->handle = 1000 + dev->ports;
	dev->port = *p;
	dev->ports++;
	return 0;
}

static void dev_port_release(struct demi_pktdev *d, uint32_t handle)
{
	CHECK(handle >= 1000 && dev->ports > 0 && dev->flows < dev->ports);
	dev->ports--;
}

static int dev_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow_out)
{
	if (dev->flow_err)
		return dev->flow_err;
	CHECK(handle >= 1000);
	*flow_out = 2000 + dev->flows++;
	return 0;
}

static void dev_flow_del(struct demi_pktdev *d, uint32_t flow)
{
	CHECK(flow >= 2000 && dev->flows > 0);
	dev->flows--;
}

static int dev_group(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		     uint32_t ifindex, bool join)
{
	CHECK(handle >= 1000);
	if (dev->group_err && join)
		return dev->group_err;
	dev->group = *group;
	dev->group_ifindex = ifindex;
	dev->groups += join ? 1 : -1;
	return 0;
}

static int dev_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	dev->routes++;
	dev->route = *r;
	if (dev->route_err)
		return dev->route_err;
	r->mtu_bytes = 1500;
	memset(&r->src, 0, sizeof(r->src));
	if (r->family == AF_INET && (ntohl(r->dst.v4.s_addr) >> 24) == 127)
		r->src.v4 = r->dst.v4;
	else if (r->family == AF_INET)
		r->src.v4.s_addr = htonl(ADDR4);
	else
		memcpy(&r->src.v6, addr6, 16);
	return 0;
}

static void dev_destroy(struct demi_pktdev *d)
{
	dev->destroyed = true;
}

static struct demi_pktdev_ops dev_ops = {
	.name = "test",
	.abi = DEMI_PKTDEV_ABI,
	.rx = dev_rx,
	.tx = dev_tx,
	.tx_done = dev_tx_done,
	.kick = dev_kick,
	.arm = dev_arm,
	.disarm = dev_disarm,
	.rx_recycle = dev_recycle,
	.buf_alloc = dev_buf_alloc,
	.port_reserve = dev_port_reserve,
	.port_release = dev_port_release,
	.flow_add = dev_flow_add,
	.flow_del = dev_flow_del,
	.group = dev_group,
	.route = dev_route,
	.destroy = dev_destroy,
};

/* This thread's context with the stack on a new device that has @caps beside L3. */
static int dev_wake_fd = -1; /* of the next device */
static const char *dev_pcap; /* where the next device's packets are written; or NULL */

static inline void inet_init(uint32_t caps)
{
	struct demi_pktdev *stack; /* what it sees */
	struct demi_ctx *ctx;

	setenv("LIBOS", "catmem", 1);
	OK(demi_init(NULL));
	ctx = demi_ctx_self;
	demi_pktdev_ops_fill(&dev_ops);
	dev = calloc(1, sizeof(*dev));
	CHECK(dev);
	dev->d.ops = &dev_ops;
	dev->d.ctx = ctx;
	dev->d.caps = DEMI_PKTDEV_C_L3 | caps;
	dev->d.mtu_bytes = 65535;
	dev->d.tx_segs_max = 16;
	dev->d.zc_min_bytes = 1024;
	dev->d.tx_headroom_bytes = DEV_HEADROOM;
	dev->d.rx_buf_bytes = DEV_BUF;
	dev->d.wake_fd = dev_wake_fd;
	dev->next_port = 40000;
	dev->tx_room = UINT32_MAX;
	stack = &dev->d;
	if (dev_pcap)
		CHECK_EQ(demi_pcap_open(&dev->d, dev_pcap, &stack), 0);
	CHECK_EQ(demi_inet_create(ctx, stack, &ctx->main_backend), 0);
	ctx->backends[ctx->nbackends++] = ctx->main_backend;
}

/* Run @fn in a thread, and so a context, of its own, on a new device. Everything must be given back. */
struct inet_run {
	void (*fn)(void);
	uint32_t caps;
};

static inline void inet_end(void)
{
	demi_ctx_flush(demi_ctx_self);
	demi_ctx_poll(demi_ctx_self);
	CHECK_EQ(dev->flows, 0);
	CHECK_EQ(dev->ports, 0);
	CHECK_EQ(dev->groups, 0);
	CHECK_EQ(demi_ctx_self->push_bytes, 0);
}

static inline void *inet_thread(void *arg)
{
	const struct inet_run *r = arg;

	inet_init(r->caps);
	r->fn();
	inet_end();
	return NULL;
}

static inline void inet_run(void (*fn)(void), uint32_t caps)
{
	struct inet_run r = { fn, caps };
	pthread_t t;

	OK(pthread_create(&t, NULL, inet_thread, &r));
	OK(pthread_join(t, NULL));
	CHECK(dev->destroyed);
	for (uint32_t i = dev->sent_head; i < dev->sent_tail; i++)
		free(dev->sent[i]);
	free(dev);
	dev = NULL;
}

/* ---- packets: built and read with code that is not the library's ---- */

static inline void sum_udp(uint8_t *p, uint32_t off)
{
	uint32_t len = get16(p + off + 4);
	uint16_t sum;

	put16(p + off + 6, 0);
	sum = (uint16_t)~fold16(pseudo_sum(p, 17, len) + sum16(p + off, len));
	put16(p + off + 6, sum ? sum : 0xffff);
}

/* A datagram from the peer to this host; returns its length. */
static inline uint32_t udp4(uint8_t *p, uint16_t sport, uint16_t dport, const void *payload, uint32_t len)
{
	memset(p, 0, 28);
	p[0] = 0x45;
	put16(p + 2, 28 + len);
	put16(p + 4, 7);
	p[8] = 64;
	p[9] = 17;
	put32(p + 12, PEER4);
	put32(p + 16, ADDR4);
	put16(p + 20, sport);
	put16(p + 22, dport);
	put16(p + 24, 8 + len);
	memcpy(p + 28, payload, len);
	sum_udp(p, 20);
	set_ip4_sum(p);
	return 28 + len;
}

static inline uint32_t udp6(uint8_t *p, uint16_t sport, uint16_t dport, const void *payload, uint32_t len)
{
	memset(p, 0, 48);
	p[0] = 0x60;
	put16(p + 4, 8 + len);
	p[6] = 17;
	p[7] = 64;
	memcpy(p + 8, peer6, 16);
	memcpy(p + 24, addr6, 16);
	put16(p + 40, sport);
	put16(p + 42, dport);
	put16(p + 44, 8 + len);
	memcpy(p + 48, payload, len);
	sum_udp(p, 40);
	return 48 + len;
}

/* Let the stack receive a packet, in buffers of @buf bytes of packet each, with the metadata of @meta. */
static inline void inject_meta(const uint8_t *p, uint32_t len, uint32_t buf, const struct demi_pkt *meta)
{
	struct demi_pkt e = meta ? *meta : (struct demi_pkt){ .flags = 0 };
	uint32_t off = 0, n;

	do {
		uint8_t *obj = demi_heap_alloc(DEV_BUF);

		CHECK(obj && buf <= DEV_BUF - DEMI_PKT_HEADROOM);
		memset(obj, 0xdd, DEV_BUF);
		n = len - off < buf ? len - off : buf;
		dev_poison(obj + DEMI_PKT_HEADROOM + n, DEV_BUF - DEMI_PKT_HEADROOM - n);
		e.data = obj + DEMI_PKT_HEADROOM;
		e.len = n;
		if (n)
			memcpy(e.data, p + off, n);
		off += n;
		e.flags = (uint16_t)((e.flags & ~DEMI_PKT_F_MORE) | (off < len ? DEMI_PKT_F_MORE : 0));
		CHECK(dev->rx_tail < DEV_QUEUE);
		dev->rx[dev->rx_tail++] = e;
	} while (off < len);
}

static inline void inject(const uint8_t *p, uint32_t len)
{
	inject_meta(p, len, DEV_BUF - DEMI_PKT_HEADROOM, NULL);
}

/* One round of everything. */
static inline void turn(void)
{
	demi_ctx_flush(demi_ctx_self);
	demi_ctx_poll(demi_ctx_self);
}

/* The oldest packet that was sent and not looked at; or NULL. The caller frees it. */
static inline struct sent *next_sent(void)
{
	turn();
	return dev->sent_head < dev->reported || (dev->hold && dev->sent_head < dev->sent_tail)
		       ? dev->sent[dev->sent_head++]
		       : NULL;
}

static inline void forget_sent(void)
{
	struct sent *s;

	while ((s = next_sent()))
		free(s);
}

static inline void none_sent(void)
{
	CHECK(!next_sent());
}

/* ---- sockets ---- */

static inline int udp_socket(int domain)
{
	int qd = -1;

	OK(demi_socket(&qd, domain, SOCK_DGRAM, 0));
	return qd;
}

static inline struct sockaddr_in sin_of(uint32_t ip, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };

	sin.sin_addr.s_addr = htonl(ip);
	return sin;
}

static inline struct sockaddr_in6 sin6_of(const uint8_t ip[16], uint16_t port)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (ip)
		memcpy(&sin6.sin6_addr, ip, 16);
	return sin6;
}

static inline int bound4(uint16_t port)
{
	struct sockaddr_in sin = sin_of(INADDR_ANY, port);
	int qd = udp_socket(AF_INET);

	OK(demi_bind(qd, (struct sockaddr *)&sin, sizeof(sin)));
	return qd;
}

static inline int bound6(uint16_t port)
{
	struct sockaddr_in6 sin6 = sin6_of(NULL, port);
	int qd = udp_socket(AF_INET6);

	OK(demi_bind(qd, (struct sockaddr *)&sin6, sizeof(sin6)));
	return qd;
}

static inline demi_qresult_t connect4(int qd, uint32_t ip, uint16_t port)
{
	struct sockaddr_in sin = sin_of(ip, port);
	demi_qtoken_t qt;

	OK(demi_connect(&qt, qd, (struct sockaddr *)&sin, sizeof(sin)));
	return wait_result(qt);
}

static inline int connected4(uint16_t port)
{
	int qd = udp_socket(AF_INET);
	demi_qresult_t qr = connect4(qd, PEER4, port);

	CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
	return qd;
}

/* The local port. */
static inline uint16_t port_of(int qd)
{
	struct sockaddr_in6 ss;
	socklen_t len = sizeof(ss);

	OK(demi_getsockname(qd, (struct sockaddr *)&ss, &len));
	return ntohs(ss.sin6_port); /* at the same place in both */
}

static inline void nothing_ready(demi_qtoken_t qt)
{
	demi_qresult_t qr;

	CHECK_EQ(demi_wait(&qr, qt, &check_now), ETIMEDOUT);
}

static inline void nothing_to_pop(int qd)
{
	demi_qtoken_t qt = pop_start(qd);
	demi_qresult_t qr;

	nothing_ready(qt);
	OK(demi_cancel(qt));
	qr = wait_result(qt);
	check_failed(&qr, ECANCELED);
}

static inline int pushto4(demi_qtoken_t *qt, int qd, const void *p, size_t len, uint32_t ip, uint16_t port)
{
	struct sockaddr_in sin = sin_of(ip, port);
	demi_sgarray_t sga = sga_of(p, len);

	return demi_pushto(qt, qd, &sga, (struct sockaddr *)&sin, sizeof(sin));
}

static inline int pushto6(demi_qtoken_t *qt, int qd, const void *p, size_t len, const uint8_t ip[16], uint16_t port)
{
	struct sockaddr_in6 sin6 = sin6_of(ip, port);
	demi_sgarray_t sga = sga_of(p, len);

	return demi_pushto(qt, qd, &sga, (struct sockaddr *)&sin6, sizeof(sin6));
}

static inline void set_int(int qd, int level, int name, int v)
{
	OK(demi_setsockopt(qd, level, name, &v, sizeof(v)));
}

static inline int get_int(int qd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	OK(demi_getsockopt(qd, level, name, &v, &len));
	CHECK_EQ(len, sizeof(int));
	return v;
}

static inline int push_err(int qd)
{
	demi_sgarray_t sga = sga_of("x", 1);
	demi_qtoken_t qt;

	return demi_push(&qt, qd, &sga);
}

#endif /* DEMI_SELFTESTS_INET_TEST_H */
