/* SPDX-License-Identifier: GPL-2.0 */
/* A context: one open of /dev/demi, and what it owns. */
#ifndef _DEMI_CTX_H
#define _DEMI_CTX_H

#include <linux/cred.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../demi.h"

struct demi_cmd;
struct demi_queue;
struct demi_user;
struct net;

struct demi_ctx {
	struct kref ref;		/* the file, each queue */
	struct mutex lock;		/* the tables */
	struct net *net;		/* held */
	const struct cred *cred;	/* the opener's */
	struct demi_user *user;		/* limits of the opener's uid */
	struct xarray regions;		/* id -> struct demi_region, 1..65535; readers: RCU */
	struct xarray reservations;	/* id -> struct demi_reservation */
	struct xarray flows;		/* id -> struct demi_flow */
	struct xarray groups;		/* id -> struct demi_group */
	struct list_head queues;	/* struct demi_queue.ctx_node, not yet ended */
	/*
	 * struct demi_device.bound_node: devices this context owns. Changed under
	 * demi_devices_lock and the context's lock, so that either is enough to read it.
	 */
	struct list_head bound;
	struct list_head node;		/* of all contexts, for debugfs */
	pid_t maker_tgid;		/* in the initial pid namespace, for debugfs */
	char comm[TASK_COMM_LEN];
	struct work_struct free_work;	/* the last reference may go anywhere */
};

/*
 * Made for the current task. Returns the context with one reference, or an ERR_PTR: -ENOMEM,
 * -EDQUOT.
 */
struct demi_ctx *demi_ctx_create(void);

/* Any context; the rest is done by a work item that demi_ctx_drain() waits for. */
void demi_ctx_put(struct demi_ctx *ctx);

/* The same where sleeping is allowed: what the context owned is free again on return. */
void demi_ctx_put_now(struct demi_ctx *ctx);

static inline void demi_ctx_get(struct demi_ctx *ctx)
{
	kref_get(&ctx->ref);
}

/* Before the module goes: wait until every context has been freed. */
void demi_ctx_drain(void);

/*
 * Give @object an id in one of the context's tables, which goes to @id and to @answer in the
 * command's argument, and respond. The user's memory may let us wait as long as he likes, so no
 * lock is held; until the answer is there, nobody finds the object. On an error nobody will:
 * -ENOMEM, -EFAULT.
 */
int demi_ctx_publish(struct demi_cmd *cmd, struct xarray *table, void *object, u32 *id,
		     u32 *answer);

/*
 * Take the object with this id out of one of the context's tables: it is the caller's to free.
 * ERR_PTR: -ENOENT; -EBUSY as @busy says, under ctx->lock.
 */
void *demi_ctx_take(struct demi_ctx *ctx, struct xarray *table, u32 id,
		    bool (*busy)(const void *object));

/* Tables of debugfs. */
struct seq_file;
int demi_ctxs_show(struct seq_file *m, void *unused);
int demi_queues_show(struct seq_file *m, void *unused);

#endif
