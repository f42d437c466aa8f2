// SPDX-License-Identifier: GPL-2.0
/*
 * Routes of what a flow queue sends: looked up as for a socket with these addresses, kept per
 * queue, checked before each use.
 */
#include <linux/inetdevice.h>
#include <net/addrconf.h>
#include <net/dst.h>
#include <net/inet_dscp.h>
#include <net/inet_sock.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/l3mdev.h>
#include <net/route.h>
#include <net/sock.h>

#include "tx.h"

static bool demi_source_is_local4(struct net *net, __be32 addr, int oif)
{
	u32 table = l3mdev_fib_table_by_index(net, oif) ?: RT_TABLE_LOCAL;

	return inet_addr_type_table(net, addr, table) == RTN_LOCAL;
}

/* As inet6_bind() looks: on the interface, if there is one. A tentative address is not local. */
static bool demi_source_is_local6(struct net *net, const struct in6_addr *addr, int oif)
{
	const struct net_device *dev = oif ? dev_get_by_index_rcu(net, oif) : NULL;

	if (oif && !dev)
		return false;
	return ipv6_chk_addr(net, addr, dev, 0);
}

static int demi_route_lookup4(struct demi_route *r, struct net *net, struct sock *sk)
{
	const struct demi_tuple *t = &r->tuple;
	__be32 saddr = t->local.s6_addr32[3];
	struct flowi4 fl4;
	struct rtable *rt;

	if (!demi_source_is_local4(net, saddr, sk->sk_bound_dev_if))
		return -EACCES;
	flowi4_init_output(&fl4, r->oif, r->mark, r->tos, RT_SCOPE_UNIVERSE, t->protocol,
			   inet_sk_flowi_flags(sk), t->remote.s6_addr32[3], saddr, t->rport,
			   t->lport, sk->sk_uid);
	security_sk_classify_flow(sk, flowi4_to_flowi_common(&fl4));
	rt = ip_route_output_flow(net, &fl4, sk);
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	r->dst = &rt->dst;
	r->cookie = 0;
	r->multicast = rt->rt_flags & RTCF_MULTICAST;
	r->broadcast = rt->rt_flags & RTCF_BROADCAST;
	return 0;
}

static int demi_route_lookup6(struct demi_route *r, struct net *net, struct sock *sk,
			      __be32 flowinfo)
{
	const struct demi_tuple *t = &r->tuple;
	struct flowi6 fl6 = {
		.flowi6_oif = r->oif,
		.flowi6_mark = r->mark,
		.flowi6_proto = t->protocol,
		.flowi6_uid = sk->sk_uid,
		.flowlabel = flowinfo,
		.saddr = t->local,
		.daddr = t->remote,
		.fl6_sport = t->lport,
		.fl6_dport = t->rport,
	};
	struct dst_entry *dst;

	if (!demi_source_is_local6(net, &t->local, r->oif))
		return -EACCES;
	security_sk_classify_flow(sk, flowi6_to_flowi_common(&fl6));
	dst = ip6_dst_lookup_flow(net, sk, &fl6, NULL);
	if (IS_ERR(dst))
		return PTR_ERR(dst);
	/* the IPv6 routing lets it pass; its IPv4 counterpart does not */
	if (ipv6_addr_loopback(&t->local) && !(dst->dev->flags & IFF_LOOPBACK)) {
		dst_release(dst);
		return -EACCES;
	}
	r->dst = dst;
	r->cookie = rt6_get_cookie((struct rt6_info *)dst);
	r->multicast = ipv6_addr_is_multicast(&t->remote);
	r->broadcast = false;
	return 0;
}

/* The interface that the socket is bound to; else the one that a link-local address needs. */
static int demi_route_oif(const struct demi_flow *flow, const struct sock *sk,
			  const struct demi_tx_head *head)
{
	const struct in6_addr *remote = &head->tuple.remote;

	if (sk->sk_bound_dev_if)
		return sk->sk_bound_dev_if;
	if (!head->ipv6)
		return 0;
	if (ipv6_addr_type(remote) & IPV6_ADDR_LINKLOCAL ||
	    ipv6_addr_type(&head->tuple.local) & IPV6_ADDR_LINKLOCAL)
		return flow->scope_id ?: flow->rsv->scope_id;
	return 0;
}

static void demi_route_drop(struct demi_route *r)
{
	dst_release(r->dst);
	r->dst = NULL;
}

static u32 demi_route_index(const struct demi_tuple *t)
{
	u32 x = (__force u32)(t->remote.s6_addr32[3] ^ t->local.s6_addr32[3]) ^
		(__force u32)t->rport << 16 ^ (__force u32)t->lport;

	return hash_32(x, ilog2(DEMI_ROUTES));
}

static bool demi_route_valid(const struct demi_route *r, const struct demi_tx_head *head, int oif,
			     u32 mark, u8 tos)
{
	return r->dst && r->oif == oif && r->mark == mark && r->tos == tos &&
	       !memcmp(&r->tuple, &head->tuple, sizeof(r->tuple)) &&
	       dst_check(r->dst, r->cookie);
}

struct demi_route *demi_route_find(struct demi_tx *tx, const struct demi_flow *flow,
				   const struct demi_tx_head *head)
{
	struct demi_route *r = &tx->routes[demi_route_index(&head->tuple)];
	struct sock *sk = flow->rsv->sock->sk;
	int oif = demi_route_oif(flow, sk, head);
	u8 tos = head->tos & INET_DSCP_MASK;
	u32 mark = READ_ONCE(sk->sk_mark);
	u32 allowed = flow->rsv->flags;
	int err;

	if (unlikely(!demi_route_valid(r, head, oif, mark, tos))) {
		demi_route_drop(r);
		r->tuple = head->tuple;
		r->oif = oif;
		r->mark = mark;
		r->tos = tos;
		err = head->ipv6 ? demi_route_lookup6(r, sock_net(sk), sk, head->flowinfo) :
				   demi_route_lookup4(r, sock_net(sk), sk);
		if (err)
			return ERR_PTR(err);
	}
	if (unlikely(r->multicast || head->multicast) && !(allowed & DEMI_PORT_F_MULTICAST))
		return ERR_PTR(-EACCES);
	if (unlikely(r->broadcast || head->broadcast) && !(allowed & DEMI_PORT_F_BROADCAST))
		return ERR_PTR(-EACCES);
	/* connections are between two hosts; a subnet's broadcast address is only known here */
	if (unlikely(r->broadcast) && head->tuple.protocol == IPPROTO_TCP)
		return ERR_PTR(-EACCES);
	return r;
}

void demi_routes_forget(struct demi_tx *tx)
{
	u32 i;

	for (i = 0; i < DEMI_ROUTES; i++)
		demi_route_drop(&tx->routes[i]);
}
