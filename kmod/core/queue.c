// SPDX-License-Identifier: GPL-2.0
/* Queues: made, found, ended, freed. Their files are in queue_file.c. */
#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait_bit.h>

#include "../netdev/net.h"
#include "cmd.h"
#include "device.h"
#include "filter.h"
#include "limits.h"
#include "queue.h"
#include "queue_file.h"
#include "region.h"
#include "trace.h"

/*
 * Of a ring's three words, each on a line of its own: what userspace knows as the line of every
 * x86 and arm64.
 */
#define DEMI_RING_LINE 64
#define DEMI_RING_HEAD (3 * DEMI_RING_LINE)

static atomic_t demi_queues_live = ATOMIC_INIT(0);

/* A queue and its slices, in objects of just that size: the next power of two is far away. */
static struct kmem_cache *demi_queue_cache;

#define DEMI_QUEUE_BYTES                                                                           \
	(sizeof(struct demi_queue) + DEMI_FRAME_DESCS_MAX * sizeof(struct demi_slice))

int demi_queue_init(void)
{
	demi_queue_cache = kmem_cache_create("demi_queue", DEMI_QUEUE_BYTES, 0, SLAB_ACCOUNT, NULL);
	return demi_queue_cache ? 0 : -ENOMEM;
}

/* ---- memory of the rings ------------------------------------------------------------------- */

static u32 demi_ring_desc_bytes(u32 entries)
{
	return PAGE_ALIGN(entries * sizeof(struct demi_desc));
}

static void demi_ring_place(struct demi_ring *r, struct demi_ring_layout *l, void *mem, u32 entries,
			    u32 nr, u32 *desc)
{
	memset(l, 0, sizeof(*l));
	if (!entries)
		return;
	l->producer = nr * DEMI_RING_HEAD;
	l->consumer = l->producer + DEMI_RING_LINE;
	l->flags = l->consumer + DEMI_RING_LINE;
	l->desc = *desc;
	l->entries = entries;
	r->mask = entries - 1;
	r->producer = mem + l->producer;
	r->consumer = mem + l->consumer;
	r->flags = mem + l->flags;
	r->desc = mem + l->desc;
	*desc += demi_ring_desc_bytes(entries);
}

/* Memory for the device's own rings, whose places the device tells the user itself. */
static int demi_queue_alloc_device_rings(struct demi_queue *q, struct demi_device *dev,
					 struct demi_queue_create *arg)
{
	int err = dev->ops->queue_size(dev, arg, &q->ring_bytes, &q->ndoors);

	if (err)
		return err;
	q->ring_mem = __vmalloc(q->ring_bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!q->ring_mem)
		return -ENOMEM;
	memset(&arg->rx_fill, 0, sizeof(arg->rx_fill));
	memset(&arg->rx, 0, sizeof(arg->rx));
	memset(&arg->tx, 0, sizeof(arg->tx));
	memset(&arg->tx_done, 0, sizeof(arg->tx_done));
	arg->mmap_bytes = q->ring_bytes + q->ndoors * PAGE_SIZE;
	return 0;
}

static int demi_queue_alloc_rings(struct demi_queue *q, struct demi_device *dev,
				  struct demi_queue_create *arg)
{
	u32 desc = PAGE_SIZE;

	BUILD_BUG_ON(4 * DEMI_RING_HEAD > PAGE_SIZE);
	if (dev->ops->queue_size)
		return demi_queue_alloc_device_rings(q, dev, arg);
	q->ring_bytes = PAGE_SIZE + demi_ring_desc_bytes(arg->rx_fill_entries) +
			demi_ring_desc_bytes(arg->rx_entries) +
			demi_ring_desc_bytes(arg->tx_entries) +
			demi_ring_desc_bytes(arg->tx_done_entries);
	q->ring_mem = __vmalloc(q->ring_bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!q->ring_mem)
		return -ENOMEM;
	demi_ring_place(&q->rx_fill, &arg->rx_fill, q->ring_mem, arg->rx_fill_entries, 0, &desc);
	demi_ring_place(&q->rx, &arg->rx, q->ring_mem, arg->rx_entries, 1, &desc);
	demi_ring_place(&q->tx, &arg->tx, q->ring_mem, arg->tx_entries, 2, &desc);
	demi_ring_place(&q->tx_done, &arg->tx_done, q->ring_mem, arg->tx_done_entries, 3, &desc);
	arg->mmap_bytes = q->ring_bytes;
	/* nobody polls tx: the user has to kick */
	if (q->tx.desc)
		*q->tx.flags = DEMI_RING_NEED_WAKEUP;
	return 0;
}

/* What is beside the rings, as the allocators round it. */
static u32 demi_queue_own_bytes(const struct demi_queue *q)
{
	return DEMI_QUEUE_BYTES + sizeof(struct vm_struct) +
	       (q->ring_bytes >> PAGE_SHIFT) * sizeof(struct page *) + demi_queue_file_bytes();
}

/* ---- lifetime ------------------------------------------------------------------------------ */

static struct demi_queue *demi_queue_alloc(struct demi_ctx *ctx, struct demi_device *dev,
					   struct demi_queue_create *arg)
{
	struct demi_queue *q;
	int err;

	err = demi_limit_charge(ctx->user, DEMI_LIMIT_QUEUES);
	if (err)
		return ERR_PTR(err);
	err = -ENOMEM;
	q = kmem_cache_zalloc(demi_queue_cache, GFP_KERNEL);
	if (!q)
		goto err_limit;
	q->slices = (void *)(q + 1);
	err = demi_queue_alloc_rings(q, dev, arg);
	if (err)
		goto err_queue;

	spin_lock_init(&q->rx_lock);
	mutex_init(&q->tx_lock);
	spin_lock_init(&q->done_lock);
	init_rwsem(&q->umap_lock);
	init_waitqueue_head(&q->wait);
	INIT_LIST_HEAD(&q->flows);
	INIT_LIST_HEAD(&q->ctx_node);
	kref_init(&q->ref);
	q->kind = arg->kind;
	q->flags = arg->flags;
	q->kernel_bytes = demi_queue_own_bytes(q);
	q->maker = get_pid(task_tgid(current));
	get_task_comm(q->comm, current);
	demi_ctx_get(ctx);
	q->ctx = ctx;
	demi_device_get(dev);
	q->dev = dev;
	atomic_inc(&demi_queues_live);
	return q;

err_queue:
	kmem_cache_free(demi_queue_cache, q);
err_limit:
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_QUEUES);
	return ERR_PTR(err);
}

/* Returns the context, whose reference the caller drops as it can. */
static struct demi_ctx *demi_queue_free(struct demi_queue *q)
{
	struct demi_ctx *ctx = q->ctx;

	if (q->ops && q->ops->free)
		q->ops->free(q);
	demi_device_put(q->dev);
	if (q->scratch)
		__free_page(q->scratch);
	vfree(q->ring_mem);
	put_pid(q->maker);
	mutex_destroy(&q->tx_lock);
	demi_limit_uncharge(ctx->user, DEMI_LIMIT_QUEUES);
	kmem_cache_free(demi_queue_cache, q);
	return ctx;
}

static void demi_queue_freed(void)
{
	if (atomic_dec_and_test(&demi_queues_live))
		wake_up_var(&demi_queues_live);
}

static void demi_queue_free_work(struct work_struct *work)
{
	demi_ctx_put(demi_queue_free(container_of(work, struct demi_queue, free_work)));
	demi_queue_freed();
}

static void demi_queue_last(struct kref *ref)
{
	struct demi_queue *q = container_of(ref, struct demi_queue, ref);

	INIT_WORK(&q->free_work, demi_queue_free_work);
	queue_work(demi_wq, &q->free_work);
}

void demi_queue_get(struct demi_queue *q)
{
	kref_get(&q->ref);
}

void demi_queue_put(struct demi_queue *q)
{
	kref_put(&q->ref, demi_queue_last);
}

static void demi_queue_last_now(struct kref *ref)
{
	demi_ctx_put_now(demi_queue_free(container_of(ref, struct demi_queue, ref)));
	demi_queue_freed();
}

void demi_queue_put_now(struct demi_queue *q)
{
	kref_put(&q->ref, demi_queue_last_now);
}

void demi_queue_drain(void)
{
	wait_var_event(&demi_queues_live, !atomic_read(&demi_queues_live));
	flush_workqueue(demi_wq);
	kmem_cache_destroy(demi_queue_cache);
}

static bool demi_queue_mark_dead(struct demi_queue *q)
{
	bool first;

	mutex_lock(&q->tx_lock);
	spin_lock_bh(&q->rx_lock);
	first = !q->dead;
	q->dead = true;
	spin_unlock_bh(&q->rx_lock);
	mutex_unlock(&q->tx_lock);
	return first;
}

void demi_queue_end(struct demi_queue *q)
{
	if (!demi_queue_mark_dead(q)) {
		/* what the caller does next must find it ended */
		wait_event(q->wait, smp_load_acquire(&q->ended));
		return;
	}
	mutex_lock(&q->ctx->lock);
	list_del_init(&q->ctx_node);
	mutex_unlock(&q->ctx->lock);
	demi_flow_forget_queue(q);
	if (q->ops)
		q->ops->quiesce(q);
	demi_tap_release(q);
	demi_filter_release(q);
	demi_queue_revoke(q);
	trace_demi_queue_end(q);
	/* release: pairs with the acquire above */
	smp_store_release(&q->ended, true);
	wake_up_all(&q->wait);
}

/* ---- look-up ------------------------------------------------------------------------------- */

static bool demi_queue_is_visible(const struct demi_cmd *cmd, const struct demi_queue *q)
{
	kuid_t uid = q->ctx->cred->euid;

	if (demi_queue_is_own(cmd, q))
		return true;
	if (uid_eq(uid, cmd->file->f_cred->euid) && uid_eq(uid, current_euid()))
		return true;
	return demi_cmd_capable(cmd, CAP_NET_ADMIN);
}

struct demi_queue *demi_queue_next(struct demi_cmd *cmd, unsigned long *id)
{
	struct xarray *queues = &demi_net(cmd->ctx->net)->queues;
	struct demi_queue *q;

	for (;; ++*id) {
		/* a queue holds a reference for as long as it is in there */
		xa_lock(queues);
		q = xa_find(queues, id, DEMI_QUEUE_ID_MAX, XA_PRESENT);
		if (q)
			demi_queue_get(q);
		xa_unlock(queues);
		if (!q || demi_queue_is_visible(cmd, q))
			return q;
		demi_queue_put(q);
	}
}

struct demi_queue *demi_queue_lookup(struct demi_cmd *cmd, u32 id)
{
	struct xarray *queues = &demi_net(cmd->ctx->net)->queues;
	struct demi_queue *q;

	xa_lock(queues);
	q = xa_load(queues, id);
	if (q)
		demi_queue_get(q);
	xa_unlock(queues);
	if (!q)
		return ERR_PTR(-ENOENT);
	if (demi_queue_is_visible(cmd, q))
		return q;
	demi_queue_put(q);
	return ERR_PTR(-ENOENT);
}

struct demi_queue *demi_queue_of_cmd(struct demi_cmd *cmd, u32 id)
{
	if (!cmd->queue)
		return demi_queue_lookup(cmd, id);
	if (id)
		return ERR_PTR(-EINVAL);
	demi_queue_get(cmd->queue);
	return cmd->queue;
}

bool demi_queue_is_own(const struct demi_cmd *cmd, const struct demi_queue *q)
{
	return cmd->queue == q || cmd->ctx == q->ctx;
}

/* ---- commands ------------------------------------------------------------------------------ */

static bool demi_ring_entries_valid(u32 n)
{
	return n >= DEMI_RING_ENTRIES_MIN && n <= DEMI_RING_ENTRIES_MAX && is_power_of_2(n);
}

static int demi_queue_create_check(const struct demi_queue_create *arg)
{
	bool raw = arg->kind == DEMI_QUEUE_RAW;
	bool sends = arg->tx_entries || arg->tx_done_entries;

	if (arg->flags & ~DEMI_QUEUE_F_POLL)
		return -EINVAL;
	if (arg->kind < DEMI_QUEUE_FLOW || arg->kind > DEMI_QUEUE_DEVICE)
		return -EINVAL;
	if (raw != !!arg->ifindex)
		return -EINVAL;
	if (arg->poll_idle_us && !(arg->flags & DEMI_QUEUE_F_POLL))
		return -EINVAL;
	if (!demi_ring_entries_valid(arg->rx_fill_entries) ||
	    !demi_ring_entries_valid(arg->rx_entries))
		return -EINVAL;
	if (sends && arg->kind == DEMI_QUEUE_CAPTURE)
		return -EINVAL;
	if (sends && (!demi_ring_entries_valid(arg->tx_entries) ||
		      !demi_ring_entries_valid(arg->tx_done_entries)))
		return -EINVAL;
	if (arg->flags & DEMI_QUEUE_F_POLL)
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Give it an id, a file and a descriptor, and tell. The file takes the reference, also on an
 * error.
 */
static int demi_queue_publish(struct demi_queue *q, struct demi_cmd *cmd)
{
	struct xarray *queues = &demi_net(q->ctx->net)->queues;
	struct demi_queue_create *arg = cmd->arg;
	struct file *file;
	int err;

	file = demi_queue_file_create(q);
	if (IS_ERR(file)) {
		demi_queue_end(q);
		demi_queue_put_now(q);
		return PTR_ERR(file);
	}
	arg->fd = get_unused_fd_flags(O_CLOEXEC);
	if (arg->fd < 0) {
		err = arg->fd;
		goto err_file;
	}
	arg->queue_id = q->id;
	err = demi_cmd_respond(cmd);
	if (err)
		goto err_fd;
	/* the entry was reserved: this needs no memory */
	xa_store(queues, q->id, q, GFP_KERNEL);
	trace_demi_queue_create(q);
	fd_install(arg->fd, file);
	return 0;

err_fd:
	put_unused_fd(arg->fd);
err_file:
	fput(file);
	return err;
}

int demi_cmd_queue_create(struct demi_cmd *cmd)
{
	struct demi_queue_create *arg = cmd->arg;
	struct demi_device *dev;
	struct demi_queue *q;
	int err;

	err = demi_queue_create_check(arg);
	if (err)
		return err;
	dev = demi_device_lookup(cmd, arg->device_id);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	q = demi_queue_alloc(cmd->ctx, dev, arg);
	demi_device_put(dev);
	if (IS_ERR(q))
		return PTR_ERR(q);
	err = demi_device_create_queue(q, arg, cmd);
	if (err) {
		demi_queue_put_now(q);
		return err;
	}
	return demi_queue_publish(q, cmd);
}

int demi_cmd_queue_shutdown(struct demi_cmd *cmd)
{
	struct demi_queue_shutdown *arg = cmd->arg;
	struct demi_queue *q;
	int err = 0;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	q = demi_queue_of_cmd(cmd, arg->queue_id);
	if (IS_ERR(q))
		return PTR_ERR(q);
	if (demi_queue_is_own(cmd, q))
		demi_queue_end(q);
	else
		err = -EACCES;
	demi_queue_put(q);
	return err;
}

int demi_cmd_queue_kick(struct demi_cmd *cmd)
{
	struct demi_queue_kick *arg = cmd->arg;
	struct demi_queue *q = cmd->queue;
	u32 sent = 0;
	int err;

	if (arg->flags || arg->__reserved)
		return -EINVAL;
	/* what a kick means to a queue of a device's own rings is its driver's to say */
	if (!q->tx.desc && !q->ndoors)
		return -EOPNOTSUPP;
	mutex_lock(&q->tx_lock);
	err = q->dead ? -ENODEV : q->ops->kick(q, &sent);
	mutex_unlock(&q->tx_lock);
	trace_demi_kick(q, sent, err);
	if (err)
		return err;
	arg->sent = sent;
	return demi_cmd_respond(cmd);
}
