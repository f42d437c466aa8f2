/* SPDX-License-Identifier: MIT */
/*
 * Receiving: a frame in a buffer, or in several if it is long, and every descriptor that came back gets a buffer again.
 */
#include "pktdev/virtio/dev.h"

#include "core/log.h"
#include "ether/ether.h"

#include <stdlib.h>
#include <string.h>

/* A heap object that the device can write to; or NULL. */
static void *buffer_get(struct demi_virtio_dev *vd)
{
	void *obj = demi_heap_alloc(DEMI_VIRTIO_RX_BYTES);
	uint64_t offset;

	if (!obj)
		return NULL;
	if (__builtin_expect(demi_ring_mem_find(vd->mem, obj, DEMI_VIRTIO_RX_BYTES, &offset) != 0, 1))
		return obj;
	if (!atomic_load_explicit(&vd->mem->full, memory_order_relaxed) &&
	    !demi_ring_mem_register(vd->mem, obj, DEMI_VIRTIO_RX_BYTES))
		return obj;
	demi_heap_free(obj);
	return NULL;
}

static inline __attribute__((always_inline)) void post(struct demi_virtio_dev *vd, uint16_t i, void *obj)
{
	vd->posted[i] = obj;
	demi_vring_describe(&vd->rx, i, i, (uintptr_t)obj + DEMI_VIRTIO_RX_OFFSET, DEMI_VIRTIO_RX_LEN,
			    VRING_DESC_F_WRITE, 0);
	demi_vring_put(&vd->rx, i);
}

static void publish(struct demi_virtio_dev *vd)
{
	uint16_t old = (uint16_t)(vd->rx.next - vd->rx.added);

	if (!demi_vring_publish(&vd->rx))
		return;
	demi_vring_kick(&vd->rx);
	/* too little for a long packet is nothing, too */
	if (vd->share && demi_vring_was_short(&vd->rx, old, DEMI_PKT_RX_SEGS_MAX))
		demi_virtio_share_ring(vd);
}

/*
 * As many again, registered and given back to the heap: a program that keeps for a while what it has received causes no
 * system call for the buffers that take its place.
 */
static void make_spare(struct demi_virtio_dev *vd)
{
	void **objs = malloc(vd->rx.entries * sizeof(*objs));
	uint16_t n = 0;

	while (objs && n < vd->rx.entries && (objs[n] = buffer_get(vd)))
		n++;
	while (n)
		demi_heap_free(objs[--n]);
	free(objs);
}

int demi_virtio_rx_init(struct demi_virtio_dev *vd)
{
	uint16_t i;

	vd->posted = calloc(vd->rx.entries, sizeof(*vd->posted));
	if (!vd->posted)
		return -ENOMEM;
	for (i = 0; i < vd->rx.entries; i++) {
		void *obj = buffer_get(vd);

		if (!obj)
			break;
		post(vd, i, obj);
	}
	if (!i) {
		demi_warn("virtio: no registered memory for receive buffers: the limit on locked memory (ulimit -l) is "
			  "used up");
		demi_virtio_rx_destroy(vd);
		return -ENOMEM;
	}
	make_spare(vd);
	demi_vring_quiet(&vd->rx);
	publish(vd);
	return 0;
}

void demi_virtio_rx_destroy(struct demi_virtio_dev *vd)
{
	uint16_t i;

	for (i = 0; i < vd->rx.entries; i++)
		if (vd->posted[i])
			demi_heap_free(vd->posted[i]);
	free(vd->posted);
}

/* No buffer can be had for descriptor @i: a copy of its bytes, or NULL; it is posted again as it is. */
static __attribute__((noinline)) char *copy_out(struct demi_virtio_dev *vd, uint16_t i, uint32_t len)
{
	char *obj = vd->posted[i], *copy = demi_heap_alloc(DEMI_VIRTIO_RX_OFFSET + len);

	if (copy)
		memcpy(copy + DEMI_VIRTIO_RX_OFFSET, obj + DEMI_VIRTIO_RX_OFFSET, len);
	post(vd, i, obj);
	return copy;
}

/* The object of descriptor @i, or a copy of it, is the caller's; the descriptor is posted again. NULL: no memory. */
static inline __attribute__((always_inline)) char *hand_over(struct demi_virtio_dev *vd, uint16_t i, uint32_t len)
{
	char *obj = vd->posted[i], *fresh = buffer_get(vd);

	if (__builtin_expect(!fresh, 0))
		return copy_out(vd, i, len);
	post(vd, i, fresh);
	return obj;
}

/* What came with @e is of no use: its buffer is posted again. */
static __attribute__((noinline)) void refuse(struct demi_virtio_dev *vd, const struct vring_used_elem *e)
{
	post(vd, (uint16_t)e->id, vd->posted[e->id]);
}

static inline bool is_posted(const struct demi_virtio_dev *vd, const struct vring_used_elem *e)
{
	return e->id < vd->rx.entries && vd->posted[e->id];
}

/*
 * What the device says of the packet: 5.1.6.4.1. False: it says what it may not, or of bytes that are not there. Read
 * once: the device could still write to it.
 */
static __attribute__((noinline)) bool describe(const struct demi_virtio_dev *vd, struct demi_pkt *pkt)
{
	const volatile struct virtio_net_hdr_v1 *at = (const void *)(pkt->data - DEMI_VIRTIO_HDR_BYTES);
	uint8_t flags = at->flags, type = at->gso_type;

	if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		pkt->csum_start = at->csum_start;
		pkt->csum_offset = at->csum_offset;
		if (pkt->csum_start < DEMI_ETHER_HLEN || (uint32_t)pkt->csum_start + pkt->csum_offset + 2 > pkt->len)
			return false;
		pkt->flags |= DEMI_PKT_F_CSUM_PARTIAL;
	} else if (flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		pkt->flags |= DEMI_PKT_F_CSUM_OK;
	}
	if (type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	if ((type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4 &&
	    demi_virtio_has(vd, VIRTIO_NET_F_GUEST_TSO4))
		pkt->flags |= DEMI_PKT_F_GSO_TCP4;
	else if ((type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6 &&
		 demi_virtio_has(vd, VIRTIO_NET_F_GUEST_TSO6))
		pkt->flags |= DEMI_PKT_F_GSO_TCP6;
	else
		return false;
	if (type & VIRTIO_NET_HDR_GSO_ECN)
		pkt->flags |= DEMI_PKT_F_GSO_ECN;
	pkt->gso_size = at->gso_size;
	return pkt->gso_size && pkt->flags & DEMI_PKT_F_CSUM_PARTIAL;
}

/* A packet in @n buffers, of which @e has the first; all are there. Entries written, or -ENODEV. */
static __attribute__((noinline)) int take_merged(struct demi_virtio_dev *vd, struct vring_used_elem *e, uint32_t n,
						 struct demi_pkt *pkts)
{
	uint32_t skip = DEMI_VIRTIO_HDR_BYTES, least = skip + DEMI_PKT_RX_FIRST_MIN, bytes = 0, kept = 0;
	bool wrong = false, lost = false;

	for (uint32_t i = 0; i < n; i++, skip = 0, least = 1) {
		char *obj = NULL;

		if (i && (!demi_vring_peek(&vd->rx, e) || !is_posted(vd, e))) {
			wrong = true;
			demi_virtio_gone(vd);
			break;
		}
		demi_vring_pop(&vd->rx, 1);
		wrong |= e->len < least || e->len > DEMI_VIRTIO_RX_LEN;
		if (!wrong && !lost)
			obj = hand_over(vd, (uint16_t)e->id, e->len);
		else
			refuse(vd, e);
		if (!obj) {
			lost = true;
			continue;
		}
		pkts[kept++] = (struct demi_pkt){ .data = (uint8_t *)obj + DEMI_VIRTIO_RX_OFFSET + skip,
						  .len = e->len - skip,
						  .flags = i + 1 < n ? DEMI_PKT_F_MORE : 0 };
		bytes += e->len - skip;
	}
	wrong = wrong || (!lost && vd->rx_described && !describe(vd, &pkts[0]));
	if (!wrong && !lost) {
		vd->stats.rx_packets++;
		vd->stats.rx_bytes += bytes;
		return (int)n;
	}
	while (kept)
		demi_heap_free(pkts[--kept].data);
	vd->stats.rx_errors += wrong;
	vd->stats.rx_dropped += !wrong;
	return vd->gone ? -ENODEV : 0;
}

/* A packet in the buffer of @e. Entries written. */
static inline int take(struct demi_virtio_dev *vd, const struct vring_used_elem *e, struct demi_pkt *pkt)
{
	char *obj;

	demi_vring_pop(&vd->rx, 1);
	if (e->len <= DEMI_VIRTIO_HDR_BYTES || e->len > DEMI_VIRTIO_RX_LEN) {
		vd->stats.rx_errors++;
		refuse(vd, e);
		return 0;
	}
	obj = hand_over(vd, (uint16_t)e->id, e->len);
	if (!obj) {
		vd->stats.rx_dropped++;
		return 0;
	}
	*pkt = (struct demi_pkt){ .data = (uint8_t *)obj + DEMI_PKT_HEADROOM,
				  .len = e->len - (uint32_t)DEMI_VIRTIO_HDR_BYTES };
	if (vd->rx_described && !describe(vd, pkt)) {
		vd->stats.rx_errors++;
		demi_heap_free(obj);
		return 0;
	}
	vd->stats.rx_packets++;
	vd->stats.rx_bytes += pkt->len;
	return 1;
}

/* How many buffers the packet has that begins in the buffer of @e. 0, or more than can be: the device lies. */
static inline uint32_t buffers_of(const struct demi_virtio_dev *vd, const struct vring_used_elem *e)
{
	const volatile struct virtio_net_hdr_v1 *h = (void *)((char *)vd->posted[e->id] + DEMI_VIRTIO_RX_OFFSET);

	return vd->merges ? h->num_buffers : 1;
}

/* The packets that are there, as far as there is room. Entries written, or -ENODEV. */
static int take_all(struct demi_virtio_dev *vd, struct demi_pkt *pkts, uint32_t max)
{
	struct vring_used_elem e;
	uint32_t out = 0, n;
	int ret = 0;

	while (out < max && ret >= 0 && demi_vring_peek(&vd->rx, &e)) {
		if (!is_posted(vd, &e))
			ret = demi_virtio_gone(vd);
		else if (__builtin_expect((n = buffers_of(vd, &e)) == 1, 1))
			ret = take(vd, &e, &pkts[out]);
		else if (!n || n > DEMI_PKT_RX_SEGS_MAX)
			ret = demi_virtio_gone(vd);
		else if (n > max - out)
			break;
		else
			ret = take_merged(vd, &e, n, &pkts[out]);
		out += ret > 0 ? (uint32_t)ret : 0;
	}
	return out ? (int)out : ret;
}

int demi_virtio_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	int some, ret;

	if (__builtin_expect(vd->gone, 0))
		return -ENODEV;
	some = demi_vring_look(&vd->rx);
	if (some == 0 && ++vd->looks)
		return 0;
	ret = some < 0 ? demi_virtio_gone(vd) : demi_virtio_check(vd);
	if (ret || !some)
		return ret;
	ret = take_all(vd, pkts, max);
	demi_vring_quiet(&vd->rx);
	publish(vd);
	return ret;
}
