// SPDX-License-Identifier: GPL-2.0
/*
 * Devices for tests, "mock0" and those that a name written to /sys/kernel/debug/demi/mock/add
 * makes. A name written to remove takes a device away under whatever uses it.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/virtio_net.h>

#include "../core/debugfs.h"
#include "../core/region.h"
#include "mock.h"

static DEFINE_MUTEX(demi_mocks_lock);
static LIST_HEAD(demi_mocks);
static struct dentry *demi_mock_dir, *demi_mock_add_file, *demi_mock_remove_file;

static struct demi_mock *demi_mock_of(struct demi_device *dev)
{
	return container_of(dev, struct demi_mock, dev);
}

/* ---- the device's operations --------------------------------------------------------------- */

static int demi_mock_queue_create(struct demi_device *dev, struct demi_queue *q,
				  const struct demi_queue_create *arg, struct demi_cmd *cmd)
{
	if (arg->kind != DEMI_QUEUE_DEVICE)
		return -EOPNOTSUPP;
	q->ops = &demi_mock_queue_ops;
	return 0;
}

static int demi_mock_bind(struct demi_device *dev, struct demi_ctx *ctx)
{
	atomic_inc(&demi_mock_of(dev)->binds);
	return 0;
}

static void demi_mock_release(struct demi_device *dev, struct demi_ctx *ctx)
{
	atomic_dec(&demi_mock_of(dev)->binds);
}

static int demi_mock_region_map(struct demi_device *dev, struct demi_ctx *ctx,
				struct demi_region *region)
{
	struct demi_mock *mock = demi_mock_of(dev);

	if (mock->fail_maps) {
		mock->fail_maps--;
		return -ENOMEM;
	}
	atomic_inc(&mock->maps);
	atomic_inc(&mock->mapped);
	return 0;
}

static void demi_mock_region_unmap(struct demi_device *dev, struct demi_region *region)
{
	atomic_dec(&demi_mock_of(dev)->maps);
}

static const struct demi_device_ops demi_mock_ops = {
	.queue_create = demi_mock_queue_create,
	.bind = demi_mock_bind,
	.release = demi_mock_release,
	.region_map = demi_mock_region_map,
	.region_unmap = demi_mock_region_unmap,
};

/* ---- coming and going ---------------------------------------------------------------------- */

static void demi_mock_destroy(struct demi_device *dev)
{
	kfree(demi_mock_of(dev));
}

static void demi_mock_show(struct demi_mock *mock)
{
	mock->dir = debugfs_create_dir(mock->dev.name, demi_mock_dir);
	debugfs_create_u32("fail_maps", 0600, mock->dir, &mock->fail_maps);
	debugfs_create_atomic_t("binds", 0400, mock->dir, &mock->binds);
	debugfs_create_atomic_t("maps", 0400, mock->dir, &mock->maps);
	debugfs_create_atomic_t("mapped", 0400, mock->dir, &mock->mapped);
}

static int demi_mock_add(const char *name)
{
	struct demi_mock *mock, *other;
	int err = -EEXIST;

	mock = kzalloc(sizeof(*mock), GFP_KERNEL);
	if (!mock)
		return -ENOMEM;
	mock->dev.ops = &demi_mock_ops;
	mock->dev.kind = DEMI_DEVICE_MOCK;
	mock->dev.flags = DEMI_DEVICE_F_DEDICATED;
	mock->dev.queues_max = 4;
	mock->dev.mtu_bytes = DEMI_FRAME_MAX - sizeof(struct virtio_net_hdr_v1);
	mock->dev.destroy = demi_mock_destroy;
	strscpy(mock->dev.name, name, sizeof(mock->dev.name));

	mutex_lock(&demi_mocks_lock);
	list_for_each_entry(other, &demi_mocks, node) {
		if (!strcmp(other->dev.name, mock->dev.name))
			goto err_unlock;
	}
	demi_mock_show(mock);
	list_add_tail(&mock->node, &demi_mocks);
	err = demi_device_register(&mock->dev);
	if (err)
		goto err_list;
	mutex_unlock(&demi_mocks_lock);
	return 0;

err_list:
	list_del(&mock->node);
	debugfs_remove(mock->dir);
err_unlock:
	mutex_unlock(&demi_mocks_lock);
	kfree(mock);
	return err;
}

/* NULL: any. */
static int demi_mock_remove(const char *name)
{
	struct demi_mock *mock;

	mutex_lock(&demi_mocks_lock);
	list_for_each_entry(mock, &demi_mocks, node) {
		if (name && strcmp(mock->dev.name, name))
			continue;
		list_del(&mock->node);
		debugfs_remove(mock->dir);
		mutex_unlock(&demi_mocks_lock);
		demi_device_unregister(&mock->dev);
		return 0;
	}
	mutex_unlock(&demi_mocks_lock);
	return -ENODEV;
}

static ssize_t demi_mock_write_name(struct file *file, const char __user *buf, size_t len,
				    loff_t *pos)
{
	int (*act)(const char *name) = file->private_data;
	char name[DEMI_NAME_MAX] = {};
	int err;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	strreplace(name, '\n', '\0');
	if (!name[0])
		return -EINVAL;
	err = act(name);
	return err ?: len;
}

static const struct file_operations demi_mock_name_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = demi_mock_write_name,
};

int demi_mock_init(void)
{
	demi_mock_dir = debugfs_create_dir("mock", demi_debugfs);
	demi_mock_add_file = debugfs_create_file("add", 0200, demi_mock_dir, demi_mock_add,
						 &demi_mock_name_fops);
	demi_mock_remove_file = debugfs_create_file("remove", 0200, demi_mock_dir, demi_mock_remove,
						    &demi_mock_name_fops);
	demi_mock_bugs_init(demi_mock_dir);
	return demi_mock_add("mock0");
}

void demi_mock_exit(void)
{
	/* no writer is left when they are gone */
	debugfs_remove(demi_mock_add_file);
	debugfs_remove(demi_mock_remove_file);
	while (!demi_mock_remove(NULL))
		;
	debugfs_remove(demi_mock_dir);
}
