// SPDX-License-Identifier: MIT
/*
 * The producer's arena of a pipe: blocks for large elements. The consumer frees an element by clearing
 * its first block's byte in `in_use`; who may write what is in pipe_ring.h. The bytes are only hints
 * of the consumer's: what is busy is known here.
 */
#include "memq/pipe_ring.h"

#include <errno.h>
#include <stdlib.h>

static inline bool is_busy(const struct demi_pipe_arena *a, uint32_t block)
{
	return a->busy[block / 64] >> (block % 64) & 1;
}

static void mark(struct demi_pipe_arena *a, struct demi_pipe_extent e, bool busy)
{
	for (uint32_t b = e.block; b < e.block + e.nblocks; b++) {
		if (busy)
			a->busy[b / 64] |= 1ULL << (b % 64);
		else
			a->busy[b / 64] &= ~(1ULL << (b % 64));
	}
}

static bool freed(const struct demi_pipe_arena *a, struct demi_pipe_extent e)
{
	/* acquire: what the consumer read of the element comes before what is written to it next */
	return !atomic_load_explicit(&a->in_use[e.block], memory_order_acquire);
}

static inline struct demi_pipe_extent *live_at(const struct demi_pipe_arena *a, uint32_t i)
{
	uint32_t at = a->first + i;

	return &a->live[at < a->nblocks ? at : at - a->nblocks];
}

/* Elements are mostly freed in the order in which they were made. */
static void reclaim_oldest(struct demi_pipe_arena *a)
{
	while (a->count && freed(a, *live_at(a, 0))) {
		mark(a, *live_at(a, 0), false);
		a->first = a->first + 1 < a->nblocks ? a->first + 1 : 0;
		a->count--;
	}
}

static void reclaim_all(struct demi_pipe_arena *a)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < a->count; i++) {
		struct demi_pipe_extent e = *live_at(a, i);

		if (freed(a, e))
			mark(a, e, false);
		else
			*live_at(a, kept++) = e;
	}
	a->count = kept;
}

/* The first run of @n free blocks in [from, to), or @to. */
static uint32_t find(const struct demi_pipe_arena *a, uint32_t n, uint32_t from, uint32_t to)
{
	uint32_t run = 0;

	for (uint32_t b = from; b < to; b++) {
		run = is_busy(a, b) ? 0 : run + 1;
		if (run == n)
			return b + 1 - n;
	}
	return to;
}

static uint32_t search(const struct demi_pipe_arena *a, uint32_t n)
{
	uint32_t b = find(a, n, a->cursor, a->nblocks);

	return b < a->nblocks ? b : find(a, n, 0, a->nblocks);
}

uint8_t *demi_pipe_arena_alloc(struct demi_pipe_arena *a, uint32_t len, uint32_t *block)
{
	uint32_t n = (uint32_t)(((uint64_t)len + DEMI_PIPE_BLOCK - 1) / DEMI_PIPE_BLOCK);
	struct demi_pipe_extent e = { .nblocks = n };

	if (!n || n > a->nblocks)
		return NULL;
	reclaim_oldest(a);
	if (!a->count) /* blocks that are in the cache */
		a->cursor = 0;
	e.block = search(a, n);
	if (e.block == a->nblocks) {
		reclaim_all(a);
		e.block = search(a, n);
		if (e.block == a->nblocks)
			return NULL;
	}
	mark(a, e, true);
	*live_at(a, a->count++) = e;
	a->cursor = e.block + n;
	/* relaxed: the record that names the block is published after it */
	atomic_store_explicit(&a->in_use[e.block], 1, memory_order_relaxed);
	*block = e.block;
	return a->base + (size_t)e.block * DEMI_PIPE_BLOCK;
}

int demi_pipe_arena_init(struct demi_pipe_arena *a, uint8_t *base, _Atomic uint8_t *in_use, size_t bytes)
{
	*a = (struct demi_pipe_arena){
		.base = base,
		.in_use = in_use,
		.nblocks = (uint32_t)(bytes / DEMI_PIPE_BLOCK),
	};
	a->busy = calloc((a->nblocks + 63) / 64, sizeof(*a->busy));
	a->live = calloc(a->nblocks, sizeof(*a->live));
	if (a->busy && a->live)
		return 0;
	demi_pipe_arena_destroy(a);
	return -ENOMEM;
}

void demi_pipe_arena_destroy(struct demi_pipe_arena *a)
{
	free(a->busy);
	free(a->live);
	a->busy = NULL;
	a->live = NULL;
}
