/* SPDX-License-Identifier: GPL-2.0 */
/* A queue: rings in shared memory, a file, and the operations of its kind. */
#ifndef _DEMI_QUEUE_H
#define _DEMI_QUEUE_H

#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "ctx.h"
#include "ring.h"

struct demi_device;
struct demi_filter;
struct demi_tap;
struct demi_queue;
struct virtio_net_hdr_v1;

/* What a kind of queue does. All entries but poll and free are there for every kind. */
struct demi_queue_ops {
	/*
	 * Take descriptors from tx. Under tx_lock. @sent: how many. -EAGAIN, -ENODEV, -EOPNOTSUPP.
	 */
	int (*kick)(struct demi_queue *q, u32 *sent);

	/*
	 * From now on nothing new enters: unhook, and wait for who is inside (synchronize_net).
	 * May sleep.
	 */
	void (*quiesce)(struct demi_queue *q);

	/*
	 * For poll() of a queue without software rings: the events of the device's own. No lock.
	 */
	__poll_t (*poll)(const struct demi_queue *q);

	/* What the kind keeps in q->raw or q->priv. After quiesce, with the last reference. */
	void (*free)(struct demi_queue *q);
};

/* Doorbells of one queue: pages of a device's registers. */
#define DEMI_QUEUE_DOORS_MAX	2

struct demi_queue {
	/* receive, in the order of use */
	spinlock_t rx_lock;
	bool dead;			/* written under rx_lock and tx_lock; else a hint */
	struct demi_ring rx_fill;
	struct demi_ring rx;
	struct demi_filter __rcu *filter;
	struct demi_tap __rcu *tap;	/* its capturer */
	struct demi_slice *slices;	/* DEMI_FRAME_DESCS_MAX behind this; rx_lock */
	wait_queue_head_t wait;

	/* transmit */
	struct mutex tx_lock;
	struct demi_ring tx;		/* entries 0 (desc NULL): does not send */
	bool tx_blocked;		/* waits for room in a socket's send buffer: no EPOLLOUT */
	spinlock_t done_lock;
	struct demi_ring tx_done;
	u32 done_reserved;		/* of tx_done, for packets in flight; done_lock */

	/* rx_* and captured of flow queues: under rx_lock; tx_*: under tx_lock */
	struct demi_queue_counters count;

	const struct demi_queue_ops *ops;
	struct kref ref;
	u32 id;
	u32 kind;
	u32 flags;
	u32 nflows;			/* demi_net->lock */
	struct list_head flows;		/* struct demi_flow.target_node; demi_net->lock */
	struct list_head ctx_node;	/* ctx->queues; ctx->lock */
	struct demi_ctx *ctx;
	struct demi_device *dev;
	void *ring_mem;			/* vmalloc, ring_bytes */
	u32 ring_bytes;
	u32 ndoors;			/* pages of the mapping behind the rings */
	unsigned long doors[DEMI_QUEUE_DOORS_MAX];	/* their frame numbers */
	u32 kernel_bytes;		/* other memory, for DEMI_QUEUE_INFO: who allocates adds */
	struct rw_semaphore umap_lock;
	struct address_space *mapping;	/* of the queue's file, NULL without; umap_lock */
	struct page *scratch;		/* what mappings show when it is dead */
	bool ended;			/* demi_queue_end() is through; wait is woken */
	struct pid *maker;		/* held */
	char comm[TASK_COMM_LEN];
	struct work_struct free_work;

	/* what the kinds keep */
	union {
		struct {
			struct demi_raw *state;		/* raw.c */
			u32 ifindex;			/* also when the device is gone */
		} raw;
		void *priv;
	};
};

#define DEMI_QUEUE_ID_MAX	INT_MAX

/*
 * The queue with this id in the context's namespace that @cmd's caller may see, with a reference;
 * or -ENOENT.
 */
struct demi_cmd;
struct demi_queue *demi_queue_lookup(struct demi_cmd *cmd, u32 id);

/* The first such queue whose id is at least *@id, which is set to it, with a reference; or NULL. */
struct demi_queue *demi_queue_next(struct demi_cmd *cmd, unsigned long *id);

/*
 * For commands that work on a context's file with an id and on a queue's file with 0: the queue,
 * with a reference. -EINVAL: an id on a queue's file; -ENOENT.
 */
struct demi_queue *demi_queue_of_cmd(struct demi_cmd *cmd, u32 id);

/* The caller owns it: same context, or it came by the queue's own file. */
bool demi_queue_is_own(const struct demi_cmd *cmd, const struct demi_queue *q);

void demi_queue_get(struct demi_queue *q);
void demi_queue_put(struct demi_queue *q);	/* any context, interrupts too */
void demi_queue_put_now(struct demi_queue *q);	/* may sleep: what was held is free on return */

/*
 * The queue is over (shutdown, device gone, last file closed). Process context, no lock but
 * demi_devices_lock held. Idempotent; whoever calls it, it is through on return.
 */
void demi_queue_end(struct demi_queue *q);

/* Before anything makes a queue. And before the module goes: wait until every queue is freed. */
int demi_queue_init(void);
void demi_queue_drain(void);

/* umap.c: mapping of the rings */
int demi_queue_mmap(struct file *file, struct vm_area_struct *vma);
void demi_queue_revoke(struct demi_queue *q);

/*
 * deliver.c: one frame into rx. @prefix_len bytes of @prefix (virtio_net_hdr_v1 or
 * demi_capture_hdr), then @len bytes of @skb from @offset. All or nothing: 0, or -ENOBUFS (counted
 * as rx_no_buffer), -ENODEV (dead). Softirq or process context; takes rx_lock; wakes the user if
 * asked.
 */
int demi_queue_deliver(struct demi_queue *q, const void *prefix, u32 prefix_len,
		       const struct sk_buff *skb, u32 offset, u32 len);

/* The virtio_net_hdr_v1 of a received skb whose packet begins @offset bytes behind skb->data. */
void demi_frame_describe(struct virtio_net_hdr_v1 *hdr, const struct sk_buff *skb, u32 offset);

/*
 * done.c: entries of tx_done are reserved before a frame is sent and written when its buffers are
 * free. demi_done_reserve: true if @n more fit. demi_done_put: one of the reserved; any context;
 * wakes the user if asked.
 */
bool demi_done_reserve(struct demi_queue *q, u32 n);
void demi_done_put(struct demi_queue *q, const struct demi_desc *desc, u16 flags, int error);

#endif
