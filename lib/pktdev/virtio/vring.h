/* SPDX-License-Identifier: MIT */
#ifndef DEMI_PKTDEV_VIRTIO_VRING_H
#define DEMI_PKTDEV_VIRTIO_VRING_H

/* A virtqueue that the device reads and writes itself, from the driver's side. */

#include "core/barrier.h"

#include <errno.h>
#include <linux/demi_virtio.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct demi_vring {
	uint16_t *doorbell;
	uint16_t entries, index;
	uint16_t next; /* the entry of avail, or the descriptor, to be written */
	uint16_t added; /* since the last publish: entries, or descriptors */
	uint16_t seen; /* the used one to be taken next */
	bool packed;
	bool quiet; /* no interrupts are asked for */
	bool event_idx;

	/* split.h; all indices run freely */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t *used_event, *avail_event;
	uint16_t mask;
	uint16_t looked; /* the end of those that are there, as of the last look */
	uint16_t quiet_at; /* used_event while quiet */

	/* packed.h; next and seen are positions of descriptors */
	struct vring_packed_desc *pdesc;
	struct vring_packed_desc_event *driver, *device;
	bool wrap; /* of next */
	bool seen_wrap;
	bool begun; /* a chain */
	uint16_t head, head_flags; /* and its first descriptor, whose flags are written last */
};

#endif /* DEMI_PKTDEV_VIRTIO_VRING_H */
