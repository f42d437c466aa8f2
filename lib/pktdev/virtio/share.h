/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_SHARE_H
#define DEMI_PKTDEV_VIRTIO_SHARE_H

/*
 * A function that several contexts of the process have a pair of rings of. The function spreads what arrives by a hash
 * that knows no sockets; so each context looks at what came to its pair and passes on what is another's, by the table
 * of ports: frames go to the other's inbox, and wake it. What is everybody's (ARP, neighbour discovery, groups, ICMP
 * errors, fragments) goes to all, as copies.
 *
 * Members come and go under one lock; nobody takes it to receive or send.
 */

#include "pktdev/pktdev.h"

struct demi_virtio_dev;
struct demi_virtio_share;

/* Become one of at most @max; vd->mem and vd->device_id say of what. -ENOMEM, -EDQUOT. */
int demi_virtio_share_join(struct demi_virtio_dev *vd, struct demi_ctx *ctx, uint32_t max);

/* The end, after the queue's. Nothing if it is no member. */
void demi_virtio_share_leave(struct demi_virtio_dev *vd);

/*
 * Have the others ring their doorbells, since this one's ring was without buffers. What the device has for such a pair
 * may wait in front of others', until the doorbell of any of these is rung: QEMU's RSS over a tap, demi_vnet_receive()
 * of the kernel.
 */
void demi_virtio_share_ring(struct demi_virtio_dev *vd);

/* demi_virtio_rx() of a member. */
int demi_virtio_share_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max);

#endif /* DEMI_PKTDEV_VIRTIO_SHARE_H */
