/* SPDX-License-Identifier: GPL-2.0 */
/* What addr.c, flow.c, group.c, reserve.c and mcast.c share among themselves. */
#ifndef _DEMI_FLOW_H
#define _DEMI_FLOW_H

#include "../core/cmd.h"
#include "net.h"

/* Here and not in one file, so that look-ups are compiled for this key. */
static const struct rhashtable_params __maybe_unused
demi_flow_params = {
	.head_offset = offsetof(struct demi_flow, node),
	.key_offset = offsetof(struct demi_flow, key),
	.key_len = sizeof(struct demi_tuple),
	.automatic_shrinking = true,
};

/*
 * The table's form of the user's address: zeroes for family 0, which then has nothing else, either.
 * -EINVAL: no address, one that has parts which its family has not, or a v4-mapped one.
 */
int demi_addr_parse(const struct demi_addr *user, struct in6_addr *addr);
void demi_addr_show(struct demi_addr *user, const struct in6_addr *addr, __be16 port, u32 scope_id);

bool demi_addr_any(const struct in6_addr *addr);	/* of either family */
bool demi_addr_multicast(const struct in6_addr *addr);
bool demi_addr_broadcast(struct net *net, const struct in6_addr *addr);
bool demi_addr_unicast(struct net *net, const struct in6_addr *addr);	/* none of these */
bool demi_addr_link_local(const struct in6_addr *addr);

/* group.c; under RCU or demi_net->lock */
struct demi_queue *demi_group_queue(const struct demi_group *group, const struct demi_tuple *t);
bool demi_group_has(const struct demi_group *group, const struct demi_queue *q);

/* group.c: the queue ends. ctx->lock and demi_net->lock. */
void demi_group_forget_queue(struct demi_group *group, const struct demi_queue *q);

/* group.c: it has no flows and is out of the context's table. */
void demi_group_free(struct demi_group *group);

/* reserve.c: out of the context's table, without flows. May wait for a grace period. */
void demi_reservation_free(struct demi_reservation *rsv);

/*
 * mcast.c: count a flow on a multicast group, joining with the first. @ifindex 0: the one that the
 * routes say. ctx->lock. -ENODEV: no interface; -ENOBUFS: too many groups (igmp_max_memberships).
 */
int demi_mcast_join(struct demi_reservation *rsv, const struct in6_addr *addr, u32 ifindex);
void demi_mcast_leave(struct demi_reservation *rsv, const struct in6_addr *addr, u32 ifindex);

/* mcast.c: the socket goes, and the kernel leaves what it had joined. */
void demi_mcast_forget(struct demi_reservation *rsv);

#endif
