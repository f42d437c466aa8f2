// SPDX-License-Identifier: GPL-2.0
/*
 * The BPF program of a queue. Receivers find it under RCU; who replaces it holds demi_filters_lock,
 * which covers the question whose filter it replaces too. The memory goes after a grace period.
 */
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/local64.h>

#include "cmd.h"
#include "filter.h"
#include "trace.h"

/* Written by one CPU with BH off, read by others. */
struct demi_filter_count {
	local64_t passed;
	local64_t dropped;
};

struct demi_filter {
	struct bpf_prog *prog;
	struct demi_filter_count __percpu *count;
	u32 kind;
	bool admin;		/* attached to another's queue: only CAP_NET_ADMIN takes it away */
	u64 attached_ns;
	struct rcu_head rcu;
};

static DEFINE_MUTEX(demi_filters_lock);

bool demi_filter_run(struct demi_queue *q, struct sk_buff *skb, u32 offset)
{
	struct demi_filter *f = rcu_dereference(q->filter);
	struct demi_filter_count *count;
	bool pass = false;

	if (!f)
		return true;
	count = this_cpu_ptr(f->count);
	if (offset <= skb_headlen(skb)) {
		/* The skb may be shared with taps: they run one after the other and undo, too. */
		__skb_pull(skb, offset);
		pass = bpf_prog_run_save_cb(f->prog, skb);
		__skb_push(skb, offset);
	}
	local64_inc(pass ? &count->passed : &count->dropped);
	trace_demi_filter(q, skb->len - offset, pass);
	return pass;
}

/* ---- life ---------------------------------------------------------------------------------- */

static struct bpf_prog *demi_prog_classic(const struct demi_filter_attach *arg)
{
	struct sock_fprog fprog = {
		.len = arg->insn_count,
		.filter = u64_to_user_ptr(arg->insns),
	};
	struct bpf_prog *prog;
	int err = bpf_prog_create_from_user(&prog, &fprog, NULL, true);

	/* a kernel without the interpreter says this if the JIT has no memory */
	if (err == -ENOTSUPP)
		err = -ENOMEM;
	return err ? ERR_PTR(err) : prog;
}

static struct bpf_prog *demi_prog_get(const struct demi_filter_attach *arg)
{
	switch (arg->kind) {
	case DEMI_FILTER_CBPF:
		if (arg->prog_fd || !arg->insn_count || arg->insn_count > BPF_MAXINSNS)
			return ERR_PTR(-EINVAL);
		return demi_prog_classic(arg);
	case DEMI_FILTER_EBPF:
		if (arg->insn_count || arg->insns)
			return ERR_PTR(-EINVAL);
		return bpf_prog_get_type_dev(arg->prog_fd, BPF_PROG_TYPE_SOCKET_FILTER, false);
	default:
		return ERR_PTR(-EINVAL);
	}
}

static void demi_filter_free(struct demi_filter *f)
{
	bpf_prog_destroy(f->prog);	/* either kind: an eBPF program loses a reference */
	free_percpu(f->count);
	kfree(f);
}

static void demi_filter_free_rcu(struct rcu_head *rcu)
{
	demi_filter_free(container_of(rcu, struct demi_filter, rcu));
}

static struct demi_filter *demi_filter_create(const struct demi_filter_attach *arg)
{
	struct demi_filter *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	int err = -ENOMEM;

	if (!f)
		return ERR_PTR(err);
	f->count = alloc_percpu_gfp(struct demi_filter_count, GFP_KERNEL_ACCOUNT);
	if (!f->count)
		goto err_free;
	f->prog = demi_prog_get(arg);
	if (IS_ERR(f->prog)) {
		err = PTR_ERR(f->prog);
		goto err_count;
	}
	f->kind = arg->kind;
	f->attached_ns = ktime_get_boottime_ns();
	return f;

err_count:
	free_percpu(f->count);
err_free:
	kfree(f);
	return ERR_PTR(err);
}

static struct demi_filter *demi_filter_locked(struct demi_queue *q)
{
	return rcu_dereference_protected(q->filter, lockdep_is_held(&demi_filters_lock));
}

/* @f instead of the present one, which goes when nobody runs it any more. */
static void demi_filter_replace(struct demi_queue *q, struct demi_filter *f)
{
	struct demi_filter *old = demi_filter_locked(q);

	rcu_assign_pointer(q->filter, f);
	if (old)
		call_rcu(&old->rcu, demi_filter_free_rcu);
}

void demi_filter_release(struct demi_queue *q)
{
	mutex_lock(&demi_filters_lock);
	demi_filter_replace(q, NULL);
	mutex_unlock(&demi_filters_lock);
}

/* ---- commands ------------------------------------------------------------------------------ */

/* May the caller set or take the filter of a queue that it sees? */
static int demi_filter_may_change(const struct demi_cmd *cmd, const struct demi_queue *q)
{
	if (demi_queue_is_own(cmd, q) || demi_cmd_capable(cmd, CAP_NET_ADMIN))
		return 0;
	return -EACCES;
}

static int demi_filter_may_drop(const struct demi_cmd *cmd, const struct demi_filter *f)
{
	return !f || !f->admin || demi_cmd_capable(cmd, CAP_NET_ADMIN) ? 0 : -EPERM;
}

static int demi_filter_install(struct demi_cmd *cmd, struct demi_queue *q, struct demi_filter *f)
{
	int err;

	f->admin = !demi_queue_is_own(cmd, q);
	mutex_lock(&demi_filters_lock);
	/* The queue's end sets dead, then takes the lock to release the filter. */
	if (READ_ONCE(q->dead))
		err = -ENODEV;
	else
		err = demi_filter_may_drop(cmd, demi_filter_locked(q));
	if (!err)
		demi_filter_replace(q, f);
	mutex_unlock(&demi_filters_lock);
	return err;
}

static int demi_filter_attach(struct demi_cmd *cmd, struct demi_queue *q)
{
	struct demi_filter *f;
	int err = demi_filter_may_change(cmd, q);

	if (err)
		return err;
	if (q->kind != DEMI_QUEUE_FLOW && q->kind != DEMI_QUEUE_RAW)
		return -EOPNOTSUPP;
	f = demi_filter_create(cmd->arg);
	if (IS_ERR(f))
		return PTR_ERR(f);
	err = demi_filter_install(cmd, q, f);
	if (err)
		demi_filter_free(f);
	return err;
}

int demi_cmd_filter_attach(struct demi_cmd *cmd)
{
	const struct demi_filter_attach *arg = cmd->arg;
	struct demi_queue *q;
	int err;

	if (arg->flags)
		return -EINVAL;
	q = demi_queue_of_cmd(cmd, arg->queue_id);
	if (IS_ERR(q))
		return PTR_ERR(q);
	err = demi_filter_attach(cmd, q);
	demi_queue_put(q);
	return err;
}

static int demi_filter_detach(struct demi_cmd *cmd, struct demi_queue *q)
{
	struct demi_filter *f;
	int err = demi_filter_may_change(cmd, q);

	if (err)
		return err;
	mutex_lock(&demi_filters_lock);
	f = demi_filter_locked(q);
	err = f ? demi_filter_may_drop(cmd, f) : -ENODATA;
	if (!err)
		demi_filter_replace(q, NULL);
	mutex_unlock(&demi_filters_lock);
	if (!err)
		synchronize_rcu();	/* what was taken away judges nothing any more */
	return err;
}

int demi_cmd_filter_detach(struct demi_cmd *cmd)
{
	const struct demi_filter_detach *arg = cmd->arg;
	struct demi_queue *q;
	int err;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	q = demi_queue_of_cmd(cmd, arg->queue_id);
	if (IS_ERR(q))
		return PTR_ERR(q);
	err = demi_filter_detach(cmd, q);
	demi_queue_put(q);
	return err;
}

static void demi_filter_sum(const struct demi_filter *f, struct demi_filter_info *arg)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct demi_filter_count *count = per_cpu_ptr(f->count, cpu);

		arg->passed += local64_read(&count->passed);
		arg->dropped += local64_read(&count->dropped);
	}
}

/* What the user asked of the classic instructions, to be copied out without the lock. */
static int demi_filter_dup_insns(const struct demi_filter *f, u32 room, void **insns, size_t *bytes)
{
	const struct sock_fprog_kern *orig = f->prog->orig_prog;

	*bytes = min_t(u32, room, orig->len) * sizeof(struct sock_filter);
	if (!*bytes)
		return 0;
	*insns = kmemdup(orig->filter, *bytes, GFP_KERNEL);
	return *insns ? 0 : -ENOMEM;
}

static int demi_filter_describe(struct demi_queue *q, struct demi_filter_info *arg, void **insns,
				size_t *bytes)
{
	u32 room = arg->insns ? arg->insn_count : 0;
	struct demi_filter *f;
	int err = 0;

	arg->kind = DEMI_FILTER_NONE;
	arg->prog_id = 0;
	arg->insn_count = 0;
	arg->passed = 0;
	arg->dropped = 0;
	arg->attached_ns = 0;

	mutex_lock(&demi_filters_lock);
	f = demi_filter_locked(q);
	if (!f)
		goto out;
	arg->kind = f->kind;
	arg->attached_ns = f->attached_ns;
	demi_filter_sum(f, arg);
	if (f->kind == DEMI_FILTER_CBPF) {
		arg->insn_count = f->prog->orig_prog->len;
		err = demi_filter_dup_insns(f, room, insns, bytes);
	} else {
		arg->prog_id = f->prog->aux->id;
	}
out:
	mutex_unlock(&demi_filters_lock);
	return err;
}

int demi_cmd_filter_info(struct demi_cmd *cmd)
{
	struct demi_filter_info *arg = cmd->arg;
	struct demi_queue *q;
	void *insns = NULL;
	size_t bytes = 0;
	int err;

	if (arg->flags)
		return -EINVAL;
	q = demi_queue_of_cmd(cmd, arg->queue_id);
	if (IS_ERR(q))
		return PTR_ERR(q);
	err = demi_filter_describe(q, arg, &insns, &bytes);
	demi_queue_put(q);
	if (!err && bytes && copy_to_user(u64_to_user_ptr(arg->insns), insns, bytes))
		err = -EFAULT;
	kfree(insns);
	return err ? err : demi_cmd_respond(cmd);
}
