/* SPDX-License-Identifier: GPL-2.0 */
/*
 * demi_virtio.ko: virtio-net functions whose own rings an unprivileged process drives.
 *
 *	pci.c	finding out whether a function can be given away, and giving it back
 *	net.c	owners and queues: the operations of struct demi_device
 *	pair.c	pairs of virtqueues: handed out one by one, and taken back
 *	hw.c	the function itself: reset, negotiation, virtqueues
 *	ctl.c	the control queue, which stays the kernel's
 *
 * A function without an owner is reset, masters no bus, and its IOMMU group reaches nothing. From
 * the owner's first queue to the end of the last it runs, on the rings that the owner writes.
 *
 * The control queue is in the same IOMMU domain as the owner's rings, so a descriptor of the owner
 * can name its memory. Of split rings the device only reads descriptors and commands: they are
 * mapped so; what it writes, the used ring and the answer, is believed by nobody beyond yes or no,
 * and waited for only so long. To packed descriptors the device has to write: so they are mapped
 * only while the owner has no ring that runs, and then there is one pair.
 *
 * demi_vnet->lock is inside demi_devices_lock and ctx->lock. A queue ends without them, so who
 * comes first of its end and of the owner's stops the function.
 */
#ifndef _DEMI_VIRTIO_NET_H
#define _DEMI_VIRTIO_NET_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci_modern.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/demi_virtio.h>

#include "../core/device.h"
#include "../core/iommu.h"

/* Without which nothing works; what every user of demi_virtio_queue knows; what some ask for. */
#define DEMI_VNET_NEEDED	(BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM))
#define DEMI_VNET_KNOWN		(BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_MTU) | \
				 BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | \
				 BIT_ULL(VIRTIO_F_ORDER_PLATFORM))
#define DEMI_VNET_HOST_TSO	(BIT_ULL(VIRTIO_NET_F_HOST_TSO4) | \
				 BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_HOST_ECN))
#define DEMI_VNET_GUEST_TSO	(BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | \
				 BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_ECN))
#define DEMI_VNET_ASKED		(BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | \
				 BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | DEMI_VNET_HOST_TSO | \
				 DEMI_VNET_GUEST_TSO | BIT_ULL(VIRTIO_F_RING_PACKED))
/* What the kernel uses, and no user is told of. */
#define DEMI_VNET_OWN		(BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) | \
				 BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_RSS) | \
				 BIT_ULL(VIRTIO_F_RING_RESET))

/* A pair of virtqueues: 5.1.2 of the specification. */
enum demi_vnet_ring { DEMI_VNET_RX, DEMI_VNET_TX, DEMI_VNET_RINGS };

#define DEMI_VNET_PAIRS_MAX	16U

/* Of RSS's table: as many as every device has to take are more than enough. */
#define DEMI_VNET_RSS_ENTRIES	128U

/* MSI-X vectors: the configuration's, then one for each pair. */
#define DEMI_VNET_VECTOR_CONFIG		0
#define DEMI_VNET_VECTOR_PAIR(pair)	(1 + (pair))

/* What the device sees where: the control queue, then two MiB for each pair. */
#define DEMI_VNET_IOVA_CTL		DEMI_IOMMU_RINGS
#define DEMI_VNET_IOVA_PAIR(pair)	(DEMI_IOMMU_RINGS + ((u64)(1 + (pair)) << 21))
#define DEMI_VNET_PAIR_BYTES		SZ_2M

struct demi_vnet;

/* A pair of virtqueues, by its number. */
struct demi_vnet_pair {
	struct demi_vnet *vn;
	struct demi_queue *q;			/* whose it is, else NULL; written under lock */
	bool receives;				/* its buffers are there; lock */
	u16 index;
	atomic_t events;			/* interrupts */
};

/* 5.1.6.5. Two pages from vmalloc(): the device only reads the first. */
struct demi_vnet_ctl {
	void *mem;
	void __iomem *doorbell;
	u16 index;				/* of the virtqueue */
	u16 sent;				/* commands since the reset */
	bool mapped;
	u8 key[40];				/* of RSS */
};

struct demi_vnet {
	struct demi_device dev;
	struct pci_dev *pdev;
	struct virtio_pci_modern_device mdev;
	struct demi_iommu iommu;
	u64 features;				/* that are offered, and known */
	u32 npairs;
	u16 entries[DEMI_VNET_RINGS];		/* at most, of each pair */
	resource_size_t doorbell[DEMI_VNET_PAIRS_MAX * DEMI_VNET_RINGS];
	struct mutex lock;			/* the function, and what runs on it */
	u64 running;				/* features negotiated; 0: it does not run; lock */
	bool broken;				/* it did not do what it has to; lock */
	struct demi_vnet_ctl ctl;		/* lock */
	struct demi_vnet_pair pairs[DEMI_VNET_PAIRS_MAX];
};

extern const struct demi_device_ops demi_vnet_ops;

static inline bool demi_vnet_has(u64 features, unsigned int bit)
{
	return features & BIT_ULL(bit);
}

/* net.c: offsets of the parts of a queue's memory, and its size. */
struct demi_vnet_layout {
	u64 features;				/* to be negotiated */
	struct demi_virtio_ring ring[DEMI_VNET_RINGS];
	u32 bytes;
};

/* What is accepted for a user who can deal with @asked. 5.1.3.1: what wants what. */
u64 demi_vnet_choose(const struct demi_vnet *vn, u64 asked);

/* pair.c; lock held */

/*
 * Have the free pair @pair run on the rings of q->ring_mem. The first one starts the function.
 * -EIO: the device refused; errors of request_irq() and of demi_iommu_map_rings().
 */
int demi_vnet_start_pair(struct demi_vnet_pair *pair, struct demi_queue *q,
			 const struct demi_vnet_layout *l);

/*
 * On return the device neither reads nor writes memory of the pair, and none of its interrupts
 * runs. With the last one the function stops.
 */
void demi_vnet_stop_pair(struct demi_vnet_pair *pair);

/* What arrives may come to the pair from now on: there are buffers. -EIO, as start_pair. */
int demi_vnet_receive(struct demi_vnet_pair *pair);

/* How many pairs have a queue. */
u32 demi_vnet_pairs_used(const struct demi_vnet *vn);

/* hw.c */

/* -EIO: it does not answer. */
int demi_vnet_reset(struct demi_vnet *vn);

/* Reset by PCI too, where the function can; not while its driver is being bound or unbound. */
void demi_vnet_reset_function(struct demi_vnet *vn);

/* From a reset to the features in force. -EIO: refused. */
int demi_vnet_negotiate(struct demi_vnet *vn, u64 features);

/*
 * Tell a virtqueue, which does not run, where its parts are: offsets in @r from @iova on.
 * VIRTIO_MSI_NO_VECTOR: it does not interrupt. -EIO.
 */
int demi_vnet_set_ring(struct demi_vnet *vn, const struct demi_virtio_ring *r, u64 iova,
		       u16 vector);

/* VIRTIO_F_RING_RESET: on return it does not run. -EIO. */
int demi_vnet_reset_ring(struct demi_vnet *vn, u16 index);

/* ctl.c; lock held but for alloc and free */

/* Once, before and after everything, with the control queue's index set. */
int demi_vnet_ctl_alloc(struct demi_vnet *vn);
void demi_vnet_ctl_free(struct demi_vnet *vn);

/* Its memory for the device, empty, and the virtqueue; before DRIVER_OK. Nothing without one. */
int demi_vnet_ctl_start(struct demi_vnet *vn);

/* The device cannot reach it any more. */
void demi_vnet_ctl_unmap(struct demi_vnet *vn);

/* 5.1.6.5.1: not what is others', but all groups'. -EIO: no answer, or refused. */
int demi_vnet_ctl_filter(struct demi_vnet *vn);

/* 5.1.6.5.5: what it receives goes to the pairs whose owner has said so. -EIO. */
int demi_vnet_ctl_spread(struct demi_vnet *vn);

#endif
