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
	ON_BOTH = ON_CTX | ON_QUEUE,
};

struct demi_cmd_entry {
	u16 size;
	u16 min_size;	/* of the first version: later members may be missing */
	u8 on;
	int (*fn)(struct demi_cmd *cmd);
};

#define DEMI_ARG_MAX	512

/*
 * A command that is not here is answered ENOTTY. @_last: the last member of the first version; who
 * calls with less is told so.
 */
#define DEMI_ENTRY(_nr, _type, _last, _on, _fn)							\
	[DEMI_CMD_##_nr] = {									\
		.size = sizeof(struct demi_##_type),						\
		.min_size = offsetofend(struct demi_##_type, _last) +				\
			    BUILD_BUG_ON_ZERO(sizeof(struct demi_##_type) > DEMI_ARG_MAX),	\
		.on = _on,									\
		.fn = demi_cmd_##_fn,								\
	}

static const struct demi_cmd_entry demi_cmd_table[] = {
	DEMI_ENTRY(GET_INFO, get_info, contexts_max, ON_CTX, get_info),
	DEMI_ENTRY(DEVICE_LIST, device_list, ids, ON_CTX, device_list),
	DEMI_ENTRY(DEVICE_INFO, device_info, name, ON_CTX, device_info),
	DEMI_ENTRY(DEVICE_BIND, device_bind, __reserved, ON_CTX, device_bind),
	DEMI_ENTRY(DEVICE_GRANT, device_grant, uid, ON_CTX, device_grant),
	DEMI_ENTRY(DEVICE_REVOKE, device_grant, uid, ON_CTX, device_revoke),
	DEMI_ENTRY(REGION_REGISTER, region_register, iova, ON_CTX, region_register),
	DEMI_ENTRY(REGION_UNREGISTER, region_unregister, __reserved, ON_CTX, region_unregister),
	DEMI_ENTRY(QUEUE_CREATE, queue_create, tx_done, ON_CTX, queue_create),
	DEMI_ENTRY(QUEUE_SHUTDOWN, queue_shutdown, __reserved, ON_BOTH, queue_shutdown),
	DEMI_ENTRY(QUEUE_KICK, queue_kick, __reserved, ON_QUEUE, queue_kick),
	DEMI_ENTRY(QUEUE_INFO, queue_info, counters, ON_BOTH, queue_info),
	DEMI_ENTRY(QUEUE_LIST, queue_list, ids, ON_CTX, queue_list),
	DEMI_ENTRY(PORT_RESERVE, port_reserve, __reserved, ON_CTX, port_reserve),
	DEMI_ENTRY(PORT_RELEASE, port_release, __reserved, ON_CTX, port_release),
	DEMI_ENTRY(FLOW_ADD, flow_add, __reserved, ON_CTX, flow_add),
	DEMI_ENTRY(FLOW_DEL, flow_del, __reserved, ON_CTX, flow_del),
	DEMI_ENTRY(FLOW_LIST, flow_list, entries, ON_CTX, flow_list),
	DEMI_ENTRY(GROUP_CREATE, group_create, __reserved, ON_CTX, group_create),
	DEMI_ENTRY(GROUP_SET, group_set, queues, ON_CTX, group_set),
	DEMI_ENTRY(GROUP_DESTROY, group_destroy, __reserved, ON_CTX, group_destroy),
	DEMI_ENTRY(FILTER_ATTACH, filter_attach, insns, ON_BOTH, filter_attach),
	DEMI_ENTRY(FILTER_DETACH, filter_detach, __reserved, ON_BOTH, filter_detach),
	DEMI_ENTRY(FILTER_INFO, filter_info, attached_ns, ON_BOTH, filter_info),
	DEMI_ENTRY(CAPTURE, capture, __reserved, ON_CTX, capture),
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
