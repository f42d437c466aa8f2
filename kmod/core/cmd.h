/* SPDX-License-Identifier: GPL-2.0 */
/* One command: its argument copied in, checked for size, and copied out. */
#ifndef _DEMI_CMD_H
#define _DEMI_CMD_H

#include <linux/fs.h>

#include "ctx.h"

struct demi_cmd {
	struct file *file;		/* for the opener's credentials */
	struct demi_ctx *ctx;
	struct demi_queue *queue;	/* on a queue's file, else NULL */
	void *arg;			/* the kernel's copy, completed; not yet checked */
	u32 size;			/* of it */
	void __user *uarg;
	u32 user_size;
};

/*
 * Copy the argument back, as much as the user knows of it. -EFAULT. Call it before anything that
 * cannot be undone (fd_install), and undo what was done if it fails.
 */
int demi_cmd_respond(struct demi_cmd *cmd);

/*
 * Both the opener of the file and the caller have @cap in the user namespace of the context's
 * network.
 */
bool demi_cmd_capable(const struct demi_cmd *cmd, int cap);

/* Both have it in the initial user namespace. */
bool demi_cmd_capable_init(const struct demi_cmd *cmd, int cap);

/*
 * Entry points of the table in ioctl.c. Each checks flags and reserved fields (-EOPNOTSUPP for a
 * flag that is known but not supported, -EINVAL for unknown ones), does the work and responds.
 */
int demi_cmd_get_info(struct demi_cmd *cmd);
int demi_cmd_device_list(struct demi_cmd *cmd);
int demi_cmd_device_info(struct demi_cmd *cmd);
int demi_cmd_device_bind(struct demi_cmd *cmd);
int demi_cmd_device_grant(struct demi_cmd *cmd);
int demi_cmd_device_revoke(struct demi_cmd *cmd);
int demi_cmd_region_register(struct demi_cmd *cmd);
int demi_cmd_region_unregister(struct demi_cmd *cmd);
int demi_cmd_queue_create(struct demi_cmd *cmd);
int demi_cmd_queue_shutdown(struct demi_cmd *cmd);
int demi_cmd_queue_kick(struct demi_cmd *cmd);
int demi_cmd_queue_info(struct demi_cmd *cmd);
int demi_cmd_queue_list(struct demi_cmd *cmd);
int demi_cmd_port_reserve(struct demi_cmd *cmd);
int demi_cmd_port_release(struct demi_cmd *cmd);
int demi_cmd_flow_add(struct demi_cmd *cmd);
int demi_cmd_flow_del(struct demi_cmd *cmd);
int demi_cmd_flow_list(struct demi_cmd *cmd);
int demi_cmd_group_create(struct demi_cmd *cmd);
int demi_cmd_group_set(struct demi_cmd *cmd);
int demi_cmd_group_destroy(struct demi_cmd *cmd);
int demi_cmd_filter_attach(struct demi_cmd *cmd);
int demi_cmd_filter_detach(struct demi_cmd *cmd);
int demi_cmd_filter_info(struct demi_cmd *cmd);
int demi_cmd_capture(struct demi_cmd *cmd);

#endif
