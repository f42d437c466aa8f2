/* SPDX-License-Identifier: MIT */
/* Transmitting: packets become chains of descriptors, which come back by the used ring. */
#include "pktdev/virtio/dev.h"

#include <stdlib.h>
#include <string.h>

static char *slot_of(const struct demi_virtio_dev *vd, uint16_t i)
{
	return vd->slots + (size_t)i * DEMI_VIRTIO_SLOT_BYTES;
}

/* Can the device read it where it is? */
static inline bool reached(const struct demi_virtio_dev *vd, const void *p, uint32_t len)
{
	uint64_t offset;

	return demi_ring_mem_find(vd->mem, p, len, &offset) != 0;
}

/* One descriptor of the packet that is being put; @i moves on to the next free one. */
static inline void put_piece(struct demi_virtio_dev *vd, uint16_t head, uint16_t *i, uintptr_t addr, uint32_t len,
			     bool more)
{
	uint16_t next = vd->chain[*i];

	demi_vring_describe(&vd->tx, head, *i, addr, len, more ? VRING_DESC_F_NEXT : 0, more ? next : 0);
	*i = next;
}

/* What the device cannot reach is copied to slots, as many as it takes. How many. */
static __attribute__((noinline)) uint16_t put_copy(struct demi_virtio_dev *vd, uint16_t head, uint16_t *i,
						   const uint8_t *p, uint32_t len, bool more)
{
	uint16_t n = 0;

	for (; len; n++) {
		uint32_t part = len < DEMI_VIRTIO_SLOT_BYTES ? len : DEMI_VIRTIO_SLOT_BYTES;

		memcpy(slot_of(vd, *i), p, part);
		p += part;
		len -= part;
		put_piece(vd, head, i, (uintptr_t)slot_of(vd, *i), part, more || len);
	}
	return n;
}

/* 5.1.6.2: what is left to the device. */
static __attribute__((noinline)) void describe(uint8_t *to, const struct demi_pkt *p)
{
	struct virtio_net_hdr_v1 h = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .csum_start = p->csum_start,
				       .csum_offset = p->csum_offset };

	if (p->flags & (DEMI_PKT_F_GSO_TCP4 | DEMI_PKT_F_GSO_TCP6)) {
		h.gso_type = p->flags & DEMI_PKT_F_GSO_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
		if (p->flags & DEMI_PKT_F_GSO_ECN)
			h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
		h.gso_size = p->gso_size;
		h.hdr_len = p->hdr_len;
	}
	memcpy(to, &h, sizeof(h));
}

static void put(struct demi_virtio_dev *vd, const struct demi_pkt *pkts, uint32_t n)
{
	uint8_t *first = pkts[0].data - DEMI_VIRTIO_HDR_BYTES;
	uint16_t head = vd->free_head, i = head, last = head, ndesc = 0;
	bool copied = false;
	uint32_t k;

	if (pkts[0].flags & DEMI_PKT_F_CSUM_PARTIAL)
		describe(first, &pkts[0]);
	else
		memset(first, 0, DEMI_VIRTIO_HDR_BYTES);
	for (k = 0; k < n; k++) {
		const uint8_t *p = k ? pkts[k].data : first;
		uint32_t len = pkts[k].len + (k ? 0 : (uint32_t)DEMI_VIRTIO_HDR_BYTES);

		if (__builtin_expect(reached(vd, p, len), 1)) {
			put_piece(vd, head, &i, (uintptr_t)p, len, k + 1 < n);
			ndesc++;
		} else {
			ndesc = (uint16_t)(ndesc + put_copy(vd, head, &i, p, len, k + 1 < n));
			copied |= pkts[k].flags & DEMI_PKT_F_ZEROCOPY;
		}
		vd->stats.tx_bytes += pkts[k].len;
	}
	for (k = 1; k < ndesc; k++)
		last = vd->chain[last];
	vd->chain[last] = DEMI_VIRTIO_NONE;
	vd->free_head = i;
	vd->free_count -= ndesc;
	vd->sent[head] = (struct demi_virtio_sent){ pkts[0].cookie, ndesc, copied };
	vd->stats.tx_packets++;
	demi_vring_put(&vd->tx, head);
}

/* Descriptors that the packet may take. What fits into one slot takes one a segment, copied or not. */
static inline uint32_t descs_of(const struct demi_virtio_dev *vd, const struct demi_pkt *pkts, uint32_t n)
{
	uint32_t bytes = DEMI_VIRTIO_HDR_BYTES, descs = 0, i;

	for (i = 0; i < n; i++)
		bytes += pkts[i].len;
	if (__builtin_expect(bytes <= DEMI_VIRTIO_SLOT_BYTES, 1))
		return n;
	if (bytes > vd->tx_bytes_max)
		return UINT32_MAX;
	for (i = 0; i < n; i++) {
		uint32_t skip = i ? 0 : (uint32_t)DEMI_VIRTIO_HDR_BYTES, len = pkts[i].len + skip;

		descs += reached(vd, pkts[i].data - skip, len)
				 ? 1
				 : (len + DEMI_VIRTIO_SLOT_BYTES - 1) / DEMI_VIRTIO_SLOT_BYTES;
	}
	return descs;
}

int demi_virtio_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	uint32_t at = 0;

	if (__builtin_expect(vd->gone, 0))
		return -ENODEV;
	while (at < n) {
		uint32_t segs = 1, descs;

		while (pkts[at + segs - 1].flags & DEMI_PKT_F_MORE && at + segs < n)
			segs++;
		descs = descs_of(vd, &pkts[at], segs);
		if (__builtin_expect(descs > vd->free_count, 0)) {
			if (descs == UINT32_MAX && !at)
				return -EMSGSIZE;
			break;
		}
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
	if (demi_vring_publish(&vd->tx))
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
	struct vring_used_elem e;
	uint32_t out = 0;
	int some;

	if (__builtin_expect(vd->gone, 0))
		return report_gone(vd, done, max);
	some = demi_vring_look(&vd->tx);
	if (!some)
		return 0;
	if (some < 0)
		demi_virtio_gone(vd);
	else
		demi_virtio_check(vd);
	while (!vd->gone && out < max && demi_vring_peek(&vd->tx, &e)) {
		if (e.id >= vd->tx.entries || !vd->sent[e.id].ndesc) {
			demi_virtio_gone(vd);
			break;
		}
		demi_vring_pop(&vd->tx, vd->sent[e.id].ndesc);
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
