// SPDX-License-Identifier: GPL-2.0
/* Groups: queues that share flows, by the hash of the packet's addresses and ports. */
#include <linux/once.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../core/limits.h"
#include "flow.h"

static siphash_aligned_key_t demi_group_key __read_mostly;

/* Keyed, so that no peer can choose the queue that it loads. */
static u32 demi_group_entry(const struct demi_tuple *t)
{
	net_get_random_once(&demi_group_key, sizeof(demi_group_key));
	return siphash(t, sizeof(*t), &demi_group_key) & (DEMI_GROUP_ENTRIES - 1);
}

static struct demi_group_table *demi_group_table(const struct demi_group *group)
{
	return rcu_dereference_check(group->table,
				     lockdep_is_held(&demi_net(group->ctx->net)->lock));
}

struct demi_queue *demi_group_queue(const struct demi_group *group, const struct demi_tuple *t)
{
	return rcu_dereference(demi_group_table(group)->queues[demi_group_entry(t)]);
}

bool demi_group_has(const struct demi_group *group, const struct demi_queue *q)
{
	struct demi_group_table *table = demi_group_table(group);
	unsigned int i;

	for (i = 0; i < DEMI_GROUP_ENTRIES; i++)
		if (rcu_access_pointer(table->queues[i]) == q)
			return true;
	return false;
}

void demi_group_forget_queue(struct demi_group *group, const struct demi_queue *q)
{
	struct demi_group_table *table = demi_group_table(group);
	unsigned int i;

	for (i = 0; i < DEMI_GROUP_ENTRIES; i++)
		if (rcu_access_pointer(table->queues[i]) == q)
			RCU_INIT_POINTER(table->queues[i], NULL);
}

void demi_group_free(struct demi_group *group)
{
	struct demi_group_table *table = rcu_dereference_protected(group->table, true);

	demi_limit_uncharge(group->ctx->user, DEMI_LIMIT_GROUPS);
	kfree_rcu(table, rcu);
	kfree_rcu(group, rcu);
}

static struct demi_group *demi_group_alloc(struct demi_ctx *ctx)
{
	struct demi_group_table *table;
	struct demi_group *group;

	if (demi_limit_charge(ctx->user, DEMI_LIMIT_GROUPS))
		return ERR_PTR(-EDQUOT);
	group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!group || !table) {
		kfree(group);
		kfree(table);
		demi_limit_uncharge(ctx->user, DEMI_LIMIT_GROUPS);
		return ERR_PTR(-ENOMEM);
	}
	group->ctx = ctx;
	INIT_LIST_HEAD(&group->flows);
	RCU_INIT_POINTER(group->table, table);
	return group;
}

int demi_cmd_group_create(struct demi_cmd *cmd)
{
	struct demi_group_create *arg = cmd->arg;
	struct demi_ctx *ctx = cmd->ctx;
	struct demi_group *group;
	int err;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	group = demi_group_alloc(ctx);
	if (IS_ERR(group))
		return PTR_ERR(group);
	err = demi_ctx_publish(cmd, &ctx->groups, group, &group->id, &arg->group_id);
	if (err)
		demi_group_free(group);
	return err;
}

/* Queues by their ids, each with a reference, into a table that nobody reads yet. */
static int demi_group_fill(struct demi_cmd *cmd, struct demi_queue **queues, const u32 *ids)
{
	struct demi_queue *q;
	unsigned int i;

	for (i = 0; i < DEMI_GROUP_ENTRIES; i++) {
		if (!ids[i])
			continue;
		q = demi_queue_lookup(cmd, ids[i]);
		if (IS_ERR(q))
			return PTR_ERR(q);
		queues[i] = q;
		if (q->ctx != cmd->ctx)
			return -EACCES;
		if (q->kind != DEMI_QUEUE_FLOW)
			return -EINVAL;
	}
	return 0;
}

/*
 * A queue's end takes demi_net->lock between dying and clearing itself from the tables: one that is
 * found alive under the lock is still to be cleared.
 */
static int demi_group_install(struct demi_ctx *ctx, u32 id, struct demi_group_table *table,
			      struct demi_queue **queues)
{
	struct demi_net *dn = demi_net(ctx->net);
	struct demi_group *group;
	unsigned int i;

	lockdep_assert_held(&dn->lock);
	group = xa_load(&ctx->groups, id);
	if (!group)
		return -ENOENT;
	for (i = 0; i < DEMI_GROUP_ENTRIES; i++) {
		if (queues[i] && READ_ONCE(queues[i]->dead))
			return -ENODEV;
		RCU_INIT_POINTER(table->queues[i], queues[i]);
	}
	table = rcu_replace_pointer(group->table, table, true);
	kfree_rcu(table, rcu);
	return 0;
}

static int demi_group_replace(struct demi_cmd *cmd, u32 id, struct demi_queue **queues)
{
	struct demi_net *dn = demi_net(cmd->ctx->net);
	struct demi_group_table *table;
	int err;

	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	mutex_lock(&cmd->ctx->lock);
	mutex_lock(&dn->lock);
	err = demi_group_install(cmd->ctx, id, table, queues);
	mutex_unlock(&dn->lock);
	mutex_unlock(&cmd->ctx->lock);
	if (err)
		kfree(table);
	return err;
}

int demi_cmd_group_set(struct demi_cmd *cmd)
{
	const struct demi_group_set *arg = cmd->arg;
	struct demi_queue **queues;
	unsigned int i;
	u32 *ids;
	int err;

	if (arg->flags || arg->count != DEMI_GROUP_ENTRIES)
		return -EINVAL;
	ids = memdup_user(u64_to_user_ptr(arg->queues), DEMI_GROUP_ENTRIES * sizeof(*ids));
	if (IS_ERR(ids))
		return PTR_ERR(ids);
	err = -ENOMEM;
	queues = kcalloc(DEMI_GROUP_ENTRIES, sizeof(*queues), GFP_KERNEL_ACCOUNT);
	if (!queues)
		goto out;
	err = demi_group_fill(cmd, queues, ids);
	if (!err)
		err = demi_group_replace(cmd, arg->group_id, queues);
	for (i = 0; i < DEMI_GROUP_ENTRIES; i++)
		if (queues[i])
			demi_queue_put(queues[i]);
	kfree(queues);
out:
	kfree(ids);
	return err;
}

/* Flows are added under ctx->lock. */
static bool demi_group_is_busy(const void *group)
{
	return !list_empty(&((const struct demi_group *)group)->flows);
}

int demi_cmd_group_destroy(struct demi_cmd *cmd)
{
	const struct demi_group_destroy *arg = cmd->arg;
	struct demi_ctx *ctx = cmd->ctx;
	struct demi_group *group;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	group = demi_ctx_take(ctx, &ctx->groups, arg->group_id, demi_group_is_busy);
	if (IS_ERR(group))
		return PTR_ERR(group);
	demi_group_free(group);
	return 0;
}
