/* SPDX-License-Identifier: MIT */
/* A network of one's own for a process: two interfaces of one kernel would else reach each other by the loopback. */
#include "function.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define UP_TIMEOUT_MS 10000

static char interface[IFNAMSIZ];
static int home = -1; /* the network that it came from */

/* Ask by @sock, of the network that the interface is in. */
static int move(int sock, int network)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		struct rtattr attr;
		int32_t fd;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_NEWLINK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		  .attr = { .rta_len = RTA_LENGTH(sizeof(int32_t)), .rta_type = IFLA_NET_NS_FD },
		  .fd = network };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char more[256];
	} answer;
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, interface, sizeof(interface));
	if (ioctl(sock, SIOCGIFINDEX, &ifr))
		return -errno;
	ask.link.ifi_index = ifr.ifr_ifindex;
	if (send(sock, &ask, sizeof(ask), 0) < 0 || recv(sock, &answer, sizeof(answer), 0) < 0)
		return -errno;
	return answer.head.nlmsg_type == NLMSG_ERROR ? answer.err.error : -EPROTO;
}

/* Whoever is killed leaves it to the kernel, which gives it to the first network of all. */
static void go_home(void)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (sock < 0)
		return;
	(void)move(sock, home);
	close(sock);
}

static int flags_of(int sock, struct ifreq *ifr)
{
	return ioctl(sock, SIOCGIFFLAGS, ifr) ? -errno : 0;
}

/* Up, and with a carrier: what is sent before that is lost. */
static int bring_up(int sock, struct ifreq *ifr)
{
	int ret = flags_of(sock, ifr), waited;

	ifr->ifr_flags |= IFF_UP;
	if (!ret && ioctl(sock, SIOCSIFFLAGS, ifr))
		return -errno;
	for (waited = 0; !ret && !(ifr->ifr_flags & IFF_RUNNING); waited++) {
		if (waited == UP_TIMEOUT_MS)
			return -ENETDOWN;
		usleep(1000);
		ret = flags_of(sock, ifr);
	}
	return ret;
}

static int set_up(const char *ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;
	struct ifreq ifr = { 0 };

	if (sock < 0)
		return -errno;
	memcpy(ifr.ifr_name, interface, sizeof(interface));
	inet_pton(AF_INET, ip, &in.sin_addr);
	memcpy(&ifr.ifr_addr, &in, sizeof(in));
	if (ioctl(sock, SIOCSIFADDR, &ifr))
		ret = -errno;
	in.sin_addr.s_addr = htonl(0xffffff00);
	memcpy(&ifr.ifr_netmask, &in, sizeof(in));
	if (!ret && ioctl(sock, SIOCSIFNETMASK, &ifr))
		ret = -errno;
	if (!ret)
		ret = bring_up(sock, &ifr);
	close(sock);
	return ret;
}

static int enter(void)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), own, ret;

	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (sock < 0 || home < 0 || unshare(CLONE_NEWNET))
		return -errno;
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ret = own < 0 ? -errno : move(sock, own);
	close(own);
	close(sock);
	return ret ? ret : atexit(go_home) ? -ENOMEM : 0;
}

int function_enter(const char *name, const char *ip)
{
	int ret = function_interface(name, interface) ? enter() : -ENODEV;

	if (ret == -EPERM)
		warnx("to give %s to a network of its own takes root", name);
	else if (ret)
		warnx("%s to a network of its own: %s", name, strerror(-ret));
	if (ret)
		return ret;
	ret = set_up(ip);
	if (ret)
		warnx("%s (%s) with address %s: %s", name, interface, ip, strerror(-ret));
	return ret;
}
