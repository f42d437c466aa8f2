// SPDX-License-Identifier: GPL-2.0
/*
 * Planted bugs. A name written to /sys/kernel/debug/demi/mock/bug makes the module do what it must
 * never do; a test run that does not fail then is no test run.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "mock.h"

static DEFINE_MUTEX(demi_bug_a);
static DEFINE_MUTEX(demi_bug_b);

static void demi_bug_use_after_free(void)
{
	u8 *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	WRITE_ONCE(p[8], 1);
}

static void demi_bug_out_of_bounds(void)
{
	u8 *p = kmalloc(60, GFP_KERNEL);

	if (!p)
		return;
	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(p[61], 1);
	kfree(p);
}

static void demi_bug_leak(void)
{
	u8 *p = kmalloc(200, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
}

static void demi_bug_lock_order(void)
{
	mutex_lock(&demi_bug_a);
	mutex_lock(&demi_bug_b);
	mutex_unlock(&demi_bug_b);
	mutex_unlock(&demi_bug_a);

	mutex_lock(&demi_bug_b);
	mutex_lock(&demi_bug_a);
	mutex_unlock(&demi_bug_a);
	mutex_unlock(&demi_bug_b);
}

static const struct {
	const char *name;
	void (*plant)(void);
} demi_bugs[] = {
	{ "use-after-free", demi_bug_use_after_free },
	{ "out-of-bounds", demi_bug_out_of_bounds },
	{ "leak", demi_bug_leak },
	{ "lock-order", demi_bug_lock_order },
};

static ssize_t demi_bug_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	char name[32] = {};
	int i;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	strreplace(name, '\n', '\0');
	for (i = 0; i < ARRAY_SIZE(demi_bugs); i++) {
		if (!strcmp(name, demi_bugs[i].name)) {
			demi_bugs[i].plant();
			return len;
		}
	}
	return -EINVAL;
}

static const struct file_operations demi_bug_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = demi_bug_write,
};

void demi_mock_bugs_init(struct dentry *dir)
{
	debugfs_create_file("bug", 0200, dir, NULL, &demi_bug_fops);
}
