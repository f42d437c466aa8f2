// SPDX-License-Identifier: GPL-2.0
/*
 * The admin queues. Commands are few, and nobody waits for them in a hurry: one at a time, looked
 * for by its number among whatever else has been answered.
 */
#include <linux/delay.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/pci.h>
#include <linux/vmalloc.h>

#include "nvme.h"

#define DEMI_NVME_ADMIN_ENTRIES	16
#define DEMI_NVME_ADMIN_MS	5000

/* Reserved, and without data: what fails whoever has it fetched. */
#define DEMI_NVME_ADMIN_NOTHING	0x60

int demi_nvme_admin_alloc(struct demi_nvme *nv)
{
	struct demi_nvme_admin *a = &nv->admin;
	void *mem = __vmalloc(3 * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);

	BUILD_BUG_ON(DEMI_NVME_ADMIN_ENTRIES * sizeof(*a->sq) > PAGE_SIZE);
	if (!mem)
		return -ENOMEM;
	a->sq = mem;
	a->cq = mem + PAGE_SIZE;
	a->data = mem + 2 * PAGE_SIZE;
	return 0;
}

void demi_nvme_admin_free(struct demi_nvme *nv)
{
	vfree(nv->admin.sq);
}

static u32 demi_nvme_dword0(u8 opcode, u16 cid)
{
	return opcode | (u32)cid << 16;
}

/* The number of no command of ours. */
static void demi_nvme_admin_blank(struct nvme_command *slot)
{
	WRITE_ONCE(*(__le32 *)slot, cpu_to_le32(demi_nvme_dword0(DEMI_NVME_ADMIN_NOTHING, 0)));
	/* whatever follows is written after it */
	dma_wmb();
	memset((__le32 *)slot + 1, 0, sizeof(*slot) - sizeof(__le32));
}

void demi_nvme_admin_reset(struct demi_nvme *nv)
{
	struct demi_nvme_admin *a = &nv->admin;
	int i;

	for (i = 0; i < DEMI_NVME_ADMIN_ENTRIES; i++)
		demi_nvme_admin_blank(&a->sq[i]);
	memset(a->cq, 0, PAGE_SIZE);
	a->tail = 0;
	a->head = 0;
	a->phase = 1;
	writel((DEMI_NVME_ADMIN_ENTRIES - 1) << 16 | (DEMI_NVME_ADMIN_ENTRIES - 1),
	       nv->regs + NVME_REG_AQA);
	lo_hi_writeq(DEMI_NVME_IOVA_ASQ, nv->regs + NVME_REG_ASQ);
	lo_hi_writeq(DEMI_NVME_IOVA_ACQ, nv->regs + NVME_REG_ACQ);
}

static void __iomem *demi_nvme_admin_doorbell(const struct demi_nvme *nv, int completion)
{
	return nv->regs + NVME_REG_DBS + completion * (4 << NVME_CAP_STRIDE(nv->cap));
}

/* Take what was answered; is the command with this number among it? Base 1.4, 4.6. */
static bool demi_nvme_admin_take(struct demi_nvme *nv, u16 cid, struct nvme_completion *out)
{
	struct demi_nvme_admin *a = &nv->admin;
	bool found = false;
	int n;

	/* a completion queue that the owner keeps full does not keep us */
	for (n = 0; n < DEMI_NVME_ADMIN_ENTRIES && !found; n++) {
		struct nvme_completion *e = &a->cq[a->head];

		if ((le16_to_cpu(READ_ONCE(e->status)) & 1) != a->phase)
			break;
		/* phase first, then what it says is there */
		dma_rmb();
		memcpy(out, e, sizeof(*out));
		found = out->command_id == cid;
		if (++a->head == DEMI_NVME_ADMIN_ENTRIES) {
			a->head = 0;
			a->phase ^= 1;
		}
	}
	if (n)
		writel(a->head, demi_nvme_admin_doorbell(nv, 1));
	return found;
}

static int demi_nvme_admin_wait(struct demi_nvme *nv, u16 cid, struct nvme_completion *out)
{
	unsigned long end = jiffies + msecs_to_jiffies(DEMI_NVME_ADMIN_MS);

	while (!demi_nvme_admin_take(nv, cid, out)) {
		if (time_after(jiffies, end) || !pci_device_is_present(nv->pdev) ||
		    readl(nv->regs + NVME_REG_CSTS) & NVME_CSTS_CFS)
			return -ETIMEDOUT;
		usleep_range(50, 100);
	}
	return 0;
}

int demi_nvme_admin_run(struct demi_nvme *nv, struct nvme_command *cmd, u32 *result)
{
	struct demi_nvme_admin *a = &nv->admin;
	struct nvme_command *slot = &a->sq[a->tail];
	struct nvme_completion done;
	int err;

	lockdep_assert_held(&nv->lock);
	/* 0 is that of commands that mean nothing */
	a->cid = a->cid % U16_MAX + 1;
	cmd->common.command_id = a->cid;
	memcpy((__le32 *)slot + 1, (__le32 *)cmd + 1, sizeof(*cmd) - sizeof(__le32));
	/* the owner may ring at any time: it is a command when all of it is there */
	dma_wmb();
	WRITE_ONCE(*(__le32 *)slot, cpu_to_le32(demi_nvme_dword0(cmd->common.opcode, a->cid)));
	a->tail = (a->tail + 1) % DEMI_NVME_ADMIN_ENTRIES;
	writel(a->tail, demi_nvme_admin_doorbell(nv, 0));
	err = demi_nvme_admin_wait(nv, a->cid, &done);
	demi_nvme_admin_blank(slot);
	if (err)
		return err;
	if (le16_to_cpu(done.status) >> 1 & 0x7ff)
		return -EIO;
	if (result)
		*result = le32_to_cpu(done.result.u32);
	return 0;
}
