/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which headers may leave a flow queue. Pure functions over a copy of the bytes: no skb, no
 * lock, no table.
 */
#ifndef _DEMI_TX_CHECK_H
#define _DEMI_TX_CHECK_H

#include "net.h"

struct virtio_net_hdr_v1;

/* The longest headers accepted: IPv6 and TCP with all its options. */
#define DEMI_TX_HDR_MAX		(40 + 60)

/* What accepted headers say. */
struct demi_tx_head {
	struct demi_tuple tuple;	/* local is the source */
	__be32 flowinfo;		/* IPv6: traffic class and flow label */
	u32 gso_type;			/* SKB_GSO_*, 0: one packet */
	u16 gso_size;
	u16 gso_segs;
	u16 l4;				/* offset of the TCP or UDP header */
	u16 payload;			/* offset of what follows it */
	u16 csum_offset;		/* of the checksum field, from @l4 */
	u8 tos;				/* with the ECN bits */
	bool ipv6;
	bool csum;			/* the checksum is still to be computed */
	bool multicast;			/* of the destination */
	bool broadcast;			/* 255.255.255.255; the route knows of others */
};

/*
 * @ip: the first @avail bytes of a packet of @len, with all its headers, 4-byte aligned. 0:
 * @head is filled in. Else -EINVAL: not one of the packets that are sent; -EACCES: a source that
 * nobody may use; -EMSGSIZE: longer than a packet can be.
 */
int demi_tx_check(struct demi_tx_head *head, const struct virtio_net_hdr_v1 *vh, const void *ip,
		  u32 avail, u32 len);

#endif
