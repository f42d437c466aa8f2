/* SPDX-License-Identifier: MIT */
/* heap: the DMA heap beside the C library's. */
#include "cmds.h"
#include "demi-loop.h"
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 10000

static int heap_open(const struct opts *o, void **state)
{
	uint32_t *size = malloc(sizeof(*size));

	if (!size)
		return -ENOMEM;
	*size = o->size;
	*state = size;
	return 0;
}

static int demi_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	*ops = BATCH;
	return -loop_heap(*(uint32_t *)state, BATCH);
}

static int libc_batch(void *state, uint64_t *ops, uint64_t *ns)
{
	uint32_t size = *(uint32_t *)state;
	int i;

	for (i = 0; i < BATCH; i++) {
		char *p = malloc(size);

		if (!p)
			return -ENOMEM;
		__asm__ volatile("" : : "r"(p) : "memory");
		free(p);
	}
	*ops = BATCH;
	return 0;
}

static int run_heap(struct opts *o)
{
	struct local_side sides[2] = {
		{ .name = "demi", .open = heap_open, .batch = demi_batch, .close = free },
		{ .name = "libc", .open = heap_open, .batch = libc_batch, .close = free },
	};
	char title[96];

	if (!o->size)
		o->size = 64;
	snprintf(title, sizeof(title), "allocate and free %u bytes", o->size);
	return local_pairs(o, sides, o->nsides > 1 ? 2 : 1, 0, title);
}

const struct command cmd_heap = {
	.name = "heap",
	.doc = "allocating and freeing, beside the C library (--vs libc)",
	.options = "s",
	.kinds = "demi libc",
	.run = run_heap,
};
