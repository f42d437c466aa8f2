// SPDX-License-Identifier: GPL-2.0
/*
 * The control queue: one command at a time, polled, whose answer may be anybody's (net.h).
 *
 *	                split                        packed
 *	first page      descriptors, available ring  driver's events       the device reads
 *	                command                      command
 *	second page     used ring                    descriptors, events   the device writes
 *	                answer                       answer
 */
#include <linux/delay.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/vmalloc.h>

#include "net.h"

#define DEMI_VNET_CTL_BYTES	(2 * PAGE_SIZE)
#define DEMI_VNET_CTL_ENTRIES	4

/* Offsets in the memory. */
#define DEMI_VNET_CTL_READ	0	/* descriptors; packed: the driver's events */
#define DEMI_VNET_CTL_AVAIL	512
#define DEMI_VNET_CTL_COMMAND	1024
#define DEMI_VNET_CTL_WRITTEN	PAGE_SIZE	/* the used ring; packed: descriptors */
#define DEMI_VNET_CTL_EVENTS	(PAGE_SIZE + 512)
#define DEMI_VNET_CTL_ANSWER	(PAGE_SIZE + 1024)

#define DEMI_VNET_CTL_COMMAND_MAX	(PAGE_SIZE - DEMI_VNET_CTL_COMMAND)

/* Who answers at all does so while the doorbell is rung, or soon after. */
#define DEMI_VNET_CTL_MS	1000

/* ---- beginning and end --------------------------------------------------------------------- */

static bool demi_vnet_ctl_offered(const struct demi_vnet *vn)
{
	return demi_vnet_has(vn->features, VIRTIO_NET_F_CTRL_VQ);
}

int demi_vnet_ctl_alloc(struct demi_vnet *vn)
{
	struct demi_vnet_ctl *c = &vn->ctl;

	if (!demi_vnet_ctl_offered(vn))
		return 0;
	c->doorbell = vp_modern_map_vq_notify(&vn->mdev, c->index, NULL);
	if (!c->doorbell)
		return -EIO;
	c->mem = __vmalloc(DEMI_VNET_CTL_BYTES, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!c->mem) {
		demi_vnet_ctl_free(vn);
		return -ENOMEM;
	}
	return 0;
}

void demi_vnet_ctl_free(struct demi_vnet *vn)
{
	struct demi_vnet_ctl *c = &vn->ctl;

	if (c->doorbell && !vn->mdev.notify_base)
		pci_iounmap(vn->pdev, c->doorbell);
	c->doorbell = NULL;
	vfree(c->mem);
	c->mem = NULL;
}

static int demi_vnet_ctl_map(struct demi_vnet *vn)
{
	struct demi_vnet_ctl *c = &vn->ctl;
	int err;

	err = demi_iommu_map_rings(&vn->iommu, DEMI_VNET_IOVA_CTL, c->mem, PAGE_SIZE, IOMMU_READ);
	if (err)
		return err;
	err = demi_iommu_map_rings(&vn->iommu, DEMI_VNET_IOVA_CTL + PAGE_SIZE, c->mem + PAGE_SIZE,
				   PAGE_SIZE, IOMMU_READ | IOMMU_WRITE);
	if (err)
		demi_iommu_unmap_rings(&vn->iommu, DEMI_VNET_IOVA_CTL, PAGE_SIZE);
	else
		c->mapped = true;
	return err;
}

void demi_vnet_ctl_unmap(struct demi_vnet *vn)
{
	if (vn->ctl.mapped)
		demi_iommu_unmap_rings(&vn->iommu, DEMI_VNET_IOVA_CTL, DEMI_VNET_CTL_BYTES);
	vn->ctl.mapped = false;
}

int demi_vnet_ctl_start(struct demi_vnet *vn)
{
	struct demi_vnet_ctl *c = &vn->ctl;
	struct demi_virtio_ring ring = {
		.desc = DEMI_VNET_CTL_READ,
		.avail = DEMI_VNET_CTL_AVAIL,
		.used = DEMI_VNET_CTL_WRITTEN,
		.entries = DEMI_VNET_CTL_ENTRIES,
		.index = c->index,
	};
	int err;

	if (!demi_vnet_ctl_offered(vn))
		return 0;
	if (demi_vnet_has(vn->running, VIRTIO_F_RING_PACKED)) {
		ring.desc = DEMI_VNET_CTL_WRITTEN;
		ring.avail = DEMI_VNET_CTL_READ;
		ring.used = DEMI_VNET_CTL_EVENTS;
	}
	memset(c->mem, 0, DEMI_VNET_CTL_BYTES);
	get_random_bytes(c->key, sizeof(c->key));
	c->sent = 0;
	err = demi_vnet_ctl_map(vn);
	if (err)
		return err;
	return demi_vnet_set_ring(vn, &ring, DEMI_VNET_IOVA_CTL, VIRTIO_MSI_NO_VECTOR);
}

/* ---- one command --------------------------------------------------------------------------- */

#define DEMI_VNET_CTL_AT(offset)	cpu_to_le64(DEMI_VNET_IOVA_CTL + (offset))

/* 2.6.5, 2.6.6: always the first two descriptors. */
static void demi_vnet_ctl_put_split(struct demi_vnet_ctl *c, u32 len)
{
	struct vring_desc *desc = c->mem + DEMI_VNET_CTL_READ;
	struct vring_avail *avail = c->mem + DEMI_VNET_CTL_AVAIL;

	desc[0].addr = (__force __virtio64)DEMI_VNET_CTL_AT(DEMI_VNET_CTL_COMMAND);
	desc[0].len = (__force __virtio32)cpu_to_le32(len);
	desc[0].flags = (__force __virtio16)cpu_to_le16(VRING_DESC_F_NEXT);
	desc[0].next = (__force __virtio16)cpu_to_le16(1);
	desc[1].addr = (__force __virtio64)DEMI_VNET_CTL_AT(DEMI_VNET_CTL_ANSWER);
	desc[1].len = (__force __virtio32)cpu_to_le32(sizeof(virtio_net_ctrl_ack));
	desc[1].flags = (__force __virtio16)cpu_to_le16(VRING_DESC_F_WRITE);
	avail->ring[c->sent % DEMI_VNET_CTL_ENTRIES] = 0;
	/* the device sees the entry first */
	virt_wmb();
	WRITE_ONCE(avail->idx, (__force __virtio16)cpu_to_le16(c->sent + 1));
}

static bool demi_vnet_ctl_answered_split(const struct demi_vnet_ctl *c)
{
	const struct vring_used *used = c->mem + DEMI_VNET_CTL_WRITTEN;

	return le16_to_cpu((__force __le16)READ_ONCE(used->idx)) == c->sent;
}

/* 2.7: two descriptors each; the wrap counter turns with every second command. */
static u16 demi_vnet_ctl_slot(u16 sent)
{
	return 2 * sent % DEMI_VNET_CTL_ENTRIES;
}

static bool demi_vnet_ctl_wrap(u16 sent)
{
	return !(2 * sent / DEMI_VNET_CTL_ENTRIES % 2);
}

static u16 demi_vnet_ctl_available(u16 sent)
{
	return demi_vnet_ctl_wrap(sent) ? BIT(VRING_PACKED_DESC_F_AVAIL) :
					  BIT(VRING_PACKED_DESC_F_USED);
}

static void demi_vnet_ctl_put_packed(struct demi_vnet_ctl *c, u32 len)
{
	struct vring_packed_desc *desc = c->mem + DEMI_VNET_CTL_WRITTEN;
	u16 available = demi_vnet_ctl_available(c->sent);

	desc += demi_vnet_ctl_slot(c->sent);
	desc[0].addr = DEMI_VNET_CTL_AT(DEMI_VNET_CTL_COMMAND);
	desc[0].len = cpu_to_le32(len);
	desc[0].id = 0;
	desc[1].addr = DEMI_VNET_CTL_AT(DEMI_VNET_CTL_ANSWER);
	desc[1].len = cpu_to_le32(sizeof(virtio_net_ctrl_ack));
	desc[1].id = 0;
	desc[1].flags = cpu_to_le16(VRING_DESC_F_WRITE | available);
	/* the device sees the rest first: 2.7.21 */
	virt_wmb();
	WRITE_ONCE(desc[0].flags, cpu_to_le16(VRING_DESC_F_NEXT | available));
}

static bool demi_vnet_ctl_answered_packed(const struct demi_vnet_ctl *c)
{
	const struct vring_packed_desc *desc = c->mem + DEMI_VNET_CTL_WRITTEN;
	const u16 both = BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED);
	u16 sent = c->sent - 1;
	u16 flags = le16_to_cpu(READ_ONCE(desc[demi_vnet_ctl_slot(sent)].flags)) & both;

	return flags == (demi_vnet_ctl_wrap(sent) ? both : 0);
}

/* The command of @len bytes of data is in its place. */
static int demi_vnet_ctl_run(struct demi_vnet *vn, u8 class, u8 cmd, u32 len)
{
	bool packed = demi_vnet_has(vn->running, VIRTIO_F_RING_PACKED);
	struct demi_vnet_ctl *c = &vn->ctl;
	struct virtio_net_ctrl_hdr *hdr = c->mem + DEMI_VNET_CTL_COMMAND;
	virtio_net_ctrl_ack *answer = c->mem + DEMI_VNET_CTL_ANSWER;
	int ms;

	lockdep_assert_held(&vn->lock);
	if (!c->mapped)
		return -EIO;
	hdr->class = class;
	hdr->cmd = cmd;
	WRITE_ONCE(*answer, (virtio_net_ctrl_ack)~VIRTIO_NET_OK);
	if (packed)
		demi_vnet_ctl_put_packed(c, sizeof(*hdr) + len);
	else
		demi_vnet_ctl_put_split(c, sizeof(*hdr) + len);
	c->sent++;
	vp_iowrite16(c->index, c->doorbell);
	for (ms = 0; !(packed ? demi_vnet_ctl_answered_packed(c) : demi_vnet_ctl_answered_split(c));
	     ms++) {
		if (ms == DEMI_VNET_CTL_MS || !pci_device_is_present(vn->pdev))
			return -EIO;
		usleep_range(1000, 2000);
	}
	/* it says so after it has answered */
	virt_rmb();
	return READ_ONCE(*answer) == VIRTIO_NET_OK ? 0 : -EIO;
}

static void *demi_vnet_ctl_data(struct demi_vnet *vn)
{
	return vn->ctl.mem + DEMI_VNET_CTL_COMMAND + sizeof(struct virtio_net_ctrl_hdr);
}

/* ---- commands ------------------------------------------------------------------------------ */

static int demi_vnet_ctl_switch(struct demi_vnet *vn, u8 cmd, bool on)
{
	*(u8 *)demi_vnet_ctl_data(vn) = on;
	return demi_vnet_ctl_run(vn, VIRTIO_NET_CTRL_RX, cmd, sizeof(u8));
}

int demi_vnet_ctl_filter(struct demi_vnet *vn)
{
	int err;

	/* one without an address receives everything, or nothing */
	if (!demi_vnet_has(vn->running, VIRTIO_NET_F_CTRL_RX) ||
	    !demi_vnet_has(vn->running, VIRTIO_NET_F_MAC))
		return 0;
	err = demi_vnet_ctl_switch(vn, VIRTIO_NET_CTRL_RX_ALLMULTI, true);
	if (!err)
		err = demi_vnet_ctl_switch(vn, VIRTIO_NET_CTRL_RX_PROMISC, false);
	return err;
}

/* As many are in use: up to the last that receives. */
static u32 demi_vnet_ctl_active(const struct demi_vnet *vn)
{
	u32 i, n = 1;

	for (i = 0; i < vn->npairs; i++)
		if (vn->pairs[i].receives)
			n = i + 1;
	return n;
}

static u8 *demi_vnet_ctl_put16(u8 *to, u16 value)
{
	*to++ = value & 0xff;
	*to++ = value >> 8;
	return to;
}

/* 5.1.6.5.6.1: entries of the table are receive queues by number of pair. */
static u8 *demi_vnet_ctl_put_table(const struct demi_vnet *vn, u8 *to)
{
	u32 i, entry = 0, pair = 0;

	for (i = 0; i < DEMI_VNET_PAIRS_MAX && !vn->pairs[pair].receives; i++)
		pair = (pair + 1) % vn->npairs;
	to = demi_vnet_ctl_put16(to, DEMI_VNET_RSS_ENTRIES - 1);
	to = demi_vnet_ctl_put16(to, pair);
	for (; entry < DEMI_VNET_RSS_ENTRIES; entry++) {
		to = demi_vnet_ctl_put16(to, pair);
		do
			pair = (pair + 1) % vn->npairs;
		while (!vn->pairs[pair].receives);
	}
	return to;
}

static int demi_vnet_ctl_rss(struct demi_vnet *vn)
{
	const struct virtio_net_config __iomem *config = vn->mdev.device;
	u32 types = vp_ioread32((__le32 __iomem *)&config->supported_hash_types);
	u8 *data = demi_vnet_ctl_data(vn), *to = data;

	BUILD_BUG_ON(sizeof(struct virtio_net_ctrl_hdr) + 4 + 2 + 2 + 2 * DEMI_VNET_RSS_ENTRIES +
		     2 + 1 + sizeof(vn->ctl.key) > DEMI_VNET_CTL_COMMAND_MAX);
	types &= VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4 |
		 VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6 |
		 VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6;
	to = demi_vnet_ctl_put16(to, types & 0xffff);
	to = demi_vnet_ctl_put16(to, types >> 16);
	to = demi_vnet_ctl_put_table(vn, to);
	to = demi_vnet_ctl_put16(to, demi_vnet_ctl_active(vn));
	*to++ = sizeof(vn->ctl.key);
	memcpy(to, vn->ctl.key, sizeof(vn->ctl.key));
	to += sizeof(vn->ctl.key);
	return demi_vnet_ctl_run(vn, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, to - data);
}

int demi_vnet_ctl_spread(struct demi_vnet *vn)
{
	if (demi_vnet_has(vn->running, VIRTIO_NET_F_RSS))
		return demi_vnet_ctl_rss(vn);
	demi_vnet_ctl_put16(demi_vnet_ctl_data(vn), demi_vnet_ctl_active(vn));
	return demi_vnet_ctl_run(vn, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				 sizeof(__le16));
}
