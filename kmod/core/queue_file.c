// SPDX-License-Identifier: GPL-2.0
/*
 * Queue files. Each has an inode of its own, in a file system of ours: mappings are revoked by
 * inode. The file system is mounted while there are queues, and holds the module for as long.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/pseudo_fs.h>

#include "../netdev/net.h"
#include "ioctl.h"
#include "queue.h"
#include "queue_file.h"

#define DEMI_FS_MAGIC 0x44454d49

static int demi_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, DEMI_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type demi_fs_type = {
	.name = "demi",
	.owner = THIS_MODULE,
	.init_fs_context = demi_fs_init_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *demi_fs_mount;
static int demi_fs_count;

static long demi_queue_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct demi_queue *q = file->private_data;

	return demi_ioctl_run(file, q->ctx, q, cmd, (void __user *)arg);
}

/* Of a ring that the kernel fills: has the user something to take? Its index may lie. */
static bool demi_ring_has_output(const struct demi_ring *r)
{
	return r->desc && READ_ONCE(r->next) != READ_ONCE(*r->consumer);
}

/* A kick would take a frame, as far as is known without looking at one. */
static bool demi_queue_can_send(const struct demi_queue *q)
{
	return q->tx.desc && !READ_ONCE(q->tx_blocked) &&
	       demi_ring_room(&q->tx_done) > READ_ONCE(q->done_reserved);
}

static __poll_t demi_queue_poll(struct file *file, poll_table *wait)
{
	struct demi_queue *q = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &q->wait, wait);
	if (READ_ONCE(q->dead))
		return EPOLLHUP | EPOLLERR;
	if (q->ops->poll)
		return q->ops->poll(q);
	if (demi_ring_has_output(&q->rx) || demi_ring_has_output(&q->tx_done))
		events |= EPOLLIN | EPOLLRDNORM;
	if (demi_queue_can_send(q))
		events |= EPOLLOUT | EPOLLWRNORM;
	return events;
}

static int demi_queue_release(struct inode *inode, struct file *file)
{
	struct demi_queue *q = file->private_data;

	demi_queue_end(q);
	/* the inode goes: who still ends the queue finds nothing to revoke */
	down_write(&q->umap_lock);
	q->mapping = NULL;
	up_write(&q->umap_lock);
	xa_erase(&demi_net(q->ctx->net)->queues, q->id);
	demi_queue_put_now(q);
	simple_release_fs(&demi_fs_mount, &demi_fs_count);
	return 0;
}

static const struct file_operations demi_queue_fops = {
	.owner = THIS_MODULE,
	.release = demi_queue_release,
	.unlocked_ioctl = demi_queue_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = demi_queue_mmap,
	.poll = demi_queue_poll,
};

static int demi_queue_reserve_id(struct demi_queue *q)
{
	struct demi_net *dn = demi_net(q->ctx->net);
	int err = xa_alloc_cyclic(&dn->queues, &q->id, NULL, XA_LIMIT(1, DEMI_QUEUE_ID_MAX),
				  &dn->next_queue_id, GFP_KERNEL_ACCOUNT);

	return err < 0 ? err : 0; /* 1: it wrapped */
}

struct file *demi_queue_file_create(struct demi_queue *q)
{
	struct inode *inode;
	struct file *file;
	char name[32];
	int err;

	err = demi_queue_reserve_id(q);
	if (err)
		return ERR_PTR(err);
	err = simple_pin_fs(&demi_fs_type, &demi_fs_mount, &demi_fs_count);
	if (err)
		goto err_id;
	inode = alloc_anon_inode(demi_fs_mount->mnt_sb);
	if (IS_ERR(inode)) {
		err = PTR_ERR(inode);
		goto err_fs;
	}
	scnprintf(name, sizeof(name), "demi-queue:%u", q->id);
	/* the file's own: alloc_file_pseudo() takes none, but fput() drops it */
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(inode, demi_fs_mount, name, O_RDWR, &demi_queue_fops);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_inode;
	}
	file->private_data = q;
	q->mapping = inode->i_mapping;
	return file;

err_inode:
	module_put(THIS_MODULE);
	iput(inode);
err_fs:
	simple_release_fs(&demi_fs_mount, &demi_fs_count);
err_id:
	xa_erase(&demi_net(q->ctx->net)->queues, q->id);
	return ERR_PTR(err);
}

unsigned int demi_queue_file_bytes(void)
{
	return sizeof(struct file) + sizeof(struct inode) + sizeof(struct dentry);
}
