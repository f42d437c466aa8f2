/* SPDX-License-Identifier: MIT */
/* Queues: their files and the mapping of their rings. */
#include "kdev/kdev.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int demi_kdev_queue_info(int fd, uint32_t queue_id, struct demi_queue_info *info)
{
	*info = (struct demi_queue_info){ .size = sizeof(*info), .queue_id = queue_id };
	return demi_kdev_call(fd, DEMI_QUEUE_INFO, info);
}

static int ring_init(struct demi_kring *r, const struct demi_kqueue *q, const struct demi_ring_layout *l)
{
	const size_t words[] = { l->producer, l->consumer, l->flags };
	char *base = q->map;
	size_t i;

	memset(r, 0, sizeof(*r));
	if (!l->entries)
		return 0;
	if (l->entries > DEMI_RING_ENTRIES_MAX || l->entries & (l->entries - 1) || l->desc % sizeof(struct demi_desc) ||
	    l->desc > q->map_bytes || (q->map_bytes - l->desc) / sizeof(struct demi_desc) < l->entries)
		return -EPROTO;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i] % 4 || words[i] > q->map_bytes - 4)
			return -EPROTO;
	r->mask = l->entries - 1;
	r->producer = (uint32_t *)(base + l->producer);
	r->consumer = (uint32_t *)(base + l->consumer);
	r->flags = (uint32_t *)(base + l->flags);
	r->desc = (struct demi_desc *)(base + l->desc);
	return 0;
}

int demi_kqueue_map(struct demi_kqueue *q, const struct demi_queue_create *c)
{
	int ret;

	if (c->mmap_bytes < 4096 || c->mmap_bytes > UINT32_MAX)
		return -EPROTO;
	*q = (struct demi_kqueue){ .fd = c->fd, .id = c->queue_id, .map_bytes = c->mmap_bytes };
	q->map = mmap(NULL, q->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (q->map == MAP_FAILED)
		return -errno;
	ret = ring_init(&q->rx_fill, q, &c->rx_fill);
	if (!ret)
		ret = ring_init(&q->rx, q, &c->rx);
	if (!ret)
		ret = ring_init(&q->tx, q, &c->tx);
	if (!ret)
		ret = ring_init(&q->tx_done, q, &c->tx_done);
	if (ret)
		munmap(q->map, q->map_bytes);
	return ret;
}

int demi_kqueue_create(struct demi_kqueue *q, int fd, struct demi_queue_create *c)
{
	int ret;

	c->size = sizeof(*c);
	ret = demi_kdev_call(fd, DEMI_QUEUE_CREATE, c);
	if (ret)
		return ret;
	ret = demi_kqueue_map(q, c);
	if (ret)
		close(c->fd);
	return ret;
}

void demi_kqueue_close(struct demi_kqueue *q)
{
	struct demi_queue_shutdown arg = { .size = sizeof(arg) };

	/* Another holder of the file would keep it alive, and memory of this process with it. */
	(void)demi_kdev_call(q->fd, DEMI_QUEUE_SHUTDOWN, &arg);
	munmap(q->map, q->map_bytes);
	close(q->fd);
}

int demi_kqueue_kick(const struct demi_kqueue *q)
{
	struct demi_queue_kick arg = { .size = sizeof(arg) };

	return demi_kdev_call(q->fd, DEMI_QUEUE_KICK, &arg);
}
