// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading: parts come up in the order of their needs, and go in the reverse one. */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/workqueue.h>

#include "../netdev/net.h"
#include "ctx.h"
#include "debugfs.h"
#include "device.h"
#include "ioctl.h"
#include "queue.h"
#include "region.h"

struct workqueue_struct *demi_wq;

/* The parameter is octal with or without a leading zero, as for chmod. */
static unsigned short demi_mode = 0660;

static int demi_mode_set(const char *value, const struct kernel_param *kp)
{
	u16 mode;
	int err;

	err = kstrtou16(value, 8, &mode);
	if (err)
		return err;
	if (mode & ~0777)
		return -EINVAL;
	*(unsigned short *)kp->arg = mode;
	return 0;
}

static int demi_mode_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%#o\n", *(unsigned short *)kp->arg);
}

static const struct kernel_param_ops demi_mode_ops = {
	.set = demi_mode_set,
	.get = demi_mode_get,
};
module_param_cb(mode, &demi_mode_ops, &demi_mode, 0444);
MODULE_PARM_DESC(mode,
		 "permissions of /dev/demi, octal (default 0660; udev gives it to group demi)");

static int demi_open(struct inode *inode, struct file *file)
{
	struct demi_ctx *ctx = demi_ctx_create();

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	file->private_data = ctx;
	return nonseekable_open(inode, file);
}

static int demi_release(struct inode *inode, struct file *file)
{
	demi_ctx_put_now(file->private_data);
	return 0;
}

static long demi_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return demi_ioctl_run(file, file->private_data, NULL, cmd, (void __user *)arg);
}

static const struct file_operations demi_fops = {
	.owner = THIS_MODULE,
	.open = demi_open,
	.release = demi_release,
	.unlocked_ioctl = demi_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice demi_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "demi",
	.fops = &demi_fops,
};

static const struct {
	const char *name;
	int (*init)(void);
	void (*exit)(void);
} demi_parts[] = {
	{ "debugfs", demi_debugfs_init, demi_debugfs_exit },
	{ "net", demi_net_init, demi_net_exit },
	{ "host", demi_host_init, demi_host_exit },
	{ "mock", demi_mock_init, demi_mock_exit },
};

static void demi_parts_exit(int n)
{
	while (n--)
		demi_parts[n].exit();
}

/* Files hold the module, so there is none; what is left waits for packets and work items. */
static void demi_drain(void)
{
	demi_queue_drain();
	demi_ctx_drain();
	demi_region_drain();
	destroy_workqueue(demi_wq);
	rcu_barrier();
}

static int __init demi_init(void)
{
	int err, n;

	demi_wq = alloc_workqueue("demi", WQ_UNBOUND, 0);
	if (!demi_wq)
		return -ENOMEM;
	err = demi_queue_init();
	if (err)
		goto err_wq;
	for (n = 0; n < ARRAY_SIZE(demi_parts); n++) {
		err = demi_parts[n].init();
		if (err) {
			pr_err("%s: %d\n", demi_parts[n].name, err);
			goto err_parts;
		}
	}
	/* last: what it opens is ready */
	demi_misc.mode = demi_mode;
	err = misc_register(&demi_misc);
	if (err)
		goto err_parts;
	return 0;

err_parts:
	demi_parts_exit(n);
	demi_drain();
	return err;

err_wq:
	destroy_workqueue(demi_wq);
	return err;
}

static void __exit demi_exit(void)
{
	misc_deregister(&demi_misc);
	demi_parts_exit(ARRAY_SIZE(demi_parts));
	demi_drain();
}

module_init(demi_init);
module_exit(demi_exit);

MODULE_DESCRIPTION("Packet queues for unprivileged processes");
MODULE_LICENSE("GPL");
