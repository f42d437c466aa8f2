// SPDX-License-Identifier: GPL-2.0
/*
 * Devices: the list, who may own a dedicated one, who does, and how it goes away.
 *
 * An owner is not held by its device: a context that goes gives its devices up under
 * demi_devices_lock, so whoever holds that lock finds an owner that is still there.
 */
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "cmd.h"
#include "device.h"
#include "queue.h"
#include "region.h"

static DEFINE_MUTEX(demi_devices_lock);
static DEFINE_XARRAY_ALLOC1(demi_devices);

/* ---- references ---------------------------------------------------------------------------- */

static void demi_device_last(struct kref *ref)
{
	struct demi_device *dev = container_of(ref, struct demi_device, ref);

	dev->destroy(dev);
}

void demi_device_get(struct demi_device *dev)
{
	__module_get(dev->owner);
	kref_get(&dev->ref);
}
EXPORT_SYMBOL_GPL(demi_device_get);

void demi_device_put(struct demi_device *dev)
{
	struct module *owner = dev->owner;

	kref_put(&dev->ref, demi_device_last);
	module_put(owner);
}
EXPORT_SYMBOL_GPL(demi_device_put);

/* A reference; or NULL, also while the module that has it goes. */
static struct demi_device *demi_device_find(u32 id)
{
	struct demi_device *dev;

	lockdep_assert_held(&demi_devices_lock);
	dev = xa_load(&demi_devices, id);
	if (!dev || !try_module_get(dev->owner))
		return NULL;
	kref_get(&dev->ref);
	return dev;
}

/* Opener and caller are the user it was granted to. demi_devices_lock is held. */
static bool demi_device_is_granted(const struct demi_device *dev, const struct demi_cmd *cmd)
{
	return uid_eq(dev->grantee, cmd->file->f_cred->euid) &&
	       uid_eq(dev->grantee, current_euid());
}

static bool demi_device_is_visible(const struct demi_device *dev, const struct demi_cmd *cmd)
{
	return !(dev->flags & DEMI_DEVICE_F_DEDICATED) || dev->bound == cmd->ctx ||
	       demi_device_is_granted(dev, cmd) || demi_cmd_capable_init(cmd, CAP_SYS_ADMIN);
}

struct demi_device *demi_device_lookup(struct demi_cmd *cmd, u32 id)
{
	struct demi_device *dev;

	mutex_lock(&demi_devices_lock);
	dev = demi_device_find(id);
	if (dev && !demi_device_is_visible(dev, cmd)) {
		demi_device_put(dev);
		dev = NULL;
	}
	mutex_unlock(&demi_devices_lock);
	return dev ?: ERR_PTR(-ENOENT);
}

/* ---- owners -------------------------------------------------------------------------------- */

static void demi_device_unmap_regions(struct demi_device *dev, struct demi_ctx *ctx,
				      struct demi_region *end)
{
	struct demi_region *region;
	unsigned long id;

	if (!dev->ops->region_unmap)
		return;
	xa_for_each(&ctx->regions, id, region) {
		if (region == end)
			break;
		dev->ops->region_unmap(dev, region);
	}
}

static int demi_device_map_regions(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_region *region;
	unsigned long id;
	int err;

	if (!dev->ops->region_map)
		return 0;
	xa_for_each(&ctx->regions, id, region) {
		err = dev->ops->region_map(dev, ctx, region);
		if (err) {
			demi_device_unmap_regions(dev, ctx, region);
			return err;
		}
	}
	return 0;
}

int demi_device_map_region(struct demi_ctx *ctx, struct demi_region *region)
{
	struct demi_device *dev;
	int err;

	lockdep_assert_held(&ctx->lock);
	list_for_each_entry(dev, &ctx->bound, bound_node) {
		if (!dev->ops->region_map)
			continue;
		err = dev->ops->region_map(dev, ctx, region);
		if (err)
			goto err_unmap;
	}
	return 0;

err_unmap:
	list_for_each_entry_continue_reverse(dev, &ctx->bound, bound_node) {
		if (dev->ops->region_unmap)
			dev->ops->region_unmap(dev, region);
	}
	return err;
}

void demi_device_unmap_region(struct demi_ctx *ctx, struct demi_region *region)
{
	struct demi_device *dev;

	lockdep_assert_held(&ctx->lock);
	list_for_each_entry(dev, &ctx->bound, bound_node) {
		if (dev->ops->region_unmap)
			dev->ops->region_unmap(dev, region);
	}
}

static int demi_device_bind_ctx(struct demi_device *dev, struct demi_ctx *ctx)
{
	int err;

	lockdep_assert_held(&demi_devices_lock);
	mutex_lock(&ctx->lock);
	err = dev->ops->bind(dev, ctx);
	if (err)
		goto out;
	err = demi_device_map_regions(dev, ctx);
	if (err) {
		dev->ops->release(dev, ctx);
		goto out;
	}
	demi_device_get(dev);
	dev->bound = ctx;
	list_add_tail(&dev->bound_node, &ctx->bound);
out:
	mutex_unlock(&ctx->lock);
	return err;
}

/* All queues of the device have ended. */
static void demi_device_unbind(struct demi_device *dev)
{
	struct demi_ctx *ctx = dev->bound;

	lockdep_assert_held(&demi_devices_lock);
	mutex_lock(&ctx->lock);
	demi_device_unmap_regions(dev, ctx, NULL);
	dev->ops->release(dev, ctx);
	dev->bound = NULL;
	list_del_init(&dev->bound_node);
	mutex_unlock(&ctx->lock);
	demi_device_put(dev);
}

/* One that has not ended, with a reference, or NULL; how many there are. */
static struct demi_queue *demi_device_a_queue(struct demi_device *dev, struct demi_ctx *ctx, u32 *n)
{
	struct demi_queue *q, *found = NULL;

	*n = 0;
	mutex_lock(&ctx->lock);
	list_for_each_entry(q, &ctx->queues, ctx_node) {
		if (q->dev != dev)
			continue;
		if (!found) {
			found = q;
			demi_queue_get(q);
		}
		++*n;
	}
	mutex_unlock(&ctx->lock);
	return found;
}

static u32 demi_device_count_queues(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_queue *q;
	u32 n;

	q = demi_device_a_queue(dev, ctx, &n);
	if (q)
		demi_queue_put(q);
	return n;
}

/* The owner loses it; demi_devices_lock keeps new queues away. */
static void demi_device_evict(struct demi_device *dev)
{
	struct demi_queue *q;
	u32 n;

	lockdep_assert_held(&demi_devices_lock);
	if (!dev->bound)
		return;
	while ((q = demi_device_a_queue(dev, dev->bound, &n))) {
		demi_queue_end(q);
		demi_queue_put(q);
	}
	demi_device_unbind(dev);
}

void demi_device_release_all(struct demi_ctx *ctx)
{
	struct demi_device *dev, *next;

	/* each queue holds the context: none is left */
	mutex_lock(&demi_devices_lock);
	list_for_each_entry_safe(dev, next, &ctx->bound, bound_node)
		demi_device_unbind(dev);
	mutex_unlock(&demi_devices_lock);
}

/* ---- coming and going ---------------------------------------------------------------------- */

int demi_device_register(struct demi_device *dev)
{
	int err;

	kref_init(&dev->ref);
	INIT_LIST_HEAD(&dev->bound_node);
	dev->grantee = INVALID_UID;
	dev->bound = NULL;
	mutex_lock(&demi_devices_lock);
	err = xa_alloc(&demi_devices, &dev->id, dev, XA_LIMIT(1, INT_MAX), GFP_KERNEL);
	mutex_unlock(&demi_devices_lock);
	return err;
}
EXPORT_SYMBOL_GPL(demi_device_register);

void demi_device_unregister(struct demi_device *dev)
{
	mutex_lock(&demi_devices_lock);
	dev->gone = true;
	xa_erase(&demi_devices, dev->id);
	demi_device_evict(dev);
	mutex_unlock(&demi_devices_lock);
	kref_put(&dev->ref, demi_device_last);
}
EXPORT_SYMBOL_GPL(demi_device_unregister);

static int demi_device_create_dedicated(struct demi_device *dev, struct demi_queue *q,
					const struct demi_queue_create *arg, struct demi_cmd *cmd)
{
	lockdep_assert_held(&demi_devices_lock);
	if (dev->gone)
		return -ENODEV;
	if (dev->bound != q->ctx)
		return -EACCES;
	if (dev->queues_max && demi_device_count_queues(dev, q->ctx) >= dev->queues_max)
		return -EDQUOT;
	return dev->ops->queue_create(dev, q, arg, cmd);
}

int demi_device_create_queue(struct demi_queue *q, const struct demi_queue_create *arg,
			     struct demi_cmd *cmd)
{
	struct demi_device *dev = q->dev;
	bool dedicated = dev->flags & DEMI_DEVICE_F_DEDICATED;
	int err;

	if (arg->features & ~dev->features)
		return -EOPNOTSUPP;
	if (dedicated) {
		mutex_lock(&demi_devices_lock);
		err = demi_device_create_dedicated(dev, q, arg, cmd);
	} else {
		err = dev->ops->queue_create(dev, q, arg, cmd);
	}
	if (!err) {
		mutex_lock(&q->ctx->lock);
		list_add_tail(&q->ctx_node, &q->ctx->queues);
		mutex_unlock(&q->ctx->lock);
	}
	if (dedicated)
		mutex_unlock(&demi_devices_lock);
	return err;
}

/* ---- commands ------------------------------------------------------------------------------ */

/* The first device from *@id on that the caller may know of: its id, or 0. */
static u32 demi_device_next(struct demi_cmd *cmd, unsigned long id)
{
	struct demi_device *dev;
	u32 found = 0;

	mutex_lock(&demi_devices_lock);
	xa_for_each_start(&demi_devices, id, dev, id) {
		if (demi_device_is_visible(dev, cmd)) {
			found = id;
			break;
		}
	}
	mutex_unlock(&demi_devices_lock);
	return found;
}

int demi_cmd_device_list(struct demi_cmd *cmd)
{
	struct demi_device_list *arg = cmd->arg;
	u32 __user *ids = u64_to_user_ptr(arg->ids);
	u32 id = 0, n = 0;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	while ((id = demi_device_next(cmd, id + 1))) {
		if (n < arg->count && put_user(id, ids + n))
			return -EFAULT;
		n++;
	}
	arg->count = n;
	return demi_cmd_respond(cmd);
}

int demi_cmd_device_info(struct demi_cmd *cmd)
{
	struct demi_device_info *arg = cmd->arg;
	struct demi_device *dev;

	if (arg->flags)
		return -EINVAL;
	dev = demi_device_lookup(cmd, arg->device_id);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	arg->kind = dev->kind;
	arg->queues_max = dev->queues_max;
	arg->mtu_bytes = dev->mtu_bytes;
	arg->offloads = dev->offloads;
	memcpy(arg->name, dev->name, sizeof(arg->name));
	mutex_lock(&demi_devices_lock);
	arg->state = dev->flags;
	if (dev->bound)
		arg->state |= DEMI_DEVICE_F_BOUND;
	if (dev->bound == cmd->ctx)
		arg->state |= DEMI_DEVICE_F_MINE;
	arg->owner_uid = DEMI_UID_NONE;
	if (uid_valid(dev->grantee))
		arg->owner_uid = from_kuid_munged(current_user_ns(), dev->grantee);
	mutex_unlock(&demi_devices_lock);
	demi_device_put(dev);
	return demi_cmd_respond(cmd);
}

/* Look it up and do something to it, as a whole. */
static int demi_device_change(struct demi_cmd *cmd, u32 id,
			      int (*change)(struct demi_device *dev, struct demi_cmd *cmd))
{
	struct demi_device *dev;
	int err = -ENOENT;

	mutex_lock(&demi_devices_lock);
	dev = demi_device_find(id);
	if (dev) {
		err = dev->flags & DEMI_DEVICE_F_DEDICATED ? change(dev, cmd) : -EOPNOTSUPP;
		demi_device_put(dev);
	}
	mutex_unlock(&demi_devices_lock);
	return err;
}

static int demi_device_bind_locked(struct demi_device *dev, struct demi_cmd *cmd)
{
	if (!demi_device_is_granted(dev, cmd) && !demi_cmd_capable_init(cmd, CAP_SYS_ADMIN))
		return -EACCES;
	if (dev->bound)
		return dev->bound == cmd->ctx ? 0 : -EBUSY;
	return demi_device_bind_ctx(dev, cmd->ctx);
}

static int demi_device_release_locked(struct demi_device *dev, struct demi_cmd *cmd)
{
	if (dev->bound != cmd->ctx)
		return -EACCES;
	if (demi_device_count_queues(dev, cmd->ctx))
		return -EBUSY;
	demi_device_unbind(dev);
	return 0;
}

int demi_cmd_device_bind(struct demi_cmd *cmd)
{
	const struct demi_device_bind *arg = cmd->arg;

	if (arg->flags & ~DEMI_DEVICE_BIND_F_RELEASE || arg->__reserved)
		return -EINVAL;
	return demi_device_change(cmd, arg->device_id,
				  arg->flags ? demi_device_release_locked
					     : demi_device_bind_locked);
}

static int demi_device_grant_locked(struct demi_device *dev, struct demi_cmd *cmd)
{
	const struct demi_device_grant *arg = cmd->arg;

	if (dev->bound)
		return -EBUSY;
	dev->grantee = make_kuid(current_user_ns(), arg->uid);
	return 0;
}

int demi_cmd_device_grant(struct demi_cmd *cmd)
{
	const struct demi_device_grant *arg = cmd->arg;

	if (arg->flags || !uid_valid(make_kuid(current_user_ns(), arg->uid)))
		return -EINVAL;
	if (!demi_cmd_capable_init(cmd, CAP_SYS_ADMIN))
		return -EPERM;
	return demi_device_change(cmd, arg->device_id, demi_device_grant_locked);
}

static int demi_device_revoke_locked(struct demi_device *dev, struct demi_cmd *cmd)
{
	demi_device_evict(dev);
	dev->grantee = INVALID_UID;
	return 0;
}

int demi_cmd_device_revoke(struct demi_cmd *cmd)
{
	const struct demi_device_grant *arg = cmd->arg;

	if (arg->flags || arg->uid)
		return -EINVAL;
	if (!demi_cmd_capable_init(cmd, CAP_SYS_ADMIN))
		return -EPERM;
	return demi_device_change(cmd, arg->device_id, demi_device_revoke_locked);
}

int demi_devices_show(struct seq_file *m, void *unused)
{
	struct demi_device *dev;
	unsigned long id;

	seq_puts(m, "id name kind flags references grantee bound\n");
	mutex_lock(&demi_devices_lock);
	xa_for_each(&demi_devices, id, dev)
		seq_printf(m, "%u %s %u %#x %u %d %d\n", dev->id, dev->name, dev->kind, dev->flags,
			   kref_read(&dev->ref), (int)from_kuid(seq_user_ns(m), dev->grantee),
			   !!dev->bound);
	mutex_unlock(&demi_devices_lock);
	return 0;
}
