// SPDX-License-Identifier: GPL-2.0
/* The controller: enabled, asked what it is, watched, disabled. What it answers may be wrong. */
#include <linux/delay.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/log2.h>
#include <linux/pci.h>

#include "nvme.h"

/* A controller that takes longer to come or go than this is none, whatever its CAP.TO says. */
#define DEMI_NVME_READY_MS	30000
#define DEMI_NVME_WATCH_MS	1000

/* Blocks of less are reserved: 4.1.1 of the NVM command set. */
#define DEMI_NVME_BLOCK_SHIFT_MIN	9

/* One command's data: what does not fit in one page of PRP entries is not worth having. */
#define DEMI_NVME_TRANSFER_MAX	SZ_1M

/* ---- enabled and disabled ------------------------------------------------------------------ */

static int demi_nvme_wait_ready(struct demi_nvme *nv, u32 ready)
{
	u32 ms, csts, limit = min_t(u32, (NVME_CAP_TIMEOUT(nv->cap) + 1) * 500, DEMI_NVME_READY_MS);

	for (ms = 0; ms < limit; ms++) {
		csts = readl(nv->regs + NVME_REG_CSTS);
		if (csts == U32_MAX)
			return -EIO;
		if ((csts & NVME_CSTS_RDY) == ready)
			return 0;
		/* a fatal status is what disabling ends */
		if (ready && csts & NVME_CSTS_CFS)
			return -EIO;
		usleep_range(1000, 2000);
	}
	return -EIO;
}

int demi_nvme_disable(struct demi_nvme *nv)
{
	int err;

	writel(0, nv->regs + NVME_REG_CC);
	err = demi_nvme_wait_ready(nv, 0);
	/* one that does not answer is kept from memory all the same */
	pci_clear_master(nv->pdev);
	return err;
}

void demi_nvme_reset_function(struct demi_nvme *nv)
{
	/* who binds or unbinds the driver now resets it */
	pci_try_reset_function(nv->pdev);
}

static int demi_nvme_enable(struct demi_nvme *nv)
{
	int err = demi_nvme_disable(nv);

	if (err)
		return err;
	demi_nvme_admin_reset(nv);
	pci_set_master(nv->pdev);
	/* pages of 4 KiB, round robin: both are 0 */
	writel(NVME_CC_CSS_NVM | NVME_CC_IOSQES | NVME_CC_IOCQES, nv->regs + NVME_REG_CC);
	writel(NVME_CC_CSS_NVM | NVME_CC_IOSQES | NVME_CC_IOCQES | NVME_CC_ENABLE,
	       nv->regs + NVME_REG_CC);
	return demi_nvme_wait_ready(nv, NVME_CSTS_RDY);
}

/* ---- what it is ---------------------------------------------------------------------------- */

static int demi_nvme_identify(struct demi_nvme *nv, u8 cns, u32 nsid)
{
	struct nvme_command cmd = { };

	cmd.identify.opcode = nvme_admin_identify;
	cmd.identify.nsid = cpu_to_le32(nsid);
	cmd.identify.cns = cns;
	cmd.identify.dptr.prp1 = cpu_to_le64(DEMI_NVME_IOVA_DATA);
	memset(nv->admin.data, 0, PAGE_SIZE);
	return demi_nvme_admin_run(nv, &cmd, NULL);
}

static int demi_nvme_identify_ctrl(struct demi_nvme *nv)
{
	const struct nvme_id_ctrl *id = nv->admin.data;
	struct demi_nvme_queue *d = &nv->describe;
	u32 max = DEMI_NVME_TRANSFER_MAX;
	u16 oncs;
	int err = demi_nvme_identify(nv, NVME_ID_CNS_CTRL, 0);

	if (err)
		return err;
	oncs = le16_to_cpu(id->oncs);
	d->magic = DEMI_NVME_MAGIC;
	d->flags = (id->vwc & NVME_CTRL_VWC_PRESENT ? DEMI_NVME_F_CACHE : 0) |
		   (oncs & NVME_CTRL_ONCS_DSM ? DEMI_NVME_F_DEALLOCATE : 0) |
		   (oncs & NVME_CTRL_ONCS_WRITE_ZEROES ? DEMI_NVME_F_ZEROES : 0);
	d->version = readl(nv->regs + NVME_REG_VS);
	/* in pages of 4 KiB, as a power of two; 0 is no limit */
	if (id->mdts && id->mdts < ilog2(DEMI_NVME_TRANSFER_MAX >> PAGE_SHIFT))
		max = PAGE_SIZE << id->mdts;
	d->transfer_max_bytes = max;
	memcpy(d->serial, id->sn, sizeof(d->serial));
	memcpy(d->model, id->mn, sizeof(d->model));
	memcpy(d->firmware, id->fr, sizeof(d->firmware));
	return 0;
}

/* Its @n-th namespace, if it is one that can be read and written. */
static int demi_nvme_identify_ns(struct demi_nvme *nv, u32 nsid)
{
	struct demi_nvme_namespace *ns = &nv->namespaces[nv->describe.namespace_count];
	const struct nvme_id_ns *id = nv->admin.data;
	const struct nvme_lbaf *format;
	int err = demi_nvme_identify(nv, NVME_ID_CNS_NS, nsid);

	if (err)
		return err;
	format = &id->lbaf[nvme_lbaf_index(id->flbas)];
	if (!id->nsze || format->ds < DEMI_NVME_BLOCK_SHIFT_MIN || format->ds > PAGE_SHIFT)
		return 0;
	*ns = (struct demi_nvme_namespace){
		.nsid = nsid,
		.block_bytes = 1U << format->ds,
		.blocks = le64_to_cpu(id->nsze),
		.metadata_bytes = le16_to_cpu(format->ms),
		.deallocate = id->dlfeat,
	};
	memcpy(ns->nguid, id->nguid, sizeof(ns->nguid));
	memcpy(ns->eui64, id->eui64, sizeof(ns->eui64));
	nv->describe.namespace_count++;
	return 0;
}

/* The next ids after @nsid, ascending; 0 ends them, and so does what does not ascend. 5.15.2.4 */
static int demi_nvme_list_ns(struct demi_nvme *nv, u32 nsid, u32 *ids, u32 *count)
{
	const __le32 *list = nv->admin.data;
	u32 id;
	int err = demi_nvme_identify(nv, NVME_ID_CNS_NS_ACTIVE_LIST, nsid);

	if (err)
		return err;
	for (*count = 0; *count < DEMI_NVME_NAMESPACES_MAX; ++*count) {
		id = le32_to_cpu(list[*count]);
		if (id <= nsid)
			break;
		ids[*count] = id;
		nsid = id;
	}
	return 0;
}

static int demi_nvme_identify_all_ns(struct demi_nvme *nv)
{
	u32 *ids, count, i;
	int err;

	BUILD_BUG_ON(DEMI_NVME_NAMESPACES_MAX * sizeof(__le32) > PAGE_SIZE);
	ids = kvcalloc(DEMI_NVME_NAMESPACES_MAX, sizeof(*ids), GFP_KERNEL);
	if (!ids)
		return -ENOMEM;
	nv->describe.namespace_count = 0;
	err = demi_nvme_list_ns(nv, 0, ids, &count);
	for (i = 0; i < count && !err; i++)
		err = demi_nvme_identify_ns(nv, ids[i]);
	kvfree(ids);
	return err;
}

/* 5.21.1.7: it may give less than was asked for, in numbers that begin at 0. */
static int demi_nvme_set_pairs(struct demi_nvme *nv)
{
	struct nvme_command cmd = { };
	u32 given, wish = DEMI_NVME_PAIRS_MAX - 1;
	int err;

	cmd.features.opcode = nvme_admin_set_features;
	cmd.features.fid = cpu_to_le32(NVME_FEAT_NUM_QUEUES);
	cmd.features.dword11 = cpu_to_le32(wish | wish << 16);
	err = demi_nvme_admin_run(nv, &cmd, &given);
	if (!err)
		nv->npairs = min(min(given & 0xffff, given >> 16), wish) + 1;
	return err;
}

/* ---- start and stop ------------------------------------------------------------------------ */

static int demi_nvme_map_admin(struct demi_nvme *nv)
{
	struct demi_nvme_admin *a = &nv->admin;
	int err;

	err = demi_iommu_map_rings(&nv->iommu, DEMI_NVME_IOVA_ASQ, a->sq, PAGE_SIZE, IOMMU_READ);
	if (err)
		return err;
	err = demi_iommu_map_rings(&nv->iommu, DEMI_NVME_IOVA_ACQ, a->cq, PAGE_SIZE,
				   IOMMU_READ | IOMMU_WRITE);
	if (err)
		demi_iommu_unmap_rings(&nv->iommu, DEMI_NVME_IOVA_ASQ, PAGE_SIZE);
	return err;
}

static void demi_nvme_unmap_admin(struct demi_nvme *nv)
{
	demi_iommu_unmap_rings(&nv->iommu, DEMI_NVME_IOVA_ASQ, 2 * PAGE_SIZE);
}

/* Identify data is mapped while nobody else has a queue. */
static int demi_nvme_learn(struct demi_nvme *nv)
{
	int err = demi_iommu_map_rings(&nv->iommu, DEMI_NVME_IOVA_DATA, nv->admin.data, PAGE_SIZE,
				       IOMMU_READ | IOMMU_WRITE);

	if (err)
		return err;
	err = demi_nvme_identify_ctrl(nv);
	if (!err)
		err = demi_nvme_identify_all_ns(nv);
	if (!err)
		err = demi_nvme_set_pairs(nv);
	demi_iommu_unmap_rings(&nv->iommu, DEMI_NVME_IOVA_DATA, PAGE_SIZE);
	return err;
}

int demi_nvme_start(struct demi_nvme *nv)
{
	int err;

	lockdep_assert_held(&nv->lock);
	err = demi_nvme_map_admin(nv);
	if (err)
		return err;
	err = demi_nvme_enable(nv);
	if (!err)
		err = demi_nvme_learn(nv);
	if (err) {
		demi_nvme_disable(nv);
		demi_nvme_unmap_admin(nv);
		return err == -ETIMEDOUT ? -EIO : err;
	}
	nv->enabled = true;
	nv->broken = false;
	schedule_delayed_work(&nv->watch, msecs_to_jiffies(DEMI_NVME_WATCH_MS));
	return 0;
}

void demi_nvme_stop(struct demi_nvme *nv)
{
	lockdep_assert_held(&nv->lock);
	if (!nv->enabled)
		return;
	demi_nvme_disable(nv);
	demi_nvme_unmap_admin(nv);
	nv->enabled = false;
}

void demi_nvme_break(struct demi_nvme *nv, const char *why)
{
	lockdep_assert_held(&nv->lock);
	if (nv->broken)
		return;
	dev_warn_ratelimited(&nv->pdev->dev, "disabled: %s\n", why);
	demi_nvme_stop(nv);
	nv->broken = true;
	demi_nvme_tell_broken(nv);
}

/* No interrupt tells of a controller that stopped. */
static void demi_nvme_watch(struct work_struct *work)
{
	struct demi_nvme *nv = container_of(to_delayed_work(work), struct demi_nvme, watch);

	mutex_lock(&nv->lock);
	if (nv->enabled && readl(nv->regs + NVME_REG_CSTS) & NVME_CSTS_CFS)
		demi_nvme_break(nv, "it reports a fatal status");
	if (nv->enabled)
		schedule_delayed_work(&nv->watch, msecs_to_jiffies(DEMI_NVME_WATCH_MS));
	mutex_unlock(&nv->lock);
}

void demi_nvme_watch_init(struct demi_nvme *nv)
{
	INIT_DELAYED_WORK(&nv->watch, demi_nvme_watch);
}
