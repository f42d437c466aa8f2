// SPDX-License-Identifier: GPL-2.0
/* The tables of debugfs: whole, a line each, for root. */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "ctx.h"
#include "debugfs.h"
#include "device.h"
#include "limits.h"

struct dentry *demi_debugfs;

DEFINE_SHOW_ATTRIBUTE(demi_ctxs);
DEFINE_SHOW_ATTRIBUTE(demi_queues);
DEFINE_SHOW_ATTRIBUTE(demi_devices);
DEFINE_SHOW_ATTRIBUTE(demi_users);

int demi_debugfs_init(void)
{
	/* debugfs may be missing: its functions take the error and do nothing */
	demi_debugfs = debugfs_create_dir("demi", NULL);
	debugfs_create_file("contexts", 0400, demi_debugfs, NULL, &demi_ctxs_fops);
	debugfs_create_file("queues", 0400, demi_debugfs, NULL, &demi_queues_fops);
	debugfs_create_file("devices", 0400, demi_debugfs, NULL, &demi_devices_fops);
	debugfs_create_file("users", 0400, demi_debugfs, NULL, &demi_users_fops);
	return 0;
}

void demi_debugfs_exit(void)
{
	debugfs_remove(demi_debugfs);
}
