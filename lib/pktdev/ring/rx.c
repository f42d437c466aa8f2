/* SPDX-License-Identifier: MIT */
/* Receiving: frames of the rx ring become packets, and every buffer that came is made good in rx_fill. */
#include "pktdev/ring/dev.h"

#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A heap object that the kernel can write to; or NULL. */
static void *buffer_get(struct demi_ring_dev *rd, uint32_t *region, uint64_t *offset)
{
	void *obj = demi_heap_alloc(DEMI_RING_RX_BYTES);

	if (!obj)
		return NULL;
	*region = demi_ring_mem_find(rd->mem, obj, DEMI_RING_RX_BYTES, offset);
	if (__builtin_expect(*region != 0, 1))
		return obj;
	if (!atomic_load_explicit(&rd->mem->full, memory_order_relaxed) &&
	    !demi_ring_mem_register(rd->mem, obj, DEMI_RING_RX_BYTES)) {
		*region = demi_ring_mem_find(rd->mem, obj, DEMI_RING_RX_BYTES, offset);
		if (*region) /* else it lies in two regions */
			return obj;
	}
	demi_heap_free(obj);
	return NULL;
}

static void post(struct demi_ring_dev *rd, uint32_t slot, void *obj, uint32_t region, uint64_t offset)
{
	memcpy(obj, &slot, sizeof(slot));
	rd->posted[slot] = obj;
	demi_kring_put(&rd->q.rx_fill, offset + DEMI_RING_RX_OFFSET, DEMI_RING_RX_LEN, region, 0);
}

int demi_ring_rx_init(struct demi_ring_dev *rd)
{
	uint32_t want = rd->q.rx_fill.mask + 1, region;
	uint64_t offset;

	rd->posted = calloc(want, sizeof(*rd->posted));
	if (!rd->posted)
		return -ENOMEM;
	for (; rd->nposted < want; rd->nposted++) {
		void *obj = buffer_get(rd, &region, &offset);

		if (!obj)
			break;
		post(rd, rd->nposted, obj, region, offset);
	}
	demi_kring_publish(&rd->q.rx_fill);
	/* Fewer do, as long as the longest packet fits. */
	if (rd->nposted >= DEMI_FRAME_DESCS_MAX)
		return 0;
	demi_warn("ring: no registered memory for receive buffers: the limit on locked memory (ulimit -l) is used up");
	demi_ring_rx_destroy(rd);
	return -ENOMEM;
}

void demi_ring_rx_destroy(struct demi_ring_dev *rd)
{
	uint32_t i;

	for (i = 0; i < rd->nposted; i++)
		demi_heap_free(rd->posted[i]);
	free(rd->posted);
	rd->posted = NULL;
	rd->nposted = 0;
}

/* The first bytes of what may be somebody else's object, or nobody's, when the ring lies: only to be compared. */
__attribute__((no_sanitize("address"))) static uint32_t slot_in(const void *obj)
{
	return *(const volatile uint32_t *)obj;
}

/* The posted object that a descriptor of rx names; NULL: none, the ring lies. */
static void *object_of(const struct demi_ring_dev *rd, const struct demi_desc *d, uint32_t *slot)
{
	const struct demi_ring_mem *m = rd->mem;
	uintptr_t base = atomic_load_explicit(&m->base_of[d->region], memory_order_relaxed);
	uintptr_t obj = base + d->offset - DEMI_RING_RX_OFFSET;
	uint64_t offset;

	if (!base || obj % sizeof(uint32_t) || d->len > DEMI_RING_RX_LEN || !d->len ||
	    demi_ring_mem_find(m, (void *)obj, DEMI_RING_RX_BYTES, &offset) != d->region)
		return NULL;
	*slot = slot_in((void *)obj);
	return *slot < rd->nposted && rd->posted[*slot] == (void *)obj ? (void *)obj : NULL;
}

/* What came is not wanted: post it again. */
static void refuse(struct demi_ring_dev *rd, const struct demi_desc *d)
{
	uint32_t slot;
	char *obj = object_of(rd, d, &slot);

	if (obj)
		post(rd, slot, obj, d->region, d->offset - DEMI_RING_RX_OFFSET);
}

/* Take one descriptor; its slot is posted again in any case. The object or the copy in @obj_out is the caller's. */
static int take(struct demi_ring_dev *rd, const struct demi_desc *d, char **obj_out)
{
	uint32_t slot, region;
	uint64_t offset;
	char *obj = object_of(rd, d, &slot), *fresh;

	if (!obj)
		return -EPROTO;
	fresh = buffer_get(rd, &region, &offset);
	if (__builtin_expect(fresh != NULL, 1)) {
		post(rd, slot, fresh, region, offset);
		*obj_out = obj;
		return 0;
	}
	fresh = demi_heap_alloc(DEMI_RING_RX_OFFSET + d->len);
	if (fresh)
		memcpy(fresh + DEMI_RING_RX_OFFSET, obj + DEMI_RING_RX_OFFSET, d->len);
	post(rd, slot, obj, d->region, d->offset - DEMI_RING_RX_OFFSET);
	*obj_out = fresh;
	return fresh ? 0 : -ENOMEM;
}

static void metadata(struct demi_pkt *pkt, const struct virtio_net_hdr_v1 *h)
{
	pkt->gso_size = h->gso_size;
	pkt->csum_start = h->csum_start;
	pkt->csum_offset = h->csum_offset;
	pkt->hdr_len = h->hdr_len;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		pkt->flags |= DEMI_PKT_F_CSUM_PARTIAL;
	if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		pkt->flags |= DEMI_PKT_F_CSUM_OK;
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		pkt->flags |= DEMI_PKT_F_GSO_TCP4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		pkt->flags |= DEMI_PKT_F_GSO_TCP6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		pkt->flags |= DEMI_PKT_F_GSO_UDP;
		break;
	default:
		return;
	}
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		pkt->flags |= DEMI_PKT_F_GSO_ECN;
}

/* The @n descriptors from @first are a frame: write its packet, or drop it whole. Entries written. */
static uint32_t take_frame(struct demi_ring_dev *rd, uint32_t first, uint32_t n, struct demi_pkt *pkts)
{
	int ret = n <= DEMI_PKT_RX_SEGS_MAX ? 0 : -EPROTO;
	struct virtio_net_hdr_v1 hdr;
	uint32_t i, kept = 0, bytes = 0;

	for (i = 0; i < n; i++) {
		struct demi_desc d = demi_kring_peek(&rd->q.rx, first + i);
		uint32_t skip = i ? 0 : DEMI_RING_HDR_BYTES;
		bool more = i + 1 < n;
		char *obj = NULL;

		if (!ret && (d.len <= skip || more != !!(d.flags & DEMI_DESC_F_MORE)))
			ret = -EPROTO;
		if (ret) {
			refuse(rd, &d);
			continue;
		}
		ret = take(rd, &d, &obj);
		if (ret)
			continue;
		pkts[i] = (struct demi_pkt){ .data = (uint8_t *)obj + DEMI_RING_RX_OFFSET + skip,
					     .len = d.len - skip,
					     .flags = more ? DEMI_PKT_F_MORE : 0 };
		bytes += d.len - skip;
		kept++;
	}
	if (ret) {
		for (i = 0; i < kept; i++)
			demi_heap_free(pkts[i].data);
		if (ret == -ENOMEM)
			rd->stats.rx_dropped++;
		else
			rd->stats.rx_errors++;
		return 0;
	}
	memcpy(&hdr, pkts[0].data - DEMI_RING_HDR_BYTES, sizeof(hdr));
	metadata(&pkts[0], &hdr);
	rd->stats.rx_packets++;
	rd->stats.rx_bytes += bytes;
	return n;
}

int demi_ring_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_kring *rx = &rd->q.rx;
	uint32_t out = 0, at = 0;
	int avail;

	if (__builtin_expect(rd->gone, 0))
		return -ENODEV;
	avail = demi_kring_avail(rx);
	if (avail <= 0)
		return avail ? demi_ring_gone(rd) : 0;
	while (at < (uint32_t)avail) {
		uint32_t n = 1;

		while (at + n < (uint32_t)avail && demi_kring_peek(rx, at + n - 1).flags & DEMI_DESC_F_MORE)
			n++;
		if (n <= DEMI_PKT_RX_SEGS_MAX && out + n > max)
			break;
		out += take_frame(rd, at, n, pkts + out);
		at += n;
	}
	demi_kring_release(rx, at);
	demi_kring_publish(&rd->q.rx_fill);
	return (int)out;
}

/* Nothing is posted again: who calls this does not receive for long. */
uint32_t demi_ring_last_rx(struct demi_pktdev *d, void *packet, uint32_t max)
{
	struct demi_ring_dev *rd = demi_ring_dev(d);
	struct demi_kring *rx = &rd->q.rx;
	uint32_t len = 0, slot;

	if (rd->gone)
		return 0;
	while (!len && demi_kring_avail(rx) > 0) {
		struct demi_desc first = demi_kring_peek(rx, 0), more = first;
		const char *obj = object_of(rd, &first, &slot);

		if (obj && first.len > DEMI_RING_HDR_BYTES) {
			len = first.len - DEMI_RING_HDR_BYTES < max ? first.len - DEMI_RING_HDR_BYTES : max;
			memcpy(packet, obj + DEMI_RING_RX_OFFSET + DEMI_RING_HDR_BYTES, len);
		}
		demi_kring_release(rx, 1);
		for (; more.flags & DEMI_DESC_F_MORE && demi_kring_avail(rx) > 0; demi_kring_release(rx, 1))
			more = demi_kring_peek(rx, 0);
	}
	return len;
}
