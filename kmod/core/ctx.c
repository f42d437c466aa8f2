// SPDX-License-Identifier: GPL-2.0
/* Contexts: made by open, freed when their file and all their queues are gone. */
#include <linux/cred.h>
#include <linux/nsproxy.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "../netdev/net.h"
#include "cmd.h"
#include "ctx.h"
#include "device.h"
#include "limits.h"
#include "queue.h"
#include "region.h"

static DEFINE_MUTEX(demi_ctxs_lock);
static LIST_HEAD(demi_ctxs);

static void demi_ctx_free(struct demi_ctx *ctx)
{
	mutex_lock(&demi_ctxs_lock);
	list_del(&ctx->node);
	mutex_unlock(&demi_ctxs_lock);

	demi_net_release_ctx(ctx);
	demi_device_release_all(ctx);
	demi_region_release_all(ctx);
	xa_destroy(&ctx->regions);
	xa_destroy(&ctx->reservations);
	xa_destroy(&ctx->flows);
	xa_destroy(&ctx->groups);
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_CONTEXTS);
	demi_user_put(ctx->user);
	put_cred(ctx->cred);
	put_net(ctx->net);
	mutex_destroy(&ctx->lock);
	kfree(ctx);
}

static void demi_ctx_free_work(struct work_struct *work)
{
	demi_ctx_free(container_of(work, struct demi_ctx, free_work));
}

struct demi_ctx *demi_ctx_create(void)
{
	struct demi_ctx *ctx;
	int err;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return ERR_PTR(-ENOMEM);
	ctx->user = demi_user_get(current_uid());
	if (!ctx->user) {
		err = -ENOMEM;
		goto err_ctx;
	}
	err = demi_limit_charge(ctx->user, DEMI_LIMIT_CONTEXTS);
	if (err)
		goto err_user;

	kref_init(&ctx->ref);
	mutex_init(&ctx->lock);
	ctx->net = get_net(current->nsproxy->net_ns);
	ctx->cred = get_current_cred();
	xa_init_flags(&ctx->regions, XA_FLAGS_ALLOC1);
	xa_init_flags(&ctx->reservations, XA_FLAGS_ALLOC1);
	xa_init_flags(&ctx->flows, XA_FLAGS_ALLOC1);
	xa_init_flags(&ctx->groups, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&ctx->queues);
	INIT_LIST_HEAD(&ctx->bound);
	INIT_WORK(&ctx->free_work, demi_ctx_free_work);
	ctx->maker_tgid = task_tgid_nr(current);
	get_task_comm(ctx->comm, current);

	mutex_lock(&demi_ctxs_lock);
	list_add_tail(&ctx->node, &demi_ctxs);
	mutex_unlock(&demi_ctxs_lock);
	return ctx;

err_user:
	demi_user_put(ctx->user);
err_ctx:
	kfree(ctx);
	return ERR_PTR(err);
}

static void demi_ctx_last(struct kref *ref)
{
	queue_work(demi_wq, &container_of(ref, struct demi_ctx, ref)->free_work);
}

void demi_ctx_put(struct demi_ctx *ctx)
{
	kref_put(&ctx->ref, demi_ctx_last);
}

static void demi_ctx_last_now(struct kref *ref)
{
	demi_ctx_free(container_of(ref, struct demi_ctx, ref));
}

void demi_ctx_put_now(struct demi_ctx *ctx)
{
	kref_put(&ctx->ref, demi_ctx_last_now);
}

void demi_ctx_drain(void)
{
	/* contexts whose last reference is gone are on their way; nobody holds another */
	flush_workqueue(demi_wq);
	WARN_ON(!list_empty(&demi_ctxs));
}

/* ---- its tables ---------------------------------------------------------------------------- */

int demi_ctx_publish(struct demi_cmd *cmd, struct xarray *table, void *object, u32 *id, u32 *answer)
{
	struct demi_ctx *ctx = cmd->ctx;
	int err;

	mutex_lock(&ctx->lock);
	err = xa_alloc(table, id, NULL, XA_LIMIT(1, INT_MAX), GFP_KERNEL_ACCOUNT);
	mutex_unlock(&ctx->lock);
	if (err)
		return err;
	*answer = *id;
	err = demi_cmd_respond(cmd);
	mutex_lock(&ctx->lock);
	if (err)
		xa_erase(table, *id);
	else	/* the entry was reserved: this needs no memory */
		xa_store(table, *id, object, GFP_KERNEL);
	mutex_unlock(&ctx->lock);
	return err;
}

void *demi_ctx_take(struct demi_ctx *ctx, struct xarray *table, u32 id,
		    bool (*busy)(const void *object))
{
	void *object;

	mutex_lock(&ctx->lock);
	object = xa_load(table, id);
	if (!object)
		object = ERR_PTR(-ENOENT);
	else if (busy(object))
		object = ERR_PTR(-EBUSY);
	else
		xa_erase(table, id);
	mutex_unlock(&ctx->lock);
	return object;
}

/* ---- tables of debugfs --------------------------------------------------------------------- */

static unsigned int demi_table_count(struct xarray *table)
{
	unsigned long id;
	unsigned int n = 0;
	void *entry;

	xa_for_each(table, id, entry)
		n++;
	return n;
}

int demi_ctxs_show(struct seq_file *m, void *unused)
{
	struct demi_ctx *ctx;

	seq_puts(m, "netns uid pid comm references regions reservations flows groups\n");
	mutex_lock(&demi_ctxs_lock);
	list_for_each_entry(ctx, &demi_ctxs, node) {
		mutex_lock(&ctx->lock);
		seq_printf(m, "%u %u %d %s %u %u %u %u %u\n", ctx->net->ns.inum,
			   from_kuid_munged(seq_user_ns(m), ctx->cred->euid), ctx->maker_tgid,
			   ctx->comm, kref_read(&ctx->ref), demi_table_count(&ctx->regions),
			   demi_table_count(&ctx->reservations), demi_table_count(&ctx->flows),
			   demi_table_count(&ctx->groups));
		mutex_unlock(&ctx->lock);
	}
	mutex_unlock(&demi_ctxs_lock);
	return 0;
}

int demi_queues_show(struct seq_file *m, void *unused)
{
	struct demi_ctx *ctx;
	struct demi_queue *q;

	seq_puts(m, "netns id kind device uid pid comm references flows rings rx lost tx refused\n");
	mutex_lock(&demi_ctxs_lock);
	list_for_each_entry(ctx, &demi_ctxs, node) {
		mutex_lock(&ctx->lock);
		list_for_each_entry(q, &ctx->queues, ctx_node)
			seq_printf(m, "%u %u %u %s %u %d %s %u %u %u %llu %llu %llu %llu\n",
				   ctx->net->ns.inum, q->id, q->kind, q->dev->name,
				   from_kuid_munged(seq_user_ns(m), ctx->cred->euid),
				   pid_nr(q->maker), q->comm, kref_read(&q->ref),
				   READ_ONCE(q->nflows), q->ring_bytes, q->count.rx_frames,
				   q->count.rx_no_buffer, q->count.tx_frames, q->count.tx_refused);
		mutex_unlock(&ctx->lock);
	}
	mutex_unlock(&demi_ctxs_lock);
	return 0;
}
