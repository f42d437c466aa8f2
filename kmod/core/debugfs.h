/* SPDX-License-Identifier: GPL-2.0 */
/* /sys/kernel/debug/demi: tables of what there is. */
#ifndef _DEMI_DEBUGFS_H
#define _DEMI_DEBUGFS_H

struct dentry;

/* The folder, for files of other parts; they remove theirs. */
extern struct dentry *demi_debugfs;

int demi_debugfs_init(void);
void demi_debugfs_exit(void);

#endif
