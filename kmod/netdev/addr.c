// SPDX-License-Identifier: GPL-2.0
/* Addresses: the user's form, and the table's. */
#include <linux/in.h>
#include <linux/socket.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "flow.h"

int demi_addr_parse(const struct demi_addr *user, struct in6_addr *addr)
{
	__be32 v4;

	switch (user->family) {
	case AF_INET:
		if (user->scope_id || memchr_inv(user->addr + 4, 0, sizeof(user->addr) - 4))
			return -EINVAL;
		memcpy(&v4, user->addr, sizeof(v4));
		ipv6_addr_set_v4mapped(v4, addr);
		return 0;
	case AF_INET6:
		memcpy(addr, user->addr, sizeof(*addr));
		/* one name for one address: as AF_INET, under a reservation of both families */
		return ipv6_addr_v4mapped(addr) ? -EINVAL : 0;
	case AF_UNSPEC:
		memset(addr, 0, sizeof(*addr));
		return memchr_inv(user, 0, sizeof(*user)) ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

void demi_addr_show(struct demi_addr *user, const struct in6_addr *addr, __be16 port, u32 scope_id)
{
	*user = (struct demi_addr){ .port = port, .scope_id = scope_id };
	if (ipv6_addr_v4mapped(addr)) {
		user->family = AF_INET;
		memcpy(user->addr, &addr->s6_addr32[3], 4);
	} else {
		user->family = AF_INET6;
		memcpy(user->addr, addr, sizeof(*addr));
	}
}

bool demi_addr_any(const struct in6_addr *addr)
{
	return ipv6_addr_any(addr) || (ipv6_addr_v4mapped(addr) && !addr->s6_addr32[3]);
}

bool demi_addr_multicast(const struct in6_addr *addr)
{
	return ipv6_addr_v4mapped(addr) ? ipv4_is_multicast(addr->s6_addr32[3]) :
					  ipv6_addr_is_multicast(addr);
}

bool demi_addr_broadcast(struct net *net, const struct in6_addr *addr)
{
	/* which calls any address one, too */
	return ipv6_addr_v4mapped(addr) && addr->s6_addr32[3] &&
	       inet_addr_type(net, addr->s6_addr32[3]) == RTN_BROADCAST;
}

bool demi_addr_unicast(struct net *net, const struct in6_addr *addr)
{
	return !demi_addr_any(addr) && !demi_addr_multicast(addr) &&
	       !demi_addr_broadcast(net, addr);
}

bool demi_addr_link_local(const struct in6_addr *addr)
{
	return ipv6_addr_type(addr) & IPV6_ADDR_LINKLOCAL;
}
