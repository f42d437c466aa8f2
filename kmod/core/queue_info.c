// SPDX-License-Identifier: GPL-2.0
/* What there is: GET_INFO, QUEUE_INFO, QUEUE_LIST. */
#include <linux/pid.h>
#include <linux/uaccess.h>

#include "cmd.h"
#include "device.h"
#include "limits.h"
#include "queue.h"

/* Every bit stands for something that works. */
#define DEMI_FEATURES                                                                              \
	(DEMI_FEATURE_FLOW | DEMI_FEATURE_RAW | DEMI_FEATURE_CAPTURE | DEMI_FEATURE_GROUP |        \
	 DEMI_FEATURE_MULTICAST | DEMI_FEATURE_FILTER_CBPF | DEMI_FEATURE_FILTER_EBPF |            \
	 DEMI_FEATURE_GSO | (IS_ENABLED(CONFIG_DEMI_MOCK) ? DEMI_FEATURE_MOCK : 0))

int demi_cmd_get_info(struct demi_cmd *cmd)
{
	struct demi_get_info *arg = cmd->arg;

	if (arg->flags)
		return -EINVAL;
	arg->features = DEMI_FEATURES;
	arg->abi = DEMI_ABI_VERSION;
	arg->page_bytes = PAGE_SIZE;
	arg->ring_entries_max = DEMI_RING_ENTRIES_MAX;
	arg->frame_max = DEMI_FRAME_MAX;
	arg->queues_max = demi_limit_max(DEMI_LIMIT_QUEUES);
	arg->regions_max = demi_limit_max(DEMI_LIMIT_REGIONS);
	arg->flows_max = demi_limit_max(DEMI_LIMIT_FLOWS);
	arg->reservations_max = demi_limit_max(DEMI_LIMIT_RESERVATIONS);
	arg->groups_max = demi_limit_max(DEMI_LIMIT_GROUPS);
	arg->contexts_max = demi_limit_max(DEMI_LIMIT_CONTEXTS);
	return demi_cmd_respond(cmd);
}

static u32 demi_queue_state(const struct demi_queue *q)
{
	u32 state = 0;

	if (q->dead)
		state |= DEMI_QUEUE_STATE_SHUTDOWN;
	if (rcu_access_pointer(q->filter))
		state |= DEMI_QUEUE_STATE_FILTER;
	if (rcu_access_pointer(q->tap))
		state |= DEMI_QUEUE_STATE_CAPTURED;
	return state;
}

static void demi_queue_info_fill(struct demi_queue *q, struct demi_queue_info *arg)
{
	arg->queue_id = q->id;
	arg->kind = q->kind;
	arg->device_id = q->dev->id;
	arg->ifindex = q->kind == DEMI_QUEUE_RAW ? q->raw.ifindex : 0;
	arg->uid = from_kuid_munged(current_user_ns(), q->ctx->cred->euid);
	arg->pid = pid_vnr(q->maker);
	arg->flows = READ_ONCE(q->nflows);
	arg->rx_fill_entries = q->rx_fill.desc ? demi_ring_entries(&q->rx_fill) : 0;
	arg->rx_entries = q->rx.desc ? demi_ring_entries(&q->rx) : 0;
	arg->tx_entries = q->tx.desc ? demi_ring_entries(&q->tx) : 0;
	arg->tx_done_entries = q->tx_done.desc ? demi_ring_entries(&q->tx_done) : 0;
	arg->ring_bytes = q->ring_bytes;
	arg->kernel_bytes = q->kernel_bytes + (READ_ONCE(q->scratch) ? PAGE_SIZE : 0);
	memcpy(arg->comm, q->comm, sizeof(arg->comm));

	mutex_lock(&q->tx_lock);
	spin_lock_bh(&q->rx_lock);
	arg->state = demi_queue_state(q);
	if (q->rx.desc)
		arg->rx_used = demi_ring_entries(&q->rx) - demi_ring_room(&q->rx);
	if (q->rx_fill.desc)
		arg->rx_fill_used = demi_ring_filled(&q->rx_fill);
	arg->counters = q->count;
	spin_unlock_bh(&q->rx_lock);
	mutex_unlock(&q->tx_lock);
}

int demi_cmd_queue_info(struct demi_cmd *cmd)
{
	struct demi_queue_info *arg = cmd->arg;
	struct demi_queue *q;

	BUILD_BUG_ON(sizeof(arg->comm) != sizeof(q->comm));
	if (arg->flags)
		return -EINVAL;
	q = demi_queue_of_cmd(cmd, arg->queue_id);
	if (IS_ERR(q))
		return PTR_ERR(q);
	demi_queue_info_fill(q, arg);
	demi_queue_put(q);
	return demi_cmd_respond(cmd);
}

int demi_cmd_queue_list(struct demi_cmd *cmd)
{
	struct demi_queue_list *arg = cmd->arg;
	u32 __user *ids = u64_to_user_ptr(arg->ids);
	struct demi_queue *q;
	unsigned long id = 1;
	u32 n = 0;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	for (; (q = demi_queue_next(cmd, &id)); id++, n++) {
		demi_queue_put(q);
		if (n < arg->count && put_user((u32)id, ids + n))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	arg->count = n;
	return demi_cmd_respond(cmd);
}
