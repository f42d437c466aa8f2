/* SPDX-License-Identifier: MIT */
/* Transmitting: packets become chains of descriptors, which come back by the used ring. */
#include "pktdev/virtio/dev.h"

#include <stdlib.h>
#include <string.h>

static char *slot_of(const struct demi_virtio_dev *vd, uint16_t i)
{
	return vd->slots + (size_t)i * DEMI_VIRTIO_SLOT_BYTES;
}

/* Where the device finds @len bytes at @p: there, or, copied, in the descriptor's slot. */
static uintptr_t reach(struct demi_virtio_dev *vd, uint16_t i, const void *p, uint32_t len, bool *copied)
{
	uint64_t offset;

	if (__builtin_expect(demi_ring_mem_find(vd->mem, p, len, &offset) != 0, 1))
		return (uintptr_t)p;
	memcpy(slot_of(vd, i), p, len);
	*copied = true;
	return (uintptr_t)slot_of(vd, i);
}

static void put(struct demi_virtio_dev *vd, const struct demi_pkt *pkts, uint32_t n)
{
	uint16_t head = vd->free_head, i = head, last = head;
	uint8_t *first = pkts[0].data - DEMI_VIRTIO_HDR_BYTES;
	bool asked = false, copied = false;
	uint32_t k;

	memset(first, 0, DEMI_VIRTIO_HDR_BYTES);
	for (k = 0; k < n; k++) {
		const uint8_t *p = k ? pkts[k].data : first;
		uint32_t len = pkts[k].len + (k ? 0 : (uint32_t)DEMI_VIRTIO_HDR_BYTES);
		bool more = k + 1 < n, mine = false;

		vd->tx.desc[i] = (struct vring_desc){ .addr = reach(vd, i, p, len, &mine),
						      .len = len,
						      .flags = more ? VRING_DESC_F_NEXT : 0,
						      .next = more ? vd->chain[i] : 0 };
		if (pkts[k].flags & DEMI_PKT_F_ZEROCOPY) {
			asked = true;
			copied |= mine;
		}
		vd->stats.tx_bytes += pkts[k].len;
		last = i;
		i = vd->chain[i];
	}
	vd->chain[last] = DEMI_VIRTIO_NONE;
	vd->free_head = i;
	vd->free_count -= (uint16_t)n;
	vd->sent[head] = (struct demi_virtio_sent){ pkts[0].cookie, (uint16_t)n, asked && copied };
	vd->stats.tx_packets++;
	demi_vring_put(&vd->tx, head);
}

/* A slot holds a whole frame, so that each segment of what fits the MTU does. */
static bool fits(const struct demi_pkt *pkts, uint32_t n)
{
	uint32_t bytes = DEMI_VIRTIO_HDR_BYTES, i;

	for (i = 0; i < n; i++)
		bytes += pkts[i].len;
	return bytes <= DEMI_VIRTIO_SLOT_BYTES;
}

int demi_virtio_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	uint32_t at = 0;

	if (__builtin_expect(vd->gone, 0))
		return -ENODEV;
	while (at < n) {
		uint32_t segs = 1;

		while (pkts[at + segs - 1].flags & DEMI_PKT_F_MORE && at + segs < n)
			segs++;
		if (__builtin_expect(!fits(&pkts[at], segs), 0))
			return at ? (int)at : -EMSGSIZE;
		if (segs > vd->free_count)
			break;
		put(vd, &pkts[at], segs);
		at += segs;
	}
	return (int)at;
}

int demi_virtio_kick(struct demi_pktdev *d)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);

	if (vd->gone)
		return -ENODEV;
	if (vd->tx.next != vd->tx.published && demi_vring_publish(&vd->tx))
		demi_vring_kick(&vd->tx);
	return 0;
}

/* ---- what came back ---- */

static struct demi_pkt_done report(struct demi_virtio_dev *vd, uint16_t head, int err)
{
	struct demi_virtio_sent *s = &vd->sent[head];
	struct demi_pkt_done done = { .cookie = s->cookie, .err = err, .copied = s->copied };
	uint16_t last = head;

	while (vd->chain[last] != DEMI_VIRTIO_NONE)
		last = vd->chain[last];
	vd->chain[last] = vd->free_head;
	vd->free_head = head;
	vd->free_count += s->ndesc;
	s->ndesc = 0;
	vd->stats.tx_copied += done.copied;
	return done;
}

/* The queue is no more: all that was taken is done. */
static int report_gone(struct demi_virtio_dev *vd, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	for (; n < max && vd->gone_at < vd->tx.entries; vd->gone_at++)
		if (vd->sent[vd->gone_at].ndesc)
			done[n++] = report(vd, vd->gone_at, ENODEV);
	return n ? (int)n : -ENODEV;
}

int demi_virtio_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	uint32_t out = 0;
	int n;

	if (__builtin_expect(vd->gone, 0))
		return report_gone(vd, done, max);
	n = demi_vring_avail(&vd->tx);
	if (!n)
		return 0;
	if (n < 0)
		demi_virtio_gone(vd);
	else
		demi_virtio_check(vd);
	while (!vd->gone && n-- > 0 && out < max) {
		struct vring_used_elem e = demi_vring_take(&vd->tx);

		if (e.id >= vd->tx.entries || !vd->sent[e.id].ndesc)
			demi_virtio_gone(vd);
		else
			done[out++] = report(vd, (uint16_t)e.id, 0);
	}
	if (vd->gone)
		return out ? (int)out : report_gone(vd, done, max);
	demi_vring_quiet(&vd->tx);
	return (int)out;
}

/* ---- beginning and end ---- */

/* The slots' memory: registered with its area of the heap, or by its spans. */
static int slots_memory(struct demi_virtio_dev *vd)
{
	size_t bytes = (size_t)vd->tx.entries * DEMI_VIRTIO_SLOT_BYTES;
	uint64_t offset;

	vd->slots = demi_heap_alloc_aligned(DEMI_SPAN_SIZE, bytes);
	if (!vd->slots)
		return -ENOMEM;
	if (demi_ring_mem_find(vd->mem, vd->slots, bytes, &offset))
		return 0;
	return demi_ring_mem_register(vd->mem, vd->slots, bytes);
}

int demi_virtio_tx_init(struct demi_virtio_dev *vd)
{
	uint16_t i;

	vd->sent = calloc(vd->tx.entries, sizeof(*vd->sent));
	vd->chain = malloc(vd->tx.entries * sizeof(*vd->chain));
	if (!vd->sent || !vd->chain || slots_memory(vd)) {
		demi_virtio_tx_destroy(vd);
		return -ENOMEM;
	}
	for (i = 0; i < vd->tx.entries; i++)
		vd->chain[i] = (uint16_t)(i + 1);
	vd->chain[i - 1] = DEMI_VIRTIO_NONE;
	vd->free_count = vd->tx.entries;
	demi_vring_quiet(&vd->tx);
	return 0;
}

void demi_virtio_tx_destroy(struct demi_virtio_dev *vd)
{
	if (vd->slots)
		demi_heap_free(vd->slots);
	free(vd->sent);
	free(vd->chain);
}
