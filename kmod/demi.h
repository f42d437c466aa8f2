/* SPDX-License-Identifier: GPL-2.0 */
/*
 * demi.ko, module-wide: the folders, who keeps whom alive, the order of the locks.
 *
 *	core/	contexts, queues and rings, regions, devices, filters, capture, the ioctl table
 *	netdev/	the device "host": reservations, flows, groups, receive, transmit, raw queues
 *	virtio/	demi_virtio.ko: virtio-net functions, whose own rings a process drives
 *	nvme/	demi_nvme.ko: NVMe controllers, whose I/O queues a process drives
 *	mock/	devices for tests
 *	kunit/	tests of arithmetic, where the kernel has KUnit
 *	compat.h	every difference between the kernels of Documentation/kernels.rst
 *
 * References. A file of /dev/demi and each queue hold the context; the context holds its network
 * namespace, the maker's credentials and everything in its tables. A queue's file, each packet in
 * flight that will write to its rings, and each command at work on it hold the queue. A region is
 * held by its context and by packets in flight. A flow is held by its context, a target (queue or
 * group) is not held by flows: the queue's end deletes the flows that lead to it first.
 *
 * A queue's end, in this order (demi_queue_end): dead is set; flows are deleted and table entries
 * of groups cleared; ops->quiesce (afterwards nothing new enters from the network); mappings are
 * revoked; waiters woken. It may sleep. Memory goes with the last reference.
 *
 * Lock order, outer to inner:
 *	demi_devices_lock	mutex		the list of devices, grants
 *	ctx->lock		mutex		the context's tables; what changes them holds it
 *	demi_vnet->lock		mutex		virtio/: a function and its queue
 *	demi_nvme->lock		mutex		nvme/: a controller and its pairs of queues
 *	demi_net->lock		mutex		the namespace's queues, flows, groups; hooks
 *	rtnl, socket locks			taken by the kernel's functions that we call; rtnl
 *						also for the devices of raw queues
 *	queue->tx_lock		mutex		tx's consumer side; while packets are sent
 *	queue->umap_lock	rw_semaphore	mappings against revocation; taken in faults:
 *						who holds it touches no user memory
 *	queue->rx_lock		spinlock, BH	rx_fill's consumer and rx's producer side
 *	capture's queue->rx_lock		inside the captured queue's tx_lock, not its rx_lock
 *	queue->done_lock	spinlock, IRQ	tx_done's producer side
 *	demi_filters_lock,	mutexes		queues' filters and taps against who changes them;
 *	demi_taps_lock				nothing is taken under them
 * Receive holds rcu_read_lock() from the flow's look-up to the delivery. Nobody holds a lock while
 * he copies from or to the user, whose memory may block for as long as he likes.
 */
#ifndef _DEMI_H
#define _DEMI_H

#include <linux/types.h>
#include <uapi/linux/demi.h>

#undef pr_fmt
#define pr_fmt(fmt) "demi: " fmt

struct workqueue_struct;

/*
 * Frees what sleeps while it is freed, when the last reference went where that is not allowed.
 * main.c makes it first and destroys it last, after every drain function: then no work function
 * of the module runs any more.
 */
extern struct workqueue_struct *demi_wq;

#endif
