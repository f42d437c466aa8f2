/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SELFTESTS_KDEV_FAKE_H
#define DEMI_SELFTESTS_KDEV_FAKE_H

/* The kernel's side of a queue, played by the test: rings in a memory file, as <linux/demi.h> lays them out. */

#include "kdev/kdev.h"

#include "check.h"

#include <sys/mman.h>

struct fake_ring {
	uint32_t own; /* consumer of rx_fill and tx, producer of rx and tx_done */
	uint32_t mask;
	uint32_t *producer, *consumer, *flags;
	struct demi_desc *desc;
};

struct fake_queue {
	char *map;
	size_t bytes;
	struct fake_ring rx_fill, rx, tx, tx_done;
};

static inline void fake_ring_init(struct fake_ring *r, char *map, const struct demi_ring_layout *l)
{
	r->own = 0;
	r->mask = l->entries - 1;
	r->producer = (uint32_t *)(map + l->producer);
	r->consumer = (uint32_t *)(map + l->consumer);
	r->flags = (uint32_t *)(map + l->flags);
	r->desc = (struct demi_desc *)(map + l->desc);
}

/* Answer DEMI_QUEUE_CREATE. */
static inline void fake_queue_create(struct fake_queue *q, struct demi_queue_create *c)
{
	struct demi_ring_layout *layout[] = { &c->rx_fill, &c->rx, &c->tx, &c->tx_done };
	const uint32_t entries[] = { c->rx_fill_entries, c->rx_entries, c->tx_entries, c->tx_done_entries };
	uint32_t at = 4096, i;

	for (i = 0; i < 4; i++) {
		*layout[i] = (struct demi_ring_layout){ .producer = i * 192,
							.consumer = i * 192 + 64,
							.flags = i * 192 + 128,
							.desc = at,
							.entries = entries[i] };
		at = (at + entries[i] * 16 + 4095) & ~4095u;
	}
	c->fd = memfd_create("queue", MFD_CLOEXEC);
	CHECK(c->fd >= 0);
	OK(ftruncate(c->fd, at));
	c->queue_id = 1;
	c->mmap_bytes = at;
	q->bytes = at;
	q->map = mmap(NULL, at, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	CHECK(q->map != MAP_FAILED);
	fake_ring_init(&q->rx_fill, q->map, &c->rx_fill);
	fake_ring_init(&q->rx, q->map, &c->rx);
	fake_ring_init(&q->tx, q->map, &c->tx);
	fake_ring_init(&q->tx_done, q->map, &c->tx_done);
}

static inline uint32_t fake_avail(const struct fake_ring *r)
{
	uint32_t n = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) - r->own;

	CHECK(n <= r->mask + 1);
	return n;
}

static inline uint32_t fake_room(const struct fake_ring *r)
{
	uint32_t used = r->own - __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);

	CHECK(used <= r->mask + 1);
	return r->mask + 1 - used;
}

static inline struct demi_desc fake_take(struct fake_ring *r)
{
	struct demi_desc d = r->desc[r->own++ & r->mask];

	__atomic_store_n(r->consumer, r->own, __ATOMIC_RELEASE);
	return d;
}

static inline void fake_give(struct fake_ring *r, struct demi_desc d)
{
	r->desc[r->own++ & r->mask] = d;
	__atomic_store_n(r->producer, r->own, __ATOMIC_RELEASE);
}

#endif /* DEMI_SELFTESTS_KDEV_FAKE_H */
