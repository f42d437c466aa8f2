/* SPDX-License-Identifier: MIT */
/* How packets leave: the kernel is asked as a program would, by connecting a socket that sends nothing. */
#include "pktdev/ring/dev.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

union address {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t fill(union address *a, const struct demi_pktdev_route *r)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = r->family;
	if (r->family == AF_INET) {
		a->v4.sin_addr = r->dst.v4;
		a->v4.sin_port = htons(9);
		return sizeof(a->v4);
	}
	a->v6.sin6_addr = r->dst.v6;
	a->v6.sin6_port = htons(9);
	if (IN6_IS_ADDR_LINKLOCAL(&r->dst.v6) || IN6_IS_ADDR_MC_LINKLOCAL(&r->dst.v6))
		a->v6.sin6_scope_id = r->ifindex;
	return sizeof(a->v6);
}

static int ask(int fd, struct demi_pktdev_route *r)
{
	bool v4 = r->family == AF_INET;
	int ifindex = (int)r->ifindex, one = 1, mtu = 0;
	socklen_t len, mtu_len = sizeof(mtu);
	union address a;

	if (ifindex && setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, sizeof(ifindex)))
		return -errno;
	/* Whether a port may send to a broadcast address is decided when it does. */
	if (setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)))
		return -errno;
	len = fill(&a, r);
	if (connect(fd, &a.sa, len))
		return -errno;
	len = sizeof(a);
	if (getsockname(fd, &a.sa, &len))
		return -errno;
	if (getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &mtu_len))
		return -errno;
	memset(&r->src, 0, sizeof(r->src));
	if (v4)
		r->src.v4 = a.v4.sin_addr;
	else
		r->src.v6 = a.v6.sin6_addr;
	r->mtu_bytes = (uint32_t)mtu;
	return 0;
}

int demi_ring_route(struct demi_pktdev *d, struct demi_pktdev_route *r)
{
	int fd = socket(r->family, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return -errno;
	ret = ask(fd, r);
	close(fd);
	return ret;
}
