// SPDX-License-Identifier: GPL-2.0
/* Owners of a controller, and their pairs of I/O queues. */
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/poll.h>

#include "nvme.h"

static struct demi_nvme *demi_nvme_of(struct demi_device *dev)
{
	return container_of(dev, struct demi_nvme, dev);
}

/* ---- owners -------------------------------------------------------------------------------- */

static int demi_nvme_bind(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_nvme *nv = demi_nvme_of(dev);
	int err;

	demi_nvme_reset_function(nv);
	mutex_lock(&nv->lock);
	err = demi_iommu_attach(&nv->iommu);
	if (err)
		goto out;
	err = demi_nvme_start(nv);
	if (err)
		demi_iommu_detach(&nv->iommu);
out:
	mutex_unlock(&nv->lock);
	return err;
}

static void demi_nvme_release(struct demi_device *dev, struct demi_ctx *ctx)
{
	struct demi_nvme *nv = demi_nvme_of(dev);

	mutex_lock(&nv->lock);
	demi_nvme_stop(nv);
	demi_iommu_detach(&nv->iommu);
	nv->broken = false;
	mutex_unlock(&nv->lock);
	demi_nvme_reset_function(nv);
}

static int demi_nvme_region_map(struct demi_device *dev, struct demi_ctx *ctx,
				struct demi_region *region)
{
	return demi_iommu_map_region(&demi_nvme_of(dev)->iommu, ctx, region);
}

static void demi_nvme_region_unmap(struct demi_device *dev, struct demi_region *region)
{
	demi_iommu_unmap_region(&demi_nvme_of(dev)->iommu, region);
}

/* ---- where things lie ---------------------------------------------------------------------- */

/* Offsets in a queue's memory, which all begin on a page. */
struct demi_nvme_layout {
	u32 sq_entries, cq_entries;
	u32 namespaces, sq, cq, bytes;
};

static void demi_nvme_lay_out(const struct demi_nvme *nv, const struct demi_queue_create *arg,
			      struct demi_nvme_layout *l)
{
	/* 3.1.1: the number of entries that it can have, less one */
	u32 max = min_t(u32, NVME_CAP_MQES(nv->cap) + 1, DEMI_NVME_ENTRIES_MAX);

	BUILD_BUG_ON(sizeof(struct demi_nvme_queue) > PAGE_SIZE);
	BUILD_BUG_ON(DEMI_NVME_ENTRIES_MAX *
		     (sizeof(struct nvme_command) + sizeof(struct nvme_completion)) > SZ_1M);
	l->sq_entries = min(arg->tx_entries, max);
	l->cq_entries = min(arg->rx_entries, max);
	l->namespaces = PAGE_SIZE;
	l->sq = l->namespaces +
		PAGE_ALIGN(nv->namespaces_told * sizeof(struct demi_nvme_namespace));
	l->cq = l->sq + PAGE_ALIGN(l->sq_entries * sizeof(struct nvme_command));
	l->bytes = l->cq + PAGE_ALIGN(l->cq_entries * sizeof(struct nvme_completion));
}

/* Pages of doorbells are mapped behind the memory; they may be the same. */
enum { DEMI_NVME_DOOR_SQ, DEMI_NVME_DOOR_CQ, DEMI_NVME_DOORS };

static phys_addr_t demi_nvme_doorbell(const struct demi_nvme *nv, u16 qid, int which)
{
	return pci_resource_start(nv->pdev, 0) + NVME_REG_DBS +
	       (2 * qid + which) * (4 << NVME_CAP_STRIDE(nv->cap));
}

static int demi_nvme_queue_size(struct demi_device *dev, const struct demi_queue_create *arg,
				u32 *bytes, u32 *doors)
{
	struct demi_nvme_layout l;

	if (arg->kind != DEMI_QUEUE_DEVICE)
		return -EOPNOTSUPP;
	if (!arg->tx_entries || arg->rx_fill_entries != arg->rx_entries ||
	    arg->tx_done_entries != arg->tx_entries)
		return -EINVAL;
	demi_nvme_lay_out(demi_nvme_of(dev), arg, &l);
	*bytes = l.bytes;
	*doors = DEMI_NVME_DOORS;
	return 0;
}

static void demi_nvme_describe(const struct demi_nvme_pair *pair, struct demi_queue *q,
			       const struct demi_nvme_layout *l)
{
	const struct demi_nvme *nv = pair->nv;
	struct demi_nvme_queue *shared = q->ring_mem;
	int i;

	*shared = nv->describe;
	shared->queue = pair->qid;
	shared->sq_entries = l->sq_entries;
	shared->cq_entries = l->cq_entries;
	shared->sq = l->sq;
	shared->cq = l->cq;
	shared->namespaces = l->namespaces;
	shared->namespace_count = min(nv->describe.namespace_count, nv->namespaces_told);
	memcpy(q->ring_mem + l->namespaces, nv->namespaces,
	       shared->namespace_count * sizeof(*nv->namespaces));
	for (i = 0; i < DEMI_NVME_DOORS; i++)
		q->doors[i] = demi_nvme_doorbell(nv, pair->qid, i) >> PAGE_SHIFT;
	shared->sq_doorbell = l->bytes +
		offset_in_page(demi_nvme_doorbell(nv, pair->qid, DEMI_NVME_DOOR_SQ));
	shared->cq_doorbell = l->bytes + PAGE_SIZE +
		offset_in_page(demi_nvme_doorbell(nv, pair->qid, DEMI_NVME_DOOR_CQ));
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void demi_nvme_wake(struct demi_nvme_pair *pair, struct demi_queue *q)
{
	struct demi_nvme_queue *shared = q->ring_mem;

	WRITE_ONCE(shared->events, atomic_inc_return(&pair->events));
	wake_up_interruptible_poll(&q->wait, EPOLLIN | EPOLLRDNORM);
}

static irqreturn_t demi_nvme_irq(int irq, void *data)
{
	struct demi_queue *q = data;

	demi_nvme_wake(q->priv, q);
	return IRQ_HANDLED;
}

void demi_nvme_tell_broken(struct demi_nvme *nv)
{
	int i;

	lockdep_assert_held(&nv->lock);
	for (i = 1; i <= DEMI_NVME_PAIRS_MAX; i++) {
		struct demi_nvme_pair *pair = &nv->pairs[i];
		struct demi_nvme_queue *shared;

		if (!pair->q)
			continue;
		shared = pair->q->ring_mem;
		WRITE_ONCE(shared->status, DEMI_NVME_BROKEN);
		demi_nvme_wake(pair, pair->q);
	}
}

/* ---- the pair on the controller: 5.3 to 5.6 ------------------------------------------------ */

static int demi_nvme_create_cq(struct demi_nvme_pair *pair, const struct demi_nvme_layout *l)
{
	struct nvme_command cmd = { };

	cmd.create_cq.opcode = nvme_admin_create_cq;
	cmd.create_cq.prp1 = cpu_to_le64(DEMI_NVME_IOVA_PAIR(pair->qid) + l->cq - l->sq);
	cmd.create_cq.cqid = cpu_to_le16(pair->qid);
	cmd.create_cq.qsize = cpu_to_le16(l->cq_entries - 1);
	cmd.create_cq.cq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG | NVME_CQ_IRQ_ENABLED);
	cmd.create_cq.irq_vector = cpu_to_le16(pair->qid);
	return demi_nvme_admin_run(pair->nv, &cmd, NULL);
}

static int demi_nvme_create_sq(struct demi_nvme_pair *pair, const struct demi_nvme_layout *l)
{
	struct nvme_command cmd = { };

	cmd.create_sq.opcode = nvme_admin_create_sq;
	cmd.create_sq.prp1 = cpu_to_le64(DEMI_NVME_IOVA_PAIR(pair->qid));
	cmd.create_sq.sqid = cpu_to_le16(pair->qid);
	cmd.create_sq.qsize = cpu_to_le16(l->sq_entries - 1);
	cmd.create_sq.sq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG);
	cmd.create_sq.cqid = cpu_to_le16(pair->qid);
	return demi_nvme_admin_run(pair->nv, &cmd, NULL);
}

static int demi_nvme_delete(struct demi_nvme_pair *pair, u8 opcode)
{
	struct nvme_command cmd = { };

	cmd.delete_queue.opcode = opcode;
	cmd.delete_queue.qid = cpu_to_le16(pair->qid);
	return demi_nvme_admin_run(pair->nv, &cmd, NULL);
}

/* All that is mapped for the controller: the two queues, one behind the other. */
static void demi_nvme_unmap_pair(struct demi_nvme_pair *pair, u32 bytes)
{
	demi_iommu_unmap_rings(&pair->nv->iommu, DEMI_NVME_IOVA_PAIR(pair->qid), bytes);
}

static int demi_nvme_map_pair(struct demi_nvme_pair *pair, struct demi_queue *q,
			      const struct demi_nvme_layout *l)
{
	u64 iova = DEMI_NVME_IOVA_PAIR(pair->qid);
	u32 sq_bytes = l->cq - l->sq;
	int err;

	err = demi_iommu_map_rings(&pair->nv->iommu, iova, q->ring_mem + l->sq, sq_bytes,
				   IOMMU_READ);
	if (err)
		return err;
	err = demi_iommu_map_rings(&pair->nv->iommu, iova + sq_bytes, q->ring_mem + l->cq,
				   l->bytes - l->cq, IOMMU_READ | IOMMU_WRITE);
	if (err)
		demi_nvme_unmap_pair(pair, sq_bytes);
	return err;
}

/* Its queues are mapped, its interrupt is requested. */
static int demi_nvme_create(struct demi_nvme_pair *pair, const struct demi_nvme_layout *l)
{
	int err = demi_nvme_create_cq(pair, l);

	if (err)
		return err;
	err = demi_nvme_create_sq(pair, l);
	if (err == -EIO)
		demi_nvme_delete(pair, nvme_admin_delete_cq);
	return err;
}

/* Neither read nor written on return, whatever the controller answers. */
static void demi_nvme_delete_pair(struct demi_nvme_pair *pair)
{
	if (!pair->nv->enabled)
		return;
	if (demi_nvme_delete(pair, nvme_admin_delete_sq) ||
	    demi_nvme_delete(pair, nvme_admin_delete_cq))
		demi_nvme_break(pair->nv, "it did not delete a queue");
}

static int demi_nvme_start_pair(struct demi_nvme_pair *pair, struct demi_queue *q,
				const struct demi_nvme_layout *l)
{
	struct demi_nvme *nv = pair->nv;
	int err, irq = pci_irq_vector(nv->pdev, pair->qid);

	err = demi_nvme_map_pair(pair, q, l);
	if (err)
		return err;
	atomic_set(&pair->events, 0);
	q->priv = pair;
	err = request_irq(irq, demi_nvme_irq, 0, nv->dev.name, q);
	if (err)
		goto err_unmap;
	err = demi_nvme_create(pair, l);
	if (err)
		goto err_irq;
	pair->q = q;
	return 0;

err_irq:
	/* a command without an answer may still be carried out */
	if (err == -ETIMEDOUT)
		demi_nvme_break(nv, "it did not create a queue");
	free_irq(irq, q);
	err = -EIO;
err_unmap:
	demi_nvme_unmap_pair(pair, l->bytes - l->sq);
	return err;
}

static void demi_nvme_stop_pair(struct demi_nvme_pair *pair)
{
	struct demi_queue *q = pair->q;
	const struct demi_nvme *nv = pair->nv;
	u32 sq = PAGE_SIZE +
		 PAGE_ALIGN(nv->namespaces_told * sizeof(struct demi_nvme_namespace));

	lockdep_assert_held(&nv->lock);
	demi_nvme_delete_pair(pair);
	free_irq(pci_irq_vector(nv->pdev, pair->qid), q);
	demi_nvme_unmap_pair(pair, q->ring_bytes - sq);
	pair->q = NULL;
}

/* ---- queues -------------------------------------------------------------------------------- */

/* Nobody can kick it: it has no software ring. */
static int demi_nvme_kick(struct demi_queue *q, u32 *sent)
{
	return -EOPNOTSUPP;
}

static void demi_nvme_quiesce(struct demi_queue *q)
{
	struct demi_nvme_pair *pair = q->priv;

	mutex_lock(&pair->nv->lock);
	if (pair->q == q)
		demi_nvme_stop_pair(pair);
	mutex_unlock(&pair->nv->lock);
}

static __poll_t demi_nvme_poll(const struct demi_queue *q)
{
	const struct demi_nvme_queue *shared = q->ring_mem;
	struct demi_nvme_pair *pair = q->priv;

	if (atomic_read(&pair->events) != READ_ONCE(shared->seen))
		return EPOLLIN | EPOLLRDNORM;
	return 0;
}

static const struct demi_queue_ops demi_nvme_queue_ops = {
	.kick = demi_nvme_kick,
	.quiesce = demi_nvme_quiesce,
	.poll = demi_nvme_poll,
};

/* A free one; -EBUSY: the end of the last ones may still be under way. */
static struct demi_nvme_pair *demi_nvme_free_pair(struct demi_nvme *nv, u32 *used)
{
	u32 i, max = min(nv->npairs, nv->dev.queues_max);
	struct demi_nvme_pair *found = NULL;

	*used = 0;
	for (i = 1; i <= DEMI_NVME_PAIRS_MAX; i++) {
		if (nv->pairs[i].q)
			++*used;
		else if (i <= max && !found)
			found = &nv->pairs[i];
	}
	return found ?: ERR_PTR(-EBUSY);
}

static int demi_nvme_create_locked(struct demi_nvme *nv, struct demi_queue *q,
				   const struct demi_queue_create *arg)
{
	struct demi_nvme_pair *pair;
	struct demi_nvme_layout l;
	u32 used;
	int err;

	pair = demi_nvme_free_pair(nv, &used);
	if (IS_ERR(pair))
		return PTR_ERR(pair);
	if (nv->broken && used)
		return -EIO;
	if (nv->broken) {
		err = demi_nvme_start(nv);
		if (err)
			return err;
	}
	demi_nvme_lay_out(nv, arg, &l);
	demi_nvme_describe(pair, q, &l);
	return demi_nvme_start_pair(pair, q, &l);
}

static int demi_nvme_queue_create(struct demi_device *dev, struct demi_queue *q,
				  const struct demi_queue_create *arg, struct demi_cmd *cmd)
{
	struct demi_nvme *nv = demi_nvme_of(dev);
	int err;

	mutex_lock(&nv->lock);
	err = demi_nvme_create_locked(nv, q, arg);
	mutex_unlock(&nv->lock);
	if (!err)
		q->ops = &demi_nvme_queue_ops;
	return err;
}

const struct demi_device_ops demi_nvme_ops = {
	.queue_size = demi_nvme_queue_size,
	.queue_create = demi_nvme_queue_create,
	.bind = demi_nvme_bind,
	.release = demi_nvme_release,
	.region_map = demi_nvme_region_map,
	.region_unmap = demi_nvme_region_unmap,
};
