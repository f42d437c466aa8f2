// SPDX-License-Identifier: GPL-2.0
/* The table of commands: sizes, the files they work on, who does them. */
#include <linux/capability.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>
#include <net/net_namespace.h>

#include "cmd.h"
#include "ioctl.h"

enum {
	ON_CTX = 1,
	ON_QUEUE = 2,
};

struct demi_cmd_entry {
	u16 size;
	u16 min_size;	/* of the first version: later members may be missing */
	u8 on;
	int (*fn)(struct demi_cmd *cmd);
};

#define DEMI_ARG_MAX	512

/* A command that is not here is answered ENOTTY. @_last: last member of the first version. */
#define DEMI_ENTRY(_nr, _type, _last, _on, _fn)                                                    \
	[_nr] = {                                                                                  \
		.size = sizeof(struct _type) + BUILD_BUG_ON_ZERO(sizeof(struct _type) > DEMI_ARG_MAX), \
		.min_size = offsetofend(struct _type, _last),                                      \
		.on = _on,                                                                         \
		.fn = _fn,                                                                         \
	}

static const struct demi_cmd_entry demi_cmd_table[] = {
	DEMI_ENTRY(DEMI_CMD_GET_INFO, demi_get_info, contexts_max, ON_CTX, demi_cmd_get_info),
	DEMI_ENTRY(DEMI_CMD_DEVICE_LIST, demi_device_list, ids, ON_CTX, demi_cmd_device_list),
	DEMI_ENTRY(DEMI_CMD_DEVICE_INFO, demi_device_info, name, ON_CTX, demi_cmd_device_info),
	DEMI_ENTRY(DEMI_CMD_DEVICE_BIND, demi_device_bind, __reserved, ON_CTX, demi_cmd_device_bind),
	DEMI_ENTRY(DEMI_CMD_DEVICE_GRANT, demi_device_grant, uid, ON_CTX, demi_cmd_device_grant),
	DEMI_ENTRY(DEMI_CMD_DEVICE_REVOKE, demi_device_grant, uid, ON_CTX, demi_cmd_device_revoke),
	DEMI_ENTRY(DEMI_CMD_REGION_REGISTER, demi_region_register, iova, ON_CTX, demi_cmd_region_register),
	DEMI_ENTRY(DEMI_CMD_REGION_UNREGISTER, demi_region_unregister, __reserved, ON_CTX,
		   demi_cmd_region_unregister),
	DEMI_ENTRY(DEMI_CMD_QUEUE_CREATE, demi_queue_create, tx_done, ON_CTX, demi_cmd_queue_create),
	DEMI_ENTRY(DEMI_CMD_QUEUE_SHUTDOWN, demi_queue_shutdown, __reserved, ON_CTX | ON_QUEUE,
		   demi_cmd_queue_shutdown),
	DEMI_ENTRY(DEMI_CMD_QUEUE_KICK, demi_queue_kick, __reserved, ON_QUEUE, demi_cmd_queue_kick),
	DEMI_ENTRY(DEMI_CMD_QUEUE_INFO, demi_queue_info, counters, ON_CTX | ON_QUEUE,
		   demi_cmd_queue_info),
	DEMI_ENTRY(DEMI_CMD_QUEUE_LIST, demi_queue_list, ids, ON_CTX, demi_cmd_queue_list),
	DEMI_ENTRY(DEMI_CMD_PORT_RESERVE, demi_port_reserve, __reserved, ON_CTX, demi_cmd_port_reserve),
	DEMI_ENTRY(DEMI_CMD_PORT_RELEASE, demi_port_release, __reserved, ON_CTX, demi_cmd_port_release),
	DEMI_ENTRY(DEMI_CMD_FLOW_ADD, demi_flow_add, __reserved, ON_CTX, demi_cmd_flow_add),
	DEMI_ENTRY(DEMI_CMD_FLOW_DEL, demi_flow_del, __reserved, ON_CTX, demi_cmd_flow_del),
	DEMI_ENTRY(DEMI_CMD_FLOW_LIST, demi_flow_list, entries, ON_CTX, demi_cmd_flow_list),
	DEMI_ENTRY(DEMI_CMD_GROUP_CREATE, demi_group_create, __reserved, ON_CTX, demi_cmd_group_create),
	DEMI_ENTRY(DEMI_CMD_GROUP_SET, demi_group_set, queues, ON_CTX, demi_cmd_group_set),
	DEMI_ENTRY(DEMI_CMD_GROUP_DESTROY, demi_group_destroy, __reserved, ON_CTX, demi_cmd_group_destroy),
	DEMI_ENTRY(DEMI_CMD_FILTER_ATTACH, demi_filter_attach, insns, ON_CTX | ON_QUEUE, demi_cmd_filter_attach),
	DEMI_ENTRY(DEMI_CMD_FILTER_DETACH, demi_filter_detach, __reserved, ON_CTX | ON_QUEUE,
		   demi_cmd_filter_detach),
	DEMI_ENTRY(DEMI_CMD_FILTER_INFO, demi_filter_info, attached_ns, ON_CTX | ON_QUEUE, demi_cmd_filter_info),
	DEMI_ENTRY(DEMI_CMD_CAPTURE, demi_capture, __reserved, ON_CTX, demi_cmd_capture),
};

int demi_cmd_respond(struct demi_cmd *cmd)
{
	if (copy_to_user(cmd->uarg, cmd->arg, min_t(u32, cmd->user_size, cmd->size)))
		return -EFAULT;
	return 0;
}

bool demi_cmd_capable(const struct demi_cmd *cmd, int cap)
{
	struct user_namespace *ns = cmd->ctx->net->user_ns;

	return file_ns_capable(cmd->file, ns, cap) && ns_capable(ns, cap);
}

bool demi_cmd_capable_init(const struct demi_cmd *cmd, int cap)
{
	return file_ns_capable(cmd->file, &init_user_ns, cap) && capable(cap);
}

long demi_ioctl_run(struct file *file, struct demi_ctx *ctx, struct demi_queue *queue,
		    unsigned int cmd, void __user *uarg)
{
	u64 arg[DEMI_ARG_MAX / sizeof(u64)];
	const struct demi_cmd_entry *entry;
	unsigned int nr = _IOC_NR(cmd);
	struct demi_cmd c = {
		.file = file,
		.ctx = ctx,
		.queue = queue,
		.arg = arg,
		.uarg = uarg,
	};
	int err;

	if (cmd != _IO(DEMI_IOCTL_TYPE, nr) || nr >= ARRAY_SIZE(demi_cmd_table))
		return -ENOTTY;
	entry = &demi_cmd_table[array_index_nospec(nr, ARRAY_SIZE(demi_cmd_table))];
	if (!entry->fn || !(entry->on & (queue ? ON_QUEUE : ON_CTX)))
		return -ENOTTY;

	if (get_user(c.user_size, (u32 __user *)uarg))
		return -EFAULT;
	if (c.user_size < entry->min_size)
		return -EINVAL;
	if (c.user_size > PAGE_SIZE)
		return -E2BIG;
	c.size = entry->size;
	err = copy_struct_from_user(arg, entry->size, uarg, c.user_size);
	if (err)
		return err;
	return entry->fn(&c);
}
