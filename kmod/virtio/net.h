/* SPDX-License-Identifier: GPL-2.0 */
/*
 * demi_virtio.ko: virtio-net functions whose own rings an unprivileged process drives.
 *
 *	pci.c	finding out whether a function can be given away, and giving it back
 *	net.c	owners and queues: the operations of struct demi_device
 *	hw.c	the function itself: reset, negotiation, virtqueues, interrupts
 *
 * A function without an owner is reset, masters no bus, and its IOMMU group reaches nothing. From
 * the owner's queue to its end it runs on the rings that the owner writes.
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

/* The first pair of virtqueues: 5.1.2 of the specification. */
enum demi_vnet_ring { DEMI_VNET_RX, DEMI_VNET_TX, DEMI_VNET_RINGS };

/* MSI-X vectors. */
enum { DEMI_VNET_VECTOR_CONFIG, DEMI_VNET_VECTOR_QUEUE, DEMI_VNET_VECTORS };

struct demi_vnet {
	struct demi_device dev;
	struct pci_dev *pdev;
	struct virtio_pci_modern_device mdev;
	struct demi_iommu iommu;
	u64 features;				/* that are offered, and known */
	u16 entries[DEMI_VNET_RINGS];		/* at most */
	resource_size_t doorbell[DEMI_VNET_RINGS];
	struct mutex lock;			/* queue, and what runs for it */
	struct demi_queue *queue;		/* for which it runs, else NULL; lock */
	atomic_t events;			/* interrupts of this queue */
};

extern const struct demi_device_ops demi_vnet_ops;

/* net.c: offsets of the parts of a queue's memory, and its size. */
struct demi_vnet_layout {
	u64 features;				/* to be negotiated */
	struct demi_virtio_ring ring[DEMI_VNET_RINGS];
	u32 bytes;
};

/* What is accepted for a user who can deal with @asked. 5.1.3.1: what wants what. */
u64 demi_vnet_choose(const struct demi_vnet *vn, u64 asked);

/* hw.c */

/* -EIO: it does not answer. */
int demi_vnet_reset(struct demi_vnet *vn);

/* Reset by PCI too, where the function can; not while its driver is being bound or unbound. */
void demi_vnet_reset_function(struct demi_vnet *vn);

/*
 * Negotiate, set the rings up in q->ring_mem, which the device sees from DEMI_IOMMU_RINGS on, and
 * run. Lock held. -EIO: the device refused; errors of request_irq().
 */
int demi_vnet_start(struct demi_vnet *vn, struct demi_queue *q, const struct demi_vnet_layout *l);

/* On return the function is reset and neither reads nor writes memory, and no interrupt runs. */
void demi_vnet_stop(struct demi_vnet *vn);

#endif
