/* SPDX-License-Identifier: MIT */
#include "uring/bufring.h"

#include "heap/heap.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void offer(struct demi_bufring *r, uint16_t id)
{
	io_uring_buf_ring_add(r->br, (char *)r->objs[id] + DEMI_RX_HEAD, r->size, id,
			      io_uring_buf_ring_mask(r->entries), 0);
	io_uring_buf_ring_advance(r->br, 1);
}

/* Use up to @n more buffer numbers. */
static void fill(struct demi_bufring *r, uint32_t n)
{
	while (n-- && r->nspare) {
		uint16_t id = r->spare[r->nspare - 1];

		r->objs[id] = demi_heap_alloc(DEMI_RX_HEAD + r->size);
		if (!r->objs[id])
			return;
		r->nspare--;
		offer(r, id);
	}
}

int demi_bufring_init(struct demi_bufring *r, struct io_uring *ring, uint16_t group, uint32_t size, uint32_t first,
		      uint32_t entries)
{
	struct io_uring_buf_reg reg = { .ring_entries = entries, .bgid = group };
	void *mem;
	int err;

	memset(r, 0, sizeof(*r));
	r->ring = ring;
	r->group = group;
	r->size = size;
	r->entries = entries;
	r->first = first;
	r->objs = calloc(entries, sizeof(*r->objs));
	r->spare = calloc(entries, sizeof(*r->spare));
	if (!r->objs || !r->spare ||
	    posix_memalign(&mem, (size_t)sysconf(_SC_PAGESIZE), entries * sizeof(struct io_uring_buf)))
		goto err_free;
	r->br = mem;
	reg.ring_addr = (uint64_t)(uintptr_t)mem;
	err = io_uring_register_buf_ring(ring, &reg, 0);
	if (err) {
		free(mem);
		r->br = NULL;
		demi_bufring_exit(r, false);
		return err;
	}
	io_uring_buf_ring_init(r->br);
	for (uint32_t i = entries; i-- > 0;)
		r->spare[r->nspare++] = (uint16_t)i;
	return 0;

err_free:
	free(r->objs);
	free(r->spare);
	memset(r, 0, sizeof(*r));
	return -ENOMEM;
}

void demi_bufring_exit(struct demi_bufring *r, bool keep_objects)
{
	if (r->br)
		io_uring_unregister_buf_ring(r->ring, r->group);
	for (uint32_t i = 0; r->objs && !keep_objects && i < r->entries; i++) {
		if (r->objs[i])
			demi_heap_free(r->objs[i]);
	}
	free(r->br);
	free(r->objs);
	free(r->spare);
	memset(r, 0, sizeof(*r));
}

void demi_bufring_put(struct demi_bufring *r, uint16_t id, bool kept)
{
	if (kept)
		r->objs[id] = demi_heap_alloc(DEMI_RX_HEAD + r->size);
	if (r->objs[id])
		offer(r, id);
	else
		r->spare[r->nspare++] = id;
}

bool demi_bufring_grow(struct demi_bufring *r)
{
	uint32_t used = r->entries - r->nspare;

	/* numbers that lost their buffer for want of memory first */
	if (used >= r->limit && r->limit < r->entries)
		r->limit = r->limit ? r->limit * 2 : r->first;
	if (used < r->limit)
		fill(r, r->limit - used);
	return r->nspare < r->entries;
}
