/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_RING_DEV_H
#define DEMI_PKTDEV_RING_DEV_H

/*
 * A flow queue of demi.ko as a packet device: one queue per context. An L3 device: the kernel has the
 * addresses, ports, routes and neighbours.
 *
 * Receive. `nposted` heap objects are the kernel's at any time, each in a slot of `posted`:
 *
 *	object	| slot |            | virtio_net_hdr_v1 | IP packet ...	    the first of a frame
 *		| slot |            | packet goes on ...		    all others
 *		0                   DEMI_RING_RX_OFFSET   + 12 = DEMI_PKT_HEADROOM
 *
 * The slot's number lies in the object's first bytes, which the kernel does not write, so that what a ring says can be
 * compared with what was posted. A received object is handed up and another one takes its slot; if none can
 * be had whose memory is registered, the bytes are copied out and the same object is posted again. So rx_fill has
 * always room.
 *
 * Transmit. A packet becomes a frame of descriptors of two kinds: slots of this device's own registered memory, into
 * which the headers and small pieces are copied, and references to registered heap memory. All that a packet
 * used comes back by tx_done; its record is in its first slot. There are never more descriptors under way than
 * tx_done has entries.
 */

#include "core/ctx.h"
#include "kdev/kdev.h"
#include "pktdev/pktdev.h"
#include "pktdev/ring/mem.h"

#include <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* headers of Linux 6.1 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define DEMI_RING_HDR_BYTES sizeof(struct virtio_net_hdr_v1)

#define DEMI_RING_RX_BYTES 2048 /* of an object, a size class of the heap */
#define DEMI_RING_RX_OFFSET (DEMI_PKT_HEADROOM - DEMI_RING_HDR_BYTES)
#define DEMI_RING_RX_LEN (DEMI_RING_RX_BYTES - DEMI_RING_RX_OFFSET)

#define DEMI_RING_SLOT_BYTES 2048
/* Shorter pieces are copied: a descriptor costs more. */
#define DEMI_RING_REF_MIN 1024
#define DEMI_RING_SEGS_MAX 17

struct demi_ring_slot {
	uint64_t cookie; /* of the packet that begins here */
	uint32_t pending; /* its descriptors that have not come back; 0: no packet begins here */
	int32_t err; /* the first error among them, positive */
	uint16_t head; /* the slot in which its packet begins; its own number if that is itself */
	uint16_t next; /* of the free list */
	bool busy; /* in the ring */
	bool asked; /* of the packet: to be sent without a copy … */
	bool copied; /* … and was copied */
};

/* A reference under way, in a hash table: a descriptor that comes back has no other name than where it points. */
struct demi_ring_ref {
	uint64_t offset;
	uint32_t len;
	uint16_t region;
	uint16_t head; /* its packet's first slot */
	uint16_t next; /* of the bucket or the free list */
};

#define DEMI_RING_NONE UINT16_MAX

struct demi_ring_flow {
	struct demi_ring_flow *next;
	uint32_t id; /* of the flow */
	struct demi_flow_add add;
};

struct demi_ring_port {
	struct demi_ring_port *next;
	uint32_t handle;
	struct demi_addr local;
};

struct demi_ring_dev {
	struct demi_pktdev dev; /* first */
	struct demi_ring_mem *mem;
	struct demi_kqueue q;
	bool gone; /* -ENODEV from now on */

	/* receive */
	void **posted;
	uint32_t nposted;

	/* transmit */
	char *tx_mem; /* a heap object: slots */
	uint64_t tx_offset; /* of slot 0 in tx_region */
	uint32_t tx_region;
	bool tx_own_region; /* tx_region is the slots' alone */
	bool blocked; /* the kernel left something in tx: kick again when it says EPOLLOUT */
	bool want_out; /* EPOLLOUT is asked for */
	uint8_t retry; /* polls until it is kicked again all the same */
	uint32_t published; /* tx's producer index as the kernel knows it */
	uint32_t inflight; /* descriptors in tx or under way */
	uint32_t nslots; /* with the last one, which is demi_ring_last()'s alone */
	uint32_t ref_mask, ref_buckets_mask;
	uint16_t slot_free, ref_free; /* heads of free lists */
	struct demi_ring_slot *slots;
	struct demi_ring_ref *refs;
	uint16_t *ref_buckets;
	uint32_t gone_at; /* the slot up to which packets were reported after the end */

	struct demi_ring_port *ports;
	struct demi_ring_flow *groups; /* joined multicast groups */
	struct demi_pktdev_stats stats;
};

static inline struct demi_ring_dev *demi_ring_dev(struct demi_pktdev *d)
{
	return (struct demi_ring_dev *)d;
}

/* The queue has ended: say so once. Returns -ENODEV. */
int demi_ring_gone(struct demi_ring_dev *rd);

/* rx.c */
int demi_ring_rx_init(struct demi_ring_dev *rd);
void demi_ring_rx_destroy(struct demi_ring_dev *rd); /* after the queue's end */
int demi_ring_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max);

/* tx.c */
int demi_ring_tx_init(struct demi_ring_dev *rd);
void demi_ring_tx_destroy(struct demi_ring_dev *rd);
int demi_ring_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n);
int demi_ring_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max);
int demi_ring_last(struct demi_pktdev *d, const void *packet, uint32_t len);
uint32_t demi_ring_last_rx(struct demi_pktdev *d, void *packet, uint32_t max);

/* dev.c */
int demi_ring_kick(struct demi_pktdev *d);
void demi_ring_kick_again(struct demi_ring_dev *rd); /* what the kernel left in tx */

/* port.c */
int demi_ring_port_reserve(struct demi_pktdev *d, struct demi_pktdev_port *p);
void demi_ring_port_release(struct demi_pktdev *d, uint32_t handle);
int demi_ring_flow_add(struct demi_pktdev *d, uint32_t handle, const struct demi_pktdev_peer *peer, uint32_t *flow_out);
void demi_ring_flow_del(struct demi_pktdev *d, uint32_t flow);
int demi_ring_group(struct demi_pktdev *d, uint32_t handle, uint8_t family, const union demi_pktdev_ip *group,
		    uint32_t ifindex, bool join);
void demi_ring_ports_destroy(struct demi_ring_dev *rd);

/* route.c */
int demi_ring_route(struct demi_pktdev *d, struct demi_pktdev_route *r);

#endif /* DEMI_PKTDEV_RING_DEV_H */
