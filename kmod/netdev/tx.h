/* SPDX-License-Identifier: GPL-2.0 */
/* What tx.c, route.c and tx_wait.c share: the transmit side of a flow queue. */
#ifndef _DEMI_TX_H
#define _DEMI_TX_H

#include <linux/wait.h>

#include "net.h"
#include "tx_check.h"
#include "tx_ring.h"

struct dst_entry;

#define DEMI_ROUTES		8

/*
 * A route that was looked up for a tuple whose source was local then. Both stay true for as long
 * as dst_check() says so: an address that goes takes the routes of its family along.
 */
struct demi_route {
	struct dst_entry *dst;		/* held; NULL: empty */
	u32 cookie;
	u32 mark;
	int oif;
	u8 tos;
	bool multicast;
	bool broadcast;
	struct demi_tuple tuple;
};

/* Waiting for a socket's send buffer. The entry is in at most one wait queue. */
struct demi_tx_wait {
	wait_queue_entry_t entry;
	wait_queue_head_t *head;	/* NULL: not in one, or about to be done with it */
	struct sock *sk;
	struct demi_queue *queue;
};

/* q->priv; all under q->tx_lock, but for what wakes */
struct demi_tx {
	struct demi_tx_wait wait;
	struct demi_route routes[DEMI_ROUTES];
	struct demi_tx_ring ring;
};

/*
 * Where a packet with these headers goes, valid until the end of the RCU read side or the next
 * call. ERR_PTR: -EACCES, the source is not local or the destination not allowed by @flow's
 * reservation; what the routing says. q->tx_lock.
 */
struct demi_route *demi_route_find(struct demi_tx *tx, const struct demi_flow *flow,
				   const struct demi_tx_head *head);
void demi_routes_forget(struct demi_tx *tx);

/*
 * True: @sk's send buffer is full; q->tx_blocked is set and will be cleared, with a wake-up,
 * when there is room or the socket goes. RCU read side, q->tx_lock.
 */
bool demi_tx_wait_start(struct demi_tx_wait *w, struct sock *sk);

/* Not waiting on return, and nobody is about to wake. Any number of times. */
void demi_tx_wait_stop(struct demi_tx_wait *w);

void demi_tx_wait_init(struct demi_tx_wait *w, struct demi_queue *q);

#endif
