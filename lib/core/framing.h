/* SPDX-License-Identifier: MIT */
#ifndef DEMI_CORE_FRAMING_H
#define DEMI_CORE_FRAMING_H

/* Messages on a stream (DEMI_SO_FRAMED): what arrives is put together until a message is whole and a pop takes it. */

#include "core/frame.h"
#include "core/op.h"

struct demi_framing;

/* Messages of at most @max bytes. NULL without memory. */
struct demi_framing *demi_framing_new(struct demi_ctx *ctx, uint32_t max);
void demi_framing_free(struct demi_framing *f); /* NULL: nothing */
void demi_framing_set_max(struct demi_framing *f, uint32_t max);

/* @len bytes of the stream. -EBADMSG, -ENOMEM: the stream is broken. */
int demi_framing_input(struct demi_framing *f, const void *data, uint32_t len);

/* The stream ended: in the middle of a message? */
bool demi_framing_cut_off(const struct demi_framing *f);

/*
 * Bytes of memory that whole messages keep. The beginning of the next one does not count, its limit is the greatest
 * message's size: if reading stopped for what it keeps, a long message would never be whole.
 */
size_t demi_framing_bytes(const struct demi_framing *f);

/* Is there a whole message? */
bool demi_framing_ready(const struct demi_framing *f);

/* Complete @op, a pop, with the oldest one; longer than @max_bytes: EMSGSIZE, and it stays. */
void demi_framing_answer(struct demi_framing *f, struct demi_op *op, size_t max_bytes, uint32_t maxsegs);

#endif /* DEMI_CORE_FRAMING_H */
