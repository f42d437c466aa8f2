/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_TAP_H
#define DEMI_SELFTESTS_INET_TAP_H

/*
 * The stack with lib/ether on a TAP device in a network namespace of the test's own: the other side is this machine's
 * kernel, with 10.9.0.1 and fd09::1; the stack has what the test says.
 */

#include "../lib/check.h"

#include "core/ctx.h"
#include "ether/dev.h"
#include "heap/heap.h"
#include "inet/backend.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#define TAP_BUF 2048
#define TAP_MTU 1500

static struct tap {
	struct demi_pktdev d;
	int fd;
	uint64_t done[256];
	uint32_t ndone;
	int ifindex; /* the kernel's side */
} tap;

static const uint8_t tap_mac[6] = { 2, 0, 0, 0, 0, 9 };

static int tap_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	uint32_t n = 0;

	while (n < max) {
		uint8_t *obj = demi_heap_alloc(TAP_BUF);
		ssize_t got;

		CHECK(obj);
		got = read(tap.fd, obj + DEMI_PKT_HEADROOM, TAP_BUF - DEMI_PKT_HEADROOM);
		if (got <= 0) {
			CHECK(got == 0 || errno == EAGAIN || errno == EINTR);
			demi_heap_free(obj);
			break;
		}
		pkts[n++] = (struct demi_pkt){ .data = obj + DEMI_PKT_HEADROOM, .len = (uint32_t)got };
	}
	return (int)n;
}

static int tap_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct iovec iov[20];
	uint32_t i = 0, first;

	while (i < n && tap.ndone < 256) {
		int k = 0;

		first = i;
		do {
			iov[k].iov_base = pkts[i].data;
			iov[k++].iov_len = pkts[i].len;
		} while (pkts[i++].flags & DEMI_PKT_F_MORE);
		if (writev(tap.fd, iov, k) < 0)
			printf("tap: %s\n", strerror(errno));
		tap.done[tap.ndone++] = pkts[first].cookie;
	}
	return (int)i;
}

static int tap_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && tap.ndone)
		done[n++] = (struct demi_pkt_done){ .cookie = tap.done[--tap.ndone] };
	return (int)n;
}

static void tap_destroy(struct demi_pktdev *d)
{
	close(tap.fd);
}

static struct demi_pktdev_ops tap_ops = {
	.name = "tap",
	.abi = DEMI_PKTDEV_ABI,
	.rx = tap_rx,
	.tx = tap_tx,
	.tx_done = tap_tx_done,
	.destroy = tap_destroy,
};

static inline void tap_sysctl(const char *name, const char *value)
{
	int fd = open(name, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		printf("%s: %s\n", name, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static inline void tap_address6(const char *ip)
{
	struct in6_ifreq i6 = { .ifr6_prefixlen = 64, .ifr6_ifindex = tap.ifindex };
	int s = socket(AF_INET6, SOCK_DGRAM, 0);

	CHECK(s >= 0 && inet_pton(AF_INET6, ip, &i6.ifr6_addr) == 1);
	OK(ioctl(s, SIOCSIFADDR, &i6));
	close(s);
}

static inline void tap_configure(const char *name)
{
	struct ifreq ifr = { .ifr_flags = 0 };
	struct sockaddr_in *a = (struct sockaddr_in *)&ifr.ifr_addr;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(s >= 0);
	tap_sysctl("/proc/sys/net/ipv6/conf/demi0/accept_dad", "0");
	tap_sysctl("/proc/sys/net/ipv6/conf/demi0/disable_ipv6", "0");
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	OK(ioctl(s, SIOCGIFINDEX, &ifr));
	tap.ifindex = ifr.ifr_ifindex;
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(0x0a090001);
	OK(ioctl(s, SIOCSIFADDR, &ifr));
	a->sin_addr.s_addr = htonl(0xffffff00);
	OK(ioctl(s, SIOCSIFNETMASK, &ifr));
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	OK(ioctl(s, SIOCSIFFLAGS, &ifr));
	close(s);
	tap_address6("fd09::1");
}

/* This thread's context on a new device; skips where there is none. */
static inline void tap_init(const char *addrs, const char *gateways, enum demi_inet_dad dad)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	struct demi_ether_setup setup = {
		.addrs = addrs,
		.gateways = gateways,
		.dad = dad,
		.secret = { 1, 2 },
		.clock = demi_now_ns,
	};
	struct demi_pktdev *dev;
	struct demi_ctx *ctx;

	tap.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strcpy(ifr.ifr_name, "demi0");
	if (tap.fd < 0 || ioctl(tap.fd, TUNSETIFF, &ifr)) {
		printf("/dev/net/tun: %s\n", strerror(errno));
		exit(77);
	}
	tap_configure("demi0");
	setenv("LIBOS", "catmem", 1);
	OK(demi_init(NULL));
	ctx = demi_ctx_self;
	demi_pktdev_ops_fill(&tap_ops);
	tap.ndone = 0;
	tap.d = (struct demi_pktdev){
		.ops = &tap_ops,
		.ctx = ctx,
		.mtu_bytes = TAP_MTU,
		.tx_segs_max = 16,
		.zc_min_bytes = 1024,
		.rx_buf_bytes = TAP_BUF,
		.wake_fd = -1,
	};
	memcpy(tap.d.mac, tap_mac, 6);
	CHECK_EQ(demi_ether_create(ctx, &tap.d, &setup, &dev), 0);
	CHECK_EQ(demi_inet_create(ctx, dev, &ctx->main_backend), 0);
	ctx->backends[ctx->nbackends++] = ctx->main_backend;
}

/* A network namespace of our own. */
static inline void tap_unshare(void)
{
	if (unshare(CLONE_NEWNET)) {
		printf("unshare: %s\n", strerror(errno));
		exit(77);
	}
}

#endif /* DEMI_SELFTESTS_INET_TAP_H */
