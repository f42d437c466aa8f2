/* SPDX-License-Identifier: GPL-2.0 */
/* From a file's ioctl to a command. */
#ifndef _DEMI_IOCTL_H
#define _DEMI_IOCTL_H

#include <linux/fs.h>

struct demi_ctx;
struct demi_queue;

/* @queue: that of the file, or NULL on a context's. */
long demi_ioctl_run(struct file *file, struct demi_ctx *ctx, struct demi_queue *queue,
		    unsigned int cmd, void __user *uarg);

#endif
