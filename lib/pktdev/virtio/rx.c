/* SPDX-License-Identifier: MIT */
/* Receiving: a frame a descriptor, and every descriptor that came back gets a buffer again. */
#include "pktdev/virtio/dev.h"

#include "core/log.h"

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

static void post(struct demi_virtio_dev *vd, uint16_t i, void *obj)
{
	vd->posted[i] = obj;
	vd->rx.desc[i] = (struct vring_desc){ .addr = (uintptr_t)obj + DEMI_VIRTIO_RX_OFFSET,
					      .len = DEMI_VIRTIO_RX_LEN,
					      .flags = VRING_DESC_F_WRITE };
	demi_vring_put(&vd->rx, i);
}

static void publish(struct demi_virtio_dev *vd)
{
	if (demi_vring_publish(&vd->rx))
		demi_vring_kick(&vd->rx);
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

/* The object of descriptor @i, or a copy of it, is the caller's; the descriptor is posted again. NULL: no memory. */
static char *hand_over(struct demi_virtio_dev *vd, uint16_t i, uint32_t len)
{
	char *obj = vd->posted[i], *fresh = buffer_get(vd);

	if (__builtin_expect(fresh != NULL, 1)) {
		post(vd, i, fresh);
		return obj;
	}
	fresh = demi_heap_alloc(DEMI_VIRTIO_RX_OFFSET + len);
	if (fresh)
		memcpy(fresh + DEMI_VIRTIO_RX_OFFSET, obj + DEMI_VIRTIO_RX_OFFSET, len);
	post(vd, i, obj);
	return fresh;
}

/* One that came back: its packet, or nothing. Entries written, or -ENODEV. */
static int take(struct demi_virtio_dev *vd, struct demi_pkt *pkt)
{
	struct vring_used_elem e = demi_vring_take(&vd->rx);
	char *obj;

	if (e.id >= vd->rx.entries || !vd->posted[e.id])
		return demi_virtio_gone(vd);
	if (e.len <= DEMI_VIRTIO_HDR_BYTES || e.len > DEMI_VIRTIO_RX_LEN) {
		vd->stats.rx_errors++;
		post(vd, (uint16_t)e.id, vd->posted[e.id]);
		return 0;
	}
	obj = hand_over(vd, (uint16_t)e.id, e.len);
	if (!obj) {
		vd->stats.rx_dropped++;
		return 0;
	}
	/* no checksum was asked of the device, and no merging: its header says nothing */
	*pkt = (struct demi_pkt){ .data = (uint8_t *)obj + DEMI_PKT_HEADROOM,
				  .len = e.len - (uint32_t)DEMI_VIRTIO_HDR_BYTES };
	vd->stats.rx_packets++;
	vd->stats.rx_bytes += pkt->len;
	return 1;
}

int demi_virtio_rx(struct demi_pktdev *d, struct demi_pkt *pkts, uint32_t max)
{
	struct demi_virtio_dev *vd = demi_virtio_dev(d);
	uint32_t out = 0;
	int n, ret = 0;

	if (__builtin_expect(vd->gone, 0))
		return -ENODEV;
	n = demi_vring_avail(&vd->rx);
	if (n == 0 && ++vd->looks)
		return 0;
	ret = n < 0 ? demi_virtio_gone(vd) : demi_virtio_check(vd);
	if (ret || !n)
		return ret;
	for (; n > 0 && out < max && ret >= 0; n--) {
		ret = take(vd, &pkts[out]);
		out += ret > 0;
	}
	demi_vring_quiet(&vd->rx);
	publish(vd);
	return out ? (int)out : ret;
}
