/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * demi - a virtio-net function's own rings: the mapping of a DEMI_QUEUE_DEVICE queue of a device of
 * the kind DEMI_DEVICE_VIRTIO_NET
 *
 * The queue is a pair of virtqueues, one to receive and one to transmit. The kernel set them up;
 * what is written to the rings goes between the user and the device, as the virtio specification
 * (1.1, 2.6 and 2.7) says for split and for packed virtqueues, and the kernel never looks.
 *
 *	mapping of the queue's file:
 *	+--------------------------------------+ 0
 *	| struct demi_virtio_queue             |
 *	+--------------------------------------+ rx.desc    each part begins on a page
 *	| descriptors, available ring, used    |
 *	| ring of rx, then those of tx         |
 *	+--------------------------------------+
 *	| doorbells: pages of the device       |
 *	+--------------------------------------+ mmap_bytes
 *
 * A function may have several pairs (queues_max of DEMI_DEVICE_INFO): each DEMI_QUEUE_CREATE hands
 * out one, with a file, doorbells and an interrupt of its own; index of rx / 2 is its number. When
 * its user has put buffers into rx it says so, once, by DEMI_QUEUE_KICK, whose sent is 0: what
 * arrives is spread over the pairs of which that was said; while it was of none, the first one
 * receives. A function without several pairs wants no such word. The features are those of the
 * first queue: a further one is refused with EOPNOTSUPP unless the same follow from what its caller
 * names. While RING_PACKED is in force there is one pair; else EDQUOT. EIO: the device did not take
 * it, or needs a reset; when all its queues have ended, the next one starts it again.
 *
 * Addresses in descriptors are those that DEMI_REGION_REGISTER returned as iova. An address that
 * no region of the owner covers is refused by the IOMMU: the device stops (DEMI_VIRTIO_BROKEN in
 * status), the fault is in the kernel's log, and the queue that is made when all have ended starts
 * it again.
 *
 * DEMI_QUEUE_CREATE: rx_entries and tx_entries are the wish for the rings' sizes, of which the
 * device's own sizes are the limit; rx_fill_entries is as rx_entries, tx_done_entries as
 * tx_entries, else EINVAL. The four struct demi_ring_layout are zero. In features the caller names
 * what it can deal with of CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, HOST_TSO4,
 * HOST_TSO6, HOST_ECN, MRG_RXBUF and RING_PACKED; other bits are ignored. What is in force is what
 * the device offers of them, without what wants another one that is not: CSUM for HOST_*,
 * GUEST_CSUM for GUEST_*, as the specification says, and MRG_RXBUF for GUEST_TSO*.
 *
 * Doorbells. The 16 bit word at doorbell of a ring is written with its index, in one store, when
 * the device asks to be told (VIRTIO_F_EVENT_IDX, or the event structure of a packed ring). Reads
 * of that page are the device's to answer.
 *
 * Sleeping. The kernel counts the device's interrupts of this queue in events. The user copies
 * events to seen, sets used_event (packed: the driver's event structure) of the rings it waits
 * for, executes a full barrier, looks at them again, and sleeps in poll(): the file is readable as
 * long as events and seen differ.
 */
#ifndef _UAPI_LINUX_DEMI_VIRTIO_H
#define _UAPI_LINUX_DEMI_VIRTIO_H

#include <linux/types.h>

/* Offsets in bytes from the beginning of the mapping. */
struct demi_virtio_ring {
	__u32 desc;		/* struct vring_desc[entries]; packed: struct vring_packed_desc */
	__u32 avail;		/* struct vring_avail, with used_event; packed: the driver's */
	__u32 used;		/* and vring_used, with avail_event; the device's event structure */
	__u32 doorbell;		/* __u16 */
	__u16 entries;
	__u16 index;		/* what is written to the doorbell */
	__u32 __reserved;
};

#define DEMI_VIRTIO_BROKEN	(1U << 0)	/* the device needs a reset */

/**
 * struct demi_virtio_queue - at the beginning of the mapping
 * @features: bits of virtio that are in force. Always: VERSION_1, ACCESS_PLATFORM. If the device
 *	offers them: MAC, MTU, EVENT_IDX, ORDER_PLATFORM. Others that DEMI_QUEUE_CREATE named
 * @rx: to receive
 * @tx: to transmit
 * @mtu_bytes: longest IP packet
 * @mac: the function's address, zero if it has none
 * @events: written by the kernel: interrupts so far
 * @status: written by the kernel: DEMI_VIRTIO_*
 * @seen: written by the user; the kernel reads it in poll()
 */
struct demi_virtio_queue {
	__aligned_u64 features;
	struct demi_virtio_ring rx;
	struct demi_virtio_ring tx;
	__u32 mtu_bytes;
	__u8 mac[6];
	__u16 __reserved1;
	__u8 __reserved2[60];
	__u32 events;
	__u32 status;
	__u8 __reserved3[56];
	__u32 seen;
	__u8 __reserved4[60];
};

#endif /* _UAPI_LINUX_DEMI_VIRTIO_H */
