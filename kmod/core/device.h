/* SPDX-License-Identifier: GPL-2.0 */
/* Devices: who provides queues. "host" is always there; dedicated ones come and go. */
#ifndef _DEMI_DEVICE_H
#define _DEMI_DEVICE_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/uidgid.h>

#include "cmd.h"
#include "ctx.h"
#include "queue.h"
#include "region.h"

struct demi_device;

struct demi_device_ops {
	/*
	 * Dedicated devices whose own rings are mapped, NULL otherwise: from the wish in @arg, how
	 * much zeroed memory the queue wants (whole pages) and how many pages of doorbells lie
	 * behind it. The queue has no software rings. -EINVAL.
	 */
	int (*queue_size)(struct demi_device *dev, const struct demi_queue_create *arg, u32 *bytes,
			  u32 *doors);

	/*
	 * The rings are there, nobody else knows of the queue yet. Check what the kind needs, set
	 * q->ops. -EPERM, -ENODEV, -EOPNOTSUPP, -EINVAL, -ENOMEM; on an error nothing is left. The
	 * command is for its credentials. Dedicated devices: under demi_devices_lock.
	 */
	int (*queue_create)(struct demi_device *dev, struct demi_queue *q,
			    const struct demi_queue_create *arg, struct demi_cmd *cmd);

	/*
	 * Dedicated devices only, NULL otherwise: a context becomes the owner, or stops being it,
	 * when all its queues have ended. Under demi_devices_lock and ctx->lock.
	 */
	int (*bind)(struct demi_device *dev, struct demi_ctx *ctx);
	void (*release)(struct demi_device *dev, struct demi_ctx *ctx);

	/*
	 * Map a region for the device; on return of unmap it cannot reach the pages. NULL: needs
	 * no mapping. Under the lock of the context that owns the device or is about to.
	 */
	int (*region_map)(struct demi_device *dev, struct demi_ctx *ctx,
			  struct demi_region *region);
	void (*region_unmap)(struct demi_device *dev, struct demi_region *region);
};

struct demi_device {
	struct kref ref;
	const struct demi_device_ops *ops;
	/*
	 * Held by every reference but that of the registration, so that ops and destroy are there.
	 * NULL for demi.ko's own, which drains.
	 */
	struct module *owner;
	u32 id;
	u32 kind;
	u32 flags;			/* DEMI_DEVICE_F_DEDICATED, _IOMMU */
	u32 queues_max;
	u32 mtu_bytes;
	u64 offloads;
	u64 features;			/* that DEMI_QUEUE_CREATE may name */
	char name[DEMI_NAME_MAX];
	bool gone;			/* demi_devices_lock */
	kuid_t grantee;			/* demi_devices_lock; INVALID_UID: nobody */
	struct demi_ctx *bound;		/* changed under demi_devices_lock and the context's lock */
	struct list_head bound_node;	/* ctx->bound; likewise */
	void (*destroy)(struct demi_device *dev);	/* with the last reference */
};

/* Publish a device; its id is set. 0, -ENOMEM. */
int demi_device_register(struct demi_device *dev);

/*
 * It is gone: no new queues, its queues end, its owner loses it, its waiters get ENODEV. When it
 * returns, no operation of the device runs or will run. The last demi_device_put() calls destroy.
 */
void demi_device_unregister(struct demi_device *dev);

void demi_device_get(struct demi_device *dev);	/* of one that is held already */
void demi_device_put(struct demi_device *dev);

/* A reference, if the context may know of it; -ENOENT. */
struct demi_device *demi_device_lookup(struct demi_cmd *cmd, u32 id);

/*
 * Let the device set up a queue that it can have; then the queue is one of its context's. Errors
 * as queue_create's.
 */
int demi_device_create_queue(struct demi_queue *q, const struct demi_queue_create *arg,
			     struct demi_cmd *cmd);

/* The context goes: its devices are free again. */
void demi_device_release_all(struct demi_ctx *ctx);

/*
 * A region for all devices that the context owns; undone as a whole on an error. ctx->lock is
 * held.
 */
int demi_device_map_region(struct demi_ctx *ctx, struct demi_region *region);
void demi_device_unmap_region(struct demi_ctx *ctx, struct demi_region *region);

/* A table for debugfs. */
struct seq_file;
int demi_devices_show(struct seq_file *m, void *unused);

/* netdev/host.c, mock/mock.c */
int demi_host_init(void);
void demi_host_exit(void);
#ifdef CONFIG_DEMI_MOCK
int demi_mock_init(void);
void demi_mock_exit(void);
#else
static inline int demi_mock_init(void) { return 0; }
static inline void demi_mock_exit(void) { }
#endif

#endif
