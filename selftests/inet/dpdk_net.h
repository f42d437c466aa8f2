/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_INET_DPDK_NET_H
#define DEMI_SELFTESTS_INET_DPDK_NET_H

/*
 * The stack on a DPDK port whose other side is this machine's kernel, in a network namespace of the test's own. The
 * kernel has 10.9.0.1 and fd09::1, the stack 10.9.0.2 and fd09::2.
 */

#include "dpdk.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Root has it, others have a user namespace where they may be root. */
static inline void own_network(void)
{
	char map[64];

	if (!unshare(CLONE_NEWNET))
		return;
	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned int)geteuid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		printf("no network namespace: %s\n", strerror(errno));
		exit(77);
	}
	write_file("/proc/self/uid_map", map);
}

static inline void ip(const char *fmt, const char *dev)
{
	char cmd[200];
	int n = snprintf(cmd, sizeof(cmd), "ip ");

	n += snprintf(cmd + n, sizeof(cmd) - (size_t)n, fmt, dev);
	CHECK(n < (int)sizeof(cmd));
	OK(system(cmd));
}

static inline void kernel_addresses(const char *dev)
{
	ip("link set %s up", "lo"); /* what the kernel sends to itself */
	ip("link set %s up", dev);
	ip("addr add 10.9.0.1/24 dev %s", dev);
	ip("-6 addr add fd09::1/64 dev %s nodad", dev);
}

/* AF_PACKET shows frames as the kernel left them: the sender's checksums must be there. */
static inline void checksums_in_software(const char *dev)
{
	struct ethtool_value v = { .cmd = ETHTOOL_STXCSUM };
	struct ifreq r = { .ifr_data = (char *)&v };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", dev);
	OK(ioctl(fd, SIOCETHTOOL, &r));
	close(fd);
}

static inline void stack_begin(const char *vdev)
{
	char args[256];

	snprintf(args, sizeof(args), DPDK_EAL "--vdev=%s", vdev);
	OK(setenv("DEMI_LIBOS", "dpdk", 1));
	OK(setenv("DEMI_DPDK_ARGS", args, 1));
	OK(setenv("DEMI_INET_ADDR", "10.9.0.2/24,fd09::2/64", 1));
	OK(demi_init(NULL));
}

static inline void tap(void)
{
	stack_begin("net_tap0,iface=dtap0");
	ip("link set %s down address 02:00:00:00:00:09", "dtap0"); /* the kernel's end has the port's own at first */
	kernel_addresses("dtap0");
}

static inline void veth(void)
{
	ip("link add %s type veth peer name veth1", "veth0");
	checksums_in_software("veth0");
	kernel_addresses("veth0");
	ip("link set %s up", "veth1");
	stack_begin("net_af_packet0,iface=veth1");
}

#endif /* DEMI_SELFTESTS_INET_DPDK_NET_H */
