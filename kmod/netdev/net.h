/* SPDX-License-Identifier: GPL-2.0 */
/* What a network namespace has: its queues by id, its flows by tuple, its hooks. */
#ifndef _DEMI_NET_H
#define _DEMI_NET_H

#include <linux/in6.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/netfilter.h>
#include <linux/rhashtable.h>
#include <linux/xarray.h>
#include <net/net_namespace.h>

#include "../core/queue.h"

/* How specific a flow is: the look-ups there are, in their order. */
enum demi_flow_kind {
	DEMI_FLOW_PEER,			/* has a remote */
	DEMI_FLOW_LOCAL,		/* a local address, anybody */
	DEMI_FLOW_ANY4,
	DEMI_FLOW_ANY6,
	DEMI_FLOW_KINDS
};

#define DEMI_FLOW_PORTS	256

struct demi_net {
	struct net *net;
	struct mutex lock;		/* all of this; see demi.h */
	struct xarray queues;		/* id -> demi_queue; readers: RCU, kref_get_unless_zero */
	u32 next_queue_id;
	struct list_head flow_list;	/* for DEMI_FLOW_LIST */
	struct rhltable flows;		/* demi_flow by demi_tuple; readers: RCU */
	u32 flows_of_kind[DEMI_FLOW_KINDS];	/* written under lock; look-ups skip what is 0 */
	u32 flows_of_port[DEMI_FLOW_PORTS];	/* by the low bits of the local port; likewise */
	u32 hooks;			/* reservations: the hooks exist while it is not 0 */
	struct list_head raw_queues;	/* struct demi_raw.node; rtnl */
};

struct socket;

struct demi_net *demi_net(const struct net *net);
int demi_net_init(void);
void demi_net_exit(void);

/*
 * What the table is searched by. IPv4 addresses are v4-mapped, so one table serves both families,
 * and "any" of IPv4 (::ffff:0.0.0.0) is another address than "any" of IPv6 (::), as for bind(2).
 * Anybody as the remote is zeroes. Interfaces are not part of it: flows of one tuple on several
 * interfaces are entries of one list, and the look-up compares what they are bound to.
 */
struct demi_tuple {
	struct in6_addr local;
	struct in6_addr remote;
	__be16 lport;
	__be16 rport;
	u8 protocol;
	u8 pad[3];
};

struct demi_reservation;
struct demi_group;

/* Freed a grace period after it left the table. */
struct demi_flow {
	struct rhlist_head node;
	struct demi_tuple key;
	u32 scope_id;			/* the interface of a link-local or multicast flow, or 0 */
	u32 flags;			/* DEMI_FLOW_F_* */
	struct demi_queue *queue;	/* its target: one of the two */
	struct demi_group *group;
	struct demi_reservation *rsv;
	struct demi_ctx *ctx;		/* not held: the context deletes its flows before it goes */
	u32 id;				/* 0: deleted; ctx->lock */
	bool answering;			/* FLOW_ADD still has it, and frees it; ctx->lock */
	struct list_head net_node;	/* demi_net->flow_list */
	struct list_head target_node;	/* queue->flows, group->flows */
	struct rcu_head rcu;
};

/*
 * One reservation: a bound socket that nobody reads, the owner of what is sent. It goes after its
 * flows, and a grace period later than they left the table: who found a flow can use the socket.
 */
struct demi_reservation {
	struct demi_ctx *ctx;
	struct socket *sock;
	u32 id;
	u32 flags;			/* DEMI_PORT_F_* */
	u16 family;
	u8 protocol;
	u32 nflows;			/* ctx->lock */
	struct in6_addr local;		/* as in struct demi_tuple */
	u32 scope_id;
	__be16 port;
	struct list_head members;	/* mcast.c: groups joined; ctx->lock */
	unsigned long grace;		/* state of RCU when its last flow left the table */
};

/* Which queue an entry leads to. Cleared in place when a queue ends, else replaced as a whole. */
struct demi_group_table {
	struct demi_queue __rcu *queues[DEMI_GROUP_ENTRIES];
	struct rcu_head rcu;
};

struct demi_group {
	u32 id;
	struct demi_ctx *ctx;
	struct list_head flows;		/* demi_net->lock */
	struct demi_group_table __rcu *table;	/* demi_net->lock; never NULL */
	struct rcu_head rcu;
};

/* By which interface a packet came, as the socket look-up of the kernel wants to know it. */
struct demi_ingress {
	int dif;
	int sdif;
	bool broadcast;
	bool multicast;
};

/*
 * The flow that a received packet belongs to, most specific first: (local, remote),
 * (local, anybody), (any, anybody); NULL: none. RCU read side.
 */
struct demi_flow *demi_flow_lookup(struct demi_net *dn, const struct demi_tuple *t,
				   const struct demi_ingress *in);

/*
 * The flow by which @q may send a packet of this tuple (local is its source): it leads to @q, or to
 * a group with @q in it. NULL: none, it may not. RCU read side.
 */
struct demi_flow *demi_flow_lookup_send(struct demi_net *dn, const struct demi_tuple *t,
					const struct demi_queue *q);

/* The queue it leads to, by the tuple's hash for groups; NULL: none. RCU read side. */
struct demi_queue *demi_flow_queue(const struct demi_flow *flow, const struct demi_tuple *t);

/* The queue ends: delete its flows, clear it from groups. Readers may see it for a grace period. */
void demi_flow_forget_queue(struct demi_queue *q);

/* The context goes: flows, groups, reservations, in this order. May sleep. */
void demi_net_release_ctx(struct demi_ctx *ctx);

/* rx.c: a packet is claimed here. Registered while dn->hooks. */
int demi_rx_hooks_get(struct demi_net *dn);	/* dn->lock held */
void demi_rx_hooks_put(struct demi_net *dn);

/*
 * tx_wait.c: what the socket of a new reservation needs to tell that its send buffer has room; and
 * before the socket is released: who waits for it is woken, and nothing of demi stays in its wait
 * queue. A grace period after the last flow of the reservation left the table.
 */
void demi_tx_prepare_socket(struct socket *sock);
void demi_tx_forget_socket(struct socket *sock);

/* tx.c, raw.c: a queue becomes one of this kind; its ops and what it keeps are set. */
int demi_flow_queue_create(struct demi_queue *q);	/* -ENOMEM */
extern const struct demi_queue_ops demi_capture_queue_ops;	/* core/tap.c */
int demi_raw_create(struct demi_queue *q, u32 ifindex, struct demi_cmd *cmd);
int demi_raw_init(void);
void demi_raw_exit(void);

#endif
