/* SPDX-License-Identifier: MIT */
#ifndef DEMI_URING_BUFRING_H
#define DEMI_URING_BUFRING_H

/*
 * Buffers that the kernel chooses from when input arrives: objects of the heap, which are handed to
 * the application as they are when they are well filled. The ring begins small and grows when it ran dry.
 */

#include "uring/sock.h"

#include <liburing.h>

struct demi_bufring {
	struct io_uring *ring;
	struct io_uring_buf_ring *br;
	struct demi_rx **objs; /* by buffer number; NULL: a number without a buffer */
	uint16_t *spare; /* numbers without a buffer */
	uint32_t entries, nspare;
	uint32_t first; /* the first limit */
	uint32_t limit; /* buffers in use, grows up to entries; 0: none was wanted yet */
	uint32_t size; /* bytes behind the head */
	uint16_t group;
};

/* No buffers yet; @first by the first grow, up to @entries (a power of two) by later ones. -errno. */
int demi_bufring_init(struct demi_bufring *r, struct io_uring *ring, uint16_t group, uint32_t size, uint32_t first,
		      uint32_t entries);
void demi_bufring_exit(struct demi_bufring *r, bool keep_objects);

static inline struct demi_rx *demi_bufring_at(const struct demi_bufring *r, uint16_t id)
{
	return r->objs[id];
}

/* Give the kernel a used buffer again; @kept: its object is somebody else's now, find another. */
void demi_bufring_put(struct demi_bufring *r, uint16_t id, bool kept);

/* The kernel found no buffer: add some. False: there is still none. */
bool demi_bufring_grow(struct demi_bufring *r);

#endif /* DEMI_URING_BUFRING_H */
