/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * demi - an NVMe controller's own rings: the mapping of a DEMI_QUEUE_DEVICE queue of a device of
 * the kind DEMI_DEVICE_NVME
 *
 * The queue is one pair of I/O queues: a submission queue and the completion queue of its own. The
 * kernel created them; what is written to them goes between the user and the controller, as the
 * NVM Express specification (base 1.4, 4.1 and 4.2) says, and the kernel never looks.
 *
 *	mapping of the queue's file:
 *	+--------------------------------------+ 0
 *	| struct demi_nvme_queue               |
 *	+--------------------------------------+ namespaces
 *	| struct demi_nvme_namespace[]         |
 *	+--------------------------------------+ sq          each part begins on a page
 *	| submission queue, 64 bytes an entry  |
 *	+--------------------------------------+ cq
 *	| completion queue, 16 bytes an entry  |
 *	+--------------------------------------+
 *	| doorbells: pages of the controller   |
 *	+--------------------------------------+ mmap_bytes
 *
 * Addresses in commands are those that DEMI_REGION_REGISTER returned as iova, in PRP entries for a
 * page size of 4 KiB. An address that no region of the owner covers is refused by the IOMMU, which
 * tells of it in the kernel's log; the command fails, or the controller stops.
 *
 * DEMI_QUEUE_CREATE: tx_entries is the wish for the submission queue, rx_entries for the completion
 * queue, of which the controller's own limit is the limit; rx_fill_entries is as rx_entries,
 * tx_done_entries as tx_entries, else EINVAL. The four struct demi_ring_layout are zero. A queue
 * holds one entry less than it has.
 *
 * Doorbells. The 32 bit words at sq_doorbell and cq_doorbell take the new tail and head. They may
 * share their page with those of the other queues of this owner, and with those of the admin
 * queues: what is written to the latter leads to commands that fail, or to a controller that stops.
 *
 * Sleeping. The kernel counts the controller's interrupts of this queue in events. The user copies
 * events to seen, executes a full barrier, looks at the completion queue again, and sleeps in
 * poll(): the file is readable as long as events and seen differ.
 *
 * A controller that stopped, or did not answer the kernel, is disabled: all its queues have
 * DEMI_NVME_BROKEN in status and their files are readable. When all of them have ended, the next
 * queue that is created starts it again.
 */
#ifndef _UAPI_LINUX_DEMI_NVME_H
#define _UAPI_LINUX_DEMI_NVME_H

#include <linux/types.h>

/* Of no command a beginning: what a revoked mapping shows is not it. */
#define DEMI_NVME_MAGIC		0xdeadd0e5494d4544ULL

#define DEMI_NVME_BROKEN	(1U << 0)	/* the controller is disabled */

#define DEMI_NVME_F_CACHE	(1U << 0)	/* has a volatile write cache: flush is needed */
#define DEMI_NVME_F_DEALLOCATE	(1U << 1)	/* Dataset Management */
#define DEMI_NVME_F_ZEROES	(1U << 2)	/* Write Zeroes */

/**
 * struct demi_nvme_namespace - an active namespace of the controller
 * @nsid: its number in commands
 * @block_bytes: a power of two, 512 at least
 * @blocks: how many there are
 * @metadata_bytes: of each block, which commands have to provide for; 0: none
 * @deallocate: what the specification calls DLFEAT
 * @__reserved1: 0
 * @nguid: its globally unique identifier, zero if it has none
 * @eui64: likewise
 * @__reserved2: 0
 */
struct demi_nvme_namespace {
	__u32 nsid;
	__u32 block_bytes;
	__aligned_u64 blocks;
	__u16 metadata_bytes;
	__u8 deallocate;
	__u8 __reserved1[5];
	__u8 nguid[16];
	__u8 eui64[8];
	__u8 __reserved2[16];
};

/**
 * struct demi_nvme_queue - at the beginning of the mapping
 * @magic: DEMI_NVME_MAGIC
 * @flags: DEMI_NVME_F_*
 * @queue: number of the pair on the controller
 * @sq_entries: of the submission queue
 * @cq_entries: of the completion queue
 * @sq: offset in bytes from the beginning of the mapping, as are the next four
 * @cq: the completion queue
 * @sq_doorbell: __u32
 * @cq_doorbell: __u32
 * @namespaces: struct demi_nvme_namespace[namespace_count]
 * @namespace_count: how many there are
 * @transfer_max_bytes: of one command
 * @version: of the specification, as register VS has it
 * @__reserved1: 0
 * @serial: of the controller, ASCII, filled up with spaces, as are the next two
 * @model: its name
 * @firmware: its revision
 * @__reserved2: 0
 * @events: written by the kernel: interrupts so far
 * @status: written by the kernel: DEMI_NVME_BROKEN
 * @__reserved3: 0
 * @seen: written by the user; the kernel reads it in poll()
 * @__reserved4: 0
 */
struct demi_nvme_queue {
	__aligned_u64 magic;
	__u32 flags;
	__u32 queue;
	__u32 sq_entries;
	__u32 cq_entries;
	__u32 sq;
	__u32 cq;
	__u32 sq_doorbell;
	__u32 cq_doorbell;
	__u32 namespaces;
	__u32 namespace_count;
	__u32 transfer_max_bytes;
	__u32 version;
	__u8 __reserved1[8];
	__u8 serial[20];
	__u8 model[40];
	__u8 firmware[8];
	__u8 __reserved2[60];
	__u32 events;
	__u32 status;
	__u8 __reserved3[56];
	__u32 seen;
	__u8 __reserved4[60];
};

#endif /* _UAPI_LINUX_DEMI_NVME_H */
