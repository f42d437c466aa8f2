/* SPDX-License-Identifier: GPL-2.0 */
/* What flow.c, group.c, reserve.c and mcast.c share among themselves. */
#ifndef _DEMI_FLOW_H
#define _DEMI_FLOW_H

#include <net/ipv6.h>

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

/* An address of the user in the table's form; -EINVAL: no address, or what it has not is set. */
int demi_addr_parse(const struct demi_addr *user, struct in6_addr *addr);
void demi_addr_show(struct demi_addr *user, u16 family, const struct in6_addr *addr, __be16 port,
		    u32 scope_id);

/* Not one host's: multicast, broadcast or any. */
bool demi_addr_is_unicast(struct net *net, const struct in6_addr *addr);

/* @owner's flows may be told to the caller. */
bool demi_flow_visible(const struct demi_cmd *cmd, const struct demi_ctx *owner);

/* group.c: under RCU or demi_net->lock */
struct demi_queue *demi_group_queue(const struct demi_group *group, const struct demi_tuple *t);
bool demi_group_has(const struct demi_group *group, const struct demi_queue *q);
/* Both locks held. */
void demi_group_forget_queue(struct demi_group *group, const struct demi_queue *q);
void demi_group_free(struct demi_group *group);

/* reserve.c: a grace period after its last flow left the table. ctx->lock held. */
void demi_reservation_free(struct demi_reservation *rsv);

/* mcast.c: count a flow on a group, joining with the first. @ifindex 0: by the route. ctx->lock. */
int demi_mcast_join(struct demi_reservation *rsv, const struct in6_addr *group, u32 ifindex);
void demi_mcast_leave(struct demi_reservation *rsv, const struct in6_addr *group, u32 ifindex);

#endif
