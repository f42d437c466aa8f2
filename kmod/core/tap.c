// SPDX-License-Identifier: GPL-2.0
/*
 * Capture: copies of what crosses a queue, into another queue. A tap is found by receivers and
 * senders under RCU from the captured queue. It holds neither queue: each queue's end takes its
 * taps away and waits for the readers, and that comes before the queue's last reference goes.
 */
#include <linux/capability.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "../netdev/net.h"
#include "cmd.h"
#include "filter.h"

struct demi_tap {
	struct demi_queue *from;
	struct demi_queue *to;		/* a capture queue */
	u32 directions;			/* DEMI_CAPTURE_F_RX, _TX */
	u32 snap_bytes;
	struct list_head node;
	struct rcu_head rcu;
};

static DEFINE_MUTEX(demi_taps_lock);
static LIST_HEAD(demi_taps);

static void demi_tap_count(struct demi_queue *q, bool lost)
{
	spin_lock_bh(&q->rx_lock);
	if (lost)
		q->count.capture_lost++;
	else
		q->count.captured++;
	spin_unlock_bh(&q->rx_lock);
}

void demi_tap_frame(struct demi_queue *q, const struct sk_buff *skb, u32 offset, u32 len,
		    u32 direction)
{
	const struct demi_tap *tap = rcu_dereference(q->tap);
	struct demi_capture_hdr hdr;

	if (!tap || !(tap->directions & direction))
		return;
	hdr = (struct demi_capture_hdr){
		.time_ns = ktime_get_real_ns(),
		.wire_bytes = len,
		.queue_id = q->id,
		.direction = direction,
	};
	demi_tap_count(q, demi_queue_deliver(tap->to, &hdr, sizeof(hdr), skb, offset,
					     min(len, tap->snap_bytes)));
}

/* ---- capture queues ------------------------------------------------------------------------ */

static int demi_capture_kick(struct demi_queue *q, u32 *sent)
{
	return -EOPNOTSUPP;
}

static void demi_capture_quiesce(struct demi_queue *q)
{
	demi_tap_release(q);
}

const struct demi_queue_ops demi_capture_queue_ops = {
	.kick = demi_capture_kick,
	.quiesce = demi_capture_quiesce,
};

/* ---- life ---------------------------------------------------------------------------------- */

/* Readers may still use it. */
static void demi_tap_unlink(struct demi_tap *tap)
{
	lockdep_assert_held(&demi_taps_lock);
	RCU_INIT_POINTER(tap->from->tap, NULL);
	list_del(&tap->node);
	kfree_rcu(tap, rcu);
}

void demi_tap_release(struct demi_queue *q)
{
	struct demi_tap *tap, *next;
	bool found = false;

	mutex_lock(&demi_taps_lock);
	list_for_each_entry_safe(tap, next, &demi_taps, node) {
		if (tap->from != q && tap->to != q)
			continue;
		demi_tap_unlink(tap);
		found = true;
	}
	mutex_unlock(&demi_taps_lock);
	if (found)
		synchronize_rcu();
}

/* ---- command ------------------------------------------------------------------------------- */

static int demi_tap_start(struct demi_queue *q, struct demi_queue *to,
			  const struct demi_capture *arg)
{
	struct demi_tap *tap = kzalloc(sizeof(*tap), GFP_KERNEL_ACCOUNT);
	u32 most = DEMI_FRAME_MAX - sizeof(struct demi_capture_hdr);
	int err = 0;

	if (!tap)
		return -ENOMEM;
	tap->from = q;
	tap->to = to;
	tap->directions = arg->flags;
	tap->snap_bytes = arg->snap_bytes ? min(arg->snap_bytes, most) : most;

	mutex_lock(&demi_taps_lock);
	/* A queue's end sets dead, then takes the lock to take its taps away. */
	if (READ_ONCE(q->dead) || READ_ONCE(to->dead)) {
		err = -ENODEV;
	} else if (rcu_access_pointer(q->tap)) {
		err = -EBUSY;
	} else {
		list_add(&tap->node, &demi_taps);
		rcu_assign_pointer(q->tap, tap);
		tap = NULL;
	}
	mutex_unlock(&demi_taps_lock);
	kfree(tap);
	return err;
}

static int demi_tap_stop(struct demi_queue *q, struct demi_queue *to)
{
	struct demi_tap *tap;
	int err = -ENODATA;

	mutex_lock(&demi_taps_lock);
	tap = rcu_dereference_protected(q->tap, lockdep_is_held(&demi_taps_lock));
	if (tap && tap->to == to) {
		demi_tap_unlink(tap);
		err = 0;
	}
	mutex_unlock(&demi_taps_lock);
	if (!err)
		synchronize_rcu();
	return err;
}

/* @to belongs to the caller. */
static int demi_capture_run(struct demi_cmd *cmd, struct demi_queue *to)
{
	const struct demi_capture *arg = cmd->arg;
	struct demi_queue *q = demi_queue_lookup(cmd, arg->queue_id);
	int err;

	if (IS_ERR(q))
		return PTR_ERR(q);
	if (arg->flags == DEMI_CAPTURE_F_STOP)
		err = demi_tap_stop(q, to);
	else if (!demi_queue_is_own(cmd, q) && !demi_cmd_capable(cmd, CAP_NET_RAW))
		err = -EACCES;
	else if (q->kind != DEMI_QUEUE_FLOW && q->kind != DEMI_QUEUE_RAW)
		err = -EINVAL;
	else
		err = demi_tap_start(q, to, arg);
	demi_queue_put(q);
	return err;
}

static int demi_capture_check(const struct demi_capture *arg)
{
	const u32 directions = DEMI_CAPTURE_F_RX | DEMI_CAPTURE_F_TX;

	if (arg->__reserved)
		return -EINVAL;
	if (arg->flags == DEMI_CAPTURE_F_STOP)
		return arg->snap_bytes ? -EINVAL : 0;
	return arg->flags && !(arg->flags & ~directions) ? 0 : -EINVAL;
}

int demi_cmd_capture(struct demi_cmd *cmd)
{
	const struct demi_capture *arg = cmd->arg;
	struct demi_queue *to;
	int err = demi_capture_check(arg);

	if (err)
		return err;
	to = demi_queue_lookup(cmd, arg->target_id);
	if (IS_ERR(to))
		return PTR_ERR(to);
	if (!demi_queue_is_own(cmd, to))
		err = -EACCES;
	else if (to->kind != DEMI_QUEUE_CAPTURE)
		err = -EINVAL;
	else
		err = demi_capture_run(cmd, to);
	demi_queue_put(to);
	return err;
}
