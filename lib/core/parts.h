/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_PARTS_H
#define DEMI_CORE_PARTS_H

/* A pop of a byte stream takes what has come, in parts: each an object of the heap, or the rest of one. */

#include <stddef.h>
#include <stdint.h>

struct demi_ctx;
struct demi_op;

/* The stream's next part, of at most @max bytes: its length; 0 when there is none, or no memory for a piece of one. */
typedef uint32_t demi_part_next_fn(void *stream, size_t max, void **part);

/*
 * The first @n bytes of an object at @data, which has more: many are lent out where they are, if the object can have
 * two owners, few are copied. NULL without memory. The caller goes on behind them.
 */
void *demi_part_split(struct demi_ctx *ctx, void *data, uint32_t n);

/* @op, which the stream has something for, gets at most @max bytes in at most @maxsegs parts; ENOMEM if it cannot. */
void demi_parts_answer(struct demi_op *op, demi_part_next_fn *next, void *stream, size_t max, uint32_t maxsegs);

#endif /* DEMI_CORE_PARTS_H */
