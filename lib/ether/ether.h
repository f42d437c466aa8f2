/* SPDX-License-Identifier: MIT */
#ifndef DEMI_ETHER_ETHER_H
#define DEMI_ETHER_ETHER_H

/*
 * An L3 packet device made of an L2 one: everything that the kernel does for a flow queue, done here. Addresses,
 * routes and the MTU come from the configuration (DEMI_INET_ADDR, DEMI_INET_GATEWAY, DEMI_INET_MTU, …) and from
 * router advertisements; neighbours from ARP and neighbour discovery. It is deterministic like the stack: frames,
 * calls, secrets and the clock go in, frames come out.
 *
 * What the L2 device owes (beside pktdev.h):
 *
 *	- `caps` without DEMI_PKTDEV_C_L3; `mac`; `mtu_bytes` of IP packets, without the Ethernet header.
 *	- rx() gives frames that begin with the Ethernet header, without a VLAN tag and without the checksum at the end:
 *	  those to `mac`, to the broadcast address and to every multicast address (there is no filter to be set: a card
 *	  that has one is told to let all multicast frames through). Others are dropped here.
 *	- tx() takes frames that begin with the Ethernet header; csum_start and hdr_len count from there.
 *	  All headers lie in the first segment, with the device's own tx_headroom_bytes in front.
 *	- Cookies with bit 0 set are this layer's own frames: the device gives them back like all others.
 *	- Of the control entries none. rx_recycle(), if there is one, gets this layer's objects, too, and frees those.
 *
 * What comes out: caps of the lower device with L3 and TX_FRAG, tx_headroom_bytes + DEMI_ETHER_HLEN, mtu_bytes 65,535,
 * deadline_ns and run(). Cookies that it is given have bit 0 clear.
 */

#include "pktdev/pktdev.h"

/* Destination, source, type. */
#define DEMI_ETHER_HLEN 14

/*
 * Takes @l2 over when this succeeds: its end is the end of *out. -EINVAL: no address is configured, or the
 * configuration contradicts itself (said with DEMI_LOG=warn); -EOPNOTSUPP: not a device that this can drive; -ENOMEM.
 */
int demi_ether_open(struct demi_ctx *ctx, struct demi_pktdev *l2, struct demi_pktdev **out);

#endif /* DEMI_ETHER_ETHER_H */
