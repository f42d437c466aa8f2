/* SPDX-License-Identifier: GPL-2.0 */
/* What rx.c and icmp.c share. */
#ifndef _DEMI_RX_H
#define _DEMI_RX_H

#include <linux/skbuff.h>

#include "net.h"

/* How the packet came. */
void demi_rx_ingress4(struct demi_ingress *in, const struct sk_buff *skb);
void demi_rx_ingress6(struct demi_ingress *in, const struct sk_buff *skb);

/* An IP packet at skb->data into the queue, past its capturer. BH off. As demi_queue_deliver(). */
int demi_rx_deliver(struct demi_queue *q, struct sk_buff *skb);

/*
 * icmp.c: an ICMP message for this host. If it is an error that quotes a packet of a flow, its
 * queue gets a copy; the message itself stays as it is, for the stack.
 */
void demi_rx_icmp4(struct demi_net *dn, struct sk_buff *skb);
void demi_rx_icmp6(struct demi_net *dn, struct sk_buff *skb);

#endif
