/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_VIRTIO_DEVICE_H
#define DEMI_SELFTESTS_VIRTIO_DEVICE_H

/*
 * A virtio-net device and its module, played by the test: the mapping of <linux/demi_virtio.h> in a memory file, and
 * the device's side of its rings. What the library posts is checked: that the device can reach it.
 */

#include "kdev/kdev.h"

#include "check.h"

#include <linux/demi_virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <sys/mman.h>

#define VDEV_REGIONS 4096
#define VDEV_PARTS_MAX 64

/* A chain that the library has made available. */
struct vdev_chain {
	uint16_t id, ndesc;
	struct {
		uint8_t *at;
		uint32_t len;
		bool write;
	} part[VDEV_PARTS_MAX];
};

struct vdev_ring {
	uint16_t entries, avail, used;
	bool packed, avail_wrap, used_wrap;
	struct vring_packed_desc *pdesc;
	bool begun; /* used ones that are not told: the first one's flags are written last */
	uint16_t first, first_flags;
	struct vring_desc *desc;
	struct vring_avail *driver;
	struct vring_used *device;
};

static struct {
	char *map;
	size_t bytes;
	struct demi_virtio_queue *q;
	struct vdev_ring rx, tx;
	struct {
		uintptr_t base;
		size_t len;
	} region[VDEV_REGIONS];
	uint32_t nregions;
	size_t budget; /* bytes that can still be registered */
	bool shut;
	/* what the device is: set before it is opened */
	uint64_t features;
	uint16_t entries_max;
	uint32_t mtu;
} vdev;

/* ---- the module ---- */

int demi_kdev_open(struct demi_get_info *info)
{
	vdev.nregions = 0;
	vdev.shut = false;
	*info = (struct demi_get_info){ .size = sizeof(*info), .abi = 1, .ring_entries_max = 1024 };
	return memfd_create("demi", MFD_CLOEXEC);
}

const char *demi_kdev_hint(int err)
{
	return NULL;
}

static uint32_t vdev_place(struct demi_virtio_ring *r, uint16_t index, uint16_t entries, uint32_t at)
{
	*r = (struct demi_virtio_ring){ .entries = entries, .index = index, .desc = at };
	r->avail = at + ((entries * 16u + 4095) & ~4095u);
	r->used = r->avail + 4096;
	return r->used + ((entries * 8u + 6 + 4095) & ~4095u);
}

static void vdev_ring_init(struct vdev_ring *r, const struct demi_virtio_ring *at)
{
	*r = (struct vdev_ring){ .entries = at->entries,
				 .packed = vdev.q->features >> VIRTIO_F_RING_PACKED & 1,
				 .avail_wrap = true,
				 .used_wrap = true,
				 .pdesc = (void *)(vdev.map + at->desc),
				 .desc = (void *)(vdev.map + at->desc),
				 .driver = (void *)(vdev.map + at->avail),
				 .device = (void *)(vdev.map + at->used) };
}

static int vdev_create(struct demi_queue_create *c)
{
	uint16_t entries = (uint16_t)(c->rx_entries < vdev.entries_max ? c->rx_entries : vdev.entries_max);
	struct demi_virtio_ring rx, tx;
	uint32_t end = vdev_place(&tx, 1, entries, vdev_place(&rx, 0, entries, 4096));

	rx.doorbell = end;
	tx.doorbell = end + 2048;
	c->mmap_bytes = vdev.bytes = end + 4096;
	c->fd = memfd_create("queue", MFD_CLOEXEC);
	CHECK(c->fd >= 0);
	OK(ftruncate(c->fd, (off_t)vdev.bytes));
	vdev.map = mmap(NULL, vdev.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	CHECK(vdev.map != MAP_FAILED);
	vdev.q = (void *)vdev.map;
	*vdev.q = (struct demi_virtio_queue){ .rx = rx, .tx = tx, .mtu_bytes = vdev.mtu, .mac = { 2, 0, 0, 0, 0, 1 } };
	vdev.q->features = 1ull << VIRTIO_F_VERSION_1 | (vdev.features & c->features);
	vdev.q->features |= vdev.features & 1ull << VIRTIO_RING_F_EVENT_IDX;
	vdev_ring_init(&vdev.rx, &rx);
	vdev_ring_init(&vdev.tx, &tx);
	return 0;
}

int demi_kdev_call(int fd, unsigned long command, void *arg)
{
	switch (command) {
	case DEMI_DEVICE_LIST: {
		struct demi_device_list *a = arg;

		for (uint32_t i = 0; i < 2 && i < a->count; i++)
			((uint32_t *)(uintptr_t)a->ids)[i] = i + 1;
		a->count = 2;
		return 0;
	}
	case DEMI_DEVICE_INFO: {
		struct demi_device_info *a = arg;

		a->kind = a->device_id == 2 ? DEMI_DEVICE_VIRTIO_NET : DEMI_DEVICE_HOST;
		return 0;
	}
	case DEMI_REGION_REGISTER: {
		struct demi_region_register *a = arg;

		if (a->length_bytes > vdev.budget || vdev.nregions + 1 == VDEV_REGIONS)
			return -ENOMEM;
		vdev.budget -= a->length_bytes;
		a->region_id = ++vdev.nregions;
		vdev.region[a->region_id].base = (uintptr_t)a->addr;
		vdev.region[a->region_id].len = a->length_bytes;
		return 0;
	}
	case DEMI_REGION_UNREGISTER:
		vdev.region[((struct demi_region_unregister *)arg)->region_id].len = 0;
		return 0;
	case DEMI_QUEUE_CREATE:
		return vdev_create(arg);
	case DEMI_QUEUE_SHUTDOWN:
		vdev.shut = true;
		return 0;
	case DEMI_DEVICE_BIND:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- the device ---- */

/* What the IOMMU would say. */
static bool vdev_reaches(uintptr_t at, uint32_t len)
{
	for (uint32_t i = 1; i <= vdev.nregions; i++)
		if (at >= vdev.region[i].base && at - vdev.region[i].base < vdev.region[i].len &&
		    vdev.region[i].len - (at - vdev.region[i].base) >= len)
			return true;
	return false;
}

static void vdev_part(struct vdev_chain *c, uint64_t addr, uint32_t len, uint16_t flags)
{
	CHECK(c->ndesc < VDEV_PARTS_MAX && len && vdev_reaches((uintptr_t)addr, len));
	c->part[c->ndesc].at = (uint8_t *)(uintptr_t)addr;
	c->part[c->ndesc].len = len;
	c->part[c->ndesc++].write = flags & VRING_DESC_F_WRITE;
}

#define VDEV_AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define VDEV_USED (1U << VRING_PACKED_DESC_F_USED)

static void vdev_advance(const struct vdev_ring *r, uint16_t *at, bool *wrap, uint16_t n)
{
	*at = (uint16_t)(*at + n);
	if (*at < r->entries)
		return;
	*at = (uint16_t)(*at - r->entries);
	*wrap = !*wrap;
}

static bool vdev_next_packed(struct vdev_ring *r, struct vdev_chain *c)
{
	uint16_t flags = __atomic_load_n(&r->pdesc[r->avail].flags, __ATOMIC_ACQUIRE);

	if (!(flags & VDEV_AVAIL) == r->avail_wrap || !(flags & VDEV_USED) != r->avail_wrap)
		return false;
	do {
		const struct vring_packed_desc *d = &r->pdesc[r->avail];

		flags = d->flags;
		CHECK(!(flags & VDEV_AVAIL) != r->avail_wrap && !(flags & VDEV_USED) == r->avail_wrap);
		vdev_part(c, d->addr, d->len, flags);
		c->id = d->id;
		vdev_advance(r, &r->avail, &r->avail_wrap, 1);
	} while (flags & VRING_DESC_F_NEXT);
	return true;
}

/* The next chain that is available. */
static bool vdev_next(struct vdev_ring *r, struct vdev_chain *c)
{
	const struct vring_desc *d;
	uint16_t i;

	*c = (struct vdev_chain){ 0 };
	if (r->packed)
		return vdev_next_packed(r, c);
	if (__atomic_load_n(&r->driver->idx, __ATOMIC_ACQUIRE) == r->avail)
		return false;
	i = c->id = r->driver->ring[r->avail++ % r->entries];
	do {
		CHECK(i < r->entries);
		d = &r->desc[i];
		vdev_part(c, d->addr, d->len, d->flags);
		i = d->next;
	} while (d->flags & VRING_DESC_F_NEXT);
	return true;
}

/* Say that a chain was used, once it is told; what is said need not be true. */
static void vdev_use(struct vdev_ring *r, uint32_t id, uint32_t len, uint16_t ndesc)
{
	if (r->packed) {
		struct vring_packed_desc *d = &r->pdesc[r->used];
		uint16_t flags = r->used_wrap ? VDEV_AVAIL | VDEV_USED : 0;

		d->id = (uint16_t)id;
		d->len = len;
		if (r->begun) {
			__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
		} else {
			r->begun = true;
			r->first = r->used;
			r->first_flags = flags;
		}
		vdev_advance(r, &r->used, &r->used_wrap, ndesc);
		return;
	}
	r->device->ring[r->used % r->entries] = (struct vring_used_elem){ .id = id, .len = len };
	r->used++;
}

/* Tell. */
static void vdev_tell(struct vdev_ring *r)
{
	if (r->packed && r->begun)
		__atomic_store_n(&r->pdesc[r->first].flags, r->first_flags, __ATOMIC_RELEASE);
	r->begun = false;
	if (!r->packed)
		__atomic_store_n(&r->device->idx, r->used, __ATOMIC_RELEASE);
}

#endif /* DEMI_SELFTESTS_VIRTIO_DEVICE_H */
