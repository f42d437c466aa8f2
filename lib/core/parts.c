/* SPDX-License-Identifier: MIT */
#include "core/parts.h"
#include "core/ctx.h"
#include "core/op.h"
#include "heap/heap.h"

#include <errno.h>
#include <string.h>

#define COPY_BELOW 4096

void *demi_part_split(struct demi_ctx *ctx, void *data, uint32_t n)
{
	void *part;

	if (n >= COPY_BELOW && !demi_heap_own(data))
		return data;
	part = demi_heap_alloc(n);
	if (!part)
		return NULL;
	memcpy(part, data, n);
	ctx->count.copied_bytes += n;
	return part;
}

static void answer_segs(struct demi_op *op, demi_part_next_fn *next, void *stream, size_t max, uint32_t maxsegs,
			void *part, uint32_t len)
{
	demi_sgarray_t sga;

	memset(&sga, 0, sizeof(sga));
	sga.sga_buf = part;
	do {
		sga.sga_segs[sga.sga_numsegs].sgaseg_buf = part;
		sga.sga_segs[sga.sga_numsegs++].sgaseg_len = len;
		max -= len;
		len = max && sga.sga_numsegs < maxsegs ? next(stream, max, &part) : 0;
	} while (len);
	demi_op_complete_pop(op, &sga);
}

void demi_parts_answer(struct demi_op *op, demi_part_next_fn *next, void *stream, size_t max, uint32_t maxsegs)
{
	void *part;
	uint32_t len = next(stream, max, &part);

	if (!len)
		demi_op_fail(op, ENOMEM);
	else if (maxsegs == 1)
		demi_op_complete_buf(op, part, len);
	else
		answer_segs(op, next, stream, max, maxsegs, part, len);
}
