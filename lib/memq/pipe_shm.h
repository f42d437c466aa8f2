/* SPDX-License-Identifier: MIT */
#ifndef DEMI_MEMQ_PIPE_SHM_H
#define DEMI_MEMQ_PIPE_SHM_H

/* The shared memory of a pipe: a sealed memfd, mapped where the heap finds its pointers. */

#include "memq/pipe_ring.h"

struct demi_heap_extern;

struct demi_pipe_sizes {
	uint64_t ring_bytes, arena_bytes; /* of one direction */
};

struct demi_pipe_shm {
	struct demi_heap_extern *ext;
	uint8_t *base;
	struct demi_pipe_sizes sizes;
	unsigned int side; /* 0: the maker */
	atomic_uint refs; /* the queue's, and one for each element that the application holds in the arena */
	_Atomic uint8_t *held; /* per block of the arena that this side consumes: part of such an element */
	uint32_t *spans; /* and how many blocks an element has, at its first */
};

/* What this process's own pipes have (demi_config). */
void demi_pipe_sizes_get(struct demi_pipe_sizes *sizes);

/* The greatest element that is taken from a peer: as much as may be pushed. */
uint32_t demi_pipe_element_max(void);

/* Make the memory, for side 0. *memfd is the caller's. */
int demi_pipe_shm_create(struct demi_pipe_shm **out, const struct demi_pipe_sizes *sizes, int *memfd);

/*
 * Map somebody else's memory, for side 1. -EPROTO: @sizes are out of range, or @memfd is not a memfd that can
 * neither shrink nor grow.
 */
int demi_pipe_shm_open(struct demi_pipe_shm **out, const struct demi_pipe_sizes *sizes, int memfd);

/* Drop the queue's reference. The mapping stays while elements of it are held. */
void demi_pipe_shm_put(struct demi_pipe_shm *shm);

/*
 * Make the @len bytes at @block of the consumed arena a heap object with one owner. -EBADMSG: not in
 * the arena, or already part of an element that is held; -ENOMEM: the heap has no room for it (then
 * *p is set: copy it and give it back with demi_pipe_shm_free_block()).
 */
int demi_pipe_shm_take(struct demi_pipe_shm *shm, uint32_t block, uint32_t len, void **p);
void demi_pipe_shm_free_block(struct demi_pipe_shm *shm, uint32_t block);

static inline struct demi_pipe_side *demi_pipe_shm_side(const struct demi_pipe_shm *shm, unsigned int side)
{
	return (struct demi_pipe_side *)shm->base + side;
}

static inline _Atomic uint8_t *demi_pipe_shm_in_use(const struct demi_pipe_shm *shm, unsigned int side)
{
	return (_Atomic uint8_t *)(shm->base + DEMI_PIPE_INUSE_OFF + (size_t)side * DEMI_PIPE_BLOCKS_MAX);
}

static inline uint8_t *demi_pipe_shm_ring(const struct demi_pipe_shm *shm, unsigned int side)
{
	return shm->base + DEMI_PIPE_RINGS_OFF + side * shm->sizes.ring_bytes;
}

static inline uint8_t *demi_pipe_shm_arena(const struct demi_pipe_shm *shm, unsigned int side)
{
	return shm->base + DEMI_PIPE_RINGS_OFF + 2 * shm->sizes.ring_bytes + side * shm->sizes.arena_bytes;
}

#endif /* DEMI_MEMQ_PIPE_SHM_H */
