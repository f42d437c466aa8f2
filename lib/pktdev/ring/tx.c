/* SPDX-License-Identifier: MIT */
/* Transmitting: packets become frames of slots and references, and their descriptors come back by tx_done. */
#include "pktdev/ring/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A frame while it is made. */
struct frame {
	struct demi_desc desc[DEMI_FRAME_DESCS_MAX];
	uint32_t n;
	uint16_t head; /* first slot */
	uint32_t room; /* left in the last descriptor, if that is a slot, else 0 */
};

/* ---- slots ---- */

static uint16_t slot_get(struct demi_ring_dev *rd, uint16_t head)
{
	uint16_t i = rd->slot_free;

	if (i == DEMI_RING_NONE)
		return i;
	rd->slot_free = rd->slots[i].next;
	rd->slots[i] = (struct demi_ring_slot){ .head = head == DEMI_RING_NONE ? i : head, .busy = true };
	return i;
}

static void slot_put(struct demi_ring_dev *rd, uint16_t i)
{
	rd->slots[i].next = rd->slot_free;
	rd->slot_free = i;
}

static uint64_t slot_offset(const struct demi_ring_dev *rd, uint16_t i)
{
	return rd->tx_offset + (uint64_t)i * DEMI_RING_SLOT_BYTES;
}

/* The slot that a descriptor names, or DEMI_RING_NONE. */
static uint16_t slot_of(const struct demi_ring_dev *rd, const struct demi_desc *d)
{
	uint64_t at = d->offset - rd->tx_offset;

	if (d->region != rd->tx_region || at >= (uint64_t)rd->nslots * DEMI_RING_SLOT_BYTES)
		return DEMI_RING_NONE;
	return (uint16_t)(at / DEMI_RING_SLOT_BYTES);
}

/* ---- references ---- */

static uint16_t *bucket_of(const struct demi_ring_dev *rd, uint64_t offset, uint16_t region)
{
	uint64_t h = (offset ^ (uint64_t)region << 48) * 0x9e3779b97f4a7c15u;

	return &rd->ref_buckets[(h >> 32) & rd->ref_buckets_mask];
}

static bool ref_add(struct demi_ring_dev *rd, uint64_t offset, uint32_t len, uint16_t region, uint16_t head)
{
	uint16_t i = rd->ref_free, *bucket = bucket_of(rd, offset, region);

	if (i == DEMI_RING_NONE)
		return false;
	rd->ref_free = rd->refs[i].next;
	rd->refs[i] = (struct demi_ring_ref){ offset, len, region, head, *bucket };
	*bucket = i;
	return true;
}

/* The last one that was added, and is in the bucket's front. */
static void ref_undo(struct demi_ring_dev *rd, uint64_t offset, uint16_t region)
{
	uint16_t *bucket = bucket_of(rd, offset, region), i = *bucket;

	*bucket = rd->refs[i].next;
	rd->refs[i].next = rd->ref_free;
	rd->ref_free = i;
}

/*
 * The packet to which a descriptor that came back belongs, and no more: or DEMI_RING_NONE. Of several references that
 * begin at one place the shortest is taken: what is left of the others covers all that is still under way.
 */
static uint16_t ref_take(struct demi_ring_dev *rd, uint64_t offset, uint16_t region)
{
	uint16_t *at, *best = NULL, i, head;

	for (at = bucket_of(rd, offset, region); *at != DEMI_RING_NONE; at = &rd->refs[*at].next) {
		const struct demi_ring_ref *r = &rd->refs[*at];

		if (r->offset == offset && r->region == region && (!best || r->len < rd->refs[*best].len))
			best = at;
	}
	if (!best)
		return DEMI_RING_NONE;
	i = *best;
	*best = rd->refs[i].next;
	head = rd->refs[i].head;
	rd->refs[i].next = rd->ref_free;
	rd->ref_free = i;
	return head;
}

/* ---- frames ---- */

/* Take back what a frame that is not sent after all has used. */
static void frame_undo(struct demi_ring_dev *rd, const struct frame *f)
{
	uint32_t i;

	for (i = f->n; i > 0; i--) {
		uint16_t slot = slot_of(rd, &f->desc[i - 1]);

		if (slot == DEMI_RING_NONE) {
			ref_undo(rd, f->desc[i - 1].offset, f->desc[i - 1].region);
			continue;
		}
		rd->slots[slot].busy = false;
		slot_put(rd, slot);
	}
}

static bool frame_slot(struct demi_ring_dev *rd, struct frame *f)
{
	uint16_t slot;

	if (f->n == DEMI_FRAME_DESCS_MAX)
		return false;
	slot = slot_get(rd, f->head);
	if (slot == DEMI_RING_NONE)
		return false;
	if (f->head == DEMI_RING_NONE)
		f->head = slot;
	f->desc[f->n++] = (struct demi_desc){ .offset = slot_offset(rd, slot), .region = (__u16)rd->tx_region };
	f->room = DEMI_RING_SLOT_BYTES;
	return true;
}

static bool frame_copy(struct demi_ring_dev *rd, struct frame *f, const void *p, uint32_t len)
{
	const char *from = p;

	while (len) {
		struct demi_desc *d;
		uint32_t n;

		if (!f->room && !frame_slot(rd, f))
			return false;
		d = &f->desc[f->n - 1];
		n = len < f->room ? len : f->room;
		memcpy(rd->tx_mem + (d->offset - rd->tx_offset) + d->len, from, n);
		d->len += n;
		f->room -= n;
		from += n;
		len -= n;
	}
	return true;
}

/* A piece of payload: by reference if that pays and the kernel can reach it. */
static bool frame_piece(struct demi_ring_dev *rd, struct frame *f, const uint8_t *p, uint32_t len, uint16_t flags)
{
	uint64_t offset;
	uint32_t region;

	if (flags & DEMI_PKT_F_ZEROCOPY)
		rd->slots[f->head].asked = true;
	region = len >= DEMI_RING_REF_MIN ? demi_ring_mem_find(rd->mem, p, len, &offset) : 0;
	if (!region) {
		if (flags & DEMI_PKT_F_ZEROCOPY)
			rd->slots[f->head].copied = true;
		return frame_copy(rd, f, p, len);
	}
	if (f->n == DEMI_FRAME_DESCS_MAX || !ref_add(rd, offset, len, (uint16_t)region, f->head))
		return false;
	f->desc[f->n++] = (struct demi_desc){ .offset = offset, .len = len, .region = (__u16)region };
	f->room = 0;
	return true;
}

static void describe(struct virtio_net_hdr_v1 *h, const struct demi_pkt *pkt)
{
	*h = (struct virtio_net_hdr_v1){ 0 };
	if (!(pkt->flags & DEMI_PKT_F_CSUM_PARTIAL))
		return;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = pkt->csum_start;
	h->csum_offset = pkt->csum_offset;
	if (!(pkt->flags & DEMI_PKT_F_GSO))
		return;
	h->gso_type = pkt->flags & DEMI_PKT_F_GSO_TCP4	 ? VIRTIO_NET_HDR_GSO_TCPV4
		      : pkt->flags & DEMI_PKT_F_GSO_TCP6 ? VIRTIO_NET_HDR_GSO_TCPV6
							 : VIRTIO_NET_HDR_GSO_UDP_L4;
	if (pkt->flags & DEMI_PKT_F_GSO_ECN)
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->gso_size = pkt->gso_size;
	h->hdr_len = pkt->hdr_len;
}

/* The packet of @n entries: false if there is no room for it now. */
static bool frame_make(struct demi_ring_dev *rd, struct frame *f, const struct demi_pkt *pkts, uint32_t n)
{
	struct virtio_net_hdr_v1 hdr;
	uint32_t first, i;

	f->n = 0;
	f->room = 0;
	f->head = DEMI_RING_NONE;
	describe(&hdr, &pkts[0]);
	/* All headers lie in the first descriptor, so the beginning is copied; it fits into a slot. */
	first = pkts[0].len < DEMI_RING_REF_MIN ? pkts[0].len : DEMI_RING_REF_MIN / 2;
	if (!frame_copy(rd, f, &hdr, sizeof(hdr)) || !frame_copy(rd, f, pkts[0].data, first))
		goto undo;
	if (pkts[0].len > first && !frame_piece(rd, f, pkts[0].data + first, pkts[0].len - first, pkts[0].flags))
		goto undo;
	for (i = 1; i < n; i++)
		if (!frame_piece(rd, f, pkts[i].data, pkts[i].len, pkts[i].flags))
			goto undo;
	return true;
undo:
	frame_undo(rd, f);
	return false;
}

static void frame_put(struct demi_ring_dev *rd, const struct frame *f, uint64_t cookie)
{
	uint32_t i;

	for (i = 0; i < f->n; i++)
		demi_kring_put(&rd->q.tx, f->desc[i].offset, f->desc[i].len, f->desc[i].region,
			       i + 1 < f->n ? DEMI_DESC_F_MORE : 0);
	rd->slots[f->head].cookie = cookie;
	rd->slots[f->head].pending = f->n;
	rd->inflight += f->n;
}

int demi_ring_tx(struct demi_pktdev *d, const struct demi_pkt *pkts, uint32_t n)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	uint32_t at = 0, entries = rd->q.tx_done.mask + 1;
	struct frame f;

	if (__builtin_expect(rd->gone, 0))
		return -ENODEV;
	while (at < n) {
		uint32_t segs = 1, i, bytes;

		while (pkts[at + segs - 1].flags & DEMI_PKT_F_MORE && at + segs < n)
			segs++;
		for (i = 0, bytes = 0; i < segs; i++)
			bytes += pkts[at + i].len;
		if (!frame_make(rd, &f, &pkts[at], segs))
			break;
		/* What is under way fits into tx and into tx_done. */
		if (rd->inflight + f.n > entries) {
			frame_undo(rd, &f);
			break;
		}
		frame_put(rd, &f, pkts[at].cookie);
		rd->stats.tx_packets++;
		rd->stats.tx_bytes += bytes;
		at += segs;
	}
	return (int)at;
}

/* ---- what came back ---- */

/* The slot in which the packet of a descriptor begins, when it was the packet's last; or DEMI_RING_NONE. */
static uint16_t came_back(struct demi_ring_dev *rd, const struct demi_desc *d)
{
	uint16_t slot = slot_of(rd, d), head;
	struct demi_ring_slot *s;

	if (slot != DEMI_RING_NONE && rd->slots[slot].busy) {
		rd->slots[slot].busy = false;
		head = rd->slots[slot].head;
		if (head != slot)
			slot_put(rd, slot);
	} else {
		head = ref_take(rd, d->offset, d->region);
		if (head == DEMI_RING_NONE)
			return head; /* the ring lies */
	}
	rd->inflight--;
	s = &rd->slots[head];
	if (d->flags & DEMI_DESC_F_ERROR && !s->err)
		s->err = d->len ? (int32_t)d->len : EIO;
	if (slot == DEMI_RING_NONE && d->flags & DEMI_DESC_F_COPIED)
		s->copied = true;
	return --s->pending ? DEMI_RING_NONE : head;
}

static struct demi_pkt_done report(struct demi_ring_dev *rd, uint16_t head)
{
	struct demi_ring_slot *s = &rd->slots[head];
	struct demi_pkt_done done = { .cookie = s->cookie, .err = s->err, .copied = s->asked && s->copied };

	rd->stats.tx_copied += done.copied;
	if (s->err) {
		rd->stats.tx_dropped++;
		rd->dev.route_gen++; /* that may be why */
	}
	slot_put(rd, head);
	return done;
}

/* The queue is no more: all that was taken is done. */
static int report_gone(struct demi_ring_dev *rd, struct demi_pkt_done *done, uint32_t max)
{
	uint32_t n = 0;

	for (; n < max && rd->gone_at < rd->nslots; rd->gone_at++) {
		struct demi_ring_slot *s = &rd->slots[rd->gone_at];

		if (!s->pending)
			continue;
		s->pending = 0;
		done[n++] = (struct demi_pkt_done){ .cookie = s->cookie, .err = ENODEV };
	}
	return n ? (int)n : -ENODEV;
}

int demi_ring_tx_done(struct demi_pktdev *d, struct demi_pkt_done *done, uint32_t max)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_kring *ring = &rd->q.tx_done;
	uint32_t out = 0, i;
	int n;

	if (__builtin_expect(rd->gone, 0))
		return report_gone(rd, done, max);
	if (!rd->inflight)
		return 0;
	n = demi_kring_avail(ring);
	if (__builtin_expect(n < 0, 0)) {
		demi_ring_gone(rd);
		return report_gone(rd, done, max);
	}
	for (i = 0; i < (uint32_t)n && out < max; i++) {
		struct demi_desc desc = demi_kring_peek(ring, i);
		uint16_t head = came_back(rd, &desc);

		if (head != DEMI_RING_NONE)
			done[out++] = report(rd, head);
	}
	if (i)
		demi_kring_release(ring, i);
	if (rd->blocked && (i || !++rd->retry))
		demi_ring_kick_again(rd);
	return (int)out;
}

/* ---- the last words ---- */

int demi_ring_last(struct demi_pktdev *d, const void *packet, uint32_t len)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	uint32_t at = (rd->nslots - 1) * DEMI_RING_SLOT_BYTES;
	struct demi_kring *tx = &rd->q.tx;
	int done;

	if (rd->gone)
		return -ENODEV;
	/* The interrupted code does not go on: what it has not published is not sent, what came back is not read. */
	tx->own = __atomic_load_n(tx->producer, __ATOMIC_RELAXED);
	done = demi_kring_avail(&rd->q.tx_done);
	if (done > 0)
		demi_kring_release(&rd->q.tx_done, (uint32_t)done);
	if (__atomic_load_n(tx->consumer, __ATOMIC_ACQUIRE) != tx->own)
		(void)demi_kqueue_kick(&rd->q);
	/* the slot is free, unless the one before still waits for the network */
	if (__atomic_load_n(tx->consumer, __ATOMIC_ACQUIRE) != tx->own)
		return -EAGAIN;
	memset(rd->tx_mem + at, 0, DEMI_RING_HDR_BYTES);
	memcpy(rd->tx_mem + at + DEMI_RING_HDR_BYTES, packet, len);
	demi_kring_put(tx, rd->tx_offset + at, (uint32_t)DEMI_RING_HDR_BYTES + len, rd->tx_region, 0);
	demi_kring_publish(tx);
	return demi_kqueue_kick(&rd->q);
}

/* ---- beginning and end ---- */

/* The slots' memory: registered with its area of the heap, or by itself. */
static int slots_memory(struct demi_ring_dev *rd)
{
	size_t bytes = (size_t)rd->nslots * DEMI_RING_SLOT_BYTES;

	rd->tx_mem = demi_heap_alloc_aligned(DEMI_SPAN_SIZE, bytes);
	if (!rd->tx_mem)
		return -ENOMEM;
	rd->tx_region = demi_ring_mem_find(rd->mem, rd->tx_mem, bytes, &rd->tx_offset);
	if (rd->tx_region)
		return 0;
	rd->tx_offset = 0;
	rd->tx_own_region = !demi_kdev_region_register(rd->mem->fd, rd->tx_mem, bytes, &rd->tx_region);
	return rd->tx_own_region ? 0 : -ENOMEM;
}

int demi_ring_tx_init(struct demi_ring_dev *rd)
{
	uint32_t entries = rd->q.tx.mask + 1, i;

	rd->nslots = entries / 2;
	rd->ref_buckets_mask = 2 * entries - 1;
	rd->slots = calloc(rd->nslots, sizeof(*rd->slots));
	rd->refs = calloc(entries, sizeof(*rd->refs));
	rd->ref_buckets = malloc(2 * entries * sizeof(*rd->ref_buckets));
	if (!rd->slots || !rd->refs || !rd->ref_buckets || slots_memory(rd)) {
		demi_ring_tx_destroy(rd);
		return -ENOMEM;
	}
	rd->slot_free = rd->ref_free = DEMI_RING_NONE;
	for (i = rd->nslots - 1; i > 0; i--)
		slot_put(rd, (uint16_t)(i - 1));
	for (i = 0; i < 2 * entries; i++)
		rd->ref_buckets[i] = DEMI_RING_NONE;
	for (i = entries; i > 0; i--) {
		rd->refs[i - 1].next = rd->ref_free;
		rd->ref_free = (uint16_t)(i - 1);
	}
	return 0;
}

void demi_ring_tx_destroy(struct demi_ring_dev *rd)
{
	if (rd->tx_own_region)
		demi_kdev_region_unregister(rd->mem->fd, rd->tx_region);
	if (rd->tx_mem)
		demi_heap_free(rd->tx_mem);
	free(rd->slots);
	free(rd->refs);
	free(rd->ref_buckets);
}
