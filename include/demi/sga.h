/* SPDX-License-Identifier: MIT */
#ifndef DEMI_SGA_H
#define DEMI_SGA_H

#include <demi/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * demi_sgaalloc - allocate a scatter-gather array of one segment
 * @size: bytes, 1 to DEMI_SGA_MAXBYTES
 *
 * The memory comes from the DMA heap and is aligned to 16 bytes at least; its contents are
 * indeterminate. It belongs to the caller until demi_sgafree(). Any thread may free it. Needs no
 * context. Does not block, except on the kernel when the heap has to grow.
 *
 * Returns the array; its sga_buf is NULL and sga_numsegs 0 when @size is out of range or there
 * is no memory. SOSP '21, section 4.2.
 */
ATTR_NODISCARD extern demi_sgarray_t demi_sgaalloc(size_t size);

/**
 * demi_sgafree - give back the memory of an array
 * @sga: from demi_sgaalloc() or a pop; its fields are cleared, so that a second call on the same
 *       structure is EINVAL
 *
 * Every segment's heap object loses the caller's reference; segments may point anywhere into
 * their objects. Memory that is lent to a queue stays until the queue is done with it (free
 * protection, SOSP '21 section 4.2). Segments of length 0 without a buffer are passed over. May
 * be called by any thread. Never blocks.
 *
 * Returns 0, or EINVAL: @sga is NULL, has no or too many segments, or a segment does not point
 * to live heap memory (then nothing is freed).
 */
extern int demi_sgafree(demi_sgarray_t *sga);

/**
 * demi_sga_addr - where a popped datagram came from
 * @sga: as popped
 * @ss:  receives the address, whatever its family
 * @len: in: the room at @ss in bytes; out: the address's length. A longer address is cut off,
 *       as getsockname(2) does.
 *
 * Returns 0, or EINVAL (NULL; not a popped array), ENOENT (the array has no source address, as
 * on streams and memory queues).
 */
extern int demi_sga_addr(const demi_sgarray_t *sga, struct sockaddr_storage *ss, socklen_t *len);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_SGA_H */
