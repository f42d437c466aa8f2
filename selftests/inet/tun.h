/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_TUN_H
#define DEMI_SELFTESTS_INET_TUN_H

/*
 * The stack on a TUN device in a network namespace of the test's own: the other side is this machine's kernel. The
 * kernel has 10.9.0.1 and fd09::1, the stack 10.9.0.2 and fd09::2. With offloads the kernel gives packets of up to
 * 64 KiB.
 */

#include "../lib/check.h"

#include "core/ctx.h"
#include "heap/heap.h"
#include "inet/backend.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define TUN_BUF 4096

struct tun {
	struct demi_pktdev d;
	int fd;
	bool vnet;
	uint64_t done[256];
	uint32_t ndone;
	uint16_t next_port;
	uint32_t drop_every, count; /* of the packets in each direction; 0: none */
	bool deaf; /* what the kernel sends waits */
	int mtu;
};

static struct tun tun = { .mtu = 1500 };

static bool tun_drops(void)
{
	return tun.drop_every && ++tun.count % tun.drop_every == 0;
}

static uint16_t tun_flags(const struct virtio_net_hdr *h)
{
	uint16_t flags = 0;

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		flags |= DEMI_PKT_F_CSUM_PARTIAL;
	if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		flags |= DEMI_PKT_F_CSUM_OK;
	if ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4)
		flags |= DEMI_PKT_F_GSO_TCP4;
	if ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6)
		flags |= DEMI_PKT_F_GSO_TCP6;
	return flags;
}

/* One packet, cut into buffers as a card does. */
static int tun_read(struct demi_pkt *pkts)
{
	static uint8_t buf[70000];
	struct virtio_net_hdr h = { .flags = 0 };
	struct iovec iov[2] = { { &h, sizeof(h) }, { buf, sizeof(buf) } };
	ssize_t got = readv(tun.fd, tun.vnet ? iov : iov + 1, tun.vnet ? 2 : 1);
	uint32_t off = 0, len;
	int n = 0;

	if (got <= 0) {
		CHECK(errno == EAGAIN || errno == EINTR);
		return 0;
	}
	len = (uint32_t)got - (tun.vnet ? (uint32_t)sizeof(h) : 0);
	if (tun_drops())
		return tun_read(pkts);
	while (off < len) {
		uint32_t head = n ? 0 : DEMI_PKT_HEADROOM, m = TUN_BUF - head;
		uint8_t *obj = demi_heap_alloc(TUN_BUF);

		CHECK(obj && n < DEMI_PKT_RX_SEGS_MAX);
		if (m > len - off)
			m = len - off;
		pkts[n] = (struct demi_pkt){ .data = obj + head, .len = m };
		memcpy(obj + head, buf + off, m);
		off += m;
		if (off < len)
			pkts[n].flags = DEMI_PKT_F_MORE;
		n++;
	}
	pkts[0].flags |= tun_flags(&h);
	pkts[0].gso_size = h.gso_size;
	return n;
}

static int tun_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0;
	int m;

	while (!tun.deaf && max - n >= DEMI_PKT_RX_SEGS_MAX && (m = tun_read(pkts + n)) > 0)
		n += (uint32_t)m;
	return (int)n;
}

static void tun_write(const struct demi_pkt *p)
{
	struct virtio_net_hdr h = { .flags = 0 };
	struct iovec iov[20] = { { &h, sizeof(h) } };
	const struct demi_pkt *first = p;
	int n = 1;

	if (first->flags & DEMI_PKT_F_CSUM_PARTIAL) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = first->csum_start;
		h.csum_offset = first->csum_offset;
	}
	if (first->flags & DEMI_PKT_F_GSO) {
		h.gso_type = first->flags & DEMI_PKT_F_GSO_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
		h.gso_size = first->gso_size;
		h.hdr_len = first->hdr_len;
	}
	for (;; p++) {
		iov[n].iov_base = p->data;
		iov[n++].iov_len = p->len;
		if (!(p->flags & DEMI_PKT_F_MORE))
			break;
	}
	if (tun_drops())
		return;
	if (writev(tun.fd, tun.vnet ? iov : iov + 1, tun.vnet ? n : n - 1) < 0)
		printf("tun: %s\n", strerror(errno));
}

static int tun_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	uint32_t i = 0, end;

	for (; i < n && tun.ndone < 256; i = end) {
		for (end = i + 1; pkts[end - 1].flags & DEMI_PKT_F_MORE; end++)
			;
		tun_write(&pkts[i]);
		tun.done[tun.ndone++] = pkts[i].cookie;
	}
	return (int)i;
}

static int tun_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && tun.ndone)
		done[n++] = (struct demi_pkt_done){ .cookie = tun.done[--tun.ndone] };
	return (int)n;
}

static int tun_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p)
{
	if (!p->port)
		p->port = htons(tun.next_port++);
	return 0;
}

static void tun_port_release(struct demi_pktdev *d, uint32_t handle)
{
}

static int tun_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow)
{
	*flow = 1;
	return 0;
}

static int tun_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	memset(&r->src, 0, sizeof(r->src));
	r->mtu_bytes = (uint32_t)tun.mtu;
	if (r->family == AF_INET)
		r->src.v4.s_addr = htonl(0x0a090002);
	else
		inet_pton(AF_INET6, "fd09::2", &r->src.v6);
	return 0;
}

static void tun_destroy(struct demi_pktdev *d)
{
	close(tun.fd);
}

static struct demi_pktdev_ops tun_ops = {
	.name = "tun",
	.abi = DEMI_PKTDEV_ABI,
	.rx = tun_rx,
	.tx = tun_tx,
	.tx_done = tun_tx_done,
	.port_reserve = tun_port_reserve,
	.port_release = tun_port_release,
	.flow_add = tun_flow_add,
	.flow_del = tun_port_release,
	.route = tun_route,
	.destroy = tun_destroy,
};

static inline void tun_configure(const char *name)
{
	struct in6_ifreq i6 = { .ifr6_prefixlen = 64 };
	struct ifreq ifr = { .ifr_flags = 0 };
	struct sockaddr_in *a = (struct sockaddr_in *)&ifr.ifr_addr;
	int s4 = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);

	CHECK(s4 >= 0 && s6 >= 0);
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(0x0a090001);
	OK(ioctl(s4, SIOCSIFADDR, &ifr));
	a->sin_addr.s_addr = htonl(0xffffff00);
	OK(ioctl(s4, SIOCSIFNETMASK, &ifr));
	ifr.ifr_mtu = tun.mtu;
	OK(ioctl(s4, SIOCSIFMTU, &ifr));
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	OK(ioctl(s4, SIOCSIFFLAGS, &ifr));
	OK(ioctl(s4, SIOCGIFINDEX, &ifr));
	i6.ifr6_ifindex = ifr.ifr_ifindex;
	inet_pton(AF_INET6, "fd09::1", &i6.ifr6_addr);
	if (ioctl(s6, SIOCSIFADDR, &i6))
		printf("no IPv6: %s\n", strerror(errno));
	close(s4);
	close(s6);
}

/* This thread's context on a new device; skips where there is none. */
static inline void tun_init(bool offload)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (offload ? IFF_VNET_HDR : 0)) };
	struct demi_ctx *ctx;

	tun.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strcpy(ifr.ifr_name, "demi0");
	if (tun.fd < 0 || ioctl(tun.fd, TUNSETIFF, &ifr)) {
		printf("/dev/net/tun: %s\n", strerror(errno));
		exit(77);
	}
	if (offload)
		OK(ioctl(tun.fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
	tun_configure("demi0");
	setenv("LIBOS", "catmem", 1);
	OK(demi_init(NULL));
	ctx = demi_ctx_self;
	demi_pktdev_ops_fill(&tun_ops);
	tun.vnet = offload;
	tun.ndone = 0;
	tun.next_port = 40000;
	tun.d = (struct demi_pktdev){
		.ops = &tun_ops,
		.ctx = ctx,
		.caps = DEMI_PKTDEV_C_L3 | DEMI_PKTDEV_C_RX_IP_OK,
		.mtu_bytes = 65535,
		.gso_max_bytes = 65000,
		.gso_max_segs = 64,
		.tx_segs_max = 16,
		.zc_min_bytes = 1024,
		.rx_buf_bytes = TUN_BUF,
		.wake_fd = -1,
	};
	if (offload)
		tun.d.caps |= DEMI_PKTDEV_C_TX_CSUM | DEMI_PKTDEV_C_TX_TSO4 | DEMI_PKTDEV_C_TX_TSO6;
	CHECK_EQ(demi_inet_create(ctx, &tun.d, &ctx->main_backend), 0);
	ctx->backends[ctx->nbackends++] = ctx->main_backend;
}

/* A network namespace of our own. */
static inline void tun_unshare(void)
{
	if (unshare(CLONE_NEWNET)) {
		printf("unshare: %s\n", strerror(errno));
		exit(77);
	}
}

#endif /* DEMI_SELFTESTS_INET_TUN_H */
