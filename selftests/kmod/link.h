/* SPDX-License-Identifier: MIT */
/* When can an interface send? */
#ifndef KMOD_LINK_H
#define KMOD_LINK_H

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_UP 6 /* IF_OPER_UP of linux/if.h, which net/if.h excludes */

/* Its operational state (RFC 2863), asked under rtnl; -errno */
static inline int link_state(int fd, unsigned int ifindex)
{
	struct {
		struct nlmsghdr nl;
		struct ifinfomsg link;
	} ask = {
		.nl = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
		.link = { .ifi_index = (int)ifindex },
	};
	union {
		struct nlmsghdr nl;
		char bytes[16384];
	} got;
	const struct rtattr *a;
	int len;

	if (send(fd, &ask, sizeof(ask), 0) < 0)
		return -errno;
	len = (int)recv(fd, &got, sizeof(got), 0);
	if (len < 0)
		return -errno;
	if (!NLMSG_OK(&got.nl, len) || got.nl.nlmsg_type != RTM_NEWLINK)
		return -ENODEV;
	a = IFLA_RTA(NLMSG_DATA(&got.nl));
	for (len = (int)IFLA_PAYLOAD(&got.nl); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == IFLA_OPERSTATE)
			return *(const unsigned char *)RTA_DATA(a);
	return -ENODATA;
}

/*
 * Wait until it can. When the other end of a veth comes up, this end's carrier is there, but its queueing discipline
 * is started by a work item of the kernel's a moment later, and until then drops what is sent: without an error,
 * for sockets, too. Nobody sends a broadcast, multicast or raw frame again.
 */
static inline int link_wait(const char *name)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), state;

	if (fd < 0)
		return -errno;
	while ((state = link_state(fd, if_nametoindex(name))) >= 0 && state != LINK_UP)
		usleep(1000);
	close(fd);
	return state < 0 ? state : 0;
}

#endif
