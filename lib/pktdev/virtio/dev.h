/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_DEV_H
#define DEMI_PKTDEV_VIRTIO_DEV_H

/*
 * A virtio-net function's own rings, which demi_virtio.ko has mapped: one pair per context, of a function that may
 * have several (share.h). An L2 device. The function
 * reads and writes registered memory at the addresses that it has in this process, and nothing else: the IOMMU sees to
 * that.
 *
 * Receive. Each descriptor has one heap object, for a whole frame, or for a part of one (VIRTIO_NET_F_MRG_RXBUF: what
 * follows the first has no header):
 *
 *	object	|            | virtio_net_hdr_v1 | Ethernet frame ...
 *		0            DEMI_VIRTIO_RX_OFFSET  + 12 = DEMI_PKT_HEADROOM
 *
 * What was received is handed up and another object takes its place; if none can be had whose memory is registered, the
 * bytes are copied out and the object stays.
 *
 * Transmit. A packet is a chain of as many descriptors as it has segments, with virtio's header in the first one's
 * headroom. A segment that is not registered is copied to the slot that each descriptor has, or to several.
 */

#include "core/ctx.h"
#include "pktdev/pktdev.h"
#include "pktdev/ring/mem.h"
#include "pktdev/virtio/ring.h"
#include "pktdev/virtio/share.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#define DEMI_VIRTIO_HDR_BYTES sizeof(struct virtio_net_hdr_v1)

#define DEMI_VIRTIO_RX_BYTES 2048 /* of an object, a size class of the heap */
#define DEMI_VIRTIO_RX_OFFSET (DEMI_PKT_HEADROOM - DEMI_VIRTIO_HDR_BYTES)
#define DEMI_VIRTIO_RX_LEN (DEMI_VIRTIO_RX_BYTES - DEMI_VIRTIO_RX_OFFSET)
#define DEMI_VIRTIO_SLOT_BYTES 2048

#define DEMI_VIRTIO_NONE UINT16_MAX

struct demi_virtio_parcel;

/* A packet under way, by the first descriptor of its chain. */
struct demi_virtio_sent {
	uint64_t cookie;
	uint16_t ndesc; /* 0: no packet begins here */
	bool copied; /* as demi_pkt_done.copied */
};

struct demi_virtio_dev {
	struct demi_pktdev dev; /* first */
	struct demi_ring_mem *mem;
	uint32_t device_id;
	int fd; /* of the queue */
	char *map;
	size_t map_bytes;
	struct demi_virtio_queue *shared; /* at the map's beginning */
	uint64_t features; /* what shared->features has to be */
	bool merges; /* MRG_RXBUF: a header says how many buffers its packet has */
	bool rx_described; /* GUEST_CSUM: and what is to be known of checksum and segments */
	bool gone; /* -ENODEV from now on */
	uint16_t looks; /* at an empty ring, until it is asked whether the device is there */

	struct demi_vring rx;
	void **posted; /* by descriptor */

	struct demi_vring tx;
	char *slots;
	uint32_t tx_bytes_max; /* of a packet, with the device's header */
	struct demi_virtio_sent *sent;
	uint16_t *chain; /* by descriptor: the next of its chain, or of the free ones */
	uint16_t free_head, free_count;
	uint16_t gone_at; /* the descriptor up to which packets were reported after the end */

	struct demi_virtio_share *share; /* NULL: nobody else can have a pair */
	struct demi_virtio_parcel *mail; /* taken from the inbox, oldest first */

	struct demi_pktdev_stats stats;
};

static inline struct demi_virtio_dev *demi_virtio_dev(struct demi_pktdev *d)
{
	return (struct demi_virtio_dev *)d;
}

static inline bool demi_virtio_has(const struct demi_virtio_dev *vd, unsigned int feature)
{
	return vd->features >> feature & 1;
}

/* The function was taken away, or is broken: say so once. Returns -ENODEV. */
int demi_virtio_gone(struct demi_virtio_dev *vd);

/* Ask the mapping; 0 or -ENODEV. */
int demi_virtio_check(struct demi_virtio_dev *vd);

/* rx.c */
int demi_virtio_rx_init(struct demi_virtio_dev *vd);
void demi_virtio_rx_destroy(struct demi_virtio_dev *vd); /* after the queue's end */
int demi_virtio_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max);

/* tx.c */
int demi_virtio_tx_init(struct demi_virtio_dev *vd);
void demi_virtio_tx_destroy(struct demi_virtio_dev *vd);
int demi_virtio_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n);
int demi_virtio_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max);
int demi_virtio_kick(struct demi_pktdev *d);

#endif /* DEMI_PKTDEV_VIRTIO_DEV_H */
