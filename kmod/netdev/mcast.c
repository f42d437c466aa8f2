// SPDX-License-Identifier: GPL-2.0
/*
 * Multicast groups of a reservation: memberships of its socket, so that IGMP and MLD, the limits
 * and the end of an interface are the kernel's. A socket is a member once; flows that differ in
 * their remote share the membership.
 */
#include <linux/igmp.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <net/sock.h>

#include "flow.h"

struct demi_member {
	struct list_head node;
	struct in6_addr addr;
	u32 ifindex;		/* as it was asked for */
	u32 joined_ifindex;	/* as the kernel understood it */
	u32 flows;
};

static int demi_member_join(struct sock *sk, struct demi_member *m)
{
	struct ip_mreqn mreq = {
		.imr_multiaddr.s_addr = m->addr.s6_addr32[3],
		.imr_ifindex = m->ifindex,
	};
	int err;

	rtnl_lock();
	lock_sock(sk);
	if (ipv6_addr_v4mapped(&m->addr)) {
		err = ip_mc_join_group(sk, &mreq);
		m->joined_ifindex = mreq.imr_ifindex;
	} else {
		err = ipv6_sock_mc_join(sk, m->ifindex, &m->addr);
		m->joined_ifindex = m->ifindex;
	}
	release_sock(sk);
	rtnl_unlock();
	return err;
}

static void demi_member_leave(struct sock *sk, const struct demi_member *m)
{
	struct ip_mreqn mreq = {
		.imr_multiaddr.s_addr = m->addr.s6_addr32[3],
		.imr_ifindex = m->joined_ifindex,
	};

	rtnl_lock();
	lock_sock(sk);
	/* an interface that has gone has left by itself */
	if (ipv6_addr_v4mapped(&m->addr))
		ip_mc_leave_group(sk, &mreq);
	else
		ipv6_sock_mc_drop(sk, m->joined_ifindex, &m->addr);
	release_sock(sk);
	rtnl_unlock();
}

static struct demi_member *demi_member_find(struct demi_reservation *rsv,
					    const struct in6_addr *addr, u32 ifindex)
{
	struct demi_member *m;

	list_for_each_entry(m, &rsv->members, node)
		if (m->ifindex == ifindex && ipv6_addr_equal(&m->addr, addr))
			return m;
	return NULL;
}

int demi_mcast_join(struct demi_reservation *rsv, const struct in6_addr *addr, u32 ifindex)
{
	struct demi_member *m;
	int err;

	lockdep_assert_held(&rsv->ctx->lock);
	m = demi_member_find(rsv, addr, ifindex);
	if (m) {
		m->flows++;
		return 0;
	}
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return -ENOMEM;
	m->addr = *addr;
	m->ifindex = ifindex;
	m->flows = 1;
	err = demi_member_join(rsv->sock->sk, m);
	if (err) {
		kfree(m);
		return err;
	}
	list_add(&m->node, &rsv->members);
	return 0;
}

void demi_mcast_leave(struct demi_reservation *rsv, const struct in6_addr *addr, u32 ifindex)
{
	struct demi_member *m;

	lockdep_assert_held(&rsv->ctx->lock);
	m = demi_member_find(rsv, addr, ifindex);
	if (!m || --m->flows)
		return;
	demi_member_leave(rsv->sock->sk, m);
	list_del(&m->node);
	kfree(m);
}

void demi_mcast_forget(struct demi_reservation *rsv)
{
	struct demi_member *m, *next;

	list_for_each_entry_safe(m, next, &rsv->members, node) {
		list_del(&m->node);
		kfree(m);
	}
}
